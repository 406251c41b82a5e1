// The gradient torture list: programs of many launches, long horizons, arrays passed twice, races.
#include <random>

#include "torture.h"

using namespace fluxion::testing;
namespace fx = fluxion;

namespace {

fx::Device device() { return GENERATE(as<std::string>{}, "cpu", "reference") == "cpu" ? fx::Device::best() : fx::Device::reference(); }
std::vector<double> random_numbers(std::size_t n, unsigned seed) {
  std::mt19937_64 random(seed);
  std::uniform_real_distribution<double> u(-1, 1);
  std::vector<double> v(n);
  for (double& x : v) x = u(random);
  return v;
}
double dot(const std::vector<double>& a, const std::vector<double>& b) {
  double s = 0;
  for (std::size_t i = 0; i < a.size(); ++i) s += a[i] * b[i];
  return s;
}
std::vector<double> moved(std::vector<double> x, const std::vector<double>& d, double h) {
  for (std::size_t i = 0; i < x.size(); ++i) x[i] += h * d[i];
  return x;
}

}  // namespace

TEST_CASE("torture 21 and 23: gradients and Hessians of many launches in place", "[jit][torture]") {
  const fx::Device dev = device();
  const int n = 21;
  auto push = fx::kernel("push", [](fx::InOut<double> v, fx::In<double> x, fx::Double dt) {
    auto i = fx::index();
    v[i] -= dt * fx::sin(x[i]) * x[(i + 1) % x.size()];
  });
  auto move = fx::kernel("move", [](fx::InOut<double> x, fx::In<double> v) {
    auto i = fx::index();
    x[i] += 0.1 * v[i] * x[i];
  });
  auto smooth = fx::kernel("smooth", [](fx::Out<double> y, fx::In<double> x) {
    auto i = fx::index();
    y[i] = 0.5 * (x[i] + x[fx::max(i - 1, 0)]) * x[i];
  });
  auto p = fx::program("p", [&](fx::Buffer<double> x0) {
    auto x = fx::copy(x0), v = fx::zeros<double>(n), y = fx::zeros<double>(n);
    for (auto t : fx::range(5)) {
      push.over(n)(v, x, 0.1 * fx::Double(t));
      fx::if_(t % 2 == 0, [&] { move.over(n)(x, v); }).else_([&] {
        smooth.over(n)(y, x);
        fx::swap(x, y);
      });
      for ([[maybe_unused]] auto s : fx::range(t)) move.over(n)(v, x);
    }
    fx::Int k = 0;
    for (auto _ : fx::while_([&] { return k < 3; })) {
      push.over(n)(x, v, 0.3);
      k += 1;
    }
    return fx::dot(x, v) + fx::dot(y, y);
  });
  const auto x = random_numbers(n, 3), d = random_numbers(n, 11);
  const double h = 1e-5;
  const auto value = [&](double by) { return p(dev.upload(moved(x, d, by))).item(); };
  const auto gradient = [&](double by) {
    auto [v, g] = fx::value_and_grad(p)(dev.upload(moved(x, d, by)));
    return g.host();
  };
  const auto g = gradient(0);
  CHECK(dot(g, d) == Approx((8 * (value(h) - value(-h)) - (value(2 * h) - value(-2 * h))) / (12 * h)).epsilon(1e-7));
  auto [y, t] = fx::jvp(p)(dev.upload(x), dev.upload(d));
  CHECK(t.item() == Approx(dot(g, d)).epsilon(1e-11));
  auto [v0, g0, v1, forward] = fx::jvp(fx::value_and_grad(p))(dev.upload(x), dev.upload(d));
  const auto reverse = fx::vjp(fx::value_and_grad(p))(dev.upload(x), dev.zeros<double>(1), dev.upload(d)).host();
  const auto plus = gradient(h), minus = gradient(-h), hessian = forward.host();
  const double size = std::sqrt(dot(hessian, hessian));
  for (std::size_t i = 0; i < n; ++i) {
    CHECK(std::abs(hessian[i] - reverse[i]) < 1e-10 * size);
    CHECK(std::abs(hessian[i] - (plus[i] - minus[i]) / (2 * h)) < 1e-6 * size);
  }
}

TEST_CASE("torture 24: reverse mode over ten thousand steps is forward mode", "[jit][torture]") {
  const fx::Device dev = fx::Device::best();
  auto step = fx::kernel("step", [](fx::InOut<double> x, fx::InOut<double> v) {
    auto i = fx::index();
    v[i] -= 0.01 * fx::sin(x[i]);
    x[i] += 0.01 * v[i];
  });
  auto p = fx::program("p", [&](fx::Buffer<double> x0) {
    auto x = fx::copy(x0), v = fx::zeros<double>(2);
    for ([[maybe_unused]] auto t : fx::range(10000)) step.over(2)(x, v);
    return fx::dot(x, x);
  });
  auto [loss, g] = fx::value_and_grad(p)(dev.upload({0.5, 1.0}));
  auto [same, t] = fx::jvp(p)(dev.upload({0.5, 1.0}), dev.upload({1.0, -2.0}));
  CHECK(loss.item() == same.item());
  CHECK(t.item() == Approx(g.host()[0] - 2 * g.host()[1]).epsilon(1e-9));
}

TEST_CASE("torture 9 and 10: a million trips of a while", "[jit][torture]") {
  const fx::Device dev = fx::Device::best();
  auto k = fx::kernel("long", [](fx::In<double> x, fx::Int m, fx::Out<double> y) {
    auto i = fx::index();
    fx::Double s = x[i];
    fx::Int t = 0;
    for (auto _ : fx::while_([&] { return t < m; })) {
      s = s + 1e-6 * fx::sin(s);
      t += 1;
    }
    y[i] = s;
  });
  const int trips = GENERATE(0, 20, 1000000);
  auto x = dev.upload({0.3, 0.4}), one = dev.upload({1.0, 1.0});
  auto y = dev.zeros<double>(2), g = dev.zeros<double>(2), t = dev.zeros<double>(2);
  fx::vjp(k)(x, trips, one, g);
  fx::jvp(k)(x, trips, y, one, t);
  for (std::size_t i = 0; i < 2; ++i) CHECK(g.host()[i] == Approx(t.host()[i]).epsilon(1e-9));
}

TEST_CASE("torture 25: gradients are identical over runs", "[jit][torture]") {
  const fx::Device dev = fx::Device::best();
  auto k = fx::kernel("scatter", [](fx::In<double> x, fx::Accum<double> y) {
    auto i = fx::index();
    y[i % 7] += fx::sin(x[(i * 31) % x.size()]) * x[i];
  });
  const auto x = dev.upload(random_numbers(5000, 5)), w = dev.upload(random_numbers(7, 6));
  const auto run = [&] {
    auto g = dev.zeros<double>(5000);
    fx::vjp(k).over(5000)(x, w, g);
    return g.host();
  };
  const auto first = run();
  for (int r = 0; r < 5; ++r) CHECK(run() == first);
}

TEST_CASE("torture 15: three parameters on one array are looked at in pairs", "[jit][torture]") {
  const fx::Device dev = device();
  auto shifted = fx::kernel("shifted", [](fx::In<double> x, fx::In<double> w, fx::InOut<double> y) {
    auto i = fx::index();
    y[i] = x[i] + w[(i + 1) % w.size()];
  });
  auto own = fx::kernel("own", [](fx::In<double> x, fx::In<double> w, fx::InOut<double> y) {
    auto i = fx::index();
    y[i] += x[i] * w[i];
  });
  auto b = dev.upload({3.0, 2.0});
  CHECK_THROWS_WITH(shifted(b, b, b), Catch::Contains("torture_programs.cpp") && Catch::Contains("same array"));
  own(b, b, b);
  CHECK(b.host() == std::vector<double>{12, 6});
  auto p = fx::program("p", [&](fx::Buffer<double> x) {
    auto y = fx::copy(x);
    own.over(2)(y, y, y);
    return fx::sum(y);
  });
  auto [loss, g] = fx::value_and_grad(p)(dev.upload({3.0, 2.0}));
  CHECK(loss.item() == 18);
  CHECK(g.host() == std::vector<double>{7, 5});
  auto q = fx::program("q", [&](fx::Buffer<double> x) { shifted.over(2)(x, x, x); });
  CHECK_THROWS_WITH(q(dev.upload({3.0, 2.0})), Catch::Contains("same array"));
}

TEST_CASE("torture 28 and 30: races and overlapping views are refused", "[jit][torture]") {
  const fx::Device dev = device();
  auto scan = fx::kernel("scan", [](fx::InOut<double> y) {
    auto i = fx::index();
    fx::if_(i > 0, [&] { y[i] += y[i - 1]; });
  });
  CHECK_THROWS_WITH(scan.eager()(dev.zeros<double>(4)), Catch::Contains("torture_programs.cpp"));
  auto one = fx::kernel("one", [](fx::InOut<double> y) {
    for (auto i : fx::range(1, y.size())) y[i] += y[i - 1] + 0.0 * fx::Double(fx::index());
  });
  auto y = dev.upload({1.0, 2.0, 3.0}), w = dev.upload({0.0, 0.0, 1.0});
  fx::vjp(one).over(1)(y, w);
  CHECK(w.host() == std::vector<double>{1, 1, 1});
  std::vector<double> memory(8);
  const fx::Device host = dev == fx::Device::reference() ? dev : fx::Device::cpu();  // what is wrapped stays there
  auto a = fx::Buffer<double>::wrap(memory.data(), {6}, host), b = fx::Buffer<double>::wrap(memory.data() + 2, {6}, host);
  auto add = fx::kernel("add", [](fx::In<double> x, fx::InOut<double> z) {
    auto i = fx::index();
    z[i] += x[i];
  });
  CHECK_THROWS_WITH(add(a, b), Catch::Contains("torture_programs.cpp") && Catch::Contains("overlap"));
}

TEST_CASE("torture 21: a training loop in a program with the derivative of another program inside", "[jit][torture]") {
  const fx::Device dev = device();
  const int n = 7;
  auto bend = fx::kernel("bend", [](fx::InOut<double> x, fx::In<double> w) {
    auto i = fx::index();
    x[i] = fx::sin(x[i]) * w[i] + x[i] * x[(i + 0)];
  });
  auto weights = dev.upload(random_numbers(n, 5));
  auto loss = fx::program("loss", [&](fx::Buffer<double> x) {
    auto y = fx::copy(x);
    for ([[maybe_unused]] auto t : fx::range(3)) bend.over(n)(y, weights);
    return fx::sum(y * y);
  });
  auto step = fx::value_and_grad(loss);
  auto train = fx::program("train", [&](fx::Buffer<double> x) {
    auto y = fx::copy(x), total = fx::zeros<double>(1);
    for ([[maybe_unused]] auto t : fx::range(4)) {
      auto [l, g] = step(y);
      y -= g * 0.05;
      total += l;
    }
    return total + fx::dot(y, y);
  });
  const auto x = random_numbers(n, 3), d = random_numbers(n, 11);
  // The same on the host.
  auto y = dev.upload(x);
  double total = 0;
  for (int t = 0; t < 4; ++t) {
    auto [l, g] = step(y);
    y -= g * 0.05;
    total += l.item();
  }
  CHECK(train(dev.upload(x)).item() == Approx(total + fx::dot(y, y).item()).epsilon(1e-12));
  const double h = 1e-5;
  const auto value = [&](double by) { return train(dev.upload(moved(x, d, by))).item(); };
  auto [v, g] = fx::value_and_grad(train)(dev.upload(x));
  CHECK(dot(g.host(), d) == Approx((8 * (value(h) - value(-h)) - (value(2 * h) - value(-2 * h))) / (12 * h)).epsilon(1e-7));
  auto [same, t] = fx::jvp(train)(dev.upload(x), dev.upload(d));
  CHECK(t.item() == Approx(dot(g.host(), d)).epsilon(1e-11));
}
