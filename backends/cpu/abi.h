// The contract between generated code and the CPU runtime: what a compiled kernel is given, and what it calls.
// Plain structs at fixed offsets; backends/cpu/emit*.cpp spell the same offsets in IR. No LLVM here.
//
// A launch is cut into units: a row of the fastest axis, or a segment of one. Unit u is segment u % segments of
// row u / segments, rows counted over the outer axes, slowest first. Where the kernel has groups, a unit is a group. A
// kernel runs the units [begin, end) of its chunk. How a domain is cut depends on the kernel, the domain and the arrays' extents, never on the number of
// threads.
#pragma once
#include <csetjmp>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "fluxion/backend.h"
#include "fluxion/cancel.h"
#include "fluxion/races.h"

namespace fluxion::cpu {

struct KernelArray {
  void* data = nullptr;
  std::int64_t extent[3] = {1, 1, 1};  // elements, slowest axis first, unused ones 1
};
static_assert(sizeof(KernelArray) == 32);

struct KernelArgs {
  std::int64_t domain[3] = {1, 1, 1};      // slowest axis first, unused ones 1; a rank-1 launch is {n, 1, 1}
  std::int64_t segment = 0;                // points of the fastest axis in a unit
  std::int64_t segments = 1;               // units in a row
  const KernelArray* arrays = nullptr;     // the memory parameters in order
  const std::uint64_t* scalars = nullptr;  // the scalar parameters in order, bits zero-extended
};
static_assert(offsetof(KernelArgs, segment) == 24 && offsetof(KernelArgs, arrays) == 40);

/// Where an op that can fail or print stands. Ops are numbered in the order of the text form, counting only
/// those of sites(); passes that rewrite elementwise ops keep the numbers.
struct Site {
  Opcode code{};
  Loc loc;
  std::string text;                                    // check, print: the format; memory ops: the memory's name
  std::vector<DType> operands;                         // of the values handed over
  std::shared_ptr<const External> external = nullptr;  // call: the host function
};

/// One thread's state while it runs kernels. Its arena holds the sequences (tapes) of the points in flight.
struct ThreadContext {
  char* top = nullptr;  // first free byte of the arena; generated code bumps it
  char* end = nullptr;
  const int* cancel = detail::cancel_word();  // not 0: leave
  char* base = nullptr;
  FailureSlot* failure = nullptr;
  const std::vector<Site>* sites = nullptr;
  const char* kernel = "";
  Loc loc;                                  // of the kernel
  struct RaceState* races = nullptr;        // of the launch, while races are looked for
  const struct KernelPlan* plan = nullptr;  // the same
  const KernelArray* arrays = nullptr;
  std::jmp_buf escape;  // a failure leaves the kernel through here
};
static_assert(offsetof(ThreadContext, top) == 0 && offsetof(ThreadContext, end) == 8 && offsetof(ThreadContext, cancel) == 16);

/// What emit_kernel() makes.
using KernelFn = void (*)(const KernelArgs*, std::int64_t begin, std::int64_t end, ThreadContext*);

/// Calls the host function of a site as fluxion_cpu_external does. False after a failure, which is in the slot.
bool call_host(const Site& site, const std::uint8_t* mask, std::int32_t lanes, const std::uint64_t* in, std::uint64_t* out,
               FailureSlot& failure);

/// Calls the host function that a kernel stands for. False after a failure, which is in the slot.
bool launch_host(const Function& kernel, const KernelArray* arrays, const std::uint64_t* scalars, FailureSlot& failure);

/// How the accumulates of a kernel on one memory parameter meet.
enum class Sharing : std::uint8_t {
  none,     // no accumulate, or every element has one owner
  merge,    // chunks may work on private zeroed copies that are added up in a fixed order
  ordered,  // the launch must be one chunk
};

/// True when something is looked for in kernels: they are to stay as they were written.
inline bool reports(const CompileOptions& o) { return o.bounds || o.nan || o.inf || o.race; }

/// What the scheduler must know of a kernel. Made from the Function before math lowering: see make_plan().
struct KernelPlan {
  std::string name;
  int rank = 1;
  int width = 16;                                // lanes
  double cost = 0;                               // estimated nanoseconds a point
  double adds = 0;                               // accumulates to merged memory a point
  bool may_fail = false;                         // has checks, sequences or bounds checks: the launch sets up an escape
  bool ordered = false;                          // one chunk
  bool relaxed = false;                          // sums may be taken in any order
  std::int64_t longest = std::int64_t{1} << 32;  // an axis beyond this is one chunk: indices that wrap may meet
  std::vector<Sharing> sharing;                  // by memory parameter
  /// When all merged memory is added to near the point's own place along the slowest axis: how far apart at most; else
  /// -1. Chunks of that many rows then meet their neighbours' only: every other chunk runs, then the rest, in place.
  std::int64_t halo = -1;
  std::vector<LayoutId> elements;  // by memory parameter
  std::array<int, 3> group{};      // threads of a group along each axis; zeros: no groups. A unit is then a group
  Loc loc;
  std::vector<Site> sites;
  /// While races are looked for, by memory: whether it is watched, its place among the arrays (-1: shared), how many leaves, and
  /// elements of a shared one.
  struct Watched {
    bool on = false;
    int array = -1;
    int leaves = 1;
    std::int64_t length = 0;
    WatchedMemory what;
  };
  bool race = false;
  std::vector<Watched> watched;
};

/// What has been seen of the elements of a launch that runs under the race checker, on one thread.
struct RaceState {
  RaceState(const KernelPlan& plan, const KernelArray* arrays);
  std::vector<std::vector<Shadow>> shadows;  // by memory; empty: not watched
  std::uint32_t phase = 1;
};
KernelPlan make_plan(const Function& kernel, const CompileOptions& options, int width);

/// One run of an Executable: keeps the calling thread's context and its FTZ|DAZ setting. A program makes one
/// of these on entry; every launch inside it goes through the same.
class RunScope {
 public:
  explicit RunScope(FailureSlot& failure);
  ~RunScope();
  RunScope(const RunScope&) = delete;
  RunScope& operator=(const RunScope&) = delete;
  ThreadContext* context() const { return context_; }

 private:
  unsigned saved_control_;
  ThreadContext* context_;
};

/// Runs a kernel over `domain` and returns when it is done: on the calling thread when the work is small
/// (no locks, no allocation), else on the pool. Call inside a RunScope. Returns false after a failure.
bool launch(ThreadContext* context, const KernelPlan& plan, KernelFn kernel, const std::int64_t* domain, const KernelArray* arrays,
            const std::uint64_t* scalars);

/// True when some array is too large for 32-bit offsets: the kernel emitted with `wide` must be run.
bool needs_wide(const KernelPlan& plan, const KernelArray* arrays);

extern "C" {
/// launch() under the name that generated programs call: nonzero after a failure.
int fluxion_cpu_launch(ThreadContext* context, const KernelPlan* plan, KernelFn kernel, const std::int64_t* domain,
                       const KernelArray* arrays, const std::uint64_t* scalars);
/// Reports a failed check, an index outside its memory (values: index, extent) and leaves the kernel.
[[noreturn]] void fluxion_cpu_fail(ThreadContext* context, std::int32_t site, const std::uint64_t* values);
/// Somebody has called cancel(); leaves the kernel. `site`: the loop that was stopped, or -1.
[[noreturn]] void fluxion_cpu_cancelled(ThreadContext* context, std::int32_t site);
/// The arena is full; leaves the kernel.
[[noreturn]] void fluxion_cpu_exhausted(ThreadContext* context, std::int32_t site, std::uint64_t bytes);
/// Accesses of `lanes` threads to elements of a watched memory: their linear elements and threads, and which of them are active
/// (bytes). `kind`: touch::... | leaf << 8. Leaves the kernel when two threads meet.
void fluxion_cpu_touch(ThreadContext* context, std::int32_t site, std::int32_t memory, std::int32_t kind, const std::int64_t* elements,
                       const std::uint32_t* threads, const std::uint8_t* active, std::int32_t lanes, std::int32_t group);
/// A barrier, or the start of a group.
void fluxion_cpu_phase(ThreadContext* context);
void fluxion_cpu_print(ThreadContext* context, std::int32_t site, const std::uint64_t* values);
/// Calls a host function for the lanes whose byte of `mask` is set (null: all). in, out: by argument or result, `lanes` words each.
/// What it throws is reported, and leaves the kernel.
void fluxion_cpu_external(ThreadContext* context, std::int32_t site, const std::uint8_t* mask, std::int32_t lanes, const std::uint64_t* in,
                          std::uint64_t* out);
}

}  // namespace fluxion::cpu
