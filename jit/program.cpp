// Programs: one specialisation for each tuple of (device, layouts, shapes), made at the first call with it:
// captured, transformed, compiled as a whole. A call then binds arrays and queues one run.
#include "fluxion/program.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "fluxion/ad.h"
#include "fluxion/batch.h"
#include "fluxion/buffer_plan.h"
#include "fluxion/error.h"
#include "fluxion/pipeline.h"
#include "fluxion/rewrite.h"
#include "program_state.h"

namespace fluxion::detail {
namespace {

/// Code that notes what its runs take: the same code may serve several programs.
struct Measuring final : Executable {
  Measuring(std::shared_ptr<Executable> code, std::shared_ptr<std::atomic<std::int64_t>> most)
      : code(std::move(code)), most(std::move(most)) {}
  void run(const Launch& launch, FailureSlot& failure) override {
    code->run(launch, failure);
    const std::int64_t own = code->peak_bytes();
    for (std::int64_t seen = *most; seen < own && !most->compare_exchange_weak(seen, own);) {}
  }
  const std::shared_ptr<Executable> code;
  const std::shared_ptr<std::atomic<std::int64_t>> most;
};
bool float_layout(LayoutId element) {
  for (const Leaf& leaf : layout_of(element).leaves)
    if (is_float(leaf.dtype)) return true;
  return false;
}

/// Gradients as returned values: each Accum from position `first` on starts from zeros inside.
Function return_gradients(const Function& f, std::size_t first) {
  Function g;
  Builder b(g);
  Rewriter r(f, b);
  g.kind = f.kind;
  g.name = f.name;
  g.loc = b.loc = f.loc;
  for (std::size_t p = 0; p < f.parameters.size(); ++p) {
    const Parameter& q = f.parameters[p];
    if (q.kind == Parameter::Kind::scalar) r.map(q.value, b.scalar_parameter(f.type(q.value).dtype(), q.name));
    else if (p < first) r.map(q.value, b.array_parameter(f.type(q.value), q.role, q.name));
    else r.map(q.value, b.zero(f.type(q.value)));
  }
  r.copy_ops(f.body);
  const Values end = r(f.terminator(f.body).operands);
  Values kept, gradients;
  std::size_t next = 0;
  for (std::size_t p = 0; p < f.parameters.size(); ++p) {
    if (f.parameters[p].kind == Parameter::Kind::scalar || f.parameters[p].role == Role::in) continue;
    (p < first ? kept : gradients).push_back(end[next++]);
  }
  kept.insert(kept.end(), end.begin() + static_cast<std::ptrdiff_t>(next), end.end());
  kept.insert(kept.end(), gradients.begin(), gradients.end());
  b.finish(kept);
  return g;
}

double launch_cost(const Function& f, RegionId r) {
  constexpr double kUnknown = 64;
  double sum = 0;
  for (OpId id : f[r].ops) {
    const Op& op = f[id];
    const auto number = [&](std::size_t k) { return static_cast<double>(static_cast<std::int32_t>(f[op.operands[k]].bits)); };
    if (op.code == Opcode::launch) {
      double points = 1;
      for (int axis = 0; axis < f.callees[op.ref]->domain_rank; ++axis)
        points *= f.is_constant(op.operands[axis]) ? number(axis) : kUnknown;
      sum += 100 + points * estimate_cost(*f.callees[op.ref]);
    }
    double inner = 0;
    for (RegionId nested : op.regions) inner += launch_cost(f, nested);
    const bool known = op.code == Opcode::for_ && f.is_constant(op.operands[0]) && f.is_constant(op.operands[1]);
    sum += 1 + inner * (op.code == Opcode::if_ ? 1 : known ? std::max(0.0, number(1) - number(0)) : kUnknown);
  }
  return sum;
}

/// Arrays that wrap the user's memory may share some of it.
bool overlap(const Storage& a, const Storage& b) {
  const auto x = reinterpret_cast<std::uintptr_t>(a.data), y = reinterpret_cast<std::uintptr_t>(b.data);
  return x < y + b.bytes && y < x + a.bytes;
}

}  // namespace

bool ProgramParameter::has_float() const { return float_layout(element); }

ProgramHandle::ProgramHandle(std::string name, std::vector<ProgramParameter> parameters, Body body, Loc at)
    : state_(std::make_shared<State>()) {
  state_->name = state_->full_name = std::move(name);
  state_->parameters = std::move(parameters);
  state_->body = std::move(body);
  state_->at = at;
  const DebugFlags debug = debug_flags();
  state_->options.bounds = debug.bounds;
  state_->options.nan = debug.nan;
  state_->options.inf = debug.inf;
  state_->options.race = debug.race;
  state_->options.interrupt = debug.interrupt;
}

namespace {
template <class S> std::shared_ptr<S> copy_of(const S& s) {
  auto out = std::make_shared<S>();
  out->name = s.name;
  out->full_name = s.full_name;
  out->parameters = s.parameters;
  out->body = s.body;
  out->at = s.at;
  out->steps = s.steps;
  out->options = s.options;
  out->vjp_rule = s.vjp_rule;
  out->jvp_rule = s.jvp_rule;
  out->rule_takes_results = s.rule_takes_results;
  out->ruled = s.ruled;
  return out;
}
}  // namespace

ProgramHandle::State& ProgramHandle::made(Loc at) const {
  if (!state_) throw KernelError(at, "an empty program is used; make it with fluxion::program");
  return *state_;
}
ProgramHandle ProgramHandle::transformed(Transform t, std::vector<int> wrt, const CheckpointRule& checkpoint) const {
  ProgramHandle out;
  out.state_ = copy_of(made({}));
  for (const Step& step : out.state_->steps)
    if (step.checkpoint.bytes && checkpoint.bytes)
      throw KernelError(out.state_->at,
                        fmt::format("program \"{}\" has a budget from an earlier derivative, which holds for the whole", out.state_->name));
  if (!out.state_->ruled && (state_->vjp_rule || state_->jvp_rule)) out.state_->ruled = state_;
  constexpr std::array<const char*, 4> kSuffixes = {".value_and_grad", ".vjp", ".jvp", ".vmap"};  // in the order of Transform
  out.state_->full_name += kSuffixes[static_cast<std::size_t>(t)];
  out.state_->steps.push_back({t, std::move(wrt), checkpoint});
  return out;
}
ProgramHandle ProgramHandle::with(const CompileOptions& options) const {
  ProgramHandle out;
  out.state_ = copy_of(made({}));
  out.state_->options = options;
  return out;
}

/// By step: how many runs a vmap makes at once.
std::vector<std::int64_t> ProgramHandle::State::batches(std::span<const Argument> arguments, Loc call) const {
  std::vector<std::int64_t> out(steps.size(), 1);
  for (std::size_t i = 0; i < steps.size(); ++i) {
    if (steps[i].transform != Transform::vmap) continue;
    int first = -1;
    for (const int k : steps[i].wrt) {
      const ArrayState* a = arguments[static_cast<std::size_t>(k)].array.get();
      const std::size_t axis = batch_axes(i + 1, static_cast<std::size_t>(k));
      const std::int64_t n = a ? a->extent[axis] : 1;
      if (first >= 0 && n != out[i])
        throw ShapeError(call, fmt::format("program \"{}\": the batch is {} along axis {} of argument {}, and {} of argument {}", name,
                                           out[i], axis, first + 1, n, k + 1));
      out[i] = n;
      if (first < 0) first = k;
    }
    if (first < 0) throw KernelError(at, fmt::format("vmap of program \"{}\": no parameter has the batch axis", name));
  }
  return out;
}
/// The arguments of the lambda for one of the batch: shapes without data.
std::vector<Argument> ProgramHandle::State::without_batches(std::span<const Argument> arguments) const {
  std::vector<Argument> out(arguments.begin(), arguments.end());
  for (std::size_t k = 0; k < parameters.size(); ++k) {
    const std::size_t axes = batch_axes(0, k);
    if (!axes || !out[k].array || parameters[k].rank == 0) continue;
    auto a = std::make_shared<ArrayState>(*out[k].array);
    a->rank -= static_cast<int>(axes);
    for (std::size_t x = 0; x < 3; ++x) a->extent[x] = x + axes < 3 ? a->extent[x + axes] : 1;
    a->storage = nullptr;
    out[k].array = std::move(a);
  }
  return out;
}

void ProgramHandle::State::transform(Specialisation& s, const Step& step, const Checkpoint* within, std::int64_t batch) const {
  const Checkpoint& keep = step.checkpoint.bytes ? *within : step.checkpoint.kept;
  Function& f = s.program.function;
  std::vector<ProgramSource>& sources = s.program.sources;
  int arguments = 0;
  for (const ProgramSource& source : sources)
    if (source.kind == ProgramSource::Kind::argument) arguments = std::max(arguments, source.index + 1);
  Wrt wrt;
  for (int position : step.wrt)
    for (std::size_t p = 0; p < sources.size(); ++p)
      if (sources[p].kind == ProgramSource::Kind::argument && sources[p].index == position) wrt.push_back(static_cast<int>(p));
  const auto written = [&](std::size_t p) { return f.parameters[p].kind == Parameter::Kind::array && f.parameters[p].role != Role::in; };
  const auto refuse_written = [&](const char* what, bool captured_only) {
    for (std::size_t p = 0; p < f.parameters.size(); ++p)
      if (written(p) && has_float(f.type(f.parameters[p].value)) && (!captured_only || sources[p].kind == ProgramSource::Kind::captured))
        throw KernelError(
            at, fmt::format("{} of program \"{}\", which writes the array \"{}\" outside of it; work on a copy and return that", what, name,
                            f.parameters[p].name));
  };
  switch (step.transform) {
    case Transform::value_and_grad:
      f = fluxion::value_and_grad(f, wrt, keep);
      while (sources.size() < f.parameters.size()) sources.push_back({ProgramSource::Kind::setting, s.settings++});
      break;
    case Transform::vjp: {
      refuse_written("vjp", false);
      const std::size_t primals = sources.size();
      const Function g = fluxion::vjp(f, wrt, keep);
      const std::size_t first = g.parameters.size() - wrt.size();
      const Values& end = f.terminator(f.body).operands;  // nothing but results, or arrays without derivatives
      std::size_t cotangents = 0;
      for (ValueId v : end) cotangents += has_float(f.type(v));
      for (std::size_t p = primals; p < first - cotangents; ++p) sources.push_back({ProgramSource::Kind::setting, s.settings++});
      while (sources.size() < first) sources.push_back({ProgramSource::Kind::argument, arguments++});
      f = return_gradients(g, first);
      break;
    }
    case Transform::jvp: {
      refuse_written("jvp", true);
      const std::size_t primals = sources.size();
      for (std::size_t p = 0; p < primals; ++p) {
        if (!has_float(f.type(f.parameters[p].value))) continue;
        const bool argument = sources[p].kind == ProgramSource::Kind::argument;
        sources.push_back({argument ? ProgramSource::Kind::argument : ProgramSource::Kind::zeros, argument ? arguments++ : 0});
      }
      f = fluxion::jvp(f);
      break;
    }
    case Transform::vmap: {
      std::vector<char> leading(f.parameters.size(), 0);
      for (int p : wrt) leading[static_cast<std::size_t>(p)] = 1;
      f = batched_program(f, leading, batch);
      break;
    }
  }
  if (f.parameters.size() != sources.size()) throw Bug(at, "a transformed program has other parameters than expected\n" + print(f));
  f = run_passes(prune_launches(f), capture_pipeline());
}

std::string ProgramHandle::State::key_of(std::span<const Argument> arguments, Device& device, Loc call) const {
  std::string key;
  for (std::size_t k = 0; k < arguments.size(); ++k) {
    // The first ones are the lambda's; transforms append others.
    const ArrayState* a = arguments[k].array.get();
    if (!a) {
      if (k >= parameters.size() || parameters[k].rank == 0) continue;
      throw ShapeError(call, fmt::format("program \"{}\": argument {} is an empty buffer", name, k + 1));
    }
    if (!device) device = a->device;
    if (a->device != device)
      throw DeviceError(
          call, fmt::format("program \"{}\": argument {} is on {}, another one on {}", name, k + 1, a->device.name(), device.name()));
    key += fmt::format("{}:{},{},{};", a->element.index, a->extent[0], a->extent[1], a->extent[2]);
  }
  return key + (device ? device.name() : "");
}

Choice ProgramHandle::State::specialise(std::span<const Argument> arguments, Loc call, bool compile) {
  Device device;
  const std::string key = key_of(arguments, device, call);
  std::lock_guard lock(mutex);
  const bool within = std::any_of(steps.begin(), steps.end(), [](const Step& s) { return s.checkpoint.bytes != 0; });
  Choice choice = within ? choose(key, device, arguments, call) : Choice{specialisation(key, device, arguments, nullptr, call)};
  Specialisation& s = *choice.made;
  if (compile && !s.code) {
    s.code = fluxion::detail::specialise(options.bounds ? item_checks(*s.flat) : *s.flat, options, s.device);
    s.code->hold();
  }
  return choice;
}

std::shared_ptr<Specialisation> ProgramHandle::State::specialisation(const std::string& shapes, const Device& device,
                                                                     std::span<const Argument> arguments, const Checkpoint* within,
                                                                     Loc call) {
  const std::string key =
      shapes + (within ? fmt::format(" {} {} {}", static_cast<int>(within->mode), within->levels, within->depth) : std::string());
  for (const auto& s : specialisations)
    if (s->key == key) return s;
  auto s = std::make_shared<Specialisation>();
  s->key = key;
  const std::vector<std::int64_t> batch = batches(arguments, at);
  const std::vector<Argument> one = without_batches(arguments);
  if (ruled) {
    s->program.function = *ruled->function_with_rules(std::span(one).first(parameters.size()), at);
    for (std::size_t p = 0; p < parameters.size(); ++p) s->program.sources.push_back({ProgramSource::Kind::argument, static_cast<int>(p)});
  } else {
    s->program = capture_program(name, parameters, body, one, device, at);
  }
  s->device = device ? device : s->program.captured.empty() ? Device::best() : s->program.captured[0]->device;
  s->program.function = run_passes(s->program.function, capture_pipeline());
  for (std::size_t i = 0; i < steps.size(); ++i) {
    refuse_own_derivative(s->program.function, call);
    transform(*s, steps[i], within, batch[i]);
  }
  const Function& f = s->program.function;
  const Values& end = f.terminator(f.body).operands;
  std::size_t versions = 0;
  for (const Parameter& p : f.parameters) versions += p.kind == Parameter::Kind::array && p.role != Role::in;
  for (std::size_t k = versions; k < end.size(); ++k) s->results.push_back(f.type(end[k]));
  s->function = s->flat = std::make_shared<const Function>(f);
  const auto is_program = [](const std::shared_ptr<const Function>& g) { return g->kind == Function::Kind::program; };
  if (std::any_of(f.callees.begin(), f.callees.end(), is_program))
    s->flat = std::make_shared<const Function>(run_passes(prune_launches(inline_final(f)), capture_pipeline()));
  s->cost = launch_cost(*s->flat, s->flat->body);
  s->open = !open_selves(*s->function).empty();
  if (!s->open) specialisations.push_back(s);
  return s;
}

namespace {

std::vector<std::uint64_t> scalar_bits(const Specialisation& s, std::span<const Argument> arguments, const Settings& settings) {
  std::vector<std::uint64_t> bits;
  const Function& f = *s.function;
  for (std::size_t p = 0; p < f.parameters.size(); ++p) {
    if (f.parameters[p].kind != Parameter::Kind::scalar) continue;
    const auto& [kind, index] = s.program.sources[p];
    const auto at = static_cast<std::size_t>(index);
    bits.push_back(kind == ProgramSource::Kind::setting    ? static_cast<std::uint32_t>(settings[at])
                   : kind == ProgramSource::Kind::argument ? arguments[at].bits
                                                           : 0);
  }
  return bits;
}

WorkspaceUse measured(Specialisation& s, std::span<const Argument> arguments, const Settings& settings) {
  if (!s.planned) s.planned = std::make_shared<const Function>(buffer_plan(*s.flat));
  return workspace_use(*s.planned, scalar_bits(s, arguments, settings));
}

}  // namespace

/// What keeps most comes first: everything; then states of the outermost loops, of those inside them too, and so on. A later
/// reverse derivative needs strips.
Choice ProgramHandle::State::choose(const std::string& shapes, const Device& device, std::span<const Argument> arguments, Loc call) {
  std::string key = shapes;
  for (std::size_t k = 0; k < arguments.size(); ++k)
    if (!arguments[k].array) key += fmt::format(" {:x}", arguments[k].bits);
  if (const auto it = choices.find(key); it != choices.end()) return it->second;
  std::int64_t bytes = 0;
  bool reversed = false;
  for (const Step& step : steps) {
    reversed |= bytes && step.transform != Transform::jvp;
    if (step.checkpoint.bytes) bytes = step.checkpoint.bytes;
  }
  const auto limit = static_cast<double>(std::max<std::int64_t>(bytes, 0));
  double least = 0;
  const auto take = [&](Choice c) {
    if (choices.size() > 256) choices.clear();  // trip counts that never come again
    return c.made->open ? c : choices[key] = std::move(c);
  };
  const auto fits = [&](const Checkpoint& keep) -> std::shared_ptr<Specialisation> {
    const auto s = specialisation(shapes, device, arguments, &keep, call);
    const double use = measured(*s, arguments, {}).bytes;
    least = least > 0 ? std::min(least, use) : use;
    return use <= limit ? s : nullptr;
  };
  Checkpoint keep;
  if (auto s = fits(keep)) return take({s});
  if (reversed) {
    keep.mode = Checkpoint::Mode::strips;
    for (keep.levels = 2; keep.levels <= 8; ++keep.levels)
      if (auto s = fits(keep)) return take({s});
  } else {
    keep.mode = Checkpoint::Mode::settings;
    int loops = 0;
    for (keep.depth = 1;; ++keep.depth) {
      const auto s = specialisation(shapes, device, arguments, &keep, call);
      if (s->settings == loops) break;
      loops = s->settings;
      double need = 0;
      const auto settings =
          within_budget(static_cast<std::size_t>(loops) / 2, [&](const Settings& x) { return measured(*s, arguments, x); }, limit, need);
      if (settings) return take({s, *settings});
      least = std::min(least, need);
    }
  }
  throw KernelError(at,
                    fmt::format("the derivative of program \"{}\" cannot run within its budget of {:.4g} MB; the least that it needs is "
                                "{:.4g} MB",
                                name, limit / (1 << 20), std::ceil(least / (1 << 10)) / (1 << 10)));
}

std::vector<Array> ProgramHandle::call(std::span<const Argument> arguments, Loc at) const {
  const State& program = made(at);
  if (recording())
    throw KernelError(
        at, fmt::format("program \"{}\" is called while \"{}\" is captured, which would run it once, now", program.name, recorded().name));
  const Choice choice = state_->specialise(arguments, at, true);
  const auto& s = choice.made;
  const Function& f = *s->function;
  Work work;
  work.code = std::make_shared<Measuring>(s->code, state_->most);
  work.function = s->function;
  work.cost = s->cost;
  std::vector<std::pair<const Storage*, std::size_t>> used;  // and the parameter
  for (std::size_t p = 0; p < f.parameters.size(); ++p) {
    const Parameter& q = f.parameters[p];
    const ProgramSource& source = s->program.sources[p];
    if (q.kind == Parameter::Kind::scalar) {
      if (source.kind == ProgramSource::Kind::zeros) work.scalars.push_back(0);
      else if (source.kind == ProgramSource::Kind::setting)
        work.scalars.push_back(static_cast<std::uint32_t>(choice.settings[static_cast<std::size_t>(source.index)]));
      else if (arguments[static_cast<std::size_t>(source.index)].traced != ~0u)
        throw KernelError(at, fmt::format("program \"{}\" is called with a captured value outside of its capture", state_->name));
      else work.scalars.push_back(arguments[static_cast<std::size_t>(source.index)].bits);
      continue;
    }
    const Type& t = f.type(q.value);
    std::shared_ptr<ArrayState> a;
    if (source.kind == ProgramSource::Kind::captured) a = s->program.captured[static_cast<std::size_t>(source.index)];
    if (source.kind == ProgramSource::Kind::argument) a = arguments[static_cast<std::size_t>(source.index)].array;
    if (source.kind == ProgramSource::Kind::zeros)
      a = Array::make(s->device, t.element, {t.shape.data(), static_cast<std::size_t>(t.rank)}, Array::Fill::zeros, at).shared();
    if (!a || array_type(*a) != t)
      throw ShapeError(at, fmt::format("program \"{}\": argument {} is {}, expected {}", state_->name, source.index + 1,
                                       a ? to_string(array_type(*a)) : std::string("empty"), to_string(t)));
    const auto& storage = storage_of(*a);
    for (const auto& [other, k] : used)
      if (overlap(*other, *storage) && (q.role != Role::in || f.parameters[k].role != Role::in))
        throw KernelError(at, fmt::format("program \"{}\" gets one array as \"{}\" and as \"{}\" and writes to it; pass a copy",
                                          state_->name, f.parameters[k].name, q.name));
    used.push_back({storage.get(), p});
    work.arrays.push_back({storage->data, a->extent});
    work.keep.push_back(storage);
  }
  std::vector<Array> results;
  for (const Type& t : s->results) {
    const std::int64_t one[] = {1};
    const std::span<const std::int64_t> shape = t.is_array() ? std::span(t.shape.data(), static_cast<std::size_t>(t.rank)) : std::span(one);
    results.push_back(Array::make(s->device, t.element, shape, Array::Fill::memory, at));
    const auto& storage = storage_of(results.back().state());
    work.arrays.push_back({storage->data, results.back().state().extent});
    work.keep.push_back(storage);
  }
  enqueue(s->device, std::move(work), at);
  return results;
}

namespace {
/// Bodies of programs that stand inside each other in a capture.
struct Inlined {
  static constexpr int kDeepest = 200;
  static int& depth() {
    thread_local int depth = 0;
    return depth;
  }
  Inlined(const std::string& name, Loc at) {
    if (depth() >= kDeepest)
      throw KernelError(at, fmt::format("program \"{}\" is called inside {} other calls: a program that calls itself must come to an "
                                        "end by the shapes of its arguments; write other recursions as a loop, fx::while_ or fx::range",
                                        name, depth()));
    ++depth();
  }
  ~Inlined() { --depth(); }
  Inlined(const Inlined&) = delete;
  Inlined& operator=(const Inlined&) = delete;
};
}  // namespace

std::vector<ProgramValue> ProgramHandle::inlined(std::span<const Argument> arguments, Loc at) const {
  if (!made(at).steps.empty()) return embedded(arguments, at);
  if (state_->vjp_rule || state_->jvp_rule) {
    std::vector<ProgramValue> out;
    for (auto& array : tracer()->embed(state_->function_with_rules(arguments, at), arguments, true, at))
      out.push_back({std::move(array), ~0u});
    return out;
  }
  std::vector<ProgramValue> values;
  for (std::size_t k = 0; k < arguments.size(); ++k) {
    const Argument& a = arguments[k];
    const bool scalar = state_->parameters[k].rank == 0;
    values.push_back({a.array, !scalar || a.traced != ~0u ? a.traced : constant(state_->parameters[k].element.scalar(), a.bits, at)});
  }
  const Inlined here(state_->name, at);
  std::vector<ProgramValue> out = state_->body(values);
  for (ProgramValue& v : out)
    if (!v.array) v = {tracer()->hold(v.scalar, at), ~0u};
  return out;
}

const std::string& ProgramHandle::name() const { return made({}).full_name; }
Loc ProgramHandle::defined() const { return made({}).at; }
const std::vector<ProgramParameter>& ProgramHandle::parameters() const { return made({}).parameters; }
std::vector<char> ProgramHandle::scalar_results(std::span<const Argument> arguments, Loc at) const {
  std::vector<char> out;
  const Choice choice = made(at).specialise(arguments, at, true);
  for (const Type& t : choice.made->results)
    if (has_float(t)) out.push_back(t.is_scalar());
  return out;
}

// A derivative, made for these shapes, as part of the program under capture.
std::vector<ProgramValue> ProgramHandle::embedded(std::span<const Argument> arguments, Loc at) const {
  const bool within = std::any_of(state_->steps.begin(), state_->steps.end(), [](const Step& step) { return step.checkpoint.bytes != 0; });
  for (const Argument& a : arguments)
    if (within && a.traced != ~0u)
      throw KernelError(
          at, fmt::format("a derivative of program \"{}\" with a budget is called inside another program with a scalar that is not "
                          "known yet; pass a number, or use strips or revolve",
                          state_->name));
  const Choice choice = state_->specialise(arguments, at, false);
  const auto& s = choice.made;
  std::vector<Argument> list;
  for (const ProgramSource& source : s->program.sources) {
    Argument a;
    if (source.kind == ProgramSource::Kind::argument) a = arguments[static_cast<std::size_t>(source.index)];
    if (source.kind == ProgramSource::Kind::captured) a.array = s->program.captured[static_cast<std::size_t>(source.index)];
    if (source.kind == ProgramSource::Kind::setting)
      a.bits = static_cast<std::uint32_t>(choice.settings[static_cast<std::size_t>(source.index)]);
    list.push_back(std::move(a));
  }
  std::vector<ProgramValue> out;
  for (auto& array : tracer()->embed(s->function, list, false, at)) out.push_back({std::move(array), ~0u});
  return out;
}

BoundProgram ProgramHandle::bound(std::span<const Argument> arguments, Loc at) const {
  const Choice choice = made(at).specialise(arguments, at, false);
  const Specialisation& s = *choice.made;
  const bool rules = state_->steps.empty() && (state_->vjp_rule || state_->jvp_rule);  // its body does not say what they do
  BoundProgram out{rules ? caller_of(state_->function_with_rules(arguments, at)) : s.function, {}, {}};
  for (const ProgramSource& source : s.program.sources) {
    Argument a;
    if (source.kind == ProgramSource::Kind::argument) a = arguments[static_cast<std::size_t>(source.index)];
    if (source.kind == ProgramSource::Kind::captured) a.array = s.program.captured[static_cast<std::size_t>(source.index)];
    if (source.kind == ProgramSource::Kind::setting)
      a.bits = static_cast<std::uint32_t>(choice.settings[static_cast<std::size_t>(source.index)]);
    out.arguments.push_back(std::move(a));
    out.positions.push_back(source.kind == ProgramSource::Kind::argument ? source.index : -1);
  }
  return out;
}

ProgramUse ProgramHandle::use(std::span<const Argument> arguments) const {
  const Choice c = made({}).specialise(arguments, {}, false);
  const WorkspaceUse use = measured(*c.made, arguments, c.settings);
  return {static_cast<std::int64_t>(use.bytes), use.runs};
}

std::int64_t ProgramHandle::peak_bytes() const { return *made({}).most; }

std::string ProgramHandle::dump(std::string_view what, std::span<const Argument> arguments) const {
  const auto s = made({}).specialise(arguments, {}, what != "ir" && what != "lowered").made;
  if (what == "ir") return print(*s->function);
  if (what == "lowered") return print(lower(*s->flat, s->device.state().backend->name()));
  const std::string text = s->code->dump(what);
  if (text.empty())
    throw KernelError(state_->at, fmt::format("program \"{}\": device {} has no dump of \"{}\"; there are: ir, lowered, llvm, asm",
                                              state_->name, s->device.name(), what));
  return text;
}

}  // namespace fluxion::detail
