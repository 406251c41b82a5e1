// Launches of a kernel: pieces where it is too large at once, tapes, reports.
#include "launch.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cstring>

#include "common/uniformity.h"
#include "fluxion/cancel.h"
#include "fluxion/error.h"
#include "fluxion/evaluate.h"
#include "fluxion/host_arrays.h"
#include "packed.h"
#include "sums.h"

namespace fluxion::gpu {
namespace {

constexpr std::int64_t kTapeThreads = std::int64_t{1} << 18;  // of a kernel with tapes
constexpr std::size_t kTapeBytes = std::size_t{1} << 30;      // of all tapes, unless the device has less
constexpr std::int64_t kUnknownThreads = 512;                 // at a time, of a kernel whose tapes nothing tells
constexpr std::uint32_t kChecks = 256, kPrints = 1 << 16;     // records of a report

/// The device has ended a loop before its time.
struct EndedLoop {};

/// Device memory for the length of a launch.
class Borrowed {
 public:
  Borrowed(Device& device, std::size_t bytes, const char* what, const std::string& kernel)
      : device_(device), bytes_((bytes + 63) / 64 * 64) {
    if (bytes_ == 0) return;
    at_ = static_cast<std::byte*>(device.allocate(bytes_));
    if (!at_)
      throw DeviceError({}, fmt::format("kernel \"{}\": no {} MB of device memory for {}; {} of {} MB are in use", kernel,
                                        (bytes >> 20) + 1, what, device.in_use() >> 20, device.heap() >> 20));
  }
  ~Borrowed() {
    if (at_) device_.free(at_, bytes_);
  }
  Borrowed(Borrowed&& o) noexcept : device_(o.device_), at_(std::exchange(o.at_, nullptr)), bytes_(o.bytes_) {}
  Borrowed(const Borrowed&) = delete;
  std::byte* at() const { return at_; }
  std::size_t bytes() const { return bytes_; }
  void zero() const {
    const std::uint32_t zero = 0;
    if (at_) device_.fill(at_, &zero, 4, bytes_);
  }

 private:
  Device& device_;
  std::byte* at_ = nullptr;
  std::size_t bytes_;
};

}  // namespace

KernelCode::KernelCode(Device& device, const Function& f, const CompileOptions& options, std::string_view cached, bool many)
    : device_(device),
      f_(f),
      options_(options),
      plan_(make_plan(f, options, device.limits().exact,
                      {.subgroups = device.limits().subgroups && group_threads(f) % device.limits().subgroup_step == 0,
                       .warp_sums = device.limits().warp_sums,
                       .many = many})) {
  for (const Stage& s : plan_.stages) {
    if (plan_.host.empty()) plan_.host = device.lacks(s.kernel);
    if (plan_.host.empty() && s.count) plan_.host = device.lacks(*s.count);
  }
  if (!plan_.host.empty()) return;
  if (f.has_groups() && group_threads(f) > device.limits().threads)
    throw KernelError(f.loc, fmt::format("kernel \"{}\": groups of {} threads are more than the {} of this {} device", f.name,
                                         group_threads(f), device.limits().threads, device.api()));
  for (const Stage& s : plan_.stages) {
    Stages code;
    code.main = device.compile(s.kernel, options, next_part(cached));
    if (s.count && !s.count_original.regions.size()) code.count = device.compile(*s.count, options, next_part(cached));
    stages_.push_back(std::move(code));
  }
}

std::string KernelCode::object() const {
  std::vector<std::string> parts;
  for (const Stages& s : stages_)
    for (const Code* c : {s.main.get(), s.count.get()})
      if (c) parts.push_back(c->cached());
  return packed(parts);
}

std::string KernelCode::dump(std::string_view what) const {
  std::string text;
  if (what == "ir")
    for (const Stage& s : plan_.stages) text += print(s.kernel);
  if (what == device_.language())
    for (const Stages& s : stages_)
      for (const Code* c : {s.main.get(), s.count.get()})
        if (c) text += c->text();
  return text;
}

void run_on_host(Device& device, Executable& code, const Function& f, const Launch& launch, FailureSlot& failure) {
  struct Copies final : Backend {  // what HostArrays asks of a backend
    Device& device;
    explicit Copies(Device& d) : device(d) {}
    std::string name() const override { return device.name(); }
    std::string description() const override { return {}; }
    std::string fingerprint(const CompileOptions&) const override { return {}; }
    std::shared_ptr<Executable> compile(const Function&, const CompileOptions&) override { return nullptr; }
    bool host_memory() const override { return false; }
    void write(void* to, const void* from, std::size_t n) override { device.write(to, from, n); }
    void read(void* to, const void* from, std::size_t n) override { device.read(to, from, n); }
  } copies(device);
  HostArrays arrays(f, copies, launch.arrays);
  code.run({launch.domain, arrays.arrays(), launch.scalars}, failure);
  arrays.give_back();
}

// Of any stage.
std::int64_t KernelCode::most_points(const std::array<std::int64_t, 3>& domain) const {
  std::int64_t most = 0;
  for (const Stage& s : plan_.stages) {
    if (s.elements_of >= 0) continue;
    std::int64_t n = 1;
    for (std::size_t a = 0; a < static_cast<std::size_t>(f_.domain_rank); ++a) n *= domain[a] + s.beyond[a];
    most = std::max(most, n);
  }
  return most;
}

void KernelCode::with_many(const Launch& launch, FailureSlot& failure) {
  {
    const std::lock_guard lock(mutex_);
    if (!many_) many_ = std::make_unique<KernelCode>(device_, f_, options_, std::string_view(), true);
  }
  many_->run(launch, failure);
}

bool KernelCode::may_end_loops() const {
  for (const Stages& s : stages_)
    for (const Site& site : s.main->sites)
      if (site.code == Opcode::for_) return true;
  return false;
}

void KernelCode::run_on_host(const Launch& launch, FailureSlot& failure) {
  {
    const std::lock_guard lock(mutex_);
    if (!host_) host_ = cpu_backend()->compile(f_, options_);
  }
  gpu::run_on_host(device_, *host_, f_, launch, failure);
}

void KernelCode::run(const Launch& launch, FailureSlot& failure) {
  std::int64_t points = 1;
  for (int k = 0; k < f_.domain_rank; ++k) {
    const std::int64_t n = launch.domain[static_cast<std::size_t>(k)];
    const int g = f_.group[static_cast<std::size_t>(k)];
    if (g > 0 && n % g != 0)
      return failure.set(FailureSlot::Kind::shape, f_.loc,
                         fmt::format("kernel \"{}\" runs in groups of {} threads along axis {}, but the launch has {}: launch a multiple, "
                                     "and leave out the rest by a condition",
                                     f_.name, g, k, n));
    if (n > 0x7fffffff)
      return failure.set(FailureSlot::Kind::shape, f_.loc,
                         fmt::format("kernel \"{}\": {} points along axis {} are more than 2^31 - 1", f_.name, n, k));
    points *= n;
  }
  if (points <= 0) return;
  const bool far = std::max({launch.domain[0], launch.domain[1], launch.domain[2]}) > plan_.longest;
  if (!plan_.host.empty() || far) return run_on_host(launch, failure);
  try {
    if (plan_.adds > 0 && most_points(launch.domain) > most_adds() / plan_.adds) return with_many(launch, failure);
    std::vector<Borrowed> limbs;
    std::vector<ArrayArgument> sums;
    std::size_t bytes = 0;
    const auto elements = [&](int array) {
      const ArrayArgument& a = launch.arrays[static_cast<std::size_t>(array)];
      return a.extent[0] * a.extent[1] * a.extent[2];
    };
    for (const Plan::Limbs& l : plan_.limbs) bytes += static_cast<std::size_t>(elements(l.array) * l.limbs) * 8;
    if (bytes > device_.heap() / 2) return run_on_host(launch, failure);  // exact sums to arrays that large do not fit
    for (const Plan::Limbs& l : plan_.limbs) {
      const std::size_t n = static_cast<std::size_t>(elements(l.array) * l.limbs) * 8;
      limbs.emplace_back(device_, n, "exact sums", f_.name);
      limbs.back().zero();
      sums.push_back({limbs.back().at(), {l.limbs, elements(l.array), 1}});
    }
    // What a loop that the device ends has half done is undone, and the host does it.
    std::vector<std::pair<std::size_t, Borrowed>> before;
    if (may_end_loops()) {
      std::size_t k = 0;
      for (const Parameter& p : f_.parameters) {
        if (p.kind != Parameter::Kind::memory) continue;
        const std::size_t n = bytes_of(launch.arrays[k], f_[p.memory].element), here = k++;
        if (p.role == Role::in || n == 0) continue;
        before.emplace_back(here, Borrowed(device_, n, "copies", f_.name));
        device_.copy(before.back().second.at(), launch.arrays[here].data, n);
      }
    }
    try {
      for (std::size_t k = 0; k < plan_.stages.size() && failure.empty(); ++k) run_stage(k, launch, sums, failure);
    } catch (const EndedLoop&) {
      std::size_t next = 0, k = 0;
      for (const Parameter& p : f_.parameters) {
        if (p.kind != Parameter::Kind::memory) continue;
        const std::size_t here = k++;
        if (next == before.size() || before[next].first != here) continue;
        device_.copy(launch.arrays[here].data, before[next++].second.at(), bytes_of(launch.arrays[here], f_[p.memory].element));
      }
      run_on_host(launch, failure);
    }
  } catch (const DeviceError& e) { failure.set(FailureSlot::Kind::device, f_.loc, e.what()); }
}

void KernelCode::run_stage(std::size_t k, const Launch& launch, std::span<const ArrayArgument> sums, FailureSlot& failure) {
  const Stage& s = plan_.stages[k];
  std::vector<ArrayArgument> arrays;
  for (const int a : s.arrays)
    arrays.push_back(a >= 0 ? launch.arrays[static_cast<std::size_t>(a)] : sums[static_cast<std::size_t>(-1 - a)]);
  std::array<std::int64_t, 3> domain = launch.domain;
  for (std::size_t a = 0; a < static_cast<std::size_t>(s.kernel.domain_rank); ++a) domain[a] += s.beyond[a];
  if (s.elements_of >= 0) {
    const ArrayArgument& a = launch.arrays[static_cast<std::size_t>(s.elements_of)];
    domain = {a.extent[0] * a.extent[1] * a.extent[2], 1, 1};
  }
  const std::span<const std::uint64_t> scalars = s.scalars ? launch.scalars : std::span<const std::uint64_t>();
  if (!s.tapes) return dispatch(*stages_[k].main, s.kernel, domain, arrays, scalars, device_.limits().at_once, failure);
  const Columns c = columns(k, domain, arrays, scalars, failure);
  if (!failure.empty()) return;
  const Borrowed tape4(device_, static_cast<std::size_t>(c.slots[0] * c.threads) * 4, "tapes", f_.name);
  const Borrowed tape8(device_, static_cast<std::size_t>(c.slots[1] * c.threads) * 8, "tapes", f_.name);
  arrays.push_back({tape4.at(), {c.slots[0], c.threads, 1}});
  arrays.push_back({tape8.at(), {c.slots[1], c.threads, 1}});
  dispatch(*stages_[k].main, s.kernel, domain, arrays, scalars, c.threads, failure);
}

KernelCode::Columns KernelCode::columns(std::size_t k, const std::array<std::int64_t, 3>& domain, const std::vector<ArrayArgument>& arrays,
                                        std::span<const std::uint64_t> scalars, FailureSlot& failure) {
  const std::int64_t threads = domain[0] * domain[1] * domain[2];
  const Stage& s = plan_.stages[k];
  const std::size_t room = std::min(kTapeBytes, device_.heap() / 4);
  const int group = std::max(1, group_threads(f_));
  Columns c;
  const auto all = static_cast<std::int64_t>(std::bit_ceil(static_cast<std::uint64_t>(std::max<std::int64_t>(threads, group))));
  if (!s.count) {  // nothing tells: few threads at a time, with all there is
    c.threads =
        std::max<std::int64_t>(std::min(all, kUnknownThreads), static_cast<std::int64_t>(std::bit_ceil(static_cast<unsigned>(group))));
    c.slots[0] = c.slots[1] = static_cast<std::int64_t>(room / 12) / c.threads;
    return c;
  }
  const ArrayArgument none{nullptr, {1, 1, 1}};
  std::int32_t peaks[2] = {0, 0};
  if (s.count_original.regions.size()) {
    std::vector<EvalMemory> memories;
    for (const ArrayArgument& a : arrays) memories.push_back({nullptr, a.extent});
    memories.push_back({nullptr, {1, 1, 1}});
    memories.push_back({nullptr, {1, 1, 1}});
    memories.push_back({reinterpret_cast<std::byte*>(peaks), {2, 1, 1}});
    evaluate_kernel(s.count_original, {1, 1, 1}, memories, scalars, {.races = false});
  } else {
    const Borrowed counted(device_, 64, "counts", f_.name);
    counted.zero();
    std::vector<ArrayArgument> counting = arrays;
    counting.insert(counting.end(), {none, none, {counted.at(), {2, 1, 1}}});
    dispatch(*stages_[k].count, *s.count, domain, counting, scalars, device_.limits().at_once, failure);
    device_.read(peaks, counted.at(), sizeof peaks);
  }
  for (int t = 0; t < 2; ++t) c.slots[t] = std::max<std::int64_t>(1, peaks[t]);
  const auto bytes = static_cast<std::size_t>(c.slots[0] * 4 + c.slots[1] * 8);
  c.threads = std::min(all, kTapeThreads);
  const auto least = static_cast<std::int64_t>(std::bit_ceil(static_cast<unsigned>(group)));
  while (c.threads > least && bytes * static_cast<std::size_t>(c.threads) > room) c.threads /= 2;
  return c;
}

// `at_once`: no more threads than that may be in flight.
void KernelCode::dispatch(Code& code, const Function& kernel, const std::array<std::int64_t, 3>& domain,
                          std::span<const ArrayArgument> arrays, std::span<const std::uint64_t> scalars, std::int64_t at_once,
                          FailureSlot& failure) {
  const bool groups = kernel.has_groups();
  Piece piece{domain, domain};
  for (std::size_t a = 0; a < 3; ++a)
    if (groups && kernel.group[a] > 0) piece.units[a] = domain[a] / kernel.group[a];
  const std::int64_t slab = piece.units[1] * piece.units[2], per_unit = groups ? group_threads(kernel) : 1;
  const std::int64_t most = groups ? std::min(device_.limits().at_once / per_unit, device_.limits().units) : device_.limits().at_once;
  if (slab > most)
    throw DeviceError(
        kernel.loc, fmt::format("kernel \"{}\": a slab of {} x {} threads is more than a {} device is given at once; launch it over parts",
                                kernel.name, domain[1], domain[2], device_.api()));
  const bool reports = !code.sites.empty();
  const bool prints = std::any_of(code.sites.begin(), code.sites.end(), [](const Site& s) { return s.code == Opcode::print; });
  const std::uint32_t room = prints ? kPrints : kChecks;
  const Borrowed report(device_, reports ? kReportHeader + room * static_cast<std::size_t>(kRecordHeader + 8 * code.values) : 0, "reports",
                        kernel.name);
  const std::int64_t rows_at_once = std::max<std::int64_t>(1, most / std::max<std::int64_t>(1, slab));
  const std::int64_t step = std::max<std::int64_t>(1, at_once / per_unit);
  for (piece.row = 0; piece.row < piece.units[0]; piece.row += rows_at_once) {
    const std::int64_t all = std::min(rows_at_once, piece.units[0] - piece.row) * slab;
    for (piece.first = 0; piece.first < all; piece.first += step) {
      if (cancelled())
        return failure.set(FailureSlot::Kind::cancelled, f_.loc, fmt::format("kernel \"{}\" was cancelled in the middle", f_.name));
      piece.end = std::min(all, piece.first + step);
      if (reports) {
        const std::uint32_t header[4] = {0, room, 0, 0};
        device_.write(report.at(), header, sizeof header);
      }
      device_.dispatch(code, kernel, piece, arrays, scalars, report.at());
      if (reports && !collect(code, report.at(), failure)) return;
    }
  }
}

// What threads have reported, in the order of the threads.
bool KernelCode::collect(const Code& code, const std::byte* report, FailureSlot& failure) {
  std::uint32_t header[4];
  device_.read(header, report, sizeof header);
  if (header[0] == 0) return true;
  const std::uint32_t n = std::min(header[0], header[1]);
  const auto stride = static_cast<std::size_t>(kRecordHeader + 8 * code.values);
  std::vector<std::byte> bytes(n * stride);
  device_.read(bytes.data(), report + kReportHeader, bytes.size());
  struct Record {
    std::uint32_t site, thread;
    const std::byte* values;
  };
  std::vector<Record> records;
  for (std::uint32_t k = 0; k < n; ++k) {
    Record r{};
    std::memcpy(&r.site, &bytes[k * stride], 4);
    std::memcpy(&r.thread, &bytes[k * stride + 4], 4);
    r.values = &bytes[k * stride + kRecordHeader];
    records.push_back(r);
  }
  std::stable_sort(records.begin(), records.end(), [](const Record& a, const Record& b) { return a.thread < b.thread; });
  for (const Record& r : records)
    if (code.sites.at(r.site).code == Opcode::for_) throw EndedLoop{};
  for (const Record& r : records) {
    const Site& site = code.sites.at(r.site);
    if (site.code == Opcode::for_) continue;
    std::vector<std::uint64_t> values(site.types.size());
    if (!values.empty()) std::memcpy(values.data(), r.values, values.size() * 8);
    const std::string text = format_text(site.text, site.types, values);
    if (site.code == Opcode::check) {
      failure.set(FailureSlot::Kind::kernel, site.loc, text);
      return false;
    }
    print_line(text);
  }
  if (header[0] > header[1])
    print_line(fmt::format("... {} more lines of \"{}\" are lost: a launch may print {}", header[0] - header[1], f_.name, header[1]));
  return true;
}

}  // namespace fluxion::gpu
