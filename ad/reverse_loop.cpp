// for and while backwards. The loop in the base region has collected its carries at the start of every
// iteration; the reverse loop walks the same numbers the other way, takes them up, replays the body and reverses it. It
// carries one cotangent for each active carry of the primal and one for each value that the body uses from
// outside.
#include <algorithm>

#include "fluxion/error.h"
#include "fluxion/mutants.h"
#include "reverse.h"

namespace fluxion::ad {

void Reverse::reverse_for(OpId o) {
  const Op& op = f_[o];
  const RegionId body = op.regions[0];
  reverse_loop(o, primal(op.operands[0]), primal(op.operands[1]), !op.down, body, 1,
               [&](ValueId i) { now[f_[body].arguments[0].index] = i; });
}

void Reverse::reverse_while(OpId o) {
  const Op& op = f_[o];
  const ValueId n = primal(op.results.back());
  reverse_loop(o, b_.i32(0), planted(testing::Mutant::while_short) ? b_.emit(Opcode::max, {b_.sub(n, b_.i32(1)), b_.i32(0)}) : n, true,
               op.regions[1], 0, [](ValueId) {});
}

bool Reverse::steps_evenly(const Function& f, const Structure& s, ValueId arg, ValueId next, RegionId body, ValueId* by) {
  const Type type = f.type(arg);
  if (!type.is_scalar() || !is_int(type.dtype()) || f[next].kind != Value::Kind::result) return false;
  const Op& step = f.ops[f[next].owner];
  ValueId found{};
  if (step.code != Opcode::add && step.code != Opcode::sub) return false;
  if (step.operands[0] == arg) found = step.operands[1];
  else if (step.operands[1] == arg && step.code == Opcode::add) found = step.operands[0];
  if (!found.valid() || s.within(s.home(found), body)) return false;
  if (by) *by = found;
  return true;
}

// The value of a carry when iteration t begins. Integers that step evenly, and what never changes, need no tape.
ValueId Reverse::carry_at(OpId o, std::size_t k, RegionId body, ValueId arg, ValueId t, ValueId trips) {
  const Op& op = f_[o];
  const ValueId init = op.operands[k + (op.code == Opcode::for_ ? 2 : 0)], next = f_.terminator(body).operands[k];
  if (next == arg) return primal(init);
  if (ValueId by{}; steps_evenly(f_, s_, arg, next, body, &by)) {
    const Opcode step = f_.ops[f_[next].owner].code;
    const ValueId done = op.down                                      ? b_.sub(b_.sub(trips, b_.i32(1)), t)
                         : planted(testing::Mutant::affine_carry_off) ? b_.add(t, b_.i32(1))
                                                                      : t;
    return b_.emit(step, {primal(init), b_.mul(b_.convert(done, f_.type(arg).dtype()), primal(by))});
  }
  if (planted(testing::Mutant::checkpoint_late))
    return b_.seq_get(checkpoints_[o.index][k], b_.emit(Opcode::max, {b_.sub(t, b_.i32(1)), b_.i32(0)}));
  return b_.seq_get(checkpoints_[o.index][k], t);
}

void Reverse::reverse_loop(OpId o, ValueId lo, ValueId hi, bool down, RegionId body, std::size_t first_arg,
                           const std::function<void(ValueId i)>& bind) {
  const Op& op = f_[o];
  const std::size_t n = f_.carries(op), first_init = op.operands.size() - n;
  const Values& args = f_[body].arguments;
  const Values yields = f_.terminator(body).operands;
  std::vector<std::size_t> active;
  for (std::size_t k = 0; k < n; ++k)
    if (act_.active(args[k + first_arg])) active.push_back(k);
  const Values gains = receivers(body);
  bool any = relevant_[body.index] || !active.empty();
  for (std::size_t k = n; k < yields.size(); ++k) any |= adjoint[op.results[k].index].valid() && !gains.empty();
  if (!any) return;
  if (goes_onward(o, body, first_arg, active)) return reverse_onward(o, lo, hi, down, body, first_arg, active, gains, bind);

  Values init;
  for (std::size_t k : active) {
    const ValueId a = adjoint[op.results[k].index];
    init.push_back(a.valid() && !planted(testing::Mutant::final_carry_dropped) ? a : zero_adjoint(op.results[k]));
  }
  for (ValueId v : gains)
    init.push_back(adjoint[v.index].valid() && !planted(testing::Mutant::outside_gain_dropped) ? adjoint[v.index] : zero_adjoint(v));

  const bool revolves = states.count(o);
  if (revolves) {
    const Held& h = held_[o];
    init.insert(init.end(), h.seqs.begin(), h.seqs.end());
    init.insert(init.end(), {h.positions, h.used});
  }
  const RegionId outer_base = base_;
  const bool from_zero = b_.function().is_constant(lo) && b_.function()[lo].bits == 0;
  const ValueId trips = revolves || op.down ? b_.trips(lo, hi) : ValueId{};  // what carry_at and the schedule ask for
  const auto result = b_.for_(
      lo, hi, init,
      [&](ValueId i, const Values& carries) {
        const ValueId t = from_zero ? i : b_.sub(i, lo);
        Values state;
        if (revolves) {
          Held& h = held_[o];
          h.seqs.assign(carries.end() - static_cast<std::ptrdiff_t>(n + 2), carries.end() - 2);
          h.positions = carries[carries.size() - 2];
          h.used = carries.back();
          state = state_at(o, down ? t : b_.sub(b_.sub(trips, b_.i32(1)), t));
        }
        bind(i);
        for (std::size_t k = 0; k < n; ++k) {
          const ValueId arg = args[k + first_arg];
          now[arg.index] = revolves ? state[k] : carry_at(o, k, body, arg, t, trips);
          adjoint[arg.index] = {};
        }
        // Records of this loop and those that sweeps further out made of what is inside.
        Values records;
        for (const Recordable& x : nested_[o.index])
          if (s_.within(outer_base, x.scope)) records.push_back(x.value);
        const Values saved = narrow(records, t);
        replay(body);
        for (std::size_t k = 0; k < gains.size(); ++k) adjoint[gains[k].index] = carries[active.size() + k];
        for (std::size_t k = n; k < yields.size(); ++k)
          if (const ValueId a = adjoint[op.results[k].index];
              a.valid() && act_.active(yields[k]) && !planted(testing::Mutant::collected_dropped))
            add_adjoint(yields[k], b_.seq_get(a, t));
        for (std::size_t k = 0; k < active.size(); ++k) add_adjoint(yields[active[k]], carries[k]);
        reverse_region(body);
        widen(records, saved);
        base_ = outer_base;
        Builder::LoopYield out;
        for (std::size_t k : active) {
          const ValueId arg = args[k + first_arg];
          out.carries.push_back(adjoint[arg.index].valid() && !planted(testing::Mutant::carry_cut) ? adjoint[arg.index]
                                                                                                   : zero_adjoint(arg));
        }
        for (std::size_t k = 0; k < gains.size(); ++k)
          out.carries.push_back(planted(testing::Mutant::last_iteration_only) ? carries[active.size() + k] : adjoint[gains[k].index]);
        if (revolves) {
          const Held& h = held_[o];
          out.carries.insert(out.carries.end(), h.seqs.begin(), h.seqs.end());
          out.carries.insert(out.carries.end(), {h.positions, h.used});
        }
        return out;
      },
      down && !planted(testing::Mutant::loop_same_way));
  if (op.code == Opcode::for_) b_.last().kind = revolves ? static_cast<std::uint8_t>(Keep::once) : op.kind;
  if (revolves) b_.last().leaf = op.leaf;
  for (std::size_t k = 0; k < gains.size(); ++k) adjoint[gains[k].index] = result.carries[active.size() + k];
  for (std::size_t k = 0; k < active.size(); ++k) add_adjoint(op.operands[active[k] + first_init], result.carries[k]);
}

}  // namespace fluxion::ad
