// Loops whose iterations can be reversed in any order: the only cotangents that pass from one to the next are those of sums, and a
// sum's is the same before and after `s += e`. Such a loop is reversed the way it goes, and what it carries besides (a power, the state
// of a generator of random numbers) is computed again on the way: no tape.
#include <algorithm>

#include "reverse.h"

namespace fluxion::ad {
namespace {

class Sums {
 public:
  Sums(const Function& f, RegionId body) : f_(f), uses_(f.values.size()) { count(body); }

  /// v is arg plus something, whose cotangent is therefore arg's, and nothing else in the loop uses arg.
  bool is_sum(ValueId v, ValueId arg) {
    int seen = 0;
    return passes(v, arg, seen) && seen == uses_[arg.index];
  }

 private:
  const Function& f_;
  std::vector<int> uses_;

  void count(RegionId r) {
    for (OpId o : f_[r].ops) {
      for (ValueId v : f_[o].operands) ++uses_[v.index];
      for (RegionId inner : f_[o].regions) count(inner);
    }
  }
  bool passes(ValueId v, ValueId arg, int& seen) const {
    if (v == arg) {
      ++seen;
      return true;
    }
    const Value& value = f_[v];
    if (value.kind != Value::Kind::result || uses_[v.index] != 1) return false;
    const Op& op = f_.ops[value.owner];
    switch (op.code) {
      case Opcode::add: {
        const int before = seen;
        if (passes(op.operands[0], arg, seen)) return true;
        seen = before;
        return passes(op.operands[1], arg, seen);
      }
      case Opcode::sub: return passes(op.operands[0], arg, seen);
      case Opcode::fma: return passes(op.operands[2], arg, seen);
      case Opcode::if_:
        for (RegionId arm : op.regions)
          if (!passes(f_.terminator(arm).operands[value.slot], arg, seen)) return false;
        return true;
      default: return false;
    }
  }
};

}  // namespace

bool Reverse::goes_onward(OpId o, RegionId body, std::size_t first_arg, const std::vector<std::size_t>& active) const {
  if (program_ || f_.has_groups() || states.count(o)) return false;
  const Op& op = f_[o];
  const Values &args = f_[body].arguments, &yields = f_.terminator(body).operands;
  Sums sums(f_, body);
  for (std::size_t k : active)
    if (f_.type(args[k + first_arg]).is_seq() || !sums.is_sum(yields[k], args[k + first_arg])) return false;
  bool keeps = false;
  for (std::size_t k = 0; k < f_.carries(op); ++k) {
    const ValueId arg = args[k + first_arg];
    if (f_.type(arg).is_seq()) return false;
    const bool is_active = std::find(active.begin(), active.end(), k) != active.end();
    keeps |= !is_active && yields[k] != arg && !steps_evenly(f_, s_, arg, yields[k], body);
  }
  if (!keeps) return false;
  const auto ordered = [&](auto&& self, RegionId r) -> bool {
    for (OpId p : f_[r].ops) {
      const Op& x = f_[p];
      for (RegionId inner : x.regions)
        if (self(self, inner)) return true;
      const bool writes = x.code == Opcode::store || x.code == Opcode::accumulate || x.code == Opcode::atomic;
      if (!writes) continue;
      const Memory& m = f_[x.memory];
      const bool own = m.space == Memory::Space::local && s_.within(m.scope, body);
      if (!own && !(x.code == Opcode::accumulate && m.role == Role::accum)) return true;
    }
    return false;
  };
  return !ordered(ordered, body);
}

void Reverse::reverse_onward(OpId o, ValueId lo, ValueId hi, bool down, RegionId body, std::size_t first_arg,
                             const std::vector<std::size_t>& active, const Values& gains, const std::function<void(ValueId i)>& bind) {
  const Op& op = f_[o];
  const std::size_t n = f_.carries(op), first_init = op.operands.size() - n;
  const Values args = f_[body].arguments, yields = f_.terminator(body).operands;
  Values sums;  // their cotangents, which stay
  for (std::size_t k : active) {
    const ValueId a = adjoint[op.results[k].index];
    sums.push_back(a.valid() ? a : zero_adjoint(op.results[k]));
  }
  Values init = primal(Values(op.operands.begin() + static_cast<std::ptrdiff_t>(first_init), op.operands.end()));
  for (ValueId v : gains) init.push_back(adjoint[v.index].valid() ? adjoint[v.index] : zero_adjoint(v));
  const RegionId outer_base = base_;
  const bool from_zero = b_.function().is_constant(lo) && b_.function()[lo].bits == 0;
  const auto result = b_.for_(
      lo, hi, init,
      [&](ValueId i, const Values& carries) {
        const ValueId t = from_zero ? i : b_.sub(i, lo);
        bind(i);
        for (std::size_t k = 0; k < n; ++k) {
          now[args[k + first_arg].index] = carries[k];
          adjoint[args[k + first_arg].index] = {};
        }
        Values records;
        for (const Recordable& x : nested_[o.index])
          if (s_.within(outer_base, x.scope)) records.push_back(x.value);
        const Values saved = narrow(records, t);
        replay(body);
        Builder::LoopYield out;
        out.carries = primal(Values(yields.begin(), yields.begin() + static_cast<std::ptrdiff_t>(n)));
        for (std::size_t k = 0; k < gains.size(); ++k) adjoint[gains[k].index] = carries[n + k];
        for (std::size_t k = n; k < yields.size(); ++k)
          if (const ValueId a = adjoint[op.results[k].index]; a.valid() && act_.active(yields[k])) add_adjoint(yields[k], b_.seq_get(a, t));
        for (std::size_t k = 0; k < active.size(); ++k) add_adjoint(yields[active[k]], sums[k]);
        reverse_region(body);
        widen(records, saved);
        base_ = outer_base;
        for (ValueId v : gains) out.carries.push_back(adjoint[v.index]);
        return out;
      },
      !down);
  for (std::size_t k = 0; k < gains.size(); ++k) adjoint[gains[k].index] = result.carries[n + k];
  for (std::size_t k = 0; k < active.size(); ++k) add_adjoint(op.operands[active[k] + first_init], sums[k]);
}

}  // namespace fluxion::ad
