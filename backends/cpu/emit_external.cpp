// Calls of host functions. The arguments of all lanes go to the runtime as words in memory, with a byte a lane that says which
// are active; it calls once for each of those. The code holds no address: the runtime finds the function by the site, so a
// cached object serves whatever function has the same place in another process.
#include "emitter.h"
#include "fluxion/external_code.h"

namespace fluxion::cpu {

void Emitter::emit_external(OpId o) {
  const Op& op = f[o];
  bool uniform = !f.callees[op.ref]->external->impure;
  for (ValueId v : op.operands) uniform &= u.uniform(v);
  const unsigned n = uniform ? 1 : W;
  const auto wide = [&](llvm::Type* t) -> llvm::Type* { return uniform ? t : vec(t); };
  llvm::Type* word = b.getInt64Ty();
  const auto room = [&](std::size_t count) { return slot(llvm::ArrayType::get(word, std::max<std::size_t>(1, count) * n), nullptr, 8); };
  const auto part = [&](Node* base, std::size_t k) { return b.CreateConstGEP1_64(word, base, k * n); };
  Node *in = room(op.operands.size()), *out = room(op.results.size()), *mask = llvm::ConstantPointerNull::get(b.getPtrTy());
  for (std::size_t k = 0; k < op.operands.size(); ++k) {
    const ValueId v = op.operands[k];
    Node* x = uniform ? scalar(v) : vector(v);
    if (const DType t = f.type(v).dtype(); is_float(t) && !is_half(t))
      x = b.CreateBitCast(x, wide(b.getIntNTy(static_cast<unsigned>(size_of(t)) * 8)));
    b.CreateAlignedStore(b.CreateZExt(x, wide(word)), part(in, k), llvm::Align(8));
  }
  if (!uniform && mask_) {
    mask = slot(llvm::ArrayType::get(b.getInt8Ty(), W), nullptr, 8);
    b.CreateAlignedStore(to_memory(DType::boolean, mask_), mask, llvm::Align(1));
  }
  auto callee = runtime("fluxion_cpu_external", b.getVoidTy(),
                        {b.getPtrTy(), b.getInt32Ty(), b.getPtrTy(), b.getInt32Ty(), b.getPtrTy(), b.getPtrTy()});
  b.CreateCall(callee, {thread_, b.getInt32(static_cast<std::uint32_t>(site(o))), mask, b.getInt32(n), in, out});
  for (std::size_t k = 0; k < op.results.size(); ++k) {
    const DType t = f.type(op.results[k]).dtype();
    Node* x = b.CreateAlignedLoad(wide(word), part(out, k), llvm::Align(8));
    if (is_bool(t)) x = b.CreateICmpNE(x, llvm::Constant::getNullValue(wide(word)));
    else x = b.CreateTrunc(x, wide(b.getIntNTy(static_cast<unsigned>(size_of(t)) * 8)));
    if (is_float(t) && !is_half(t)) x = b.CreateBitCast(x, wide(scalar_type(t)));
    set(op.results[k], x);
  }
}

}  // namespace fluxion::cpu
