// The untyped launch: checks of shapes, devices and aliases, the domain, then the queue.
#include "fluxion/kernel_handle.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <limits>
#include <map>

#include "alias.h"
#include "export.h"
#include "fluxion/ad.h"
#include "fluxion/batch.h"
#include "fluxion/buffer.h"
#include "fluxion/cancel.h"
#include "fluxion/evaluate.h"
#include "fluxion/host_arrays.h"
#include "fluxion/pipeline.h"
#include "fluxion/recorder.h"
#include "reach.h"
#include "runtime.h"
#include "same_shape.h"

namespace fluxion::detail {
namespace {

// The code of one kernel for one device and set of options.
struct Variant {
  const DeviceState* device;
  CompileOptions options;
  Merges merges;
  std::shared_ptr<const Function> function;
  std::shared_ptr<Executable> code;  // null until asked for
  double cost;                       // of one point
};

struct Variants {
  std::mutex mutex;
  std::vector<std::shared_ptr<Variant>> list;
  std::map<std::vector<int>, KernelHandle> adjoints;
  KernelHandle tangent;
  std::map<int, KernelHandle> tangents;  // by how many at once
  std::vector<KernelHandle> before;      // Function::before
};

// Where the parameter that gives `k` its domain is found in vjp(k), which has the same domain; -2: nowhere.
int domain_parameter_of_vjp(const Function& f, int domain_parameter) {
  if (domain_parameter < 0) return -2;
  int primals = 0, position = -2, cotangents = 0;
  for (std::size_t p = 0; p < f.parameters.size(); ++p) {
    const Parameter& q = f.parameters[p];
    const bool memory = q.kind == Parameter::Kind::memory, here = static_cast<int>(p) == domain_parameter;
    const bool written_only = memory && (q.role == Role::out || q.role == Role::accum);
    if (here && !written_only) return primals;
    if (!written_only) ++primals;
    if (!memory || q.role == Role::in || !has_float(Type::array(f[q.memory].element, {}))) continue;
    if (here) position = cotangents;
    ++cotangents;
  }
  return position < 0 ? position : primals + position;
}

std::string shape(const std::array<std::int64_t, 3>& extent, int rank) {
  return fmt::format("[{}]", fmt::join(extent.begin(), extent.begin() + rank, ", "));
}

// Scratch comes last and is not passed.
std::size_t passed_parameters(const Function& f) {
  std::size_t n = f.parameters.size();
  while (n > 0 && f.parameters[n - 1].kind == Parameter::Kind::memory && f[f.parameters[n - 1].memory].scratch) --n;
  return n;
}

// The arrays and scalars of a run: those passed, then fresh scratch in the shape of what it is like. `before`: the work arrays.
void fill_work(Work& work, const Function& f, std::span<const Argument> arguments, const Device& device, const std::vector<Array>& before) {
  work.arrays.reserve(f.parameters.size());
  work.keep.reserve(f.parameters.size());
  std::vector<std::size_t> slot(arguments.size());  // of a parameter in work.arrays
  for (std::size_t p = 0; p < arguments.size(); ++p) {
    const Argument& a = arguments[p];
    if (!a.array) {
      work.scalars.push_back(a.bits);
      continue;
    }
    const auto& storage = storage_of(*a.array);
    slot[p] = work.arrays.size();
    work.arrays.push_back({storage->data, a.array->extent});
    work.keep.push_back(storage);
  }
  for (std::size_t p = arguments.size(); p < f.parameters.size(); ++p) {
    const Memory& m = f[f.parameters[p].memory];
    if (m.work >= 0) {
      const ArrayState& a = before[static_cast<std::size_t>(m.work)].state();
      const auto& storage = storage_of(a);
      work.arrays.push_back({storage->data, a.extent});
      work.keep.push_back(storage);
      continue;
    }
    const ArrayArgument like = work.arrays[slot[static_cast<std::size_t>(m.like)]];
    const std::size_t bytes = static_cast<std::size_t>(like.extent[0] * like.extent[1] * like.extent[2]) * layout_of(m.element).size;
    auto storage = allocate(device, bytes, false);
    if (f.parameters[p].role == Role::inout) work.copies.push_back({storage->data, m.zeros ? nullptr : like.data, bytes});
    work.arrays.push_back({storage->data, like.extent});
    work.keep.push_back(std::move(storage));
  }
}

}  // namespace

namespace {

// Scratch that ends in another array: added to it when the run is done.
struct Addition {
  Array to, scratch;
};
std::vector<Addition> additions(const Work& work, const Function& f, std::span<const Argument> arguments) {
  std::vector<Addition> out;
  std::size_t slot = 0;
  for (const Parameter& p : f.parameters) {
    if (p.kind != Parameter::Kind::memory) continue;
    const std::size_t here = slot++;
    const Memory& m = f[p.memory];
    if (!m.scratch || m.into < 0) continue;
    const auto& target = arguments[static_cast<std::size_t>(m.into)].array;
    auto state = std::make_shared<ArrayState>(*target);
    state->storage = work.keep[here];
    out.push_back({Array(target), Array(std::move(state))});
  }
  return out;
}
void add_all(const std::vector<Addition>& list, Loc at) {
  for (const Addition& a : list) combine_into(Opcode::add, a.to, a.scratch, at);
}

}  // namespace

struct KernelHandle::State {
  std::shared_ptr<const Function> function;
  int domain_parameter = -1;
  std::vector<int> leading;  // parameters whose first extent is that of the domain
  std::vector<Like> likes;   // parameters that have the shape of others
  std::vector<Reach> reach;  // what of the arrays all launches touch
  CompileOptions options;
  bool eager = false;
  std::shared_ptr<Variants> variants = std::make_shared<Variants>();

  std::shared_ptr<Variant> variant(const Device* device, const CompileOptions& o, const Merges& merges) const;
  /// Launches what runs before (Before in ir.h), and gives the work arrays.
  std::vector<Array> run_before(const KernelHandle& self, std::array<std::int64_t, 3> domain, std::span<const Argument> arguments,
                                const Device& device, Loc at) const;
};

std::vector<Array> KernelHandle::State::run_before(const KernelHandle& self, std::array<std::int64_t, 3> domain,
                                                   std::span<const Argument> arguments, const Device& device, Loc at) const {
  const Before& before = function->before;
  std::vector<Array> works;
  for (const Before::Array& a : before.arrays) {
    const ArrayState& like = *arguments[static_cast<std::size_t>(a.like)].array;
    works.push_back(Array::make(device, a.element, {like.extent.data(), static_cast<std::size_t>(like.rank)}, Array::Fill::zeros, at));
  }
  if (before.stages.empty()) return works;
  std::vector<KernelHandle> kernels;
  {
    std::lock_guard lock(variants->mutex);
    if (variants->before.empty())
      for (const Before::Stage& s : before.stages) variants->before.push_back(KernelHandle(s.kernel, -2, derived_pipeline()));
    kernels = variants->before;
  }
  for (std::size_t k = 0; k < kernels.size(); ++k) {
    std::vector<Argument> list;
    for (const int a : before.stages[k].arguments) {
      if (a >= 0) list.push_back(arguments[static_cast<std::size_t>(a)]);
      else list.push_back({works[static_cast<std::size_t>(-1 - a)].shared()});
    }
    kernels[k].with_options_of(self).launch(domain, std::max(1, function->domain_rank), list, at);
  }
  return works;
}

std::shared_ptr<Variant> KernelHandle::State::variant(const Device* device, const CompileOptions& o, const Merges& merges) const {
  const DeviceState* where = device ? &device->state() : nullptr;
  {
    std::lock_guard lock(variants->mutex);
    for (const auto& v : variants->list)
      if (v->device == where && v->options == o && v->merges == merges) return v;
  }
  auto v = std::make_shared<Variant>(Variant{where, o, merges, function, nullptr, 0});
  if (!merges.empty()) v->function = std::make_shared<const Function>(run_passes(merge_parameters(*function, merges), derived_pipeline()));
  if (device) v->code = specialise(*v->function, o, *device);
  v->cost = estimate_cost(*v->function);
  std::lock_guard lock(variants->mutex);
  variants->list.push_back(v);
  return v;
}

KernelHandle::KernelHandle(std::shared_ptr<const Function> f) : KernelHandle(std::move(f), -1, capture_pipeline()) {}

KernelHandle::KernelHandle(std::shared_ptr<const Function> f, int domain_parameter, std::span<const Pass> passes)
    : state_(std::make_shared<State>()) {
  state_->function = std::make_shared<const Function>(run_passes(*f, passes));
  state_->reach = reach_of(*state_->function);
  const DebugFlags debug = debug_flags();
  state_->options.bounds = debug.bounds;
  state_->options.nan = debug.nan;
  state_->options.inf = debug.inf;
  state_->options.race = debug.race;
  state_->options.interrupt = debug.interrupt;
  if (domain_parameter == -1) {
    const auto& parameters = f->parameters;
    for (std::size_t p = 0; p < passed_parameters(*f) && domain_parameter < 0; ++p)
      if (parameters[p].kind == Parameter::Kind::memory && (*f)[parameters[p].memory].rank == std::max(1, f->domain_rank))
        domain_parameter = static_cast<int>(p);
  }
  state_->domain_parameter = domain_parameter;
}

const std::shared_ptr<const Function>& KernelHandle::function() const {
  if (!state_) throw KernelError({}, "an empty kernel is used; make it with fluxion::kernel");
  return state_->function;
}

KernelHandle KernelHandle::copy() const {
  function();
  KernelHandle k;
  k.state_ = std::make_shared<State>(*state_);
  return k;
}
KernelHandle KernelHandle::eager() const {
  KernelHandle k = copy();
  k.state_->eager = true;
  return k;
}
KernelHandle KernelHandle::relaxed() const {
  KernelHandle k = copy();
  k.state_->options.relaxed = true;
  return k;
}
KernelHandle KernelHandle::fast() const {
  KernelHandle k = copy();
  k.state_->options.fast = true;
  return k;
}
KernelHandle KernelHandle::with(const CompileOptions& options) const {
  KernelHandle k = copy();
  k.state_->options = options;
  return k;
}

KernelHandle KernelHandle::vjp(const std::vector<int>& wrt) const {
  const Function& f = *function();
  std::lock_guard lock(state_->variants->mutex);
  auto it = state_->variants->adjoints.find(wrt);
  if (it == state_->variants->adjoints.end()) {
    const int domain = domain_parameter_of_vjp(f, state_->domain_parameter);
    it = state_->variants->adjoints
             .emplace(wrt, KernelHandle(std::make_shared<const Function>(fluxion::vjp(f, wrt)), domain, derived_pipeline()))
             .first;
    it->second.state_->likes = likes_of_vjp(f, state_->likes, wrt, passed_parameters(f));
  }
  return it->second.with_options_of(*this);
}

KernelHandle KernelHandle::jvp() const {
  const Function& f = *function();
  std::lock_guard lock(state_->variants->mutex);
  KernelHandle& tangent = state_->variants->tangent;
  if (!tangent.state_) {
    tangent = KernelHandle(std::make_shared<const Function>(fluxion::jvp(f)), state_->domain_parameter < 0 ? -2 : state_->domain_parameter,
                           derived_pipeline());
    tangent.state_->likes = likes_of_jvp(f, state_->likes, 0, passed_parameters(f));
  }
  return tangent.with_options_of(*this);
}

KernelHandle KernelHandle::jvp(int n) const {
  const Function& f = *function();
  std::lock_guard lock(state_->variants->mutex);
  KernelHandle& tangent = state_->variants->tangents[n];
  if (!tangent.state_) {
    tangent = KernelHandle(std::make_shared<const Function>(fluxion::jvp(f, n)),
                           state_->domain_parameter < 0 ? -2 : state_->domain_parameter, derived_pipeline());
    tangent.state_->likes = likes_of_jvp(f, state_->likes, n, passed_parameters(f));
  }
  return tangent.with_options_of(*this);
}

KernelHandle KernelHandle::batched(const std::vector<BatchAxis>& axes, const std::vector<BatchedScalars>& scalars) const {
  const Function& f = *function();
  std::vector<BatchAxis> all = axes;
  for (std::size_t p = axes.size(); p < f.parameters.size(); ++p)
    all.push_back(all[static_cast<std::size_t>(f[f.parameters[p].memory].like)]);  // scratch
  auto g = std::make_shared<const Function>(batched_kernel(f, all, scalars));
  std::vector<Like> likes = g->parameters.size() == f.parameters.size() ? state_->likes : std::vector<Like>();
  for (std::size_t p = 0; p < likes.size(); ++p)
    if (likes[p].parameter >= 0 && (likes[p].tangents || axes[p] != axes[static_cast<std::size_t>(likes[p].parameter)])) likes[p] = {};
  std::vector<int> leading;
  int domain = -2, position = 0;
  for (std::size_t p = 0; p < axes.size(); ++p, ++position) {
    if (axes[p] == BatchAxis::leading) leading.push_back(position);
    if (static_cast<int>(p) == state_->domain_parameter && axes[p] == BatchAxis::leading) domain = position;
    if (axes[p] == BatchAxis::leading && f.parameters[p].kind == Parameter::Kind::scalar)
      p += static_cast<std::size_t>(scalars[p].count) - 1;
  }
  KernelHandle k(std::move(g), domain, derived_pipeline());
  k.state_->leading = std::move(leading);
  k.state_->likes = std::move(likes);
  return k.with_options_of(*this);
}

KernelHandle KernelHandle::same_leading() const {
  KernelHandle k = copy();
  const Function& f = *function();
  for (std::size_t p = 0; p < passed_parameters(f); ++p)
    if (f.parameters[p].kind == Parameter::Kind::memory) k.state_->leading.push_back(static_cast<int>(p));
  return k;
}

KernelHandle KernelHandle::with_options_of(const KernelHandle& other) const {
  KernelHandle k = copy();
  k.state_->options = other.state_->options;
  k.state_->eager = other.state_->eager;
  return k;
}

KernelFacts KernelHandle::facts() const {
  function();
  return {state_->options, state_->likes, state_->reach, state_->domain_parameter};
}

std::string KernelHandle::ir() const { return print(*function()); }

std::string KernelHandle::dump(std::string_view what, const Device& device) const {
  const Function& f = *function();
  if (what == "ir") return ir();
  if (what == "lowered") return print(lower(f, device.state().backend->name()));
  std::string text = state_->variant(&device, state_->options, {})->code->dump(what);
  if (text.empty())
    throw KernelError(f.loc, fmt::format("kernel \"{}\": device {} has no dump of \"{}\"; there are: ir, lowered, llvm, asm", f.name,
                                         device.name(), what));
  return text;
}

std::array<std::int64_t, 3> KernelHandle::domain(std::array<std::int64_t, 3> domain, int rank, std::span<const Argument> arguments,
                                                 Loc at) const {
  const Function& f = *function();
  const auto fail = [&](const std::string& text) { throw ShapeError(at, fmt::format("kernel \"{}\": {}", f.name, text)); };
  const int wanted = std::max(1, f.domain_rank);
  if (rank == 0) {
    if (state_->domain_parameter < 0)
      fail(fmt::format("no parameter has {} axes to take the launch domain from; write .over({})", wanted,
                       wanted == 1   ? "n"
                       : wanted == 2 ? "n, m"
                                     : "n, m, k"));
    domain = arguments[static_cast<std::size_t>(state_->domain_parameter)].array->extent;  // never scratch: those come last
  } else if (rank != wanted) {
    fail(fmt::format("launched over {} axes, but it is written for {}", rank, wanted));
  }
  for (int k = 0; k < wanted; ++k) {
    const std::int64_t n = domain[static_cast<std::size_t>(k)];
    if (n < 0 || n > std::numeric_limits<std::int32_t>::max())
      fail(fmt::format("axis {} of the launch domain is {}; it must be within 0 .. 2^31 - 1", k, n));
    if (const int g = f.group[static_cast<std::size_t>(k)]; g > 0 && n % g)
      fail(
          fmt::format("axis {} of the launch domain is {}, which groups of {} threads do not divide; launch over {} and skip the rest "
                      "with fx::if_(i < n, ...), the barriers outside of it",
                      k, n, g, (n + g - 1) / g * g));
  }
  std::int64_t points = domain[0] * domain[1];
  if (__builtin_mul_overflow(points, domain[2], &points))
    fail(fmt::format("{} x {} x {} points are more than 2^63 - 1; launch it over parts", domain[0], domain[1], domain[2]));
  return domain;
}

void KernelHandle::launch(std::array<std::int64_t, 3> domain, int rank, std::span<const Argument> arguments, Loc at) const {
  const Function& f = *function();
  const auto fail = [&]<class E>(E*, const std::string& text) { throw E(at, fmt::format("kernel \"{}\": {}", f.name, text)); };
  constexpr ShapeError* kShape = nullptr;
  constexpr KernelError* kKernel = nullptr;
  constexpr DeviceError* kDevice = nullptr;
  if (recording() && recording_kind() != Function::Kind::program)
    fail(kKernel,
         fmt::format("it is launched while \"{}\" is captured, which would run it once, now; launch it from a program, or make what "
                     "they share an fx::fn",
                     recorded().name));
  const std::size_t passed = passed_parameters(f);
  if (arguments.size() != passed) fail(kKernel, fmt::format("{} arguments for {} parameters", arguments.size(), passed));

  // ---- each argument against its parameter, and all on one device
  const Device* device = nullptr;
  std::size_t device_of = 0;
  for (std::size_t p = 0; p < arguments.size(); ++p) {
    const Parameter& parameter = f.parameters[p];
    if (parameter.kind != Parameter::Kind::memory) continue;
    const Memory& m = f[parameter.memory];
    const ArrayState* a = arguments[p].array.get();
    if (!a) {
      fail(kShape,
           fmt::format("argument {} (\"{}\") is an empty array; make it with Device::zeros, empty or upload", p + 1, parameter.name));
      return;
    }
    if (a->element != m.element || a->rank != m.rank)
      fail(kShape, fmt::format("argument {} (\"{}\") has {} axes of {}, the kernel wants {} of {}", p + 1, parameter.name, a->rank,
                               to_string(a->element), static_cast<int>(m.rank), to_string(m.element)));
    if (device && a->device != *device)
      fail(kDevice, fmt::format("\"{}\" is on device {} and \"{}\" on {}; copy one with copy_from", f.parameters[device_of].name,
                                device->name(), parameter.name, a->device.name()));
    if (!device) device_of = p;
    device = &a->device;
  }

  for (std::size_t p = 0; p < state_->likes.size() && p < passed; ++p) {
    const Like& like = state_->likes[p];
    if (like.parameter < 0) continue;
    const ArrayState &a = *arguments[p].array, &b = *arguments[static_cast<std::size_t>(like.parameter)].array;
    std::array<std::int64_t, 3> wanted = b.extent;
    if (like.tangents) wanted = {like.tangents, b.extent[0], b.extent[1]};
    if (a.extent != wanted)
      fail(kShape,
           fmt::format("argument {} (\"{}\") is {}, and must be {}, as \"{}\" is {}", p + 1, f.parameters[p].name, shape(a.extent, a.rank),
                       shape(wanted, a.rank), f.parameters[static_cast<std::size_t>(like.parameter)].name, shape(b.extent, b.rank)));
  }

  domain = this->domain(domain, rank, arguments, at);
  for (const int p : state_->leading)
    if (const std::int64_t n = arguments[static_cast<std::size_t>(p)].array->extent[0]; n != domain[0])
      fail(kShape, fmt::format("the batch is {}, but argument {} (\"{}\") has {} along its first axis", domain[0], p + 1,
                               f.parameters[static_cast<std::size_t>(p)].name, n));

  // With bounds checked, whoever runs it tells the thread and all indices.
  if (domain[0] > 0 && domain[1] > 0 && domain[2] > 0 && !state_->options.bounds && !state_->options.race)
    for (const Reach& r : state_->reach) {
      const auto p = static_cast<std::size_t>(r.parameter);
      if (p >= arguments.size()) continue;
      if (const std::string text = misses(r, domain, arguments[p].array->extent); !text.empty()) fail(kShape, text);
    }

  // ---- several parameters on one array
  Merges merges;
  std::vector<Argument> merged;
  try {
    merges = find_merges(f, arguments);
  } catch (const KernelError& e) { fail(kKernel, e.what()); }
  if (!merges.empty()) {
    if (tracer() && f.rules != Rules{})
      fail(kKernel, "two of its parameters are the same array, which its rules know nothing of; pass a copy");
    for (std::size_t p = 0; p < arguments.size(); ++p)
      if (merges[p] < 0) merged.push_back(arguments[p]);
    arguments = merged;
  }

  if (Tracer* t = tracer()) {
    return t->launch(merges.empty() ? state_->function : state_->variant(nullptr, state_->options, merges)->function, domain, arguments,
                     at);
  }
  const std::int64_t points = domain[0] * domain[1] * domain[2];
  if (points == 0) return;
  const Device fallback = device ? Device() : Device::best();
  if (!device) device = &fallback;
  const std::vector<Array> before = state_->run_before(*this, domain, arguments, *device, at);

  if (state_->eager) {
    const auto v = state_->variant(nullptr, state_->options, merges);
    device->wait();
    Work work;
    fill_work(work, *v->function, arguments, *device, before);
    Backend& backend = *device->state().backend;
    for (const Work::Copy& c : work.copies) c.make(backend);
    HostArrays on_host(*v->function, backend, work.arrays);
    std::vector<EvalMemory> memories;
    for (const ArrayArgument& a : on_host.arrays()) memories.push_back({static_cast<std::byte*>(a.data), a.extent});
    EvalOptions evaluate;
    evaluate.print = [](std::string_view line) { print_line(line); };
    evaluate.nan = state_->options.nan || state_->options.inf;
    evaluate.inf = state_->options.inf;
    const auto after = additions(work, *v->function, arguments);
    meeting_requests([&] { evaluate_kernel(*v->function, domain, memories, work.scalars, evaluate); });
    on_host.give_back();
    return add_all(after, at);
  }

  const auto v = state_->variant(device, state_->options, merges);
  Work work;
  work.code = v->code;
  work.function = v->function;
  work.domain = domain;
  fill_work(work, *v->function, arguments, *device, before);
  work.cost = v->cost * static_cast<double>(points);
  const auto after = additions(work, *v->function, arguments);
  enqueue(*device, std::move(work), at);
  add_all(after, at);
}

}  // namespace fluxion::detail
