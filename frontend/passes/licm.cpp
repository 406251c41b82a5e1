// licm -- what does not change in a loop moves before it. Pure ops always may (nothing traps here); loads and
// seq_gets only when the loop surely runs them, nothing in the loop writes what they read and no check stands
// before them, because an index may be good inside the loop only. Ops under an if stay: they may be rare.
// Sequences stay too, so that each loop updates its own in place.
#include "effects.h"
#include "fluxion/mutants.h"
#include "fluxion/passes.h"
#include "fluxion/rewrite.h"

namespace fluxion {
namespace {

class Licm {
 public:
  explicit Licm(Function& f) : f_(f), effects_(f), depth_(f.values.size()) {}
  void run() { f_[f_.body].ops = region(f_.body, {}, nullptr); }

 private:
  Function& f_;
  const Effects effects_;
  std::vector<std::uint32_t> depth_;  // by value: how deep the region is that it is now defined in

  /// The ops that stay in `r`; what may leave its loop is appended to `out`.
  std::vector<OpId> region(RegionId r, OpId loop, std::vector<OpId>* out) {
    const std::uint32_t depth = effects_.depth[r.index];
    for (ValueId v : f_[r].arguments) depth_[v.index] = depth;
    std::vector<OpId> stay;
    bool checked = false;
    const auto place = [&](OpId o) {
      const bool leaves = out && movable(f_[o], depth, loop, r, checked);
      for (ValueId v : f_[o].results) depth_[v.index] = leaves ? depth - 1 : depth;
      (leaves ? *out : stay).push_back(o);
      checked |= effects_.effect[o.index] && (effects_.writes[o.index] == 0 || !f_[o].regions.empty());
    };
    for (OpId o : f_[r].ops) {
      const bool is_loop = f_[o].code == Opcode::for_ || f_[o].code == Opcode::while_;
      std::vector<OpId> moved;
      for (std::size_t i = 0; i < f_[o].regions.size(); ++i) {
        const RegionId inner = f_[o].regions[i];
        f_[inner].ops = region(inner, o, is_loop ? &moved : nullptr);
      }
      for (OpId m : moved) place(m);
      place(o);
    }
    return stay;
  }
  bool surely_runs(const Op& loop, RegionId r) const {
    if (loop.code == Opcode::while_) return r == loop.regions[0];
    const ValueId lo = loop.operands[0], hi = loop.operands[1];
    return f_.is_constant(lo) && f_.is_constant(hi) && static_cast<std::int32_t>(f_[lo].bits) < static_cast<std::int32_t>(f_[hi].bits);
  }
  bool movable(const Op& op, std::uint32_t depth, OpId loop, RegionId r, bool checked) const {
    // A call is dear: it moves only where it surely runs.
    const bool call = op.code == Opcode::call && !has_effect(f_, OpId{f_[op.results.empty() ? ValueId{0} : op.results[0]].owner});
    if (call && (op.results.empty() || f_.kind == Function::Kind::program || !surely_runs(f_[loop], r))) return false;
    if (!call && (op.results.size() != 1 || f_.type(op.results[0]).is_seq())) return false;
    if (!call && !is_pure(op.code)) {
      const bool reads = op.code == Opcode::load || op.code == Opcode::seq_get;
      if (!reads || checked || !surely_runs(f_[loop], r)) return false;
      if (op.code == Opcode::load) {
        if ((effects_.writes[loop.index] & set_of(op.memory)) && !planted(testing::Mutant::licm_unstable)) return false;
        const Memory& m = f_[op.memory];
        if (m.space != Memory::Space::parameter && effects_.depth[m.scope.index] >= depth) return false;
      }
    }
    for (ValueId v : op.operands) {
      const Value& x = f_[v];
      const bool anywhere = x.kind == Value::Kind::constant || x.kind == Value::Kind::parameter;
      if (!anywhere && depth_[v.index] >= depth) return false;
    }
    return true;
  }
};

}  // namespace

Function licm(const Function& f) {
  Function out = f;
  Licm(out).run();
  return rewrite(out, {});
}

}  // namespace fluxion
