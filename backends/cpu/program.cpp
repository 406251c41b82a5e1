// Programs in memory form: compiled with their kernels into one object, and run on a workspace that the
// executable keeps, since a tape of some hundred megabytes costs more in page faults than in work. Runs at the
// same time have a workspace each.
#include "program.h"

#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstring>
#include <mutex>
#include <utility>

#include "common/atomics.h"
#include "common/nan_check.h"
#include "fluxion/evaluate.h"
#include "fluxion/gather_sums.h"
#include "fluxion/passes.h"
#include "orc.h"
#include "program_emit.h"
#include "program_state.h"

namespace fluxion::cpu {
namespace {

constexpr std::size_t kAlign = 64, kPage = 4096, kHuge = std::size_t{2} << 20;

std::size_t array_bytes(const Memory& m) {
  return static_cast<std::size_t>(m.shape[0] * m.shape[1] * m.shape[2]) * layout_of(m.element).size;
}

std::size_t physical_memory() {
  return static_cast<std::size_t>(sysconf(_SC_PHYS_PAGES)) * static_cast<std::size_t>(sysconf(_SC_PAGE_SIZE));
}

/// Pages from the system that can grow without being copied.
class Pages {
 public:
  Pages() = default;
  Pages(Pages&& o) noexcept
      : data_(std::exchange(o.data_, nullptr)), bytes_(std::exchange(o.bytes_, 0)), mapped_(std::exchange(o.mapped_, 0)) {}
  ~Pages() {
    if (data_) munmap(data_, mapped_);
  }
  std::byte* data() const { return static_cast<std::byte*>(data_); }
  std::size_t bytes() const { return bytes_; }
  bool grow(std::size_t bytes) {
    if (bytes <= bytes_) return true;
    // Some hundred kilobytes in small pages may lie so that they meet in the level-2 cache, which then holds half of them.
    const bool huge = bytes >= kHuge / 8;
    bytes = (bytes + kPage - 1) / kPage * kPage;
    const std::size_t mapped = huge ? (bytes + kHuge - 1) / kHuge * kHuge : bytes;
    if (mapped > mapped_) {
      void* p = data_ ? mremap(data_, mapped_, mapped, MREMAP_MAYMOVE) : map(mapped, huge);
      if (p == MAP_FAILED) return false;
      if (huge) madvise(p, mapped, MADV_HUGEPAGE);
      data_ = p;
      mapped_ = mapped;
    }
    bytes_ = bytes;
    return true;
  }

 private:
  static void* map(std::size_t bytes, bool huge) {
    const auto pages = [](std::size_t n) { return mmap(nullptr, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0); };
    if (!huge) return pages(bytes);
    void* all = pages(bytes + kHuge);
    if (all == MAP_FAILED) return all;
    auto* begin = static_cast<std::byte*>(all);
    const std::size_t before = (kHuge - reinterpret_cast<std::uintptr_t>(begin) % kHuge) % kHuge;
    if (before) munmap(begin, before);
    if (before < kHuge) munmap(begin + before + bytes, kHuge - before);
    return begin + before;
  }

  void* data_ = nullptr;
  std::size_t bytes_ = 0, mapped_ = 0;
};

struct Workspace {
  Pages fixed;                      // the buffers that are no stacks
  std::vector<Pages> stacks;        // by memory
  std::vector<KernelArray> arrays;  // by memory
  std::vector<std::int64_t> counts;
  std::vector<std::int64_t> most;  // records in use at once in this run, by memory
  std::size_t total = 0;           // bytes of the stacks

  /// Bytes that have been in use; what is mapped beyond that has never been touched.
  std::int64_t used(const std::vector<std::size_t>& bytes) const {
    std::int64_t sum = static_cast<std::int64_t>(fixed.bytes());
    for (std::size_t m = 0; m < most.size(); ++m) sum += most[m] * static_cast<std::int64_t>(bytes[m]);
    return sum;
  }
};

std::unique_ptr<Workspace> make_workspace(const Function& f) {
  auto w = std::make_unique<Workspace>();
  w->stacks.resize(f.memories.size());
  w->arrays.resize(f.memories.size());
  w->counts.resize(f.memories.size());
  w->most.resize(f.memories.size());
  std::size_t bytes = 0;
  std::vector<std::size_t> offset(f.memories.size());
  for (std::size_t m = 0; m < f.memories.size(); ++m) {
    for (int axis = 0; axis < 3; ++axis) w->arrays[m].extent[axis] = f.memories[m].shape[static_cast<std::size_t>(axis)];
    if (f.memories[m].space != Memory::Space::buffer || f.memories[m].records) continue;
    offset[m] = bytes;
    bytes += (array_bytes(f.memories[m]) + kAlign - 1) / kAlign * kAlign;
  }
  if (bytes > physical_memory() || !w->fixed.grow(bytes))
    throw DeviceError(f.loc,
                      fmt::format("program \"{}\" works on {} MB of its own arrays, more than this machine has", f.name, bytes >> 20));
  for (std::size_t m = 0; m < f.memories.size(); ++m)
    if (f.memories[m].space == Memory::Space::buffer && !f.memories[m].records) w->arrays[m].data = w->fixed.data() + offset[m];
  return w;
}

class ProgramExecutable final : public Executable {
 public:
  ProgramExecutable(const Function& f, const CompileOptions& options, std::string object)
      : f_(f), options_(options), object_(std::move(object)), sites_(program_sites(f)), linked_(link_object(object_)) {
    for (const auto& callee : f_.callees)
      plans_.push_back(callee->kind == Function::Kind::fn || callee->external
                           ? KernelPlan{}
                           : make_plan(*callee, options, choose_width(*callee, options)));
    for (const KernelPlan& plan : plans_) plan_pointers_.push_back(&plan);
    for (std::size_t m = 0; m < f_.memories.size(); ++m) bytes_.push_back(array_bytes(f_.memories[m]));
    code_ = reinterpret_cast<ProgramFn>(linked_->symbol("program"));
  }

  void run(const Launch& launch, FailureSlot& failure) override {
    std::unique_ptr<Workspace> w;
    {
      std::lock_guard lock(mutex_);
      if (!idle_.empty()) w = std::move(idle_.back()), idle_.pop_back();
    }
    try {
      if (!w) w = make_workspace(f_);
    } catch (const DeviceError& e) { return failure.set(FailureSlot::Kind::device, {}, e.what()); }
    std::fill(w->most.begin(), w->most.end(), 0);
    std::size_t array = 0;
    for (const Parameter& p : f_.parameters) {
      if (p.kind != Parameter::Kind::memory) continue;
      if (array >= launch.arrays.size() || launch.arrays[array].extent != f_[p.memory].shape)
        return failure.set(FailureSlot::Kind::shape, f_.loc,
                           fmt::format("program \"{}\": \"{}\" has another shape than it was compiled for", f_.name, p.name));
      w->arrays[p.memory.index].data = launch.arrays[array++].data;
    }
    ProgramState state;
    state.arrays = w->arrays.data();
    state.scalars = launch.scalars.data();
    state.counts = w->counts.data();
    state.plans = plan_pointers_.data();
    state.failure = &failure;
    state.sites = &sites_;
    state.workspace = w.get();
    state.owner = this;
    {
      RunScope scope(failure);
      state.context = scope.context();
      code_(&state);
    }
    std::lock_guard lock(mutex_);
    own_ = w->used(bytes_);
    if (holders_ > 0) idle_.push_back(std::move(w));
  }
  std::int64_t peak_bytes() const override {
    std::lock_guard lock(mutex_);
    return own_;
  }
  void hold() override {
    std::lock_guard lock(mutex_);
    ++holders_;
  }
  void release() override {
    std::vector<std::unique_ptr<Workspace>> free;
    std::lock_guard lock(mutex_);
    if (--holders_ == 0) free.swap(idle_);
  }
  std::string object() const override { return object_; }
  std::string dump(std::string_view what) const override;

  const Function& function() const { return f_; }
  const CompileOptions& options() const { return options_; }
  const Function& callee(std::int32_t k) const { return *f_.callees[static_cast<std::size_t>(k)]; }
  std::int32_t push(ProgramState& state, std::int32_t memory, std::int32_t n, std::int32_t site) const {
    auto& w = *static_cast<Workspace*>(state.workspace);
    n = std::max(n, 0);
    const auto m = static_cast<std::size_t>(memory);
    const std::int64_t first = w.counts[m];
    const std::size_t needed = static_cast<std::size_t>(first + n) * bytes_[m];
    Pages& pages = w.stacks[m];
    if (needed > pages.bytes()) {
      // A loop of known length asks once; a while asks each turn and gets twice as much.
      const std::size_t wish = std::max(needed, first > 0 ? 2 * pages.bytes() : 0), before = pages.bytes();
      const std::size_t limit = physical_memory();
      bool grown =
          first + n <= 0x7fffffff && w.total - before + needed <= limit && pages.grow(w.total - before + wish <= limit ? wish : needed);
      if (!grown) {
        state.failure->set(
            FailureSlot::Kind::device, sites_[static_cast<std::size_t>(site)].loc,
            fmt::format("the arrays that program \"{}\" keeps for its loops need over {} MB; this machine has {} MB: run fewer "
                        "steps at a time",
                        f_.name, (w.total - before + needed) >> 20, limit >> 20));
        return -1;
      }
      w.total += pages.bytes() - before;
      w.arrays[m].data = pages.data();
    }
    w.counts[m] = first + n;
    w.most[m] = std::max(w.most[m], w.counts[m]);
    return static_cast<std::int32_t>(first);
  }

 private:
  const Function f_;
  const CompileOptions options_;
  const std::string object_;
  std::vector<Site> sites_;
  std::vector<KernelPlan> plans_;
  std::vector<const KernelPlan*> plan_pointers_;
  std::vector<std::size_t> bytes_;  // of one array, by memory
  std::shared_ptr<Linked> linked_;
  ProgramFn code_ = nullptr;
  mutable std::mutex mutex_;
  std::vector<std::unique_ptr<Workspace>> idle_;
  std::int64_t own_ = 0;
  int holders_ = 0;
};

/// Shapes are known here: a kernel is emitted for large arrays exactly when some run of it has one.
std::vector<char> wide_callees(const Function& f) {
  std::vector<char> wide(f.callees.size());
  for (const Op& op : f.ops)
    if (op.code == Opcode::run)
      for (MemoryId m : op.buffers) wide[op.ref] |= array_bytes(f[m]) > 0x7fffffffu;
  return wide;
}

bool watched(const CompileOptions& options) { return options.nan || options.inf; }

CompiledObject build(const Function& f, const CompileOptions& options, bool texts) {
  const Target& machine = target(options.features);
  return compile_object(machine, texts, [&](llvm::Module& module) {
    const std::vector<char> wide = wide_callees(f);
    std::vector<llvm::Function*> kernels;
    for (std::size_t k = 0; k < f.callees.size(); ++k) {
      if (f.callees[k]->kind == Function::Kind::fn || f.callees[k]->external) {  // emitted by its calls, or nothing to emit
        kernels.push_back(nullptr);
        continue;
      }
      EmitOptions emit = emit_options(options, machine, choose_width(*f.callees[k], options));
      emit.wide = wide[k];
      kernels.push_back(emit_kernel(module, math_lowering(*f.callees[k]), fmt::format("kernel{}", k), emit));
    }
    emit_program(module, f, "program", kernels, {watched(options), options.interrupt});
  });
}

/// Of a watched program the kernels stay as they were written.
Function prepared(const Function& f, const CompileOptions& options) {
  Function g = watched(options) ? f : math_lowering(f);
  for (auto& callee : g.callees)
    if (!options.race && !callee->external) callee = std::make_shared<const Function>(atomic_sums(*callee));
  return reports(options) ? g : gather_sums_of_runs(g);
}

std::string ProgramExecutable::dump(std::string_view what) const {
  if (what == "ir") return print(f_);
  if (what == "llvm") return build(f_, options_, true).llvm;
  if (what == "asm") return build(f_, options_, true).assembly;
  return {};
}

}  // namespace

std::vector<int> number_program_sites(const Function& f) {
  std::vector<int> numbers(f.ops.size(), -1);
  int next = 0;
  const auto walk = [&](const auto& self, RegionId r) -> void {
    for (OpId o : f[r].ops) {
      const Opcode code = f[o].code;
      if (code == Opcode::print || code == Opcode::check || code == Opcode::buffer_alloc || code == Opcode::for_ ||
          code == Opcode::while_ || code == Opcode::run || (code == Opcode::call && f.callees[f[o].ref]->external))
        numbers[o.index] = next++;
      for (RegionId inner : f[o].regions) self(self, inner);
    }
  };
  walk(walk, f.body);
  return numbers;
}

std::vector<Site> program_sites(const Function& f) {
  const std::vector<int> numbers = number_program_sites(f);
  std::vector<Site> sites;
  for (std::size_t o = 0; o < f.ops.size(); ++o) {
    if (numbers[o] < 0) continue;
    const Op& op = f.ops[o];
    if (sites.size() <= static_cast<std::size_t>(numbers[o])) sites.resize(static_cast<std::size_t>(numbers[o]) + 1);
    Site& s = sites[static_cast<std::size_t>(numbers[o])];
    s.code = op.code;
    s.loc = op.loc;
    if (op.code == Opcode::for_ && op.down) s.text = "down";
    if (op.code == Opcode::call) s.external = f.callees[op.ref]->external;
    if (op.code != Opcode::print && op.code != Opcode::check) continue;
    s.text = f.texts[op.ref];
    for (std::size_t k = op.code == Opcode::check; k < op.operands.size(); ++k) s.operands.push_back(f.type(op.operands[k]).dtype());
  }
  return sites;
}

void fluxion_cpu_loop(ProgramState* state, std::int32_t site, std::int32_t what, std::int32_t step) {
  if (what == 0) state->turns.push_back({site, -1});
  else if (what == 2) state->turns.pop_back();
  else if (step < 0) ++state->turns.back().step;
  else state->turns.back().step = step;
}

int fluxion_cpu_watched_launch(ProgramState* state, std::int32_t site, std::int32_t callee, KernelFn kernel, const std::int64_t* domain,
                               const KernelArray* arrays, const std::uint64_t* scalars) {
  const auto& program = *static_cast<const ProgramExecutable*>(state->owner);
  const Function& f = *program.function().callees[static_cast<std::size_t>(callee)];
  std::vector<ArrayArgument> list;
  std::size_t numbers = 0;
  for (const Parameter& p : f.parameters) {
    numbers += p.kind == Parameter::Kind::scalar;
    if (p.kind != Parameter::Kind::memory) continue;
    const KernelArray& a = arrays[list.size()];
    list.push_back({a.data, {a.extent[0], a.extent[1], a.extent[2]}});
  }
  ++state->launches;
  NanCheck check(f, list, program.options().inf);
  if (!launch(state->context, *state->plans[callee], kernel, domain, arrays, scalars)) return 1;
  const Loc at = (*state->sites)[static_cast<std::size_t>(site)].loc;
  std::string place =
      fmt::format("program \"{}\", launch {}{}", program.function().name, state->launches, at ? " at " + to_string(at) : "");
  for (const ProgramState::Turn& t : state->turns) {
    const Site& s = (*state->sites)[static_cast<std::size_t>(t.site)];
    place += fmt::format(", step {} of the loop at {}{}", t.step, to_string(s.loc), s.text.empty() ? "" : " (backwards)");
  }
  return check.passes({domain[0], domain[1], domain[2]}, {scalars, numbers}, *state->failure, place + ": ", at) ? 0 : 1;
}

std::int32_t fluxion_cpu_records(ProgramState* state, std::int32_t memory, std::int32_t n, std::int32_t site) {
  return static_cast<const ProgramExecutable*>(state->owner)->push(*state, memory, n, site);
}

std::int32_t fluxion_cpu_program_external(ProgramState* state, std::int32_t site, const std::uint64_t* in, std::uint64_t* out) {
  return call_host((*state->sites)[static_cast<std::size_t>(site)], nullptr, 1, in, out, *state->failure) ? 0 : 1;
}

std::int32_t fluxion_cpu_program_host(ProgramState* state, std::int32_t callee, const KernelArray* arrays, const std::uint64_t* scalars) {
  return launch_host(static_cast<const ProgramExecutable*>(state->owner)->callee(callee), arrays, scalars, *state->failure) ? 0 : 1;
}

void fluxion_cpu_program_cancelled(ProgramState* state, std::int32_t site) {
  const std::string& name = static_cast<const ProgramExecutable*>(state->owner)->function().name;
  state->failure->set(FailureSlot::Kind::cancelled, (*state->sites)[static_cast<std::size_t>(site)].loc,
                      fmt::format("program \"{}\" was cancelled in this loop", name));
}

void fluxion_cpu_program_report(ProgramState* state, std::int32_t site, const std::uint64_t* values) {
  const Site& s = (*state->sites)[static_cast<std::size_t>(site)];
  const std::string text = format_text(s.text, s.operands, {values, s.operands.size()});
  if (s.code == Opcode::print) print_line(text);
  else state->failure->set(FailureSlot::Kind::kernel, s.loc, text);
}

std::shared_ptr<Executable> compile_program(const Function& f, const CompileOptions& options) {
  const Function g = prepared(f, options);
  return std::make_shared<ProgramExecutable>(g, options, build(g, options, false).object);
}

std::shared_ptr<Executable> load_program(const Function& f, const CompileOptions& options, std::string_view object) {
  return std::make_shared<ProgramExecutable>(prepared(f, options), options, std::string(object));
}

}  // namespace fluxion::cpu
