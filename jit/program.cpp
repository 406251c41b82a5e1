// Programs: one specialisation for each tuple of (device, layouts, shapes), made at the first call with it:
// captured, transformed, compiled as a whole. A call then binds arrays and queues one run.
#include "fluxion/program.h"

#include <fmt/format.h>

#include <mutex>

#include "fluxion/ad.h"
#include "fluxion/buffer_plan.h"
#include "fluxion/error.h"
#include "fluxion/pipeline.h"
#include "fluxion/rewrite.h"
#include "program_trace.h"

namespace fluxion::detail {
namespace {

struct Step {
  ProgramHandle::Transform transform;
  std::vector<int> wrt;  // positions of the arguments at this step
};

struct Specialisation {
  std::string key;
  Device device;
  CapturedProgram program;
  std::shared_ptr<const Function> function;
  std::vector<Type> results;
  std::shared_ptr<Executable> code;
  double cost = 0;
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
      for (int axis = 0; axis < f.callees[op.ref]->domain_rank; ++axis) points *= f.is_constant(op.operands[axis]) ? number(axis) : kUnknown;
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

struct ProgramHandle::State {
  std::string name;
  std::vector<ProgramParameter> parameters;  // of the lambda
  Body body;
  Loc at;
  std::vector<Step> steps;
  CompileOptions options;
  bool race = false;                         // runs in the evaluator
  std::mutex mutex;  // held while specialising
  std::vector<std::shared_ptr<Specialisation>> specialisations;

  std::shared_ptr<Specialisation> specialise(std::span<const Argument> arguments, Loc at, bool compile);
  void transform(Specialisation& s, const Step& step) const;
};

ProgramHandle::ProgramHandle(std::string name, std::vector<ProgramParameter> parameters, Body body, Loc at)
    : state_(std::make_shared<State>()) {
  state_->name = std::move(name);
  state_->parameters = std::move(parameters);
  state_->body = std::move(body);
  state_->at = at;
  const DebugFlags debug = debug_flags();
  state_->options.bounds = debug.bounds;
  state_->options.nan = debug.nan;
  state_->race = debug.race;
}

namespace {
template <class S> std::shared_ptr<S> copy_of(const S& s) {
  auto out = std::make_shared<S>();
  out->name = s.name;
  out->parameters = s.parameters;
  out->body = s.body;
  out->at = s.at;
  out->steps = s.steps;
  out->options = s.options;
  out->race = s.race;
  return out;
}
}  // namespace

ProgramHandle::State& ProgramHandle::made(Loc at) const {
  if (!state_) throw KernelError(at, "an empty program is used; make it with fluxion::program");
  return *state_;
}
ProgramHandle ProgramHandle::transformed(Transform t, std::vector<int> wrt) const {
  ProgramHandle out;
  out.state_ = copy_of(made({}));
  out.state_->steps.push_back({t, std::move(wrt)});
  return out;
}
ProgramHandle ProgramHandle::with(const CompileOptions& options) const {
  ProgramHandle out;
  out.state_ = copy_of(made({}));
  out.state_->options = options;
  return out;
}

void ProgramHandle::State::transform(Specialisation& s, const Step& step) const {
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
        throw KernelError(at, fmt::format("{} of program \"{}\", which writes the array \"{}\" outside of it; work on a copy and return that", what,
                                          name, f.parameters[p].name));
  };
  switch (step.transform) {
    case Transform::value_and_grad:
      f = fluxion::value_and_grad(f, wrt);
      break;
    case Transform::vjp: {
      refuse_written("vjp", false);
      const std::size_t primals = sources.size();
      const Function g = fluxion::vjp(f, wrt);
      std::size_t first = g.parameters.size() - wrt.size();
      for (std::size_t p = primals; p < first; ++p) sources.push_back({ProgramSource::Kind::argument, arguments++});
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
  }
  if (f.parameters.size() != sources.size()) throw Bug(at, "a transformed program has other parameters than expected\n" + print(f));
  f = run_passes(prune_launches(f), capture_pipeline());
}

std::shared_ptr<Specialisation> ProgramHandle::State::specialise(std::span<const Argument> arguments, Loc call, bool compile) {
  Device device;
  std::string key;
  for (std::size_t k = 0; k < arguments.size(); ++k) {
    // The first ones are the lambda's; transforms append others.
    if (k < parameters.size() && parameters[k].rank == 0) continue;
    const ArrayState* a = arguments[k].array.get();
    if (!a) {
      if (k >= parameters.size()) continue;
      throw ShapeError(call, fmt::format("program \"{}\": argument {} is an empty buffer", name, k + 1));
    }
    if (!device) device = a->device;
    if (a->device != device)
      throw DeviceError(call, fmt::format("program \"{}\": argument {} is on {}, another one on {}", name, k + 1, a->device.name(), device.name()));
    key += fmt::format("{}:{},{},{};", a->element.index, a->extent[0], a->extent[1], a->extent[2]);
  }
  key += device ? device.name() : "";
  std::lock_guard lock(mutex);
  for (const auto& s : specialisations)
    if (s->key == key && (s->code || !compile)) return s;
  auto s = std::make_shared<Specialisation>();
  s->key = key;
  s->program = capture_program(name, parameters, body, arguments, device, at);
  s->device = device ? device : s->program.captured.empty() ? Device::best() : s->program.captured[0]->device;
  s->program.function = run_passes(s->program.function, capture_pipeline());
  for (const Step& step : steps) transform(*s, step);
  const Function& f = s->program.function;
  const Values& end = f.terminator(f.body).operands;
  std::size_t versions = 0;
  for (const Parameter& p : f.parameters) versions += p.kind == Parameter::Kind::array && p.role != Role::in;
  for (std::size_t k = versions; k < end.size(); ++k) s->results.push_back(f.type(end[k]));
  s->function = std::make_shared<const Function>(f);
  s->cost = launch_cost(f, f.body);
  if (compile) {
    s->code = fluxion::detail::specialise(f, options, race ? Device::reference() : s->device);
    specialisations.push_back(s);
  }
  return s;
}

std::vector<Array> ProgramHandle::call(std::span<const Argument> arguments, Loc at) const {
  const State& program = made(at);
  if (recording())
    throw KernelError(at, fmt::format("program \"{}\" is called while \"{}\" is captured, which would run it once, now", program.name, recorded().name));
  const auto s = state_->specialise(arguments, at, true);
  const Function& f = *s->function;
  Work work;
  work.code = s->code;
  work.function = s->function;
  work.cost = s->cost;
  work.nan = state_->options.nan;
  std::vector<std::pair<const Storage*, std::size_t>> used;  // and the parameter
  for (std::size_t p = 0; p < f.parameters.size(); ++p) {
    const Parameter& q = f.parameters[p];
    const ProgramSource& source = s->program.sources[p];
    if (q.kind == Parameter::Kind::scalar) {
      if (source.kind == ProgramSource::Kind::zeros) work.scalars.push_back(0);
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
        throw KernelError(at, fmt::format("program \"{}\" gets one array as \"{}\" and as \"{}\" and writes to it; pass a copy", state_->name,
                                          f.parameters[k].name, q.name));
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
  enqueue(s->device, std::move(work));
  return results;
}

std::vector<ProgramValue> ProgramHandle::inlined(std::span<const Argument> arguments, Loc at) const {
  if (!made(at).steps.empty()) return embedded(arguments, at);
  std::vector<ProgramValue> values;
  for (std::size_t k = 0; k < arguments.size(); ++k) {
    const Argument& a = arguments[k];
    const bool scalar = state_->parameters[k].rank == 0;
    values.push_back({a.array, !scalar || a.traced != ~0u ? a.traced : constant(state_->parameters[k].element.scalar(), a.bits, at)});
  }
  std::vector<ProgramValue> out = state_->body(values);
  for (ProgramValue& v : out)
    if (!v.array) v = {tracer()->hold(v.scalar, at), ~0u};
  return out;
}

// A derivative, made for these shapes, as part of the program under capture.
std::vector<ProgramValue> ProgramHandle::embedded(std::span<const Argument> arguments, Loc at) const {
  const auto s = state_->specialise(arguments, at, false);
  std::vector<Argument> list;
  for (const ProgramSource& source : s->program.sources) {
    Argument a;
    if (source.kind == ProgramSource::Kind::argument) a = arguments[static_cast<std::size_t>(source.index)];
    if (source.kind == ProgramSource::Kind::captured) a.array = s->program.captured[static_cast<std::size_t>(source.index)];
    list.push_back(std::move(a));
  }
  std::vector<ProgramValue> out;
  for (auto& array : tracer()->embed(*s->function, list, at)) out.push_back({std::move(array), ~0u});
  return out;
}

std::string ProgramHandle::dump(std::string_view what, std::span<const Argument> arguments) const {
  const auto s = made({}).specialise(arguments, {}, what != "ir" && what != "lowered");
  if (what == "ir") return print(*s->function);
  if (what == "lowered") return print(lower(*s->function, s->device.state().backend->name()));
  const std::string text = s->code->dump(what);
  if (text.empty())
    throw KernelError(state_->at, fmt::format("program \"{}\": device {} has no dump of \"{}\"; there are: ir, lowered, llvm, asm", state_->name,
                                              s->device.name(), what));
  return text;
}

}  // namespace fluxion::detail
