// The old-to-new maps behind every pass.
#include "fluxion/rewrite.h"

#include <atomic>

#include "fluxion/error.h"

namespace fluxion {

std::uint64_t new_self() {
  static std::atomic<std::uint64_t> last{0};
  return ++last;
}

Rewriter::Rewriter(const Function& from, Builder& to) : from(from), to(to), values_(from.values.size()), memories_(from.memories.size()) {}

bool Rewriter::mapped(ValueId old) const { return values_[old.index].valid(); }

ValueId Rewriter::operator()(ValueId old) const {
  ValueId& now = values_[old.index];
  if (!now.valid()) {
    const Value& v = from[old];
    if (v.kind != Value::Kind::constant) throw Bug(to.loc, "rewrite: a value is used before it is made\n" + print(from));
    now = to.constant(v.type.dtype(), v.bits);
  }
  return now;
}

Values Rewriter::operator()(const Values& old) const {
  Values out;
  out.reserve(old.size());
  for (ValueId v : old) out.push_back((*this)(v));
  return out;
}

MemoryId Rewriter::operator()(MemoryId old) const {
  if (!old.valid()) return old;
  if (!memories_[old.index].valid()) throw Bug(to.loc, "rewrite: a memory is used before it is made");
  return memories_[old.index];
}

void Rewriter::map(ValueId old, ValueId now) { values_[old.index] = now; }
void Rewriter::map(MemoryId old, MemoryId now) { memories_[old.index] = now; }
void Rewriter::map(const Values& old, const Values& now) {
  for (std::size_t i = 0; i < old.size(); ++i) map(old[i], now[i]);
}

void Rewriter::copy_signature() {
  Function& f = to.function();
  f.kind = from.kind;
  f.name = from.name;
  f.loc = from.loc;
  f.domain_rank = from.domain_rank;
  f.group = from.group;
  f.rules = from.rules;
  f.before = from.before;
  f.external = from.external;
  f.self = from.self;
  for (const Parameter& p : from.parameters) {
    switch (p.kind) {
      case Parameter::Kind::scalar: map(p.value, to.scalar_parameter(from.type(p.value).dtype(), p.name)); break;
      case Parameter::Kind::array: map(p.value, to.array_parameter(from.type(p.value), p.role, p.name)); break;
      case Parameter::Kind::memory: {
        const MemoryId m = to.memory_parameter(from[p.memory].element, from[p.memory].rank, p.role, p.name);
        f[m].loc = from[p.memory].loc;
        f[m].scratch = from[p.memory].scratch;
        f[m].zeros = from[p.memory].zeros;
        f[m].like = from[p.memory].like;
        f[m].into = from[p.memory].into;
        f[m].work = from[p.memory].work;
        f[m].shape = from[p.memory].shape;
        map(p.memory, m);
      }
    }
  }
  const Values& indices = from[from.body].arguments;
  for (std::size_t i = 0; i < indices.size(); ++i) map(indices[i], to.index(static_cast<int>(i)));
}

void Rewriter::copy_ops(RegionId region) {
  // Locals and buffers belong to a region: they are made anew in whatever region receives its ops.
  for (std::uint32_t m = 0; m < from.memories.size(); ++m) {
    const Memory& mem = from.memories[m];
    if (mem.space == Memory::Space::parameter || mem.scope != region || (!dropped.empty() && dropped[m])) continue;
    if (mem.space == Memory::Space::buffer) {
      Function& f = to.function();
      f.memories.push_back(mem);
      f.memories.back().scope = to.current();
      map(MemoryId{m}, MemoryId{static_cast<std::uint32_t>(f.memories.size() - 1)});
      continue;
    }
    map(MemoryId{m}, make_like(to, mem));
  }
  for (OpId o : from[region].ops)
    if (from[o].code != Opcode::yield) copy_op(o);
}

RegionId Rewriter::copy_region(RegionId region) {
  std::vector<Type> types;
  for (ValueId v : from[region].arguments) types.push_back(from.type(v));
  const RegionId now = to.open(types);
  map(from[region].arguments, to.function()[now].arguments);
  copy_ops(region);
  to.close((*this)(from.terminator(region).operands));
  return now;
}

Values Rewriter::copy_for(const Op& loop, ValueId lo, ValueId hi, const Values& init) {
  const RegionId body = loop.regions[0];
  const auto again = [&](ValueId i, const Values& carries) {
    map(from[body].arguments[0], i);
    for (std::size_t k = 0; k < carries.size(); ++k) map(from[body].arguments[k + 1], carries[k]);
    copy_ops(body);
    return Builder::LoopYield{(*this)(from.terminator(body).operands), {}};
  };
  return to.for_(lo, hi, init, again, loop.down).carries;
}

void Rewriter::copy_op(OpId id) {
  const Loc outer = to.loc;
  to.loc = from[id].loc;
  if (!hook || !hook(*this, id)) {
    const Op& op = from[id];
    Op now = op;
    now.operands = (*this)(op.operands);
    now.memory = (*this)(op.memory);
    for (MemoryId& m : now.buffers) m = (*this)(m);
    now.regions.clear();
    for (RegionId r : op.regions) now.regions.push_back(copy_region(r));
    if (op.code == Opcode::launch || op.code == Opcode::run || op.code == Opcode::call)
      now.ref = add_callee(to.function(), from.callees[op.ref]);
    if (op.code == Opcode::print || op.code == Opcode::check) now.ref = add_text(to.function(), from.texts[op.ref]);
    std::vector<Type> types;
    for (ValueId v : op.results) types.push_back(from.type(v));
    const OpId copy = to.append(std::move(now), types);
    map(op.results, to.function()[copy].results);
  }
  to.loc = outer;
}

MemoryId make_like(Builder& to, const Memory& m) {
  const MemoryId now = m.space == Memory::Space::shared ? to.shared(m.element, m.length, m.name) : to.local(m.element, m.length, m.name);
  to.function()[now].loc = m.loc;
  return now;
}

Function rewrite(const Function& f, const Rewriter::Hook& hook) {
  Function out;
  Builder b(out);
  Rewriter r(f, b);
  r.hook = hook;
  r.copy_signature();
  r.copy_ops(f.body);
  b.loc = f.terminator(f.body).loc;
  b.finish(r(f.terminator(f.body).operands));
  return out;
}

}  // namespace fluxion
