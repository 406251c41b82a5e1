// Accumulates of a stencil: sites that add to x[i + c] for several constants c, where neighbouring points meet. One after
// the other, each would load what the site before has just stored, shifted by some lanes, and wait for that store to
// reach the cache. So the sites of W points are added up in registers first: what a point gives to an element of the next W is
// kept until the loop comes there, and what is left after the row is added then.
#include <algorithm>

#include "emitter.h"

namespace fluxion::cpu {

void Emitter::plan_stencils() {
  const auto& arguments = f[f.body].arguments;
  if (W == 1 || f.has_groups() || arguments.size() != static_cast<std::size_t>(f.domain_rank)) return;
  const auto& ops = f[f.body].ops;
  std::vector<char> taken(ops.size());
  const auto usable = [&](const Op& op) {
    if (op.code != Opcode::accumulate || f[op.memory].space != Memory::Space::parameter || !accumulates_[op.memory.index].only)
      return false;
    int n = 0;
    DType t;
    if (!packed_layout(f[op.memory].element, n, t) || n != 1 || is_half(t) || is_bool(t)) return false;
    if (classify(f, u, op).kind != Access::Kind::contiguous) return false;
    const int rank = f[op.memory].rank;
    for (int k = 0; k + 1 < rank; ++k)
      if (int fuel = 100; !row_invariant(op.operands[k], fuel)) return false;
    return peel(op.operands[rank - 1]).first == arguments.back();
  };
  const auto constant = [&](OpId o) { return peel(f[o].operands[f[f[o].memory].rank - 1]).second; };
  for (std::size_t i = 0; i < ops.size(); ++i) {
    if (taken[i] || !usable(f[ops[i]])) continue;
    const Op& head = f[ops[i]];
    std::vector<std::size_t> members;
    std::int64_t low = constant(ops[i]);
    for (std::size_t j = i; j < ops.size(); ++j) {
      const Op& op = f[ops[j]];
      if (taken[j] || op.memory != head.memory || !usable(op) ||
          !std::equal(op.operands.begin(), op.operands.begin() + f[op.memory].rank - 1, head.operands.begin()))
        continue;
      members.push_back(j);
      low = std::min(low, constant(ops[j]));
    }
    std::erase_if(members, [&](std::size_t j) { return constant(ops[j]) - low >= static_cast<std::int64_t>(W); });
    if (members.size() < 2 || members[0] != i) continue;
    Stencil s;
    llvm::Type* type = vec(scalar_type(layout_of(f[head.memory].element).leaves[0].dtype));
    for (std::size_t j : members) {
      taken[j] = 1;
      const auto shift = static_cast<unsigned>(constant(ops[j]) - low);
      s.sites.push_back({ops[j], shift, shift ? slot(type) : nullptr, nullptr});
      s.most = std::max(s.most, shift);
      if (shift == 0) s.low = ops[j];
      stencil_of_[ops[j].index] = stencils_.size();
    }
    stencils_.push_back(std::move(s));
  }
}

void Emitter::start_stencils() {
  for (Stencil& s : stencils_)
    for (auto& site : s.sites)
      if (site.before) b.CreateStore(minus_zero(layout_of(f[f[site.op].memory].element).leaves[0].dtype, true), site.before);
}

/// True when `o` is one of a stencil's sites: its value is taken, and with the last of them all are added.
bool Emitter::accumulate_in_stencil(OpId o) {
  const auto it = stencil_of_.find(o.index);
  if (it == stencil_of_.end()) return false;
  Stencil& s = stencils_[it->second];
  const DType t = layout_of(f[f[o].memory].element).leaves[0].dtype;
  for (auto& site : s.sites)
    if (site.op == o) site.now = blend(mask_, vector(f[o].operands[f[f[o].memory].rank]), minus_zero(t, true));
  if (s.sites.back().op != o) return true;
  Node* sum = nullptr;
  for (auto& site : s.sites) {
    Node* part = site.now;
    if (site.before) {
      llvm::SmallVector<int, 32> mask;
      for (unsigned k = 0; k < W; ++k) mask.push_back(static_cast<int>(W + k - site.shift));
      part = b.CreateShuffleVector(b.CreateLoad(site.now->getType(), site.before), site.now, mask);
      b.CreateStore(site.now, site.before);
    }
    sum = sum ? add(t, sum, part) : part;
  }
  add_vector(f[s.low], place(f[s.low], 0).pointer, sum, mask_ ? reached(left_, s.most) : nullptr);
  return true;
}

/// The elements that `left` points and those at most so many places behind reach.
Node* Emitter::reached(Node* left, unsigned most) { return b.CreateICmpSLT(lanes(), splat(b.CreateAdd(left, b.getInt32(most)))); }

void Emitter::add_vector(const Op& op, Node* p, Node* v, Node* mask) {
  const DType t = layout_of(f[op.memory].element).leaves[0].dtype;
  const llvm::Align align(size_of(t));
  Node* old = mask ? tag(b.CreateMaskedLoad(v->getType(), p, align, mask, llvm::Constant::getNullValue(v->getType())), op.memory)
                   : static_cast<Node*>(tag(b.CreateAlignedLoad(v->getType(), p, align), op.memory));
  Node* sum = add(t, old, v);
  if (mask) tag(b.CreateMaskedStore(sum, p, align, mask), op.memory);
  else tag(b.CreateAlignedStore(sum, p, align), op.memory);
}

/// After a row: what belongs to elements from `next` on. `left`: how many points there are from there on, 0 or less.
void Emitter::finish_stencils(Node* next, Node* left) {
  for (Stencil& s : stencils_) {
    if (s.most == 0) continue;
    const Op& low = f[s.low];
    const Mem& m = memories_[low.memory.index];
    const Layout& layout = layout_of(f[low.memory].element);
    Node *sum = nullptr, *none = minus_zero(layout.leaves[0].dtype, true);
    for (auto& site : s.sites) {
      if (!site.before) continue;
      llvm::SmallVector<int, 32> mask;
      for (unsigned k = 0; k < W; ++k) mask.push_back(static_cast<int>(k < site.shift ? W - site.shift + k : W + k));
      Node* part = b.CreateShuffleVector(b.CreateLoad(none->getType(), site.before), none, mask);
      sum = sum ? add(layout.leaves[0].dtype, sum, part) : part;
    }
    const int rank = f[low.memory].rank;
    const auto index = [&](Node* i) { return b.CreateSExt(i, b.getInt64Ty()); };
    Node* at = b.getInt64(0);
    for (int k = 0; k + 1 < rank; ++k) at = b.CreateMul(b.CreateAdd(at, index(emit_invariant(low.operands[k]))), m.extent[k + 1]);
    at = b.CreateAdd(at, b.CreateAdd(index(next), b.getInt64(static_cast<std::uint64_t>(peel(low.operands[rank - 1]).second))));
    Node* p = b.CreateGEP(b.getInt8Ty(), m.data, b.CreateMul(at, b.getInt64(layout.size)));
    add_vector(low, p, sum, reached(left, s.most));
  }
}

}  // namespace fluxion::cpu
