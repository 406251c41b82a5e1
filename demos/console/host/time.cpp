// :time: the median of many launches, on each device, beside what the device could do at best. Arrays are copied first, so that what
// is timed changes nothing. The limits are measured, once for each device: a sum of two large arrays, and chains of fma.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <map>

#include "cost.h"
#include "fluxion/console/host.h"

namespace fluxion::console {
namespace {

using Clock = std::chrono::steady_clock;
double seconds_since(Clock::time_point t) { return std::chrono::duration<double>(Clock::now() - t).count(); }

/// The median time of one call (or with `share` 0 the shortest); calls shorter than 200 us are timed in groups.
template <class F> double median_seconds(const F& once, const Device& device, double budget = 0.3, double share = 0.5) {
  auto t = Clock::now();
  once();
  device.wait();
  const double first = std::max(seconds_since(t), 1e-9);
  const int group = std::clamp(static_cast<int>(200e-6 / first), 1, 1000);
  std::vector<double> all;
  const auto start = Clock::now();
  while (all.size() < 5 || (seconds_since(start) < budget && all.size() < 1000)) {
    if (all.size() >= 3 && seconds_since(start) > 5) break;
    t = Clock::now();
    for (int k = 0; k < group; ++k) once();
    device.wait();
    all.push_back(seconds_since(t) / group);
  }
  const auto k = static_cast<std::size_t>(share * static_cast<double>(all.size()));
  std::nth_element(all.begin(), all.begin() + static_cast<std::ptrdiff_t>(k), all.end());
  return all[k];
}

struct Limits {
  double bytes = 0, flops = 0;  // a second
};
const Limits& limits_of(const Device& device) {
  static std::map<std::string, Limits> known;
  const auto found = known.find(device.name());
  if (found != known.end()) return found->second;
  Limits l;
  const std::int64_t n = 1 << 23;
  const auto a = device.zeros<float>(n), b = device.zeros<float>(n), c = device.zeros<float>(n);
  const auto triad = kernel("limit_of_memory", [](In<float> x, In<float> y, Out<float> z) {
    const auto i = index();
    z[i] = x[i] + y[i];
  });
  l.bytes = 12.0 * static_cast<double>(n) / median_seconds([&] { triad.over(n)(a, b, c); }, device, 0.1, 0);
  const auto chains = kernel("limit_of_arithmetic", [](InOut<float> x) {
    const auto i = index();
    Float v[8];
    for (int k = 0; k < 8; ++k) v[k] = x[i] + static_cast<float>(k);
    for ([[maybe_unused]] const auto t : range(256))
      for (int k = 0; k < 8; ++k) v[k] = fma(v[k], v[k], 0.5f);
    Float sum = v[0];
    for (int k = 1; k < 8; ++k) sum += v[k];
    x[i] = sum;
  });
  const std::int64_t m = 1 << 16;
  l.flops = 2.0 * 8 * 256 * static_cast<double>(m) / median_seconds([&] { chains.over(m)(device.zeros<float>(m)); }, device, 0.1, 0);
  return known[device.name()] = l;
}

std::string time_text(double s) {
  if (s < 1e-6) return fmt::format("{:.1f} ns", s * 1e9);
  if (s < 1e-3) return fmt::format("{:.2f} us", s * 1e6);
  if (s < 1) return fmt::format("{:.2f} ms", s * 1e3);
  return fmt::format("{:.2f} s", s);
}
std::string big(double n) {
  const char* const units[] = {"", " k", " M", " G", " T"};
  std::size_t k = 0;
  for (; n >= 1000 && k < 4; ++k) n /= 1000;
  return fmt::format("{:.3g}{}", n, units[k]);
}

/// The arguments with their arrays on `device`: copies.
std::vector<detail::Argument> copied(std::span<const detail::Argument> arguments, const Device& device) {
  std::vector<detail::Argument> out(arguments.begin(), arguments.end());
  for (detail::Argument& a : out) {
    if (!a.array) continue;
    const Array from(a.array);
    const Array to = Array::make(device, from.element(), from.shape(), Array::Fill::memory);
    to.copy_from(from);
    a.array = to.shared();
  }
  return out;
}

/// The bytes of all arrays, each once and twice where it is read and written: what a launch must move at least.
double least_bytes(const Function& f, std::span<const detail::Argument> arguments) {
  double bytes = 0;
  std::size_t k = 0;
  for (const Parameter& p : f.parameters) {
    if (p.kind == Parameter::Kind::memory && f[p.memory].scratch) continue;
    if (k >= arguments.size()) break;
    const detail::Argument& a = arguments[k++];
    if (p.kind != Parameter::Kind::memory || !a.array) continue;
    const double all = static_cast<double>(a.array->count()) * layout_of(a.array->element).size;
    bytes += all * (p.role == Role::inout || p.role == Role::accum ? 2 : 1);
  }
  return bytes;
}

std::vector<Device> devices() {
  std::vector<Device> out;
  for (const Device& d : Device::list())
    if (d.name() != "reference" || Device::best().name() == "reference") out.push_back(d);
  return out;
}

}  // namespace

void time_kernel(const detail::KernelHandle& k, std::array<std::int64_t, 3> domain, int rank, std::span<const detail::Argument> arguments,
                 Loc at) {
  const Function& f = *k.function();
  const auto points = k.domain(domain, rank, arguments, at);
  const double count = static_cast<double>(points[0]) * static_cast<double>(points[1]) * static_cast<double>(points[2]);
  const Cost c = cost_of(f);
  const double flops = (c.flops + c.functions) * count, bytes = least_bytes(f, arguments);
  std::string out = fmt::format("{} over {} points: {}{} flop, at least {}B of arrays\n", f.name, static_cast<long long>(count),
                                c.exact ? "" : "about ", big(flops), big(bytes));
  for (const Device& device : devices()) {
    try {
      const auto list = copied(arguments, device);
      const auto t = Clock::now();
      k.launch(domain, rank, list, at);
      device.wait();
      const double first = seconds_since(t);
      const double s = median_seconds([&] { k.launch(domain, rank, list, at); }, device);
      out += fmt::format("{:<10} {:>10}  (first call {})  {}B/s  {}flop/s", device.name(), time_text(s), time_text(first), big(bytes / s),
                         big(flops / s));
      const Limits& l = limits_of(device);
      const double memory = bytes / s / l.bytes, arithmetic = flops / s / l.flops;
      if (memory > 1.05) out += fmt::format("  above the memory's {}B/s: the arrays stay in caches\n", big(l.bytes));
      else
        out += memory >= arithmetic ? fmt::format("  {:.0f} % of the memory's {}B/s\n", 100 * memory, big(l.bytes))
                                    : fmt::format("  {:.0f} % of the {}flop/s of fma\n", 100 * arithmetic, big(l.flops));
    } catch (const Error& e) { out += fmt::format("{:<10} {}\n", device.name(), e.what()); }
  }
  emit(out, "text");
}

void time_program(const detail::ProgramHandle& p, std::span<const detail::Argument> arguments, Loc at) {
  std::string out;
  for (const Device& device : devices()) {
    try {
      const auto list = copied(arguments, device);
      const auto t = Clock::now();
      p.call(list, at);
      device.wait();
      const double first = seconds_since(t);
      const double s = median_seconds([&] { p.call(list, at); }, device);
      out += fmt::format("{:<10} {:>10}  (first call {})\n", device.name(), time_text(s), time_text(first));
    } catch (const Error& e) {
      const bool elsewhere = std::string_view(e.what()).find("is on device") != std::string_view::npos;
      out += fmt::format(
          "{:<10} {}\n{}", device.name(), e.what(),
          elsewhere ? fmt::format("{:<10} (:time copies arguments to each device; arrays that the program captures stay where they "
                                  "are: pass them as arguments)\n",
                                  "")
                    : "");
    }
  }
  const ProgramUse use = p.use(arguments);
  emit(fmt::format("program {}: {} launches, {}B of arrays of its own\n{}", p.name(), use.launches, big(static_cast<double>(use.bytes)),
                   out),
       "text");
}

void time_code(const std::function<void()>& code) {
  const Device device = Device::best();
  const auto t = Clock::now();
  code();
  device.wait();
  const double first = seconds_since(t);
  emit(fmt::format("{}  (first run {})", time_text(median_seconds(code, device)), time_text(first)), "text");
}

}  // namespace fluxion::console
