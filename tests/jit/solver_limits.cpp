// Where solvers might go wrong in silence: right sides that squares of overflow or underflow, operators that are not linear, that
// write what they are given, that return it, or that reach numbers outside of them; solvers within solvers, branches and loops.
#include "fluxion/backend.h"
#include "inputs.h"
#include "torture.h"

using namespace fluxion;
using namespace fluxion::testing;
namespace fx = fluxion;
using B = fx::Buffer<double>;

namespace {

constexpr int n = 12;
const fx::SolverOptions kTight = {.tolerance = 1e-13, .max_iterations = 4000};

B line(unsigned seed, double lo, double hi) {
  std::mt19937_64 random(seed);
  std::uniform_real_distribution<double> u(lo, hi);
  std::vector<double> v(n);
  for (double& x : v) x = u(random);
  return Device::best().upload(v);
}
auto chain() {
  return fx::kernel("chain", [](fx::In<double> u, fx::In<double> c, fx::Out<double> y) {
    auto i = fx::index();
    fx::Double s = (1.0 + c[i] * c[i]) * u[i];
    fx::if_(i > 0, [&] { s += u[i] - u[i - 1]; });
    fx::if_(i + 1 < u.extent(0), [&] { s += u[i] - u[i + 1]; });
    y[i] = s;
  });
}
template <class P, class... A> void right(const P& p, const A&... a) {
  const auto report = fx::check_gradient(p, a...);
  INFO(report.text);
  CHECK(report.ok);
}
template <class A> void same(const A& a, const A& b) {
  const auto x = a.host(), y = b.host();
  REQUIRE(x.size() == y.size());
  for (std::size_t i = 0; i < x.size(); ++i) CHECK(x[i] == Approx(y[i]).epsilon(1e-8).margin(1e-12));
}

using Solver = fx::Program<fx::TypeList<B>, fx::TypeList<B, B>>;
using Slope = fx::Kernel<fx::In<double>, fx::In<double>, fx::Out<double>>;

}  // namespace

TEST_CASE("solvers get right sides whose squares would be zero or infinite and refuse what is not finite", "[jit]") {
  const auto twice = fx::kernel("twice", [](fx::In<float> x, fx::Out<float> y) {
    auto i = fx::index();
    y[i] = 2.0f * x[i];
  });
  const Device dev = Device::best();
  for (const float s : {1e-36f, 1e-25f, 1.0f, 1e20f, 1e36f}) {
    const auto b = dev.upload(std::vector<float>{s, 2 * s, -s});
    CHECK(fx::cg(twice)(b).host()[1] / s == Approx(1));
    CHECK(fx::linear_solve(twice)(b).host()[1] / s == Approx(1));
    CHECK(fx::vjp(fx::cg(twice))(b, b).host()[2] / s == Approx(-0.5));
  }
  for (const float bad : {std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()}) {
    const auto b = dev.upload(std::vector<float>{1, bad});
    CHECK_THROWS_WITH(fx::cg(twice)(b).host(), Catch::Contains("not finite"));
    CHECK_THROWS_WITH(fx::linear_solve(twice)(b).host(), Catch::Contains("not finite"));
    CHECK_THROWS_WITH(fx::vjp(fx::linear_solve(twice))(dev.upload(std::vector<float>{1, 1}), b).host(), Catch::Contains("not finite"));
  }
}

TEST_CASE("operators that are not linear in their array are refused by solvers and their derivatives in both modes", "[jit]") {
  const auto b = line(1, -1, 1), c = line(2, 0.5, 1), one = fx::ones_like(b), zero = fx::zeros_like(b);
  const auto refused = [&](const Slope& k, const char* forward, const char* why) {
    for (const bool cg : {false, true}) {
      const Solver solve = cg ? Solver(fx::cg(k, kTight)) : Solver(fx::linear_solve(k, kTight));
      INFO(k.ir() << cg);
      if (forward) CHECK_THROWS_WITH(solve(b, c).host(), Catch::Contains(forward));
      else CHECK_NOTHROW(solve(b, c).host());
      CHECK_THROWS_WITH(std::get<0>(fx::vjp(solve)(b, c, one)).host(),
                        Catch::Contains(why) || (cg ? Catch::Contains("not symmetric") : Catch::Contains(why)));
      CHECK_THROWS_WITH(std::get<1>(fx::jvp(solve)(b, c, one, zero)).host(), Catch::Contains(why));
    }
  };
  refused(fx::kernel("cubic",
                     [](fx::In<double> u, fx::In<double> p, fx::Out<double> y) {
                       auto i = fx::index();
                       y[i] = 2.0 * u[i] + 0.05 * p[i] * u[i] * u[i] * u[i];
                     }),
          ":", ":");
  refused(fx::kernel("absolute",
                     [](fx::In<double> u, fx::In<double> p, fx::Out<double> y) {
                       auto i = fx::index();
                       y[i] = 2.0 * u[i] + 0.1 * p[i] * fx::abs(u[i]);
                     }),
          "not linear", "not linear");
  refused(fx::kernel("affine",
                     [](fx::In<double> u, fx::In<double> p, fx::Out<double> y) {
                       auto i = fx::index();
                       y[i] = 2.0 * u[i] + 1e-5 * p[i];
                     }),
          ":", ":");
  // Odd and of degree one, like what is linear: only its slope tells.
  refused(fx::kernel("limiter",
                     [](fx::In<double> u, fx::In<double> p, fx::Out<double> y) {
                       auto i = fx::index();
                       fx::Double left = 0.0;
                       fx::if_(i > 0, [&] { left = u[i - 1]; });
                       const fx::Double smaller = fx::select(fx::abs(left) < fx::abs(u[i]), left, u[i] + 0.0);
                       y[i] = 3.0 * u[i] + 0.05 * p[i] * fx::select(left * u[i] > 0.0, smaller, fx::Double(0.0));
                     }),
          nullptr, "slope of the operator");
}

TEST_CASE("an operator may return its array or work in place on it", "[jit]") {
  const auto b = line(1, -1, 1);
  const auto same_array = fx::program("same", [](B x) { return x; });
  same(fx::cg(same_array)(b), b);
  same(fx::linear_solve(same_array)(b), b);
  right(fx::program("loss", [s = fx::linear_solve(same_array)](B x) { return fx::sum(fx::square(s(x))); }), b);
  const auto in_place = fx::program("in_place", [](B x) {
    x *= 2.0;
    return fx::copy(x);
  });
  const auto solve = fx::cg(in_place);
  same(solve(b), b * 0.5);
  CHECK_THROWS_WITH(fx::vjp(solve)(b, b).host(), Catch::Contains("writes the array"));
  CHECK_THROWS_WITH(fx::linear_solve(in_place)(b).host(), Catch::Contains("writes the array"));  // it has the transpose at hand
}

TEST_CASE("operators that reach arrays or numbers of the program around them are refused", "[jit]") {
  const auto f = line(1, -1, 1), k = line(2, 0.5, 1);
  const auto traced = fx::program("traced", [](B p, B q) {
    const auto a = fx::program("a", [q](B x) { return x * 2.0 + q * x; });
    return fx::sum(fx::square(fx::cg(a)(p)));
  });
  CHECK_THROWS_WITH(traced(f, k).host(), Catch::Contains("belongs to another capture"));
  const auto scalar = fx::program("scalar", [](B p, B q) {
    const fx::Double s = fx::item(fx::sum(q));
    const auto scale = fx::kernel("scale", [](fx::In<double> x, fx::Double t, fx::Out<double> y) {
      auto i = fx::index();
      y[i] = x[i] * (t + 1.0);
    });
    const auto a = fx::program("a", [s, scale](B x) {
      auto y = fx::empty_like(x);
      scale.over(n)(x, s, y);
      return y;
    });
    return fx::sum(fx::square(fx::cg(a)(p)));
  });
  CHECK_THROWS_WITH(scalar(f, k).host(), Catch::Contains("belongs to another kernel or function"));
  const auto outside = fx::cg(fx::program("a", [k](B x) { return x * 2.0 + k * x; }));
  same(outside(f), f / (k + 2.0));
  CHECK_THROWS_WITH(fx::vjp(outside)(f, f).host(), Catch::Contains("make it a parameter"));
}

TEST_CASE("a solver inside the operator of another solver is differentiated", "[jit]") {
  const auto f = line(1, -1, 1), k = line(2, 0.5, 1), c = line(3, 0.5, 2);
  const auto inner = fx::cg(chain(), kTight);
  const auto outer = fx::cg(fx::program("schur", [inner](B x, B a, B d) { return x * d + inner(x * d, a) * d; }), kTight);
  right(fx::program("loss", [outer](B p, B q, B r) { return fx::sum(fx::square(outer(p, q, r))); }), f, k, c);
  const auto general = fx::linear_solve(fx::program("general", [inner](B x, B a, B d) { return x * d + inner(x, a); }), kTight);
  right(fx::program("loss", [general](B p, B q, B r) { return fx::sum(fx::square(general(p, q, r))); }), f, k, c);
}

TEST_CASE("solvers in branches of while loops that ask the solution are differentiated", "[jit]") {
  const auto f = line(1, -1, 1), k = line(2, 0.5, 1);
  const auto solve = fx::linear_solve(advection(), kTight);
  right(fx::program("loss",
                    [solve](B p, B q, fx::Double nu) {
                      auto u = fx::copy(p);
                      fx::Int turns = 0;
                      for ([[maybe_unused]] auto s : fx::while_([&] { return fx::item(fx::dot(u, u)) > 1e-3 && turns < 5; })) {
                        fx::if_(turns % 2 == 0, [&] { u.copy_from(solve(u, q, nu)); }).else_([&] {
                          u.copy_from(u * q + solve(p, q, nu + 1.0) * 0.1);
                        });
                        turns += 1;
                      }
                      return fx::sum(fx::square(u)) + fx::sum(u);
                    }),
        f, k, 0.9);
}

TEST_CASE("higher derivatives of solvers in loops are the same under every checkpoint", "[jit]") {
  const auto f = line(1, -1, 1), k = line(2, 0.5, 1), v = line(3, -1, 1), w0 = Device::best().upload(std::vector<double>{0.3});
  const auto solve = fx::linear_solve(advection(), kTight);
  const auto p = fx::program("p", [solve](B u0, B c) {
    auto u = fx::copy(u0);
    for ([[maybe_unused]] auto t : fx::range(5)) u.copy_from(solve(u, c, 0.7) + fx::square(u) * 0.1);
    return fx::sum(fx::square(u));
  });
  const auto forward = fx::jvp(fx::value_and_grad(p))(f, k, v, k);
  for (const auto& keep : {fx::strips(2), fx::strips(3), fx::revolve(1), fx::revolve(2)}) {
    const auto again = fx::jvp(fx::value_and_grad(p, {.checkpoint = keep}))(f, k, v, k);
    same(std::get<1>(again), std::get<1>(forward));
    same(std::get<4>(again), std::get<4>(forward));
    same(std::get<5>(again), std::get<5>(forward));
  }
  const auto reverse = fx::vjp(fx::value_and_grad(p))(f, k, w0, v, k);
  for (const auto& keep : {fx::strips(2), fx::strips(3), fx::budget(100000)}) {
    const auto again = fx::vjp(fx::value_and_grad(p, {.checkpoint = keep}))(f, k, w0, v, k);
    same(std::get<0>(again), std::get<0>(reverse));
    same(std::get<1>(again), std::get<1>(reverse));
  }
}

TEST_CASE("newton_krylov in a time loop whose start depends on the parameters is differentiated", "[jit]") {
  const auto k = fx::kernel("residual", [](fx::In<double> u, fx::In<double> p, fx::Double c, fx::Out<double> r) {
    auto i = fx::index();
    fx::Double s = 3.0 * u[i] + 0.1 * c * u[i] * u[i] * u[i] - p[i];
    for (auto j : fx::range(u.extent(0))) s += 0.03 * fx::sin(u[j] * (1.0 + fx::cast<double>(i)));
    r[i] = s;
  });
  const auto residual = fx::program("residual", [k](B u, B p, fx::Double c) {
    auto r = fx::empty_like(u);
    k.over(u.size())(u, p, c, r);
    return r;
  });
  const auto solve = fx::newton_krylov(residual, {.tolerance = 1e-11, .linear = kTight});
  const auto loop = fx::program("loop", [solve](B q, fx::Double c) {
    auto u = q * 0.5;
    for ([[maybe_unused]] auto t : fx::range(4)) u.copy_from(solve(u, u + q * 0.5, c));
    return fx::sum(fx::square(u));
  });
  const auto p = line(1, -1, 1);
  right(loop, p, 0.7);
  const auto [l, gq, gc] = fx::value_and_grad(loop)(p, 0.7);
  for (const auto& keep : {fx::strips(2), fx::revolve(2)}) {
    const auto [l2, gq2, gc2] = fx::value_and_grad(loop, {.checkpoint = keep})(p, 0.7);
    same(gq2, gq);
    same(gc2, gc);
  }
  const auto writes = fx::program("writes", [](B x, B q) {
    x *= 2.0;
    return x - q;
  });
  same(fx::newton_krylov(writes)(p, p), p * 0.5);
  CHECK_THROWS_WITH(std::get<0>(fx::vjp(fx::newton_krylov(writes))(p, p, p)).host(), Catch::Contains("writes the array"));
}

TEST_CASE("fx::item of a batch is a number for each of it", "[jit]") {
  const auto p = fx::program("p", [](B a) { return fx::item(a, 1) * fx::item(fx::sum(a)); });
  const auto all = Device::best().upload(std::vector<double>{1, 2, 3, 4, 5, 6}, 2, 3);
  const auto many = fx::vmap(p);
  CHECK(many(all).host() == std::vector<double>{12, 75});
  const auto g = fx::vmap(fx::value_and_grad(p))(all);
  CHECK(std::get<1>(g).host() == std::vector<double>{2, 8, 2, 5, 20, 5});
  right(many, all);
  const auto solve = fx::vmap(fx::program("s", [s = fx::cg(chain())](B f, B c) { return s(f, c); }));
  const auto f = Device::best().upload(std::vector<double>(6, 1.0), 2, 3);
  CHECK_THROWS_WITH(solve(f, f).host(), Catch::Contains("it has rules of its own"));
}

TEST_CASE("fx::item checks its position at capture and under bounds checks", "[jit]") {
  const auto p = fx::program("far", [](B a, fx::Int i) { return fx::item(a, i) * 2.0; });
  const auto a = Device::best().upload(std::vector<double>{1, 2, 3});
  const auto checked = p.with({.bounds = true});
  CHECK(checked(a, 2).host()[0] == 6);
  for (const int i : {-1, 3})
    CHECK_THROWS_WITH(checked(a, i).host(),
                      Catch::Contains("item " + std::to_string(i) + " of an array of 3") && Catch::Contains("solver_limits.cpp"));
  CHECK_THROWS_WITH(std::get<0>(fx::value_and_grad(p).with({.bounds = true})(a, 3)).host(), Catch::Contains("item 3 of an array of 3"));
  CHECK_THROWS_WITH(fx::program("past", [](B b) { return fx::item(b, 3); })(a), Catch::Contains("item 3 of an array of 3"));
}
