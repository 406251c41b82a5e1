// Rules where a cotangent is 0: by a mask, and by chance, where the next derivative is not 0; and rules of kernels whose
// derivatives must not be dropped because their bodies have none.
#include <catch2/catch.hpp>

#include "fluxion/fluxion.h"

namespace fx = fluxion;
using fluxion::Device;

namespace {

auto square() {
  return fx::rule(fx::fn("square_of", [](fx::Double x) { return x * x; })).vjp([](fx::Double x, fx::Double w) { return w * 2.0 * x; });
}
auto cube() {
  return fx::rule(fx::fn("cube_of", [](fx::Double x) { return x * x * x; })).vjp([](fx::Double x, fx::Double w) {
    return w * 3.0 * x * x;
  });
}

}  // namespace

TEST_CASE("torture 22: a loss at its minimum has the second derivative of its rules", "[jit][torture]") {
  const auto f = square();
  const auto loss = fx::fn("loss", [&](fx::Double x) {
    fx::Double r = f(f(x)) - 16.0;
    return r * r;
  });
  CHECK(fx::grad(loss)(2.0) == 0);  // the cotangent of both calls is 0 here
  CHECK(fx::grad(fx::grad(loss))(2.0) == Approx(2 * 32.0 * 32.0));
  CHECK(fx::grad(fx::grad(fx::grad(loss)))(2.0) == Approx(6 * 32.0 * 48.0));  // (x^4 - 16)^2: 6 f' f''
}

TEST_CASE("torture 22: a rule of a rule with a cotangent of 0 keeps its derivative in the cotangent", "[jit][torture]") {
  const auto f = cube(), g = square();
  const auto weighted = fx::fn("weighted", [&](fx::Double x, fx::Double w) { return w * f(g(x)); });
  const auto mixed = fx::grad(fx::grad(weighted, fx::wrt<0>), fx::wrt<1>);
  for (double w : {0.0, 1e-6, 0.5}) CHECK(mixed(0.7, w) == Approx(6 * std::pow(0.7, 5)));
  const auto twice = fx::grad(fx::grad(fx::grad(weighted, fx::wrt<0>), fx::wrt<0>), fx::wrt<1>);
  for (double w : {0.0, 0.5}) CHECK(twice(0.7, w) == Approx(30 * std::pow(0.7, 4)));
}

TEST_CASE("torture 22: of two cotangents that are 0 each keeps its derivative", "[jit][torture]") {
  using Pair = fx::Tuple<fx::Double, fx::Double>;
  const auto body = fx::fn("both", [](fx::Double x) { return Pair(x * x, x * x * x); });
  const auto f = fx::rule(body).vjp([](fx::Double x, Pair w) { return w.head * 2.0 * x + w.tail.head * 3.0 * x * x; });
  const auto weighted = fx::fn("weighted", [&](fx::Double x, fx::Double a, fx::Double b) {
    auto r = f(x);
    return fx::select(x > -5.0, a * r.head + b * r.tail.head, 0.0);
  });
  const auto slope = fx::grad(weighted, fx::wrt<0>);
  CHECK(fx::grad(slope, fx::wrt<1>)(0.7, 0.0, 0.0) == Approx(1.4));
  CHECK(fx::grad(slope, fx::wrt<2>)(0.7, 0.0, 0.0) == Approx(3 * 0.49));
  CHECK(fx::grad(fx::grad(slope, fx::wrt<0>), fx::wrt<1>)(0.7, 0.0, 0.0) == Approx(2));
  CHECK(fx::grad(fx::grad(slope, fx::wrt<0>), fx::wrt<2>)(0.7, 0.0, 0.0) == Approx(6 * 0.7));
  CHECK(fx::grad(fx::grad(slope, fx::wrt<1>), fx::wrt<0>)(0.7, 0.0, 0.0) == Approx(2));
}

TEST_CASE("torture 22: a rule that is infinite outside of its mask is 0 there", "[jit][torture]") {
  const Device dev = Device::best();
  const auto root = fx::rule(fx::fn("root_of", [](fx::Double x) { return fx::sqrt(x); })).vjp([](fx::Double x, fx::Double w) {
    return w * 0.5 / fx::sqrt(x);
  });
  const auto k = fx::kernel("masked", [&](fx::In<double> x, fx::In<double> w, fx::Accum<double> s) {
    auto i = fx::index();
    s[0] += w[i] * fx::select(x[i] > 0.0, root(x[i]), 0.0);
  });
  const auto p = fx::program("masked", [&](fx::Buffer<double> x, fx::Buffer<double> w) {
    auto s = fx::zeros<double>(1);
    k.over(3)(x, w, s);
    return s;
  });
  auto x = dev.upload({0.0, 4.0, 1.0}), w = dev.upload({1.0, 0.0, 2.0});
  auto [value, gx, gw] = fx::value_and_grad(p)(x, w);
  CHECK(gx.host() == std::vector<double>{0, 0, 1});
  CHECK(gw.host() == std::vector<double>{0, 2, 1});
  // The Hessian's row of w[1], whose cotangent is 0 by chance: d2/dx1 dw1 = 1/4.
  auto [v, g, h, vd, gxd, gwd] = fx::jvp(fx::value_and_grad(p))(x, w, dev.zeros<double>(3), dev.upload({1.0, 1.0, 0.0}));
  CHECK(gxd.host() == std::vector<double>{0, 0.25, 0});
}

TEST_CASE("torture 20: several functions with rules of one scalar in a program are told apart", "[jit][torture]") {
  const Device dev = Device::best();
  const auto f = square(), g = cube();
  const auto h =
      fx::rule(fx::fn("five", [](fx::Double x) { return 5.0 * x; })).vjp([](fx::Double x, fx::Double w) { return w * 5.0 + 0.0 * x; });
  const auto scale = fx::kernel("scale", [](fx::InOut<double> y, fx::Double a) {
    auto i = fx::index();
    y[i] = y[i] * a;
  });
  const auto chain = fx::program("chain", [&](fx::Buffer<double> x, fx::Double a) {
    auto y = fx::copy(x);
    scale.over(1)(y, fx::sin(a));
    scale.over(1)(y, f(a) + 1.0);
    scale.over(1)(y, fx::cos(a) * a);
    scale.over(1)(y, g(a) + 1.0);
    scale.over(1)(y, h(a));
    return fx::sum(y);
  });
  const auto loop = fx::program("loop", [&](fx::Buffer<double> x, fx::Double a) {
    auto y = fx::copy(x);
    fx::Double b = a;
    for (auto t : fx::range(3)) {
      b = f(b) * 0.9;
      fx::if_(t == 1, [&] { b = g(b); }).else_([&] { b = h(b); });
      scale.over(1)(y, b);
    }
    return fx::sum(y);
  });
  const auto one = dev.upload({1.0});
  for (const auto& p : {chain, loop}) {
    const auto at = [&](double a) { return p(one, a).item(); };
    auto [value, gx, ga] = fx::value_and_grad(p)(one, 0.7);
    CHECK(ga.item() == Approx((at(0.7 + 1e-6) - at(0.7 - 1e-6)) / 2e-6).epsilon(1e-7));
  }
}

TEST_CASE("torture 22: a kernel's rules are used where its body has no derivative", "[jit][torture]") {
  const Device dev = Device::best();
  const auto body = fx::kernel("spikes", [](fx::In<double> x, fx::Out<double> y, fx::Accum<double> s) {
    auto i = fx::index();
    y[i] = fx::floor(x[i] * 3.0);
    s[0] += fx::floor(x[i]);
  });
  const auto k =
      fx::rule(body)
          .vjp([](fx::In<double> x, fx::In<double> yb, fx::In<double> sb, fx::Accum<double> xb) {
            auto i = fx::index();
            xb[i] += yb[i] * 0.5 + sb[0] * x[i];
          })
          .jvp([](fx::In<double> x, fx::Out<double> y, fx::Accum<double> s, fx::In<double> xd, fx::Out<double> yd, fx::Accum<double> sd) {
            auto i = fx::index();
            y[i] = fx::floor(x[i] * 3.0);
            s[0] += fx::floor(x[i]);
            yd[i] = xd[i] * 0.5;
            sd[0] += xd[i] * x[i];
          });
  const auto p = fx::program("p", [&](fx::Buffer<double> x) {
    auto y = fx::zeros<double>(2), s = fx::zeros<double>(1);
    k.over(2)(x, y, s);
    return fx::sum(y * y);
  });
  auto x = dev.upload({1.1, 2.2}), d = dev.upload({1.0, 1.0});
  auto [value, tangent] = fx::jvp(p)(x, d);
  CHECK(tangent.item() == Approx(2 * 3 * 0.5 + 2 * 6 * 0.5));
  auto [v, g, vd, gd] = fx::jvp(fx::value_and_grad(p))(x, d);
  CHECK(g.host() == std::vector<double>{3, 6});
  CHECK(gd.host() == std::vector<double>{0.5, 0.5});
  const auto slope = fx::program("slope", [&](fx::Buffer<double> x) {
    auto [v, t] = fx::jvp(p)(x, d);
    return t;
  });
  auto [s, gs] = fx::value_and_grad(slope)(x);
  CHECK(gs.host() == std::vector<double>{0.5, 0.5});
}
