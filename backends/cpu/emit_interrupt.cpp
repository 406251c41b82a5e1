// Loops that look whether somebody has called cancel(): a load of one word, which is in the cache, and a branch that is never taken.
// Code has this only where CompileOptions::interrupt asks for it. Loops of few turns go without: the way to the next look
// is short all the same.
#include <llvm/IR/MDBuilder.h>

#include "emitter.h"

namespace fluxion::cpu {
namespace {

constexpr double kShort = 1e5;  // ops between two looks

/// Ops that a region runs, about; loops of unknown length and calls are long.
double ops_of(const Function& f, RegionId r) {
  double sum = 0;
  for (OpId id : f[r].ops) {
    const Op& op = f[id];
    double turns = 1;
    if (op.code == Opcode::while_ || op.code == Opcode::call) turns = 2 * kShort;
    if (op.code == Opcode::for_) {
      const bool known = f.is_constant(op.operands[0]) && f.is_constant(op.operands[1]);
      const auto bound = [&](std::size_t k) { return static_cast<double>(static_cast<std::int32_t>(f[op.operands[k]].bits)); };
      turns = known ? std::max(0.0, bound(1) - bound(0)) : 2 * kShort;
    }
    sum += op.code == Opcode::call ? turns : 1;
    for (RegionId inner : op.regions) sum += turns * (1 + ops_of(f, inner));
  }
  return sum;
}

}  // namespace

bool Emitter::may_take_long(OpId loop) const {
  const Op& op = f[loop];
  if (op.code != Opcode::for_ || !f.is_constant(op.operands[0]) || !f.is_constant(op.operands[1])) return true;
  const auto bound = [&](std::size_t k) { return static_cast<double>(static_cast<std::int32_t>(f[op.operands[k]].bits)); };
  return (bound(1) - bound(0)) * (1 + ops_of(f, op.regions[0])) > kShort;
}

Node* Emitter::requested() {
  Node* word = b.CreateAlignedLoad(b.getPtrTy(), b.CreateConstInBoundsGEP1_64(b.getInt8Ty(), thread_, 16), llvm::Align(8));
  return b.CreateICmpNE(b.CreateAlignedLoad(b.getInt32Ty(), word, llvm::Align(4), /*isVolatile=*/true), b.getInt32(0));
}

void Emitter::look_for_requests(OpId loop) {
  if (!opt.interrupt || (loop.valid() && !may_take_long(loop))) return;
  BasicBlock *stop = block("stop"), *on = block("on");
  b.CreateCondBr(requested(), stop, on, llvm::MDBuilder(c).createBranchWeights(1, 1u << 20));
  b.SetInsertPoint(stop);
  auto callee = runtime("fluxion_cpu_cancelled", b.getVoidTy(), {b.getPtrTy(), b.getInt32Ty()}, true);
  b.CreateCall(callee, {thread_, b.getInt32(loop.valid() ? static_cast<std::uint32_t>(site(loop)) : ~0u)});
  b.CreateUnreachable();
  b.SetInsertPoint(on);
}

}  // namespace fluxion::cpu
