// What the transforms need to know of a function before they rebuild it: where things live, and which values
// carry derivatives. Read-only; made once for each function.
#pragma once
#include <vector>

#include "fluxion/ir.h"

namespace fluxion::ad {

/// The tree of regions, and where each value is defined.
struct Structure {
  explicit Structure(const Function& f);
  const Function& f;
  std::vector<RegionId> region_of;      // by op: the region that holds it
  std::vector<OpId> op_of;              // by region: the op that owns it; invalid for the body
  std::vector<std::uint32_t> position;  // by op: its place in its region

  RegionId home(ValueId v) const;                     // constants and parameters: the body
  RegionId scope(MemoryId m) const;                   // parameters: the body
  RegionId parent(RegionId r) const;                  // invalid for the body
  bool within(RegionId inner, RegionId outer) const;  // reflexive
  bool strictly_within(RegionId inner, RegionId outer) const { return inner != outer && within(inner, outer); }
};

/// Which values have derivatives. `varied`: depends on what we differentiate with respect to. `useful`: what we
/// differentiate depends on it. `tainted`: its cotangent may be a zero that a mask put there, and such a zero
/// must win against an infinite factor (Fluxion multiplies those with mulz).
struct Activity {
  std::vector<char> varied, useful, tainted;                       // by value
  std::vector<char> memory_varied, memory_useful, memory_tainted;  // by memory

  bool active(ValueId v) const { return varied[v.index] && useful[v.index]; }
  bool active(MemoryId m) const { return memory_varied[m.index] && memory_useful[m.index]; }

  /// Fixed points over the whole function from what the caller has set. Throws KernelError for what cannot be
  /// differentiated.
  void spread_varied(const Function& f);
  void spread_useful(const Structure& s);  // needs varied; spreads tainted too
  explicit Activity(const Function& f);
};

/// The type of a tangent, cotangent or gradient: f16 and bf16 become f32.
DType adjoint_of(DType t);
LayoutId adjoint_of(LayoutId id, Loc loc);  // throws KernelError for structs with half-precision leaves
Type adjoint_of(const Type& t, Loc loc);
/// True for types of which at least one leaf is floating point, element of a seq or array included.
bool differentiable(const Type& t);

}  // namespace fluxion::ad
