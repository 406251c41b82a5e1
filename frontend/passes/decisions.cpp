// Walks backward from conditions, bounds, indices and steps to all that they are made of.
#include "decisions.h"

namespace fluxion {
namespace {

class Decisions {
 public:
  explicit Decisions(const Function& f) : f_(f), marked_(f.values.size()), loaded_(f.memories.size()), owner_(f.regions.size()) {
    for (std::uint32_t r = 0; r < f.regions.size(); ++r)
      for (OpId o : f.regions[r].ops)
        for (RegionId inner : f[o].regions) owner_[inner.index] = o;
    for (const Region& r : f.regions)
      for (OpId o : r.ops) roots(f[o]);
    while (!work_.empty()) {
      const ValueId v = work_.back();
      work_.pop_back();
      follow(v);
    }
  }
  std::vector<bool> take() { return std::move(marked_); }

 private:
  const Function& f_;
  std::vector<bool> marked_;  // by value
  std::vector<bool> loaded_;  // by memory: what is stored there decides
  std::vector<OpId> owner_;   // by region: the op that it belongs to
  Values work_;

  void mark(ValueId v) {
    if (marked_[v.index]) return;
    marked_[v.index] = true;
    work_.push_back(v);
  }
  void mark_all(const Values& vs) {
    for (ValueId v : vs) mark(v);
  }
  ValueId yielded(RegionId r, std::size_t k) const { return f_.terminator(r).operands[k]; }

  void roots(const Op& op) {
    switch (op.code) {
      case Opcode::if_:
      case Opcode::zeros: mark_all({op.operands.begin(), op.operands.begin() + (op.operands.empty() ? 0 : 1)}); break;
      case Opcode::for_: mark(op.operands[0]), mark(op.operands[1]); break;
      case Opcode::while_: mark(yielded(op.regions[0], 0)); break;
      case Opcode::seq_get:
      case Opcode::seq_set:
      case Opcode::seq_add_at: mark(op.operands[1]); break;
      case Opcode::load: mark_all(op.operands); break;
      case Opcode::select: mark(op.operands[0]); break;
      // Steps: near one, another rounding gives another number.
      case Opcode::floor:
      case Opcode::ceil:
      case Opcode::round:
      case Opcode::trunc:
      case Opcode::sign:
      case Opcode::rem: mark_all(op.operands); break;
      case Opcode::convert:
        if (is_float(f_.type(op.operands[0]).dtype()) && !is_float(f_.type(op.results[0]).dtype())) mark(op.operands[0]);
        break;
      case Opcode::subgroup:
        if (op.operands.size() > 1) mark(op.operands[1]);
        break;
      case Opcode::atomic:
        for (std::size_t k = 0; k < static_cast<std::size_t>(f_[op.memory].rank); ++k) mark(op.operands[k]);
        if (!op.results.empty()) mark(op.results[0]);
        break;
      case Opcode::store:
      case Opcode::accumulate: mark_all({op.operands.begin(), op.operands.end() - 1}); break;
      default:
        if (is_elementwise(op.code) && info(op.code).flags & flag::predicate) mark_all(op.operands);
        break;  // the rest decides nothing by itself
    }
  }

  void follow(ValueId v) {
    const Value& x = f_[v];
    if (x.kind == Value::Kind::argument) return follow_argument(x);
    if (x.kind != Value::Kind::result) return;
    const Op& op = f_.ops[x.owner];
    const std::size_t carries = op.code == Opcode::for_ || op.code == Opcode::while_ ? f_.carries(op) : 0;
    switch (op.code) {
      case Opcode::if_:
        for (RegionId r : op.regions) mark(yielded(r, x.slot));
        return;
      case Opcode::for_:
        if (x.slot < carries) mark(op.operands[2 + x.slot]);
        mark(yielded(op.regions[0], x.slot));
        return;
      case Opcode::while_:
        if (x.slot < carries) mark(yielded(op.regions[0], 1 + x.slot));
        else if (x.slot < f_.terminator(op.regions[1]).operands.size()) mark(yielded(op.regions[1], x.slot));
        return;
      case Opcode::load: return follow_memory(op.memory);
      default: return mark_all(op.operands);
    }
  }

  void follow_argument(const Value& x) {
    const RegionId r{x.owner};
    if (r == f_.body) return;
    const Op& op = f_[owner_[r.index]];
    if (op.code == Opcode::for_) {
      if (x.slot == 0) return;  // the counter: its bounds are roots
      mark(op.operands[1 + x.slot]);
      mark(yielded(r, x.slot - 1));
    } else if (op.code == Opcode::while_) {
      if (r == op.regions[1]) return mark(yielded(op.regions[0], 1 + x.slot));
      mark(op.operands[x.slot]);
      mark(yielded(op.regions[1], x.slot));
    }
  }

  void follow_memory(MemoryId m) {
    if (loaded_[m.index]) return;
    loaded_[m.index] = true;
    for (const Region& r : f_.regions)
      for (OpId o : r.ops) {
        const Op& op = f_[o];
        if ((op.code == Opcode::store || op.code == Opcode::accumulate) && op.memory == m) mark(op.operands.back());
      }
  }
};

}  // namespace

std::vector<bool> deciding_values(const Function& f) { return Decisions(f).take(); }

}  // namespace fluxion
