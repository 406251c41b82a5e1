// The backward half: ops in reverse order, each hands the cotangent of its results to its operands. "No
// cotangent yet" is an invalid id, so that nothing is emitted for it. Start at reverse_op.
#include "reverse.h"

#include <algorithm>

#include "fluxion/error.h"
#include "groups.h"
#include "fluxion/mutants.h"
#include "partials.h"

namespace fluxion::ad {

// A program's scalar cannot be made from what a launch computes, so its cotangent is an array of one element.
Type Reverse::cotangent_type(ValueId v) const {
  Type t = adjoint_of(f_.type(v), b_.loc);
  if (program_ && t.rank < 0) {
    t.rank = 1;
    t.shape = {1, 0, 0};
  }
  return t;
}

void Reverse::add_adjoint(ValueId v, ValueId part) {
  if (!act_.active(v) || !part.valid()) return;
  ValueId& a = adjoint[v.index];
  a = a.valid() ? b_.add(a, part) : part;
}

// Never asks the sequence itself when its length is known otherwise: a shape must not keep a tape alive.
ValueId Reverse::length(ValueId seq) {
  const Value& v = f_[seq];
  if (v.kind == Value::Kind::argument) {
    const Op& loop = f_[s_.op_of[v.owner]];
    if (loop.code == Opcode::for_) return length(loop.operands[v.slot + 1]);
    if (loop.code == Opcode::while_) return length(loop.operands[v.slot]);
  } else if (v.kind == Value::Kind::result) {
    const Op& op = f_.ops[v.owner];
    const auto carried = [&] { return v.slot < f_.carries(op); };
    switch (op.code) {
      case Opcode::for_:
        if (carried()) return length(op.operands[v.slot + 2]);
        return b_.trips(primal(op.operands[0]), primal(op.operands[1]));
      case Opcode::while_: return carried() ? length(op.operands[v.slot]) : primal(op.results.back());
      case Opcode::seq_set:
      case Opcode::seq_add_at:
      case Opcode::add:
      case Opcode::select: return length(op.operands[op.code == Opcode::select ? 1 : 0]);
      case Opcode::zeros: return primal(op.operands[0]);
      default: break;
    }
  }
  return b_.seq_len(primal(seq));
}

// `seq`: the primal sequence in the new function, whose shape the zeros take; unused where a length says it all.
ValueId Reverse::zero_of(const Type& t, ValueId seq) {
  if (!t.is_seq()) return b_.zero(t);
  if (!t.item().is_seq()) return b_.zeros(t, b_.seq_len(seq));
  return b_
      .for_(b_.i32(0), b_.seq_len(seq), {},
            [&](ValueId i, const Values&) { return Builder::LoopYield{{}, {zero_of(t.item(), b_.seq_get(seq, i))}}; })
      .seqs[0];
}

ValueId Reverse::zero_adjoint(ValueId v) {
  const Type t = cotangent_type(v);
  if (t.seq == 1) return b_.zeros(t, length(v));
  return t.is_seq() ? zero_of(t, primal(v)) : b_.zero(t);
}

bool Reverse::find_relevant(RegionId r) {
  bool any = false;
  for (OpId o : f_[r].ops) {
    const Op& op = f_[o];
    for (ValueId v : op.results) any |= act_.active(v);
    // A barrier parts what is before it from what is after it, whatever else the region does.
    any |= op.code == Opcode::barrier;
    if (op.code == Opcode::store || op.code == Opcode::accumulate || op.code == Opcode::atomic)
      any |= memory[op.memory.index].adjoint.valid() || act_.active(op.memory);
    for (RegionId inner : op.regions) any |= find_relevant(inner);
  }
  relevant_[r.index] = any;
  return any;
}

void Reverse::reverse_body() {
  find_relevant(f_.body);
  reverse_region(f_.body);
}

void Reverse::reverse_region(RegionId r) {
  make_local_adjoints(r);
  const std::vector<OpId>& ops = f_[r].ops;
  for (auto it = ops.rbegin(); it != ops.rend(); ++it) reverse_op(*it);
}

void Reverse::reverse_op(OpId o) {
  const Op& op = f_[o];
  const Loc outer = b_.loc;
  b_.loc = op.loc.derived(Sweep::reverse, static_cast<std::uint8_t>(op.code));
  switch (op.code) {
    case Opcode::if_: reverse_if(o); break;
    case Opcode::for_: reverse_for(o); break;
    case Opcode::while_: reverse_while(o); break;
    case Opcode::load: reverse_load(op); break;
    case Opcode::store: reverse_store(op); break;
    case Opcode::accumulate: reverse_accumulate(op); break;
    case Opcode::launch: reverse_launch(o); break;
    case Opcode::call: reverse_fn(op); break;
    case Opcode::convert: reverse_convert(op); break;
    case Opcode::seq_get:
    case Opcode::seq_set:
    case Opcode::seq_add_at: reverse_seq(op); break;
    case Opcode::atomic: reverse_accumulate(op); break;  // an addition, or of integers
    case Opcode::barrier:
      if (!planted(testing::Mutant::barrier_dropped)) b_.barrier();
      break;
    case Opcode::subgroup:
      if (const ValueId y = adjoint[op.results[0].index]; y.valid() && act_.active(op.operands[0]))
        add_adjoint(op.operands[0], subgroup_adjoint(b_, op, primal(op.operands), primal(op.results[0]), y));
      break;
    case Opcode::bitcast:
    case Opcode::extent:
    case Opcode::domain:
    case Opcode::group_index:
    case Opcode::yield:
    case Opcode::seq_len:
    case Opcode::zeros:
    case Opcode::print:
    case Opcode::check: break;
    default:
      if (!adjoint[op.results[0].index].valid()) break;
      if (program_ && !f_.type(op.results[0]).is_seq()) reverse_elementwise_arrays(op);
      else if (op.code == Opcode::select) reverse_select(op);
      else reverse_elementwise(op);
  }
  b_.loc = outer;
}

void Reverse::reverse_elementwise(const Op& op) {
  const ValueId r = op.results[0], y = adjoint[r.index];
  const bool tainted = act_.tainted[r.index] && !planted(testing::Mutant::no_taint);
  const Values x = primal(op.operands);
  for (std::size_t k = 0; k < x.size(); ++k) {
    const ValueId v = op.operands[k];
    const int operand = static_cast<int>(k);
    if (!depends(op.code, operand) || !act_.active(v)) continue;
    if (op.code == Opcode::mulz) {
      // Where the first operand is 0, the product is 0 whatever the second is: so is that derivative.
      if (planted(k == 0 ? testing::Mutant::mulz_first : testing::Mutant::mulz_second)) {
        if (k == 1) add_adjoint(v, y);
        continue;
      }
      add_adjoint(v, k == 1 ? b_.emit(Opcode::mulz, {x[0], y}) : b_.emit(tainted ? Opcode::mulz : Opcode::mul, {y, x[1]}));
      continue;
    }
    if (!f_.type(r).is_scalar() && op.code != Opcode::add && op.code != Opcode::sub && op.code != Opcode::neg)
      throw KernelError(op.loc, "only sums of sequences can be differentiated");
    const Partial p = partial(b_, op.code, operand, x, primal(r));
    ValueId& a = adjoint[v.index];
    switch (p.kind) {
      case Partial::Kind::none: break;
      case Partial::Kind::unit: add_adjoint(v, y); break;
      case Partial::Kind::minus_unit: a = a.valid() ? b_.sub(a, y) : b_.emit(Opcode::neg, {y}); break;
      case Partial::Kind::mask: add_adjoint(v, b_.select(p.value, y, b_.zero(cotangent_type(v)))); break;
      case Partial::Kind::factor: {
        b_.loc.product = true;
        const ValueId part = b_.emit(tainted ? Opcode::mulz : Opcode::mul, {y, p.value});
        b_.loc.product = false;
        add_adjoint(v, part);
        break;
      }
    }
  }
}

void Reverse::reverse_select(const Op& op) {
  const ValueId y = adjoint[op.results[0].index], c = primal(op.operands[0]);
  const auto zero = [&](ValueId v) { return zero_adjoint(v); };
  if (const ValueId v = op.operands[1]; act_.active(v))
    add_adjoint(v, planted(testing::Mutant::select_both)      ? y
                   : planted(testing::Mutant::select_crossed) ? b_.select(c, zero(v), y)
                                                              : b_.select(c, y, zero(v)));
  if (const ValueId v = op.operands[2]; act_.active(v))
    add_adjoint(v, planted(testing::Mutant::select_both)      ? y
                   : planted(testing::Mutant::select_crossed) ? b_.select(c, y, zero(v))
                                                              : b_.select(c, zero(v), y));
}

void Reverse::reverse_convert(const Op& op) {
  const ValueId y = adjoint[op.results[0].index];
  if (y.valid() && act_.active(op.operands[0]) && !planted(testing::Mutant::convert_drops))
    add_adjoint(op.operands[0], b_.convert(y, cotangent_type(op.operands[0]).dtype()));
}

void Reverse::reverse_seq(const Op& op) {
  const ValueId y = adjoint[op.results[0].index], s = op.operands[0];
  if (!y.valid()) return;
  const ValueId i = primal(op.operands[1]);
  if (f_.type(s).is_array())
    return reverse_call(std::make_shared<const Function>(item_kernel(f_, op)), {b_.i32(1)}, op.operands, op.results);
  if (op.code == Opcode::seq_get) {
    if (!act_.active(s)) return;
    ValueId& a = adjoint[s.index];
    if (planted(testing::Mutant::seq_get_replaces)) a = b_.seq_set(a.valid() ? a : zero_adjoint(s), i, y);
    else a = b_.seq_add_at(a.valid() ? a : zero_adjoint(s), i, y);
    return;
  }
  const ValueId v = op.operands[2];
  if (act_.active(v)) add_adjoint(v, b_.seq_get(y, i));
  if (!act_.active(s)) return;
  add_adjoint(s, op.code == Opcode::seq_add_at ? y : b_.seq_set(y, i, zero_adjoint(v)));
}

bool Reverse::contributes(const Op& op, RegionId at, std::size_t k) const {
  const auto result_active = [&](std::size_t r) { return act_.active(op.results[r]); };
  switch (op.code) {
    case Opcode::convert: return result_active(0);
    case Opcode::store:
    case Opcode::accumulate:
    case Opcode::atomic: return k + 1 == op.operands.size() && act_.memory_useful[op.memory.index];
    case Opcode::subgroup: return k == 0 && result_active(0);
    case Opcode::barrier:
    case Opcode::group_index: return false;
    case Opcode::for_: return k >= 2 && act_.active(f_[op.regions[0]].arguments[k - 1]);
    case Opcode::while_: return act_.active(f_[op.regions[1]].arguments[k]);
    case Opcode::seq_get: return k == 0 && result_active(0);
    case Opcode::seq_set:
    case Opcode::seq_add_at: return k != 1 && result_active(0);
    case Opcode::call:
    case Opcode::launch: {
      for (std::size_t r = 0; r < op.results.size(); ++r)
        if (result_active(r)) return true;
      return false;
    }
    case Opcode::yield: {
      const OpId owner = s_.op_of[at.index];
      if (!owner.valid()) return true;
      const Op& o = f_[owner];
      if (o.code == Opcode::if_) return act_.active(o.results[k]);
      if (o.code == Opcode::while_ && at == o.regions[0]) return k > 0;
      const Values& args = f_[at].arguments;
      const std::size_t n = f_.carries(o), skip = o.code == Opcode::for_ ? 1 : 0;
      return k < n ? act_.active(args[k + skip]) : act_.active(o.results[k]);
    }
    case Opcode::load:
    case Opcode::if_:
    case Opcode::bitcast:
    case Opcode::extent:
    case Opcode::domain:
    case Opcode::seq_len:
    case Opcode::zeros:
    case Opcode::print:
    case Opcode::check: return false;
    default: return result_active(0) && depends(op.code, static_cast<int>(k));
  }
}

Values Reverse::receivers(RegionId r) const {
  Values out;
  std::vector<char> seen(f_.values.size());
  const std::function<void(RegionId)> visit = [&](RegionId at) {
    for (OpId o : f_[at].ops) {
      const Op& op = f_[o];
      for (std::size_t k = 0; k < op.operands.size(); ++k) {
        const ValueId v = op.operands[k];
        if (seen[v.index] || !act_.active(v) || s_.within(s_.home(v), r) || !contributes(op, at, k)) continue;
        seen[v.index] = 1;
        out.push_back(v);
      }
      for (RegionId inner : op.regions) visit(inner);
    }
  };
  visit(r);
  return out;
}

void Reverse::reverse_if(OpId o) {
  const Op& op = f_[o];
  const RegionId outer_base = base_;
  Values gains = receivers(op.regions[0]);
  for (ValueId v : receivers(op.regions[1]))
    if (std::find(gains.begin(), gains.end(), v) == gains.end()) gains.push_back(v);
  bool any = relevant_[op.regions[0].index] || relevant_[op.regions[1].index];
  for (ValueId v : op.results) any |= adjoint[v.index].valid() && !gains.empty();
  if (!any) return;

  Op copy;
  copy.code = Opcode::if_;
  copy.loc = op.loc;
  copy.operands = {primal(op.operands[0])};
  if (planted(testing::Mutant::if_inverted)) copy.operands = {b_.emit(Opcode::bit_not, {copy.operands[0]})};
  Values before;
  for (ValueId v : gains) {
    ValueId& a = adjoint[v.index];
    if (!a.valid() && !cotangent_type(v).is_scalar()) a = zero_adjoint(v);
    before.push_back(a);
  }
  std::vector<Values> after;  // by arm; invalid: nothing came
  std::vector<RegionId> arms;
  for (RegionId arm : op.regions) {
    arms.push_back(b_.open({}));
    replay(arm);
    for (std::size_t k = 0; k < op.results.size(); ++k)
      if (k == 0 || !planted(testing::Mutant::if_first_result)) add_adjoint(f_.terminator(arm).operands[k], adjoint[op.results[k].index]);
    reverse_region(arm);
    base_ = outer_base;
    Values& mine = after.emplace_back();
    for (std::size_t k = 0; k < gains.size(); ++k) {
      mine.push_back(adjoint[gains[k].index]);
      adjoint[gains[k].index] = before[k];
    }
    b_.close({});
  }
  // Only what an arm changed is yielded; what that is, is known now that both arms are there.
  std::vector<Type> types;
  std::vector<ValueId> changed;
  Function& g = b_.function();
  for (std::size_t k = 0; k < gains.size(); ++k) {
    if (after[0][k] == before[k] && after[1][k] == before[k]) continue;
    const ValueId v = gains[k];
    changed.push_back(v);
    types.push_back(cotangent_type(v));
    for (int arm : {0, 1}) {
      const ValueId a = after[arm][k];
      g[g[arms[arm]].ops.back()].operands.push_back(a.valid() ? a : b_.zero(types.back()));
    }
  }
  copy.regions = arms;
  const OpId made = b_.append(std::move(copy), types);
  for (std::size_t k = 0; k < changed.size(); ++k) adjoint[changed[k].index] = g[made].results[k];
}

}  // namespace fluxion::ad
