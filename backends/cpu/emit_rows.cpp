// Rows of scattered stores: several elements beside an index that differs from lane to lane in no regular way, as the rows of
// a Jacobian are. The values go through the stack and out again lane by lane, where each lane's elements are neighbours:
// some processors take several cycles for every element that a vector scatters, and a scatter touches W cache lines.
#include <algorithm>

#include "emitter.h"

namespace fluxion::cpu {

// Stores at one varying index plus constants, with nothing between that could notice, go together.
void Emitter::plan_rows(RegionId r) {
  const auto& ops = f[r].ops;
  for (std::size_t i = 0; i < ops.size(); ++i) {
    const Op& head = f[ops[i]];
    if (head.code != Opcode::store || groups_.count(ops[i].index) || f[head.memory].space != Memory::Space::parameter) continue;
    if (layout_of(f[head.memory].element).leaves.size() != 1 || classify(f, u, head).kind != Access::Kind::gather) continue;
    const int rank = f[head.memory].rank;
    const ValueId base = peel(head.operands[rank - 1]).first;
    std::vector<std::pair<std::int64_t, OpId>> members;
    for (std::size_t j = i; j < ops.size(); ++j) {
      const Op& op = f[ops[j]];
      if (!op.regions.empty() || op.code == Opcode::check || op.code == Opcode::print || op.code == Opcode::barrier) break;
      if (op.memory != head.memory || op.code == Opcode::extent) continue;
      if (op.code != Opcode::store || !std::equal(op.operands.begin(), op.operands.begin() + rank - 1, head.operands.begin())) break;
      const auto [v, constant] = peel(op.operands[rank - 1]);
      if (v != base || std::any_of(members.begin(), members.end(), [&](const auto& m) { return m.first == constant; })) break;
      members.emplace_back(constant, ops[j]);
    }
    if (members.size() < 2) continue;
    const OpId last = members.back().second;
    std::sort(members.begin(), members.end());
    std::vector<OpId> group;
    for (const auto& [constant, o] : members) {
      group.push_back(o);
      groups_[o.index] = {};
    }
    groups_[last.index] = group;
  }
}

void Emitter::store_row(llvm::ArrayRef<OpId> group) {
  const Op& head = f[group[0]];
  const Layout& layout = layout_of(f[head.memory].element);
  const int rank = f[head.memory].rank;
  const DType t = layout.leaves[0].dtype;
  llvm::Type *type = memory_type(t), *i64 = b.getInt64Ty();
  const std::int64_t low = peel(head.operands[rank - 1]).second;
  Node* pointers = place(head, 0).pointers;
  auto* list = slot(pointers->getType(), nullptr, 64);
  auto* values = slot(llvm::ArrayType::get(vec(type), group.size()), nullptr, 64);
  b.CreateStore(pointers, list);
  for (std::size_t k = 0; k < group.size(); ++k)
    b.CreateStore(to_memory(t, vector(f[group[k]].operands[rank])), b.CreateConstGEP1_64(vec(type), values, k));
  const auto store_lane = [&](Node* lane) {
    Node* to = b.CreateLoad(b.getPtrTy(), b.CreateGEP(b.getPtrTy(), list, lane));
    Node* from = b.CreateGEP(type, values, lane);
    for (std::size_t k = 0; k < group.size(); ++k) {
      const std::int64_t offset = (peel(f[group[k]].operands[rank - 1]).second - low) * static_cast<std::int64_t>(layout.size);
      Node* v = b.CreateLoad(type, b.CreateConstGEP1_64(type, from, k * W));
      tag(b.CreateAlignedStore(v, b.CreateGEP(b.getInt8Ty(), to, b.getInt64(static_cast<std::uint64_t>(offset))), llvm::Align(size_of(t))),
          head.memory);
    }
  };
  BasicBlock *before = b.GetInsertBlock(), *loop = block("row.lane"), *after = block("row.stored");
  if (!mask_) {
    b.CreateBr(loop);
    b.SetInsertPoint(loop);
    PHINode* lane = phi(i64);
    lane->addIncoming(b.getInt64(0), before);
    store_lane(lane);
    Node* next = b.CreateAdd(lane, b.getInt64(1));
    lane->addIncoming(next, b.GetInsertBlock());
    b.CreateCondBr(b.CreateICmpULT(next, b.getInt64(W)), loop, after);
  } else {
    Node* active = b.CreateZExt(bits_of(mask_), i64);
    b.CreateCondBr(b.CreateICmpNE(active, b.getInt64(0)), loop, after);
    b.SetInsertPoint(loop);
    PHINode* bits = phi(i64);
    bits->addIncoming(active, before);
    store_lane(b.CreateBinaryIntrinsic(llvm::Intrinsic::cttz, bits, b.getTrue()));
    Node* next = b.CreateAnd(bits, b.CreateSub(bits, b.getInt64(1)));
    bits->addIncoming(next, b.GetInsertBlock());
    b.CreateCondBr(b.CreateICmpNE(next, b.getInt64(0)), loop, after);
  }
  b.SetInsertPoint(after);
}

}  // namespace fluxion::cpu
