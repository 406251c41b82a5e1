// Host functions on arrays: launched by themselves and in programs, on every device, with rules, in loops, under checkpoints; what
// they throw; and what is refused.
#include <cmath>

#include "fluxion/ad.h"
#include "fluxion/external_code.h"
#include "inputs.h"
#include "torture.h"

using namespace fluxion;
using namespace fluxion::testing;
namespace fx = fluxion;

namespace {

/// y = the prefix sums of x * x, a; its derivatives written down.
auto prefix() {
  return fx::external("prefix",
                      [](fx::HostIn<double> x, double a, fx::HostOut<double> y) {
                        double sum = 0;
                        for (std::int64_t i = 0; i < x.size(); ++i) y[i] = sum += a * x[i] * x[i];
                      })
      .vjp([](fx::HostIn<double> x, double a, fx::HostIn<double> w, fx::HostAccum<double> gx, fx::HostAccum<double> ga) {
        double sum = 0;
        for (std::int64_t i = x.size(); i-- > 0;) {
          sum += w[i];
          gx[i] += 2 * a * x[i] * sum;
          ga[0] += x[i] * x[i] * sum;
        }
      })
      .jvp([](fx::HostIn<double> x, double a, fx::HostOut<double> y, fx::HostIn<double> dx, double da, fx::HostOut<double> dy) {
        double sum = 0, dot = 0;
        for (std::int64_t i = 0; i < x.size(); ++i) {
          y[i] = sum += a * x[i] * x[i];
          dy[i] = dot += da * x[i] * x[i] + 2 * a * x[i] * dx[i];
        }
      });
}

}  // namespace

TEST_CASE("a host function on arrays is a kernel that is called once", "[jit][external]") {
  int calls = 0;
  auto f = fx::external("stats", [&](fx::HostIn<float, 2> x, int n, fx::HostOut<double> y, fx::HostInOut<int> z, fx::HostAccum<double> e) {
    ++calls;
    CHECK(x.extent(0) == 2);
    CHECK(x.extent(1) == 3);
    for (std::int64_t i = 0; i < 2; ++i) y[i] = x(i, 0) + x(i, 1) * n + x(i, 2);
    for (int& v : z) v += n;
    e[0] += x.size();
  });
  for (const auto& dev : devices()) {
    calls = 0;
    auto x = dev.upload<float>({1, 2, 3, 4, 5, 6}, 2, 3);
    auto y = dev.zeros<double>(2);
    auto z = dev.upload<int>({5, 6});
    auto e = dev.full<double>(0.5, 1);
    f(x, 10, y, z, e);
    CHECK(y.host() == std::vector<double>{24, 60});
    CHECK(z.host() == std::vector<int>{15, 16});
    CHECK(e.item() == 6.5);
    CHECK(calls == 1);
    f.eager()(x, 10, y, z, e);
    CHECK(e.item() == 12.5);
  }
}

TEST_CASE("the rules of a host function on arrays are its derivatives", "[jit][external]") {
  const auto f = prefix();
  for (const auto& dev : devices()) {
    auto x = dev.upload<double>({1, 2, 3}), gx = dev.zeros<double>(3), ga = dev.zeros<double>(1);
    fx::vjp(f).over(1)(x, 0.5, dev.upload<double>({1, 1, 1}), gx, ga);
    CHECK(gx.host() == std::vector<double>{3, 4, 3});
    CHECK(ga.item() == 20);
    auto y = dev.zeros<double>(3);
    const auto report = fx::check_gradient(f.over(1), x, 0.5, y);
    INFO(report.text);
    CHECK(report.ok);
  }
}

TEST_CASE("programs launch host functions on arrays between kernels and are differentiated", "[jit][external]") {
  const auto f = prefix();
  using namespace fx::literals;
  auto mix = fx::kernel(
      "mix", [](fx::InOut<double> x, fx::In<double> y) { x[fx::index()] = 0.5 * x[fx::index()] + fx::sin(y[fx::index()]) * 0.1; });
  auto sim = fx::program("sim", [&](fx::Buffer<double> x0, fx::Double a, fx::Int steps) {
    auto x = fx::copy(x0), y = fx::zeros<double>(5);
    for ([[maybe_unused]] auto t : fx::range(steps)) {
      f(x, a, y);
      mix.over(5)(x, y);
    }
    return fx::sum(x);
  });
  const auto run = [&](std::vector<double> x, double a, int steps) {
    for (int t = 0; t < steps; ++t) {
      double sum = 0;
      for (double& v : x) {
        sum += a * v * v;
        v = 0.5 * v + std::sin(sum) * 0.1;
      }
    }
    double sum = 0;
    for (double v : x) sum += v;
    return sum;
  };
  for (const auto& dev : devices()) {
    const auto x0 = ramp(5, 0.4, 0.2);
    auto x = dev.upload(x0);
    CHECK(sim(x, 0.7, 4).item() == Approx(run(x0, 0.7, 4)));
    const auto [value, gx, ga] = fx::value_and_grad(sim)(x, 0.7, 4);
    CHECK(value.item() == Approx(run(x0, 0.7, 4)));
    CHECK(ga.item() == Approx((run(x0, 0.7 + 1e-5, 4) - run(x0, 0.7 - 1e-5, 4)) / 2e-5).epsilon(1e-7));
    for (std::size_t i = 0; i < 5; ++i) {
      auto up = x0, down = x0;
      up[i] += 1e-5, down[i] -= 1e-5;
      CHECK(gx.host()[i] == Approx((run(up, 0.7, 4) - run(down, 0.7, 4)) / 2e-5).epsilon(1e-7));
    }
    const auto [v2, gx2, ga2] = fx::value_and_grad(sim, {.checkpoint = fx::strips(2)})(x, 0.7, 4);
    CHECK(gx2.host() == gx.host());
    const auto [v3, gx3, ga3] = fx::value_and_grad(sim, {.checkpoint = fx::revolve(2)})(x, 0.7, 4);
    CHECK(gx3.host() == gx.host());
    const auto tangent = fx::jvp(sim)(x, 0.7, 4, dev.full<double>(0, 5), 1.0);
    CHECK(std::get<1>(tangent).item() == Approx(ga.item()));
  }
}

TEST_CASE("old versions of arrays stay what they were when a host function writes", "[jit][external]") {
  auto bump = fx::external("bump", [](fx::HostInOut<double> x, fx::HostIn<double> y) {
    for (std::int64_t i = 0; i < x.size(); ++i) x[i] += y[x.size() - 1 - i];
  });
  auto reverse = fx::external("reverse", [](fx::HostIn<double> x, fx::HostOut<double> y) {
    for (std::int64_t i = 0; i < x.size(); ++i) y[i] = 0;
    for (std::int64_t i = 0; i < x.size(); ++i) y[i] += x[x.size() - 1 - i];
  });
  auto p = fx::program("p", [&](fx::Buffer<double> x0) {
    auto x = fx::copy(x0);
    bump(x, x0);
    auto y = fx::zeros<double>(4);
    reverse(x, y);
    auto z = fx::zeros<double>(4);
    reverse(y, z);
    return std::tuple(y, fx::Buffer<double>(x + z));
  });
  auto chain = fx::program("chain", [&](fx::Buffer<double> x0) {
    auto x = fx::copy(x0), y = fx::zeros<double>(4), z = fx::zeros<double>(4);
    reverse(x, y);
    reverse(y, z);
    auto w = fx::zeros<double>(4);
    reverse(z, w);
    return w;
  });
  for (const auto& dev : devices()) {
    CHECK(chain(dev.upload<double>({1, 2, 3, 4})).host() == std::vector<double>{4, 3, 2, 1});
    const auto [y, z] = p(dev.upload<double>({1, 2, 3, 4}));
    CHECK(y.host() == std::vector<double>{5, 5, 5, 5});
    CHECK(z.host() == std::vector<double>{10, 10, 10, 10});
  }
}

TEST_CASE("what a host function on arrays throws is thrown by what waits", "[jit][external]") {
  const std::uint32_t line = __LINE__ + 1;
  auto f = fx::external("strict", [](fx::HostIn<double> x, fx::HostOut<double> y) {
    if (x[0] < 0) throw std::invalid_argument("not below zero");
    y[0] = x[0];
  });
  auto p = fx::program("p", [&](fx::Buffer<double> x) {
    auto y = fx::zeros<double>(1);
    f(x, y);
    return y;
  });
  for (const auto& dev : devices()) {
    auto x = dev.upload<double>({-1}), y = dev.zeros<double>(1);
    f(x, y);
    try {
      (void)y.host();
      FAIL("nothing was thrown");
    } catch (const fx::KernelError& e) {
      CHECK_THAT(e.what(), Catch::Contains("external \"strict\" threw: not below zero"));
      CHECK(e.where().line == line);
    }
    CHECK_THROWS_WITH(p(x).item(), Catch::Contains("external \"strict\" threw: not below zero"));
    CHECK(p(dev.upload<double>({2})).item() == 2);
  }
}

TEST_CASE("what cannot be done with a host function on arrays is refused", "[jit][external]") {
  const auto dev = fx::Device::best();
  auto f = fx::external("bare", [](fx::HostIn<double> x, fx::HostOut<double> y) { y[0] = x[0] * x[0]; });
  CHECK_THROWS_WITH(fx::vjp(f), Catch::Contains("external \"bare\"") && Catch::Contains("give it a rule"));
  CHECK_THROWS_WITH(fx::jvp(f), Catch::Contains("give it a rule"));
  CHECK_THROWS_WITH(fx::jvp<2>(prefix()), Catch::Contains("one tangent at a time"));
  CHECK_THROWS_WITH(fx::vmap(f), Catch::Contains("host function"));
  auto x = dev.upload<double>({3}), y = dev.zeros<double>(1);
  CHECK_THROWS_WITH(fx::sparse_jacobian(f)(x, y), Catch::Contains("nobody knows"));
  CHECK_THROWS_WITH(f(x, x), Catch::Contains("same array"));
  auto p = fx::program("p", [&](fx::Buffer<double> x) {
    auto y = fx::zeros<double>(1);
    f(x, y);
    return y;
  });
  CHECK_THROWS_WITH(fx::value_and_grad(p)(x), Catch::Contains("give it a rule"));
  CHECK_THROWS_WITH(fx::jvp(p)(x, x), Catch::Contains("give it a rule"));
  // Constant to the derivative: none is needed.
  auto scale = fx::kernel("scale", [](fx::InOut<double> y, fx::Double a) { y[fx::index()] *= a; });
  auto scaled = fx::program("scaled", [&](fx::Buffer<double> x, fx::Double a) {
    auto y = fx::zeros<double>(1);
    f(x, y);
    scale.over(1)(y, a);
    return fx::sum(y);
  });
  const auto [v, ga] = fx::value_and_grad(scaled, fx::wrt<1>)(x, 2.0);
  CHECK(ga.item() == 9);
  CHECK_THROWS_WITH(fx::external("loud", [](fx::HostIn<double>) {}, fx::impure), Catch::Contains("fx::impure means nothing"));
}

TEST_CASE("kernels of host functions read back in this process", "[jit][external]") {
  const auto f = prefix();
  const std::string text = print(*f.function());
  CHECK(print(parse(text)) == text);
}
