// Signatures of the reverse mode: parameters in and out, seeds and gradients; reverse.h does the rest.
#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "access.h"
#include "callees.h"
#include "checkpoint.h"
#include "fluxion/error.h"
#include "fluxion/external_code.h"
#include "fluxion/mutants.h"
#include "fluxion/passes.h"
#include "groups.h"
#include "names.h"
#include "prepare.h"
#include "reverse.h"
#include "strip_loops.h"

namespace fluxion {
namespace ad {
namespace {

bool is_memory(const Parameter& p) { return p.kind == Parameter::Kind::memory; }
bool keeps_tape(const Function& f) {
  return std::any_of(f.values.begin(), f.values.end(), [](const Value& v) { return v.type.is_seq(); });
}

}  // namespace

// ---- kernels

namespace {

// `bare`: scratch of `f` is for whoever launches, before as after; otherwise the launch passes it like other parameters.
KernelAdjoint build(const Function& f, std::vector<char> wrt, std::vector<char> cotangents, bool quiet, bool bare, bool keep = false) {
  wrt.resize(f.parameters.size());  // what has been appended since has no derivative
  if (!cotangents.empty()) cotangents.resize(f.parameters.size());
  const Structure s(f);
  const auto touched = accesses(f);
  const std::size_t count = f.parameters.size();
  const auto pair = [&](MemoryId m, auto&& first, auto&& second) {
    for (const Access& a : touched[m.index])
      for (const Access& b : touched[m.index])
        if (first(a.code) && second(b.code) && may_follow(s, a.op, b.op)) return true;
    return false;
  };
  const auto reads = [](Opcode c) { return c == Opcode::load; };
  const auto writes = [](Opcode c) { return c != Opcode::load; };
  // Behind a barrier a thread meets what others have written: then no order of its own accesses says anything.
  const bool meet = has_barrier(f);
  const auto follow = [&](MemoryId m, auto&& first, auto&& second) {
    if (!meet) return pair(m, first, second);
    const auto count_of = [&](auto&& is) {
      return std::count_if(touched[m.index].begin(), touched[m.index].end(), [&](const Access& a) { return is(a.code); });
    };
    return count_of(first) > 0 && count_of(second) > 0;
  };

  // What each memory parameter needs.
  std::vector<char> reread(count), loaded(count), unclear(count), bar(count);
  Activity act(f);
  for (std::size_t p = 0; p < count; ++p) {
    const Parameter& parameter = f.parameters[p];
    if (!is_memory(parameter)) {
      act.varied[parameter.value.index] = wrt[p];
      continue;
    }
    const MemoryId m = parameter.memory;
    const bool floats = float_parameter(f, parameter);
    if (floats) adjoint_of(f[m].element, f[m].loc);  // refuses what has none
    for (const Access& a : touched[m.index]) loaded[p] |= reads(a.code);
    reread[p] = parameter.role != Role::in && follow(m, writes, reads);
    // What an atomic gives is found again by running it, on a copy.
    for (const Access& a : touched[m.index]) reread[p] |= a.code == Opcode::atomic;
    unclear[p] = parameter.role == Role::out && (loaded[p] || (follow(m, writes, writes) && !planted(testing::Mutant::never_overwritten)));
    const bool asked = cotangents.empty() || cotangents[p] || parameter.role == Role::inout || (parameter.role == Role::out && loaded[p]);
    bar[p] = floats && (parameter.role == Role::in ? wrt[p] != 0 : asked);
    act.memory_varied[m.index] = floats && (parameter.role == Role::in ? wrt[p] != 0 : parameter.role == Role::inout);
    act.memory_useful[m.index] = bar[p];
  }
  act.spread_varied(f);
  check_repeatable(f);
  act.spread_useful(s);

  Function out;
  out.kind = Function::Kind::kernel;
  out.name = f.name + ".vjp";
  out.loc = f.loc;
  out.domain_rank = f.domain_rank;
  out.group = f.group;
  Builder b(out);
  b.loc = f.loc;
  Reverse r(s, act, b);
  KernelAdjoint result;
  Names names;
  using Slot = KernelAdjoint::Slot;
  const auto note = [&](Slot::Kind kind, std::size_t p) { result.slots.push_back({kind, static_cast<int>(p)}); };
  const auto add_memory = [&](LayoutId element, const Memory& like, Role role, const std::string& name) {
    const MemoryId m = b.memory_parameter(element, like.rank, role, names.unique(name));
    out[m].loc = like.loc;
    return m;
  };
  std::vector<int> primal_at(count, -1), cotangent_at(count, -1), gradient_at(count, -1);
  const auto own = [&](std::size_t p) { return bare && is_memory(f.parameters[p]) && f[f.parameters[p].memory].scratch; };

  for (std::size_t p = 0; p < count; ++p) {
    const Parameter& parameter = f.parameters[p];
    if (parameter.role == Role::out || parameter.role == Role::accum) continue;
    if (own(p)) {
      // A copy starts as what it is like; zeros come below.
      const Memory& m = f[parameter.memory];
      const auto like = static_cast<std::size_t>(m.like);
      if (m.zeros || m.work >= 0) continue;
      primal_at[p] = primal_at[like];
      MemoryPlan& plan = r.memory[parameter.memory.index];
      plan.memory = plan.shape = r.memory[f.parameters[like].memory.index].memory;
      plan.primal = MemoryPlan::Primal::stable;
      continue;
    }
    primal_at[p] = static_cast<int>(out.parameters.size());
    note(Slot::Kind::primal, p);
    if (!is_memory(parameter)) {
      r.now[parameter.value.index] = b.scalar_parameter(f.type(parameter.value).dtype(), names.unique(parameter.name));
      continue;
    }
    MemoryPlan& plan = r.memory[parameter.memory.index];
    plan.memory = plan.shape = add_memory(f[parameter.memory].element, f[parameter.memory], Role::in, parameter.name);
    plan.primal = MemoryPlan::Primal::stable;
  }
  for (std::size_t p = 0; p < count; ++p) {
    const Parameter& parameter = f.parameters[p];
    if (!is_memory(parameter) || parameter.role == Role::in || !bar[p] || own(p)) continue;
    const Memory& m = f[parameter.memory];
    MemoryPlan& plan = r.memory[parameter.memory.index];
    cotangent_at[p] = static_cast<int>(out.parameters.size());
    note(Slot::Kind::cotangent, p);
    plan.adjoint =
        add_memory(adjoint_of(m.element, m.loc), m, parameter.role == Role::inout ? Role::inout : Role::in, parameter.name + "_bar");
    plan.clear = parameter.role == Role::inout;
    if (!plan.shape.valid()) plan.shape = plan.adjoint;
  }
  std::vector<std::pair<ValueId, MemoryId>> scalar_gradients;
  for (std::size_t p = 0; p < count; ++p) {
    const Parameter& parameter = f.parameters[p];
    if (!wrt[p]) continue;
    gradient_at[p] = static_cast<int>(out.parameters.size());
    note(Slot::Kind::gradient, p);
    if (is_memory(parameter)) {
      const Memory& m = f[parameter.memory];
      r.memory[parameter.memory.index].adjoint = add_memory(adjoint_of(m.element, m.loc), m, Role::accum, parameter.name + "_bar");
    } else {
      Memory one;
      scalar_gradients.emplace_back(parameter.value,
                                    add_memory(adjoint_of(f.type(parameter.value).dtype()), one, Role::accum, parameter.name + "_bar"));
    }
  }
  const auto scratch = [&](std::size_t p, LayoutId element, Role role, int like, const char* what) {
    const Parameter& parameter = f.parameters[p];
    if (like < 0)
      throw KernelError(f[parameter.memory].loc, fmt::format("\"{}\": the integer Out parameter {} is read back, which its derivative "
                                                             "cannot repeat; declare it InOut",
                                                             f.name, parameter.name));
    note(Slot::Kind::scratch, p);
    const MemoryId m = add_memory(element, f[parameter.memory], role, parameter.name + what);
    out[m].scratch = true;
    out[m].like = like;
    return m;
  };
  for (std::size_t p = 0; p < count; ++p) {
    const Parameter& parameter = f.parameters[p];
    if (!is_memory(parameter)) continue;
    const Memory& m = f[parameter.memory];
    MemoryPlan& plan = r.memory[parameter.memory.index];
    if (own(p)) {
      // How it starts and how it ends exchange places: see Scratch in ir.h.
      const auto like = static_cast<std::size_t>(m.like);
      const int shape = primal_at[like] >= 0 ? primal_at[like] : cotangent_at[like] >= 0 ? cotangent_at[like] : gradient_at[like];
      if (shape < 0) throw Bug(f.loc, fmt::format("vjp of \"{}\": nothing has the shape of {}", f.name, parameter.name));
      if (m.work >= 0) {
        plan.memory = plan.shape = scratch(p, m.element, Role::in, shape, "");
        out[plan.memory].work = m.work;
        plan.primal = MemoryPlan::Primal::stable;
        continue;
      }
      if (m.zeros || (parameter.role == Role::out && loaded[p])) {
        plan.memory = plan.shape = scratch(p, m.element, parameter.role, shape, "_now");
        out[plan.memory].zeros = m.zeros;
        plan.primal = m.zeros && !reread[p] ? MemoryPlan::Primal::stable : MemoryPlan::Primal::unstable;
      } else if (parameter.role == Role::inout && reread[p]) {
        plan.memory = scratch(p, m.element, Role::inout, primal_at[p], "_now");
        plan.primal = MemoryPlan::Primal::unstable;
      }
      if (!bar[p]) continue;
      const int seed = m.into >= 0 ? cotangent_at[static_cast<std::size_t>(m.into)] : -1;
      plan.adjoint = scratch(p, adjoint_of(m.element, m.loc), Role::inout, seed >= 0 ? seed : shape, "_bar");
      plan.clear = true;
      out[plan.adjoint].zeros = seed < 0;
      if (parameter.role == Role::inout && !m.zeros) out[plan.adjoint].into = gradient_at[like];
      if (!plan.shape.valid()) plan.shape = plan.adjoint;
      continue;
    }
    if (parameter.role == Role::inout && reread[p]) {
      plan.memory = scratch(p, m.element, Role::inout, primal_at[p], "_now");
      plan.primal = MemoryPlan::Primal::unstable;
    }
    if (parameter.role == Role::out && loaded[p]) {
      plan.memory = scratch(p, m.element, Role::out, cotangent_at[p], "_now");
      plan.primal = MemoryPlan::Primal::unstable;
    }
    if (parameter.role == Role::out && bar[p] && unclear[p]) {
      plan.adjoint = scratch(p, adjoint_of(m.element, m.loc), Role::inout, cotangent_at[p], "_rest");
      plan.clear = true;
    }
  }
  if (bare) out.before = moved(f.before, primal_at);
  const Values& indices = f[f.body].arguments;
  for (std::size_t k = 0; k < indices.size(); ++k) r.now[indices[k].index] = b.index(static_cast<int>(k));

  r.sweep_body(quiet);
  const std::size_t cut = out[out.body].ops.size();
  r.reverse_body();
  b.loc = f.loc;
  for (const auto& [v, m] : scalar_gradients)
    if (const ValueId a = r.adjoint[v.index]; a.valid()) {
      const ValueId at = b.i32(0);
      b.accumulate(m, {&at, 1}, a);
    }
  b.finish();
  result.function = std::make_shared<Function>(tidy(out));
  if (keep) result.kept = keep_tape(s, act, out, cut);
  return result;
}

/// As locals, scratch that nobody but itself reads is dead.
Function with_locals(const Function& f, const std::set<std::string>& names) {
  Function g = f;
  for (Memory& m : g.memories)
    if (m.scratch && names.contains(m.name)) m.space = Memory::Space::local, m.scope = g.body, m.length = 1;
  return dce(g);
}

void erase_parameter(Function& f, std::size_t p) {  // of a memory that no op names
  const std::uint32_t m = f.parameters[p].memory.index;
  f.parameters.erase(f.parameters.begin() + static_cast<std::ptrdiff_t>(p));
  f.memories.erase(f.memories.begin() + m);
  const auto shift = [m](MemoryId& x) { x.index -= x.valid() && x.index > m; };
  for (Op& op : f.ops) shift(op.memory);
  for (Parameter& q : f.parameters) shift(q.memory);
}

// Often all that is recorded is needed by nobody, or was known without a load: then the scratch goes.
void drop_unread_scratch(KernelAdjoint& k) {
  std::set<std::string> unread;
  for (const Memory& m : k.function->memories)
    if (m.scratch && m.into < 0) unread.insert(m.name);
  if (unread.empty()) return;
  const Function trial = with_locals(*k.function, unread);
  for (const Region& r : trial.regions)
    for (OpId o : r.ops)
      if (trial[o].code == Opcode::load || trial[o].code == Opcode::atomic) unread.erase(trial[trial[o].memory].name);
  if (unread.empty()) return;
  Function f = with_locals(*k.function, unread);
  for (std::size_t p = f.parameters.size(); p-- > 0;) {
    const Parameter& parameter = f.parameters[p];
    if (!is_memory(parameter) || !f[parameter.memory].scratch || !unread.contains(parameter.name)) continue;
    erase_parameter(f, p);
    k.slots.erase(k.slots.begin() + static_cast<std::ptrdiff_t>(p));
  }
  if (std::none_of(f.memories.begin(), f.memories.end(), [](const Memory& m) { return m.work >= 0; })) f.before = {};
  k.function = std::make_shared<Function>(std::move(f));
}

}  // namespace

namespace {
/// The rule of `f`: all cotangents and all gradients, whatever is asked for.
KernelAdjoint ruled(const Function& f) {
  if (!f.rules.vjp)
    throw KernelError(f.loc,
                      fmt::format("\"{}\" has a rule for its jvp but none for its vjp; add .vjp(...) to the rule, or use jvp", f.name));
  KernelAdjoint k{f.rules.vjp, {}};
  using Slot = KernelAdjoint::Slot;
  const auto slots = [&](Slot::Kind kind, const auto& wanted) {
    for (std::size_t p = 0; p < f.parameters.size(); ++p)
      if (wanted(f.parameters[p])) k.slots.push_back({kind, static_cast<int>(p)});
  };
  slots(Slot::Kind::primal, [](const Parameter& p) { return p.role != Role::out && p.role != Role::accum; });
  slots(Slot::Kind::cotangent, [&](const Parameter& p) { return p.role != Role::in && float_parameter(f, p); });
  slots(Slot::Kind::gradient, [&](const Parameter& p) { return p.role == Role::in && float_parameter(f, p); });
  while (k.slots.size() < k.function->parameters.size()) k.slots.push_back({Slot::Kind::scratch, 0});
  return k;
}
}  // namespace

KernelAdjoint vjp_kernel(const Function& original, const std::vector<char>& wrt, const std::vector<char>& cotangents, bool quiet, bool bare,
                         bool keep) {
  if (original.rules != Rules{}) {
    if (bare)
      for (std::size_t p = 0; p < wrt.size(); ++p)
        if (!wrt[p] && original.parameters[p].role == Role::in && float_parameter(original, original.parameters[p]))
          throw KernelError(original.loc,
                            fmt::format("the rule of \"{}\" gives the gradients of all of its inputs, {} too; ask for all, without wrt",
                                        original.name, original.parameters[p].name));
    return ruled(original);
  }
  if (original.external) refuse_external(original, {});
  const Function f = prepare(original);
  KernelAdjoint result = build(f, wrt, cotangents, quiet, bare, keep);
  drop_unread_scratch(result);
  if (!has_long_loops(f) || !keeps_tape(*result.function)) return result;
  try {
    KernelAdjoint strips = build(prepare(strip_loops(f)), wrt, cotangents, quiet, bare);
    drop_unread_scratch(strips);
    return strips.slots.size() == result.slots.size() ? strips : result;
  } catch (const KernelError&) {
    return result;  // what is known of one loop may not be of two
  }
}

namespace {

// ---- device functions

enum class Seeds { parameters, one };
struct FnOptions {
  Seeds seeds = Seeds::parameters;
  bool with_value = false, tainted = false, quiet = false;
  std::vector<char> given = {};  // by result: which have a cotangent; empty: all float ones
  const char* suffix = ".vjp";
};

Function reverse_prepared(const Function& f, const std::vector<char>& wrt, const FnOptions& options) {
  const Structure s(f);
  const Values results = f.terminator(f.body).operands;
  Activity act(f);
  for (std::size_t p = 0; p < f.parameters.size(); ++p) act.varied[f.parameters[p].value.index] = wrt[p];
  act.spread_varied(f);
  const auto seeded = [&](std::size_t k) { return is_float(f.type(results[k]).dtype()) && (options.given.empty() || options.given[k]); };
  for (std::size_t k = 0; k < results.size(); ++k) {
    if (!seeded(k)) continue;
    act.useful[results[k].index] = act.varied[results[k].index];
    act.tainted[results[k].index] = act.varied[results[k].index] && options.tainted;
  }
  act.spread_useful(s);

  Function out;
  out.kind = Function::Kind::fn;
  out.name = f.name + options.suffix;
  out.loc = f.loc;
  Builder b(out);
  b.loc = f.loc;
  Reverse r(s, act, b);
  Names names;
  for (const Parameter& p : f.parameters) r.now[p.value.index] = b.scalar_parameter(f.type(p.value).dtype(), names.unique(p.name));
  std::vector<ValueId> cotangents;
  for (std::size_t k = 0; k < results.size(); ++k) {
    const DType t = f.type(results[k]).dtype();
    if (!seeded(k)) cotangents.emplace_back();
    else if (options.seeds == Seeds::one) cotangents.push_back(b.constant_float(adjoint_of(t), 1));
    else cotangents.push_back(b.scalar_parameter(adjoint_of(t), names.unique(fmt::format("r{}_bar", k))));
  }
  r.sweep_body(options.quiet);
  for (std::size_t k = 0; k < results.size(); ++k) r.add_adjoint(results[k], cotangents[k]);
  r.reverse_body();
  Values yields;
  if (options.with_value) yields = r.primal(results);
  for (std::size_t p = 0; p < f.parameters.size(); ++p) {
    if (!wrt[p]) continue;
    const ValueId v = f.parameters[p].value;
    const ValueId a = r.adjoint[v.index];
    yields.push_back(a.valid() ? a : b.constant_float(adjoint_of(f.type(v).dtype()), 0));
  }
  b.finish(yields);
  return tidy(out);
}
Function reverse_fn(const Function& original, const std::vector<char>& wrt, const FnOptions& options) {
  const Function f = prepare(original.rules == Rules{} && !original.external ? original : calling(original));
  const Function result = reverse_prepared(f, wrt, options);
  return has_long_loops(f) && keeps_tape(result) ? reverse_prepared(prepare(strip_loops(f)), wrt, options) : result;
}

// ---- programs

}  // namespace

// The cotangent of a program's scalar is an array.
ValueId filled(Builder& b, const Type& type, ValueId scalar) {
  Function f;
  f.kind = Function::Kind::kernel;
  f.name = "fill";
  f.domain_rank = type.rank;
  Builder k(f);
  const ValueId v = k.scalar_parameter(type.dtype(), "v");
  const MemoryId m = k.memory_parameter(type.element, type.rank, Role::out, "r");
  Values at;
  for (int axis = 0; axis < type.rank; ++axis) at.push_back(k.index(axis));
  k.store(m, at, v);
  k.finish();
  const Values domain(static_cast<std::size_t>(type.rank), b.i32(1));
  return b.launch(std::make_shared<Function>(std::move(f)), domain, {&scalar, 1}, {&type, 1})[0];
}

namespace {

struct ProgramAdjoint {
  const Checkpointed checkpointed;
  const Function& f = checkpointed.f;
  Structure s{f};
  Activity act{f};
  Function out;
  Names names;
  Values versions, returned;  // of the primal

  ProgramAdjoint(const Function& original, const Checkpoint& how, const char* suffix) : checkpointed(checkpoint(prepare(original), how)) {
    out.kind = Function::Kind::program;
    out.name = f.name + suffix;
    out.loc = f.loc;
    const Values& yields = f.terminator(f.body).operands;
    std::size_t n = 0;
    for (const Parameter& p : f.parameters) n += p.kind == Parameter::Kind::array && p.role != Role::in;
    versions.assign(yields.begin(), yields.begin() + static_cast<std::ptrdiff_t>(n));
    returned.assign(yields.begin() + static_cast<std::ptrdiff_t>(n), yields.end());
  }
  bool is_array(const Parameter& p) const { return p.kind == Parameter::Kind::array; }
};

}  // namespace

Function vjp_program(const Function& original, std::vector<char> wrt, const Checkpoint& how) {
  ProgramAdjoint a(original, how, ".vjp");
  const Function& f = a.f;
  wrt.resize(f.parameters.size());
  for (std::size_t p = 0; p < f.parameters.size(); ++p) {
    const Parameter& parameter = f.parameters[p];
    a.act.varied[parameter.value.index] = wrt[p] || (parameter.role == Role::inout && has_float(f.type(parameter.value)));
  }
  a.act.spread_varied(f);
  for (ValueId v : f.terminator(f.body).operands) a.act.useful[v.index] = a.act.varied[v.index];
  a.act.spread_useful(a.s);
  Builder b(a.out);
  b.loc = f.loc;
  Reverse r(a.s, a.act, b);
  r.states = a.checkpointed.states;
  r.keeps_tapes = how.mode == Checkpoint::Mode::all;

  for (const Parameter& p : f.parameters) {
    if (p.role == Role::out || p.role == Role::accum) continue;
    r.now[p.value.index] = a.is_array(p) ? b.array_parameter(f.type(p.value), Role::in, a.names.unique(p.name))
                                         : b.scalar_parameter(f.type(p.value).dtype(), a.names.unique(p.name));
  }
  std::vector<std::pair<ValueId, ValueId>> seeds;  // primal value, its cotangent
  std::size_t next = 0;
  for (const Parameter& p : f.parameters) {
    if (!a.is_array(p) || p.role == Role::in) continue;
    const ValueId version = a.versions[next++];
    if (!has_float(f.type(p.value))) continue;
    const Role role = p.role == Role::inout ? Role::inout : Role::in;
    seeds.emplace_back(version, b.array_parameter(adjoint_of(f.type(p.value), f.loc), role, a.names.unique(p.name + "_bar")));
  }
  std::vector<std::pair<std::size_t, ValueId>> scalar_seeds;
  for (std::size_t k = 0; k < a.returned.size(); ++k) {
    const Type& t = f.type(a.returned[k]);
    if (!has_float(t)) continue;
    const std::string name = a.names.unique(fmt::format("r{}_bar", k));
    if (t.is_array()) {
      seeds.emplace_back(a.returned[k], b.array_parameter(adjoint_of(t, f.loc), Role::in, name));
    } else {
      scalar_seeds.emplace_back(seeds.size(), b.scalar_parameter(adjoint_of(t.dtype()), name));
      seeds.emplace_back(a.returned[k], ValueId{});
    }
  }
  std::vector<std::pair<ValueId, ValueId>> gradients;  // primal parameter, old version of the Accum
  for (std::size_t p = 0; p < f.parameters.size(); ++p)
    if (wrt[p])
      gradients.emplace_back(f.parameters[p].value, b.array_parameter(r.cotangent_type(f.parameters[p].value), Role::accum,
                                                                      a.names.unique(f.parameters[p].name + "_bar")));
  for (const Parameter& p : f.parameters)
    if (p.role == Role::accum) r.now[p.value.index] = b.zero(f.type(p.value));  // only added to, never read
  for (const auto& [k, scalar] : scalar_seeds)
    if (a.act.active(seeds[k].first)) seeds[k].second = filled(b, r.cotangent_type(seeds[k].first), scalar);
  r.sweep_body();
  for (const auto& [v, bar] : seeds) r.add_adjoint(v, bar);
  r.reverse_body();

  Values yields;
  for (const Parameter& p : f.parameters) {
    if (p.role != Role::inout || !has_float(f.type(p.value))) continue;
    const ValueId bar = r.adjoint[p.value.index];
    yields.push_back(bar.valid() ? bar : b.zero(r.cotangent_type(p.value)));
  }
  for (const auto& [v, old] : gradients) {
    const ValueId bar = r.adjoint[v.index];
    yields.push_back(bar.valid() ? b.add(old, bar) : old);
  }
  b.finish(yields);
  return tidy(a.out);
}

namespace {

Function value_and_grad_program(const Function& original, std::vector<char> wrt, const Checkpoint& how) {
  ProgramAdjoint a(original, how, ".value_and_grad");
  const Function& f = a.f;
  wrt.resize(f.parameters.size());
  const ValueId loss = a.returned.empty() ? ValueId{} : a.returned[0];
  if (!loss.valid() || !f.type(loss).element.is_scalar() || !is_float(f.type(loss).dtype()) || f.type(loss).count() != 1)
    throw KernelError(f.loc,
                      fmt::format("value_and_grad: \"{}\" must return a floating point scalar or an array of one element first", f.name));
  for (std::size_t p = 0; p < f.parameters.size(); ++p) a.act.varied[f.parameters[p].value.index] = wrt[p];
  a.act.spread_varied(f);
  a.act.useful[loss.index] = a.act.varied[loss.index];
  a.act.spread_useful(a.s);
  Builder b(a.out);
  b.loc = f.loc;
  Reverse r(a.s, a.act, b);
  r.states = a.checkpointed.states;
  r.keeps_tapes = how.mode == Checkpoint::Mode::all;
  for (const Parameter& p : f.parameters)
    r.now[p.value.index] = a.is_array(p) ? b.array_parameter(f.type(p.value), p.role, a.names.unique(p.name))
                                         : b.scalar_parameter(f.type(p.value).dtype(), a.names.unique(p.name));
  r.sweep_body();
  if (a.act.active(loss)) {
    const Type t = r.cotangent_type(loss);
    r.add_adjoint(loss, filled(b, t, b.constant_float(t.dtype(), 1)));
  }
  r.reverse_body();
  Values yields = r.primal(f.terminator(f.body).operands);
  for (std::size_t p = 0; p < f.parameters.size(); ++p) {
    if (!wrt[p]) continue;
    const ValueId v = f.parameters[p].value, bar = r.adjoint[v.index];
    yields.push_back(bar.valid() ? bar : b.zero(r.cotangent_type(v)));
  }
  b.finish(yields);
  return tidy(a.out);
}

}  // namespace

Function vjp_fn(const Function& f, const std::vector<char>& wrt, const std::vector<char>& seeds, bool tainted, bool quiet) {
  return reverse_fn(f, wrt, {.tainted = tainted, .quiet = quiet, .given = seeds});
}

}  // namespace ad

Function vjp(const Function& f, const Wrt& wrt, const Checkpoint& checkpoint) {
  const ad::Callees::Scope scope;
  const std::vector<char> mask = ad::wrt_mask(f, wrt, false);
  switch (f.kind) {
    case Function::Kind::fn: return ad::reverse_fn(f, mask, {});
    case Function::Kind::kernel: return *ad::vjp_kernel(f, mask, {}, false, true).function;
    case Function::Kind::program: return ad::vjp_program(f.rules == Rules{} ? f : ad::calling(f), mask, checkpoint);
  }
  throw Bug(f.loc, "vjp: unknown kind of function");
}

Function grad(const Function& f, const Wrt& wrt) {
  const ad::Callees::Scope scope;
  ad::check_one_result(f, "grad");
  return ad::reverse_fn(f, ad::wrt_mask(f, wrt, false), {.seeds = ad::Seeds::one, .suffix = ".grad"});
}

Function value_and_grad(const Function& f, const Wrt& wrt, const Checkpoint& checkpoint) {
  const ad::Callees::Scope scope;
  if (f.kind == Function::Kind::program)
    return ad::value_and_grad_program(f.rules == Rules{} ? f : ad::calling(f), ad::wrt_mask(f, wrt, true), checkpoint);
  ad::check_one_result(f, "value_and_grad");
  return ad::reverse_fn(f, ad::wrt_mask(f, wrt, false), {.seeds = ad::Seeds::one, .with_value = true, .suffix = ".value_and_grad"});
}

}  // namespace fluxion
