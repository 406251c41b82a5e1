// Sequences: the tape. Storage comes from the thread's arena and is given back at the end of the iteration (or
// the group of points) that made it, unless it escapes. Record i of a seq holds the items of all lanes.
// An item that is itself a seq is W pointers and W lengths, each 64 bits.
#include <llvm/IR/Intrinsics.h>

#include "emitter.h"
#include "fluxion/error.h"
#include "fluxion/mutants.h"

namespace fluxion::cpu {
namespace {
std::uint64_t lane_size(const Type& item) { return item.is_seq() ? 8 : static_cast<std::uint64_t>(size_of(item.dtype())); }
}  // namespace

std::uint64_t Emitter::record_size(const Type& item) const { return lane_size(item) * W * (item.is_seq() ? 2 : 1); }

Node* Emitter::arena_top() { return tag_arena(b.CreateAlignedLoad(b.getPtrTy(), thread_, llvm::Align(8))); }
void Emitter::set_arena_top(Node* p) { tag_arena(b.CreateAlignedStore(p, thread_, llvm::Align(8))); }

Node* Emitter::allocate(Node* bytes, OpId o) {
  Node* top = arena_top();
  Node* end = tag_arena(b.CreateAlignedLoad(b.getPtrTy(), b.CreateConstInBoundsGEP1_64(b.getInt8Ty(), thread_, 8), llvm::Align(8)));
  Node* size = b.CreateAnd(b.CreateAdd(bytes, b.getInt64(63)), b.getInt64(~std::uint64_t{63}));
  Node* room = b.CreateSub(b.CreatePtrToInt(end, b.getInt64Ty()), b.CreatePtrToInt(top, b.getInt64Ty()));
  BasicBlock *full = block("exhausted"), *fits = block("fits");
  b.CreateCondBr(b.CreateICmpULE(size, room), fits, full, llvm::MDBuilder(c).createBranchWeights(1 << 20, 1));
  b.SetInsertPoint(full);
  auto callee = runtime("fluxion_cpu_exhausted", b.getVoidTy(), {b.getPtrTy(), b.getInt32Ty(), b.getInt64Ty()}, true);
  b.CreateCall(callee, {thread_, b.getInt32(static_cast<std::uint32_t>(o.valid() ? site(o) : -1)), size});
  b.CreateUnreachable();
  b.SetInsertPoint(fits);
  set_arena_top(b.CreateGEP(b.getInt8Ty(), top, size));
  return top;
}

/// True when an iteration of `loop` may give back what it took: nothing that it allocates leaves it.
bool Emitter::resets(const Op& loop, RegionId body) {
  if (!uses_arena_) return false;
  for (ValueId v : loop.results)
    if (f.type(v).is_seq()) {
      for (RegionId r : loop.regions)
        if (u.sequences.allocated_in(v, r, u.nesting)) return false;
    }
  bool takes = false;
  for (RegionId r : loop.regions)
    for (std::uint32_t o = 0; o < f.ops.size(); ++o) {
      if (!u.nesting.region[o].valid() || !u.nesting.inside(u.nesting.region[o], r)) continue;
      for (ValueId v : f.ops[o].results) takes |= f.type(v).is_seq();
    }
  for (std::uint32_t m = 0; m < f.memories.size(); ++m) takes |= memories_[m].in_arena && u.nesting.inside(f.memories[m].scope, body);
  return takes;
}

Held Emitter::seq(ValueId v) {
  const Held& h = values_[v.index];
  if (!h.v || !h.length) throw Bug(f.loc, "cpu: a sequence is used before it is made in kernel \"" + f.name + "\"");
  return h;
}

Held Emitter::seq_as(ValueId v, Class place, Class length) {
  Held h = seq(v);
  if (place == Class::varying && !h.v->getType()->isVectorTy()) {
    Node* offset = b.CreateMul(b.CreateSExt(lanes(), vec(b.getInt64Ty())), splat(b.getInt64(lane_size(f.type(v).item()))));
    h.v = b.CreateGEP(b.getInt8Ty(), h.v, offset);
  }
  if (length == Class::varying && !h.length->getType()->isVectorTy()) h.length = splat(h.length);
  if ((place != Class::varying && h.v->getType()->isVectorTy()) || (length != Class::varying && h.length->getType()->isVectorTy()))
    throw Bug(f.loc, "cpu: a varying sequence where a uniform one is needed in kernel \"" + f.name + "\"");
  return h;
}

Node* Emitter::longest(Node* length) {
  if (!length->getType()->isVectorTy()) return length;
  Node* none = llvm::Constant::getNullValue(length->getType());
  return b.CreateIntMaxReduce(mask_ ? b.CreateSelect(mask_, length, none) : length, true);
}

Node* Emitter::seq_addresses(const Held& s, Node* index, const Type& item) {
  llvm::Type* i64 = b.getInt64Ty();
  Node* record = b.getInt64(record_size(item));
  if (s.v->getType()->isVectorTy()) {
    Node* at = index->getType()->isVectorTy() ? b.CreateMul(b.CreateSExt(index, vec(i64)), splat(record))
                                              : splat(b.CreateMul(b.CreateSExt(index, i64), record));
    return b.CreateGEP(b.getInt8Ty(), s.v, at);
  }
  if (!item.is_seq()) {  // an i32 offset in items, for the gather
    Node* at = b.CreateMul(index->getType()->isVectorTy() ? index : splat(index), splat(b.getInt32(W)));
    return b.CreateGEP(memory_type(item.dtype()), s.v, b.CreateAdd(at, lanes()));
  }
  Node* wide = index->getType()->isVectorTy() ? b.CreateSExt(index, vec(i64)) : splat(b.CreateSExt(index, i64));
  Node* lane = b.CreateMul(b.CreateSExt(lanes(), vec(i64)), splat(b.getInt64(lane_size(item))));
  return b.CreateGEP(b.getInt8Ty(), s.v, b.CreateAdd(b.CreateMul(wide, splat(record)), lane));
}

Node* Emitter::read_item(const Held& s, Node* index, const Type& item, Node*& length) {
  const bool together = !s.v->getType()->isVectorTy() && !index->getType()->isVectorTy();
  const auto read = [&](llvm::Type* t, Node* p, std::uint64_t size) -> Node* {
    if (together) return tag_arena(b.CreateAlignedLoad(vec(t), p, llvm::Align(size)));
    return tag_arena(b.CreateMaskedGather(vec(t), p, llvm::Align(size), mask_or_all(), llvm::Constant::getNullValue(vec(t))));
  };
  Node* p = together ? b.CreateGEP(b.getInt8Ty(), s.v, b.CreateMul(b.CreateSExt(index, b.getInt64Ty()), b.getInt64(record_size(item))))
                     : seq_addresses(s, index, item);
  if (!item.is_seq()) {
    const DType t = item.dtype();
    return from_memory(t, read(memory_type(t), p, lane_size(item)));
  }
  Node* starts = read(b.getInt64Ty(), p, 8);
  Node* second = b.CreateGEP(b.getInt8Ty(), p, b.getInt64(8 * W));
  length = b.CreateTrunc(read(b.getInt64Ty(), second, 8), vec(b.getInt32Ty()));
  return b.CreateIntToPtr(starts, vec(b.getPtrTy()));
}

void Emitter::write_item(const Held& s, Node* index, const Type& item, Node* value, Node* length) {
  const bool together = !s.v->getType()->isVectorTy() && !index->getType()->isVectorTy();
  Node* p = together ? b.CreateGEP(b.getInt8Ty(), s.v, b.CreateMul(b.CreateSExt(index, b.getInt64Ty()), b.getInt64(record_size(item))))
                     : seq_addresses(s, index, item);
  const auto write = [&](Node* v, Node* to, std::uint64_t size) {
    const llvm::Align align(size);
    if (!together) {
      tag_arena(b.CreateMaskedScatter(v, to, align, mask_or_all()));
      return;
    }
    // Other lanes' items are this thread's own: a blend is cheaper than a masked store.
    if (mask_) v = b.CreateSelect(mask_, v, tag_arena(b.CreateAlignedLoad(v->getType(), to, align)));
    tag_arena(b.CreateAlignedStore(v, to, align));
  };
  if (!item.is_seq()) return write(to_memory(item.dtype(), value), p, lane_size(item));
  write(b.CreatePtrToInt(value, vec(b.getInt64Ty())), p, 8);
  write(b.CreateZExt(length, vec(b.getInt64Ty())), b.CreateGEP(b.getInt8Ty(), p, b.getInt64(8 * W)), 8);
}

// Lanes that are not active write into items that nobody reads, so no mask.
void Emitter::put_record(Node* start, Node* position, ValueId value) {
  Node* outer = mask_;
  mask_ = nullptr;
  const Type& item = f.type(value);
  if (item.is_seq()) {
    const Held h = seq_as(value, Class::varying, Class::varying);
    write_item({start, nullptr}, position, item, h.v, h.length);
  } else {
    write_item({start, nullptr}, position, item, vector(value), nullptr);
  }
  mask_ = outer;
}

void Emitter::seq_get(OpId o) {
  const Op& op = f[o];
  const Held s = seq(op.operands[0]);
  const ValueId at = op.operands[1];
  Node* index = u.uniform(at) ? scalar(at) : vector(at);
  if (opt.bounds) {
    Node* i = vector(at);
    Node* length = s.length->getType()->isVectorTy() ? s.length : splat(s.length);
    fail_if(both(mask_, b.CreateICmpUGE(i, length)), o, {i, length});
  }
  Held r;
  r.v = read_item(s, index, f.type(op.results[0]), r.length);
  set(op.results[0], r);
}

void Emitter::seq_write(OpId o) {
  const Op& op = f[o];
  const Type item = f.type(op.operands[0]).item();
  Held s = seq(op.operands[0]);
  const ValueId at = op.operands[1];
  Node* index = u.uniform(at) ? scalar(at) : vector(at);
  if (opt.bounds) {
    Node* i = vector(at);
    Node* length = s.length->getType()->isVectorTy() ? s.length : splat(s.length);
    fail_if(both(mask_, b.CreateICmpUGE(i, length)), o, {i, length});
  }
  if (!u.sequences.in_place(op.results[0])) s = copy_seq(s, f.type(op.operands[0]), o);
  if (item.is_seq()) {
    Held h = seq_as(op.operands[2], Class::varying, Class::varying);
    if (op.code == Opcode::seq_add_at) {
      Held old;
      old.v = read_item(s, index, item, old.length);
      h = sum_of(old, h, item, o);
    }
    write_item(s, index, item, h.v, h.length);
  } else {
    Node* v = vector(op.operands[2]);
    Node* unused = nullptr;
    if (op.code == Opcode::seq_add_at) v = add(item.dtype(), read_item(s, index, item, unused), v);
    write_item(s, index, item, v, nullptr);
  }
  set(op.results[0], s);
}

/// A fresh seq of old[i] + more[i], as long as `more` in each lane; what `old` has too few is 0 (zeros of a seq of
/// seqs holds empty ones).
Held Emitter::sum_of(const Held& old, const Held& more, const Type& t, OpId o) {
  const Type item = t.item();
  Node* n = longest(more.length);
  n = b.CreateBinaryIntrinsic(llvm::Intrinsic::smax, n, b.getInt32(0));
  Node* fresh = allocate(b.CreateMul(b.CreateZExt(n, b.getInt64Ty()), b.getInt64(record_size(item))), o);
  BasicBlock *before = b.GetInsertBlock(), *loop = block("sum"), *after = block("summed");
  b.CreateCondBr(b.CreateICmpSGT(n, b.getInt32(0)), loop, after);
  b.SetInsertPoint(loop);
  PHINode* i = phi(b.getInt32Ty());
  i->addIncoming(b.getInt32(0), before);
  Node* outer = mask_;
  const auto read = [&](const Held& s) {  // 0 or empty beyond the end
    Node* there = b.CreateICmpSLT(splat(i), s.length);
    mask_ = both(outer, there);
    const auto or_none = [&](Node* x) { return b.CreateSelect(there, x, llvm::Constant::getNullValue(x->getType())); };
    Held h;
    h.v = or_none(read_item(s, i, item, h.length));
    if (h.length) h.length = or_none(h.length);
    mask_ = outer;
    return h;
  };
  const Held x = read(old), y = read(more);
  const Held z = item.is_seq() ? sum_of(x, y, item, o) : Held{add(item.dtype(), x.v, y.v), nullptr};
  mask_ = nullptr;
  write_item({fresh, nullptr}, i, item, z.v, z.length);
  mask_ = outer;
  Node* next = b.CreateAdd(i, b.getInt32(1));
  i->addIncoming(next, b.GetInsertBlock());
  b.CreateCondBr(b.CreateICmpSLT(next, n), loop, after);
  b.SetInsertPoint(after);
  Held r{fresh, more.length};
  Node* offset = b.CreateMul(b.CreateSExt(lanes(), vec(b.getInt64Ty())), splat(b.getInt64(lane_size(item))));
  r.v = b.CreateGEP(b.getInt8Ty(), r.v, offset);
  return r;
}

Held Emitter::copy_seq(const Held& s, const Type& t, OpId o) {
  const Type item = t.item();
  llvm::Type *i32 = b.getInt32Ty(), *i64 = b.getInt64Ty();
  Node* n = longest(s.length);
  Node* bytes = b.CreateMul(b.CreateZExt(n, i64), b.getInt64(record_size(item)));
  Node* fresh = allocate(bytes, o);
  if (!s.v->getType()->isVectorTy()) {
    b.CreateMemCpy(fresh, llvm::MaybeAlign(8), s.v, llvm::MaybeAlign(8), bytes);
    return {fresh, s.length};
  }
  BasicBlock *before = b.GetInsertBlock(), *loop = block("copy"), *after = block("copied");
  b.CreateCondBr(b.CreateICmpSGT(n, b.getInt32(0)), loop, after);
  b.SetInsertPoint(loop);
  PHINode* i = phi(i32);
  i->addIncoming(b.getInt32(0), before);
  Node* outer = mask_;
  Node* longer = s.length->getType()->isVectorTy() ? s.length : splat(s.length);
  mask_ = both(outer, b.CreateICmpSLT(splat(i), longer));
  Node* length = nullptr;
  Node* v = read_item(s, i, item, length);
  mask_ = nullptr;
  write_item({fresh, nullptr}, i, item, v, length);
  mask_ = outer;
  Node* next = b.CreateAdd(i, b.getInt32(1));
  i->addIncoming(next, b.GetInsertBlock());
  b.CreateCondBr(b.CreateICmpSLT(next, n), loop, after);
  b.SetInsertPoint(after);
  return {fresh, s.length};
}

void Emitter::seq_zeros(OpId o) {
  const Op& op = f[o];
  const ValueId r = op.results[0];
  if (!f.type(r).is_seq()) throw KernelError(op.loc, "cpu: zeros of an array cannot stand in a kernel");
  const ValueId count = op.operands[0];
  Node* n = u.length[r.index] == Class::varying ? vector(count) : scalar(count);
  n = b.CreateBinaryIntrinsic(llvm::Intrinsic::smax, n, llvm::Constant::getNullValue(n->getType()));
  Node* bytes = b.CreateMul(b.CreateZExt(longest(n), b.getInt64Ty()), b.getInt64(record_size(f.type(r).item())));
  Node* fresh = allocate(bytes, o);
  b.CreateMemSet(fresh, b.getInt8(planted(testing::Mutant::zeros_dirty) ? 0x3f : 0), bytes, llvm::MaybeAlign(64));
  set(r, Held{fresh, n});
}

void Emitter::seq_elementwise(OpId o) {
  const Op& op = f[o];
  const ValueId r = op.results[0];
  if (op.code == Opcode::select && !f.type(op.operands[0]).is_seq()) {
    const Held yes = held_as(op.operands[1], r), no = held_as(op.operands[2], r);
    Node* cond = u.uniform(op.operands[0]) ? scalar(op.operands[0]) : vector(op.operands[0]);
    return set(r, Held{b.CreateSelect(cond, yes.v, no.v), b.CreateSelect(cond, yes.length, no.length)});
  }
  const Type item = f.type(r).item();
  Node* length = nullptr;
  for (ValueId v : op.operands) {
    if (f.type(v).seq > 1) throw KernelError(op.loc, std::string("cpu: `") + name_of(op.code) + "` of sequences of sequences");
    if (f.type(v).is_seq() && !length) length = seq(v).length;
  }
  if (u.length[r.index] == Class::varying && !length->getType()->isVectorTy()) length = splat(length);
  Node* n = longest(length);
  Node* fresh = allocate(b.CreateMul(b.CreateZExt(n, b.getInt64Ty()), b.getInt64(record_size(item))), OpId{});
  BasicBlock *before = b.GetInsertBlock(), *loop = block("items"), *after = block("items.end");
  b.CreateCondBr(b.CreateICmpSGT(n, b.getInt32(0)), loop, after);
  b.SetInsertPoint(loop);
  PHINode* i = phi(b.getInt32Ty());
  i->addIncoming(b.getInt32(0), before);
  llvm::SmallVector<Node*, 3> x;
  Node* unused = nullptr;
  for (ValueId v : op.operands) x.push_back(f.type(v).is_seq() ? read_item(seq(v), i, f.type(v).item(), unused) : vector(v));
  const DType from = op.operands.size() ? f.type(op.operands[0]).element.scalar() : item.dtype();
  Node* v = op.code == Opcode::select    ? b.CreateSelect(x[0], x[1], x[2])
            : op.code == Opcode::convert ? convert(x[0], from, item.dtype())
            : op.code == Opcode::bitcast ? b.CreateBitCast(x[0], vec(scalar_type(item.dtype())))
                                         : compute(op.code, from, x);
  Node* outer = mask_;
  mask_ = nullptr;
  write_item({fresh, nullptr}, i, item, v, nullptr);
  mask_ = outer;
  Node* next = b.CreateAdd(i, b.getInt32(1));
  i->addIncoming(next, b.GetInsertBlock());
  b.CreateCondBr(b.CreateICmpSLT(next, n), loop, after);
  b.SetInsertPoint(after);
  set(r, Held{fresh, length});
}

}  // namespace fluxion::cpu
