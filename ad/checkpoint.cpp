// Strip-mining: a loop becomes a nest of loops over shorter and shorter strips, all but the innermost marked to keep
// only what their iterations start from. Differentiation then does what it does to any nest: the reverse of a strip runs it
// again. A `while` becomes a `for` first; what decides its trips costs next to nothing in a program, whose scalars
// depend on arrays through `item` alone, and then the loop is refused. Revolving loops get their number of states here; their sweeps are in revolve.cpp.
#include "checkpoint.h"

#include <fmt/format.h>

#include <cmath>

#include "fluxion/error.h"
#include "fluxion/passes.h"
#include "fluxion/rewrite.h"
#include "names.h"

namespace fluxion::ad {
namespace {

constexpr auto kStarts = static_cast<std::uint8_t>(Keep::starts);

bool works_on_arrays(const Function& f, RegionId r) {
  for (OpId o : f[r].ops) {
    if (f[o].code == Opcode::launch) return true;
    for (ValueId v : f[o].results)
      if (f.type(v).is_array()) return true;
    for (RegionId inner : f[o].regions)
      if (works_on_arrays(f, inner)) return true;
  }
  return false;
}

/// What a while tests may depend on the numbers of an array, which a copy without launches does not have.
bool reads_arrays(const Function& f, RegionId r) {
  for (OpId o : f[r].ops) {
    const Op& op = f[o];
    if (op.code == Opcode::seq_get && f.type(op.operands[0]).is_array()) return true;
    if (op.code == Opcode::call && f.callees[op.ref]->kind == Function::Kind::program)
      for (ValueId v : op.results)
        if (!f.type(v).is_array()) return true;
    for (RegionId inner : op.regions)
      if (reads_arrays(f, inner)) return true;
  }
  return false;
}

/// The trips of a while from a copy of it whose launches give zeros: dce leaves its scalars.
Function count_whiles(const Function& f) {
  return dce(rewrite(f, [&](Rewriter& rw, OpId id) {
    const Op& op = f[id];
    if (op.code != Opcode::while_ || !works_on_arrays(f, op.regions[1])) return false;
    if (reads_arrays(f, op.regions[0]) || reads_arrays(f, op.regions[1]))
      throw KernelError(op.loc,
                        "how often this while loop runs may depend on the numbers of an array (fx::item), which are not known before it "
                        "runs; its derivative cannot be checkpointed: leave the checkpoint option out, or write fx::range with a limit");
    Rewriter count = rw;
    count.hook = [&f](Rewriter& c, OpId inner) {
      const Op& o = f[inner];
      if (o.code == Opcode::print || o.code == Opcode::check) return true;
      const bool arrays = !o.results.empty() && f.type(o.results[0]).is_array() && o.regions.empty() && o.code != Opcode::seq_get;
      if (!arrays) return false;
      for (ValueId v : o.results) c.map(v, c.to.zero(f.type(v)));
      return true;
    };
    count.copy_op(id);
    const std::size_t n = op.operands.size();
    const RegionId body = op.regions[1];
    const auto result = rw.to.for_(rw.to.i32(0), count(op.results.back()), rw(op.operands), [&](ValueId, const Values& carries) {
      rw.map(f[body].arguments, carries);
      rw.copy_ops(body);
      const Values y = rw(f.terminator(body).operands);
      const auto at = y.begin() + static_cast<std::ptrdiff_t>(n);
      return Builder::LoopYield{Values(y.begin(), at), Values(at, y.end())};
    });
    for (std::size_t k = 0; k < n; ++k) rw.map(op.results[k], result.carries[k]);
    for (std::size_t k = 0; k < result.seqs.size(); ++k) rw.map(op.results[n + k], result.seqs[k]);
    rw.map(op.results.back(), count(op.results.back()));
    return true;
  }));
}

class Strips {
 public:
  Strips(const Function& f, const Checkpoint& how, Checkpointed& out) : f_(f), how_(how), out_(out), b_(out.f), rw_(f, b_) {}

  void run() {
    rw_.hook = [this](Rewriter&, OpId id) { return loop(id); };
    rw_.copy_signature();
    for (const Parameter& p : f_.parameters) names_.unique(p.name);
    rw_.copy_ops(f_.body);
    b_.loc = f_.terminator(f_.body).loc;
    b_.finish(rw_(f_.terminator(f_.body).operands));
  }

 private:
  const Function& f_;
  const Checkpoint& how_;
  Checkpointed& out_;
  Builder b_;
  Rewriter rw_;
  Names names_;
  int depth_ = 0, loops_ = 0;

  bool loop(OpId id) {
    const Op& op = f_[id];
    if (op.code != Opcode::for_ || !works_on_arrays(f_, op.regions[0])) return false;
    if (depth_ >= (how_.mode == Checkpoint::Mode::settings ? how_.depth : 1)) return false;
    bool seqs = op.kind != 0 || op.results.size() > f_.carries(op);
    for (ValueId v : op.results) seqs |= f_.type(v).is_seq();
    if (seqs)
      throw KernelError(op.loc,
                        "this loop is part of a derivative already, which says what it keeps; give the checkpoint option to the "
                        "first derivative of the program");
    const ValueId lo = rw_(op.operands[0]), hi = rw_(op.operands[1]);
    const Values init = rw_(Values(op.operands.begin() + 2, op.operands.end()));
    const ValueId trips = b_.trips(lo, hi);
    const int number = loops_++;
    ++depth_;
    Values results;
    switch (how_.mode) {
      case Checkpoint::Mode::all: throw Bug(op.loc, "checkpoint: nothing to do");
      case Checkpoint::Mode::strips: {
        Values lengths;
        for (int k = how_.levels - 1; k > 0; --k) lengths.push_back(root(trips, static_cast<double>(k) / how_.levels));
        results = strips(op, lo, hi, init, lengths, 0);
        break;
      }
      case Checkpoint::Mode::revolve: results = revolve(rw_.copy_for(op, lo, hi, init), b_.i32(how_.states), number); break;
      case Checkpoint::Mode::settings: {
        const ValueId length = b_.scalar_parameter(DType::i32, names_.unique(fmt::format("strip{}", number)));
        const ValueId states = b_.scalar_parameter(DType::i32, names_.unique(fmt::format("states{}", number)));
        results = revolve(strips(op, lo, hi, init, {length}, 0), states, number);
      }
    }
    --depth_;
    rw_.map(op.results, results);
    return true;
  }

  /// ceil(trips ^ power)
  ValueId root(ValueId trips, double power) {
    const ValueId t = b_.convert(trips, DType::f64);
    const ValueId r = power == 0.5 ? b_.emit(Opcode::sqrt, {t}) : b_.emit(Opcode::pow, {t, b_.constant_float(DType::f64, power)});
    return b_.convert(b_.emit(Opcode::ceil, {r}), DType::i32);
  }

  Values strips(const Op& op, ValueId lo, ValueId hi, const Values& init, const Values& lengths, std::size_t level) {
    if (level == lengths.size()) return rw_.copy_for(op, lo, hi, init);
    const ValueId one = b_.i32(1), trips = b_.trips(lo, hi);
    const ValueId length = b_.emit(Opcode::max, {b_.emit(Opcode::min, {lengths[level], trips}), one});
    const ValueId whole = b_.emit(Opcode::div, {trips, length});
    const ValueId count = b_.emit(Opcode::select, {b_.emit(Opcode::lt, {b_.mul(whole, length), trips}), b_.add(whole, one), whole});
    const Values results = b_.for_(
                                 b_.i32(0), count, init,
                                 [&](ValueId c, const Values& carries) {
                                   const ValueId first = b_.add(lo, b_.mul(c, length));
                                   const ValueId last = b_.add(first, b_.emit(Opcode::min, {length, b_.sub(hi, first)}));
                                   return Builder::LoopYield{strips(op, first, last, carries, lengths, level + 1), {}};
                                 },
                                 op.down)
                               .carries;
    b_.last().kind = kStarts;
    return results;
  }

  /// The loop just made keeps `states` of what its iterations start from, not all.
  Values revolve(const Values& results, ValueId states, int number) {
    b_.last().kind = kStarts;
    b_.last().leaf = static_cast<std::uint16_t>(number + 1);
    out_.states[out_.f[b_.current()].ops.back()] = states;
    return results;
  }
};

}  // namespace

Checkpointed checkpoint(const Function& f, const Checkpoint& how) {
  if (how.mode == Checkpoint::Mode::all) return {f, {}};
  if (how.mode == Checkpoint::Mode::strips && (how.levels < 1 || how.levels > 16))
    throw KernelError(f.loc, fmt::format("strips of {} levels; use 1 to 16", how.levels));
  if (how.mode == Checkpoint::Mode::revolve && how.states < 1)
    throw KernelError(f.loc, fmt::format("revolve with {} states; it needs at least 1", how.states));
  Checkpointed out;
  const Function counted = count_whiles(f);
  Strips(counted, how, out).run();
  return out;
}

}  // namespace fluxion::ad
