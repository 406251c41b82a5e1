// What a kernel tells the host: indices out of bounds, check and print. A failure leaves the kernel by a jump of the
// runtime (launch.cpp), with the number of its site and the values of the first lane that failed.
#include <llvm/IR/Intrinsics.h>
#include <llvm/IR/MDBuilder.h>

#include "emitter.h"
#include "fluxion/error.h"

namespace fluxion::cpu {

Node* Emitter::as_bits(Node* n) {
  llvm::Type* t = n->getType();
  if (t->isFloatingPointTy()) n = b.CreateBitCast(n, b.getIntNTy(t->getPrimitiveSizeInBits()));
  return b.CreateZExt(n, b.getInt64Ty());
}

void Emitter::fail_if(Node* bad, OpId o, llvm::ArrayRef<Node*> values) {
  const bool wide = bad->getType()->isVectorTy();
  BasicBlock *fail = block("fail"), *go_on = block("ok");
  b.CreateCondBr(wide ? any(bad) : bad, fail, go_on, llvm::MDBuilder(c).createBranchWeights(1, 1 << 20));
  b.SetInsertPoint(fail);
  auto* list = slot(llvm::ArrayType::get(b.getInt64Ty(), values.size() + 1));
  Node* lane = nullptr;
  if (wide) lane = first_lane(bad);
  else if (mask_) lane = first_lane(mask_);
  for (std::size_t k = 0; k < values.size(); ++k) {
    Node* n = values[k];
    if (n->getType()->isVectorTy()) n = lane ? b.CreateExtractElement(n, lane) : b.CreateExtractElement(n, std::uint64_t{0});
    b.CreateStore(as_bits(n), b.CreateConstGEP1_64(b.getInt64Ty(), list, k));
  }
  auto callee = runtime("fluxion_cpu_fail", b.getVoidTy(), {b.getPtrTy(), b.getInt32Ty(), b.getPtrTy()}, true);
  b.CreateCall(callee, {thread_, b.getInt32(static_cast<std::uint32_t>(site(o))), list});
  b.CreateUnreachable();
  b.SetInsertPoint(go_on);
}

void Emitter::check_bounds(OpId o) {
  if (!opt.bounds) return;
  const Op& op = f[o];
  const Memory& memory = f[op.memory];
  const bool local = memory.space == Memory::Space::local;
  Node *one = nullptr, *each = nullptr;  // what is wrong for all lanes; for some
  llvm::SmallVector<Node*> values, extents;
  for (int k = 0; k < memory.rank; ++k) {
    Node* extent = local ? b.getInt32(static_cast<std::uint32_t>(memory.length)) : memories_[op.memory.index].extent32[k];
    const ValueId index = op.operands[k];
    Node* i = u.uniform(index) ? scalar(index) : vector(index);
    Node* bad = b.CreateICmpUGE(i, u.uniform(index) ? extent : splat(extent));
    Node*& sum = u.uniform(index) ? one : each;
    sum = sum ? b.CreateOr(sum, bad) : bad;
    values.push_back(i);
    extents.push_back(extent);
  }
  values.append(extents);
  if (each) fail_if(both(mask_, one ? b.CreateOr(each, splat(one)) : each), o, values);
  else if (one) fail_if(one, o, values);
  if (!local) touch(o);
}

void Emitter::report(OpId o) {
  const Op& op = f[o];
  llvm::SmallVector<Node*> values;
  const std::size_t from = op.code == Opcode::check ? 1 : 0;
  for (std::size_t k = from; k < op.operands.size(); ++k) {
    if (!f.type(op.operands[k]).is_scalar())
      throw KernelError(op.loc, std::string(name_of(op.code)) + ": only scalars can be shown, not " + to_string(f.type(op.operands[k])));
    values.push_back(u.uniform(op.operands[k]) ? scalar(op.operands[k]) : vector(op.operands[k]));
  }
  if (op.code == Opcode::check) {
    if (u.uniform(op.operands[0])) return fail_if(b.CreateNot(scalar(op.operands[0])), o, values);
    return fail_if(both(mask_, b.CreateNot(vector(op.operands[0]))), o, values);
  }
  // Kernels that print have one lane, and it is active here; those with groups print lane by lane.
  auto* list = slot(llvm::ArrayType::get(b.getInt64Ty(), values.size() + 1));
  auto callee = runtime("fluxion_cpu_print", b.getVoidTy(), {b.getPtrTy(), b.getInt32Ty(), b.getPtrTy()});
  for_active_lanes([&](Node* lane) {
    for (std::size_t k = 0; k < values.size(); ++k) {
      Node* n = values[k];
      if (n->getType()->isVectorTy()) n = b.CreateExtractElement(n, lane);
      b.CreateStore(as_bits(n), b.CreateConstGEP1_64(b.getInt64Ty(), list, k));
    }
    b.CreateCall(callee, {thread_, b.getInt32(static_cast<std::uint32_t>(site(o))), list});
  });
}

}  // namespace fluxion::cpu
