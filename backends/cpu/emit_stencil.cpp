// Accumulates of a stencil: sites that add to x[i + c] for several constants c, where neighbouring points meet. One after
// the other, each would load what the site before has just stored, shifted by some lanes, and wait for that store to
// reach the cache. So the sites of W points are added up in registers first: what a point gives to an element of the next W is
// kept until the loop comes there, and what is left after the loop is added then. The masked rest of a row goes
// site by site.
#include <algorithm>

#include "emitter.h"

namespace fluxion::cpu {

void Emitter::plan_stencils() {
  const auto& arguments = f[f.body].arguments;
  if (W == 1 || f.has_groups() || arguments.size() != static_cast<std::size_t>(f.domain_rank)) return;
  const auto& ops = f[f.body].ops;
  std::vector<char> taken(ops.size());
  const auto usable = [&](const Op& op) {
    if (op.code != Opcode::accumulate || f[op.memory].space != Memory::Space::parameter || !accumulates_[op.memory.index].only) return false;
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
  if (it == stencil_of_.end() || !in_plain_lanes_) return false;
  Stencil& s = stencils_[it->second];
  for (auto& site : s.sites)
    if (site.op == o) site.now = vector(f[o].operands[f[f[o].memory].rank]);
  if (s.sites.back().op != o) return true;
  const DType t = layout_of(f[f[o].memory].element).leaves[0].dtype;
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
  Node* p = place(f[s.low], 0).pointer;
  const llvm::Align align(size_of(t));
  Node* old = tag(b.CreateAlignedLoad(sum->getType(), p, align), f[o].memory);
  tag(b.CreateAlignedStore(add(t, old, sum), p, align), f[o].memory);
  return true;
}

/// After the loop over lanes, which has run at least once: what belongs to elements past those of its last W points.
void Emitter::finish_stencils(Node* next) {
  if (stencils_.empty()) return;
  set(f[f.body].arguments.back(), next);
  for (Stencil& s : stencils_) {
    if (s.most == 0) continue;
    const MemoryId m = f[s.low].memory;
    const DType t = layout_of(f[m].element).leaves[0].dtype;
    Node *sum = nullptr, *none = minus_zero(t, true);
    for (auto& site : s.sites) {
      if (!site.before) continue;
      llvm::SmallVector<int, 32> mask;
      for (unsigned k = 0; k < W; ++k) mask.push_back(static_cast<int>(k < site.shift ? W - site.shift + k : W + k));
      Node* part = b.CreateShuffleVector(b.CreateLoad(none->getType(), site.before), none, mask);
      sum = sum ? add(t, sum, part) : part;
    }
    llvm::SmallVector<llvm::Constant*, 32> reached;
    for (unsigned k = 0; k < W; ++k) reached.push_back(b.getInt1(k < s.most));
    Node* here = llvm::ConstantVector::get(reached);
    Node* p = place(f[s.low], 0).pointer;
    const llvm::Align align(size_of(t));
    Node* old = tag(b.CreateMaskedLoad(sum->getType(), p, align, here, llvm::Constant::getNullValue(sum->getType())), m);
    tag(b.CreateMaskedStore(add(t, old, sum), p, align, here), m);
  }
}

}  // namespace fluxion::cpu
