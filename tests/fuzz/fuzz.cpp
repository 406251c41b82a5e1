// Random structured programs through everything that may touch them.
//   FLUXION_FUZZ_COUNT   programs (default 2000; 3 of 20 also through the native backend)
//   FLUXION_FUZZ_SEED    the first seed (default 1): a failure prints its seed and a shrunk program
#include <catch2/catch.hpp>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <thread>

#include "../../ad/mutants.h"
#include "capture.h"
#include "checks.h"

using namespace fluxion;
using namespace fluxion::fuzz;

namespace {

std::uint64_t setting(const char* name, std::uint64_t otherwise) {
  const char* text = std::getenv(name);
  return text ? std::strtoull(text, nullptr, 10) : otherwise;
}
std::uint64_t count() { return setting("FLUXION_FUZZ_COUNT", 2000); }
std::uint64_t first_seed() { return setting("FLUXION_FUZZ_SEED", 1); }

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
  } catch (const std::exception& e) {
    ir = e.what();
  }
  FAIL_CHECK("seed " << p.seed << ": " << wrong << "\nshrunk: " << guarded([&] { return check(small); }) << "\n" << print(small) << ir);
  return false;
}

template <class Check>
void run_all(std::uint64_t n, DType only, const Check& check) {
  int failures = 0;
  for (std::uint64_t seed = first_seed(); seed < first_seed() + n && failures < 3; ++seed) {
    if (only == DType::f64 && real_of(seed) != DType::f64) continue;
    failures += !passes(generate(seed, real_of(seed)), check);
  }
  CHECK(failures == 0);
}

}  // namespace

TEST_CASE("random programs compute what direct execution does after capture and every exact pass", "[fuzz]") {
  run_all(count(), DType::f32, check_values);
}

TEST_CASE("random programs have the derivatives of dual numbers in both modes", "[fuzz]") {
  int failures = 0;
  for (std::uint64_t seed = first_seed(); seed < first_seed() + count() && failures < 3; ++seed)
    failures += !passes(generate(seed, DType::f64), check_derivatives);
  CHECK(failures == 0);
}

TEST_CASE("derivatives of random programs can be differentiated again", "[fuzz]") {
  int failures = 0;
  for (std::uint64_t seed = first_seed(); seed < first_seed() + count() && failures < 3; seed += 8)
    failures += !passes(generate(seed, DType::f64), check_second_order);
  CHECK(failures == 0);
}

TEST_CASE("random programs run alike in the evaluator and as native code at any width", "[fuzz]") {
  const std::shared_ptr<Backend> cpu = cpu_backend();
  constexpr int kWidths[] = {1, 2, 4, 8, 16};
  constexpr const char* kFeatures[] = {"", "", "", "", "", "", "avx2", "sse2"};  // this machine's, mostly
  const auto options_of = [&](std::uint64_t seed) {
    const std::uint64_t mixed = seed * 0x9E3779B97F4A7C15u >> 40;
    CompileOptions options;
    options.width = kWidths[mixed % std::size(kWidths)];
    options.features = kFeatures[mixed / 8 % std::size(kFeatures)];
    return options;
  };
  // Compiling takes the time, so all cores share the programs; failures are then reported by this thread.
  const std::uint64_t n = count() * 3 / 20;
  std::vector<char> failed(n);
  std::atomic<std::uint64_t> next = 0;
  const auto work = [&] {
    for (std::uint64_t k; (k = next++) < n;) {
      const std::uint64_t seed = first_seed() + k;
      const Program p = generate(seed, real_of(seed));
      failed[k] = !guarded([&] { return check_native(p, *cpu, options_of(seed)); }).empty();
    }
  };
  std::vector<std::thread> threads;
  for (unsigned t = 0; t < std::max(1u, std::thread::hardware_concurrency()); ++t) threads.emplace_back(work);
  for (std::thread& t : threads) t.join();
  int failures = 0;
  for (std::uint64_t k = 0; k < n && failures < 3; ++k) {
    if (!failed[k]) continue;
    const std::uint64_t seed = first_seed() + k;
    const CompileOptions options = options_of(seed);
    INFO("width " << options.width << " features \"" << options.features << "\"");
    const bool again = !passes(generate(seed, real_of(seed)), [&](const Program& p) { return check_native(p, *cpu, options); });
    if (!again) FAIL_CHECK("seed " << seed << " failed beside other threads only");
    ++failures;
  }
  CHECK(failures == 0);
}

TEST_CASE("random programs catch each of the four planted mistakes in reverse mode", "[fuzz][mutants]") {
  using testing::Mutant;
  const auto mutant = GENERATE(Mutant::no_zeroing, Mutant::stale_loads, Mutant::zero_after_accumulate, Mutant::no_trip_count);
  INFO("mutant " << static_cast<int>(mutant));
  struct Planted {
    explicit Planted(Mutant m) { testing::plant(m); }
    ~Planted() { testing::plant(Mutant::none); }
  };
  std::uint64_t seed = 1;
  for (const Planted planted(mutant); seed <= 2000; ++seed) {
    const Program p = generate(seed, DType::f64);
    if (!guarded([&] { return check_derivatives(p); }).empty()) break;
  }
  INFO("caught by program " << seed);
  CHECK(seed <= 2000);
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
