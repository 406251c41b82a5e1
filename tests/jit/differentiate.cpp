// Typed derivatives of kernels and device functions.
#include <fluxion/fluxion.h>
#include <fmt/format.h>

#include <catch2/catch.hpp>
#include <cmath>

namespace fx = fluxion;

namespace {
std::vector<fx::Device> devices() { return fx::Device::list(); }

auto energy_kernel() {
  return fx::kernel("energy", [](fx::In<float> x, fx::Accum<float> e) {
    fx::Float v = x[fx::index()];
    e[0] += 0.5f * v * v + fx::cos(3.f * v);
  });
}
}  // namespace

TEST_CASE("the gradient of an energy is its derivative", "[jit][ad]") {
  const fx::Device dev = GENERATE(from_range(devices()));
  INFO(dev.name());
  auto energy = energy_kernel();
  auto x = dev.upload(std::vector<float>{1.f, 2.f, 3.f});
  auto e = dev.zeros<float>(1), dx = dev.zeros<float>(3);
  energy.over(3)(x, e);
  fx::Kernel<fx::In<float>, fx::In<float>, fx::Accum<float>> gradient = fx::vjp(energy);
  gradient.over(3)(x, fx::ones_like(e), dx);
  double expected = 0;
  const auto g = dx.host();
  for (int i = 0; i < 3; ++i) {
    const double v = i + 1;
    expected += 0.5 * v * v + std::cos(3 * v);
    CHECK(g[static_cast<std::size_t>(i)] == Approx(v - 3 * std::sin(3 * v)).epsilon(1e-5));
  }
  CHECK(e.item() == Approx(expected).epsilon(1e-6));
}

TEST_CASE("a called vjp takes the domain of its kernel", "[jit][ad]") {
  const fx::Device dev = fx::Device::best();
  // The domain is that of y, which vjp drops: its cotangent has the same extents.
  auto spread = fx::kernel("spread", [](fx::Out<float> y, fx::In<float> x) { y[fx::index()] = 2.f * x[0]; });
  auto x = dev.upload({3.f}), dx = dev.zeros<float>(1), y = dev.zeros<float>(5);
  spread(y, x);
  CHECK(y.host() == std::vector<float>(5, 6.f));
  fx::vjp(spread)(x, fx::ones_like(y), dx);
  CHECK(dx.item() == 10.f);
}

TEST_CASE("roles and wrt alone decide the parameters of vjp and jvp", "[jit][ad]") {
  auto k =
      fx::kernel("mixed", [](fx::In<float> a, fx::Out<double, 2> b, fx::InOut<float> c, fx::Accum<float> d, fx::In<int> i, fx::Float s) {
        auto p = fx::index();
        b(p, 0) = fx::cast<double>(a[p] * s);
        c[p] = c[p] * a[p];
        d[0] += s + fx::Float(i[p]);
      });
  using All = fx::Kernel<fx::In<float>, fx::In<float>, fx::In<int>, fx::Float, fx::In<double, 2>, fx::InOut<float>, fx::In<float>,
                         fx::Accum<float>, fx::Accum<float>>;
  using Only = fx::Kernel<fx::In<float>, fx::In<float>, fx::In<int>, fx::Float, fx::In<double, 2>, fx::InOut<float>, fx::In<float>,
                          fx::Accum<float>>;
  using Forward = fx::Kernel<fx::In<float>, fx::Out<double, 2>, fx::InOut<float>, fx::Accum<float>, fx::In<int>, fx::Float, fx::In<float>,
                             fx::Out<double, 2>, fx::InOut<float>, fx::Accum<float>, fx::Float>;
  All all = fx::vjp(k);
  Only only = fx::vjp(k, fx::wrt<5>);
  Forward forward = fx::jvp(k);
  CHECK(all.function()->parameters.size() >= 9);
  CHECK(only.function()->parameters.size() >= 8);
  CHECK(forward.function()->parameters.size() == 11);
}

TEST_CASE("derivatives compose: forward over reverse is the Hessian times a vector", "[jit][ad]") {
  const fx::Device dev = GENERATE(from_range(devices()));
  auto hvp = fx::jvp(fx::vjp(energy_kernel()));
  auto x = dev.upload({0.5f, -1.f}), e_ = dev.upload({1.f}), dx = dev.zeros<float>(2);
  auto tx = dev.upload({1.f, 2.f}), te_ = dev.zeros<float>(1), tdx = dev.zeros<float>(2);
  hvp(x, e_, dx, tx, te_, tdx);
  const auto h = tdx.host();
  CHECK(h[0] == Approx((1 - 9 * std::cos(1.5)) * 1).epsilon(1e-5));
  CHECK(h[1] == Approx((1 - 9 * std::cos(3.0)) * 2).epsilon(1e-5));
}

TEST_CASE("device functions have gradients and values with gradients and tangents", "[jit][ad]") {
  auto f = fx::fn([](fx::Float x, fx::Float y) { return fx::sin(x) * x * y; });
  auto g = fx::grad(f, fx::wrt<0>);
  CHECK(g(2.f, 3.f) == Approx(3 * (std::sin(2.0) + 2 * std::cos(2.0))).epsilon(1e-5));
  auto [gx, gy] = fx::grad(f)(2.f, 3.f);
  CHECK(gx == Approx(3 * (std::sin(2.0) + 2 * std::cos(2.0))).epsilon(1e-5));
  CHECK(gy == Approx(2 * std::sin(2.0)).epsilon(1e-5));
  auto [v, vx, vy] = fx::value_and_grad(f)(2.f, 3.f);
  CHECK(v == Approx(6 * std::sin(2.0)).epsilon(1e-5));
  CHECK(vy == Approx(gy).epsilon(1e-6));
  CHECK(vx == Approx(gx).epsilon(1e-6));
  auto [y, dy] = fx::jvp(f)(2.f, 3.f, 1.f, 10.f);
  CHECK(y == Approx(v).epsilon(1e-6));
  CHECK(dy == Approx(gx + 10 * gy).epsilon(1e-5));
  CHECK(fx::vjp(f, fx::wrt<1>)(2.f, 3.f, 2.f) == Approx(2 * gy).epsilon(1e-5));
}

TEST_CASE("a function and its gradient show their text", "[jit][ad]") {
  auto f = fx::fn("f", [](fx::Float x) { return fx::sin(x) * x; });
  CHECK_THAT(f.ir(), Catch::Contains("fn @f(") && Catch::Contains("= sin ") && !Catch::Contains("cos"));
  CHECK_THAT(fx::grad(f).ir(), Catch::Contains("= sin ") && Catch::Contains("= cos "));
}

TEST_CASE("a gradient is used inside a kernel and differentiated again", "[jit][ad]") {
  const fx::Device dev = GENERATE(from_range(devices()));
  auto f = fx::fn([](fx::Float x) { return fx::sin(x) * x; });
  auto bend = fx::jvp(fx::grad(f));
  auto k = fx::kernel("forces", [&](fx::In<float> x, fx::Out<float> first, fx::Out<float> second) {
    auto i = fx::index();
    fx::Float v = x[i];
    auto [d, dd] = bend(v, fx::Float(1));
    first[i] = d;
    second[i] = dd;
  });
  auto x = dev.upload({0.5f, 2.f}), a = dev.zeros<float>(2), b = dev.zeros<float>(2);
  k(x, a, b);
  const auto ha = a.host(), hb = b.host();
  for (std::size_t i = 0; i < 2; ++i) {
    const double v = i ? 2.0 : 0.5;
    CHECK(ha[i] == Approx(std::sin(v) + v * std::cos(v)).epsilon(1e-5));
    CHECK(hb[i] == Approx(2 * std::cos(v) - v * std::sin(v)).epsilon(1e-5));
  }
}
