// Rules of whole programs: used in both modes, at both orders, by itself and by programs that call it; the mode that a rule does
// not give is made from the one that it does; what does not fit is refused. Wrong rules tell that it is the rule that is used.
#include "torture.h"

using namespace fluxion;
using namespace fluxion::testing;
namespace fx = fluxion;
using B = fx::Buffer<double>;

namespace {

auto cubes_kernel() {
  return fx::kernel("cubes", [](fx::In<double> x, fx::Double c, fx::Out<double> y) {
    auto i = fx::index();
    y[i] = c * x[i] * x[i] * x[i];
  });
}
/// y = c x^3.
auto cubes() {
  return fx::program("cubes", [k = cubes_kernel()](B x, fx::Double c) {
    auto y = fx::empty_like(x);
    k.over(x.size())(x, c, y);
    return y;
  });
}
/// The gradients, `times` too large: 3 c x^2 w and sum x^3 w.
auto reverse_rule(double times) {
  const auto k =
      fx::kernel("cubes_vjp", [times](fx::In<double> x, fx::Double c, fx::In<double> w, fx::Out<double> gx, fx::Accum<double> gc) {
        auto i = fx::index();
        gx[i] = times * 3.0 * c * x[i] * x[i] * w[i];
        gc[0] += times * x[i] * x[i] * x[i] * w[i];
      });
  return [k](B x, fx::Double c, B w) {
    auto gx = fx::empty_like(x);
    auto gc = fx::zeros<double>(1);
    k.over(x.size())(x, c, w, gx, gc);
    return std::tuple(gx, gc);
  };
}
auto forward_rule(double times) {
  const auto k = fx::kernel(
      "cubes_jvp", [times](fx::In<double> x, fx::Double c, fx::In<double> dx, fx::Double dc, fx::Out<double> y, fx::Out<double> dy) {
        auto i = fx::index();
        y[i] = c * x[i] * x[i] * x[i];
        dy[i] = times * (3.0 * c * x[i] * x[i] * dx[i] + dc * x[i] * x[i] * x[i]);
      });
  return [k](B x, fx::Double c, B dx, fx::Double dc) {
    auto y = fx::empty_like(x);
    auto dy = fx::empty_like(x);
    k.over(x.size())(x, c, dx, dc, y, dy);
    return std::tuple(y, dy);
  };
}
B up(std::vector<double> v) { return Device::best().upload(v); }
const std::vector<double> kX = {1, 2, -0.5};

}  // namespace

TEST_CASE("a vjp rule of a program is used by itself and gives jvp", "[jit]") {
  const auto p = fx::rule(cubes()).vjp(reverse_rule(7));
  const auto x = up(kX), w = up({1, 1, 2});
  CHECK(p(x, 2.0).host() == std::vector<double>{2, 16, -0.25});
  auto [gx, gc] = fx::vjp(p)(x, 2.0, w);
  CHECK(gx.host() == std::vector<double>{42, 168, 21});
  CHECK(gc.host()[0] == Approx(7 * (1 + 8 - 0.25)));
  auto [y, dy] = fx::jvp(p)(x, 2.0, w, 0.5);
  CHECK(y.host() == std::vector<double>{2, 16, -0.25});
  CHECK(dy.host()[0] == Approx(7 * (6 + 0.5)));
  CHECK(dy.host()[2] == Approx(7 * (1.5 * 2 - 0.125 * 0.5)));
}

TEST_CASE("a jvp rule of a program is used by itself and gives vjp", "[jit]") {
  const auto p = fx::rule(cubes()).jvp(forward_rule(7));
  const auto x = up(kX), w = up({1, 1, 2});
  CHECK(std::get<1>(fx::jvp(p)(x, 2.0, w, 0.5)).host()[0] == Approx(7 * (6 + 0.5)));
  auto [gx, gc] = fx::vjp(p)(x, 2.0, w);
  CHECK(gx.host() == std::vector<double>{42, 168, 21});
  CHECK(gc.host()[0] == Approx(7 * (1 + 8 - 0.25)));
}

TEST_CASE("a jvp rule alone carries through loops and to the second order", "[jit]") {
  const auto p = fx::rule(cubes()).jvp(forward_rule(1));
  const auto loss = fx::program("loss", [p](B x, fx::Double c) {
    auto y = fx::copy(x);
    for ([[maybe_unused]] auto t : fx::range(2)) fx::if_(c > 0.0, [&] { y.copy_from(p(y, c) + x); });
    return fx::sum(y);
  });
  const auto x = up({0.3, -0.2, 0.5});
  const auto first = fx::check_gradient(loss, x, 0.8);
  INFO(first.text);
  CHECK(first.ok);
  const auto slopes = fx::program("slopes", [g = fx::value_and_grad(loss)](B q, fx::Double k) {
    auto [l1, gq, gk] = g(q, k);
    return fx::sum(fx::square(gq)) + fx::square(gk);
  });
  const auto second = fx::check_gradient(slopes, x, 0.8);
  INFO(second.text);
  CHECK(second.ok);
}

TEST_CASE("a program inside others brings its rule into their derivatives to the second order", "[jit]") {
  for (const double times : {1.0, 7.0}) {
    const auto p = fx::rule(cubes()).vjp(reverse_rule(times));
    const auto loss = fx::program("loss", [p](B x, fx::Double c) {
      auto y = fx::copy(x);
      for ([[maybe_unused]] auto t : fx::range(2)) y.copy_from(p(y, c) + x);
      return fx::sum(y);
    });
    const auto x = up({0.3, -0.2, 0.5}), v = up({1, -2, 0.5});
    const auto forward = [&](double a, double c) {
      const double b = c * a * a * a + a;
      return c * b * b * b + a;
    };
    double value = 0;
    std::vector<double> slope;
    const double c = 0.8;
    for (double a : x.host()) {
      value += forward(a, c);
      const double b = c * a * a * a + a;
      slope.push_back(1 + times * 3 * c * b * b * (1 + times * 3 * c * a * a));
    }
    auto [l, gx, gc] = fx::value_and_grad(loss)(x, c);
    CHECK(l.host()[0] == Approx(value));
    for (std::size_t i = 0; i < 3; ++i) CHECK(gx.host()[i] == Approx(slope[i]));
    const auto second = fx::jvp(fx::value_and_grad(loss));
    const auto r = second(x, c, v, 0.0);
    if (times != 1) continue;
    // The directional derivative of the gradient, by differences of it.
    const double h = 1e-5;
    auto at = [&](double s) {
      auto moved = x.host();
      for (std::size_t i = 0; i < 3; ++i) moved[i] += s * v.host()[i];
      return std::get<1>(fx::value_and_grad(loss)(up(moved), c)).host();
    };
    const auto plus = at(h), minus = at(-h);
    for (std::size_t i = 0; i < 3; ++i) CHECK(std::get<4>(r).host()[i] == Approx((plus[i] - minus[i]) / (2 * h)).epsilon(1e-7));
    CHECK(fx::check_gradient(loss, x, c).ok);
    const auto slopes = fx::program("slopes", [g = fx::value_and_grad(loss)](B q, fx::Double k) {
      auto [l1, gq, gk] = g(q, k);
      return fx::sum(fx::square(gq)) + fx::square(gk);
    });
    const auto report = fx::check_gradient(slopes, x, c);
    INFO(report.text);
    CHECK(report.ok);
  }
}

TEST_CASE("a rule that takes what the program returned is differentiated through it", "[jit]") {
  const auto k = fx::kernel("exponentials", [](fx::In<double> x, fx::Out<double> y) {
    auto i = fx::index();
    y[i] = fx::exp(x[i]);
  });
  const auto plain = fx::program("exponentials", [k](B x) {
    auto y = fx::empty_like(x);
    k.over(x.size())(x, y);
    return std::tuple(y, fx::item(fx::sum(y)) * 2.0);
  });
  const auto p = fx::rule(plain).vjp([](B, B y, fx::Double, B w, fx::Double s) {
    auto both = fx::copy(w);
    const auto add = fx::kernel("add", [](fx::InOut<double> a, fx::Double b) { a[fx::index()] += 2.0 * b; });
    add.over(w.size())(both, s);
    return y * both;
  });
  const auto x = up({0.1, -0.4, 0.9});
  CHECK(fx::check_gradient(p, x).ok);
  const auto loss = fx::program("loss", [p](B a) {
    auto [y, s] = p(a);
    return fx::sum(fx::square(y)) * s;
  });
  const auto first = fx::check_gradient(loss, x);
  INFO(first.text);
  CHECK(first.ok);
  const auto slopes = fx::program("slopes", [g = fx::value_and_grad(loss)](B a) { return fx::sum(fx::square(std::get<1>(g(a)))); });
  const auto report = fx::check_gradient(slopes, x);
  INFO(report.text);
  CHECK(report.ok);
}

TEST_CASE("a rule that uses its own program is right to the third order and has a text form", "[jit]") {
  // exp again; the rule computes it anew, by the program that it belongs to.
  const auto k = fx::kernel("exponentials", [](fx::In<double> x, fx::Out<double> y) {
    auto i = fx::index();
    y[i] = fx::exp(x[i]);
  });
  const auto plain = fx::program("exponentials", [k](B x) {
    auto y = fx::empty_like(x);
    k.over(x.size())(x, y);
    return y;
  });
  const auto p = fx::rule(plain).vjp([](B x, B w) {
    const fx::Program<fx::TypeList<B>, fx::TypeList<B>> self(fx::detail::ProgramHandle::subject());
    return self(x) * w;
  });
  const auto x = up({0.1, -0.4, 0.9}), one = up({1, 1, 1});
  const auto d3 = fx::vjp(fx::vjp(fx::vjp(p), fx::wrt<0>), fx::wrt<0>)(x, one, one, one).host();
  for (std::size_t i = 0; i < 3; ++i) CHECK(d3[i] == Approx(std::exp(x.host()[i])));
  CHECK(std::get<1>(fx::jvp(p)(x, one)).host()[1] == Approx(std::exp(-0.4)));
  const auto caller = fx::program("caller", [p](B a) { return fx::item(fx::sum(p(a))) + 1.0; });
  const std::string text = caller.dump("ir", x);
  CHECK_THAT(text, Catch::Contains(" self 1 {") && Catch::Contains("vjp @vjp_rule"));
  CHECK(print(parse(text)) == text);
}

TEST_CASE("the sparse Jacobian of a program with a rule has all that the rule may reach", "[jit]") {
  // The body is diagonal, the rule says otherwise: every gradient is the sum of all cotangents.
  const auto twice = fx::program("twice", [](B a) { return a * 2.0; });
  const auto spread = fx::kernel("spread", [](fx::In<double> s, fx::Out<double> g) { g[fx::index()] = s[0] * 1.0; });
  const auto p = fx::rule(twice).vjp([spread](B a, B w) {
    auto g = fx::empty_like(a);
    spread.over(a.size())(fx::sum(w), g);
    return g;
  });
  const auto dense = [](const fx::Csr<double>& j) { return j.dense(); };
  const auto x = up(kX);
  CHECK(dense(fx::sparse_jacobian(p)(x)) == std::vector<double>(9, 1.0));
  const auto caller = fx::program("caller", [p](B a) { return p(a); });
  CHECK(dense(fx::sparse_jacobian(caller)(x)) == std::vector<double>(9, 1.0));
  const auto scale = fx::kernel("scale", [](fx::In<double> a, fx::Double s, fx::Out<double> y) {
    auto i = fx::index();
    y[i] = a[i] * s;
  });
  const auto scaled = fx::program("scaled", [scale](B a) {
    auto y = fx::empty_like(a);
    scale.over(a.size())(a, fx::item(a, 1), y);
    return y;
  });
  const auto j = fx::sparse_jacobian(scaled)(x);
  CHECK(j.nonzeros() == 5);
  CHECK(dense(j) == std::vector<double>{2, 1, 0, 0, 4, 0, 0, -0.5, 2});
}

TEST_CASE("check_rules of programs and kernels finds a rule that is wrong", "[jit]") {
  const auto x = up(kX);
  CHECK_NOTHROW(fx::check_rules(fx::rule(cubes()).vjp(reverse_rule(1)), x, 2.0));
  CHECK_NOTHROW(fx::check_rules(fx::rule(cubes()).vjp(reverse_rule(1)).jvp(forward_rule(1)), x, 2.0));
  CHECK_THROWS_WITH(fx::check_rules(fx::rule(cubes()).vjp(reverse_rule(2)), x, 2.0), Catch::Contains("WRONG"));
  CHECK_THROWS_WITH(fx::check_rules(fx::rule(cubes()).vjp(reverse_rule(1)).jvp(forward_rule(2)), x, 2.0), Catch::Contains("WRONG"));
  const auto k = cubes_kernel();
  const auto right = fx::rule(k).vjp(fx::vjp(k)).jvp(fx::jvp(k));
  CHECK_NOTHROW(fx::check_rules(right.over(3), x, 2.0, up({0, 0, 0})));
  const auto wrong =
      fx::rule(k).jvp(fx::jvp(k)).vjp([](fx::In<double> a, fx::Double, fx::In<double> w, fx::Accum<double> ga, fx::Accum<double> gc) {
        auto i = fx::index();
        ga[i] += a[i] * w[i];
        gc[0] += w[i];
      });
  CHECK_THROWS_WITH(fx::check_rules(wrong.over(3), x, 2.0, up({0, 0, 0})), Catch::Contains("WRONG"));
}

TEST_CASE("programs whose rules would miss something are refused", "[jit]") {
  const auto x = up(kX), outside = up({1, 1, 1});
  const auto reaches = fx::program("reaches", [outside](B a) { return a * outside; });
  const auto r = fx::rule(reaches).vjp([](B, B w) { return w * 1.0; });
  CHECK_THROWS_WITH(fx::vjp(r)(x, x), Catch::Contains("reaches an array outside"));
  const auto writes = fx::program("writes", [](B a) {
    a *= 2.0;
    return fx::sum(a);
  });
  const auto s = fx::rule(writes).vjp([](B a, B) { return a * 1.0; });
  CHECK_THROWS_WITH(fx::vjp(s)(x, up({1})), Catch::Contains("writes its parameter"));
  const auto twice = fx::program("twice", [](B a) { return a * 2.0; });
  const auto shape = fx::rule(twice).vjp([](B, B w) { return fx::sum(w); });
  CHECK_THROWS_WITH(fx::vjp(shape)(x, x), Catch::Contains("must be f64[3]"));
  const auto rule_reaches = fx::rule(twice).vjp([outside](B, B w) { return w * outside; });
  CHECK_THROWS_WITH(fx::vjp(rule_reaches)(x, x), Catch::Contains("reaches an array outside"));
}
