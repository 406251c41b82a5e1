// Sums of all threads of a launch to a few places, a gradient of a scalar say: a warp's threads add up theirs by shuffles, and one of
// them adds that to memory, where the others of the launch come too. Integers in any order, which also the limbs of exact sums are
// (gpu/sums.h): there the threads of a warp add to a few neighbouring ones. Floats where the order is not specified anyway.
#include <llvm/IR/IntrinsicsNVPTX.h>

#include "emitter.h"

namespace fluxion::cuda {
namespace in = llvm::Intrinsic;
namespace {
constexpr std::uint32_t kPlaces = 4;  // that a warp adds to together; threads that add to others do so alone
}

bool Emitter::warp_sums(OpId o) const {
  const Op& op = f_[o];
  if (f_[op.memory].space != Memory::Space::parameter || size_of(leaf_type(op)) < 4) return false;
  if (alignment(op).value() < static_cast<std::uint64_t>(size_of(leaf_type(op)))) return false;
  std::size_t same = 0, indices = op.operands.size() - 1;
  for (std::size_t k = 0; k < indices; ++k) same += together_.same(op.operands[k]);
  const bool limbs = indices == 2 && same == 1 && !is_float(leaf_type(op));
  return (same == indices || limbs) && together_.come_by(o);
}

void Emitter::warp_sum(const Op& op) {
  const DType t = leaf_type(op);
  Node *v = value(op.operands.back()), *where = pointer(op);
  Node* me = b_.CreateAnd(lane_, 31);
  llvm::Constant* nothing = llvm::Constant::getNullValue(v->getType());
  const auto add = [&](Node* sum) {
    const llvm::Align align(static_cast<unsigned>(size_of(t)));
    b_.CreateAtomicRMW(is_float(t) ? llvm::AtomicRMWInst::FAdd : llvm::AtomicRMWInst::Add, where, sum, align,
                       llvm::AtomicOrdering::Monotonic);
  };
  const auto of_warp = [&](Node* part) {
    for (std::uint32_t k = kSubgroupSize / 2; k > 0; k /= 2)
      part = combine(Atomic::add, t, part, shuffled(in::nvvm_shfl_sync_bfly_i32, part, t, b_.getInt32(k)));
    return part;
  };
  Node* place = nullptr;  // of this thread, where they differ
  for (std::size_t k = 0; k + 1 < op.operands.size(); ++k)
    if (!together_.same(op.operands[k])) place = value(op.operands[k]);
  BasicBlock *whole = block("whole"), *alone = block("alone"), *after = block("added");
  Node* some = is_float(t) ? b_.getTrue() : b_.CreateICmpNE(v, nothing);
  BasicBlock* before = b_.GetInsertBlock();
  b_.CreateCondBr(whole_, whole, alone);
  b_.SetInsertPoint(alone);
  auto* left = b_.CreatePHI(b_.getInt1Ty(), 2);  // what this thread has not added yet
  left->addIncoming(some, before);
  when(left, [&] { add(v); });
  b_.CreateBr(after);
  b_.SetInsertPoint(whole);
  if (!place) {
    Node* sum = of_warp(v);
    when(b_.CreateICmpEQ(me, b_.getInt32(0)), [&] { add(sum); });
    b_.CreateBr(after);
    b_.SetInsertPoint(after);
    return;
  }
  BasicBlock *head = block("places"), *next = block("place");
  b_.CreateBr(head);
  b_.SetInsertPoint(head);
  auto* round = b_.CreatePHI(b_.getInt32Ty(), 2);
  auto* pending = b_.CreatePHI(b_.getInt1Ty(), 2);
  round->addIncoming(b_.getInt32(0), whole);
  pending->addIncoming(some, whole);
  Node* who = b_.CreateIntrinsic(in::nvvm_vote_ballot_sync, {}, {b_.getInt32(~0u), pending});
  Node* more = b_.CreateAnd(b_.CreateICmpNE(who, b_.getInt32(0)), b_.CreateICmpULT(round, b_.getInt32(kPlaces)));
  left->addIncoming(pending, head);
  b_.CreateCondBr(more, next, alone);
  b_.SetInsertPoint(next);
  Node* first = b_.CreateBinaryIntrinsic(in::cttz, who, b_.getFalse());
  Node* here = shuffled(in::nvvm_shfl_sync_idx_i32, place, DType::i32, first);
  Node* mine = b_.CreateAnd(pending, b_.CreateICmpEQ(place, here));
  Node* sum = of_warp(b_.CreateSelect(mine, v, nothing));
  when(b_.CreateICmpEQ(me, first), [&] { add(sum); });
  round->addIncoming(b_.CreateAdd(round, b_.getInt32(1)), b_.GetInsertBlock());
  pending->addIncoming(b_.CreateAnd(pending, b_.CreateNot(mine)), b_.GetInsertBlock());
  b_.CreateBr(head);
  b_.SetInsertPoint(after);
}

}  // namespace fluxion::cuda
