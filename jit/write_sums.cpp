// Sums that are no sums: a launch that adds to an array of zeros, where each element is added to once, writes it instead. Most
// gradients of arrays that a kernel reads at its own index begin so; zeros need not be filled in then, nor read again.
#include <algorithm>
#include <map>

#include "fluxion/buffer_plan.h"
#include "fluxion/rewrite.h"

namespace fluxion {
namespace {

/// Where a sum goes: by axis of the array, an axis of the domain, a loop over all of the axis, or a constant.
struct Place {
  int leaf = 0;
  struct Axis {
    enum class Kind { point, loop, constant } kind;
    std::uint64_t which = 0;  // axis of the domain; the constant
  };
  std::vector<Axis> axes;
};

class Sums {
 public:
  Sums(const Function& k, MemoryId m, const Type& array) : k_(k), m_(m), array_(array) {}

  /// True when every leaf of every element of the array is added to by exactly one op of one point, once. An axis of the array is one
  /// of the domain, as long as it, or is gone through by constants and loops.
  bool once(const Values& domain, const Function& caller) {
    const auto& leaves = layout_of(k_[m_].element).leaves;
    if (k_.has_groups() || k_.external || std::any_of(leaves.begin(), leaves.end(), [](const Leaf& l) { return is_half(l.dtype); }))
      return false;
    std::vector<OpId> loops;
    if (!collect(k_.body, loops) || places_.empty()) return false;
    const auto point = [](const Place::Axis& a) { return a.kind == Place::Axis::Kind::point; };
    const std::vector<Place::Axis>& axes = places_[0].axes;
    std::int64_t needed = static_cast<std::int64_t>(leaves.size()), covered = 0;
    for (std::size_t a = 0; a < axes.size(); ++a)
      if (!point(axes[a])) needed *= array_.shape[a];
    for (std::size_t p = 0; p < places_.size(); ++p) {
      std::int64_t size = 1;
      for (std::size_t a = 0; a < axes.size(); ++a) {
        const Place::Axis& axis = places_[p].axes[a];
        if (point(axis) != point(axes[a]) || (point(axis) && axis.which != axes[a].which)) return false;
        if (axis.kind == Place::Axis::Kind::loop) size *= array_.shape[a];
      }
      covered += size;
      for (std::size_t q = 0; q < p; ++q)
        if (!apart(places_[p], places_[q])) return false;
    }
    if (needed != covered) return false;
    for (int axis = 0; axis < k_.domain_rank; ++axis) {
      std::vector<std::size_t> at;
      for (std::size_t a = 0; a < axes.size(); ++a)
        if (point(axes[a]) && axes[a].which == static_cast<std::uint64_t>(axis)) at.push_back(a);
      if (at.size() != 1) return false;
      const Value& extent = caller[domain[static_cast<std::size_t>(axis)]];
      if (extent.kind != Value::Kind::constant || static_cast<std::int64_t>(extent.bits) != array_.shape[at[0]]) return false;
    }
    return true;
  }

 private:
  const Function& k_;
  const MemoryId m_;
  const Type& array_;
  std::vector<Place> places_;

  bool collect(RegionId r, std::vector<OpId>& loops) {
    for (OpId o : k_[r].ops) {
      const Op& op = k_[o];
      if (op.memory == m_ && op.code != Opcode::extent && !(op.code == Opcode::accumulate && note(op, loops))) return false;
      for (RegionId inner : op.regions) {
        const bool loop = op.code == Opcode::for_;
        loops.push_back(loop ? o : OpId{});
        if (!collect(inner, loops)) return false;
        loops.pop_back();
      }
    }
    return true;
  }
  bool note(const Op& op, const std::vector<OpId>& loops) {
    Place place{op.leaf, {}};
    std::size_t used = 0;
    for (int a = 0; a < k_[m_].rank; ++a) {
      const Value& v = k_[op.operands[static_cast<std::size_t>(a)]];
      if (v.kind == Value::Kind::constant && v.bits < static_cast<std::uint64_t>(array_.shape[a])) {
        place.axes.push_back({Place::Axis::Kind::constant, v.bits});
      } else if (v.kind == Value::Kind::argument && v.owner == k_.body.index) {
        place.axes.push_back({Place::Axis::Kind::point, v.slot});
      } else if (v.kind == Value::Kind::argument && v.slot == 0 && goes_through(v.owner, loops, array_.shape[a])) {
        place.axes.push_back({Place::Axis::Kind::loop, v.owner});
        ++used;
      } else {
        return false;
      }
    }
    for (std::size_t a = 0; a < place.axes.size(); ++a)  // a diagonal is not the whole
      for (std::size_t c = 0; c < a; ++c)
        if (place.axes[a].kind == Place::Axis::Kind::loop && place.axes[c].kind == Place::Axis::Kind::loop &&
            place.axes[a].which == place.axes[c].which)
          return false;
    places_.push_back(std::move(place));
    return used == loops.size();  // every loop around it moves it on
  }
  bool goes_through(std::uint32_t region, const std::vector<OpId>& loops, std::int64_t extent) const {
    for (OpId o : loops) {
      if (!o.valid()) return false;  // under a condition
      const Op& op = k_[o];
      if (op.regions[0].index != region) continue;
      const Value &lo = k_[op.operands[0]], &hi = k_[op.operands[1]];
      return lo.kind == Value::Kind::constant && lo.bits == 0 && hi.kind == Value::Kind::constant &&
             static_cast<std::int64_t>(hi.bits) == extent;
    }
    return false;
  }
  static bool apart(const Place& p, const Place& q) {
    if (p.leaf != q.leaf) return true;
    for (std::size_t a = 0; a < p.axes.size(); ++a) {
      const Place::Axis &x = p.axes[a], &y = q.axes[a];
      if (x.kind == Place::Axis::Kind::constant && y.kind == Place::Axis::Kind::constant && x.which != y.which) return true;
    }
    return false;
  }
};

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
      writes[p] = memory && q.role == Role::accum && zeros && Sums(*k, q.memory, f.type(old)).once(domain, f);
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
