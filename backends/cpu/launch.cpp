// Cutting a launch into chunks, private copies of accumulated memory, and failures.
// The cut depends on the kernel, the domain and the extents alone, so results are the same on any number of
// threads.
#include <fmt/format.h>
#include <immintrin.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <mutex>

#include "fluxion/evaluate.h"
#include "fluxion/external_code.h"
#include "pool.h"

namespace fluxion::cpu {
namespace {

constexpr double kInline = 5e3;  // nanoseconds of work below which threads do not pay
constexpr double kChunk = 20e3;  // nanoseconds a chunk should last at least
constexpr int kMaxChunks = 64;
constexpr int kMaxCopies = 16;

struct Cut {
  std::int64_t segment, segments, units;
  int chunks;
  bool alternate = false;  // neighbouring chunks add to the same rows: run every other one, then the rest
  std::int64_t grain = 1;  // units that stay together
  bool any_order = false;  // private copies belong to threads, not to chunks
  std::int64_t begin(int chunk) const { return units / grain * chunk / chunks * grain; }
};

Cut cut(const KernelPlan& plan, const std::int64_t* domain, const KernelArray* arrays) {
  const std::int64_t fast = domain[plan.rank - 1];
  std::int64_t rows = 1;
  for (int k = 0; k + 1 < plan.rank; ++k) rows *= domain[k];
  const double points = static_cast<double>(rows) * static_cast<double>(fast), work = points * plan.cost;
  const bool wraps = std::max({domain[0], domain[1], domain[2]}) > plan.longest;
  double chunks = work < kInline || plan.ordered || wraps ? 1 : std::min<double>(kMaxChunks, work / kChunk);
  double cells = 0;
  for (std::size_t k = 0; k < plan.sharing.size(); ++k)
    if (plan.sharing[k] == Sharing::merge)
      cells += static_cast<double>(arrays[k].extent[0] * arrays[k].extent[1] * arrays[k].extent[2]) *
               static_cast<double>(layout_of(plan.elements[k]).leaves.size());
  if (plan.halo >= 0 && plan.adds > 0 && chunks > 1) {
    // Rows of the slowest axis; of a one-dimensional domain, segments of it.
    const bool line = plan.rank == 1;
    Cut c{fast, 1, rows, 1, true, plan.rank == 3 ? domain[1] : 1};
    if (line) {
      c.segment = std::max<std::int64_t>(1024, (plan.halo + 63) / 64 * 64);
      c.segments = c.units = (fast + c.segment - 1) / c.segment;
      c.grain = 1;
    }
    const std::int64_t apart = line ? 1 : std::max<std::int64_t>(1, plan.halo);
    c.chunks = static_cast<int>(std::min<std::int64_t>(static_cast<std::int64_t>(chunks), c.units / c.grain / apart));
    if (c.chunks > 1) return c;
  }
  const double adds = points * plan.adds;
  const bool any_order = plan.relaxed && plan.adds > 0 && chunks > 1;
  if (any_order) chunks = adds > cells * (cpu_threads() - 1) ? chunks : 1;
  else if (plan.adds > 0) chunks = std::min({chunks, static_cast<double>(kMaxCopies), adds / (2 * std::max(cells, 1.0))});
  Cut c{fast, 1, rows, std::max(1, static_cast<int>(chunks)), false, 1, any_order};
  if (plan.group[0] > 0) {
    c.units = 1;
    for (int k = 0; k < plan.rank; ++k) c.units *= domain[k] / plan.group[static_cast<std::size_t>(k)];
    c.chunks = static_cast<int>(std::min<std::int64_t>(c.chunks, c.units));
    return c;
  }
  if (c.chunks > 1 && rows < 4 * c.chunks) {  // few rows: cut them
    const std::int64_t pieces = rows >= c.chunks ? 4 : (c.chunks + rows - 1) / rows;
    const std::int64_t grain = std::max(plan.width, 64);
    c.segment = ((fast + pieces - 1) / pieces + grain - 1) / grain * grain;
    c.segments = (fast + c.segment - 1) / c.segment;
    c.units = rows * c.segments;
  }
  c.chunks = static_cast<int>(std::min<std::int64_t>(c.chunks, c.units));
  return c;
}

/// True, and said in the slot, where somebody wants all to stop.
bool stopped(const KernelPlan& plan, ThreadContext* context) {
  if (!cancelled()) return false;
  context->failure->set(FailureSlot::Kind::cancelled, plan.loc, fmt::format("kernel \"{}\" was cancelled", plan.name));
  return true;
}

bool run_chunk(const KernelPlan& plan, KernelFn kernel, const KernelArgs* args, std::int64_t begin, std::int64_t end,
               ThreadContext* context) {
  if (stopped(plan, context)) return false;
  context->top = context->base;
  if (plan.may_fail) {
    context->sites = &plan.sites;
    context->kernel = plan.name.c_str();
    context->loc = plan.loc;
    // Generated code owns nothing, so leaving it by a jump is safe.
    if (_setjmp(context->escape)) return false;
  }
  kernel(args, begin, end, context);
  return true;
}

template <class T> void add_to(std::byte* to, const std::byte* from, std::size_t stride, std::size_t n) {
  for (std::size_t i = 0; i < n; ++i, to += stride, from += stride) {
    T a, d;
    std::memcpy(&a, to, sizeof(T));
    std::memcpy(&d, from, sizeof(T));
    a = static_cast<T>(a + d);
    std::memcpy(to, &a, sizeof(T));
  }
}
void add_leaves(DType t, std::byte* to, const std::byte* from, std::size_t stride, std::size_t n) {
  switch (t) {
    case DType::boolean: return;
    case DType::i8:
    case DType::u8: return add_to<std::uint8_t>(to, from, stride, n);
    case DType::i16:
    case DType::u16: return add_to<std::uint16_t>(to, from, stride, n);
    case DType::i32:
    case DType::u32: return add_to<std::uint32_t>(to, from, stride, n);
    case DType::i64:
    case DType::u64: return add_to<std::uint64_t>(to, from, stride, n);
    case DType::f32: return add_to<float>(to, from, stride, n);
    case DType::f64: return add_to<double>(to, from, stride, n);
    case DType::f16:
    case DType::bf16:
      for (std::size_t i = 0; i < n; ++i, to += stride, from += stride) {
        const auto sum = [&](auto a, auto d) {
          std::memcpy(&a, to, 2);
          std::memcpy(&d, from, 2);
          a = decltype(a)(static_cast<float>(a) + static_cast<float>(d));
          std::memcpy(to, &a, 2);
        };
        if (t == DType::f16) sum(half{}, half{});
        else sum(bfloat16{}, bfloat16{});
      }
  }
}
void add_elements(LayoutId id, std::byte* to, const std::byte* from, std::size_t n) {
  const Layout& layout = layout_of(id);
  bool packed = true;
  std::uint32_t offset = 0;
  for (const Leaf& leaf : layout.leaves) {
    packed &= leaf.dtype == layout.leaves[0].dtype && leaf.offset == offset;
    offset += static_cast<std::uint32_t>(size_of(leaf.dtype));
  }
  if (packed && offset == layout.size)
    return add_leaves(layout.leaves[0].dtype, to, from, static_cast<std::size_t>(size_of(layout.leaves[0].dtype)),
                      n * layout.leaves.size());
  for (const Leaf& leaf : layout.leaves) add_leaves(leaf.dtype, to + leaf.offset, from + leaf.offset, layout.size, n);
}

struct Job {
  Job(const KernelPlan& p, KernelFn k, const KernelArgs& a, const Cut& c) : plan(&p), kernel(k), args(&a), cut(c) {}
  const KernelPlan* plan;
  KernelFn kernel;
  const KernelArgs* args;
  Cut cut;
  std::atomic<bool> failed{false};
  // Private copies: chunk 0 works in place, and chunk c's copy of array k is at copies + (c - 1) * bytes + offset[k]. In any
  // order it is that of the thread which comes c-th.
  std::byte* copies = nullptr;
  std::size_t bytes = 0;
  std::vector<std::size_t> offset;
  std::mutex mutex;
  std::vector<ThreadContext*> threads;

  std::byte* copy(std::size_t c) const { return copies + (c - 1) * bytes; }
  /// Which copy a chunk works on, and whether it is the first to do so.
  std::pair<std::size_t, bool> copy_of(int chunk, ThreadContext* context) {
    if (!cut.any_order) return {static_cast<std::size_t>(chunk), true};
    std::lock_guard lock(mutex);
    const auto at = std::find(threads.begin(), threads.end(), context);
    const auto c = static_cast<std::size_t>(at - threads.begin());
    if (at != threads.end()) return {c, false};
    threads.push_back(context);
    return {c, true};
  }
  std::size_t used() const { return cut.any_order ? threads.size() : static_cast<std::size_t>(cut.chunks); }
};

std::size_t elements(const KernelArray& a) { return static_cast<std::size_t>(a.extent[0] * a.extent[1] * a.extent[2]); }

void chunk_of(void* data, int chunk, ThreadContext* context) {
  auto& job = *static_cast<Job*>(data);
  if (job.failed.load(std::memory_order_relaxed)) return;
  const std::int64_t begin = job.cut.begin(chunk), end = job.cut.begin(chunk + 1);
  if (!job.copies) {
    if (!run_chunk(*job.plan, job.kernel, job.args, begin, end, context)) job.failed = true;
    return;
  }
  const auto [mine, first] = job.copy_of(chunk, context);
  if (mine == 0) {
    if (!run_chunk(*job.plan, job.kernel, job.args, begin, end, context)) job.failed = true;
    return;
  }
  if (first) std::memset(job.copy(mine), 0, job.bytes);
  std::vector<KernelArray> arrays(job.args->arrays, job.args->arrays + job.plan->sharing.size());
  for (std::size_t k = 0; k < arrays.size(); ++k)
    if (job.plan->sharing[k] == Sharing::merge) arrays[k].data = job.copy(mine) + job.offset[k];
  KernelArgs args = *job.args;
  args.arrays = arrays.data();
  if (!run_chunk(*job.plan, job.kernel, &args, begin, end, context)) job.failed = true;
}

void even_chunk(void* data, int half, ThreadContext* context) { chunk_of(data, 2 * half, context); }
void odd_chunk(void* data, int half, ThreadContext* context) { chunk_of(data, 2 * half + 1, context); }

constexpr std::size_t kBlock = 2048;  // elements added up at a time, so that copies stay in cache

struct Merge {
  Job* job;
  std::size_t array, count;
  std::byte* to;
};
void merge_block(void* data, int block, ThreadContext*) {
  const auto& m = *static_cast<Merge*>(data);
  const Job& job = *m.job;
  const LayoutId id = job.plan->elements[m.array];
  const std::size_t first = static_cast<std::size_t>(block) * kBlock, n = std::min(kBlock, m.count - first);
  const std::size_t at = first * layout_of(id).size;
  const auto copy = [&](std::size_t c) { return job.copy(c) + job.offset[m.array] + at; };
  const std::size_t copies = job.used();
  if (copies < 2) return;
  for (std::size_t step = 1; step < copies - 1; step *= 2)
    for (std::size_t c = 1; c + step < copies; c += 2 * step) add_elements(id, copy(c), copy(c + step), n);
  add_elements(id, m.to + at, copy(1), n);
}

}  // namespace

bool needs_wide(const KernelPlan& plan, const KernelArray* arrays) {
  for (std::size_t k = 0; k < plan.elements.size(); ++k)
    if (elements(arrays[k]) * layout_of(plan.elements[k]).size > 0x7fffffffu) return true;
  return false;
}

bool launch(ThreadContext* context, const KernelPlan& plan, KernelFn kernel, const std::int64_t* domain, const KernelArray* arrays,
            const std::uint64_t* scalars) {
  KernelArgs args;
  for (int k = 0; k < plan.rank; ++k) {
    args.domain[k] = domain[k];
    if (domain[k] <= 0) return true;
  }
  for (int k = 0; k < plan.rank && plan.group[0] > 0; ++k)
    if (const int n = plan.group[static_cast<std::size_t>(k)]; domain[k] % n != 0) {
      context->failure->set(
          FailureSlot::Kind::shape, plan.loc,
          fmt::format("kernel \"{}\" runs in groups of {} threads along axis {}, but the launch has {}: launch a multiple, "
                      "and leave out the rest by a condition",
                      plan.name, n, k, domain[k]));
      return false;
    }
  const Cut c = cut(plan, args.domain, arrays);
  args.segment = c.segment;
  args.segments = c.segments;
  args.arrays = arrays;
  args.scalars = scalars;
  if (plan.race) {
    RaceState races(plan, arrays);
    context->races = &races;
    context->plan = &plan;
    context->arrays = arrays;
    const bool done = run_chunk(plan, kernel, &args, 0, c.units, context);
    context->races = nullptr;
    return done;
  }
  if (c.chunks == 1) return run_chunk(plan, kernel, &args, 0, c.units, context);
  Job job(plan, kernel, args, c);
  if (c.alternate) {
    parallel((c.chunks + 1) / 2, even_chunk, &job, context);
    parallel(c.chunks / 2, odd_chunk, &job, context);
    return !job.failed;
  }
  if (plan.adds > 0) {
    for (std::size_t k = 0; k < plan.sharing.size(); ++k) {
      job.offset.push_back(job.bytes);
      if (plan.sharing[k] == Sharing::merge) job.bytes += (elements(arrays[k]) * layout_of(plan.elements[k]).size + 63) & ~std::size_t{63};
    }
    const int copies = (c.any_order ? std::min(c.chunks, cpu_threads()) : c.chunks) - 1;
    job.copies = static_cast<std::byte*>(std::aligned_alloc(64, std::max<std::size_t>(64, job.bytes * static_cast<std::size_t>(copies))));
    if (!job.copies) {
      context->failure->set(FailureSlot::Kind::device, {},
                            fmt::format("kernel \"{}\": no memory for {} private copies of {} bytes", plan.name, copies, job.bytes));
      return false;
    }
  }
  parallel(c.chunks, chunk_of, &job, context);
  if (job.copies && !job.failed)
    for (std::size_t k = 0; k < plan.sharing.size(); ++k) {
      if (plan.sharing[k] != Sharing::merge) continue;
      Merge m{&job, k, elements(arrays[k]), static_cast<std::byte*>(arrays[k].data)};
      parallel(static_cast<int>((m.count + kBlock - 1) / kBlock), merge_block, &m, context);
    }
  std::free(job.copies);
  return !job.failed;
}

namespace {
thread_local ThreadContext* idle_context = nullptr;
struct ContextOwner {
  ~ContextOwner() {
    if (idle_context) free_context(idle_context);
    idle_context = nullptr;
  }
};
thread_local ContextOwner owner;
}  // namespace

RunScope::RunScope(FailureSlot& failure) : saved_control_(flush_denormals()), context_(idle_context) {
  (void)owner;
  idle_context = nullptr;
  if (!context_) context_ = make_context();
  context_->failure = &failure;
}

RunScope::~RunScope() {
  if (idle_context) free_context(context_);
  else idle_context = context_;
  restore_control(saved_control_);
}

namespace {
struct HostControl {  // host code is used to denormal numbers
  unsigned saved = _mm_getcsr();
  HostControl() { _mm_setcsr(0x1f80); }
  ~HostControl() { _mm_setcsr(saved); }
};
}  // namespace

bool launch_host(const Function& kernel, const KernelArray* arrays, const std::uint64_t* scalars, FailureSlot& failure) {
  const HostControl control;
  std::vector<ExternalArray> list;
  for (const Memory& m : kernel.memories) {
    if (m.space != Memory::Space::parameter) continue;
    const KernelArray& a = arrays[list.size()];
    list.push_back({static_cast<std::byte*>(a.data), {a.extent[0], a.extent[1], a.extent[2]}});
  }
  std::string error;
  if (try_external(*kernel.external, list.data(), scalars, error)) return true;
  failure.set(FailureSlot::Kind::kernel, kernel.loc, error);
  return false;
}

bool call_host(const Site& site, const std::uint8_t* mask, std::int32_t lanes, const std::uint64_t* in, std::uint64_t* out,
               FailureSlot& failure) {
  const HostControl control;
  const External& e = *site.external;
  const auto n = static_cast<std::size_t>(lanes);
  try {
    std::vector<std::uint64_t> x(e.takes.size() + 1), y(e.gives.size() + 1);
    std::string error;
    for (std::size_t lane = 0; lane < n; ++lane) {
      const bool active = !mask || mask[lane];
      for (std::size_t k = 0; k < e.takes.size(); ++k) x[k] = in[k * n + lane];
      if (active && !try_external(e, x.data(), y.data(), error)) {
        failure.set(FailureSlot::Kind::kernel, site.loc, error);
        return false;
      }
      for (std::size_t k = 0; k < e.gives.size(); ++k) out[k * n + lane] = active ? y[k] : 0;
    }
    return true;
  } catch (const std::bad_alloc&) {
    failure.set(FailureSlot::Kind::device, site.loc, "no memory");
    return false;
  }
}

extern "C" {

int fluxion_cpu_launch(ThreadContext* context, const KernelPlan* plan, KernelFn kernel, const std::int64_t* domain,
                       const KernelArray* arrays, const std::uint64_t* scalars) {
  return launch(context, *plan, kernel, domain, arrays, scalars) ? 0 : 1;
}

void fluxion_cpu_fail(ThreadContext* context, std::int32_t number, const std::uint64_t* values) {
  const Site& site = (*context->sites)[static_cast<std::size_t>(number)];
  {
    const unsigned control = _mm_getcsr();
    std::string message;
    const auto index = [&](std::size_t k) { return static_cast<std::int32_t>(values[k]); };
    if (site.code == Opcode::check) {
      message = format_text(site.text, site.operands, {values, site.operands.size()});
    } else if (site.code == Opcode::barrier) {
      message = fmt::format("kernel \"{}\": not all threads of a group come to this barrier", context->kernel);
    } else if (site.code == Opcode::load || site.code == Opcode::store || site.code == Opcode::accumulate || site.code == Opcode::atomic) {
      std::string place, shape;
      const std::size_t rank = site.operands.size();
      for (std::size_t k = 0; k < rank; ++k) {
        place += fmt::format("{}{}", k ? ", " : "", index(k));
        shape += fmt::format("{}{}", k ? " x " : "", index(rank + k));
      }
      message =
          fmt::format("kernel \"{}\": {}[{}] is outside {}, which has {} elements", context->kernel, site.text, place, site.text, shape);
    } else {
      message = fmt::format("kernel \"{}\": item {} of a sequence of {}", context->kernel, index(0), index(1));
    }
    context->failure->set(FailureSlot::Kind::kernel, site.loc, std::move(message));
    _mm_setcsr(control);
  }
  std::longjmp(context->escape, 1);
}

void fluxion_cpu_cancelled(ThreadContext* context, std::int32_t number) {
  {
    const Loc at = number >= 0 ? (*context->sites)[static_cast<std::size_t>(number)].loc : context->loc;
    context->failure->set(FailureSlot::Kind::cancelled, at,
                          fmt::format("kernel \"{}\" was cancelled{}", context->kernel, number >= 0 ? " in this loop" : ""));
  }
  std::longjmp(context->escape, 1);
}

void fluxion_cpu_exhausted(ThreadContext* context, std::int32_t number, std::uint64_t bytes) {
  {
    const Loc at = number >= 0 ? (*context->sites)[static_cast<std::size_t>(number)].loc : Loc{};
    context->failure->set(FailureSlot::Kind::kernel, at,
                          fmt::format("kernel \"{}\": the tape of a thread is full: {} of {} bytes are in use and {} more are needed; "
                                      "shorten the loop or save less of it",
                                      context->kernel, context->top - context->base, context->end - context->base, bytes));
  }
  std::longjmp(context->escape, 1);
}

void fluxion_cpu_external(ThreadContext* context, std::int32_t number, const std::uint8_t* mask, std::int32_t lanes,
                          const std::uint64_t* in, std::uint64_t* out) {
  const Site& site = (*context->sites)[static_cast<std::size_t>(number)];
  if (!call_host(site, mask, lanes, in, out, *context->failure)) std::longjmp(context->escape, 1);
}

void fluxion_cpu_print(ThreadContext* context, std::int32_t number, const std::uint64_t* values) {
  const Site& site = (*context->sites)[static_cast<std::size_t>(number)];
  print_line(format_text(site.text, site.operands, {values, site.operands.size()}));
}
}

}  // namespace fluxion::cpu
