// How texts, caches and the tracer of NaNs tell host functions apart.
#include <unistd.h>

#include <catch2/catch.hpp>
#include <cmath>
#include <cstdlib>
#include <filesystem>

#include "fluxion/cache.h"
#include "fluxion/evaluate.h"
#include "fluxion/external_code.h"
#include "fluxion/fluxion.h"
#include "inputs.h"

using namespace fluxion;
using namespace fluxion::testing;
namespace fx = fluxion;

namespace {

double cubic(double x) { return x * x * x + 2 * x; }

}  // namespace

TEST_CASE("texts with host functions read back in this process and are refused elsewhere", "[jit][external]") {
  const auto f = fx::external("cubic", cubic).vjp([](fx::Double x, fx::Double w) { return w * (3.0 * x * x + 2.0); });
  auto k = fx::kernel("k", [&](fx::In<double> x, fx::Out<double> y) { y[fx::index()] = f(x[fx::index()]); });
  const std::string text = print(*k.function());
  CHECK_THAT(text, Catch::Contains("external "));
  const Function back = parse(text);
  CHECK(print(back) == text);
  std::vector<double> x{1.5, 2}, y(2);
  const EvalMemory memories[] = {{reinterpret_cast<std::byte*>(x.data()), {2, 1, 1}}, {reinterpret_cast<std::byte*>(y.data()), {2, 1, 1}}};
  evaluate_kernel(back, {2, 1, 1}, memories, {});
  CHECK(y == std::vector<double>{cubic(1.5), cubic(2)});
  CHECK_THROWS_WITH(parse("fn @f(%p0: f64) -> f64 external 4000000000 {\n  yield %p0\n}\n"), Catch::Contains("the process that wrote it"));
  const auto number = f.function()->external->number;
  CHECK_THROWS_WITH(parse("fn @f(%p0: f32) -> f32 external " + std::to_string(number) + " {\n  yield %p0\n}\n"),
                    Catch::Contains("another signature"));
}

TEST_CASE("kernels that differ in the host function only are not taken for one another", "[jit][external]") {
  const auto dev = fx::Device::best();
  const auto make = [&](double c) {
    auto f = fx::external("f", [c](double x) { return c * x; });
    return fx::kernel("k", [&](fx::In<double> x, fx::Out<double> y) { y[fx::index()] = f(x[fx::index()]); });
  };
  auto x = dev.upload(ramp(3, 1, 1)), y = dev.zeros<double>(3);
  for (double c : {2.0, 3.0, 4.0}) {
    make(c)(x, y);
    CHECK(y.host()[2] == 3 * c);
  }
  // Two functions of one name in one kernel.
  auto f = fx::external("f", [](double x) { return x + 1; });
  auto g = fx::external("f", [](double x) { return x * 10; });
  auto k = fx::kernel("k", [&](fx::In<double> x, fx::Out<double> y) { y[fx::index()] = f(x[fx::index()]) + g(x[fx::index()]); });
  k(x, y);
  CHECK(y.host() == std::vector<double>{12, 23, 34});
  // The function lives as long as what calls it.
  clear_memory_cache();
  auto last = make(7.0);
  last(x, y);
  CHECK(y.host()[0] == 7);
}

TEST_CASE("code from the disk calls the host function of its kernel", "[jit][external]") {
  const auto directory = std::filesystem::temp_directory_path() / ("fluxion_external_" + std::to_string(::getpid()));
  ::setenv("FLUXION_CACHE_DIR", directory.c_str(), 1);
  clear_memory_cache();
  const auto dev = fx::Device::cpu();
  double factor = 2;
  auto f = fx::external("f", [&](double x) { return factor * x; });
  auto k = fx::kernel("k", [&](fx::In<double> x, fx::Out<double> y) { y[fx::index()] = f(x[fx::index()]); });
  auto x = dev.upload(ramp(3, 1, 1)), y = dev.zeros<double>(3);
  k(x, y);
  clear_memory_cache();
  const auto before = cache_counts().disk;
  factor = 5;
  auto again = fx::kernel("k", [&](fx::In<double> x, fx::Out<double> y) { y[fx::index()] = f(x[fx::index()]); });
  again(x, y);
  CHECK(y.host() == std::vector<double>{5, 10, 15});
  CHECK(cache_counts().disk == before + 1);
  ::unsetenv("FLUXION_CACHE_DIR");
  std::filesystem::remove_all(directory);
}

TEST_CASE("a NaN that a host function gives is traced to its call", "[jit][external][nan]") {
  ::setenv("FLUXION_DEBUG", "nan", 1);
  std::uint32_t line = 0;
  auto f = fx::external("gap", [](double x) { return x == 3 ? std::nan("") : x; });
  auto k = fx::kernel("k", [&](fx::In<double> x, fx::Out<double> y) {
    auto i = fx::index();
    line = __LINE__ + 1;
    y[i] = 2.0 * f(x[i]) + 1.0;
  });
  const auto dev = fx::Device::best();
  auto y = dev.zeros<double>(5);
  k(dev.upload(ramp(5, 0, 1)), y);
  ::unsetenv("FLUXION_DEBUG");
  try {
    dev.wait();
    FAIL("nothing was thrown");
  } catch (const fx::KernelError& e) {
    CHECK_THAT(e.what(), Catch::Contains("an external function = nan") && Catch::Contains("thread (3)"));
    CHECK(e.where().line == line);
  }
}
