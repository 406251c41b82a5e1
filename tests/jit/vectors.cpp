// Vectors and user structs as elements of buffers and as arguments.
#include <fluxion/fluxion.h>
#include <fmt/format.h>

#include <catch2/catch.hpp>
#include <cmath>

namespace fx = fluxion;

namespace {
std::vector<fx::Device> devices() { return fx::Device::list(); }

template <template <class> class F> struct Particle {
  fx::Vec<F<float>, 2> pos;
  F<float> mass;
  F<int> id;
};
}  // namespace

TEST_CASE("vectors are elements of buffers", "[jit]") {
  const fx::Device dev = GENERATE(from_range(devices()));
  auto k = fx::kernel("rotate", [](fx::In<fx::float2> x, fx::Out<fx::float2> y) {
    auto i = fx::index();
    auto v = x[i];
    y[i] = fx::Float2(-v.y, v.x);
  });
  auto x = dev.upload(std::vector<fx::float2>{{1.f, 2.f}, {3.f, 4.f}});
  auto y = fx::zeros_like(x);
  k(x, y);
  auto h = y.host();
  CHECK(h[0].x == -2.f);
  CHECK(h[0].y == 1.f);
  CHECK(h[1].x == -4.f);
  x -= 0.5f * y;
  CHECK(x.host()[0].x == 2.f);
}

TEST_CASE("user structs are elements of buffers and only what is touched changes", "[jit]") {
  const fx::Device dev = GENERATE(from_range(devices()));
  auto k = fx::kernel("push", [](fx::InOut<Particle<fx::Host>> p, fx::Float2 by) {
    auto i = fx::index();
    Particle<fx::Var> q = p[i];
    q.pos = q.pos + by * q.mass;
    p[i] = q;
    p[i].id += 1;
  });
  std::vector<Particle<fx::Host>> h(3);
  for (int i = 0; i < 3; ++i) h[static_cast<std::size_t>(i)] = {{float(i), 0.f}, 2.f, 10 * i};
  auto p = dev.upload(h);
  k(p, fx::float2{1.f, -1.f});
  h = p.host();
  CHECK(h[2].pos.x == 4.f);
  CHECK(h[2].pos.y == -2.f);
  CHECK(h[2].mass == 2.f);
  CHECK(h[2].id == 21);
}

TEST_CASE("kernels on vectors and structs have typed gradients", "[jit][ad]") {
  const fx::Device dev = GENERATE(from_range(devices()));
  auto k = fx::kernel("energy", [](fx::In<Particle<fx::Host>> p, fx::In<fx::float2> v, fx::Accum<float> e) {
    auto i = fx::index();
    Particle<fx::Var> q = p[i];
    auto u = v[i];
    e[0] += 0.5f * q.mass * (u.x * u.x + u.y * u.y) + q.pos.y * q.mass;
  });
  std::vector<Particle<fx::Host>> h = {{{1.f, 2.f}, 3.f, 0}, {{4.f, 5.f}, 6.f, 1}};
  auto p = dev.upload(h), dp = fx::zeros_like(p);
  auto v = dev.upload(std::vector<fx::float2>{{1.f, 2.f}, {3.f, 4.f}}), dv = fx::zeros_like(v);
  fx::vjp(k).over(2)(p, v, dev.upload({1.f}), dp, dv);
  const auto g = dp.host();
  const auto w = dv.host();
  CHECK(g[1].mass == 12.5f + 5.f);
  CHECK(g[1].pos.y == 6.f);
  CHECK(g[1].pos.x == 0.f);
  CHECK(w[0].y == 6.f);
}

TEST_CASE("plain structs are elements too", "[jit][ad]") {
  struct Spring {
    int a, b;
    float rest;
  };
  const fx::Device dev = GENERATE(from_range(devices()));
  auto k = fx::kernel("springs", [](fx::In<Spring> s, fx::In<fx::float2> x, fx::Accum<float> e) {
    auto [a, b, rest] = s[fx::index()];
    auto d = x[a] - x[b];
    fx::Float stretch = fx::sqrt(d.x * d.x + d.y * d.y) - rest;
    e[0] += 0.5f * stretch * stretch;
  });
  auto s = dev.upload(std::vector<Spring>{{0, 1, 1.f}, {1, 2, 1.f}});
  auto x = dev.upload(std::vector<fx::float2>{{0.f, 0.f}, {3.f, 4.f}, {3.f, 6.f}});
  auto e = dev.zeros<float>(1), one = fx::ones_like(e);
  auto dx = fx::zeros_like(x);
  auto ds = fx::zeros_like(s);
  k(s, x, e);
  CHECK(e.item() == 8.5f);
  fx::vjp(k)(s, x, one, ds, dx);
  CHECK(ds.host()[0].rest == Approx(-4));
  CHECK(dx.host()[0].x == Approx(-4 * 0.6));
  CHECK(dx.host()[1].y == Approx(4 * 0.8 - 1));
}

TEST_CASE("a vector parameter has a gradient for each of its components", "[jit][ad]") {
  const fx::Device dev = GENERATE(from_range(devices()));
  auto k = fx::kernel("project", [](fx::In<fx::float2> x, fx::Float2 d, fx::Out<float> y) {
    auto i = fx::index();
    auto v = x[i];
    y[i] = v.x * d.x + v.y * d.y;
  });
  auto x = dev.upload(std::vector<fx::float2>{{1.f, 2.f}, {3.f, 4.f}});
  auto y_ = dev.upload({1.f, 10.f}), dx0 = dev.zeros<float>(1), dx1 = dev.zeros<float>(1);
  fx::vjp(k, fx::wrt<1>)(x, fx::float2{5.f, 6.f}, y_, dx0, dx1);
  CHECK(dx0.item() == 31.f);
  CHECK(dx1.item() == 42.f);
}

TEST_CASE("forces from an energy of a matrix and their tangents are functions of matrices", "[jit][ad]") {
  using M = fx::Mat<float, 2, 2>;
  const float mu = 2.f, la = 3.f;
  auto psi = fx::fn([&](fx::Mat2 F) {
    auto J = fx::det(F);
    return 0.5f * mu * (fx::norm2(F) - 2.f) - mu * fx::log(J) + 0.5f * la * fx::square(fx::log(J));
  });
  auto P = fx::grad(psi);
  auto dP = fx::jvp(P);
  const M F = {{1.1f, 0.2f, -0.1f, 0.9f}}, dF = {{0.f, 1.f, 0.f, 0.f}};
  const auto stress = P(F);
  const auto [again, change] = dP(F, dF);
  const float h = 1e-3f;
  const auto plus = P(M{{1.1f, 0.2f + h, -0.1f, 0.9f}}), minus = P(M{{1.1f, 0.2f - h, -0.1f, 0.9f}});
  const double J = 1.1 * 0.9 + 0.2 * 0.1, c = (la * std::log(J) - mu) / J;
  CHECK(stress(0, 0) == Approx(mu * 1.1 + c * 0.9).epsilon(1e-4));
  CHECK(stress(0, 1) == Approx(mu * 0.2 + c * 0.1).epsilon(1e-4));
  for (int i = 0; i < 2; ++i)
    for (int j = 0; j < 2; ++j) {
      CHECK(again(i, j) == stress(i, j));
      CHECK(change(i, j) == Approx((plus(i, j) - minus(i, j)) / (2 * h)).margin(2e-3));
    }
}
