// Copies ops from one function into another while renaming: the one helper on which passes and
// transforms rebuild functions.
#pragma once
#include <functional>
#include <vector>

#include "fluxion/builder.h"

namespace fluxion {

class FLUXION_API Rewriter {
 public:
  /// Returns true when it has dealt with the op itself (and mapped its results, if they are used).
  using Hook = std::function<bool(Rewriter&, OpId)>;

  Rewriter(const Function& from, Builder& to);

  const Function& from;
  Builder& to;
  Hook hook;                  // called for every op before it is copied; may be empty
  std::vector<bool> dropped;  // by old memory id: locals that are not made in `to`; may be empty

  ValueId operator()(ValueId old) const;  // constants are made in `to` on first use
  Values operator()(const Values& old) const;
  MemoryId operator()(MemoryId old) const;
  bool mapped(ValueId old) const;
  void map(ValueId old, ValueId now);
  void map(MemoryId old, MemoryId now);
  void map(const Values& old, const Values& now);

  /// Copies parameters, memories and index arguments into an empty `to`, with equal names, and maps them.
  void copy_signature();
  /// Copies every op of the region but its yield into the current region of `to`.
  void copy_ops(RegionId region);
  void copy_op(OpId op);  // hook first, then as it is, nested regions included
  /// Opens a copy of `region` in `to` (mapping its arguments), copies its ops, closes it with the mapped yields.
  RegionId copy_region(RegionId region);
  /// The for loop `loop` again, over [lo, hi) and from `init`, all of `to`. It must collect nothing. -> its carries
  Values copy_for(const Op& loop, ValueId lo, ValueId hi, const Values& init);

 private:
  mutable std::vector<ValueId> values_;
  std::vector<MemoryId> memories_;
};

/// A local or shared memory in `to` like `m` of another function; a local belongs to the current region.
FLUXION_API MemoryId make_like(Builder& to, const Memory& m);

/// Rebuilds `f` through `hook`: signature, body, yields.
FLUXION_API Function rewrite(const Function& f, const Rewriter::Hook& hook);

}  // namespace fluxion
