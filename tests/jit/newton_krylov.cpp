// Large nonlinear systems: -u'' + c u^3 = f on a line, and its derivatives of the first and second order against differences.
#include "torture.h"

using namespace fluxion;
using namespace fluxion::testing;
namespace fx = fluxion;
using B = fx::Buffer<double>;

namespace {

constexpr int n = 30;

auto residual() {
  const auto k = fx::kernel("residual", [](fx::In<double> u, fx::In<double> c, fx::In<double> f, fx::Double nu, fx::Out<double> r) {
    auto i = fx::index();
    fx::Double left = 0.0, right = 0.0;
    fx::if_(i > 0, [&] { left = u[i - 1]; });
    fx::if_(i + 1 < u.extent(0), [&] { right = u[i + 1]; });
    r[i] = nu * (2.0 * u[i] - left - right) + c[i] * u[i] * u[i] * u[i] - f[i];
  });
  return fx::program("residual", [k](B u, B c, B f, fx::Double nu) {
    auto r = fx::empty_like(u);
    k.over(n)(u, c, f, nu, r);
    return r;
  });
}
B line(unsigned seed, double lo, double hi) {
  std::mt19937_64 random(seed);
  std::uniform_real_distribution<double> u(lo, hi);
  std::vector<double> v(n);
  for (double& x : v) x = u(random);
  return Device::best().upload(v);
}

}  // namespace

TEST_CASE("newton_krylov solves a nonlinear boundary value problem and is differentiated twice", "[jit]") {
  const auto r = residual();
  const auto solve = fx::newton_krylov(r, {.tolerance = 1e-11, .linear = {.tolerance = 1e-12}});
  const auto zero = line(0, 0, 0), c = line(1, 0.5, 2), f = line(2, -1, 2);
  const auto u = solve(zero, c, f, 0.8);
  for (const double v : r(u, c, f, 0.8).host()) CHECK(std::abs(v) < 1e-9);
  const auto loss = fx::program("loss", [solve](B start, B a, B b, fx::Double nu) { return fx::sum(fx::square(solve(start, a, b, nu))); });
  const auto from_zero = fx::program("from_zero", [loss](B a, B b, fx::Double nu) { return loss(fx::zeros_like(a), a, b, nu); });
  const auto report = fx::check_gradient(from_zero, c, f, 0.8);
  INFO(report.text);
  CHECK(report.ok);
  CHECK(loss(u, c, f, 0.8).host()[0] == Approx(loss(zero, c, f, 0.8).host()[0]).epsilon(1e-10));
  for (const double g : std::get<1>(fx::value_and_grad(loss)(zero, c, f, 0.8)).host()) CHECK(g == 0);
  const auto slopes = fx::program("slopes", [g = fx::value_and_grad(loss, fx::wrt<1, 2, 3>)](B a, B b, fx::Double nu) {
    auto [l, ga, gb, gn] = g(fx::zeros_like(a), a, b, nu);
    return fx::sum(fx::square(ga)) + fx::sum(gb * a) + gn;
  });
  const auto second = fx::check_gradient(slopes, c, f, 0.8);
  INFO(second.text);
  CHECK(second.ok);
}

TEST_CASE("newton_krylov without convergence is an error with the steps", "[jit]") {
  const auto solve = fx::newton_krylov(residual(), {.tolerance = 1e-11, .max_steps = 2});
  CHECK_THROWS_WITH(solve(line(3, 5, 9), line(1, 0.5, 2), line(2, -1, 2), 0.8).host(),
                    Catch::Contains("newton_krylov: no convergence: after 2 steps") && Catch::Contains("newton_krylov.cpp"));
}
