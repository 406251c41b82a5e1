// Rules: used instead of the body, in both modes, at the second order, and refused where they do not fit. Implicit
// derivatives of solve and root against closed forms.
#include "fluxion/ad.h"
#include "fluxion/passes.h"
#include "torture.h"

using namespace fluxion;
using namespace fluxion::testing;
namespace fx = fluxion;

namespace {
constexpr std::int64_t n = 23;
constexpr Torture kPoints{{n, 1, 1}};

// x^3 with rules that say so; and one whose vjp is 7 times too large, to see that it is the rule that is used.
auto cube() {
  return fx::fn("cube", [](fx::Double x) { return x * x * x; });
}
}  // namespace

TEST_CASE("torture 22: a vjp rule is used and differentiated and vectorised and gives jvp", "[jit][torture]") {
  const auto seven = fx::rule(cube()).vjp([](fx::Double x, fx::Double w) { return 21.0 * w * x * x; });
  CHECK(fx::grad(seven)(2.0) == Approx(84));
  CHECK(fx::grad(fx::grad(seven))(2.0) == Approx(84));  // 42 x: of the rule's body
  CHECK(fx::jvp(seven)(2.0, 1.0).get<0>() == Approx(8));
  CHECK(fx::jvp(seven)(2.0, 1.0).get<1>() == Approx(84));
  const auto right = fx::rule(cube()).vjp([](fx::Double x, fx::Double w) { return 3.0 * w * x * x; });
  const auto k = fx::kernel("cubes", [&](fx::In<double> x, fx::Double c, fx::Out<double> y) {
    auto i = fx::index();
    fx::Double s = x[i];
    for ([[maybe_unused]] auto t : fx::range(2)) s = right(s) * c + x[i];
    y[i] = s;
  });
  torture(k, {floats(n), scalar(0.4), data({n, 1, 1}, 1)}, kPoints);
}

TEST_CASE("torture 22: a jvp rule is used and gives vjp", "[jit][torture]") {
  using Pair = fx::Tuple<fx::Double, fx::Double>;
  const auto f = fx::fn("product", [](fx::Double x, fx::Double y, fx::Int m) { return x * x * y + fx::cast<double>(m); });
  const auto three = fx::rule(f).jvp([](fx::Double x, fx::Double y, fx::Int m, fx::Double dx, fx::Double dy) {
    fx::Double v = x * x * y + fx::cast<double>(m), d = 3.0 * (2.0 * x * y * dx + x * x * dy);
    return Pair(v, d);
  });
  const auto g = fx::grad(three)(2.0, 5.0, 1);
  CHECK(g.get<0>() == Approx(60));
  CHECK(g.get<1>() == Approx(12));
  CHECK(fx::jvp(three)(2.0, 5.0, 1, 1.0, 0.0).get<1>() == Approx(60));
}

TEST_CASE("a rule of another function inside is used at any depth and not inlined before", "[jit]") {
  const auto seven = fx::rule(cube()).vjp([](fx::Double x, fx::Double w) { return 21.0 * w * x * x; });
  const auto outer = fx::fn("outer", [seven](fx::Double x) { return seven(x) + x; });
  const auto outermost = fx::fn("outermost", [outer](fx::Double x) { return 2.0 * outer(x); });
  CHECK(fx::grad(outermost)(1.0) == Approx(44));
}

TEST_CASE("the rule of a masked call has a second derivative where its cotangent is zero by chance", "[jit]") {
  const auto body = fx::fn("body", [](fx::Double x) { return x - 2.0; });
  const auto square = [](const auto& f) {
    return fx::fn("square", [f](fx::Double x) { return fx::select(x > 0.5, f(x) * f(x), fx::Double(0.0)); });
  };
  const auto by_vjp = square(fx::rule(body).vjp([](fx::Double, fx::Double w) { return 3.0 * w; }));
  const auto by_jvp = square(
      fx::rule(body).jvp([body](fx::Double x, fx::Double dx) { return fx::Tuple<fx::Double, fx::Double>(body(x) + 0.0, 3.0 * dx); }));
  CHECK(fx::grad(by_vjp)(2.0) == 0);
  CHECK(fx::grad(fx::grad(by_vjp))(2.0) == Approx(18));
  CHECK(fx::grad(fx::grad(by_vjp))(0.0) == 0);
  CHECK(fx::jvp(fx::grad(by_vjp))(2.0, 1.0).get<1>() == Approx(18));
  CHECK(fx::grad(fx::grad(by_jvp))(2.0) == Approx(18));
  CHECK(fx::jvp(fx::grad(by_jvp))(2.0, 1.0).get<1>() == Approx(18));
}

TEST_CASE("a body that cannot be differentiated is with a rule", "[jit]") {
  const auto step = fx::fn("step", [](fx::Double x) { return fx::floor(x); });
  const auto through = fx::rule(step).vjp([](fx::Double, fx::Double w) { return w + 0.0; });
  CHECK(fx::grad(through)(1.7) == Approx(1));
}

TEST_CASE("check_rules accepts rules that fit and tells how far others are off", "[jit]") {
  using Pair = fx::Tuple<fx::Double, fx::Double>;
  const auto good = fx::rule(cube()).vjp([](fx::Double x, fx::Double w) { return 3.0 * w * x * x; }).jvp([](fx::Double x, fx::Double d) {
    return Pair(x * x * x, 3.0 * x * x * d);
  });
  CHECK_NOTHROW(fx::check_rules(good, 1.3));
  const auto wrong = fx::rule(cube()).vjp([](fx::Double x, fx::Double w) { return 2.0 * w * x * x; });
  CHECK_THROWS_WITH(fx::check_rules(wrong, 1.3), Catch::Contains("do not fit"));
  const auto apart = fx::rule(cube()).vjp([](fx::Double x, fx::Double w) { return 3.0 * w * x * x; }).jvp([](fx::Double x, fx::Double d) {
    return Pair(x * x * x, 2.0 * x * x * d);
  });
  CHECK_THROWS_WITH(fx::check_rules(apart, 1.3), Catch::Contains("do not fit"));
  CHECK_THROWS_WITH(fx::check_rules(cube(), 1.3), Catch::Contains("no rules"));
}

TEST_CASE("rules of a kernel are used by itself and by programs that launch it", "[jit]") {
  const auto plain = fx::kernel("squares", [](fx::In<double> x, fx::Double c, fx::Out<double> y) {
    auto i = fx::index();
    y[i] = x[i] * x[i] * c;
  });
  const auto k = fx::rule(plain)
                     .vjp([](fx::In<double> x, fx::Double c, fx::In<double> w, fx::Accum<double> gx, fx::Accum<double> gc) {
                       auto i = fx::index();
                       gx[i] += 10.0 * x[i] * c * w[i];  // five times too much: the rule is used
                       gc[0] += x[i] * x[i] * w[i];
                     })
                     .jvp([](fx::In<double> x, fx::Double c, fx::Out<double> y, fx::In<double> dx, fx::Double dc, fx::Out<double> dy) {
                       auto i = fx::index();
                       y[i] = x[i] * x[i] * c;
                       dy[i] = 10.0 * x[i] * c * dx[i] + x[i] * x[i] * dc;
                     });
  const Device dev = Device::best();
  auto x = dev.upload(std::vector<double>{1, 2}), w = dev.upload(std::vector<double>{1, 1});
  auto gx = dev.zeros<double>(2), gc = dev.zeros<double>(1), y = dev.zeros<double>(2), dy = dev.zeros<double>(2);
  fx::vjp(k).over(2)(x, 3.0, w, gx, gc);
  CHECK(gx.host() == std::vector<double>{30, 60});
  CHECK(gc.host() == std::vector<double>{5});
  fx::jvp(k).over(2)(x, 3.0, y, w, 0.0, dy);
  CHECK(y.host() == std::vector<double>{3, 12});
  CHECK(dy.host() == std::vector<double>{30, 60});
  const auto p = fx::program("loss", [&](fx::Buffer<double> a) {
    auto out = fx::zeros<double>(2);
    k.over(2)(a, 2.0, out);
    return fx::sum(out);
  });
  auto [value, gradient] = fx::value_and_grad(p)(x);
  CHECK(value.host()[0] == Approx(10));
  CHECK(gradient.host() == std::vector<double>{20, 40});
  const auto only = fx::rule(plain).vjp(fx::vjp(plain));
  CHECK_THROWS_WITH(fx::jvp(only), Catch::Contains("none for its jvp"));
  CHECK_THROWS_WITH(fx::vjp(k, fx::wrt<0>), Catch::Contains("gives the gradients of all"));
}

TEST_CASE("solve has the derivatives of the solution of a linear system to the second order", "[jit]") {
  using M = fx::Mat<fx::Double, 3, 3>;
  using V = fx::Vec<fx::Double, 3>;
  const auto k = fx::kernel("systems", [](fx::In<double, 2> a, fx::In<double, 2> b, fx::Out<double, 2> x) {
    auto i = fx::index();
    M m;
    V v;
    for (int r = 0; r < 3; ++r) {
      for (int c = 0; c < 3; ++c) m(r, c) = a(i, r * 3 + c) + (r == (c + 1) % 3 ? 3.0 : 0.0);  // needs pivots
      v[r] = b(i, r);
    }
    V s = fx::solve(m, v);
    for (int r = 0; r < 3; ++r) x(i, r) = s[r];
  });
  torture(k, {floats({n, 9, 1}, 2), floats({n, 3, 1}, 2), data({n, 3, 1}, 2)}, {{n, 1, 1}, true, true, 1e-5});
  const auto f = fx::fn("one", [](fx::Double a, fx::Double b) {
    fx::Mat<fx::Double, 2, 2> m;
    fx::Vec<fx::Double, 2> v;
    m(0, 0) = a;
    m(0, 1) = 0.0;
    m(1, 0) = 0.0;
    m(1, 1) = 1.0;
    v[0] = b;
    v[1] = 0.0;
    return fx::solve(m, v)[0] + 0.0;
  });
  const auto g = fx::grad(f)(4.0, 2.0);
  CHECK(g.get<0>() == Approx(-2.0 / 16));
  CHECK(g.get<1>() == Approx(0.25));
}

TEST_CASE("root has the derivatives of the implicit function to the third order", "[jit]") {
  const auto f = fx::fn("residual", [](fx::Double x, fx::Double p) { return x * x * x - p; });
  const auto cbrt = fx::fn("cbrt", [f](fx::Double p) { return fx::root(f, 1.0, p); });
  const auto d = fx::grad(cbrt), dd = fx::grad(d), ddd = fx::grad(dd);
  for (const double p : {0.7, 2.0, 5.0}) {
    CHECK(cbrt(p) == Approx(std::cbrt(p)).epsilon(1e-14));
    CHECK(d(p) == Approx(std::pow(p, -2.0 / 3) / 3).epsilon(1e-12));
    CHECK(dd(p) == Approx(-2 * std::pow(p, -5.0 / 3) / 9).epsilon(1e-12));
    CHECK(ddd(p) == Approx(10 * std::pow(p, -8.0 / 3) / 27).epsilon(1e-11));
    CHECK(fx::jvp(cbrt)(p, 1.0).get<1>() == Approx(std::pow(p, -2.0 / 3) / 3).epsilon(1e-12));
  }
  using V = fx::Vec<fx::Double, 2>;
  const auto circle = fx::fn("circle", [](V x, fx::Double r, fx::Double s) {
    V e;
    e[0] = x[0] * x[0] + x[1] * x[1] - r;
    e[1] = x[0] - s * x[1];
    return e;
  });
  const auto k = fx::kernel("roots", [&](fx::In<double> r, fx::In<double> s, fx::Out<double> out) {
    auto i = fx::index();
    V start;
    start[0] = 1.0;
    start[1] = 1.0;
    V x = fx::root(circle, start, r[i], s[i]);
    out[i] = x[0] * 2.0 + x[1];
  });
  torture(k, {floats(n, 0.5, 2), floats(n, 0.5, 2), data({n, 1, 1}, 1)}, kPoints);
  const auto never = fx::fn("never", [](fx::Double x, fx::Double p) { return x * x + p; });
  const auto bad = fx::fn("bad", [never](fx::Double p) { return fx::root(never, 1.0, p); });
  CHECK_THROWS_WITH(bad(1.0), Catch::Contains("no convergence"));
}

TEST_CASE("torture 26: stop_gradient cuts an array out of the chain and nothing else", "[jit][torture]") {
  const Device dev = Device::best();
  auto x = dev.upload(std::vector<double>{1, 2, 3});
  const auto p = fx::program("cut", [](fx::Buffer<double> a) {
    auto b = fx::stop_gradient(fx::square(a));
    return fx::sum(a * b) + fx::sum(fx::square(a));
  });
  auto [value, gradient] = fx::value_and_grad(p)(x);
  CHECK(value.host()[0] == Approx(1 + 8 + 27 + 14));
  CHECK(gradient.host() == std::vector<double>{1 + 2, 4 + 4, 9 + 6});  // a^2 is a constant: x^2 + 2 x
  const auto f = fx::fn("half_stopped", [](fx::Double v) { return v * fx::stop_gradient(v); });
  CHECK(fx::grad(f)(3.0) == Approx(3));
}
