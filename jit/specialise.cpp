// From a function to code that runs: memory cache, disk cache, pipeline, backend; and the queueing of a run.
#include <fmt/format.h>

#include <cstring>
#include <map>
#include <unordered_map>

#include "disk_cache.h"
#include "fluxion/cache.h"
#include "fluxion/cancel.h"
#include "fluxion/pipeline.h"
#include "runtime.h"

namespace fluxion::detail {
namespace {

struct Entry {
  std::mutex mutex;  // held while compiling, so that a second asker waits instead of compiling too
  std::shared_ptr<Executable> code;
};
struct Table {
  std::mutex mutex;
  std::unordered_map<std::string, std::shared_ptr<Entry>> entries;
};
Table& table() {
  static Table& t = *new Table;
  return t;
}
std::atomic<std::uint64_t> from_memory{0}, from_disk{0}, compiled{0};

void add_text(std::string& to, const Function& f, const PrintOptions& options) { to += print(f, options); }  // with its callees

std::string text_of(const CompileOptions& o) {
  return fmt::format("width {} bounds {} nan {} inf {} race {} relaxed {} fast {} interrupt {} features \"{}\"\n", o.width, o.bounds, o.nan,
                     o.inf, o.race, o.relaxed, o.fast, o.interrupt, o.features);
}

std::shared_ptr<Executable> make(const Function& f, const CompileOptions& options, const Device& device) {
  Backend& backend = *device.state().backend;
  if (dump_wanted("captured")) dump_stage("captured", f.name, print(f));
  const Function lowered = lower(f, backend.name(), options.nan || options.inf);
  std::string key =
      fmt::format("library {}\nbackend {} {}\n{}", library_id(), backend.name(), backend.fingerprint(options), text_of(options));
  add_text(key, lowered, {});
  std::shared_ptr<Executable> code;
  if (const auto object = cache_load(key)) code = backend.load(lowered, options, *object);
  if (code) {
    ++from_disk;
  } else {
    ++compiled;
    code = backend.compile(lowered, options);
    if (!code) throw Bug(f.loc, fmt::format("backend {} made no code of \"{}\"", backend.name(), f.name));
    cache_store(key, code->object());
  }
  for (const char* stage : {"llvm", "asm"})
    if (dump_wanted(stage)) dump_stage(stage, f.name, code->dump(stage));
  return code;
}

double cost_of(const Function& f, RegionId r, std::map<const Function*, double>& callees) {
  constexpr double kUnknownTrips = 1000;  // high, so that what may take long does not keep the caller
  double sum = 0;
  for (const OpId id : f[r].ops) {
    const Op& op = f[id];
    double trips = 1;
    if (op.code == Opcode::while_) trips = kUnknownTrips;
    if (op.code == Opcode::for_) {
      const bool known = f.is_constant(op.operands[0]) && f.is_constant(op.operands[1]);
      const auto bound = [&](int k) { return static_cast<std::int32_t>(f[op.operands[static_cast<std::size_t>(k)]].bits); };
      trips = known ? std::max(0.0, static_cast<double>(bound(1)) - bound(0)) : kUnknownTrips;
    }
    double inner = 0;
    if (op.code == Opcode::call) {
      const Function& g = *f.callees[op.ref];
      if (!callees.contains(&g)) {
        const double cost = cost_of(g, g.body, callees);
        callees[&g] = cost;
      }
      inner = g.external ? kUnknownTrips : callees[&g];
    }
    for (const RegionId nested : op.regions) inner += cost_of(f, nested, callees);
    sum += 1 + trips * inner;
  }
  return sum;
}

}  // namespace

double estimate_cost(const Function& f) {
  if (f.external) return 1e12;  // nobody knows: the caller does not wait
  std::map<const Function*, double> callees;
  return cost_of(f, f.body, callees);
}

std::shared_ptr<Executable> specialise(const Function& f, const CompileOptions& options, const Device& device) {
  // With locations: equal code from two places in the user's source reports errors at its own place.
  std::string key = fmt::format("{} {}", device.name(), text_of(options));
  add_text(key, f, {.locations = true});
  std::shared_ptr<Entry> entry;
  {
    std::lock_guard lock(table().mutex);
    auto& slot = table().entries[key];
    if (!slot) slot = std::make_shared<Entry>();
    entry = slot;
  }
  std::lock_guard lock(entry->mutex);
  if (entry->code) ++from_memory;
  else entry->code = make(f, options, device);
  return entry->code;
}

void enqueue(const Device& device, Work work, Loc at) {
  constexpr double kSmall = 4e6;  // scalar ops: some tens of microseconds of SIMD code; waking a thread costs about five
  // Whoever asks for one thread gets it: a second one that waits for work costs several microseconds a launch.
  const bool small = work.cost < kSmall || cpu_threads() == 1;
  const std::string name =
      work.function ? fmt::format("{} \"{}\"", work.function->kind == Function::Kind::program ? "program" : "kernel", work.function->name)
                    : std::string();
  Backend* backend = device.state().backend.get();
  const auto run = [backend](const Work& w, FailureSlot& failure) {
    for (const Work::Copy& c : w.copies) c.make(*backend);
    w.code->run({w.domain, w.arrays, w.scalars}, failure);
  };
  Stream& stream = device.state().stream;
  if (cancelled()) stream.wait(at, name);  // throws
  if (small && stream.try_inline(name, [&](FailureSlot& failure) { run(work, failure); }, at)) return;
  stream.submit(name, [run, work = std::move(work)](FailureSlot& failure) { run(work, failure); }, small, at);
}

}  // namespace fluxion::detail

namespace fluxion {

CacheCounts cache_counts() { return {detail::from_memory, detail::from_disk, detail::compiled}; }

void clear_memory_cache() {
  std::lock_guard lock(detail::table().mutex);
  detail::table().entries.clear();
}

}  // namespace fluxion
