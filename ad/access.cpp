// Index arithmetic is split into terms: index = sum of sign * value + constant. Two accesses are apart when on
// some axis the terms agree and the constants do not, or when the axis steps with the loop that separates them.
#include "access.h"

#include <algorithm>
#include <bit>
#include <map>

#include "fluxion/mutants.h"

namespace fluxion::ad {
namespace {

// Modulo 2^32, as indices are computed: what differs here differs there.
struct Linear {
  std::map<ValueId, std::uint32_t> terms;
  std::uint32_t constant = 0;
};

std::uint32_t constant_value(const Function& f, ValueId v) { return static_cast<std::uint32_t>(f[v].bits); }

void collect(const Function& f, ValueId v, std::uint32_t scale, int depth, Linear& out) {
  if (scale == 0) return;
  if (f.is_constant(v)) {
    out.constant += scale * constant_value(f, v);
    return;
  }
  const Value& value = f[v];
  if (value.kind == Value::Kind::result && depth < 16) {
    const Op& op = f.ops[value.owner];
    if (op.code == Opcode::add || op.code == Opcode::sub) {
      collect(f, op.operands[0], scale, depth + 1, out);
      collect(f, op.operands[1], op.code == Opcode::add ? scale : 0u - scale, depth + 1, out);
      return;
    }
    if (op.code == Opcode::mul)
      for (int k : {0, 1})
        if (f.is_constant(op.operands[k])) return collect(f, op.operands[1 - k], scale * constant_value(f, op.operands[k]), depth + 1, out);
  }
  if ((out.terms[v] += scale) == 0) out.terms.erase(v);
}

Linear linear(const Function& f, ValueId v) {
  Linear out;
  collect(f, v, 1, 0, out);
  return out;
}

struct Pair {
  const Structure& s;
  const Op &a, &b;
  std::size_t axes;

  Linear index(const Op& op, std::size_t axis) const { return linear(s.f, op.operands[axis]); }

  // Both run with the same values of everything that both can see.
  bool apart_now() const {
    for (std::size_t k = 0; k < axes; ++k) {
      const Linear x = index(a, k), y = index(b, k);
      if (x.terms == y.terms && x.constant != y.constant) return true;
      if (x.terms != y.terms && planted(testing::Mutant::constants_meet_not)) return true;
    }
    return false;
  }
  // scale * i is another number in every iteration i of this loop. Where the scale is even it comes round after 2^32 / scale
  // iterations; when each of them makes the access, some of these were out of range before.
  bool distinct(const Op& loop, RegionId body, std::uint32_t scale) const {
    if (scale % 2 != 0) return true;
    for (const Op* op : {&a, &b})
      for (OpId o : s.f[body].ops)
        if (&s.f[o] == op) return scale != 0x80000000u;
    const ValueId lo = loop.operands[0], hi = loop.operands[1];
    if (!s.f.is_constant(lo) || !s.f.is_constant(hi)) return false;
    const std::int64_t trips =
        std::int64_t{static_cast<std::int32_t>(constant_value(s.f, hi))} - static_cast<std::int32_t>(constant_value(s.f, lo));
    return trips <= std::int64_t{1} << (32 - std::countr_zero(scale));
  }
  // They run in different iterations of the loop whose region is `body`.
  bool apart_in(RegionId body) const {
    const Function& f = s.f;
    const Op& loop = f[s.op_of[body.index]];
    for (std::size_t k = 0; k < axes; ++k) {
      const Linear x = index(a, k), y = index(b, k);
      if (x.terms != y.terms) continue;
      bool fixed = true, steps = false;
      for (const auto& [v, scale] : x.terms) {
        if (loop.code == Opcode::for_ && v == f[body].arguments[0]) steps = true, fixed = fixed && distinct(loop, body, scale);
        else if (s.within(s.home(v), body)) fixed = false;
      }
      if (!fixed) continue;
      if (steps ? x.constant == y.constant : x.constant != y.constant) return true;
    }
    return false;
  }
};

}  // namespace

std::vector<std::vector<Access>> accesses(const Function& f) {
  std::vector<std::vector<Access>> out(f.memories.size());
  for (const Region& r : f.regions)
    for (OpId o : r.ops) {
      const Op& op = f[o];
      if (op.code == Opcode::load || op.code == Opcode::store || op.code == Opcode::accumulate || op.code == Opcode::atomic)
        out[op.memory.index].push_back({o, op.code});
    }
  return out;
}

bool may_follow(const Structure& s, OpId first, OpId second) {
  const Function& f = s.f;
  const Op &a = f[first], &b = f[second];
  if (a.memory != b.memory || a.leaf != b.leaf) return false;
  const auto rank = static_cast<std::size_t>(f[a.memory].rank);
  const Pair pair{s, a, b, rank};

  // The deepest region that holds both, and the ops in it that lead to each.
  RegionId common = s.region_of[first.index];
  OpId to_first = first;
  while (!s.within(s.region_of[second.index], common)) to_first = s.op_of[common.index], common = s.region_of[to_first.index];
  OpId to_second = second;
  while (s.region_of[to_second.index] != common) to_second = s.op_of[s.region_of[to_second.index].index];

  const bool exclusive = to_first == to_second && f[to_first].code == Opcode::if_;
  const bool later = to_first == to_second ? first != second && !exclusive : s.position[to_first.index] < s.position[to_second.index];
  if (later && !pair.apart_now()) return true;
  for (RegionId r = common; r.valid(); r = s.parent(r)) {
    const OpId o = s.op_of[r.index];
    if (!o.valid() || f[o].code == Opcode::if_) continue;
    if (!pair.apart_in(r) && !planted(testing::Mutant::meets_only_now)) return true;
  }
  return false;
}

}  // namespace fluxion::ad
