// Atomics: native where the hardware has them (integers of 32 and 64 bits, sums of f32 and f64), else by compare and exchange, of narrow
// elements within the word around them. They are relaxed: nothing but the element itself is ordered.
#include "emitter.h"
#include "fluxion/error.h"

namespace fluxion::cuda {
namespace {
constexpr auto kRelaxed = llvm::AtomicOrdering::Monotonic;
}

// Of a and b the smaller, or the one that is not NaN.
Node* Emitter::smaller(DType t, Node* a, Node* b) {
  Node* r = b_.CreateSelect(elementwise(Opcode::lt, t, {b, a}), b, a);
  return is_float(t) ? b_.CreateSelect(b_.CreateFCmpUNO(a, a), b, r) : r;
}
Node* Emitter::larger(DType t, Node* a, Node* b) {
  Node* r = b_.CreateSelect(elementwise(Opcode::lt, t, {a, b}), b, a);
  return is_float(t) ? b_.CreateSelect(b_.CreateFCmpUNO(a, a), b, r) : r;
}

Node* Emitter::combine(Atomic kind, DType t, Node* old, Node* v) {
  switch (kind) {
    case Atomic::add: return elementwise(Opcode::add, t, {old, v});
    case Atomic::min: return smaller(t, old, v);
    case Atomic::max: return larger(t, old, v);
    case Atomic::bit_and: return elementwise(Opcode::bit_and, t, {old, v});
    case Atomic::bit_or: return elementwise(Opcode::bit_or, t, {old, v});
    case Atomic::bit_xor: return elementwise(Opcode::bit_xor, t, {old, v});
    case Atomic::exchange: return v;
    case Atomic::compare_exchange: break;
  }
  throw Bug(f_.loc, "cuda: an atomic without a meaning");
}

Node* Emitter::exchange_loop(const Op& op, const std::function<Node*(Node*)>& next) {
  const DType t = leaf_type(op);
  const bool narrow = size_of(t) < 4;
  llvm::Type* word = size_of(t) == 8 ? b_.getInt64Ty() : b_.getInt32Ty();
  Node *where = pointer(op), *shift = nullptr;
  if (narrow) {
    Node* low = b_.CreateAnd(b_.CreatePtrToInt(where, b_.getInt64Ty()), b_.getInt64(3));
    shift = b_.CreateTrunc(b_.CreateShl(low, 3), b_.getInt32Ty());
    where = b_.CreateGEP(b_.getInt8Ty(), where, {b_.CreateNeg(low)});
  }
  Node* ones = b_.getInt32(size_of(t) == 1 ? 0xff : 0xffff);
  const auto extract = [&](Node* w) {
    if (narrow) w = b_.CreateTrunc(b_.CreateLShr(w, shift), bits_type(t));
    return from_bits(w, t);
  };
  const auto insert = [&](Node* w, Node* v) {
    v = to_bits(v, t);
    if (!narrow) return v;
    v = b_.CreateShl(b_.CreateZExt(v, b_.getInt32Ty()), shift);
    return b_.CreateOr(b_.CreateAnd(w, b_.CreateNot(b_.CreateShl(ones, shift))), v);
  };
  const llvm::Align align(static_cast<unsigned>(std::max(4, size_of(t))));
  auto* first = b_.CreateAlignedLoad(word, where, align);
  first->setAtomic(kRelaxed);
  BasicBlock *before = b_.GetInsertBlock(), *again = block("exchange"), *after = block("exchanged");
  b_.CreateBr(again);
  b_.SetInsertPoint(again);
  auto* seen = b_.CreatePHI(word, 2);
  seen->addIncoming(first, before);
  Node* old = extract(seen);
  Node* now = insert(seen, next(old));
  Node* result = b_.CreateAtomicCmpXchg(where, seen, now, align, kRelaxed, kRelaxed);
  Node* found = b_.CreateExtractValue(result, 0);
  Node* done = b_.CreateExtractValue(result, 1);
  seen->addIncoming(found, b_.GetInsertBlock());
  b_.CreateCondBr(done, after, again);
  b_.SetInsertPoint(after);
  return old;
}

Node* Emitter::atomic_op(const Op& op, Atomic kind) {
  const DType t = leaf_type(op);
  const auto n = op.operands.size();
  Node* v = value(op.operands.back());
  const auto exchanged = [&](Node* old) -> Node* {
    if (kind != Atomic::compare_exchange) return combine(kind, t, old, v);
    Node* same = b_.CreateICmpEQ(to_bits(old, t), to_bits(value(op.operands[n - 2]), t));
    return b_.CreateSelect(same, v, old);
  };
  if (f_[op.memory].space == Memory::Space::local) {  // nobody else comes there
    Node* old = load_op(op);
    store_op(op, exchanged(old));
    return old;
  }
  const llvm::Align align(static_cast<unsigned>(size_of(t)));
  const bool aligned = alignment(op) >= align;
  if (!aligned)
    throw KernelError(op.loc, "kernel \"" + f_.name + "\": an atomic on \"" + f_[op.memory].name +
                                  "\", whose elements lie at multiples of " + std::to_string(alignment(op).value()) +
                                  " bytes, needs multiples of their size; pad the element");
  if (size_of(t) < 4) return exchange_loop(op, exchanged);
  if (kind == Atomic::compare_exchange) {
    Node* result = b_.CreateAtomicCmpXchg(pointer(op), to_bits(value(op.operands[n - 2]), t), to_bits(v, t), align, kRelaxed, kRelaxed);
    return from_bits(b_.CreateExtractValue(result, 0), t);
  }
  using R = llvm::AtomicRMWInst;
  if (kind == Atomic::exchange) return from_bits(b_.CreateAtomicRMW(R::Xchg, pointer(op), to_bits(v, t), align, kRelaxed), t);
  if (is_float(t)) {
    if (kind == Atomic::add) return b_.CreateAtomicRMW(R::FAdd, pointer(op), v, align, kRelaxed);
    return exchange_loop(op, exchanged);
  }
  const R::BinOp how = kind == Atomic::add       ? R::Add
                       : kind == Atomic::min     ? (is_signed(t) ? R::Min : R::UMin)
                       : kind == Atomic::max     ? (is_signed(t) ? R::Max : R::UMax)
                       : kind == Atomic::bit_and ? R::And
                       : kind == Atomic::bit_or  ? R::Or
                                                 : R::Xor;
  return b_.CreateAtomicRMW(how, pointer(op), v, align, kRelaxed);
}

}  // namespace fluxion::cuda
