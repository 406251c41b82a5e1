// Forward sweeps. The first one runs the primal; each region that is reversed is replayed before, from its free
// values. A value that a replay cannot make again (a load of memory that has been written since, the result of a
// launch, the trip count of a loop that depends on those) is recorded where it is made: as a value, as a further
// yield of an `if`, as a collected seq of a loop, or a seq of seqs. The passes drop what nobody uses.
//
// The invariant: in a sweep of region `base_`, a value with scope S is made again when S lies in base_, made and
// recorded when S is base_, and comes from the record when S lies around base_.
#include "callees.h"
#include "fluxion/error.h"
#include "fluxion/rewrite.h"
#include "fluxion/mutants.h"
#include "reverse.h"

namespace fluxion::ad {

Reverse::Reverse(const Structure& s, const Activity& act, Builder& to)
    : now(s.f.values.size()),
      adjoint(s.f.values.size()),
      memory(s.f.memories.size()),
      s_(s),
      f_(s.f),
      act_(act),
      b_(to),
      program_(s.f.kind == Function::Kind::program),
      nested_(s.f.ops.size()),
      scope_of_(s.f.values.size()),
      record_(s.f.values.size()),
      checkpoints_(s.f.ops.size()),
      base_(s.f.body),
      relevant_(s.f.regions.size()) {
  for (std::uint32_t m = 0; m < f_.memories.size(); ++m)
    if (f_.memories[m].space != Memory::Space::parameter) memory[m].primal = MemoryPlan::Primal::unstable;
}

ValueId Reverse::primal(ValueId v) {
  ValueId& n = now[v.index];
  if (!n.valid()) {
    if (!f_.is_constant(v)) throw Bug(b_.loc, "ad: a primal value is used before it is made\n" + print(f_));
    n = b_.constant(f_.type(v).dtype(), f_[v].bits);
  }
  return n;
}

Values Reverse::primal(const Values& v) {
  Values out;
  for (ValueId x : v) out.push_back(primal(x));
  return out;
}

// What takes many times longer than a load and a store.
bool Reverse::costly(const Op& op) const {
  if (!is_elementwise(op.code) || !f_.type(op.results[0]).is_scalar() || !is_float(f_.type(op.results[0]).dtype())) return false;
  if (op.code == Opcode::div || op.code == Opcode::sdiv || op.code == Opcode::sqrt) return true;
  return !(info(op.code).flags & (flag::exact | flag::predicate)) && op.code != Opcode::select;
}

// The body of the innermost loop that r lies in; invalid: none, or the condition of a while, which collects nothing.
RegionId Reverse::loop_around(RegionId r) const {
  for (; r != f_.body; r = s_.parent(r)) {
    const Op& op = f_[s_.op_of[r.index]];
    if (op.code == Opcode::while_ && op.regions[0] == r) return {};
    if (op.code != Opcode::if_) return r;
  }
  return {};
}

void Reverse::find_recordables(RegionId r, RegionId launches, std::vector<Recordable>& out) {
  const auto add = [&](ValueId v, RegionId scope) {
    out.push_back({v, scope});
    scope_of_[v.index] = scope;
  };
  for (OpId o : f_[r].ops) {
    const Op& op = f_[o];
    auto& mine = nested_[o.index];
    if (op.code == Opcode::for_ && op.kind == static_cast<std::uint8_t>(Keep::once)) refuse_revolved(op);
    for (RegionId inner : op.regions) find_recordables(inner, keeps_starts(op) ? inner : launches, mine);
    if (op.code == Opcode::load && memory[op.memory.index].primal == MemoryPlan::Primal::unstable) {
      if (!planted(testing::Mutant::stale_loads)) add(op.results[0], s_.scope(op.memory));
    } else if (op.code == Opcode::atomic && memory[op.memory.index].primal == MemoryPlan::Primal::unstable) {
      add(op.results[0], s_.scope(op.memory));
    } else if (program_ && ((op.code == Opcode::call && f_.callees[op.ref]->kind == Function::Kind::program) ||
                            (op.code == Opcode::seq_get && f_.type(op.operands[0]).is_array()))) {
      for (ValueId v : op.results) add(v, launches);
    } else if (program_ && (op.code == Opcode::launch || is_elementwise(op.code) || op.code == Opcode::convert)) {
      // A forward launch runs once, however deep it is nested, unless a loop is to run again.
      for (ValueId v : op.results)
        if (op.code == Opcode::launch || f_.type(v).is_array()) add(v, launches);
    } else if (!program_ && !f_.has_groups() && costly(op)) {
      // Cheaper to keep than to compute again: beside the carries of the innermost loop around it.
      if (const RegionId loop = loop_around(r); loop.valid()) add(op.results[0], s_.parent(loop));
    } else if (!program_ && !f_.has_groups() && op.code == Opcode::call && f_.callees[op.ref]->external && !op.results.empty()) {
      if (const RegionId loop = loop_around(r); loop.valid())
        for (ValueId v : op.results) add(v, s_.parent(loop));
    } else if (op.code == Opcode::while_) {
      RegionId outermost{};
      for (const Recordable& x : mine)
        if (s_.within(r, x.scope) && (!outermost.valid() || s_.within(outermost, x.scope))) outermost = x.scope;
      if (outermost.valid()) add(op.results.back(), outermost);
    }
    out.insert(out.end(), mine.begin(), mine.end());
  }
}

bool Reverse::given(ValueId v) const {
  const RegionId scope = scope_of_[v.index];
  return scope.valid() && s_.strictly_within(base_, scope);
}
bool Reverse::to_record(ValueId v) const { return scope_of_[v.index] == base_; }

void Reverse::sweep_body(bool quiet) {
  first_ = !quiet;
  std::vector<Recordable> all;
  find_recordables(f_.body, f_.body, all);
  base_ = f_.body;
  sweep_ops(f_.body);
}

void Reverse::replay(RegionId r) {
  base_ = r;
  first_ = false;
  sweep_ops(r);
}

void Reverse::sweep_ops(RegionId r) {
  for (std::uint32_t m = 0; m < f_.memories.size(); ++m) {
    const Memory& mem = f_.memories[m];
    if (mem.space == Memory::Space::parameter || mem.scope != r) continue;
    memory[m].memory = memory[m].shape = make_like(b_, mem);
  }
  for (OpId o : f_[r].ops)
    if (f_[o].code != Opcode::yield) sweep_op(o);
}

void Reverse::sweep_op(OpId o) {
  const Op& op = f_[o];
  const Loc outer = b_.loc;
  b_.loc = op.loc;
  switch (op.code) {
    case Opcode::if_: sweep_if(o); break;
    case Opcode::for_: sweep_for(o); break;
    case Opcode::while_: sweep_while(o); break;
    case Opcode::print:
    case Opcode::check:
      if (first_) b_.effect(op.code, f_.texts[op.ref], primal(op.operands));
      break;
    case Opcode::barrier:
      // Replays touch no memory that threads share: what they need of it has been recorded.
      if (base_ == f_.body) b_.barrier();
      break;
    case Opcode::atomic:
      if (memory[op.memory.index].primal != MemoryPlan::Primal::unstable) break;
      if (given(op.results[0])) {
        now[op.results[0].index] = record_[op.results[0].index];
      } else {
        sweep_plain(op);
        if (to_record(op.results[0])) record_[op.results[0].index] = now[op.results[0].index];
      }
      break;
    case Opcode::store:
    case Opcode::accumulate:
      if (memory[op.memory.index].primal == MemoryPlan::Primal::unstable && s_.within(s_.scope(op.memory), base_)) sweep_plain(op);
      break;
    default:
      if (!op.results.empty() && given(op.results[0])) {
        for (ValueId v : op.results) now[v.index] = record_[v.index];
      } else {
        if (op.code != Opcode::launch || !sweep_kept(o)) sweep_plain(op);
        for (ValueId v : op.results)
          if (to_record(v)) record_[v.index] = now[v.index];
      }
  }
  b_.loc = outer;
}

void Reverse::sweep_plain(const Op& op) {
  Op copy = op;
  copy.operands = primal(op.operands);
  if (op.memory.valid()) {
    const MemoryPlan& plan = memory[op.memory.index];
    copy.memory = op.code == Opcode::extent ? plan.shape : plan.memory;
    if (!copy.memory.valid())
      throw KernelError(op.loc,
                        "the extent of an integer Out or Accum parameter is used, but a derivative does not "
                        "have that parameter; pass the extent as a number, or declare it InOut");
  }
  if (op.code == Opcode::call || op.code == Opcode::launch) {
    if (op.code == Opcode::call) refuse_impure(*f_.callees[op.ref], op.loc);
    copy.ref = add_callee(b_.function(), first_ ? f_.callees[op.ref] : Callees::now().quiet(f_.callees[op.ref]));
  }
  std::vector<Type> types;
  for (ValueId v : op.results) types.push_back(f_.type(v));
  const OpId made = b_.append(std::move(copy), types);
  map_results(op, b_.function()[made].results);
}

void Reverse::map_results(const Op& op, const Values& results) {
  for (std::size_t k = 0; k < op.results.size(); ++k) now[op.results[k].index] = results[k];
}

Values Reverse::recorded_here(OpId o) const {
  Values out;
  for (const Recordable& x : nested_[o.index])
    if (x.scope == base_) out.push_back(x.value);
  return out;
}

Values Reverse::given_inside(OpId o) const {
  Values out;
  for (const Recordable& x : nested_[o.index])
    if (s_.strictly_within(base_, x.scope)) out.push_back(x.value);
  return out;
}

// A seq for each loop between the value and the region that sees its record.
Type Reverse::record_type(ValueId v, RegionId seen_from) const {
  Type t = f_.type(v);
  for (RegionId r = s_.home(v); r != seen_from; r = s_.parent(r))
    if (f_[s_.op_of[r.index]].code != Opcode::if_) t = t.as_seq();
  return t;
}

ValueId Reverse::no_record(const Type& t) { return t.is_seq() ? b_.zeros(t, b_.i32(0)) : b_.zero(t); }

Values Reverse::narrow(const Values& values, ValueId t) {
  Values saved;
  for (ValueId v : values) {
    saved.push_back(record_[v.index]);
    const Op& op = f_.ops[f_[v].owner];
    const bool wrong = planted(testing::Mutant::no_trip_count) && op.code == Opcode::while_;
    record_[v.index] = b_.seq_get(record_[v.index], wrong ? b_.i32(0) : t);
  }
  return saved;
}

void Reverse::widen(const Values& values, const Values& saved) {
  for (std::size_t k = 0; k < values.size(); ++k) record_[values[k].index] = saved[k];
}

void Reverse::sweep_if(OpId o) {
  const Op& op = f_[o];
  const Values records = recorded_here(o);
  Op copy;
  copy.code = Opcode::if_;
  copy.loc = op.loc;
  copy.operands = {primal(op.operands[0])};
  for (RegionId arm : op.regions) {
    copy.regions.push_back(b_.open({}));
    sweep_ops(arm);
    Values yields = primal(f_.terminator(arm).operands);
    for (ValueId v : records)
      yields.push_back(s_.within(s_.home(v), arm) ? record_[v.index] : no_record(record_type(v, s_.region_of[o.index])));
    b_.close(yields);
  }
  std::vector<Type> types;
  for (ValueId v : op.results) types.push_back(f_.type(v));
  for (ValueId v : records) types.push_back(record_type(v, s_.region_of[o.index]));
  const OpId made = b_.append(std::move(copy), types);
  const Values results = b_.function()[made].results;
  map_results(op, results);
  for (std::size_t k = 0; k < records.size(); ++k) record_[records[k].index] = results[op.results.size() + k];
}

/// A round of the loop: its carries and sequences, then of the sweep where it starts (if `direct`) and its records.
Builder::LoopYield Reverse::sweep_round(const SweptLoop& loop, const Values& carries, ValueId position) {
  const Values saved = loop.givens.empty() ? Values{} : narrow(loop.givens, position);
  sweep_ops(loop.body);
  const Values y = primal(f_.terminator(loop.body).operands);
  const auto n = static_cast<std::ptrdiff_t>(carries.size());
  Builder::LoopYield out;
  out.carries.assign(y.begin(), y.begin() + n);
  out.collected.assign(y.begin() + n, y.end());
  if (loop.direct) out.collected.insert(out.collected.end(), carries.begin(), carries.end());
  for (ValueId v : loop.records) out.collected.push_back(record_[v.index]);
  widen(loop.givens, saved);
  return out;
}

/// The loop's own results: its carries and `collected` sequences; then what the rounds yield for the sweep.
void Reverse::end_sweep(OpId o, const SweptLoop& loop, const Builder::LoopResult& result, std::size_t collected) {
  const std::size_t n = result.carries.size();
  Values own = result.carries;
  own.insert(own.end(), result.seqs.begin(), result.seqs.begin() + static_cast<std::ptrdiff_t>(collected));
  for (std::size_t k = 0; k < own.size(); ++k) now[f_[o].results[k].index] = own[k];
  auto next = result.seqs.begin() + static_cast<std::ptrdiff_t>(collected);
  if (loop.direct) {
    checkpoints_[o.index].assign(next, next + static_cast<std::ptrdiff_t>(n));
    next += static_cast<std::ptrdiff_t>(n);
  }
  for (ValueId v : loop.records) record_[v.index] = *next++;
}

void Reverse::sweep_for(OpId o) {
  const Op& op = f_[o];
  const SweptLoop loop{op.regions[0], s_.region_of[o.index] == base_, recorded_here(o), given_inside(o)};
  if (loop.direct && states.count(o)) return sweep_revolving(o);
  const ValueId lo = primal(op.operands[0]), hi = primal(op.operands[1]);
  const Values init = primal(Values(op.operands.begin() + 2, op.operands.end()));
  const auto result = b_.for_(
      lo, hi, init,
      [&](ValueId i, const Values& carries) {
        const Values& args = f_[loop.body].arguments;
        now[args[0].index] = i;
        for (std::size_t k = 0; k < carries.size(); ++k) now[args[k + 1].index] = carries[k];
        const bool from_zero = b_.function().is_constant(lo) && b_.function()[lo].bits == 0;
        ValueId position{};
        if (!loop.givens.empty()) position = from_zero ? i : b_.sub(i, lo);
        if (!loop.givens.empty() && planted(testing::Mutant::record_shifted))
          position = b_.emit(Opcode::min, {b_.add(position, b_.i32(1)), b_.sub(b_.sub(hi, lo), b_.i32(1))});
        return sweep_round(loop, carries, position);
      },
      op.down);
  b_.last().kind = op.kind;
  end_sweep(o, loop, result, op.results.size() - init.size());
}

// Conditions do nothing by themselves here (rotate.h), so a while whose trip count is known is a for.
void Reverse::sweep_while(OpId o) {
  const Op& op = f_[o];
  const RegionId cond = op.regions[0];
  const SweptLoop loop{op.regions[1], s_.region_of[o.index] == base_, recorded_here(o), given_inside(o)};
  const auto round = [&](const Values& carries, ValueId t) {
    for (std::size_t k = 0; k < carries.size(); ++k) now[f_[loop.body].arguments[k].index] = carries[k];
    return sweep_round(loop, carries, t);
  };
  const ValueId trips = op.results.back();
  Builder::LoopResult result;
  if (given(trips)) {
    result =
        b_.for_(b_.i32(0), record_[trips.index], primal(op.operands), [&](ValueId t, const Values& carries) { return round(carries, t); });
    result.trips = record_[trips.index];
  } else {
    result = b_.while_(
        primal(op.operands),
        [&](const Values& carries) {
          for (std::size_t k = 0; k < carries.size(); ++k) now[f_[cond].arguments[k].index] = carries[k];
          sweep_ops(cond);
          return std::pair(primal(f_.terminator(cond).operands[0]), carries);
        },
        [&](const Values& carries) { return round(carries, {}); });
  }
  end_sweep(o, loop, result, op.results.size() - op.operands.size() - 1);
  now[trips.index] = result.trips;
  if (to_record(trips)) record_[trips.index] = result.trips;
}

}  // namespace fluxion::ad
