// load, store and accumulate backwards: a load adds to the adjoint memory, a store takes from it and clears
// what it took, an accumulate takes and leaves it.
#include "groups.h"
#include "fluxion/mutants.h"
#include "reverse.h"

namespace fluxion::ad {
namespace {

bool float_leaf(const Function& f, const Op& op) { return is_float(layout_of(f[op.memory].element).leaves[op.leaf].dtype); }

}  // namespace

void Reverse::make_local_adjoints(RegionId r) {
  for (std::uint32_t m = 0; m < f_.memories.size(); ++m) {
    const Memory& mem = f_.memories[m];
    if (mem.space != Memory::Space::parameter && mem.scope == r && act_.active(MemoryId{m}))
      memory[m].adjoint = make_adjoint_like(b_, mem, "_bar");
  }
}

void Reverse::reverse_load(const Op& op) {
  const ValueId y = adjoint[op.results[0].index];
  const MemoryPlan& plan = memory[op.memory.index];
  if (!y.valid() || !plan.adjoint.valid()) return;
  const int leaf = planted(testing::Mutant::load_first_leaf) ? 0 : op.leaf;
  if (planted(testing::Mutant::load_replaces) && b_.function()[plan.adjoint].role == Role::inout)
    b_.store(plan.adjoint, primal(op.operands), y, leaf);
  else b_.accumulate(plan.adjoint, primal(op.operands), y, leaf);
}

void Reverse::reverse_store(const Op& op) {
  const MemoryPlan& plan = memory[op.memory.index];
  if (!plan.adjoint.valid() || !float_leaf(f_, op)) return;
  const ValueId v = op.operands.back();
  const Values at = primal(Values(op.operands.begin(), op.operands.end() - 1));
  if (act_.active(v) && !planted(testing::Mutant::store_gives_nothing)) add_adjoint(v, b_.load(plan.adjoint, at, op.leaf));
  if (!plan.clear || planted(testing::Mutant::no_zeroing)) return;
  const DType t = layout_of(b_.function()[plan.adjoint].element).leaves[op.leaf].dtype;
  b_.store(plan.adjoint, at, b_.constant_float(t, 0), planted(testing::Mutant::clear_first_leaf) ? 0 : op.leaf);
}

void Reverse::reverse_accumulate(const Op& op) {
  const MemoryPlan& plan = memory[op.memory.index];
  if (!plan.adjoint.valid() || !float_leaf(f_, op)) return;
  const ValueId v = op.operands.back();
  const Values at = primal(Values(op.operands.begin(), op.operands.end() - 1));
  if (act_.active(v) && !planted(testing::Mutant::accumulate_gives_nothing)) add_adjoint(v, b_.load(plan.adjoint, at, op.leaf));
  if (!planted(testing::Mutant::zero_after_accumulate) || b_.function()[plan.adjoint].role == Role::in) return;
  const DType t = layout_of(b_.function()[plan.adjoint].element).leaves[op.leaf].dtype;
  b_.store(plan.adjoint, at, b_.constant_float(t, 0), op.leaf);
}

}  // namespace fluxion::ad
