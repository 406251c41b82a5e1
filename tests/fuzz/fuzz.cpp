// Random structured programs through everything that may touch them. `./run fuzz` sets these:
//   FLUXION_FUZZ_COUNT   programs (default 5000; one of 10 also through the native backend, one of 25 on Vulkan)
//   FLUXION_FUZZ_SEED    the first seed (default 1): a failure prints its seed and a shrunk program
//   FLUXION_FUZZ_ONLY    one seed, printed in full
//   FLUXION_FUZZ_EVERY   1: every program runs on the devices, not one of 25
#include <catch2/catch.hpp>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <thread>

#include "capture.h"
#include "checks.h"

using namespace fluxion;
using namespace fluxion::fuzz;

namespace {

std::uint64_t setting(const char* name, std::uint64_t otherwise) {
  const char* text = std::getenv(name);
  return text && *text ? std::strtoull(text, nullptr, 10) : otherwise;
}
std::uint64_t only() { return setting("FLUXION_FUZZ_ONLY", 0); }
std::uint64_t count() { return only() ? 1 : setting("FLUXION_FUZZ_COUNT", 5000); }
std::uint64_t first_seed() { return only() ? only() : setting("FLUXION_FUZZ_SEED", 1); }

DType real_of(std::uint64_t seed) { return seed % 4 ? DType::f64 : DType::f32; }

/// Runs `check` on `p`; reports a failure with its smallest form.
template <class Check>
bool passes(const Program& p, const Check& check) {
  const std::string wrong = guarded([&] { return check(p); });
  if (wrong.empty()) return true;
  const Program small = shrink(p, check);
  std::string ir;
  try {
    ir = fluxion::print(*capture(small));
  } catch (const std::exception& e) { ir = e.what(); }
  FAIL_CHECK("seed " << p.seed << ": " << wrong << "\nshrunk: " << guarded([&] { return check(small); }) << "\n" << print(small) << ir);
  return false;
}

template <class Check>
void run_all(const Check& check, bool f64_only) {
  int failures = 0;
  for (std::uint64_t seed = first_seed(); seed < first_seed() + count() && failures < 3; ++seed) {
    const Program p = generate(seed, f64_only ? DType::f64 : real_of(seed));
    if (only()) std::printf("%s", print(p).c_str());
    failures += !passes(p, check);
  }
  INFO("seeds " << first_seed() << " to " << first_seed() + count() - 1);
  CHECK(failures == 0);
}

}  // namespace

TEST_CASE("random programs compute what direct execution does after capture and every exact pass", "[fuzz]") {
  run_all(check_values, false);
}

TEST_CASE("random programs have the derivatives of dual numbers in every mode and every construct meets every place", "[fuzz]") {
  Report report;
  run_all([&](const Program& p) { return check_derivatives(p, &report); }, true);
  std::printf("fuzz: seeds %llu to %llu: %d programs, %d refused, %d with derivatives beyond comparison\n",
              static_cast<unsigned long long>(first_seed()), static_cast<unsigned long long>(first_seed() + count() - 1), report.programs,
              report.refused, report.unbounded);
  for (const auto& [reason, n] : report.refusals) std::printf("fuzz: refused %d: %s\n", n, reason.c_str());
  if (only()) return;
  std::printf("%s", report.coverage.table().c_str());
  CHECK(50 * report.refused <= report.programs);
  CHECK(50 * report.unbounded <= report.programs);
  if (count() < 5000) return;  // too few to have met everything
  for (const std::string& cell : report.coverage.empty_cells()) FAIL_CHECK("not covered: " << cell);
}

TEST_CASE("the lowerings of random programs change nothing but rounding", "[fuzz]") {
  int failures = 0;
  for (std::uint64_t seed = first_seed(); seed < first_seed() + count() && failures < 3; ++seed)
    failures += !passes(generate(seed, real_of(seed)), check_lowering);
  CHECK(failures == 0);
}

TEST_CASE("random programs and their derivatives run alike in the evaluator and as native code at any width", "[fuzz]") {
  const std::shared_ptr<Backend> cpu = cpu_backend();
  constexpr int kWidths[] = {1, 2, 4, 8, 16};
  constexpr const char* kFeatures[] = {"", "", "", "", "", "", "avx2", "sse2"};  // this machine's, mostly
  const auto options_of = [&](std::uint64_t seed) {
    const std::uint64_t mixed = seed * 0x9E3779B97F4A7C15u >> 40;
    CompileOptions options;
    options.width = kWidths[mixed % std::size(kWidths)];
    options.features = kFeatures[mixed / 8 % std::size(kFeatures)];
    options.race = mixed / 64 % 8 == 0;  // of which none has one
    return options;
  };
  // Compiling takes the time, so all cores share the programs; failures are then reported by this thread.
  const std::uint64_t n = (count() + 9) / 10;
  const auto seed_of = [&](std::uint64_t k) { return first_seed() + 10 * k; };
  const auto type_of = [&](std::uint64_t k) { return real_of(k); };
  std::vector<char> failed(n);
  std::atomic<std::uint64_t> next = 0;
  const auto work = [&] {
    for (std::uint64_t k; (k = next++) < n;) {
      const Program p = generate(seed_of(k), type_of(k));
      failed[k] = !guarded([&] { return check_native(p, *cpu, options_of(p.seed), true); }).empty();
    }
  };
  std::vector<std::thread> threads;
  for (unsigned t = 0; t < std::max(1u, std::thread::hardware_concurrency()); ++t) threads.emplace_back(work);
  for (std::thread& t : threads) t.join();
  int failures = 0;
  for (std::uint64_t k = 0; k < n && failures < 3; ++k) {
    if (!failed[k]) continue;
    const CompileOptions options = options_of(seed_of(k));
    INFO("width " << options.width << " features \"" << options.features << "\"");
    const bool again = !passes(generate(seed_of(k), type_of(k)), [&](const Program& p) { return check_native(p, *cpu, options, true); });
    if (!again) FAIL_CHECK("seed " << seed_of(k) << " failed beside other threads only");
    ++failures;
  }
  CHECK(failures == 0);
}

namespace {

// Compilers of devices are slow: one of 25, unless all are asked for, with a derivative of each eighth.
void compare_on(Backend& device) {
  const std::uint64_t step = only() ? 1 : setting("FLUXION_FUZZ_EVERY", 25), n = (count() + step - 1) / step;
  int failures = 0;
  for (std::uint64_t k = 0; k < n && failures < 3; ++k) {
    const bool derivative = only() || k % 8 == 0;
    failures +=
        !passes(generate(first_seed() + step * k, real_of(k)), [&](const Program& p) { return check_native(p, device, {}, derivative); });
    if (step == 1 && (k + 1) % 100 == 0) {
      std::printf("fuzz: %llu programs on %s\n", static_cast<unsigned long long>(k + 1), device.name().c_str());
      std::fflush(stdout);
    }
  }
  CHECK(failures == 0);
}

/// Then it must be there.
bool is_asked_for(std::string_view device) {
  const char* asked = std::getenv("FLUXION_DEVICE");
  return asked && device == asked;
}

}  // namespace

TEST_CASE("random programs and their derivatives run alike in the evaluator and on a Vulkan device", "[fuzz][vulkan]") {
  std::shared_ptr<Backend> vulkan;
  try {
    vulkan = vulkan_backend();
  } catch (const DeviceError& e) {
    if (setting("FLUXION_FUZZ_EVERY", 0) || is_asked_for("vulkan")) throw;
    std::printf("\nskipped: %s\n", e.what());
  }
  if (vulkan) compare_on(*vulkan);
}

TEST_CASE("random programs and their derivatives run alike in the evaluator and on a CUDA device", "[fuzz][cuda]") {
  std::shared_ptr<Backend> cuda;
  try {
    cuda = cuda_backend();
  } catch (const DeviceError& e) {
    if (is_asked_for("cuda")) throw;
    std::printf("\nskipped: %s; the emulated device is compared instead\n", e.what());
    ::setenv("FLUXION_CUDA_EMULATE", "1", 1);
    try {
      cuda = cuda_backend();
    } catch (const DeviceError& none) { std::printf("\nskipped: %s\n", none.what()); }
    ::unsetenv("FLUXION_CUDA_EMULATE");
  }
  if (cuda) compare_on(*cuda);
}

TEST_CASE("every random program is valid and its reductions are valid", "[fuzz]") {
  for (std::uint64_t seed = 1; seed <= 12; ++seed) {
    const Program p = generate(seed, real_of(seed));
    INFO(print(p));
    CHECK(valid(p));
    const std::vector<Program> smaller = reductions(p);
    CHECK(std::all_of(smaller.begin(), smaller.end(), valid));
  }
}
