#include "linear_sums.h"

#include <algorithm>
#include <map>
#include <set>

namespace fluxion {
namespace {

struct Forest {
  const Function& f;
  const Nesting& nesting;
  const std::function<bool(ValueId)>& shared;
  RegionId region;
  std::vector<ValueId> leaves{};
  std::set<std::uint32_t> seen{}, inner{};  // values; ops

  /// The operands of `op` in which it is linear while the others are shared; none where it is not linear.
  std::vector<ValueId> linear_in(const Op& op) const {
    const auto is = [&](int k) { return shared(op.operands[k]); };
    const auto v = [&](int k) { return op.operands[k]; };
    switch (op.code) {
      case Opcode::neg: return {v(0)};
      case Opcode::add:
      case Opcode::sub:
        if (is(0) || is(1)) return {};
        return {v(0), v(1)};
      case Opcode::mul:
        if (is(0) == is(1)) return {};
        return {is(0) ? v(1) : v(0)};
      case Opcode::div:
        if (is(0) || !is(1)) return {};
        return {v(0)};
      case Opcode::fma:
        if (is(0) == is(1) || is(2)) return {};
        return {is(0) ? v(1) : v(0), v(2)};
      default: return {};
    }
  }
  void grow(ValueId v) {
    if (!seen.insert(v.index).second) return;
    if (f[v].kind == Value::Kind::result && nesting.region[f[v].owner] == region) {
      const std::vector<ValueId> operands = linear_in(f.ops[f[v].owner]);
      for (ValueId x : operands) grow(x);
      if (!operands.empty()) {
        inner.insert(f[v].owner);
        return;
      }
    }
    leaves.push_back(v);
  }
};

}  // namespace

std::vector<LinearSum> linear_sums(const Function& f, const Nesting& nesting, const std::vector<OpId>& sites,
                                   const std::function<bool(ValueId)>& shared) {
  std::map<std::pair<std::uint32_t, std::uint32_t>, std::vector<OpId>> groups;  // by memory and region
  const auto value = [&](OpId o) { return f[o].operands[f[f[o].memory].rank]; };
  for (OpId o : sites) {
    const Value& v = f[value(o)];
    if (v.kind == Value::Kind::result && is_float(v.type.dtype()) && !is_half(v.type.dtype()))
      groups[{f[o].memory.index, nesting.region[o.index].index}].push_back(o);
  }
  std::vector<LinearSum> out;
  for (auto& [key, group] : groups) {
    Forest forest{f, nesting, shared, nesting.region[group[0].index]};
    std::erase_if(group, [&](OpId o) {
      const OpId made{f[value(o)].owner};
      return nesting.region[made.index] != forest.region || forest.linear_in(f[made]).empty();
    });
    for (OpId o : group) forest.grow(value(o));
    if (group.empty() || forest.leaves.size() > group.size()) continue;
    // Saved is what only these sums need.
    std::map<std::uint32_t, std::size_t> inside;  // uses by the forest, by value
    for (OpId o : group) ++inside[value(o).index];
    for (std::uint32_t o : forest.inner)
      for (ValueId v : f.ops[o].operands) ++inside[v.index];
    std::map<std::uint32_t, std::size_t> all;
    for (const Region& r : f.regions)
      for (OpId o : r.ops)
        for (ValueId v : f[o].operands)
          if (inside.count(v.index)) ++all[v.index];
    const auto saved = std::count_if(forest.inner.begin(), forest.inner.end(), [&](std::uint32_t o) {
      const std::uint32_t v = f.ops[o].results[0].index;
      return inside[v] == all[v];
    });
    if (static_cast<std::size_t>(saved) < 2 * group.size()) continue;
    std::sort(group.begin(), group.end(), [&](OpId a, OpId b) { return nesting.position[a.index] < nesting.position[b.index]; });
    out.push_back({group, forest.leaves});
  }
  return out;
}

}  // namespace fluxion
