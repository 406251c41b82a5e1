// First light.
#include <catch2/catch.hpp>
#include "fluxion/fluxion.h"
#include "../jit/inputs.h"
using namespace fluxion;
TEST_CASE("vulkan saxpy", "[vulkan]") {
  auto d = Device::named("vulkan");
  INFO(d.description());
  auto k = kernel("saxpy", [](In<float> x, InOut<float> y, Float a) { auto i = index(); y[i] = a * x[i] + y[i]; });
  auto x = d.upload({1.f, 2.f, 3.f}), y = d.upload({1.f, 1.f, 1.f});
  k(x, y, 2.f);
  auto h = y.host();
  WARN(d.description());
  REQUIRE(h == std::vector<float>{3, 5, 7});
}
