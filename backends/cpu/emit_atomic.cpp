// Atomics: lane by lane, in order. Real atomic instructions only where other threads may come to the same element:
// shared memory belongs to one thread of the host, and so does a launch whose order shows (plan.cpp).
#include <llvm/IR/Intrinsics.h>

#include "emitter.h"
#include "fluxion/error.h"
#include "fluxion/mutants.h"

namespace fluxion::cpu {

/// Calls `body` for each active lane, an i64, the lowest first. `unroll`: how many at a time when all are active.
void Emitter::for_active_lanes(const std::function<void(Node*)>& body, unsigned unroll) {
  llvm::Type* i64 = b.getInt64Ty();
  if (W == 1) {  // one lane, and it is active where code is branched to
    if (!mask_) return body(b.getInt64(0));
  }
  if (!mask_) {
    BasicBlock *before = b.GetInsertBlock(), *loop = block("lane"), *after = block("lanes.done");
    const unsigned step = std::min(W, unroll);
    b.CreateBr(loop);
    b.SetInsertPoint(loop);
    PHINode* lane = phi(i64);
    lane->addIncoming(b.getInt64(0), before);
    for (unsigned k = 0; k < step; ++k) body(k ? b.CreateAdd(lane, b.getInt64(k)) : lane);
    Node* next = b.CreateAdd(lane, b.getInt64(step));
    lane->addIncoming(next, b.GetInsertBlock());
    b.CreateCondBr(b.CreateICmpULT(next, b.getInt64(W)), loop, after);
    b.SetInsertPoint(after);
    return;
  }
  for (unsigned word = 0; word < W; word += 64) {
    Node* bits = bits_of(mask_);
    if (word) bits = b.CreateLShr(bits, b.getIntN(W, word));
    Node* active = b.CreateZExtOrTrunc(bits, i64);
    if (planted(testing::Mutant::lanes_last)) active = b.CreateAnd(active, b.CreateSub(active, b.getInt64(1)));
    BasicBlock *before = b.GetInsertBlock(), *loop = block("lane"), *after = block("lanes.done");
    b.CreateCondBr(b.CreateICmpNE(active, b.getInt64(0)), loop, after);
    b.SetInsertPoint(loop);
    PHINode* left = phi(i64);
    left->addIncoming(active, before);
    Node* lane = b.CreateBinaryIntrinsic(llvm::Intrinsic::cttz, left, b.getTrue());
    body(word ? b.CreateAdd(lane, b.getInt64(word)) : lane);
    Node* next = b.CreateAnd(left, b.CreateSub(left, b.getInt64(1)));
    left->addIncoming(next, b.GetInsertBlock());
    b.CreateCondBr(b.CreateICmpNE(next, b.getInt64(0)), loop, after);
    b.SetInsertPoint(after);
  }
}

/// What `old` becomes; scalars or vectors.
Node* Emitter::changed(Atomic kind, DType t, Node* old, llvm::ArrayRef<Node*> x) {
  switch (kind) {
    case Atomic::add: return add(t, old, x[0]);
    case Atomic::min:
    case Atomic::max: {
      const bool least = kind == Atomic::min;
      Node* r = compute(least ? Opcode::min : Opcode::max, t, {old, x[0]});
      if (!is_float(t)) return r;
      // Of two zeros -0 is the smaller one: then the order of the threads does not show.
      llvm::Type* bits = like(old, b.getIntNTy(static_cast<unsigned>(size_of(t)) * 8));
      Node *a = b.CreateBitCast(old, bits), *d = b.CreateBitCast(x[0], bits);
      Node* tie = b.CreateBitCast(least ? b.CreateOr(a, d) : b.CreateAnd(a, d), old->getType());
      return b.CreateSelect(b.CreateFCmpOEQ(old, x[0]), tie, r);
    }
    case Atomic::bit_and: return b.CreateAnd(old, x[0]);
    case Atomic::bit_or: return b.CreateOr(old, x[0]);
    case Atomic::bit_xor: return b.CreateXor(old, x[0]);
    case Atomic::exchange: return x[0];
    case Atomic::compare_exchange: {  // of bits
      llvm::Type* bits = like(old, b.getIntNTy(static_cast<unsigned>(size_of(t)) * 8));
      return b.CreateSelect(b.CreateICmpEQ(b.CreateBitCast(old, bits), b.CreateBitCast(x[0], bits)), x[1], old);
    }
  }
  return nullptr;
}

/// One lane's; the old number. `threads`: others may be at the same element.
Node* Emitter::change_at(const Op& op, DType t, Node* pointer, llvm::ArrayRef<Node*> x, bool threads) {
  const auto kind = static_cast<Atomic>(op.kind);
  const llvm::Align align(size_of(t));
  llvm::Type* type = scalar_type(t);
  if (!threads) {
    Node* old = tag(b.CreateAlignedLoad(type, pointer, align), op.memory);
    tag(b.CreateAlignedStore(changed(kind, t, old, x), pointer, align), op.memory);
    return old;
  }
  constexpr auto order = llvm::AtomicOrdering::Monotonic;
  if (!is_float(t) && kind != Atomic::compare_exchange) {
    using Rmw = llvm::AtomicRMWInst;
    const bool sign = is_signed(t);
    const Rmw::BinOp ops[] = {Rmw::Add, sign ? Rmw::Min : Rmw::UMin, sign ? Rmw::Max : Rmw::UMax, Rmw::And, Rmw::Or, Rmw::Xor, Rmw::Xchg};
    return tag(b.CreateAtomicRMW(ops[op.kind], pointer, x[0], align, order), op.memory);
  }
  llvm::Type* bits = b.getIntNTy(static_cast<unsigned>(size_of(t)) * 8);
  auto* first = tag(b.CreateAlignedLoad(bits, pointer, align), op.memory);
  first->setAtomic(order);
  BasicBlock *before = b.GetInsertBlock(), *loop = block("try"), *after = block("changed");
  b.CreateBr(loop);
  b.SetInsertPoint(loop);
  PHINode* seen = phi(bits);
  seen->addIncoming(first, before);
  Node* old = b.CreateBitCast(seen, type);
  Node* fresh = b.CreateBitCast(changed(kind, t, old, x), bits);
  auto* done = tag(b.CreateAtomicCmpXchg(pointer, seen, fresh, align, order, order), op.memory);
  seen->addIncoming(b.CreateExtractValue(done, 0), b.GetInsertBlock());
  b.CreateCondBr(b.CreateExtractValue(done, 1), after, loop);
  b.SetInsertPoint(after);
  return old;
}

void Emitter::atomic(OpId o) {
  const Op& op = f[o];
  check_bounds(o);
  if (f[op.memory].space == Memory::Space::local) return local_access(o);
  const DType t = layout_of(f[op.memory].element).leaves[op.leaf].dtype;
  llvm::Type* type = scalar_type(t);
  const bool threads = f[op.memory].space == Memory::Space::parameter && threads_meet_;
  const bool wanted = used(op.results[0]);
  Place p = place(op, op.leaf);
  if (p.kind == Access::Kind::contiguous)  // lanes have elements of their own
    p.pointers = b.CreateGEP(llvm::ArrayType::get(b.getInt8Ty(), layout_of(f[op.memory].element).size), p.pointer, lanes());
  llvm::AllocaInst* pointers = nullptr;
  if (p.pointers) {
    pointers = slot(p.pointers->getType(), nullptr, 64);
    b.CreateStore(p.pointers, pointers);
  }
  llvm::SmallVector<Node*, 2> values;
  const auto rank = static_cast<std::size_t>(f[op.memory].rank);
  for (std::size_t k = rank; k < op.operands.size(); ++k) {
    if (u.uniform(op.operands[k])) {
      values.push_back(scalar(op.operands[k]));
      continue;
    }
    auto* list = slot(vec(type), nullptr, 64);
    b.CreateStore(vector(op.operands[k]), list);
    values.push_back(list);
  }
  llvm::AllocaInst* results = wanted ? slot(vec(type), nullptr, 64) : nullptr;
  for_active_lanes([&](Node* lane) {
    Node* at = pointers ? b.CreateLoad(b.getPtrTy(), b.CreateGEP(b.getPtrTy(), pointers, lane)) : p.pointer;
    llvm::SmallVector<Node*, 2> x;
    for (std::size_t k = rank; k < op.operands.size(); ++k) {
      Node* v = values[k - rank];
      x.push_back(u.uniform(op.operands[k]) ? v : b.CreateLoad(type, b.CreateGEP(type, v, lane)));
    }
    Node* old = change_at(op, t, at, x, threads);
    if (wanted) b.CreateStore(old, b.CreateGEP(type, results, lane));
  });
  if (wanted) set(op.results[0], b.CreateLoad(vec(type), results));
}

}  // namespace fluxion::cpu
