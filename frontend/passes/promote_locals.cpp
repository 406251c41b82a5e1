// promote_locals -- a local array that is only indexed by constants becomes values: a variable for each
// element, which mem2reg turns into carries and yields. Differentiation then has no memory to tape, and a
// backend nothing to keep on the stack.
#include <functional>
#include <utility>

#include "fluxion/mutants.h"
#include "fluxion/passes.h"
#include "fluxion/rewrite.h"

namespace fluxion {
namespace {

constexpr std::size_t kMostElements = 64;

class Promote {
 public:
  explicit Promote(const Function& f) : f_(f), promoted_(f.memories.size()), slots_(f.memories.size()), waiting_(f.regions.size()) {
    for (std::size_t m = 0; m < f.memories.size(); ++m) {
      const Memory& mem = f.memories[m];
      if (mem.space != Memory::Space::local) continue;
      const Layout& layout = layout_of(mem.element);
      promoted_[m] = static_cast<std::size_t>(mem.length) * layout.leaves.size() <= kMostElements;
      for (const Leaf& leaf : layout.leaves)
        if (is_half(leaf.dtype)) promoted_[m] = false;
    }
    for (const Region& r : f.regions)
      for (OpId o : r.ops) {
        const Op& op = f[o];
        if (op.memory.valid() && op.code != Opcode::extent && !constant_index(op)) promoted_[op.memory.index] = false;
        for (MemoryId m : op.buffers) promoted_[m.index] = false;
      }
    for (std::uint32_t m = 0; m < f.memories.size(); ++m)
      if (promoted_[m]) any_ = true, waiting_[f.memories[m].scope.index].push_back({m});
    region_of_.resize(f.ops.size());
    for (std::uint32_t r = 0; r < f.regions.size(); ++r)
      for (OpId o : f.regions[r].ops) region_of_[o.index] = {r};
  }
  bool any() const { return any_; }
  const std::vector<bool>& promoted() const { return promoted_; }

  bool operator()(Rewriter& rw, OpId id) {
    Builder& b = rw.to;
    // The first op of a region makes the variables of its locals.
    std::vector<MemoryId>& waiting = waiting_[region_of_[id.index].index];
    for (MemoryId m : std::exchange(waiting, {})) {
      const Layout& layout = layout_of(f_[m].element);
      for (std::int64_t i = 0; i < f_[m].length; ++i)
        for (const Leaf& leaf : layout.leaves) slots_[m.index].push_back(make(b, leaf.dtype));
    }
    const Op& op = f_[id];
    if (!op.memory.valid() || !promoted_[op.memory.index]) return false;
    if (op.code == Opcode::extent) {
      rw.map(op.results[0], b.i32(static_cast<std::int32_t>(f_[op.memory].length)));
      return true;
    }
    const std::size_t at = static_cast<std::size_t>(f_[op.operands[0]].bits) * layout_of(f_[op.memory].element).leaves.size() + op.leaf;
    const ValueId slot = slots_[op.memory.index][at];
    if (op.code == Opcode::load) {
      rw.map(op.results[0], get(b, slot));
      return true;
    }
    ValueId v = rw(op.operands[1]);
    if (op.code == Opcode::accumulate && !planted(testing::Mutant::promote_overwrites)) v = b.add(get(b, slot), v);
    set(b, slot, v);
    return true;
  }

 private:
  const Function& f_;
  std::vector<bool> promoted_;
  std::vector<Values> slots_;  // by memory: element by element, leaf by leaf
  std::vector<std::vector<MemoryId>> waiting_;
  std::vector<RegionId> region_of_;
  bool any_ = false;

  bool constant_index(const Op& op) const {
    if (f_[op.memory].space != Memory::Space::local) return true;
    if (op.code != Opcode::load && op.code != Opcode::store && op.code != Opcode::accumulate) return false;
    const ValueId i = op.operands[0];
    return f_.is_constant(i) && f_[i].bits < static_cast<std::uint64_t>(f_[op.memory].length);
  }
  static ValueId make(Builder& b, DType t) {
    Op op;
    op.code = Opcode::var_new;
    op.operands = {b.zero(t)};
    const Type type = t;
    return b.function()[b.append(std::move(op), {&type, 1})].results[0];
  }
  static ValueId get(Builder& b, ValueId slot) {
    Op op;
    op.code = Opcode::var_get;
    op.operands = {slot};
    const Type type = b.function().type(slot);
    return b.function()[b.append(std::move(op), {&type, 1})].results[0];
  }
  static void set(Builder& b, ValueId slot, ValueId v) {
    Op op;
    op.code = Opcode::var_set;
    op.operands = {slot, v};
    b.append(std::move(op), {});
  }
};

}  // namespace

Function promote_locals(const Function& f) {
  Promote pass(f);
  if (!pass.any()) return f;
  Function out;
  Builder b(out);
  Rewriter r(f, b);
  r.dropped = pass.promoted();
  r.hook = std::ref(pass);
  r.copy_signature();
  r.copy_ops(f.body);
  b.loc = f.terminator(f.body).loc;
  b.finish(r(f.terminator(f.body).operands));
  return mem2reg(out);
}

}  // namespace fluxion
