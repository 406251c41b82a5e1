// Sums that are no sums: a launch that adds to an array of zeros, where each element is added to once, writes it instead. Most
// gradients of arrays that a kernel reads at its own index begin so; zeros need not be filled in then, nor read again.
#include <algorithm>
#include <map>
#include <set>

#include "fluxion/buffer_plan.h"
#include "fluxion/rewrite.h"

namespace fluxion {
namespace {

/// True when every leaf of every element of an array of this shape is added to by exactly one op of one point, always. An
/// axis of the array is one of the domain, as long as it, or is gone through by constants.
bool adds_once(const Function& k, MemoryId m, const Values& domain, const Function& caller, const Type& array) {
  if (k.has_groups()) return false;
  const int rank = k[m].rank;
  std::size_t sites = 0;
  for (const Region& r : k.regions)
    for (OpId o : r.ops) sites += k[o].memory == m && k[o].code != Opcode::extent;
  const auto& leaves = layout_of(k[m].element).leaves;
  if (std::any_of(leaves.begin(), leaves.end(), [](const Leaf& l) { return is_half(l.dtype); })) return false;
  std::vector<int> axis_of(static_cast<std::size_t>(rank), -1);  // of the domain; -1: constants
  std::set<std::vector<std::uint64_t>> places;
  std::size_t found = 0;
  for (OpId o : k[k.body].ops) {
    const Op& op = k[o];
    if (op.memory != m || op.code == Opcode::extent) continue;
    if (op.code != Opcode::accumulate) return false;
    std::vector<std::uint64_t> place = {static_cast<std::uint64_t>(op.leaf)};
    for (int a = 0; a < rank; ++a) {
      const Value& v = k[op.operands[static_cast<std::size_t>(a)]];
      const bool point = v.kind == Value::Kind::argument && v.owner == k.body.index;
      const int axis = point ? static_cast<int>(v.slot) : -1;
      if (!point && (v.kind != Value::Kind::constant || v.bits >= static_cast<std::uint64_t>(array.shape[a]))) return false;
      if (found && axis_of[static_cast<std::size_t>(a)] != axis) return false;
      axis_of[static_cast<std::size_t>(a)] = axis;
      place.push_back(point ? 0 : v.bits);
    }
    ++found;
    if (!places.insert(place).second) return false;
  }
  if (found != sites || found == 0) return false;
  std::size_t needed = leaves.size();
  for (int a = 0; a < rank; ++a)
    if (axis_of[static_cast<std::size_t>(a)] < 0) needed *= static_cast<std::size_t>(array.shape[a]);
  if (needed != found) return false;
  for (int axis = 0; axis < k.domain_rank; ++axis) {
    const auto a = std::find(axis_of.begin(), axis_of.end(), axis);
    if (a == axis_of.end() || std::count(axis_of.begin(), axis_of.end(), axis) != 1) return false;
    const Value& extent = caller[domain[static_cast<std::size_t>(axis)]];
    if (extent.kind != Value::Kind::constant || static_cast<std::int64_t>(extent.bits) != array.shape[a - axis_of.begin()]) return false;
  }
  return true;
}

Function writing(const Function& k, const std::vector<char>& writes) {
  Function g = k;
  for (std::size_t p = 0; p < g.parameters.size(); ++p) {
    if (!writes[p]) continue;
    const MemoryId m = g.parameters[p].memory;
    g.parameters[p].role = g[m].role = Role::out;
    for (Op& op : g.ops)
      if (op.memory == m && op.code == Opcode::accumulate) op.code = Opcode::store;
  }
  return g;
}

}  // namespace

Function write_sums(const Function& program) {
  std::map<std::pair<const Function*, std::vector<char>>, std::shared_ptr<const Function>> made;
  return rewrite(program, [&](Rewriter& r, OpId id) {
    const Function& f = r.from;
    const Op& op = f[id];
    if (op.code != Opcode::launch) return false;
    const auto& k = f.callees[op.ref];
    const Values domain(op.operands.begin(), op.operands.begin() + k->domain_rank);
    std::vector<char> writes(k->parameters.size());
    Values arguments;
    std::vector<Type> outs;
    std::size_t operand = domain.size(), result = 0;
    bool any = false;
    for (std::size_t p = 0; p < k->parameters.size(); ++p) {
      const Parameter& q = k->parameters[p];
      const bool memory = q.kind == Parameter::Kind::memory;
      const ValueId now = memory && q.role != Role::in ? op.results[result++] : ValueId{};
      if (memory && q.role == Role::out) {
        outs.push_back(f.type(now));
        continue;
      }
      const ValueId old = op.operands[operand++];
      const Value& v = f[old];
      const bool zeros = v.kind == Value::Kind::result && f.ops[v.owner].code == Opcode::zeros;
      writes[p] = memory && q.role == Role::accum && zeros && adds_once(*k, q.memory, domain, f, f.type(old));
      any |= writes[p] != 0;
      if (writes[p]) outs.push_back(f.type(now));
      else arguments.push_back(r(old));
    }
    if (!any) return false;
    auto& callee = made[{k.get(), writes}];
    if (!callee) callee = std::make_shared<const Function>(writing(*k, writes));
    const Values results = r.to.launch(callee, r(domain), arguments, outs);
    for (std::size_t n = 0; n < results.size(); ++n) r.map(op.results[n], results[n]);
    return true;
  });
}

}  // namespace fluxion
