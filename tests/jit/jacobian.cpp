// Several tangents, Jacobians, Hessians and Hessian-vector products as users call them: on the host and in kernels.
#include <catch2/catch.hpp>

#include <cmath>

#include "fluxion/fluxion.h"
#include "fluxion/passes.h"

namespace fx = fluxion;

namespace {
using V3 = fx::Vec<fx::Double, 3>;
const auto rosenbrock = fx::fn("rosenbrock", [](V3 x) {
  fx::Double s = 0.0;
  s += 100.0 * fx::square(x.y - x.x * x.x) + fx::square(1.0 - x.x);
  s += 100.0 * fx::square(x.z - x.y * x.y) + fx::square(1.0 - x.y);
  return s;
});
// Its Hessian by hand.
std::array<double, 9> hessian_of_rosenbrock(double x, double y, double z) {
  return {1200 * x * x - 400 * y + 2, -400 * x, 0, -400 * x, 202 + 1200 * y * y - 400 * z, -400 * y, 0, -400 * y, 200};
}
}  // namespace

TEST_CASE("the Jacobian of a function of vectors is the matrix of its partials", "[jit][ad]") {
  auto polar = fx::fn([](fx::Vec<fx::Double, 2> p) { return fx::Vec<fx::Double, 2>(p.x * fx::cos(p.y), p.x * fx::sin(p.y)); });
  const auto j = fx::jacobian(polar)(fx::Vec<double, 2>{2.0, 0.5});
  CHECK(j(0, 0) == Approx(std::cos(0.5)).epsilon(1e-14));
  CHECK(j(0, 1) == Approx(-2 * std::sin(0.5)).epsilon(1e-14));
  CHECK(j(1, 0) == Approx(std::sin(0.5)).epsilon(1e-14));
  CHECK(j(1, 1) == Approx(2 * std::cos(0.5)).epsilon(1e-14));
  // Three sums, one number: wide and tall ones.
  auto wide = fx::fn([](V3 x) { return fx::Vec<fx::Double, 2>(x.x * x.y, x.z * x.z * x.x); });
  const auto w = fx::jacobian(wide)(fx::Vec<double, 3>{2, 3, 5});
  const double expected[] = {3, 2, 0, 25, 0, 20};
  for (int k = 0; k < 6; ++k) CHECK(w.e[k] == expected[k]);
  auto tall = fx::fn([](fx::Double x) { return V3(x, x * x, x * x * x); });
  CHECK(fx::jacobian(tall)(2.0) == fx::Vec<double, 3>{1, 4, 12});
}

TEST_CASE("Hessians and Hessian-vector products agree with those by hand, on the host and in kernels", "[jit][ad]") {
  const double x = 0.7, y = -0.3, z = 1.2;
  const auto expected = hessian_of_rosenbrock(x, y, z);
  const auto h = fx::hessian(rosenbrock)(fx::Vec<double, 3>{x, y, z});
  for (int k = 0; k < 9; ++k) CHECK(h.e[k] == Approx(expected[static_cast<std::size_t>(k)]).epsilon(1e-12).margin(1e-12));
  const fx::Vec<double, 3> v{1.0, -2.0, 0.5};
  const auto hv = fx::hvp(rosenbrock)(fx::Vec<double, 3>{x, y, z}, v);
  for (int i = 0; i < 3; ++i) {
    double sum = 0;
    for (int j = 0; j < 3; ++j) sum += expected[static_cast<std::size_t>(3 * i + j)] * v[j];
    CHECK(hv[i] == Approx(sum).epsilon(1e-12));
  }
  auto newton = fx::kernel("newton", [](fx::InOut<fx::Vec<double, 3>> p) {
    auto i = fx::index();
    V3 q = p[i], v(1.0, -2.0, 0.5);
    auto h = fx::hessian(rosenbrock)(q);
    p[i] = h * v - fx::hvp(rosenbrock)(q, v);
  });
  for (const auto& dev : {fx::Device::best(), fx::Device::reference()}) {
    auto p = dev.upload(std::vector<fx::Vec<double, 3>>{{x, y, z}, {1, 1, 1}});
    newton(p);
    for (const auto& q : p.host())
      for (int k = 0; k < 3; ++k) CHECK(std::abs(q[k]) < 1e-9);
  }
}

TEST_CASE("torture 21: Jacobians compose with gradients", "[jit][ad][torture]") {
  // The sum of squares of a Hessian, differentiated: third derivatives.
  auto energy = fx::fn([](V3 x) {
    auto h = fx::hessian(rosenbrock)(x);
    fx::Double s = 0.0;
    for (int k = 0; k < 9; ++k) s += h.e[k] * h.e[k];
    return s;
  });
  const auto value = [](double x, double y, double z) {
    double s = 0;
    for (double h : hessian_of_rosenbrock(x, y, z)) s += h * h;
    return s;
  };
  const double p[] = {0.7, -0.3, 1.2}, step = 1e-4;
  const auto g = fx::grad(energy)(fx::Vec<double, 3>{p[0], p[1], p[2]});
  for (int k = 0; k < 3; ++k) {
    double a[] = {p[0], p[1], p[2]}, b[] = {p[0], p[1], p[2]};
    a[k] += step, b[k] -= step;
    CHECK(g[k] == Approx((value(a[0], a[1], a[2]) - value(b[0], b[1], b[2])) / (2 * step)).epsilon(1e-6));
  }
}

TEST_CASE("a kernel with four tangents at once", "[jit][ad]") {
  auto k = fx::kernel("k", [](fx::In<double> x, fx::Double s, fx::Out<double> y, fx::Accum<double> e) {
    auto i = fx::index();
    fx::Double v = x[i];
    for (auto t : fx::range(3)) v = fx::sin(v) * s + fx::Double(t);
    y[i] = v;
    e[0] += v * v;
  });
  const int n = 19, many = 4;
  std::vector<double> x(n), dx(many * n);
  for (int i = 0; i < n; ++i) x[static_cast<std::size_t>(i)] = 0.1 * i;
  for (int i = 0; i < many * n; ++i) dx[static_cast<std::size_t>(i)] = std::sin(i);
  const fx::Vec<double, 4> ds{0.5, -1, 2, 0};
  for (const auto& dev : {fx::Device::best(), fx::Device::reference()}) {
    auto X = dev.upload(x), Y = dev.zeros<double>(n), E = dev.zeros<double>(1);
    auto dX = dev.zeros<double>(many, n), dY = dev.zeros<double>(many, n);
    auto dE = dev.zeros<double>(many, 1);
    dX = dev.upload(dx, many, n);
    fx::jvp<4>(k)(X, 0.8, Y, E, dX, ds, dY, dE);
    for (int t = 0; t < many; ++t) {
      const std::vector<double> one(dx.begin() + t * n, dx.begin() + (t + 1) * n);
      auto y = dev.zeros<double>(n), e = dev.zeros<double>(1), dy = dev.zeros<double>(n), de = dev.zeros<double>(1);
      fx::jvp(k)(X, 0.8, y, e, dev.upload(one), ds[t], dy, de);
      const auto got = dY.host(), expected = dy.host();
      for (int i = 0; i < n; ++i)
        CHECK(got[static_cast<std::size_t>(t * n + i)] == Approx(expected[static_cast<std::size_t>(i)]).epsilon(1e-13));
      CHECK(dE.host()[static_cast<std::size_t>(t)] == Approx(de.item()).epsilon(1e-13));
    }
  }
}

TEST_CASE("a function with three tangents at once", "[jit][ad]") {
  auto f = fx::fn([](fx::Double a, fx::Vec<fx::Double, 2> b) { return fx::Vec<fx::Double, 2>(a * b.x, fx::sin(b.y) * a); });
  auto many = fx::jvp<3>(f);
  const fx::Mat<double, 2, 3> db{{1, 0, 2, 0, 1, 3}};
  const auto [y, dy] = many(2.0, fx::Vec<double, 2>{3, 0.5}, fx::Vec<double, 3>{0, 0, 1}, db);
  CHECK(y == fx::Vec<double, 2>{6, 2 * std::sin(0.5)});
  CHECK(dy(0, 0) == 2);
  CHECK(dy(0, 1) == 0);
  CHECK(dy(0, 2) == 2 * 2 + 3);
  CHECK(dy(1, 1) == Approx(2 * std::cos(0.5)));
  CHECK(dy(1, 2) == Approx(3 * 2 * std::cos(0.5) + std::sin(0.5)));
}

TEST_CASE("several tangents go through calls and rules", "[jit][ad]") {
  fx::testing::keep_calls(true);
  struct Restore {
    ~Restore() { fx::testing::keep_calls(false); }
  } restore;
  auto inner = fx::fn([](fx::Double a, fx::Double b) { return fx::sin(a) * b; });
  auto f = fx::fn([=](V3 x) { return inner(x.x, inner(x.y, x.z)) + inner(x.z, 2.0); });
  const fx::Vec<double, 3> at{0.4, 0.7, -0.3};
  const auto j = fx::jacobian(f)(at);
  const double i = std::sin(at[1]) * at[2];
  CHECK(j[0] == Approx(std::cos(at[0]) * i));
  CHECK(j[1] == Approx(std::sin(at[0]) * std::cos(at[1]) * at[2]));
  CHECK(j[2] == Approx(std::sin(at[0]) * std::sin(at[1]) + 2 * std::cos(at[2])));
  auto kept = fx::rule(inner).vjp(
      [](fx::Double a, fx::Double b, fx::Double w) { return fx::Tuple<fx::Double, fx::Double>(w * b * 10.0, w * fx::sin(a)); });
  auto k = fx::kernel("calls", [=](fx::In<double> x, fx::Out<double> y) {
    auto n = fx::index();
    y[n] = kept(x[n], x[n + 1]) + inner(x[n + 1], x[n]);
  });
  for (const auto& dev : {fx::Device::best(), fx::Device::reference()}) {
    auto x = dev.upload<double>({0.4, 0.7}), y = dev.zeros<double>(1);
    auto dx = dev.upload(std::vector<double>{1, 0, 0, 1}, 2, 2);
    auto dy = dev.zeros<double>(2, 1);
    fx::jvp<2>(k).over(1)(x, y, dx, dy);
    CHECK(dy.host()[0] == Approx(7 + std::sin(0.7)));
    CHECK(dy.host()[1] == Approx(std::sin(0.4) + std::cos(0.7) * 0.4));
    CHECK(y.item() == Approx(std::sin(0.4) * 0.7 + std::sin(0.7) * 0.4));
  }
}
