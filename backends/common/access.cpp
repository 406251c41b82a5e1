// Access classes from the uniformity of indices; ownership from affine forms over the domain.
#include "access.h"

#include <algorithm>
#include <bit>

namespace fluxion {
using Class = Uniformity::Class;

Access classify(const Function& f, const Uniformity& u, const Op& op) {
  const int rank = f[op.memory].rank;
  for (int k = 0; k + 1 < rank; ++k)
    if (!u.uniform(op.operands[k])) return {Access::Kind::gather};
  const ValueId last = op.operands[rank - 1];
  if (u.uniform(last)) return {Access::Kind::uniform};
  if (u(last) == Class::affine && u.stride[last.index] == 1) return {Access::Kind::contiguous};
  return {Access::Kind::gather};
}

namespace {
// `fuel` bounds the walk: operands may be shared, so a chain of j = j + j has exponentially many paths.
DomainForm form_of(const Function& f, const Uniformity& u, ValueId v, int& fuel) {
  DomainForm r;
  if (--fuel < 0) return r;
  const Value& value = f[v];
  if (value.kind == Value::Kind::constant) {
    r.known = true;
    r.constant = static_cast<std::int32_t>(value.bits);
    return r;
  }
  if (value.kind == Value::Kind::argument) {
    if (value.owner != f.body.index) return r;
    r.known = true;
    r.coefficient[value.slot] = 1;
    return r;
  }
  if (u(v) == Class::launch) {
    r.known = true;
    r.symbol = v;
    return r;
  }
  if (value.kind != Value::Kind::result || !(value.type == Type(DType::i32))) return r;
  const Op& op = f.ops[value.owner];
  const auto scaled = [&](DomainForm a, std::int64_t s) {
    if (a.symbol.valid() && s != 1) a.known = false;
    for (auto& c : a.coefficient) c *= s;
    a.constant *= s;
    return a;
  };
  switch (op.code) {
    case Opcode::add:
    case Opcode::sub: {
      DomainForm a = form_of(f, u, op.operands[0], fuel);
      if (!a.known) return r;
      DomainForm b = form_of(f, u, op.operands[1], fuel);
      if (!b.known) return r;
      b = scaled(b, op.code == Opcode::add ? 1 : -1);
      if (!b.known || (a.symbol.valid() && b.symbol.valid())) return r;
      for (int k = 0; k < 3; ++k) a.coefficient[k] += b.coefficient[k];
      a.constant += b.constant;
      if (b.symbol.valid()) a.symbol = b.symbol;
      return a;
    }
    case Opcode::neg: return scaled(form_of(f, u, op.operands[0], fuel), -1);
    case Opcode::stop_grad: return form_of(f, u, op.operands[0], fuel);
    case Opcode::mul: {
      DomainForm a = form_of(f, u, op.operands[0], fuel), b = form_of(f, u, op.operands[1], fuel);
      const auto plain = [](const DomainForm& x) {
        return x.known && !x.symbol.valid() && !x.coefficient[0] && !x.coefficient[1] && !x.coefficient[2];
      };
      if (plain(b)) return scaled(a, b.constant);
      if (plain(a)) return scaled(b, a.constant);
      return r;
    }
    default: return r;
  }
}
}  // namespace

DomainForm domain_form(const Function& f, const Uniformity& u, ValueId v) {
  int fuel = 1000;
  return form_of(f, u, v, fuel);
}

namespace {
/// The offset along the slowest axis when `d` is that axis's index plus an offset and a launch-invariant symbol.
bool follows_slowest_axis(const DomainForm& d) {
  return d.known && d.coefficient[0] == 1 && d.coefficient[1] == 0 && d.coefficient[2] == 0;
}
}  // namespace

std::vector<Accumulates> analyse_accumulates(const Function& f, const Uniformity& u) {
  std::vector<Accumulates> out(f.memories.size());
  std::vector<std::vector<DomainForm>> first(f.memories.size());
  struct Span {
    bool known = true;
    std::int64_t low = 0, high = 0;
  };
  std::vector<Span> spans(f.memories.size());
  for (std::uint32_t o = 0; o < f.ops.size(); ++o) {
    const Op& op = f.ops[o];
    if (!u.nesting.region[o].valid() || !op.memory.valid()) continue;
    Accumulates& a = out[op.memory.index];
    if (op.code == Opcode::load || op.code == Opcode::store || op.code == Opcode::atomic) a.only = false;
    if (op.code != Opcode::accumulate || f[op.memory].space != Memory::Space::parameter) continue;
    std::vector<DomainForm> forms;
    for (int k = 0; k < f[op.memory].rank; ++k) forms.push_back(domain_form(f, u, op.operands[k]));
    Span& span = spans[op.memory.index];
    if (a.sites == 0) span.low = span.high = forms[0].constant;
    if (a.sites++ == 0) {
      a.own = true;
      for (int axis = 0; axis < f.domain_rank; ++axis) {  // some index depends on this axis alone
        bool told = false;
        for (const DomainForm& d : forms) {
          bool others = false;
          for (int k = 0; k < 3; ++k) others |= k != axis && d.coefficient[k] != 0;
          if (!d.known || d.coefficient[axis] == 0 || others) continue;
          told = true;
          a.shift = std::max(a.shift, std::countr_zero(static_cast<std::uint64_t>(d.coefficient[axis])));
        }
        a.own &= told;
      }
      first[op.memory.index] = forms;
    }
    for (std::size_t k = 0; k < forms.size(); ++k) a.own &= forms[k].known && forms[k] == first[op.memory.index][k];
    span.known &= follows_slowest_axis(forms[0]) && forms[0].symbol == first[op.memory.index][0].symbol;
    span.low = std::min(span.low, forms[0].constant);
    span.high = std::max(span.high, forms[0].constant);
  }
  for (std::size_t m = 0; m < out.size(); ++m)
    if (out[m].sites > 0 && spans[m].known) out[m].halo = spans[m].high - spans[m].low;
  return out;
}

}  // namespace fluxion
