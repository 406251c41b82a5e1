// dce -- drop every op, loop carry, collected seq and if result that no result and no effect needs, and
// locals that are only written. Liveness is a fixed point over values, so a carry that feeds only itself
// dies. Keeps the order of what stays. Loops count as finite: one without a live result goes.
#include "fluxion/mutants.h"
#include "fluxion/passes.h"
#include "fluxion/rewrite.h"

namespace fluxion {
namespace {

class Liveness {
 public:
  explicit Liveness(const Function& f)
      : f_(f),
        value_(f.values.size()),
        carry_(f.values.size()),
        op_(f.ops.size()),
        memory_(f.memories.size()),
        region_of_(f.ops.size()),
        owner_(f.regions.size()),
        writes_(f.memories.size()) {
    std::vector<OpId> roots;
    place(f.body, roots);
    for (OpId o : roots) mark(o);
    for (ValueId v : f.terminator(f.body).operands) need(v);
    while (!work_.empty()) {
      const ValueId v = work_.back();
      work_.pop_back();
      trace(v);
    }
  }
  bool live(OpId o) const { return op_[o.index]; }
  bool live(ValueId v) const { return value_[v.index]; }
  /// By the result of the loop that the carry leaves in: a carry may be live with a dead result.
  bool live_carry(ValueId result) const { return carry_[result.index]; }
  std::vector<bool> dead_locals() const {
    std::vector<bool> dead(f_.memories.size());
    for (std::size_t m = 0; m < dead.size(); ++m)
      dead[m] = f_.memories[m].space != Memory::Space::parameter && f_.memories[m].space != Memory::Space::buffer && !memory_[m];
    return dead;
  }

 private:
  const Function& f_;
  std::vector<char> value_, carry_, op_, memory_;
  std::vector<RegionId> region_of_;
  std::vector<OpId> owner_;
  std::vector<std::vector<OpId>> writes_;  // to local and shared memories
  Values work_;

  bool local(MemoryId m) const { return f_[m].space == Memory::Space::local || f_[m].space == Memory::Space::shared; }
  void place(RegionId r, std::vector<OpId>& roots) {
    for (OpId o : f_[r].ops) {
      const Op& op = f_[o];
      region_of_[o.index] = r;
      for (RegionId inner : op.regions) {
        owner_[inner.index] = o;
        place(inner, roots);
      }
      if (op.code == Opcode::yield) continue;
      const bool write = op.code == Opcode::store || op.code == Opcode::accumulate || op.code == Opcode::atomic;
      if (write && local(op.memory) && op.code == Opcode::accumulate && planted(testing::Mutant::dce_local_sums)) continue;
      if (write && local(op.memory)) writes_[op.memory.index].push_back(o);
      else if (has_effect(op.code) || ((op.code == Opcode::launch || op.code == Opcode::call) && has_effect(f_, o))) roots.push_back(o);
    }
  }
  void need(ValueId v) {
    if (value_[v.index]) return;
    value_[v.index] = true;
    work_.push_back(v);
  }
  void mark(OpId o) {
    if (op_[o.index]) return;
    op_[o.index] = true;
    const Op& op = f_[o];
    if (region_of_[o.index] != f_.body) mark(owner_[region_of_[o.index].index]);
    switch (op.code) {
      case Opcode::if_: need(op.operands[0]); break;
      case Opcode::for_:
        need(op.operands[0]);
        need(op.operands[1]);
        break;
      case Opcode::while_: need(f_.terminator(op.regions[0]).operands[0]); break;
      default:
        for (ValueId v : op.operands) need(v);
    }
    if (op.memory.valid()) touch(op.memory);
    for (MemoryId m : op.buffers) touch(m);
  }
  void touch(MemoryId m) {
    if (memory_[m.index]) return;
    memory_[m.index] = true;
    for (OpId w : writes_[m.index]) mark(w);
  }
  void carry(OpId loop, std::size_t k) {
    const Op& op = f_[loop];
    char& seen = carry_[op.results[k].index];
    if (seen) return;
    seen = true;
    mark(loop);
    need(op.operands[k + (op.code == Opcode::for_ ? 2 : 0)]);
    need(f_.terminator(op.regions.back()).operands[k]);
    if (op.code == Opcode::while_) need(f_.terminator(op.regions[0]).operands[k + 1]);
  }
  void trace(ValueId v) {
    const Value& x = f_[v];
    if (x.kind == Value::Kind::argument) {
      const OpId loop = owner_[x.owner];
      if (!loop.valid()) return;  // an index of the launch
      mark(loop);
      const bool counted = f_[loop].code == Opcode::for_;
      if (!(counted && x.slot == 0)) carry(loop, x.slot - (counted ? 1 : 0));
    } else if (x.kind == Value::Kind::result) {
      const OpId o{x.owner};
      const Op& op = f_[o];
      mark(o);
      if (op.code == Opcode::if_) {
        for (RegionId r : op.regions) need(f_.terminator(r).operands[x.slot]);
      } else if (op.code == Opcode::for_ || op.code == Opcode::while_) {
        const Values& yields = f_.terminator(op.regions.back()).operands;
        if (x.slot < f_.carries(op)) carry(o, x.slot);
        else if (x.slot < yields.size()) need(yields[x.slot]);  // beyond: the trips of a while
      }
    }
  }
};

class Dce {
 public:
  explicit Dce(const Function& f) : f_(f), live_(f) {}

  Function run() {
    Function out;
    Builder b(out);
    Rewriter r(f_, b);
    r.dropped = live_.dead_locals();
    r.hook = [this](Rewriter& rw, OpId o) {
      if (!live_.live(o)) return true;
      const Op& op = f_[o];
      if (op.regions.empty() || !prunes(op)) return false;
      prune(rw, op);
      return true;
    };
    r.copy_signature();
    r.copy_ops(f_.body);
    b.loc = f_.terminator(f_.body).loc;
    b.finish(r(f_.terminator(f_.body).operands));
    return out;
  }

 private:
  const Function& f_;
  Liveness live_;

  bool keeps(const Op& op, std::size_t result) const {
    const ValueId v = op.results[result];
    if (op.code == Opcode::if_) return live_.live(v);
    if (result < f_.carries(op)) return live_.live_carry(v);
    return live_.live(v) || (op.code == Opcode::while_ && result + 1 == op.results.size());
  }
  bool prunes(const Op& op) const {
    for (std::size_t i = 0; i < op.results.size(); ++i)
      if (!keeps(op, i)) return true;
    return false;
  }
  void prune(Rewriter& rw, const Op& op) {
    const std::size_t before = op.code == Opcode::if_ ? 1 : op.code == Opcode::for_ ? 2 : 0;  // operands that are no carries
    Op now;
    now.code = op.code;
    now.down = op.down;
    now.kind = op.kind;
    now.leaf = op.leaf;
    now.loc = op.loc;
    for (std::size_t i = 0; i < op.operands.size(); ++i)
      if (i < before || keeps(op, i - before)) now.operands.push_back(rw(op.operands[i]));
    for (std::size_t i = 0; i < op.regions.size(); ++i) {
      const RegionId r = op.regions[i];
      const Values& args = f_[r].arguments;
      const std::size_t counter = op.code == Opcode::for_ ? 1 : 0;
      Values kept;
      std::vector<Type> types;
      for (std::size_t a = 0; a < args.size(); ++a)
        if (a < counter || keeps(op, a - counter)) kept.push_back(args[a]), types.push_back(f_.type(args[a]));
      const RegionId copy = rw.to.open(types);
      rw.map(kept, rw.to.function()[copy].arguments);
      rw.copy_ops(r);
      const bool condition = op.code == Opcode::while_ && i == 0;
      const Values& yields = f_.terminator(r).operands;
      Values out;
      for (std::size_t y = 0; y < yields.size(); ++y) {
        if (condition ? y == 0 || keeps(op, y - 1) : keeps(op, y)) out.push_back(rw(yields[y]));
      }
      rw.to.close(out);
      now.regions.push_back(copy);
    }
    Values kept;
    std::vector<Type> types;
    for (std::size_t i = 0; i < op.results.size(); ++i)
      if (keeps(op, i)) kept.push_back(op.results[i]), types.push_back(f_.type(op.results[i]));
    const OpId copy = rw.to.append(std::move(now), types);
    rw.map(kept, rw.to.function()[copy].results);
  }
};

}  // namespace

Function dce(const Function& f) { return Dce(f).run(); }

}  // namespace fluxion
