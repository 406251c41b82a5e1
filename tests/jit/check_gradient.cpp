// check_gradient says right where the derivative is, and names the element where it is not.
#include <catch2/catch.hpp>

#include "fluxion/fluxion.h"
#include "inputs.h"

namespace fx = fluxion;
using fluxion::testing::random_numbers;

TEST_CASE("check_gradient finds kernels and programs right", "[jit][ad]") {
  const fx::Device dev = fx::Device::best();
  auto k =
      fx::kernel("k", [](fx::In<double> x, fx::InOut<double> y, fx::Double a, fx::In<int> which, fx::Accum<double> e, fx::Out<double> z) {
        auto i = fx::index();
        for (auto t : fx::range(which[i])) y[i] = fx::sin(y[i]) * x[which[i]] + a * fx::Double(t);
        e[0] += y[i] * y[i];
        z[i] = y[i] * a;
      });
  auto x = dev.upload({0.3, 0.7, 1.1}), y = dev.upload({0.5, 0.6, 0.7});
  auto which = dev.upload({2, 0, 1});
  const auto report = fx::check_gradient(k.over(3), x, y, 0.8, which, dev.zeros<double>(1), dev.zeros<double>(3));
  INFO(report.text);
  CHECK(report.ok);
  CHECK(report.rows.size() == 3);  // x, y, a
  CHECK(y.host() == std::vector<double>{0.5, 0.6, 0.7});

  auto single = fx::kernel("single", [](fx::In<float> x, fx::Out<float> y) {
    auto i = fx::index();
    y[i] = fx::exp(-x[i]) * x[i];
  });
  const auto f32 = fx::check_gradient(single, dev.upload({0.3f, 0.7f}), dev.zeros<float>(2));
  INFO(f32.text);
  CHECK(f32.ok);

  auto p = fx::program("p", [&](fx::Buffer<double> x, fx::Double s) {
    auto y = x * x;
    auto z = fx::zeros<double>(3), e = fx::zeros<double>(1);
    for ([[maybe_unused]] auto t : fx::range(3)) k.over(3)(x, y, s, which, e, z);
    return std::tuple(fx::sum(z) + e, s * s, z);
  });
  const auto whole = fx::check_gradient(p, x, 0.4);
  INFO(whole.text);
  CHECK(whole.ok);
  CHECK(whole.rows.size() == 2);
}

TEST_CASE("check_gradient shows the element where derivative and differences part", "[jit][ad]") {
  const fx::Device dev = fx::Device::best();
  // A step hidden behind stop_grad: the numbers follow x, the derivative does not.
  auto k = fx::kernel("stopped", [](fx::In<double> x, fx::Out<double> y) {
    auto i = fx::index();
    y[i] = fx::select(i == 1, fx::stop_grad(x[i]), x[i]) * 3.0;
  });
  const auto report = fx::check_gradient(k, dev.upload({0.3, 0.7, 1.1}), dev.zeros<double>(3));
  INFO(report.text);
  CHECK_FALSE(report.ok);
  CHECK(report.text.find("WRONG") != std::string::npos);
  CHECK(report.text.find("number 1, value 0.7: gradient 0,") != std::string::npos);
}

TEST_CASE("check_gradient takes the rounding of its differences for no derivative", "[jit][ad]") {
  const fx::Device dev = fx::Device::cpu();
  auto k = fx::kernel("k", [](fx::In<double> x, fx::In<double> z, fx::Accum<double> s) {
    auto i = fx::index();
    s[0] += fx::exp(x[i] * 3.0) + 0.0 * z[i] + fx::floor(z[i]);
  });
  const auto zero = fx::check_gradient(k.over(3), dev.upload({0.3, 0.4, 0.5}), dev.upload({0.1, 0.2, 0.3}), dev.upload({0.}));
  INFO(zero.text);
  CHECK(zero.ok);
  // Where a root is found does not depend on where the search starts, but for its last digits.
  auto f = fx::fn("f", [](fx::Double x, fx::Double a) { return x * x * x + x - a; });
  auto r = fx::kernel("r", [=](fx::In<double> start, fx::In<double> a, fx::Accum<double> s) {
    auto i = fx::index();
    s[0] += fx::square(fx::root(f, start[i], a[i]));
  });
  for (unsigned seed = 1; seed < 30; ++seed) {
    const auto report =
        fx::check_gradient(r.over(3), dev.upload(random_numbers(3, seed)), dev.upload(random_numbers(3, seed + 50)), dev.upload({0.}));
    INFO(report.text);
    CHECK(report.ok);
  }
  // A derivative that is missing is still found, where it is a millionth of what it is part of.
  auto missing = fx::kernel("missing", [](fx::In<double> x, fx::In<double> z, fx::Accum<double> s) {
    s[0] += x[fx::index()] + 1e-6 * fx::stop_grad(z[fx::index()]);
  });
  CHECK_FALSE(fx::check_gradient(missing.over(3), dev.upload({0.3, 0.4, 0.5}), dev.upload({0.1, 0.2, 0.3}), dev.upload({0.})).ok);
}
