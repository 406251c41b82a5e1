// Under the race checker every access to a watched memory tells its elements and threads to races.cpp before it happens.
#include "emitter.h"

namespace fluxion::cpu {

std::vector<char> watched_memories(const Function& f) {
  std::vector<char> on(f.memories.size());
  const Values& point = f[f.body].arguments;
  for (const Region& r : f.regions)
    for (OpId o : r.ops) {
      const Op& op = f[o];
      if (!op.memory.valid() || op.code == Opcode::extent) continue;
      const Memory& m = f[op.memory];
      if (m.space == Memory::Space::local || (m.space == Memory::Space::parameter && (m.role == Role::in || m.role == Role::accum)))
        continue;
      // An Out that is read back may be read before it is stored.
      bool own = m.space == Memory::Space::parameter && point.size() == static_cast<std::size_t>(m.rank) &&
                 (m.role == Role::inout || op.code == Opcode::store);
      for (std::size_t k = 0; own && k < point.size(); ++k) own = op.operands[k] == point[k];
      if (!own) on[op.memory.index] = 1;
    }
  return on;
}

/// The linear numbers of the threads of all lanes, for the accesses that follow.
void Emitter::note_threads(Node* first_of_row, Node* in_row) {
  if (!opt.race) return;
  if (!threads_) threads_ = slot(vec(b.getInt32Ty()), nullptr, 64);
  Node* row = b.CreateTrunc(first_of_row, b.getInt32Ty());
  b.CreateStore(b.CreateAdd(splat(row), in_row), threads_);
}

void Emitter::touch(OpId o) {
  const Op& op = f[o];
  if (!opt.race || !watched_[op.memory.index]) return;
  std::uint32_t kind = touch::kRead;
  if (op.code == Opcode::store) kind = touch::kWrite;
  else if (op.code == Opcode::accumulate) kind = touch::kAdd;
  else if (op.code == Opcode::atomic)
    kind = op.kind == static_cast<int>(Atomic::add) && !used(op.results[0]) ? touch::kLooseAdd : touch::kAtomic;
  llvm::Type* wide = vec(b.getInt64Ty());
  Node* at = nullptr;
  for (int k = 0; k < f[op.memory].rank; ++k) {
    Node* i = b.CreateSExt(vector(op.operands[k]), wide);
    at = at ? b.CreateAdd(b.CreateMul(at, splat(memories_[op.memory.index].extent[k])), i) : i;
  }
  auto* elements = slot(wide, nullptr, 64);
  auto* active = slot(vec(b.getInt8Ty()), nullptr, 64);
  b.CreateStore(at, elements);
  b.CreateStore(b.CreateZExt(mask_or_all(), vec(b.getInt8Ty())), active);
  llvm::Type *i32 = b.getInt32Ty(), *p = b.getPtrTy();
  b.CreateCall(runtime("fluxion_cpu_touch", b.getVoidTy(), {p, i32, i32, i32, p, p, p, i32, i32}),
               {thread_, b.getInt32(static_cast<std::uint32_t>(site(o))), b.getInt32(op.memory.index),
                b.getInt32(kind | static_cast<std::uint32_t>(op.leaf) << 8), elements, threads_, active, b.getInt32(W),
                group_number_ ? group_number_ : b.getInt32(0)});
}

void Emitter::next_phase() {
  if (opt.race) b.CreateCall(runtime("fluxion_cpu_phase", b.getVoidTy(), {b.getPtrTy()}), {thread_});
}

}  // namespace fluxion::cpu
