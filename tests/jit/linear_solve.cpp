// Large linear systems: 2-D Poisson with variable coefficients by conjugate gradients, advection-diffusion by BiCGSTAB; their
// derivatives against finite differences and against differentiating through a fixed number of iterations.
#include "inputs.h"
#include "torture.h"

using namespace fluxion;
using namespace fluxion::testing;
namespace fx = fluxion;

namespace {

constexpr int n = 12;
using B = fx::Buffer<double>;
using B2 = fx::Buffer<double, 2>;

/// -div(k grad u) + u on n x n points, u = 0 outside; k at the points, averaged between them.
auto poisson_kernel() {
  return fx::kernel("poisson", [](fx::In<double, 2> u, fx::In<double, 2> k, fx::Out<double, 2> y) {
    auto [i, j] = fx::index<2>();
    fx::Double sum = u(i, j) + 0.0;
    const auto flux = [&, i = i, j = j](fx::Int a, fx::Int b) {
      fx::if_(a >= 0 && b >= 0 && a < u.extent(0) && b < u.extent(1), [&] {
        sum += 0.5 * (k(i, j) + k(a, b)) * (u(i, j) - u(a, b));
      }).else_([&] { sum += k(i, j) * u(i, j); });
    };
    flux(i + 1, j);
    flux(i - 1, j);
    flux(i, j + 1);
    flux(i, j - 1);
    y(i, j) = sum;
  });
}
auto poisson() {
  return fx::program("poisson", [a = poisson_kernel()](B2 u, B2 k) {
    auto y = fx::empty_like(u);
    a.over(u.extent(0), u.extent(1))(u, k, y);
    return y;
  });
}
std::vector<double> numbers_of(unsigned seed, std::size_t count, double lo, double hi) {
  std::mt19937_64 random(seed);
  std::uniform_real_distribution<double> u(lo, hi);
  std::vector<double> v(count);
  for (double& x : v) x = u(random);
  return v;
}
B2 field(unsigned seed, double lo, double hi, int m = n) {
  return Device::best().upload(numbers_of(seed, static_cast<std::size_t>(m * m), lo, hi), m, m);
}
B line(unsigned seed, double lo, double hi, int m = 40) {
  return Device::best().upload(numbers_of(seed, static_cast<std::size_t>(m), lo, hi));
}

void close(const std::vector<double>& a, const std::vector<double>& b, double within) {
  REQUIRE(a.size() == b.size());
  double size = 0, worst = 0;
  for (std::size_t i = 0; i < a.size(); ++i) size = std::max(size, std::abs(b[i])), worst = std::max(worst, std::abs(a[i] - b[i]));
  INFO("largest " << size << ", worst " << worst);
  CHECK(worst <= within * size);
}

const auto kSquare = [](auto solver) { return fx::program("loss", [solver](B2 f, B2 k) { return fx::sum(fx::square(solver(f, k))); }); };

}  // namespace

TEST_CASE("conjugate gradients solve the Poisson equation", "[jit]") {
  const auto a = poisson();
  const auto solve = fx::cg(a, {.tolerance = 1e-12});
  const auto f = field(1, -1, 1), k = field(2, 0.5, 2);
  const auto u = solve(f, k);
  close(a(u, k).host(), f.host(), 1e-11);
  const auto zero = fx::zeros_like(f);
  CHECK(solve(zero, k).host() == zero.host());
  close(fx::cg(poisson_kernel(), {.tolerance = 1e-12})(f, k).host(), u.host(), 1e-10);
}

TEST_CASE("the derivative of a Poisson solve in coefficients and right side agrees with differences and with the iterations", "[jit]") {
  const auto a = poisson();
  const auto f = field(1, -1, 1), k = field(2, 0.5, 2);
  const auto loss = kSquare(fx::cg(a, {.tolerance = 1e-13}));
  const auto report = fx::check_gradient(loss, f, k);
  INFO(report.text);
  CHECK(report.ok);
  // A plain loop of as many iterations as the system has dimensions at most, differentiated as it is.
  const auto iterate = fx::program("iterate", [a](B2 b, B2 c) {
    auto x = fx::zeros_like(b);
    auto r = fx::copy(b);
    auto d = fx::copy(b);
    const auto add = fx::kernel("add", [](fx::In<double, 2> p, fx::InOut<double, 2> q, fx::In<double> over, fx::In<double> under,
                                          fx::Double sign, fx::Double keep) {
      auto [i, j] = fx::index<2>();
      q(i, j) = sign * over[0] / under[0] * (keep * q(i, j) + (1.0 - keep) * p(i, j)) + (1.0 - keep) * q(i, j) + keep * p(i, j);
    });
    for ([[maybe_unused]] auto t : fx::range(55)) {
      auto q = a(d, c);
      auto rr = fx::dot(r, r);
      auto dq = fx::dot(d, q);
      add.over(n, n)(d, x, rr, dq, 1.0, 0.0);   // x += rr / dq d
      add.over(n, n)(q, r, rr, dq, -1.0, 0.0);  // r -= rr / dq q
      auto next = fx::dot(r, r);
      add.over(n, n)(r, d, next, rr, 1.0, 1.0);  // d = next / rr d + r
    }
    return x;
  });
  close(iterate(f, k).host(), fx::cg(a, {.tolerance = 1e-13})(f, k).host(), 1e-9);
  const auto through = fx::value_and_grad(kSquare(iterate)), implicit = fx::value_and_grad(loss);
  const auto [l1, gf1, gk1] = through(f, k);
  const auto [l2, gf2, gk2] = implicit(f, k);
  CHECK(l1.host()[0] == Approx(l2.host()[0]).epsilon(1e-9));
  close(gf2.host(), gf1.host(), 1e-7);
  close(gk2.host(), gk1.host(), 1e-7);
}

TEST_CASE("second derivatives of a Poisson solve are those of the solution", "[jit]") {
  const auto f = field(1, -1, 1, 5), k = field(2, 0.5, 2, 5);
  const auto loss = kSquare(fx::cg(poisson(), {.tolerance = 1e-13}));
  const auto slopes = fx::program("slopes", [g = fx::value_and_grad(loss)](B2 b, B2 c) {
    auto [l, gb, gc] = g(b, c);
    return fx::sum(fx::square(gb)) + fx::sum(gc * b);
  });
  const auto report = fx::check_gradient(slopes, f, k);
  INFO(report.text);
  CHECK(report.ok);
}

TEST_CASE("the memory of the derivative of a solve does not depend on its iterations", "[jit][memory]") {
  const auto f = field(1, -1, 1, 48), k = field(2, 0.5, 2, 48);
  std::int64_t bytes[2], least = std::int64_t{48} * 48 * 8;
  int next = 0;
  for (const double tolerance : {1e-1, 1e-12}) {
    const auto g = fx::value_and_grad(kSquare(fx::cg(poisson(), {.tolerance = tolerance})));
    g(f, k);
    f.device().wait();
    bytes[next++] = g.peak_bytes();
  }
  CHECK(bytes[0] == bytes[1]);
  CHECK(bytes[1] < 20 * least);
  CHECK(bytes[1] >= least);
}

TEST_CASE("a solver inside a time loop is differentiated with and without checkpoints", "[jit][memory]") {
  const auto solve = fx::cg(poisson(), {.tolerance = 1e-12});
  const auto heat = fx::program("heat", [solve](B2 u0, B2 k) {
    auto u = fx::copy(u0);
    for ([[maybe_unused]] auto t : fx::range(6)) u.copy_from(solve(u, k) + u * 0.1);
    return fx::sum(fx::square(u));
  });
  const auto f = field(1, -1, 1, 6), k = field(2, 0.5, 2, 6);
  const auto report = fx::check_gradient(heat, f, k);
  INFO(report.text);
  CHECK(report.ok);
  const auto [l, gf, gk] = fx::value_and_grad(heat)(f, k);
  for (const auto& keep : {fx::strips(2), fx::revolve(2)}) {
    const auto [l2, gf2, gk2] = fx::value_and_grad(heat, {.checkpoint = keep})(f, k);
    CHECK(l2.host() == l.host());
    close(gf2.host(), gf.host(), 1e-10);
    close(gk2.host(), gk.host(), 1e-10);
  }
  // A budget counts a solver as one turn: what it takes does not depend on how many there are.
  const auto longer = fx::program("longer", [solve](B2 u0, B2 k) {
    auto u = fx::copy(u0);
    for ([[maybe_unused]] auto t : fx::range(60)) u.copy_from(solve(u, k) * 0.5 + u * 0.5);
    return fx::sum(fx::square(u));
  });
  const auto all = fx::value_and_grad(longer);
  const auto wide = field(3, -1, 1, 24), stiff = field(4, 0.5, 2, 24);
  const std::int64_t most = all.use(wide, stiff).bytes;
  const auto within = fx::value_and_grad(longer, {.checkpoint = fx::budget(most / 2)});
  const auto [l3, gf3, gk3] = all(wide, stiff);
  const auto [l4, gf4, gk4] = within(wide, stiff);
  CHECK(l4.host() == l3.host());
  close(gf4.host(), gf3.host(), 1e-10);
  close(gk4.host(), gk3.host(), 1e-10);
  CHECK(static_cast<double>(all.peak_bytes()) == Approx(static_cast<double>(most)).epsilon(0.02));
  CHECK(static_cast<double>(within.peak_bytes()) <= 1.1 * static_cast<double>(most / 2));
}

TEST_CASE("linear_solve handles advection and diffusion with its derivatives to the second order", "[jit]") {
  const auto a = advection();
  const auto solve = fx::linear_solve(a, {.tolerance = 1e-13, .max_iterations = 2000});
  const auto f = line(1, -1, 1), c = line(2, 0.5, 3);
  const auto u = solve(f, c, 0.7);
  auto back = fx::zeros_like(u);
  a.over(40)(u, c, 0.7, back);
  close(back.host(), f.host(), 1e-11);
  const auto loss = fx::program("loss", [solve](B b, B speed, fx::Double nu) { return fx::sum(fx::square(solve(b, speed, nu))); });
  const auto report = fx::check_gradient(loss, f, c, 0.7);
  INFO(report.text);
  CHECK(report.ok);
  const auto slopes = fx::program("slopes", [g = fx::value_and_grad(loss)](B b, B speed, fx::Double nu) {
    auto [l, gb, gs, gn] = g(b, speed, nu);
    return fx::sum(fx::square(gb)) + fx::sum(gs * b) + gn;
  });
  const auto second = fx::check_gradient(slopes, f, c, 0.7);
  INFO(second.text);
  CHECK(second.ok);
}

TEST_CASE("solvers work in float and over three axes and with no parameters", "[jit]") {
  const auto shifted = fx::kernel("shifted", [](fx::In<float, 3> u, fx::Float s, fx::Out<float, 3> y) {
    auto [i, j, k] = fx::index<3>();
    fx::Float sum = s * u(i, j, k);
    fx::if_(k > 0, [&, i = i, j = j, k = k] { sum += u(i, j, k) - u(i, j, k - 1); });
    fx::if_(k + 1 < u.extent(2), [&, i = i, j = j, k = k] { sum += u(i, j, k) - u(i, j, k + 1); });
    y(i, j, k) = sum;
  });
  std::vector<float> v;
  for (double x : numbers_of(4, 2 * 3 * 7, -1, 1)) v.push_back(static_cast<float>(x));
  const auto b = Device::best().upload(v, 2, 3, 7);
  for (const auto& solve :
       {fx::Program<fx::TypeList<fx::Buffer<float, 3>>, fx::TypeList<fx::Buffer<float, 3>, fx::Float>>(fx::cg(shifted)),
        fx::Program<fx::TypeList<fx::Buffer<float, 3>>, fx::TypeList<fx::Buffer<float, 3>, fx::Float>>(fx::linear_solve(shifted))}) {
    auto back = fx::zeros_like(b);
    shifted.over(2, 3, 7)(solve(b, 0.5f), 0.5f, back);
    const auto got = back.host();
    for (std::size_t i = 0; i < v.size(); ++i) CHECK(got[i] == Approx(v[i]).margin(2e-5));
    const auto loss = fx::program("loss", [solve](fx::Buffer<float, 3> c, fx::Float s) { return fx::sum(fx::square(solve(c, s))); });
    const auto report = fx::check_gradient(loss, b, 0.5f);
    INFO(report.text);
    CHECK(report.ok);
  }
  const auto twice = fx::kernel("twice", [](fx::In<double> x, fx::Out<double> y) {
    auto i = fx::index();
    y[i] = 2.0 * x[i];
  });
  const auto f = line(1, -1, 1);
  close((fx::cg(twice)(f) * 2.0).host(), f.host(), 1e-12);
  auto [half] = std::tuple(fx::vjp(fx::linear_solve(twice))(f, f));
  close((half * 2.0).host(), f.host(), 1e-12);
}

TEST_CASE("solves that do not converge or do not suit the operator are errors that say so", "[jit]") {
  const auto f = field(1, -1, 1), k = field(2, 0.5, 2);
  CHECK_THROWS_WITH(fx::cg(poisson(), {.tolerance = 1e-12, .max_iterations = 5})(f, k).host(),
                    Catch::Contains("cg: no convergence: after 5 iterations") && Catch::Contains("linear_solve.cpp"));
  CHECK_THROWS_WITH(fx::cg(poisson())(f, -k).host(), Catch::Contains("not positive definite"));
  const auto b = line(1, -1, 1), c = line(2, 0.5, 3);
  CHECK_THROWS_WITH(fx::linear_solve(advection(), {.tolerance = 1e-12, .max_iterations = 6})(b, c, 0.7).host(),
                    Catch::Contains("linear_solve: no convergence"));
  // Nearly symmetric: conjugate gradients get there, but their adjoint would be that of another operator.
  const auto nearly = fx::kernel("nearly", [](fx::In<double> u, fx::In<double> s, fx::Out<double> y) {
    auto i = fx::index();
    fx::Double left = 0.0;
    fx::if_(i > 0, [&] { left = u[i - 1]; });
    y[i] = u[i] * 4.0 + s[i] * 1e-3 * left;
  });
  const auto solve = fx::cg(nearly, {.tolerance = 1e-9});
  const auto loss = fx::program("loss", [solve](B p, B q) { return fx::sum(fx::square(solve(p, q))); });
  const auto x = loss(b, c).host();
  CHECK(x.size() == 1);
  CHECK_THROWS_WITH(std::get<1>(fx::value_and_grad(loss)(b, c)).host(), Catch::Contains("not symmetric"));
}

TEST_CASE("fx::item brings a number of an array into a program and is differentiable", "[jit]") {
  const auto p = fx::program("items", [](B a) {
    fx::Double first = fx::item(a), second = fx::item(a, 1);
    fx::Int steps = 0;
    fx::Double x = first + 0.0;
    for ([[maybe_unused]] auto t : fx::while_([&] { return x < 100.0; })) {
      x *= second;
      steps += 1;
    }
    auto b = fx::copy(a);
    const auto scale = fx::kernel("scale", [](fx::InOut<double> v, fx::Double s) { v[fx::index()] *= s; });
    for ([[maybe_unused]] auto t : fx::while_([&] { return fx::item(b, 2) < 50.0; })) scale.over(3)(b, second);
    return std::tuple(x, b, steps);
  });
  const auto a = Device::best().upload(std::vector<double>{3, 2.5, 1});
  const auto [x, b, steps] = p(a);
  CHECK(x.host()[0] == Approx(3 * std::pow(2.5, 4)));
  CHECK(steps.host()[0] == 4);
  CHECK(b.host()[2] == Approx(std::pow(2.5, 5)));
  const auto report = fx::check_gradient(p, a);
  INFO(report.text);
  CHECK(report.ok);
  CHECK_THROWS_WITH(fx::item(a), Catch::Contains("inside a program"));
  CHECK_THROWS_WITH(fx::vjp(p, {.checkpoint = fx::strips(2)})(a, 1.0, a), Catch::Contains("depend on the numbers of an array"));
}
