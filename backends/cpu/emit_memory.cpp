// Loads, stores and accumulates by access class; local arrays.
#include <llvm/IR/Intrinsics.h>

#include <algorithm>

#include "emitter.h"
#include "fluxion/error.h"
#include "fluxion/mutants.h"

namespace fluxion::cpu {
using Kind = Access::Kind;

namespace {
/// An access with this many leaves of one type reads whole elements and sorts them by shuffles.
constexpr int kMaxShuffled = 8;
}  // namespace

void Emitter::tag_memory(llvm::Instruction* inst, std::size_t index) {
  inst->setMetadata(llvm::LLVMContext::MD_alias_scope, scope_[index]);
  if (others_[index]) inst->setMetadata(llvm::LLVMContext::MD_noalias, others_[index]);
}

Node* Emitter::to_memory(DType t, Node* n) { return is_bool(t) ? b.CreateZExt(n, like(n, b.getInt8Ty())) : n; }
Node* Emitter::from_memory(DType t, Node* n) { return is_bool(t) ? b.CreateICmpNE(n, llvm::Constant::getNullValue(n->getType())) : n; }

bool Emitter::packed_layout(LayoutId id, int& n, DType& t) {
  const Layout& layout = layout_of(id);
  n = static_cast<int>(layout.leaves.size());
  t = layout.leaves[0].dtype;
  for (int k = 0; k < n; ++k)
    if (layout.leaves[k].dtype != t || layout.leaves[k].offset != static_cast<std::uint32_t>(k * size_of(t))) return false;
  return layout.size == static_cast<std::uint32_t>(n * size_of(t)) && n <= kMaxShuffled;
}

/// v = base + constant, for indices: an address outside the memory is nobody's concern, so it may not wrap.
std::pair<ValueId, std::int64_t> Emitter::peel(ValueId v) {
  std::int64_t sum = 0;
  for (;;) {
    const Value& value = f[v];
    if (value.kind != Value::Kind::result) return {v, sum};
    const Op& op = f.ops[value.owner];
    const auto fixed = [&](int k) { return static_cast<std::int32_t>(f[op.operands[k]].bits); };
    if (op.code == Opcode::add && f.is_constant(op.operands[1])) sum += fixed(1), v = op.operands[0];
    else if (op.code == Opcode::add && f.is_constant(op.operands[0])) sum += fixed(0), v = op.operands[1];
    else if (op.code == Opcode::sub && f.is_constant(op.operands[1])) sum -= fixed(1), v = op.operands[0];
    else return {v, sum};
    if (f.is_constant(v)) return {v, sum};
  }
}

Node* Emitter::row_offset(const Op& op) {
  Node* at = nullptr;
  const Mem& m = memories_[op.memory.index];
  for (int k = 0; k + 1 < f[op.memory].rank; ++k) {
    Node* i = b.CreateSExt(scalar(op.operands[k]), b.getInt64Ty());
    at = b.CreateMul(at ? b.CreateAdd(at, i) : i, m.extent[k + 1]);
  }
  return at;
}

Emitter::Place Emitter::place(const Op& op, int leaf_index) {
  const Layout& layout = layout_of(f[op.memory].element);
  const Leaf& leaf = layout.leaves[leaf_index];
  const Mem& m = memories_[op.memory.index];
  const int rank = f[op.memory].rank;
  llvm::Type* element = llvm::ArrayType::get(b.getInt8Ty(), layout.size);
  Place r;
  r.kind = classify(f, u, op).kind;
  bool rows_uniform = true;
  for (int k = 0; k + 1 < rank; ++k) rows_uniform &= u.uniform(op.operands[k]);
  Node* base = m.data;
  if (rows_uniform)
    if (Node* row = row_offset(op)) base = b.CreateGEP(element, base, row);
  if (r.kind != Kind::gather) {
    const auto [v, constant] = peel(op.operands[rank - 1]);
    Node* p = b.CreateGEP(element, base, b.CreateSExt(scalar(v), b.getInt64Ty()));
    r.pointer = b.CreateGEP(b.getInt8Ty(), p, b.getInt64(static_cast<std::uint64_t>(constant * layout.size + leaf.offset)));
    return r;
  }
  // Offsets stay i32 vectors: the address computation of a gather extends them for free.
  llvm::Type* word = opt.wide ? b.getInt64Ty() : b.getInt32Ty();
  const auto index = [&](int k) { return b.CreateSExt(vector(op.operands[k]), vec(word)); };
  Node* at = nullptr;
  if (rows_uniform) {
    at = index(rank - 1);
  } else {
    for (int k = 0; k < rank; ++k) {
      at = at ? b.CreateAdd(at, index(k)) : index(k);
      if (k + 1 < rank) at = b.CreateMul(at, splat(opt.wide ? m.extent[k + 1] : m.extent32[k + 1]));
    }
  }
  const auto size = static_cast<std::uint32_t>(size_of(leaf.dtype));
  const bool whole = layout.size % size == 0;
  const std::uint32_t scale = whole ? layout.size / size : layout.size;
  if (scale != 1) at = b.CreateMul(at, splat(b.getIntN(word->getIntegerBitWidth(), scale)));
  if (leaf.offset) base = b.CreateGEP(b.getInt8Ty(), base, b.getInt64(leaf.offset));
  r.pointers = b.CreateGEP(whole ? memory_type(leaf.dtype) : b.getInt8Ty(), base, at);
  return r;
}

// ---- whole elements: a leaf of lane k is item k * n + leaf of W * n consecutive ones

Node* Emitter::deinterleave(llvm::ArrayRef<Node*> blocks, int leaf) {
  const int n = static_cast<int>(blocks.size()), w = static_cast<int>(W);
  Node* r = nullptr;
  for (int k = 0; k < n; ++k) {
    llvm::SmallVector<int, 64> mask;
    for (int lane = 0; lane < w; ++lane) {
      const int item = lane * n + leaf;
      if (item / w == k) mask.push_back((k == 0 ? 0 : w) + item % w);
      else mask.push_back(item / w < k ? lane : -1);
    }
    r = k == 0 ? b.CreateShuffleVector(blocks[0], blocks[0], mask) : b.CreateShuffleVector(r, blocks[k], mask);
  }
  return r;
}

llvm::SmallVector<Node*> Emitter::interleave(llvm::ArrayRef<Node*> leaves) {
  const int n = static_cast<int>(leaves.size()), w = static_cast<int>(W);
  llvm::SmallVector<Node*> blocks;
  for (int k = 0; k < n; ++k) {
    Node* r = nullptr;
    for (int leaf = 0; leaf < n; ++leaf) {
      if (!leaves[leaf]) continue;
      llvm::SmallVector<int, 64> mask;
      for (int j = 0; j < w; ++j) {
        const int item = k * w + j;
        if (item % n == leaf) mask.push_back((r ? w : 0) + item / n);
        else mask.push_back(r && item % n < leaf ? j : -1);
      }
      r = b.CreateShuffleVector(r ? r : leaves[leaf], leaves[leaf], mask);
    }
    blocks.push_back(r);
  }
  return blocks;
}

void Emitter::load(OpId o) {
  const Op& op = f[o];
  check_bounds(o);
  if (f[op.memory].space == Memory::Space::local) return local_access(o);
  if (const auto row = rows_.find(o.index); row != rows_.end() && !mask_) {
    if (!row->second.empty()) load_rows(row->second);
    return;  // loaded with the first of its row
  }
  const Layout& layout = layout_of(f[op.memory].element);
  const DType t = layout.leaves[op.leaf].dtype;
  llvm::Type* type = memory_type(t);
  const llvm::Align align(size_of(t));
  const Place p = place(op, op.leaf);
  const auto done = [&](Node* n) { set(op.results[0], from_memory(t, n)); };
  if (p.kind == Kind::uniform) return done(tag(b.CreateAlignedLoad(type, p.pointer, align), op.memory));
  Node* pointers = p.pointers;
  if (p.kind == Kind::contiguous) {
    int n = 1;
    DType packed;
    if (layout.leaves.size() == 1 && layout.size == static_cast<std::uint32_t>(size_of(t))) {
      if (!mask_) return done(tag(b.CreateAlignedLoad(vec(type), p.pointer, align), op.memory));
      return done(tag(b.CreateMaskedLoad(vec(type), p.pointer, align, mask_, llvm::Constant::getNullValue(vec(type))), op.memory));
    }
    if (packed_layout(f[op.memory].element, n, packed) && !mask_) {
      Node* first = place(op, 0).pointer;
      llvm::SmallVector<Node*> blocks;
      for (int k = 0; k < n; ++k)
        blocks.push_back(tag(b.CreateAlignedLoad(vec(type), b.CreateConstGEP1_64(vec(type), first, k), align), op.memory));
      return done(deinterleave(blocks, planted(testing::Mutant::native_leaf) ? 0 : op.leaf));
    }
    pointers = b.CreateGEP(llvm::ArrayType::get(b.getInt8Ty(), layout.size), p.pointer, lanes());
  }
  done(tag(b.CreateMaskedGather(vec(type), pointers, align, mask_or_all(), llvm::Constant::getNullValue(vec(type))), op.memory));
}

// Stores (accumulates) of several leaves at one index, with nothing between that could notice, go together.
void Emitter::plan_stores(RegionId r) {
  const auto& ops = f[r].ops;
  std::vector<char> taken(ops.size());
  for (std::size_t i = 0; i < ops.size(); ++i) {
    const Op& head = f[ops[i]];
    if ((head.code != Opcode::store && head.code != Opcode::accumulate) || taken[i]) continue;
    if (f[head.memory].space == Memory::Space::local) continue;
    int n = 0;
    DType t;
    if (!packed_layout(f[head.memory].element, n, t) || n < 2 || is_bool(t) || is_half(t)) continue;
    const int rank = f[head.memory].rank;
    std::vector<std::size_t> members = {i};
    unsigned leaves = 1u << head.leaf;
    for (std::size_t j = i + 1; j < ops.size(); ++j) {
      const Op& op = f[ops[j]];
      if (!op.regions.empty() || op.code == Opcode::check || op.code == Opcode::print || op.code == Opcode::barrier) break;
      if (op.memory != head.memory || op.code == Opcode::extent) continue;
      if (!std::equal(op.operands.begin(), op.operands.begin() + rank, head.operands.begin())) {
        if (op.code == Opcode::accumulate && head.code == op.code) continue;  // sums do not mind their order
        break;
      }
      if (leaves >> op.leaf & 1) break;
      if (op.code == Opcode::load) continue;  // of a leaf that the group does not write
      if (op.code != head.code) break;
      leaves |= 1u << op.leaf;
      members.push_back(j);
    }
    if (members.size() < 2) continue;
    std::vector<OpId> group;
    for (std::size_t j : members) {
      group.push_back(ops[j]);
      taken[j] = 1;
      groups_[ops[j].index] = {};
    }
    std::sort(group.begin(), group.end(), [&](OpId a, OpId d) { return f[a].leaf < f[d].leaf; });
    groups_[ops[members.back()].index] = group;
  }
}

// Gathers of neighbouring leaves at one index: a short vector load for each lane, then shuffles.
void Emitter::plan_loads(RegionId r) {
  const auto& ops = f[r].ops;
  for (std::size_t i = 0; i < ops.size(); ++i) {
    const Op& head = f[ops[i]];
    if (head.code != Opcode::load || rows_.count(ops[i].index) || f[head.memory].space == Memory::Space::local) continue;
    int n = 0;
    DType t;
    if (!packed_layout(f[head.memory].element, n, t) || n < 2 || size_of(t) < 4) continue;
    if (classify(f, u, head).kind != Kind::gather) continue;
    const int rank = f[head.memory].rank;
    std::vector<OpId> same;
    for (std::size_t j = i; j < ops.size(); ++j) {
      const Op& op = f[ops[j]];
      if (!op.regions.empty() || op.code == Opcode::barrier) break;
      if (op.memory != head.memory || op.code == Opcode::extent) continue;
      if (op.code != Opcode::load) break;
      if (!rows_.count(ops[j].index) && std::equal(op.operands.begin(), op.operands.begin() + rank, head.operands.begin()))
        same.push_back(ops[j]);
    }
    // Rows of 2 or 4 leaves around the first load.
    for (int width : {4, 2}) {
      if (width > static_cast<int>(W) || width * size_of(t) > 32) continue;
      const int first = std::min<int>(head.leaf / width * width, n - width);
      if (first < 0) continue;
      std::vector<OpId> group;
      for (OpId o : same)
        if (f[o].leaf >= first && f[o].leaf < first + width) group.push_back(o);
      if (2 * static_cast<int>(group.size()) < width + (width == 4 ? 1 : 2)) continue;  // 3 of 4, 2 of 2
      for (OpId o : group) rows_[o.index] = {};
      rows_[ops[i].index] = group;
      break;
    }
  }
}

void Emitter::load_rows(llvm::ArrayRef<OpId> group) {
  const Op& head = f[group[0]];
  int n = 0, low = 1 << 16, high = 0;
  DType t;
  packed_layout(f[head.memory].element, n, t);
  for (OpId o : group) low = std::min<int>(low, f[o].leaf), high = std::max<int>(high, f[o].leaf);
  const int width = high - low < 2 ? 2 : 4;
  low = std::min(low, n - width);
  llvm::Type* type = scalar_type(t);
  const llvm::Align align(size_of(t));
  // Through the stack: one store and W loads are cheaper than taking a vector apart.
  Node* pointers = place(head, low).pointers;
  auto* list = slot(pointers->getType(), nullptr, 64);
  b.CreateStore(pointers, list, /*isVolatile=*/true);
  const auto row = [&](unsigned lane, llvm::Type* as) {
    Node* p = b.CreateLoad(b.getPtrTy(), b.CreateConstGEP1_64(b.getPtrTy(), list, lane), /*isVolatile=*/true);
    return tag(b.CreateAlignedLoad(as, p, align), head.memory);
  };
  llvm::SmallVector<Node*> blocks;
  llvm::SmallVector<Node*> parts;
  for (unsigned lane = 0; lane < W; ++lane) parts.push_back(row(lane, llvm::FixedVectorType::get(type, static_cast<unsigned>(width))));
  while (parts.size() > static_cast<std::size_t>(width)) {  // W parts of `width` items to `width` blocks of W
    llvm::SmallVector<Node*> joined;
    const auto size = llvm::cast<llvm::FixedVectorType>(parts[0]->getType())->getNumElements();
    llvm::SmallVector<int, 64> mask;
    for (unsigned k = 0; k < 2 * size; ++k) mask.push_back(static_cast<int>(k));
    for (std::size_t k = 0; k < parts.size(); k += 2) joined.push_back(b.CreateShuffleVector(parts[k], parts[k + 1], mask));
    parts = joined;
  }
  for (OpId o : group) set(f[o].results[0], deinterleave(parts, f[o].leaf - low));
}

/// True when a group of writes to consecutive elements is best done by shuffles and whole vectors.
bool Emitter::shuffled(const Op& head, llvm::ArrayRef<OpId> group) {
  int n = 0;
  DType t;
  if (mask_ || classify(f, u, head).kind != Kind::contiguous || !packed_layout(f[head.memory].element, n, t)) return false;
  return n > 1 && !is_bool(t) && !is_half(t) && (n <= 4 || 2 * group.size() >= static_cast<std::size_t>(n));
}

/// Writes the leaves of `group` to W consecutive elements; the leaves between keep what they hold.
void Emitter::write_elements(const Op& head, llvm::ArrayRef<OpId> group, bool add_up) {
  const int rank = f[head.memory].rank;
  int n = 0;
  DType t;
  packed_layout(f[head.memory].element, n, t);
  llvm::SmallVector<Node*> leaves(static_cast<std::size_t>(n), nullptr);
  for (OpId g : group) leaves[f[g].leaf] = vector(f[g].operands[rank]);
  Node* first = place(head, 0).pointer;
  llvm::Type* type = vec(scalar_type(t));
  const llvm::Align align(size_of(t));
  for (auto [k, block] : llvm::enumerate(interleave(leaves))) {
    Node* p = b.CreateConstGEP1_64(type, first, k);
    Node* v = block;
    if (add_up) v = add(t, tag(b.CreateAlignedLoad(type, p, align), head.memory), v);
    if (group.size() == static_cast<std::size_t>(n)) {
      tag(b.CreateAlignedStore(v, p, align), head.memory);
      continue;
    }
    llvm::SmallVector<llvm::Constant*, 64> written;
    for (unsigned j = 0; j < W; ++j) written.push_back(b.getInt1(leaves[(k * W + j) % static_cast<unsigned>(n)] != nullptr));
    tag(b.CreateMaskedStore(v, p, align, llvm::ConstantVector::get(written)), head.memory);
  }
}

void Emitter::store(OpId o, llvm::ArrayRef<OpId> group) {
  const Op& op = f[o];
  const Layout& layout = layout_of(f[op.memory].element);
  const int rank = f[op.memory].rank;
  if (shuffled(op, group)) return write_elements(op, group, false);
  if (group.size() > 1 && layout.leaves.size() == 1) return store_row(group);
  for (OpId g : group) {
    const Op& one = f[g];
    const DType t = layout.leaves[one.leaf].dtype;
    const llvm::Align align(size_of(t));
    const ValueId v = one.operands[rank];
    const Place p = place(one, one.leaf);
    if (p.kind == Kind::uniform) {  // the last active lane's
      Node* n = nullptr;
      if (u.uniform(v)) {
        n = scalar(v);
      } else {
        n = b.CreateExtractElement(vector(v), last_lane(mask_));
      }
      tag(b.CreateAlignedStore(to_memory(t, n), p.pointer, align), one.memory);
      continue;
    }
    Node* n = to_memory(t, vector(v));
    Node* pointers = p.pointers;
    if (p.kind == Kind::contiguous) {
      if (layout.size == static_cast<std::uint32_t>(size_of(t))) {
        if (mask_ && !planted(testing::Mutant::store_unmasked)) tag(b.CreateMaskedStore(n, p.pointer, align, mask_), one.memory);
        else tag(b.CreateAlignedStore(n, p.pointer, align), one.memory);
        continue;
      }
      pointers = b.CreateGEP(llvm::ArrayType::get(b.getInt8Ty(), layout.size), p.pointer, lanes());
    }
    tag(b.CreateMaskedScatter(n, pointers, align, mask_or_all()), one.memory);
  }
}

Node* Emitter::add(DType t, Node* a, Node* d) {
  if (is_half(t)) return convert(b.CreateFAdd(convert(a, t, DType::f32), convert(d, t, DType::f32)), DType::f32, t);
  return is_float(t) ? b.CreateFAdd(a, d) : b.CreateAdd(a, d);
}

void Emitter::accumulate(OpId o, llvm::ArrayRef<OpId> group) {
  const Op& head = f[o];
  const Layout& layout = layout_of(f[head.memory].element);
  const int rank = f[head.memory].rank;
  const Kind kind = classify(f, u, head).kind;
  const DType t = layout.leaves[head.leaf].dtype;
  if (is_bool(t)) throw KernelError(head.loc, "accumulate: bools have no sum; use an integer");
  if (kind == Kind::gather || (is_half(t) && kind == Kind::uniform)) return accumulate_by_lane(o, group);
  if (shuffled(head, group)) return write_elements(head, group, true);
  for (OpId g : group) {
    const Op& op = f[g];
    const DType leaf = layout.leaves[op.leaf].dtype;
    const llvm::Align align(size_of(leaf));
    if (accumulate_in_register(g) || accumulate_in_stencil(g)) continue;
    const Place p = place(op, op.leaf);
    Node* v = vector(op.operands[rank]);
    if (kind == Kind::uniform) {
      if (mask_ && !planted(testing::Mutant::uniform_sum_unmasked)) v = b.CreateSelect(mask_, v, minus_zero(leaf, true));
      add_to_one(g, p.pointer, v);
    } else if (layout.size == static_cast<std::uint32_t>(size_of(leaf))) {
      llvm::Type* type = v->getType();
      Node* zero = llvm::Constant::getNullValue(type);
      Node* old = mask_ ? tag(b.CreateMaskedLoad(type, p.pointer, align, mask_, zero), op.memory)
                        : static_cast<Node*>(tag(b.CreateAlignedLoad(type, p.pointer, align), op.memory));
      Node* sum = add(leaf, old, v);
      if (mask_) tag(b.CreateMaskedStore(sum, p.pointer, align, mask_), op.memory);
      else tag(b.CreateAlignedStore(sum, p.pointer, align), op.memory);
    } else {  // one leaf of a struct: lanes have elements of their own
      Node* pointers = b.CreateGEP(llvm::ArrayType::get(b.getInt8Ty(), layout.size), p.pointer, lanes());
      Node* zero = llvm::Constant::getNullValue(v->getType());
      Node* old = tag(b.CreateMaskedGather(v->getType(), pointers, align, mask_or_all(), zero), op.memory);
      tag(b.CreateMaskedScatter(add(leaf, old, v), pointers, align, mask_or_all()), op.memory);
    }
  }
}

// Lanes may meet at one element: one after the other, in order. A whole element is one small vector.
void Emitter::accumulate_by_lane(OpId o, llvm::ArrayRef<OpId> group) {
  const Op& head = f[o];
  const Layout& layout = layout_of(f[head.memory].element);
  const int rank = f[head.memory].rank;
  const DType t = layout.leaves[head.leaf].dtype;
  llvm::Type* type = scalar_type(t);
  const llvm::Align align(size_of(t));
  const std::size_t n = group.size();
  const Op& first = f[group[0]];
  // Neighbouring leaves are one short vector.
  const bool row = n > 1 && static_cast<std::size_t>(f[group[n - 1]].leaf - first.leaf) == n - 1;
  const auto m = row ? n : 1;
  Place p = place(first, first.leaf);
  Node* pointers = p.pointers ? p.pointers : splat(p.pointer);
  auto* pointer_slot = slot(pointers->getType(), nullptr, 64);
  b.CreateStore(pointers, pointer_slot);
  llvm::SmallVector<Node*> values, slots;
  for (OpId g : group) values.push_back(vector(f[g].operands[rank]));
  if (row) {
    auto* all = slot(llvm::ArrayType::get(vec(type), n), nullptr, 64);
    for (auto [k, block] : llvm::enumerate(interleave(values))) b.CreateStore(block, b.CreateConstGEP1_64(vec(type), all, k));
    slots.push_back(all);
  } else {
    for (Node* v : values) {
      slots.push_back(slot(vec(type), nullptr, 64));
      b.CreateStore(v, slots.back());
    }
  }
  const auto add_at = [&](Node* lane) {
    Node* at = b.CreateLoad(b.getPtrTy(), b.CreateGEP(b.getPtrTy(), pointer_slot, lane));
    for (std::size_t k = 0; k < slots.size(); ++k) {
      llvm::Type* what = row ? llvm::FixedVectorType::get(type, static_cast<unsigned>(n)) : type;
      const std::uint64_t offset = layout.leaves[f[group[k]].leaf].offset - layout.leaves[first.leaf].offset;
      Node* to = offset ? b.CreateGEP(b.getInt8Ty(), at, b.getInt64(offset)) : at;
      Node* v = b.CreateAlignedLoad(what, b.CreateGEP(type, slots[k], m == 1 ? lane : b.CreateMul(lane, b.getInt64(m))), align);
      Node* old = tag(b.CreateAlignedLoad(what, to, align), head.memory);
      tag(b.CreateAlignedStore(add(t, old, v), to, align), head.memory);
    }
  };
  for_active_lanes(add_at, 4);
}

// ---- local arrays: item i of lane k is at [i][k]

void Emitter::zero_locals(RegionId r) {
  for (std::uint32_t k = 0; k < f.memories.size(); ++k) {
    const Memory& m = f.memories[k];
    if (m.space != Memory::Space::local || m.scope != r) continue;
    const auto& leaves = layout_of(m.element).leaves;
    for (std::size_t l = 0; l < leaves.size(); ++l) {
      const std::uint64_t bytes = static_cast<std::uint64_t>(m.length) * W * static_cast<std::uint64_t>(size_of(leaves[l].dtype));
      Node* at = memories_[k].leaves[l];
      if (memories_[k].in_arena) {
        Node* fresh = allocate(b.getInt64(bytes), OpId{});
        b.CreateStore(fresh, at);
        at = fresh;
      }
      b.CreateMemSet(at, b.getInt8(0), bytes, llvm::MaybeAlign(64));
    }
  }
}

void Emitter::local_access(OpId o) {
  const Op& op = f[o];
  const Mem& m = memories_[op.memory.index];
  const DType t = layout_of(f[op.memory].element).leaves[op.leaf].dtype;
  llvm::Type *type = memory_type(t), *wide = vec(type);
  const llvm::Align align(size_of(t));
  Node* base = m.leaves[op.leaf];
  if (m.in_arena) base = b.CreateLoad(b.getPtrTy(), base);
  const ValueId index = op.operands[0];
  const bool fixed = u.uniform(index);
  Node* p = nullptr;
  if (fixed) {
    p = b.CreateGEP(wide, base, b.CreateSExt(scalar(index), b.getInt64Ty()));
  } else {
    Node* at = b.CreateAdd(b.CreateMul(vector(index), splat(b.getInt32(W))), lanes());
    p = b.CreateGEP(type, base, at);
  }
  const auto read = [&]() -> Node* {
    if (fixed) return b.CreateAlignedLoad(wide, p, align);
    return b.CreateMaskedGather(wide, p, align, mask_or_all(), llvm::Constant::getNullValue(wide));
  };
  if (op.code == Opcode::load) return set(op.results[0], from_memory(t, read()));
  Node* v = to_memory(t, vector(op.operands.back()));
  if (op.code == Opcode::atomic) {  // nobody else can reach it
    Node* old = read();
    llvm::SmallVector<Node*, 2> x;
    for (std::size_t k = 1; k < op.operands.size(); ++k) x.push_back(vector(op.operands[k]));
    v = changed(static_cast<Atomic>(op.kind), t, old, x);
    set(op.results[0], old);
  }
  if (op.code == Opcode::accumulate && !planted(testing::Mutant::local_sum)) v = add(t, read(), v);
  if (!fixed) {
    b.CreateMaskedScatter(v, p, align, mask_or_all());
    return;
  }
  b.CreateAlignedStore(mask_ && !planted(testing::Mutant::local_unmasked) ? b.CreateSelect(mask_, v, read()) : v, p, align);
}

}  // namespace fluxion::cpu
