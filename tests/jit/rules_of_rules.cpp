// Programs whose rules use each other's programs, or their own derivatives; rules of programs that are derivatives themselves;
// programs that call themselves.
#include "torture.h"

using namespace fluxion;
using namespace fluxion::testing;
namespace fx = fluxion;
using B = fx::Buffer<double>;

namespace {

B up(std::vector<double> v) { return Device::cpu().upload(v); }
using One = fx::Program<fx::TypeList<B>, fx::TypeList<B>>;
template <class F> One each(const char* name, const F& f) {
  const auto k = fx::kernel(name, [f](fx::In<double> x, fx::Out<double> y) {
    auto i = fx::index();
    y[i] = f(x[i]);
  });
  return fx::program(name, [k](B x) {
    auto y = fx::empty_like(x);
    k.over(x.size())(x, y);
    return y;
  });
}
One sines() {
  return each("sines", [](fx::Double x) { return fx::sin(x); });
}
One cosines() {
  return each("cosines", [](fx::Double x) { return fx::cos(x); });
}
/// What an error says that `f` ends in.
template <class F> std::string refusal(const F& f) {
  try {
    f();
  } catch (const fx::Error& e) { return e.what(); }
  return "not refused";
}
/// The sum of the squares of the gradients.
template <class P> auto slopes_of(const P& p) {
  return fx::program("slopes", [g = fx::value_and_grad(p)](B x) { return fx::sum(fx::square(std::get<1>(g(x)))); });
}
template <class P> void check_three_orders(const P& p, const B& x) {
  const auto first = fx::check_gradient(p, x), second = fx::check_gradient(slopes_of(p), x),
             third = fx::check_gradient(slopes_of(slopes_of(p)), x);
  INFO(first.text << second.text << third.text);
  CHECK(first.ok);
  CHECK(second.ok);
  CHECK(third.ok);
}

}  // namespace

TEST_CASE("torture: rules that use each other's programs are right to the fourth order in any order of use", "[jit][torture]") {
  const auto s = std::make_shared<One>(), c = std::make_shared<One>();
  *s = fx::rule(sines()).vjp([c](B x, B w) { return (*c)(x)*w; });
  *c = fx::rule(cosines()).vjp([s](B x, B w) { return -((*s)(x)*w); });
  const auto x = up({0.3}), one = up({1});
  const auto d = [](const auto& p) { return fx::vjp(p, fx::wrt<0>); };
  const double sin = std::sin(0.3), cos = std::cos(0.3);
  CHECK(d(*s)(x, one).item() == Approx(cos));
  CHECK(d(d(*s))(x, one, one).item() == Approx(-sin));
  CHECK(d(d(d(*s)))(x, one, one, one).item() == Approx(-cos));
  CHECK(d(d(d(d(*s))))(x, one, one, one, one).item() == Approx(sin));
  CHECK(d(*c)(x, one).item() == Approx(-sin));
  CHECK(d(d(*c))(x, one, one).item() == Approx(-cos));
  CHECK(d(d(d(*c)))(x, one, one, one).item() == Approx(sin));
  CHECK(std::get<1>(fx::jvp(d(*s))(x, one, one, up({0}))).item() == Approx(-sin));
  check_three_orders(fx::program("loss", [s](B a) { return fx::sum((*s)(a)); }), up({0.3, 1.0}));
  check_three_orders(fx::program("loss", [c](B a) { return fx::sum((*c)(a)); }), up({0.3, 1.0}));
}

TEST_CASE("torture: jvp rules that use each other's and their own programs", "[jit][torture]") {
  const auto s = std::make_shared<One>(), c = std::make_shared<One>();
  *s = fx::rule(each("sh", [](fx::Double x) { return fx::sinh(x); })).jvp([s, c](B x, B d) {
    return std::tuple((*s)(x), B((*c)(x)*d * 0.5));
  });
  *c = fx::rule(each("ch2", [](fx::Double x) { return fx::cosh(x) * 2.0; })).jvp([s, c](B x, B d) {
    return std::tuple((*c)(x), B((*s)(x)*d * 2.0));
  });
  check_three_orders(fx::program("loss", [s](B x) { return fx::sum((*s)(x)); }), up({0.3, 0.7}));
  check_three_orders(fx::program("loss", [c](B x) { return fx::sum((*c)(x)); }), up({0.3, 0.7}));
}

TEST_CASE("torture: three programs of one name and line whose rules go round", "[jit][torture]") {
  // f_k = cos(x + k pi / 3 * 2) has the derivative -sin of that, a combination of the two others: (f_(k+2) - f_(k+1)) / -sqrt(3).
  std::vector<std::shared_ptr<One>> f;
  for (int k = 0; k < 3; ++k) f.push_back(std::make_shared<One>());
  for (int k = 0; k < 3; ++k) {
    const double phase = 2 * std::acos(-1.0) / 3 * k;
    const auto next = f[static_cast<std::size_t>(k + 1) % 3], last = f[static_cast<std::size_t>(k + 2) % 3];
    *f[static_cast<std::size_t>(k)] = fx::rule(each("wave", [phase](fx::Double x) {
                                        return fx::cos(x + phase);
                                      })).vjp([next, last](B x, B w) { return ((*next)(x) - (*last)(x)) * w * (1 / std::sqrt(3.0)); });
  }
  const auto x = up({0.3}), one = up({1});
  const auto d = [](const auto& p) { return fx::vjp(p, fx::wrt<0>); };
  for (int k = 0; k < 3; ++k) {
    const double a = 0.3 + 2 * std::acos(-1.0) / 3 * k;
    const One& p = *f[static_cast<std::size_t>(k)];
    CHECK(d(p)(x, one).item() == Approx(-std::sin(a)));
    CHECK(d(d(p))(x, one, one).item() == Approx(-std::cos(a)));
    CHECK(d(d(d(p)))(x, one, one, one).item() == Approx(std::sin(a)));
  }
}

TEST_CASE("torture: a rule may use the derivative of a program whose rule uses the first program", "[jit][torture]") {
  // sin' w is the vjp of n = -(-sin), and the rule of n calls c, whose rule calls sin.
  const auto s = std::make_shared<One>(), c = std::make_shared<One>(), n = std::make_shared<One>();
  *n = fx::rule(sines()).vjp([c](B x, B w) { return (*c)(x)*w; });
  *c = fx::rule(cosines()).vjp([s](B x, B w) { return -((*s)(x)*w); });
  const auto dn = fx::vjp(*n);
  *s = fx::rule(sines()).vjp([dn](B x, B w) { return dn(x, w); });
  const auto x = up({0.3}), one = up({1});
  const auto d = [](const auto& p) { return fx::vjp(p, fx::wrt<0>); };
  CHECK(d(*s)(x, one).item() == Approx(std::cos(0.3)));
  CHECK(dn(x, one).item() == Approx(std::cos(0.3)));  // was captured inside of the rule first
  CHECK(d(d(*s))(x, one, one).item() == Approx(-std::sin(0.3)));
  CHECK(d(d(*n))(x, one, one).item() == Approx(-std::sin(0.3)));
  CHECK(d(d(d(*s)))(x, one, one, one).item() == Approx(-std::cos(0.3)));
  CHECK(d(d(d(*n)))(x, one, one, one).item() == Approx(-std::cos(0.3)));
}

TEST_CASE("torture: a rule that uses a derivative of its own program is refused at its line", "[jit][torture]") {
  const auto s = std::make_shared<One>();
  const auto refused = [&] {
    for (const std::string& text :
         {refusal([&] { fx::vjp (*s)(up({1, 2}), up({1, 1})); }), refusal([&] { fx::jvp (*s)(up({1, 2}), up({1, 1})); })})
      CHECK_THAT(text, Catch::Contains("uses a derivative of that program") && Catch::Contains("rules_of_rules.cpp"));
  };
  const One squares = fx::program("squares", [](B x) { return B(x * x); });
  *s = fx::rule(squares).vjp([s](B x, B w) { return fx::vjp(*s)(x, w); });
  refused();
  *s = fx::rule(squares).vjp([s](B x, B w) { return std::get<1>(fx::jvp(*s)(x, w)); });
  refused();
  *s = fx::rule(squares).vjp([s](B x, B w) {
    const auto inner = fx::program("inner", [s](B a) { return fx::sum((*s)(a)); });
    return std::get<1>(fx::value_and_grad(inner)(x)) * w;
  });
  refused();
  *s = squares;
}

TEST_CASE("torture: the vjp of a program may have a rule", "[jit][torture]") {
  const auto cubes = fx::program("cubes", [](B x) { return fx::sum(x * x * x); });
  // The gradient is 3 w x^2; `times` too large tells that it is the rule that is used.
  for (const double times : {1.0, 7.0}) {
    const auto r = fx::rule(fx::vjp(cubes)).vjp([times](B x, B w, B v) {
      const auto scale = fx::kernel("scale", [](fx::InOut<double> y, fx::In<double> s) { y[fx::index()] *= s[0]; });
      const auto g = x * v * (6.0 * times);
      scale.over(x.size())(g, w);
      return std::tuple(g, fx::sum(v * x * x) * (3.0 * times));
    });
    CHECK(r(up({1, 2}), up({2})).host() == std::vector<double>{6, 24});
    auto [gx, gw] = fx::vjp(r)(up({1, 2}), up({2}), up({1, -1}));
    CHECK(gx.host() == std::vector<double>{12 * times, -24 * times});
    CHECK(gw.item() == Approx(-9 * times));
    const auto loss = fx::program("loss", [r](B x, B w) { return fx::sum(r(r(x, w), w)); });
    if (times == 1) CHECK(fx::check_gradient(loss, up({0.3, 0.5}), up({1.3})).ok);
  }
}

TEST_CASE("torture: the vjp with respect to some parameters may have a rule", "[jit][torture]") {
  const auto k = fx::kernel("k", [](fx::In<double> x, fx::Double c, fx::Accum<double> s) {
    auto i = fx::index();
    s[0] += x[i] * x[i] * x[i] * c;
  });
  const auto f = fx::program("f", [k](B x, fx::Double c) {
    auto s = fx::zeros<double>(1);
    k.over(x.size())(x, c, s);
    return s;
  });
  const auto back = fx::kernel("back", [](fx::In<double> x, fx::Double c, fx::In<double> w, fx::In<double> v, fx::Out<double> gx,
                                          fx::Accum<double> gc, fx::Accum<double> gw) {
    auto i = fx::index();
    gx[i] = 6.0 * c * x[i] * w[0] * v[i];
    gc[0] += 3.0 * x[i] * x[i] * w[0] * v[i];
    gw[0] += 3.0 * c * x[i] * x[i] * v[i];
  });
  const auto r = fx::rule(fx::vjp(f, fx::wrt<0>)).vjp([back](B x, fx::Double c, B w, B v) {
    auto gx = fx::empty_like(x), gc = fx::zeros<double>(1), gw = fx::zeros<double>(1);
    back.over(x.size())(x, c, w, v, gx, gc, gw);
    return std::tuple(gx, gc, gw);
  });
  CHECK(r(up({1, 2}), 2.0, up({1})).host() == std::vector<double>{6, 24});
  const auto report = fx::check_gradient(r, up({0.3, 0.5}), 0.7, up({1.3}));
  INFO(report.text);
  CHECK(report.ok);
}

TEST_CASE("torture: the jvp and the value and gradient of a program may have rules and scalar results", "[jit][torture]") {
  const auto f = fx::program("f", [](B x, fx::Double c) { return fx::item(fx::sum(x * x)) * c; });
  const auto scaled = fx::kernel("scaled", [](fx::In<double> x, fx::Double s, fx::Out<double> y) {
    auto i = fx::index();
    y[i] = x[i] * s;
  });
  const auto times = [scaled](const B& x, const fx::Double& s) {
    auto y = fx::empty_like(x);
    scaled.over(x.size())(x, s, y);
    return y;
  };
  const auto one = fx::kernel("one", [](fx::Double v, fx::Out<double> y) { y[fx::index()] = v * 1.0; });
  const auto array = [one](const fx::Double& v) {
    auto y = fx::zeros<double>(1);
    one.over(1)(v, y);
    return y;
  };
  const auto j = fx::rule(fx::jvp(f)).vjp([=](B x, fx::Double c, B dx, fx::Double dc, fx::Double w, fx::Double dw) {
    // y = c |x|^2, dy = 2 c x.dx + dc |x|^2
    const fx::Double xx = fx::item(fx::sum(x * x)), xd = fx::item(fx::sum(x * dx));
    return std::tuple(B(times(x, 2.0 * c * w + 2.0 * dc * dw) + times(dx, 2.0 * c * dw)), array(xx * w + 2.0 * xd * dw),
                      times(x, 2.0 * c * dw), array(xx * dw));
  });
  auto [y, dy] = j(up({1, 2}), 2.0, up({1, 1}), 1.0);
  CHECK(y.item() == 10);
  CHECK(dy.item() == 17);
  const auto report = fx::check_gradient(j, up({0.3, 0.5}), 0.7, up({1.1, -0.4}), 0.2);
  INFO(report.text);
  CHECK(report.ok);
  const auto g = fx::rule(fx::value_and_grad(f)).vjp([=](B x, fx::Double c, fx::Double w, B v, B u) {
    const fx::Double xx = fx::item(fx::sum(x * x)), xv = fx::item(fx::sum(x * v)), s = fx::item(u);
    return std::tuple(B(times(x, 2.0 * c * w + 2.0 * s) + times(v, 2.0 * c)), array(xx * w + 2.0 * xv));
  });
  auto [value, gx, gc] = g(up({1, 2}), 2.0);
  CHECK(value.item() == 10);
  CHECK(gx.host() == std::vector<double>{4, 8});
  CHECK(gc.item() == 5);
  const auto second = fx::check_gradient(g, up({0.3, 0.5}), 0.7);
  INFO(second.text);
  CHECK(second.ok);
}

TEST_CASE("torture: a program that calls itself without end is refused at the line of the call", "[jit][torture]") {
  const auto p = std::make_shared<One>();
  *p = fx::program("self", [p](B x) { return B((*p)(x) * 2.0); });
  for (const std::string& text : {refusal([&] { (*p)(up({1, 2})); }), refusal([&] { fx::vjp (*p)(up({1, 2}), up({1, 1})); })})
    CHECK_THAT(text, Catch::Contains("calls itself must come to an end") && Catch::Contains("rules_of_rules.cpp"));
  // One that ends is a program as any.
  const auto half = fx::kernel("half", [](fx::In<double> x, fx::Out<double> y) {
    auto i = fx::index();
    y[i] = x[2 * i] * x[2 * i + 1] + fx::sin(x[2 * i]);
  });
  *p = fx::program("tree", [p, half](B x) {
    if (x.size() == 1) return fx::copy(x);
    auto h = fx::zeros<double>(x.size() / 2);
    half.over(x.size() / 2)(x, h);
    return (*p)(h);
  });
  const auto report = fx::check_gradient(*p, up({0.1, -0.3, 0.7, 0.4, 0.9, -0.2, 0.5, 0.8}));
  INFO(report.text);
  CHECK(report.ok);
  *p = fx::rule(fx::program("self", [p](B x) { return B((*p)(x) * 2.0); })).vjp([](B x, B w) { return B(w * x); });
  CHECK_THROWS_WITH((*p)(up({1, 2})), Catch::Contains("rules_of_rules.cpp"));
  *p = sines();
}
