// forward_stores -- a load after a store to the same index becomes the stored value, a load from a local
// nobody has written yet becomes 0, an accumulate on a known value becomes a store, and a store that the next
// one overwrites unread, or that changes nothing, goes. Two indices are the
// same when they are one value, and apart when they differ by a constant on some axis; else they may meet.
// Threads do not meet on an element that one of them stores (a race), so only the thread's own writes count.
#include <algorithm>

#include "effects.h"
#include "fluxion/mutants.h"
#include "fluxion/passes.h"
#include "fluxion/rewrite.h"

namespace fluxion {
namespace {

/// base + offset; a constant has no base.
struct Affine {
  ValueId base{};
  std::uint32_t offset = 0;
};
Affine affine(const Function& f, ValueId v) {
  std::uint32_t offset = 0;
  for (;;) {
    const Value& x = f[v];
    if (x.kind == Value::Kind::constant) return {{}, offset + static_cast<std::uint32_t>(x.bits)};
    if (x.kind != Value::Kind::result) return {v, offset};
    const Op& op = f.ops[x.owner];
    const bool sub = op.code == Opcode::sub;
    if ((op.code != Opcode::add && !sub) || !f.is_constant(op.operands[1])) return {v, offset};
    const auto c = static_cast<std::uint32_t>(f[op.operands[1]].bits);
    offset += sub ? 0u - c : c;
    v = op.operands[0];
  }
}
enum class Meet { same, apart, maybe };
Meet meet(const Function& f, std::span<const ValueId> a, std::span<const ValueId> b) {
  Meet out = Meet::same;
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (a[i] == b[i]) continue;
    const Affine x = affine(f, a[i]), y = affine(f, b[i]);
    if (x.base != y.base) out = Meet::maybe;
    else if (x.offset != y.offset) return Meet::apart;
  }
  return out;
}

class Forward {
 public:
  explicit Forward(const Function& f) : f_(f), effects_(f), known_(f.memories.size()), locals_(f.regions.size()) {
    for (std::uint32_t m = 0; m < f.memories.size(); ++m)
      if (f.memories[m].space == Memory::Space::local) locals_[f.memories[m].scope.index].push_back({m});
    enter(f.body);
  }
  bool operator()(Rewriter& rw, OpId id) {
    const Op& op = f_[id];
    if (!op.regions.empty()) {
      scoped(rw, id);
      return true;
    }
    switch (op.code) {
      case Opcode::load: {
        const Values index = rw(op.operands);
        const ValueId v = find(rw.to, op, index);
        if (v.valid()) {
          rw.map(op.results[0], v);
          return true;
        }
        const ValueId now = rw.to.load(rw(op.memory), index, op.leaf);
        rw.map(op.results[0], now);
        known_[op.memory.index].entries.push_back({index, op.leaf, now, Opcode::load});
        return true;
      }
      case Opcode::store: {
        Values index = rw(op.operands);
        const ValueId v = index.back();
        index.pop_back();
        if (find(rw.to, op, index) == v) return true;  // it holds this value already
        known_[op.memory.index].entries.push_back({std::move(index), op.leaf, v, op.code});
        return false;
      }
      case Opcode::accumulate: {
        Values index = rw(op.operands);
        const ValueId v = index.back();
        index.pop_back();
        // Who loads or stores an element owns it, so that adding needs no care for other threads.
        const ValueId before = is_half(rw.to.function().type(v).dtype()) ? ValueId{} : find(rw.to, op, index);
        if (before.valid()) {
          const ValueId sum = rw.to.add(before, v);
          rw.to.store(rw(op.memory), index, sum, op.leaf);
          known_[op.memory.index].entries.push_back({std::move(index), op.leaf, sum, Opcode::store});
          return true;
        }
        if (!planted(testing::Mutant::forward_over_accumulate))
          known_[op.memory.index].entries.push_back({std::move(index), op.leaf, {}, op.code});
        return false;
      }
      default: forget(effects_.writes[id.index]); return false;
    }
  }

 private:
  struct Entry {
    Values index;
    std::uint16_t leaf;
    ValueId value;  // invalid: written, but with what is not known
    Opcode by;
  };
  struct Known {
    std::vector<Entry> entries;
    bool fresh = false;  // what no entry may touch is still 0
  };
  const Function& f_;
  const Effects effects_;
  std::vector<Known> known_;
  std::vector<std::vector<MemoryId>> locals_;

  void enter(RegionId r) {
    for (MemoryId m : locals_[r.index]) known_[m.index] = {{}, true};
  }
  void forget(MemorySet set) {
    if (!set) return;
    for (std::uint32_t m = 0; m < known_.size(); ++m)
      if (set & set_of({m})) known_[m] = {};
  }
  ValueId find(Builder& to, const Op& op, const Values& index) const {
    const Known& known = known_[op.memory.index];
    for (auto e = known.entries.rbegin(); e != known.entries.rend(); ++e) {
      if (e->leaf != op.leaf) continue;
      const Meet m = meet(to.function(), e->index, index);
      if (m == Meet::same) return e->value;
      if (m == Meet::maybe && e->by != Opcode::load && !planted(testing::Mutant::forward_maybe)) return {};
    }
    return known.fresh ? to.zero(layout_of(f_[op.memory].element).leaves[op.leaf].dtype) : ValueId{};
  }
  void scoped(Rewriter& rw, OpId id) {
    const Op& op = f_[id];
    Op now = op;
    now.operands = rw(op.operands);
    now.regions.clear();
    const std::vector<Known> before = known_;
    for (RegionId r : op.regions) {
      known_ = before;
      if (op.code != Opcode::if_ && !planted(testing::Mutant::forward_into_loop)) forget(effects_.writes[id.index]);
      enter(r);
      now.regions.push_back(rw.copy_region(r));
    }
    known_ = before;
    if (!planted(testing::Mutant::forward_over_regions)) forget(effects_.writes[id.index]);
    std::vector<Type> types;
    for (ValueId v : op.results) types.push_back(f_.type(v));
    const OpId copy = rw.to.append(std::move(now), types);
    rw.map(op.results, rw.to.function()[copy].results);
  }
};

/// Drops stores that a later store of the same region overwrites before anything may read the element.
void drop_overwritten(Function& f) {
  const Effects effects(f);
  struct Later {
    MemoryId memory;
    std::uint16_t leaf;
    std::span<const ValueId> index;
  };
  for (Region& region : f.regions) {
    std::vector<Later> later;
    std::vector<bool> dead(region.ops.size());
    for (std::size_t i = region.ops.size(); i-- > 0;) {
      const Op& op = f[region.ops[i]];
      const std::span<const ValueId> index(op.operands.data(), op.operands.size() - (op.code == Opcode::store ? 1 : 0));
      if (op.code == Opcode::store) {
        for (const Later& l : later)
          if (l.memory == op.memory && l.leaf == op.leaf && meet(f, l.index, index) == Meet::same) dead[i] = true;
        if (!dead[i]) later.push_back({op.memory, op.leaf, index});
      } else if (op.code == Opcode::load) {
        if (planted(testing::Mutant::overwritten_although_read)) continue;
        std::erase_if(later,
                      [&](const Later& l) { return l.memory == op.memory && l.leaf == op.leaf && meet(f, l.index, index) != Meet::apart; });
      } else if (const MemorySet touched = effects.reads[region.ops[i].index] | effects.writes[region.ops[i].index]) {
        std::erase_if(later, [&](const Later& l) { return (set_of(l.memory) & touched) != 0; });
      }
    }
    std::size_t i = 0;
    std::erase_if(region.ops, [&](OpId) { return dead[i++]; });
  }
}

}  // namespace

Function forward_stores(const Function& f) {
  Forward pass(f);
  Function out = rewrite(f, std::ref(pass));
  drop_overwritten(out);
  return out;
}

}  // namespace fluxion
