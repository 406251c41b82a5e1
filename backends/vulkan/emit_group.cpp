// What threads of a group do together: barriers, and subgroup ops where the device's subgroups are the language's (Traits::subgroup).
// gpu::lower_meets leaves subgroup ops only where all threads of a group come by, and only in groups of whole subgroups.
// Numbers travel as words of 32 bits, which every device shuffles.
#include "emitter.h"
#include "fluxion/error.h"

namespace fluxion::vulkan {
using spv::Capability;
using spv::Op;
namespace {

constexpr Word kWorkgroup = 2, kSubgroup = 3;  // scopes

Atomic combination(Subgroup kind) {
  switch (kind) {
    case Subgroup::min: return Atomic::min;
    case Subgroup::max: return Atomic::max;
    case Subgroup::bit_and: return Atomic::bit_and;
    case Subgroup::bit_or: return Atomic::bit_or;
    case Subgroup::bit_xor: return Atomic::bit_xor;
    default: return Atomic::add;
  }
}

/// Of integers of 32 bits.
Op reduction(Subgroup kind, DType t) {
  switch (kind) {
    case Subgroup::min: return is_signed(t) ? Op::OpGroupNonUniformSMin : Op::OpGroupNonUniformUMin;
    case Subgroup::max: return is_signed(t) ? Op::OpGroupNonUniformSMax : Op::OpGroupNonUniformUMax;
    case Subgroup::bit_and: return Op::OpGroupNonUniformBitwiseAnd;
    case Subgroup::bit_or: return Op::OpGroupNonUniformBitwiseOr;
    case Subgroup::bit_xor: return Op::OpGroupNonUniformBitwiseXor;
    default: return Op::OpGroupNonUniformIAdd;
  }
}

}  // namespace

void Emitter::barrier() {
  const auto semantics = static_cast<Word>(spv::MemorySemanticsMask::AcquireRelease | spv::MemorySemanticsMask::WorkgroupMemory |
                                           spv::MemorySemanticsMask::UniformMemory);
  m_.effect(Op::OpControlBarrier, {number(kWorkgroup), number(kWorkgroup), number(semantics)});
}

Word Emitter::shuffled(Word v, DType t, Word lane) {
  m_.capability(Capability::GroupNonUniformShuffle);
  const auto one = [&](Word w) { return m_.op(Op::OpGroupNonUniformShuffle, u32(), {number(kSubgroup), w, lane}); };
  const Word bits = to_memory(v, t);
  if (size_of(t) < 4) return from_memory(m_.op(Op::OpUConvert, m_.int_type(bits_of(t)), {one(m_.op(Op::OpUConvert, u32(), {bits}))}), t);
  if (size_of(t) == 4) return from_memory(one(bits), t);
  const Word low = one(m_.op(Op::OpUConvert, u32(), {bits}));
  const Word high = one(m_.op(Op::OpUConvert, u32(), {binary(Op::OpShiftRightLogical, u64(), bits, wide(32))}));
  const Word upper = binary(Op::OpShiftLeftLogical, u64(), m_.op(Op::OpUConvert, u64(), {high}), wide(32));
  return from_memory(binary(Op::OpBitwiseOr, u64(), upper, m_.op(Op::OpUConvert, u64(), {low})), t);
}

// Neighbours first, the lower lane's number on the left: the same bits in every lane, and of equal numbers (0 and -0) the first one.
Word Emitter::tree(Subgroup kind, DType t, Word v) {
  const Word me = binary(Op::OpBitwiseAnd, u32(), lane_, number(lanes() - 1));
  for (Word k = 1; k < lanes(); k *= 2) {
    const Word other = shuffled(v, t, binary(Op::OpBitwiseXor, u32(), me, number(k)));
    const Word bit = binary(Op::OpBitwiseAnd, u32(), me, number(k));
    const Word right = binary(Op::OpINotEqual, m_.bool_type(), bit, number(0));
    const Word a = m_.op(Op::OpSelect, type(t), {right, other, v}), b = m_.op(Op::OpSelect, type(t), {right, v, other});
    v = combine(combination(kind), t, a, b);
  }
  return v;
}

// Of the lanes up to this one, or from it on.
Word Emitter::scan(bool back, DType t, Word v) {
  const Word me = binary(Op::OpBitwiseAnd, u32(), lane_, number(lanes() - 1));
  for (Word k = 1; k < lanes(); k *= 2) {
    const Word from = binary(Op::OpBitwiseAnd, u32(), binary(back ? Op::OpIAdd : Op::OpISub, u32(), me, number(k)), number(lanes() - 1));
    const Word other = shuffled(v, t, from);
    const Word there = back ? binary(Op::OpULessThan, m_.bool_type(), me, number(lanes() - k))
                            : binary(Op::OpUGreaterThanEqual, m_.bool_type(), me, number(k));
    const Word sum = back ? combine(Atomic::add, t, v, other) : combine(Atomic::add, t, other, v);
    v = m_.op(Op::OpSelect, type(t), {there, sum, v});
  }
  return v;
}

Word Emitter::subgroup_op(const fluxion::Op& op) {
  out_.subgroup = traits_.subgroup;
  m_.capability(Capability::GroupNonUniform);
  const DType t = f_.type(op.operands[0]).dtype();
  const auto kind = static_cast<Subgroup>(op.kind);
  const Word v = value(op.operands[0]);
  switch (kind) {
    case Subgroup::add:
    case Subgroup::min:
    case Subgroup::max:
    case Subgroup::bit_and:
    case Subgroup::bit_or:
    case Subgroup::bit_xor:
    case Subgroup::scan_add: {
      if (is_bool(t) && kind != Subgroup::bit_xor) {
        m_.capability(Capability::GroupNonUniformVote);
        const bool any = kind == Subgroup::bit_or || kind == Subgroup::max;
        return m_.op(any ? Op::OpGroupNonUniformAny : Op::OpGroupNonUniformAll, m_.bool_type(), {number(kSubgroup), v});
      }
      if (!is_int(t) || is_bool(t) || size_of(t) == 8) return kind == Subgroup::scan_add ? scan(false, t, v) : tree(kind, t, v);
      m_.capability(Capability::GroupNonUniformArithmetic);
      const DType word = is_signed(t) ? DType::i32 : DType::u32;
      const auto how = kind == Subgroup::scan_add ? spv::GroupOperation::InclusiveScan : spv::GroupOperation::Reduce;
      const Word all = m_.op(reduction(kind, t), u32(), {number(kSubgroup), static_cast<Word>(how), convert(v, t, word)});
      return convert(all, word, t);
    }
    case Subgroup::scan_add_back: return scan(true, t, v);
    case Subgroup::shuffle: {
      const Word lane = value(op.operands[1]);
      const Word got = shuffled(v, t, binary(Op::OpBitwiseAnd, u32(), lane, number(lanes() - 1)));
      return m_.op(Op::OpSelect, type(t), {binary(Op::OpULessThan, m_.bool_type(), lane, number(lanes())), got, m_.null(type(t))});
    }
    case Subgroup::scatter_add: {
      const Word lane = value(op.operands[1]), me = binary(Op::OpBitwiseAnd, u32(), lane_, number(lanes() - 1));
      Word sum = m_.null(type(t));
      for (Word k = 0; k < lanes(); ++k) {
        const Word mine = binary(Op::OpIEqual, m_.bool_type(), shuffled(lane, DType::i32, number(k)), me);
        sum = m_.op(Op::OpSelect, type(t), {mine, combine(Atomic::add, t, sum, shuffled(v, t, number(k))), sum});
      }
      return sum;
    }
  }
  throw Bug(op.loc, "vulkan: a subgroup op without a meaning");
}

}  // namespace fluxion::vulkan
