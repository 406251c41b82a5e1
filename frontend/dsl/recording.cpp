// Recordings: beginning, ending, and what is checked then. What is recorded in between: recorder*.cpp.
#include <fmt/format.h>

#include <atomic>
#include <cstdio>
#include <unordered_map>

#include "divergence.h"
#include "fluxion/passes.h"
#include "fluxion/rewrite.h"
#include "recorder_state.h"

namespace fluxion {
namespace {
std::atomic<WarningSink> g_sink = nullptr;
std::atomic<void*> g_sink_user = nullptr;
std::atomic<std::uint32_t> g_epoch = 0;
thread_local detail::State* t_state = nullptr;
thread_local Loc t_at;

/// More ops from one line than anyone writes: a loop of the host that was meant to be a captured one.
constexpr std::uint32_t kUnrolled = 2000;
void warn_if_unrolled(const Function& f) {
  if (f.ops.size() < kUnrolled) return;
  std::unordered_map<std::uint32_t, std::pair<Loc, std::uint32_t>> count;
  for (const Op& op : f.ops)
    if (op.code != Opcode::yield) {
      auto& [loc, n] = count[op.loc.line];
      loc = op.loc;
      ++n;
    }
  std::pair<Loc, std::uint32_t> most{};
  for (const auto& [line, entry] : count)
    if (entry.second > most.second || (entry.second == most.second && line < most.first.line)) most = entry;
  if (most.second < kUnrolled) return;
  const std::string text = fmt::format(
      "native loop unrolled at {}: {} operations were recorded from this line; "
      "use for (auto i : fx::range(n))",
      to_string(most.first), most.second);
  if (const WarningSink sink = g_sink) sink(most.first, text.c_str(), g_sink_user);
  else std::fprintf(stderr, "fluxion: warning: %s\n", text.c_str());
}
}  // namespace

void set_warning_sink(WarningSink sink, void* user) {
  g_sink_user = user;
  g_sink = sink;
}

namespace detail {
At::At(Loc at) : before_(t_at) {
  if (!t_at) t_at = at;
}
At::~At() { t_at = before_; }

State* innermost() { return t_state; }
State& state() {
  Loc nowhere;
  return state(nowhere);
}
State& state(Loc& at) {
  if (t_at) at = t_at;
  if (!t_state)
    throw KernelError(at,
                      "a captured value (fx::Float, ...) is used outside of its kernel or function; "
                      "use it inside the lambda of fx::kernel or fx::fn");
  return *t_state;
}

RegionId State::open_region(std::span<const Type> arguments) {
  const RegionId r = b.open(arguments);
  open.resize(f.regions.size());
  open[r.index] = true;
  return r;
}
void State::close_region(std::span<const ValueId> yields) {
  open[b.current().index] = false;
  b.close(yields);
}
void State::move_ops(RegionId from, std::size_t keep, RegionId to) {
  auto& source = f[from].ops;
  for (std::size_t k = keep; k < source.size(); ++k) {
    const Op& op = f[source[k]];
    // What was set here becomes conditional: later reads must not take it for the slot's value.
    if (op.code == Opcode::var_new) slot(op.results[0]).region = slot(op.results[0]).value_region = to;
    if (op.code == Opcode::var_set) slot(op.operands[0]).value_region = to;
  }
  auto& target = f[to].ops;
  target.insert(target.end(), source.begin() + static_cast<std::ptrdiff_t>(keep), source.end());
  source.resize(keep);
}

Recording::Recording(Function::Kind kind, std::string name, Loc at) {
  constexpr int kDeepest = 200;  // of functions captured inside each other
  int depth = 0;
  for (const State* s = t_state; s; s = s->outer) ++depth;
  if (depth >= kDeepest)
    throw KernelError(at, fmt::format("\"{}\" is captured inside {} other captures: functions cannot call themselves; write the "
                                      "recursion as a loop, fx::while_ or fx::range",
                                      name, depth));
  auto* s = new State;
  s->f.kind = kind;
  s->f.name = std::move(name);
  s->f.loc = at;
  s->b.loc = at;
  s->epoch = ++g_epoch;
  s->open = {true};
  s->outer = t_state;
  t_state = s;
}
Recording::~Recording() {
  State* s = t_state;
  t_state = s->outer;
  delete s;
}

std::uint32_t Recording::scalar_parameter(DType t, std::string name) {
  State& s = state();
  const ValueId v = s.b.scalar_parameter(t, std::move(name));
  return is_half(t) ? s.b.convert(v, DType::f32).index : v.index;
}
std::uint32_t Recording::array_parameter(const Type& t, Role role, std::string name) {
  return state().b.array_parameter(t, role, std::move(name)).index;
}
Handle Recording::captured_parameter(const Type& t, Role role, std::string name, Loc at) {
  State& s = state(at);
  Op op;
  op.code = Opcode::var_new;
  op.loc = at;
  op.operands = {s.b.array_parameter(t, role, std::move(name))};
  const OpId made = s.b.append(std::move(op), {&t, 1});
  const ValueId slot = s.f[made].results[0];
  s.slot(slot).region = s.f.body;
  if (const RegionId here = s.b.current(); here != s.f.body) {
    s.f[here].ops.pop_back();
    auto& body = s.f[s.f.body].ops;
    body.insert(body.begin(), made);
  }
  return {slot.index, s.epoch};
}
MemoryHandle Recording::memory_parameter(LayoutId element, int rank, Role role, std::string name) {
  State& s = state();
  return {s.b.memory_parameter(element, rank, role, std::move(name)).index, s.epoch};
}

Function Recording::finish_raw(std::span<const std::uint32_t> yields) {
  State& s = state();
  if (s.misuse) throw *s.misuse;
  if (!s.frames.empty()) throw Bug(s.f.loc, "a recording ends inside a loop or arm");
  if (s.f.kind == Function::Kind::kernel) {
    if (s.f.domain_rank == 0) s.f.domain_rank = 1;
    for (auto [axis, loc] : s.domain_axes)
      if (axis < 0 || axis >= s.f.domain_rank)
        throw KernelError(loc, fmt::format("domain({}) in a kernel over {} axes; index<N>() sets their number", axis, s.f.domain_rank));
    s.b.index(0);
  }
  Values out;
  for (std::uint32_t y : yields) out.push_back({y});
  s.b.loc = s.f.loc;
  s.b.finish(out);
  warn_if_unrolled(s.f);
  return s.f;
}

std::shared_ptr<const Function> Recording::finish(std::span<const std::uint32_t> yields) {
  Function f = canonical(inline_calls(mem2reg(lower_exits(finish_raw(yields)))));
  refuse_divergent_barriers(f);
  verify(f);
  return std::make_shared<const Function>(std::move(f));
}

bool recording() { return t_state != nullptr; }
Function::Kind recording_kind() { return state().f.kind; }
std::uint32_t current_epoch() { return t_state ? t_state->epoch : 0; }
const Function& recorded() { return state().f; }

std::vector<std::uint32_t> record_op(Op op, std::span<const Type> results, Loc at) {
  State& s = state(at);
  op.loc = at;
  std::vector<std::uint32_t> out;
  const OpId id = s.b.append(std::move(op), results);
  for (ValueId v : s.f[id].results) out.push_back(v.index);
  return out;
}
std::vector<std::uint32_t> record_launch(std::shared_ptr<const Function> callee, std::span<const std::uint32_t> domain,
                                         std::span<const std::uint32_t> arguments, std::span<const Type> outs, Loc at) {
  State& s = state(at);
  s.b.loc = at;
  Values d, a;
  for (std::uint32_t v : domain) d.push_back({v});
  for (std::uint32_t v : arguments) a.push_back({v});
  std::vector<std::uint32_t> out;
  for (ValueId v : s.b.launch(std::move(callee), d, a, outs)) out.push_back(v.index);
  return out;
}
std::vector<std::uint32_t> record_call(const std::shared_ptr<const Function>& function, std::span<const std::uint32_t> arguments, Loc at) {
  State& s = state(at);
  if (!function)
    throw KernelError(at ? at : s.f.loc,
                      "a function is called before it is made: functions cannot call themselves; write the recursion as a "
                      "loop, fx::while_ or fx::range");
  const Function& callee = *function;
  if (callee.kind != Function::Kind::fn || callee.parameters.size() != arguments.size())
    throw KernelError(
        at, fmt::format("function \"{}\" takes {} scalars, {} were given", callee.name, callee.parameters.size(), arguments.size()));
  s.b.loc = at;
  Values operands;
  for (std::size_t i = 0; i < arguments.size(); ++i)
    operands.push_back(s.b.convert({arguments[i]}, callee.type(callee.parameters[i].value).dtype()));
  std::vector<std::uint32_t> out;
  for (ValueId v : s.b.call(function, operands)) {
    if (is_half(s.f.type(v).dtype())) v = s.b.convert(v, DType::f32);
    out.push_back(v.index);
  }
  return out;
}

}  // namespace detail
}  // namespace fluxion
