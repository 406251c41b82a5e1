// Kernels with groups: the threads of a group are the lanes of one vector, as wide as the group is large (rounded up
// to a power of two, the rest never active). They run in step, so a barrier only asks whether all came. Shared
// memory belongs to the group that runs. Subgroups are 32 neighbouring lanes.
#include <llvm/IR/Intrinsics.h>

#include <algorithm>
#include <limits>

#include "emitter.h"
#include "fluxion/error.h"
#include "fluxion/mutants.h"

namespace fluxion::cpu {
namespace {
constexpr std::uint64_t kOnStack = 64 << 10;  // bytes of one shared memory; larger ones lie in the arena
std::uint64_t shared_bytes(const Memory& m) { return static_cast<std::uint64_t>(m.length) * layout_of(m.element).size; }
}  // namespace

void Emitter::place_shared(MemoryId id) {
  const Memory& m = f[id];
  Mem& place = memories_[id.index];
  place.extent[0] = b.getInt64(static_cast<std::uint64_t>(m.length));
  place.extent32[0] = b.getInt32(static_cast<std::uint32_t>(m.length));
  if (shared_bytes(m) <= kOnStack) place.data = slot(llvm::ArrayType::get(b.getInt8Ty(), shared_bytes(m)), nullptr, 64);
  else place.in_arena = uses_arena_ = true;
}

void Emitter::emit_groups() {
  llvm::Type* i64 = b.getInt64Ty();
  const auto& indices = f[f.body].arguments;
  const int threads = group_threads(f);
  const auto size = [&](int axis) { return f.group[static_cast<std::size_t>(axis)]; };
  if (static_cast<int>(W) != threads) {
    llvm::SmallVector<llvm::Constant*, 64> there;
    for (int lane = 0; lane < static_cast<int>(W); ++lane) there.push_back(b.getInt1(lane < threads));
    whole_ = llvm::ConstantVector::get(there);
  }
  Node *begin = fn->getArg(1), *end = fn->getArg(2);
  Node* grid[3] = {};
  for (int k = 0; k < f.domain_rank; ++k) grid[k] = b.CreateUDiv(domain64_[k], b.getInt64(static_cast<std::uint64_t>(size(k))));
  BasicBlock *head = block("group"), *done = block("done");
  b.CreateCondBr(b.CreateICmpSLT(begin, end), head, done);
  BasicBlock* before = b.GetInsertBlock();
  b.SetInsertPoint(head);
  PHINode* unit = phi(i64, "group");
  unit->addIncoming(begin, before);
  look_for_requests(OpId{});
  Node* rest = unit;
  for (int k = f.domain_rank - 1; k >= 0; --k) {  // the last axis is the fastest
    Node* next = k ? b.CreateUDiv(rest, grid[k]) : nullptr;
    group_[k] = b.CreateTrunc(k ? b.CreateSub(rest, b.CreateMul(next, grid[k])) : rest, b.getInt32Ty());
    rest = next;
  }
  if (opt.race) {
    group_number_ = b.CreateTrunc(unit, b.getInt32Ty());
    next_phase();
    Node* thread = splat(b.getInt32(0));
    for (int k = 0, stride = threads; k < f.domain_rank; ++k) {
      stride /= size(k);
      llvm::SmallVector<llvm::Constant*, 64> own;
      for (int lane = 0; lane < static_cast<int>(W); ++lane) own.push_back(b.getInt32(static_cast<std::uint32_t>(lane / stride % size(k))));
      Node* at =
          b.CreateAdd(splat(b.CreateMul(group_[k], b.getInt32(static_cast<std::uint32_t>(size(k))))), llvm::ConstantVector::get(own));
      thread = b.CreateAdd(b.CreateMul(thread, splat(domain_[k])), at);
    }
    note_threads(b.getInt64(0), thread);
  }
  int inner = 1;  // lanes between neighbours along this axis
  for (int k = f.domain_rank - 1; k >= 0; --k) {
    Node* first = b.CreateMul(group_[k], b.getInt32(static_cast<std::uint32_t>(size(k))));
    if (static_cast<std::size_t>(k) < indices.size()) {
      if (u(indices[k]) != Class::varying) {
        set(indices[k], first);
      } else {
        llvm::SmallVector<llvm::Constant*, 64> own;
        for (int lane = 0; lane < static_cast<int>(W); ++lane)
          own.push_back(b.getInt32(static_cast<std::uint32_t>(lane / inner % size(k))));
        set(indices[k], b.CreateAdd(splat(first), llvm::ConstantVector::get(own)));
      }
    }
    inner *= size(k);
  }
  Node* top = uses_arena_ ? arena_top() : nullptr;
  for (std::uint32_t m = 0; m < f.memories.size(); ++m) {
    if (f.memories[m].space != Memory::Space::shared) continue;
    Node* bytes = b.getInt64(shared_bytes(f.memories[m]));
    if (memories_[m].in_arena) memories_[m].data = allocate(bytes, OpId{});
    b.CreateMemSet(memories_[m].data, b.getInt8(planted(testing::Mutant::shared_dirty) ? 0x3f : 0), bytes, llvm::MaybeAlign(64));
  }
  mask_ = whole_;
  emit_region(f.body);
  mask_ = nullptr;
  if (top) set_arena_top(top);
  Node* next = b.CreateAdd(unit, b.getInt64(1), "", true, true);
  unit->addIncoming(next, b.GetInsertBlock());
  b.CreateCondBr(b.CreateICmpSLT(next, end), head, done);
  b.SetInsertPoint(done);
  finish_registers(false);
  b.CreateRetVoid();
}

void Emitter::barrier(OpId o) {
  if (barrier_may_part(f, u, o)) fail_if(b.CreateICmpNE(bits_of(mask_), bits_of(whole_)), o, {});
  next_phase();
}

// ---- subgroups

/// What an inactive lane adds to a result.
std::uint64_t Emitter::identity(Subgroup kind, DType t) {
  const std::uint64_t ones = size_of(t) == 8 ? ~std::uint64_t{0} : (std::uint64_t{1} << (8 * size_of(t))) - 1;
  const std::uint64_t top = is_bool(t) ? 1 : std::uint64_t{1} << (8 * size_of(t) - 1);
  switch (kind) {
    case Subgroup::add:
    case Subgroup::scan_add:
    case Subgroup::scan_add_back: return is_float(t) ? top : 0;  // -0 + x is x
    case Subgroup::min:
      if (t == DType::f32) return 0x7fc00000u;
      if (t == DType::f64) return 0x7ff8000000000000u;
      return is_signed(t) ? ones ^ top : ones;
    case Subgroup::max:
      if (is_float(t)) return identity(Subgroup::min, t);
      return is_signed(t) ? top : 0;
    case Subgroup::bit_and: return ones;
    case Subgroup::bit_or:
    case Subgroup::bit_xor:
    case Subgroup::shuffle:
    case Subgroup::scatter_add: break;
  }
  return 0;
}

namespace {
Opcode combining(Subgroup kind) {
  switch (kind) {
    case Subgroup::min: return Opcode::min;
    case Subgroup::max: return Opcode::max;
    case Subgroup::bit_and: return Opcode::bit_and;
    case Subgroup::bit_or: return Opcode::bit_or;
    case Subgroup::bit_xor: return Opcode::bit_xor;
    default: return Opcode::add;
  }
}
}  // namespace

void Emitter::subgroup(OpId o) {
  const Op& op = f[o];
  const auto kind = static_cast<Subgroup>(op.kind);
  const DType t = f.type(op.results[0]).dtype();
  if (is_half(t)) throw KernelError(op.loc, "cpu: a subgroup op on f16 or bf16; convert to float before");
  Node* v = vector(op.operands[0]);
  if (mask_ && !planted(testing::Mutant::subgroup_unmasked)) v = b.CreateSelect(mask_, v, splat(constant(t, identity(kind, t))));
  switch (kind) {
    case Subgroup::shuffle:
      return set(op.results[0], shuffled_lanes(v, u.uniform(op.operands[1]) ? scalar(op.operands[1]) : vector(op.operands[1])));
    case Subgroup::scatter_add: return set(op.results[0], scattered_sum(t, v, vector(op.operands[1])));
    case Subgroup::scan_add_back:
      v = backwards(v);
      return set(op.results[0], backwards(is_float(t) ? in_lane_order(Subgroup::scan_add, t, v) : butterfly(Subgroup::scan_add, t, v)));
    default: return set(op.results[0], is_float(t) ? in_lane_order(kind, t, v) : butterfly(kind, t, v));
  }
}

/// The lanes of each subgroup, last first.
Node* Emitter::backwards(Node* v) {
  const unsigned size = std::min<unsigned>(W, kSubgroupSize);
  llvm::SmallVector<int, 64> from;
  for (unsigned k = 0; k < W; ++k) from.push_back(static_cast<int>(k / size * size + size - 1 - k % size));
  return b.CreateShuffleVector(v, v, from);
}

/// Integers do not mind the order: log2 rounds, all subgroups at once.
Node* Emitter::butterfly(Subgroup kind, DType t, Node* v) {
  const unsigned size = std::min<unsigned>(W, kSubgroupSize);
  Node* none = splat(constant(t, identity(kind, t)));
  for (unsigned step = 1; step < size; step *= 2) {
    llvm::SmallVector<int, 64> from;
    for (unsigned k = 0; k < W; ++k) {
      if (kind == Subgroup::scan_add) from.push_back(k % size < step ? static_cast<int>(W) : static_cast<int>(k - step));
      else from.push_back(static_cast<int>(k ^ step));
    }
    v = compute(combining(kind), t, {v, b.CreateShuffleVector(v, none, from)});
  }
  return v;
}

/// Floats are combined in the order of the lanes, the subgroups side by side.
Node* Emitter::in_lane_order(Subgroup kind, DType t, Node* v) {
  const unsigned size = std::min<unsigned>(W, kSubgroupSize), n = W / size;
  llvm::Type *type = scalar_type(t), *i64 = b.getInt64Ty();
  const bool scan = kind == Subgroup::scan_add;
  auto* list = slot(vec(type), nullptr, 64);
  b.CreateStore(v, list);
  BasicBlock *before = b.GetInsertBlock(), *loop = block("lane"), *after = block("lanes.done");
  b.CreateBr(loop);
  b.SetInsertPoint(loop);
  PHINode* k = phi(i64);
  k->addIncoming(b.getInt64(0), before);
  llvm::SmallVector<PHINode*> sums;
  for (unsigned s = 0; s < n; ++s) {
    sums.push_back(phi(type));
    sums[s]->addIncoming(constant(t, identity(kind, t)), before);
  }
  Node* end = nullptr;
  llvm::SmallVector<Node*> now;
  for (unsigned s = 0; s < n; ++s) {
    Node* p = b.CreateGEP(type, list, b.CreateAdd(k, b.getInt64(s * size)));
    now.push_back(compute(combining(kind), t, {sums[s], b.CreateLoad(type, p)}));
    sums[s]->addIncoming(now[s], loop);
    if (scan) b.CreateStore(now[s], p);
  }
  end = b.CreateAdd(k, b.getInt64(1));
  k->addIncoming(end, loop);
  b.CreateCondBr(b.CreateICmpULT(end, b.getInt64(size)), loop, after);
  b.SetInsertPoint(after);
  if (scan) return b.CreateLoad(vec(type), list);
  Node* all = llvm::PoisonValue::get(vec(type));
  llvm::SmallVector<int, 64> which;
  for (unsigned s = 0; s < n; ++s) all = b.CreateInsertElement(all, now[s], std::uint64_t{s});
  for (unsigned lane = 0; lane < W; ++lane) which.push_back(static_cast<int>(lane / size));
  return b.CreateShuffleVector(all, all, which);
}

/// By lane: the first lane of its subgroup.
Node* Emitter::subgroup_base() {
  llvm::SmallVector<llvm::Constant*, 64> base;
  for (unsigned k = 0; k < W; ++k) base.push_back(b.getInt32(k / kSubgroupSize * kSubgroupSize));
  return llvm::ConstantVector::get(base);
}

/// Lanes of `v` that are not active hold 0 here.
Node* Emitter::shuffled_lanes(Node* v, Node* lane) {
  llvm::Type* type = v->getType()->getScalarType();
  const bool truth = type->isIntegerTy(1);
  if (truth) v = b.CreateZExt(v, vec(type = b.getInt8Ty()));
  const unsigned size = std::min<unsigned>(W, kSubgroupSize);
  auto* list = slot(vec(type), nullptr, 64);
  b.CreateStore(v, list);
  Node* r = nullptr;
  if (lane->getType()->isVectorTy()) {
    Node* there = b.CreateICmpULT(lane, splat(b.getInt32(size)));
    Node* base = subgroup_base();
    Node* p = b.CreateGEP(type, list, b.CreateSelect(there, b.CreateAdd(lane, base), base));
    r = b.CreateMaskedGather(vec(type), p, llvm::Align(type->getPrimitiveSizeInBits() / 8), all_ones());
    r = b.CreateSelect(there, r, llvm::Constant::getNullValue(vec(type)));
  } else {
    Node* there = b.CreateICmpULT(lane, b.getInt32(size));
    Node* at = b.CreateSelect(there, lane, b.getInt32(0));
    r = llvm::PoisonValue::get(vec(type));
    llvm::SmallVector<int, 64> which;
    for (unsigned s = 0; s < W / size; ++s) {
      Node* one = b.CreateLoad(type, b.CreateGEP(type, list, b.CreateAdd(at, b.getInt32(s * size))));
      r = b.CreateInsertElement(r, b.CreateSelect(there, one, llvm::Constant::getNullValue(type)), std::uint64_t{s});
    }
    for (unsigned k = 0; k < W; ++k) which.push_back(static_cast<int>(k / size));
    r = b.CreateShuffleVector(r, r, which);
  }
  return truth ? b.CreateICmpNE(r, llvm::Constant::getNullValue(r->getType())) : r;
}

Node* Emitter::scattered_sum(DType t, Node* v, Node* lane) {
  llvm::Type* type = scalar_type(t);
  if (is_bool(t)) throw KernelError(f.loc, "cpu: bools have no sum; use an integer");
  const unsigned size = std::min<unsigned>(W, kSubgroupSize);
  auto* values = slot(vec(type), nullptr, 64);
  auto* where = slot(vec(b.getInt32Ty()), nullptr, 64);
  auto* sums = slot(llvm::ArrayType::get(vec(type), 2), nullptr, 64);  // what goes nowhere goes behind
  b.CreateStore(v, values);
  Node* there = b.CreateICmpULT(lane, splat(b.getInt32(size)));
  b.CreateStore(b.CreateSelect(there, b.CreateAdd(lane, subgroup_base()), splat(b.getInt32(W))), where);
  b.CreateStore(llvm::Constant::getNullValue(vec(type)), sums);
  for_active_lanes([&](Node* k) {
    Node* at = b.CreateLoad(b.getInt32Ty(), b.CreateGEP(b.getInt32Ty(), where, k));
    Node* p = b.CreateGEP(type, sums, b.CreateZExt(at, b.getInt64Ty()));
    b.CreateStore(add(t, b.CreateLoad(type, p), b.CreateLoad(type, b.CreateGEP(type, values, k))), p);
  });
  return b.CreateLoad(vec(type), sums);
}

}  // namespace fluxion::cpu
