// fx::root to higher orders than anybody writes a rule for by hand, against closed forms: the derivative of the implicit function
// is a derivative of the root itself, so no order is the last one.
#include "torture.h"

using namespace fluxion;
using namespace fluxion::testing;
namespace fx = fluxion;

namespace {

/// Derivatives 0 .. 6 of the real root of x^3 + p x = 1 in p: x' = -x / (3 x^2 + p), and so on by differentiating
/// (3 x^2 + p) x' = -x with Leibniz' rule.
std::vector<double> cubic(double p) {
  double x = 0.5;
  for (int k = 0; k < 200; ++k) x -= (x * x * x + p * x - 1) / (3 * x * x + p);
  std::vector<double> d = {x};
  const auto binomial = [](int n, int k) {
    double b = 1;
    for (int i = 1; i <= k; ++i) b = b * (n - k + i) / i;
    return b;
  };
  for (int n = 0; n < 6; ++n) {
    // D^n of g x' + x = 0 with g = 3 x^2 + p: sum_k C(n, k) g^(k) x^(n - k + 1) + x^(n) = 0.
    double sum = d[static_cast<std::size_t>(n)];
    for (int k = 1; k <= n; ++k) {
      double g = k == 1 ? 1 : 0;
      for (int j = 0; j <= k; ++j) g += 3 * binomial(k, j) * d[static_cast<std::size_t>(j)] * d[static_cast<std::size_t>(k - j)];
      sum += binomial(n, k) * g * d[static_cast<std::size_t>(n - k + 1)];
    }
    d.push_back(-sum / (3 * x * x + p));
  }
  return d;
}

auto residual() {
  return fx::fn("residual", [](fx::Double x, fx::Double p) { return x * x * x + p * x - 1.0; });
}
auto root_of_p() {
  return fx::fn("root_of_p", [f = residual()](fx::Double p) { return fx::root(f, 0.5, p); });
}
template <class F> auto forward(const F& f) {
  const auto j = fx::jvp(f);
  return fx::fn("slope", [j](fx::Double p) { return j(p, fx::Double(1.0)).template get<1>() + 0.0; });
}

}  // namespace

TEST_CASE("root is right to the fifth order and beyond in reverse and forward mode and both", "[jit]") {
  const auto f = root_of_p();
  const auto r1 = fx::grad(f), r2 = fx::grad(r1), r3 = fx::grad(r2), r4 = fx::grad(r3), r5 = fx::grad(r4);
  const auto j1 = forward(f), j2 = forward(j1), j3 = forward(j2), j4 = forward(j3), j5 = forward(j4);
  const auto m2 = fx::grad(j1), m3 = forward(m2), m4 = fx::grad(m3), m5 = forward(m4), m6 = fx::grad(m5);
  for (const double p : {0.3, 1.0, 2.5}) {
    const auto d = cubic(p);
    CHECK(f(p) == Approx(d[0]).epsilon(1e-14));
    CHECK(r1(p) == Approx(d[1]).epsilon(1e-13));
    CHECK(r2(p) == Approx(d[2]).epsilon(1e-12));
    CHECK(r3(p) == Approx(d[3]).epsilon(1e-12));
    CHECK(r4(p) == Approx(d[4]).epsilon(1e-11));
    CHECK(r5(p) == Approx(d[5]).epsilon(1e-11));
    CHECK(j1(p) == Approx(d[1]).epsilon(1e-13));
    CHECK(j2(p) == Approx(d[2]).epsilon(1e-12));
    CHECK(j3(p) == Approx(d[3]).epsilon(1e-12));
    CHECK(j4(p) == Approx(d[4]).epsilon(1e-11));
    CHECK(j5(p) == Approx(d[5]).epsilon(1e-11));
    CHECK(m3(p) == Approx(d[3]).epsilon(1e-12));
    CHECK(m4(p) == Approx(d[4]).epsilon(1e-11));
    CHECK(m5(p) == Approx(d[5]).epsilon(1e-11));
    CHECK(m6(p) == Approx(d[6]).epsilon(1e-11));
  }
}

TEST_CASE("root is right to the fifth order inside a kernel and inside a program", "[jit]") {
  const auto fourth = fx::grad(fx::grad(fx::grad(fx::grad(root_of_p()))));
  const auto k = fx::kernel("fourth", [&](fx::In<double> p, fx::Out<double> y) {
    auto i = fx::index();
    y[i] = fourth(p[i]);
  });
  const Device dev = Device::best();
  const std::vector<double> at = {0.3, 1.0, 2.5};
  auto p = dev.upload(at), one = dev.upload(std::vector<double>{1, 1, 1}), g = dev.zeros<double>(3);
  fx::vjp(k).over(3)(p, one, g);
  auto y = dev.zeros<double>(3), dy = dev.zeros<double>(3);
  fx::jvp(k).over(3)(p, y, one, dy);
  const auto loss = fx::program("loss", [&](fx::Buffer<double> q) {
    auto out = fx::zeros<double>(3);
    k.over(3)(q, out);
    return fx::sum(out);
  });
  const auto sixth = fx::jvp(fx::value_and_grad(loss))(p, one);
  for (std::size_t i = 0; i < 3; ++i) {
    const auto d = cubic(at[i]);
    CHECK(y.host()[i] == Approx(d[4]).epsilon(1e-10));
    CHECK(g.host()[i] == Approx(d[5]).epsilon(1e-10));
    CHECK(dy.host()[i] == Approx(d[5]).epsilon(1e-10));
    CHECK(std::get<1>(sixth).host()[i] == Approx(d[5]).epsilon(1e-10));
    CHECK(std::get<3>(sixth).host()[i] == Approx(d[6]).epsilon(1e-9));
  }
}

TEST_CASE("a rule may take the result of its function and is differentiated through it", "[jit]") {
  // exp by its own value: every order is the function again.
  const auto body = fx::fn("exp_of", [](fx::Double x) { return fx::exp(x); });
  const auto f = fx::rule(body).vjp([](fx::Double, fx::Double y, fx::Double w) { return y * w; });
  const auto d3 = fx::grad(fx::grad(fx::grad(f)));
  CHECK(fx::grad(f)(0.7) == Approx(std::exp(0.7)));
  CHECK(d3(0.7) == Approx(std::exp(0.7)));
  CHECK(fx::jvp(f)(0.7, 2.0).get<1>() == Approx(2 * std::exp(0.7)));
  CHECK_NOTHROW(fx::check_rules(f, 0.7));
  using Pair = fx::Tuple<fx::Double, fx::Double>;
  const auto two = fx::fn("two", [](fx::Double x, fx::Int n) { return Pair(fx::exp(x), fx::cast<double>(n) * x); });
  const auto g =
      fx::rule(two).vjp([](fx::Double, fx::Int n, Pair y, Pair w) { return y.get<0>() * w.get<0>() + fx::cast<double>(n) * w.get<1>(); });
  CHECK_NOTHROW(fx::check_rules(g, 0.4, 3));
}

TEST_CASE("a search for a root that does not converge is an error when only its derivative is asked for", "[jit]") {
  const auto never = fx::fn("never", [](fx::Double x, fx::Double p) { return x * x + p; });
  const auto bad = fx::fn("bad", [never](fx::Double p) { return fx::root(never, 1.0, p); });
  CHECK_THROWS_WITH(fx::grad(bad)(1.0), Catch::Contains("no convergence"));
  CHECK_THROWS_WITH(fx::grad(fx::grad(bad))(1.0), Catch::Contains("no convergence"));
  CHECK_THROWS_WITH(fx::jvp(bad)(1.0, 1.0), Catch::Contains("no convergence"));
}
