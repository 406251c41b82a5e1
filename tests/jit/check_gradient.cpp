// check_gradient says right where the derivative is, and names the element where it is not.
#include <catch2/catch.hpp>

#include "fluxion/fluxion.h"

namespace fx = fluxion;

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
