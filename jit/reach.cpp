#include "reach.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "fluxion/error.h"

namespace fluxion::detail {
namespace {

struct Affine {
  std::array<std::int64_t, 3> coefficient{};
  std::int64_t constant = 0;
};

/// `fuel` bounds the walk, since operands may be shared.
std::optional<Affine> affine(const Function& f, ValueId v, int& fuel) {
  if (--fuel < 0) return {};
  const Value& value = f[v];
  if (value.type != Type(DType::i32)) return {};
  Affine a;
  if (value.kind == Value::Kind::constant) {
    a.constant = static_cast<std::int32_t>(value.bits);
    return a;
  }
  if (value.kind == Value::Kind::argument) {
    if (value.owner != f.body.index) return {};
    a.coefficient[value.slot] = 1;
    return a;
  }
  if (value.kind != Value::Kind::result) return {};
  const Op& op = f.ops[value.owner];
  if (op.code != Opcode::add && op.code != Opcode::sub && op.code != Opcode::mul) return {};
  const auto x = affine(f, op.operands[0], fuel), y = affine(f, op.operands[1], fuel);
  if (!x || !y) return {};
  const auto scaled = [](Affine s, std::int64_t by) {
    for (auto& c : s.coefficient) c *= by;
    s.constant *= by;
    return s;
  };
  if (op.code == Opcode::mul) {
    const std::array<std::int64_t, 3> none{};
    if (x->coefficient == none) a = scaled(*y, x->constant);
    else if (y->coefficient == none) a = scaled(*x, y->constant);
    else return {};
  } else {
    a = scaled(*y, op.code == Opcode::add ? 1 : -1);
    for (int k = 0; k < 3; ++k) a.coefficient[k] += x->coefficient[k];
    a.constant += x->constant;
  }
  // Beyond this, 32 bits may have wrapped on the way.
  for (const std::int64_t c : {a.coefficient[0], a.coefficient[1], a.coefficient[2], a.constant})
    if (std::abs(c) > (std::int64_t{1} << 31)) return {};
  return a;
}

}  // namespace

std::vector<Reach> reach_of(const Function& f) {
  std::vector<Reach> out;
  if (f.kind != Function::Kind::kernel || f.external) return out;
  for (OpId o : f[f.body].ops) {
    const Op& op = f[o];
    if (op.code != Opcode::load && op.code != Opcode::store && op.code != Opcode::accumulate && op.code != Opcode::atomic) continue;
    if (f[op.memory].space != Memory::Space::parameter) continue;
    const auto p = std::find_if(f.parameters.begin(), f.parameters.end(),
                                [&](const Parameter& x) { return x.kind == Parameter::Kind::memory && x.memory == op.memory; });
    for (int axis = 0; axis < f[op.memory].rank; ++axis) {
      int fuel = 100;
      // Of an index that depends on data it is known that there must be an element.
      const Affine a = affine(f, op.operands[static_cast<std::size_t>(axis)], fuel).value_or(Affine{});
      const int parameter = static_cast<int>(p - f.parameters.begin());
      auto r = std::find_if(out.begin(), out.end(),
                            [&](const Reach& x) { return x.parameter == parameter && x.axis == axis && x.coefficient == a.coefficient; });
      if (r == out.end()) r = out.insert(out.end(), {parameter, axis, a.coefficient, a.constant, a.constant, op.loc, op.loc});
      if (a.constant < r->low) r->low = a.constant, r->low_at = op.loc;
      if (a.constant > r->high) r->high = a.constant, r->high_at = op.loc;
    }
  }
  return out;
}

std::string misses(const Reach& r, const std::array<std::int64_t, 3>& domain, const std::array<std::int64_t, 3>& extent) {
  std::int64_t low = r.low, high = r.high;
  for (std::size_t k = 0; k < 3; ++k) (r.coefficient[k] < 0 ? low : high) += r.coefficient[k] * (domain[k] - 1);
  const std::int64_t n = extent[static_cast<std::size_t>(r.axis)];
  if (n == 0)
    return fmt::format("argument {} has no elements along axis {}, and one is read or written at {}; pass an array that has some",
                       r.parameter + 1, r.axis, to_string(r.low_at));
  // An index that does not fit in 32 bits wraps: whoever checks indices will tell.
  if ((low >= 0 && high < n) || high > 0x7fffffff || low < -0x7fffffff) return {};
  std::string axes;
  for (std::size_t k = 0; k < 3; ++k)
    if (r.coefficient[k] != 0) axes += fmt::format("{}{} points along axis {}", axes.empty() ? "" : " and ", domain[k], k);
  return fmt::format(
      "index {} along axis {} of argument {} is reached at {}, but there are {}{}; pass an array that is large enough, or launch "
      "over the points that it has",
      low < 0 ? low : high, r.axis, r.parameter + 1, to_string(low < 0 ? r.low_at : r.high_at), n,
      axes.empty() ? "" : fmt::format(" (the launch has {})", axes));
}

}  // namespace fluxion::detail
