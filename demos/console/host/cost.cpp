// One walk over the regions; loops with constant bounds multiply what is inside.
#include "cost.h"

#include <algorithm>
#include <cmath>

namespace fluxion::console {
namespace {

bool is_function(Opcode op) {
  const std::string_view name = name_of(op);
  for (const std::string_view each :
       {"div",  "sqrt",  "rsqrt", "exp",  "exp2", "expm1", "log",   "log2",  "log10", "log1p", "sin",   "cos", "tan",  "asin", "acos",
        "atan", "atan2", "sinh",  "cosh", "tanh", "asinh", "acosh", "atanh", "pow",   "cbrt",  "hypot", "erf", "erfc", "mod",  "rem"})
    if (name == each) return true;
  return false;
}

struct Walk {
  const Function& f;
  Cost c;

  void region(RegionId r, double times, int depth) {
    c.depth = std::max(c.depth, depth);
    for (const OpId o : f[r].ops) op(f[o], times, depth);
  }
  double bytes(const Op& o) const {
    const Memory& m = f[o.memory];
    if (m.space != Memory::Space::parameter) return 0;  // registers or a cache
    const Layout& l = layout_of(m.element);
    return o.leaf < l.leaves.size() ? size_of(l.leaves[o.leaf].dtype) : 0;
  }
  void op(const Op& o, double times, int depth) {
    if (is_elementwise(o.code)) {
      if (o.operands.empty() || !f.type(o.operands.back()).is_scalar() || !is_float(f.type(o.operands.back()).dtype())) return;
      if (is_function(o.code)) c.functions += times;
      else c.flops += times * (o.code == Opcode::fma ? 2 : 1);
      return;
    }
    switch (o.code) {
      case Opcode::load: c.loaded += times * bytes(o), ++c.loads; break;
      case Opcode::store: c.stored += times * bytes(o), ++c.stores; break;
      case Opcode::accumulate: c.added += times * bytes(o), ++c.accumulates; break;
      case Opcode::atomic: c.added += times * bytes(o), ++c.atomics; break;
      case Opcode::if_: {
        ++c.branches;
        c.exact = false;
        Walk then{f, {}}, other{f, {}};
        if (!o.regions.empty()) then.region(o.regions[0], times, depth);
        if (o.regions.size() > 1) other.region(o.regions[1], times, depth);
        add(then.c, other.c);
        break;
      }
      case Opcode::for_: {
        ++c.loops;
        double trips = 1;
        if (f.is_constant(o.operands[0]) && f.is_constant(o.operands[1]))
          trips = std::max(0.0, static_cast<double>(static_cast<std::int32_t>(f[o.operands[1]].bits)) -
                                    static_cast<double>(static_cast<std::int32_t>(f[o.operands[0]].bits)));
        else c.exact = false;
        for (const RegionId r : o.regions) region(r, times * trips, depth + 1);
        break;
      }
      case Opcode::while_:
        ++c.loops;
        c.exact = false;
        for (const RegionId r : o.regions) region(r, times, depth + 1);
        break;
      case Opcode::call:
        if (o.ref < f.callees.size() && f.callees[o.ref] && f.callees[o.ref]->kind == Function::Kind::fn) {
          Walk inner{*f.callees[o.ref], {}};
          inner.region(inner.f.body, times, depth);
          sum(inner.c);
        }
        break;
      default:
        for (const RegionId r : o.regions) region(r, times, depth);
    }
  }
  void sum(const Cost& o) {
    c.flops += o.flops, c.functions += o.functions, c.loaded += o.loaded, c.stored += o.stored, c.added += o.added;
    c.loads += o.loads, c.stores += o.stores, c.accumulates += o.accumulates, c.atomics += o.atomics;
    c.loops += o.loops, c.branches += o.branches, c.depth = std::max(c.depth, o.depth);
    c.exact = c.exact && o.exact;
  }
  void add(const Cost& a, const Cost& b) {
    Cost longer = a.flops + a.functions + a.loaded + a.stored >= b.flops + b.functions + b.loaded + b.stored ? a : b;
    longer.loads = a.loads + b.loads, longer.stores = a.stores + b.stores, longer.accumulates = a.accumulates + b.accumulates;
    longer.atomics = a.atomics + b.atomics, longer.loops = a.loops + b.loops, longer.branches = a.branches + b.branches;
    sum(longer);
  }
};

}  // namespace

Cost cost_of(const Function& f) {
  Walk walk{f, {}};
  walk.region(f.body, 1, 0);
  return walk.c;
}

}  // namespace fluxion::console
