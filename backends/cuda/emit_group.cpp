// Subgroup ops by shuffles: the language's subgroup is a warp. gpu::lower_meets leaves them where no thread of a group is missing.
#include <llvm/IR/IntrinsicsNVPTX.h>

#include "emitter.h"
#include "fluxion/error.h"

namespace fluxion::cuda {
namespace in = llvm::Intrinsic;
namespace {
constexpr int kWarp = kSubgroupSize;
static_assert(kWarp == 32, "backends/cuda: a subgroup is a warp");
}  // namespace

// Threads of this thread's warp.
Node* Emitter::active_lanes() {
  if (threads_ % kWarp == 0) return b_.getInt32(kWarp);
  Node* first = b_.CreateAnd(lane_, b_.getInt32(~31u));
  return b_.CreateBinaryIntrinsic(in::umin, b_.CreateSub(b_.getInt32(static_cast<std::uint32_t>(threads_)), first), b_.getInt32(kWarp));
}
Node* Emitter::mask() {
  if (threads_ % kWarp == 0) return b_.getInt32(~0u);
  return b_.CreateLShr(b_.getInt32(~0u), b_.CreateSub(b_.getInt32(kWarp), active_lanes()));
}

// In words of 32 bits.
Node* Emitter::shuffled(in::ID how, Node* v, DType t, Node* lane) {
  Node* bits = to_bits(v, t);
  const bool two = size_of(t) == 8;
  Node* limit = b_.getInt32(how == in::nvvm_shfl_sync_up_i32 ? 0 : 31);
  const auto one = [&](Node* word) { return b_.CreateIntrinsic(how, {}, {mask(), word, lane, limit}); };
  if (!two) return from_bits(b_.CreateTrunc(one(b_.CreateZExt(bits, b_.getInt32Ty())), bits_type(t)), t);
  Node* low = one(b_.CreateTrunc(bits, b_.getInt32Ty()));
  Node* high = one(b_.CreateTrunc(b_.CreateLShr(bits, 32), b_.getInt32Ty()));
  Node* all = b_.CreateOr(b_.CreateZExt(low, b_.getInt64Ty()), b_.CreateShl(b_.CreateZExt(high, b_.getInt64Ty()), 32));
  return from_bits(all, t);
}

Node* Emitter::subgroup_op(const Op& op) {
  const DType t = f_.type(op.operands[0]).dtype();
  const auto kind = static_cast<Subgroup>(op.kind);
  Node* v = value(op.operands[0]);
  Node* me = b_.CreateAnd(lane_, b_.getInt32(31));
  const bool whole = threads_ % kWarp == 0;
  const auto tree = [&](Atomic how) {
    // Each step pairs lanes whose numbers differ in one bit: all get the same bits. With lanes missing, the first one gets all.
    for (std::uint32_t k = kWarp / 2; k > 0; k /= 2) {
      if (whole) {
        v = combine(how, t, v, shuffled(in::nvvm_shfl_sync_bfly_i32, v, t, b_.getInt32(k)));
        continue;
      }
      Node* other = shuffled(in::nvvm_shfl_sync_down_i32, v, t, b_.getInt32(k));
      Node* there = b_.CreateICmpULT(b_.CreateAdd(me, b_.getInt32(k)), active_lanes());
      v = b_.CreateSelect(there, combine(how, t, v, other), v);
    }
    return whole ? v : shuffled(in::nvvm_shfl_sync_idx_i32, v, t, b_.getInt32(0));
  };
  const auto scan = [&](bool back) {
    for (std::uint32_t k = 1; k < kWarp; k *= 2) {
      Node* other = shuffled(back ? in::nvvm_shfl_sync_down_i32 : in::nvvm_shfl_sync_up_i32, v, t, b_.getInt32(k));
      Node* there = back ? b_.CreateICmpULT(b_.CreateAdd(me, b_.getInt32(k)), active_lanes()) : b_.CreateICmpUGE(me, b_.getInt32(k));
      v = b_.CreateSelect(there, back ? combine(Atomic::add, t, v, other) : combine(Atomic::add, t, other, v), v);
    }
    return v;
  };
  switch (kind) {
    case Subgroup::add: return tree(Atomic::add);
    case Subgroup::min: return tree(Atomic::min);
    case Subgroup::max: return tree(Atomic::max);
    case Subgroup::bit_and: return tree(Atomic::bit_and);
    case Subgroup::bit_or: return tree(Atomic::bit_or);
    case Subgroup::bit_xor: return tree(Atomic::bit_xor);
    case Subgroup::scan_add: return scan(false);
    case Subgroup::scan_add_back: return scan(true);
    case Subgroup::shuffle: {
      Node* lane = value(op.operands[1]);
      Node* got = shuffled(in::nvvm_shfl_sync_idx_i32, v, t, b_.CreateAnd(lane, b_.getInt32(31)));
      return b_.CreateSelect(b_.CreateICmpULT(lane, active_lanes()), got, llvm::Constant::getNullValue(v->getType()));
    }
    case Subgroup::scatter_add: {
      Node* lane = value(op.operands[1]);
      Node* sum = llvm::Constant::getNullValue(v->getType());
      for (std::uint32_t k = 0; k < kWarp && k < static_cast<std::uint32_t>(threads_); ++k) {
        Node* from = b_.getInt32(k);
        Node* named = b_.CreateICmpEQ(shuffled(in::nvvm_shfl_sync_idx_i32, lane, DType::i32, from), me);
        Node* mine = b_.CreateAnd(named, b_.CreateICmpULT(from, active_lanes()));
        sum = b_.CreateSelect(mine, combine(Atomic::add, t, sum, shuffled(in::nvvm_shfl_sync_idx_i32, v, t, from)), sum);
      }
      return sum;
    }
  }
  throw Bug(op.loc, "cuda: a subgroup op without a meaning");
}

}  // namespace fluxion::cuda
