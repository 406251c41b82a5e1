// Programs as users write them: captured once, run as one piece of code, differentiated as a whole. On the CPU and
// in the evaluator.
#include <catch2/catch.hpp>
#include <cstdlib>

#include "fluxion/fluxion.h"

namespace fx = fluxion;

namespace {

fx::Device device() { return GENERATE(as<std::string>{}, "cpu", "reference") == "cpu" ? fx::Device::best() : fx::Device::reference(); }

auto axpy() {
  return fx::kernel("axpy", [](fx::InOut<float> y, fx::In<float> x, fx::Float a) {
    auto i = fx::index();
    y[i] = y[i] + a * x[i];
  });
}
/// next = 2 now - before, shifted by one: touches neighbours, so it cannot work in place.
auto wave_step() {
  return fx::kernel("step", [](fx::InOut<float> before, fx::In<float> now) {
    auto i = fx::index();
    fx::Float left = fx::if_(i > 0, [&] { return now[i - 1]; }, [&] { return fx::Float(0.f); });
    before[i] = 0.5f * (now[i] + left) - 0.25f * before[i];
  });
}

}  // namespace

TEST_CASE("a program runs its loop and returns a sum", "[jit][program]") {
  const fx::Device dev = device();
  const auto k = axpy();
  const auto p = fx::program("p", [&](fx::Buffer<float> x, fx::Float a) {
    auto y = fx::zeros<float>(4);
    for (auto t : fx::range(3)) k.over(4)(y, x, a * fx::Float(t));
    return fx::sum(y);
  });
  const auto x = dev.upload({1.f, 2.f, 3.f, 4.f});
  CHECK(p(x, 2.f).item() == 60.f);
  CHECK(p(x, 1.f).item() == 30.f);
  CHECK(x.host() == std::vector<float>{1, 2, 3, 4});
}

TEST_CASE("a program updates the arrays that it is given and those that it reaches", "[jit][program]") {
  const fx::Device dev = device();
  const auto k = axpy();
  const auto weights = dev.upload({1.f, 1.f});
  const auto p = fx::program("p", [&](fx::Buffer<float> y, fx::Buffer<float> x) {
    for (auto t : fx::range(2)) {
      (void)t;
      k.over(2)(weights, x, 1.f);
    }
    k.over(2)(y, weights, 10.f);
  });
  const auto x = dev.upload({1.f, 2.f}), y = dev.zeros<float>(2);
  p(y, x);
  p(y, x);
  CHECK(weights.host() == std::vector<float>{5, 9});
  CHECK(y.host() == std::vector<float>{80, 140});
}

TEST_CASE("a program does what its launches do one by one", "[jit][program]") {
  const fx::Device dev = device();
  const auto k = wave_step();
  const int n = 37, steps = GENERATE(0, 1, 6, 7);
  std::vector<float> start(n);
  for (int i = 0; i < n; ++i) start[static_cast<std::size_t>(i)] = static_cast<float>(i % 5) - 2.f;
  const auto p = fx::program("wave", [&](fx::Buffer<float> x0) {
    auto a = fx::copy(x0), b = fx::zeros<float>(n);
    for (auto t : fx::range(steps)) {
      (void)t;
      k.over(n)(b, a);
      fx::swap(a, b);
    }
    return std::tuple(a, b);
  });
  const auto x0 = dev.upload(start);
  const auto [a, b] = p(x0);
  auto c = fx::copy(x0), d = dev.zeros<float>(n);
  for (int t = 0; t < steps; ++t) {
    k.over(n)(d, c);
    fx::swap(c, d);
  }
  CHECK(a.host() == c.host());
  CHECK(b.host() == d.host());
}

TEST_CASE("programs branch and repeat on scalars", "[jit][program]") {
  const fx::Device dev = device();
  const auto k = axpy();
  const auto p = fx::program("p", [&](fx::Buffer<float> x, fx::Int n) {
    auto y = fx::zeros<float>(2);
    fx::Int i = 0;
    for (auto _ : fx::while_([&] { return i < n; })) {
      fx::if_(i % 2 == 0, [&] { k.over(2)(y, x, 1.f); }).else_([&] { k.over(2)(y, x, 100.f); });
      i += 1;
    }
    return y;
  });
  const auto x = dev.upload({1.f, 2.f});
  CHECK(p(x, 5).host() == std::vector<float>{203, 406});
  CHECK(p(x, 0).host() == std::vector<float>{0, 0});
}

TEST_CASE("value and gradient of a time loop agree with a difference", "[jit][program]") {
  const fx::Device dev = device();
  const auto step = fx::kernel("step", [](fx::InOut<double> x, fx::InOut<double> v, fx::In<double> k, fx::Double dt) {
    auto i = fx::index();
    v[i] = v[i] - dt * k[i] * fx::sin(x[i]);
    x[i] = x[i] + dt * v[i];
  });
  const int n = 5;
  const auto sim = fx::program("pendula", [&](fx::Buffer<double> x0, fx::Buffer<double> k, fx::Double dt) {
    auto x = fx::copy(x0), v = fx::zeros<double>(n);
    for (auto t : fx::range(40)) {
      (void)t;
      step.over(n)(x, v, k, dt);
    }
    return fx::dot(x, x) * 0.5;
  });
  const std::vector<double> x0 = {0.1, 0.5, -0.7, 1.2, 2.0}, k = {1, 2, 3, 4, 5};
  const auto bx = dev.upload(x0), bk = dev.upload(k);
  const auto [loss, gx, gk] = fx::value_and_grad(sim, fx::wrt<0, 1>)(bx, bk, 0.05);
  CHECK(loss.item() == Approx(sim(bx, bk, 0.05).item()));
  const auto dx = gx.host(), dk = gk.host();
  for (std::size_t i = 0; i < 5; ++i) {
    const double h = 1e-5;
    auto at = [&](double ex, double ek) {
      auto px = x0, pk = k;
      px[i] += ex;
      pk[i] += ek;
      return sim(dev.upload(px), dev.upload(pk), 0.05).item();
    };
    CHECK(dx[i] == Approx((at(h, 0) - at(-h, 0)) / (2 * h)).epsilon(1e-7));
    CHECK(dk[i] == Approx((at(0, h) - at(0, -h)) / (2 * h)).epsilon(1e-7));
  }
}

TEST_CASE("vjp and jvp of a program agree", "[jit][program]") {
  const fx::Device dev = device();
  const auto mul = fx::kernel("mul", [](fx::InOut<double> y, fx::In<double> x) {
    auto i = fx::index();
    y[i] = y[i] * fx::cos(x[i]) + x[i];
  });
  const auto p = fx::program("p", [&](fx::Buffer<double> x) {
    auto y = fx::copy(x);
    for (auto t : fx::range(4)) {
      (void)t;
      mul.over(3)(y, x);
    }
    return y;
  });
  const auto x = dev.upload({0.3, -1.1, 0.8}), u = dev.upload({1.0, 2.0, -0.5}), w = dev.upload({0.2, 0.4, 3.0});
  const auto [y, dy] = fx::jvp(p)(x, u);
  const auto dx = fx::vjp(p)(x, w);
  CHECK(y.host() == p(x).host());
  CHECK(fx::dot(w, dy).item() == Approx(fx::dot(dx, u).item()));
}

TEST_CASE("the tangent of a gradient is a Hessian-vector product", "[jit][program]") {
  const fx::Device dev = device();
  const auto step = fx::kernel("step", [](fx::InOut<double> x, fx::In<double> a) {
    auto i = fx::index();
    x[i] = x[i] + 0.1 * fx::sin(x[i] * a[0]);
  });
  const auto p = fx::program("p", [&](fx::Buffer<double> x0, fx::Buffer<double> a) {
    auto x = fx::copy(x0);
    for (auto t : fx::range(6)) {
      (void)t;
      step.over(3)(x, a);
    }
    return fx::dot(x, x);
  });
  const auto g = fx::value_and_grad(p, fx::wrt<0>);
  const std::vector<double> x = {0.2, -0.9, 1.7}, u = {1.0, -0.5, 0.25};
  const auto a = dev.upload({1.3});
  const auto [value, gradient, dvalue, dgradient] = fx::jvp(g)(dev.upload(x), a, dev.upload(u), dev.zeros<double>(1));
  const auto at = [&](double h) {
    std::vector<double> moved = x;
    for (std::size_t i = 0; i < 3; ++i) moved[i] += h * u[i];
    return std::get<1>(g(dev.upload(moved), a)).host();
  };
  const double h = 1e-5;
  const auto plus = at(h), minus = at(-h), hvp = dgradient.host();
  for (std::size_t i = 0; i < 3; ++i) CHECK(hvp[i] == Approx((plus[i] - minus[i]) / (2 * h)).epsilon(1e-7));
  CHECK(dvalue.item() == Approx(fx::dot(gradient, dev.upload(u)).item()));
  CHECK(value.item() == p(dev.upload(x), a).item());
}

TEST_CASE("tangents and gradients of half precision arrays of a program are f32", "[jit][program]") {
  const fx::Device dev = device();
  const auto k = fx::kernel("square", [](fx::In<fx::half> x, fx::Out<fx::half> y) {
    auto i = fx::index();
    y[i] = x[i] * x[i];
  });
  const auto p = fx::program("p", [&](fx::Buffer<fx::half> x, fx::Float a) {
    auto y = fx::zeros_like(x);
    k(x, y);
    return std::tuple(y, a * 2.f);
  });
  const auto x = dev.upload({fx::half(3.f)});
  auto [y, b, dy, db] = fx::jvp(p)(x, 1.f, dev.upload({2.f}), 5.f);
  static_assert(std::is_same_v<decltype(dy), fx::Buffer<float>>);
  CHECK(static_cast<float>(y.item()) == 9.f);
  CHECK(dy.item() == 12.f);
  CHECK(db.item() == 10.f);
  auto [gx, ga] = fx::vjp(p)(x, 1.f, dev.upload({1.f}), 1.f);
  CHECK(gx.item() == 6.f);
  CHECK(ga.item() == 2.f);
}

TEST_CASE("programs return scalars and differentiate scalar parameters", "[jit][program]") {
  const fx::Device dev = device();
  const auto k = fx::kernel("k", [](fx::InOut<double> y, fx::Double a) {
    auto i = fx::index();
    y[i] = y[i] * a;
  });
  const auto p = fx::program("p", [&](fx::Buffer<double> x, fx::Double a, fx::Int n) {
    auto y = fx::copy(x);
    for (auto t : fx::range(n)) k.over(2)(y, a + fx::Double(t));
    return fx::sum(y);
  });
  const auto x = dev.upload({1.0, 2.0});
  const auto [value, da] = fx::value_and_grad(p, fx::wrt<1>)(x, 2.0, 3);  // 3 a (a + 1) (a + 2)
  CHECK(value.item() == Approx(72));
  CHECK(da.item() == Approx(78));
  const auto q = fx::program("q", [&](fx::Double a, fx::Int n) {
    fx::Double s = 1.0;
    for (auto t : fx::range(n)) {
      (void)t;
      s *= a;
    }
    return std::tuple(s, n + 1);
  });
  const auto [s, m] = q(1.5, 4);
  CHECK(s.item() == 5.0625);
  CHECK(m.item() == 5);
  CHECK(fx::vjp(q)(1.5, 4, 2.0).item() == Approx(2 * 4 * 1.5 * 1.5 * 1.5));
}

TEST_CASE("a program that calls a program is one program", "[jit][program]") {
  const fx::Device dev = device();
  const auto k = axpy();
  const auto inner = fx::program("inner", [&](fx::Buffer<float> y, fx::Float a) {
    k.over(2)(y, y * 1.0, a);
    return y + 1.0;
  });
  const auto outer = fx::program("outer", [&](fx::Buffer<float> x) {
    auto y = fx::copy(x);
    auto z = fx::zeros<float>(2);
    for (auto t : fx::range(3)) z.copy_from(inner(y, fx::Float(t)));
    return std::tuple(y, z);
  });
  const auto [y, z] = outer(dev.upload({1.f, 2.f}));
  CHECK(y.host() == std::vector<float>{6, 12});
  CHECK(z.host() == std::vector<float>{7, 13});
}

TEST_CASE("a program sees what captured arrays hold at each call", "[jit][program]") {
  const fx::Device dev = device();
  const auto scale = dev.upload({2.f});
  const auto p = fx::program("p", [&](fx::Buffer<float> x) { return x * scale; });
  const auto x = dev.upload({3.f});
  CHECK(p(x).item() == 6.f);
  scale.set({5.f});
  CHECK(p(x).item() == 15.f);
}

TEST_CASE("programs specialise on shapes", "[jit][program]") {
  const fx::Device dev = device();
  const auto p = fx::program("p", [&](fx::Buffer<float> x) { return fx::sum(x) * (1.0 / static_cast<double>(x.size())); });
  CHECK(p(dev.upload({3.f})).item() == 3.f);
  CHECK(p(dev.upload({3.f, 5.f})).item() == 4.f);
  CHECK(p(dev.upload({3.f, 7.f})).item() == 5.f);
}

TEST_CASE("an array is not read on the host while a program is captured", "[jit][program]") {
  const fx::Device dev = fx::Device::best();
  const auto p = fx::program("p", [&](fx::Buffer<float> x) { return x * x.host()[0]; });
  CHECK_THROWS_WITH(p(dev.zeros<float>(2)), Catch::Contains("program_capture.cpp") && Catch::Contains("reads an array on the host"));
}

TEST_CASE("an array is not set from the host while a program is captured but new ones are uploaded", "[jit][program]") {
  const fx::Device dev = device();
  const auto w = dev.upload({1.f});
  const auto x = dev.upload({2.f});
  const auto sets = fx::program("sets", [&](fx::Buffer<float> x) {
    w.set({5.f});
    return fx::sum(x * w);
  });
  CHECK_THROWS_WITH(sets(x), Catch::Contains("program_capture.cpp:" + std::to_string(__LINE__ - 3)) && Catch::Contains("once, at capture"));
  CHECK(w.item() == 1.f);
  const auto uploads = fx::program("uploads", [&](fx::Buffer<float> x) {
    w.copy_from(dev.upload({5.f}));
    return fx::sum(x * w);
  });
  CHECK(uploads(x).item() == 10.f);
  w.fill(1.f);
  CHECK(uploads(x).item() == 10.f);
}

TEST_CASE("a buffer that a captured loop re-binds is refused", "[jit][program]") {
  const fx::Device dev = fx::Device::best();
  const auto swap = fx::program("p", [&](fx::Buffer<float> x) {
    auto a = fx::copy(x), b = fx::copy(x);
    for (auto t : fx::range(3)) {
      (void)t;
      std::swap(a, b);
    }
    return a;
  });
  CHECK_THROWS_WITH(swap(dev.zeros<float>(2)), Catch::Contains("fx::swap(a, b)"));
  const auto assign = fx::program("p", [&](fx::Buffer<float> x) {
    auto a = fx::copy(x), b = fx::copy(x);
    for (auto t : fx::range(3)) {
      (void)t;
      a = b;
    }
    return a;
  });
  CHECK_THROWS_WITH(assign(dev.zeros<float>(2)), Catch::Contains("fx::swap(a, b)"));
}

TEST_CASE("a temporary assigned in a captured loop is carried", "[jit][program]") {
  const fx::Device dev = device();
  const auto p = fx::program("p", [&](fx::Buffer<float> x) {
    auto a = fx::copy(x);
    for (auto t : fx::range(3)) {
      (void)t;
      a = a * 2.0;
    }
    return a;
  });
  CHECK(p(dev.upload({1.f, 3.f})).host() == std::vector<float>{8, 24});
}

TEST_CASE("one array as two parameters of a program that writes one is refused", "[jit][program]") {
  const fx::Device dev = fx::Device::best();
  const auto k = axpy();
  const auto p = fx::program("p", [&](fx::Buffer<float> y, fx::Buffer<float> x) { k.over(2)(y, x, 1.f); });
  const auto x = dev.zeros<float>(2);
  CHECK_THROWS_WITH(p(x, x), Catch::Contains("gets one array as"));
}

TEST_CASE("overlapping memory of the user as two parameters of a program that writes one is refused", "[jit][program]") {
  const fx::Device dev = fx::Device::cpu();
  const auto k = axpy();
  const auto p = fx::program("p", [&](fx::Buffer<float> y, fx::Buffer<float> x) { k.over(2)(y, x, 1.f); });
  std::vector<float> memory(4, 1.f);
  const auto part = [&](int first) { return fx::Buffer<float>::wrap(memory.data() + first, {2}, dev); };
  CHECK_THROWS_WITH(p(part(0), part(1)), Catch::Contains("gets one array as"));
  p(part(0), part(2));
  CHECK(part(0).host() == std::vector<float>{2, 2});
}

TEST_CASE("with FLUXION_DEBUG programs report NaNs and races too", "[jit][program]") {
  const fx::Device dev = device();
  const auto divide = fx::kernel("divide", [](fx::In<float> x, fx::Out<float> y) { y[fx::index()] = x[fx::index()] / x[fx::index()]; });
  const auto shift = fx::kernel("shift", [](fx::InOut<float> y) {
    auto i = fx::index();
    y[i] = y[fx::min(i + 1, 3)];
  });
  ::setenv("FLUXION_DEBUG", "nan", 1);
  const auto nan = fx::program("p", [&](fx::Buffer<float> x) {
    auto y = fx::zeros<float>(2);
    divide.over(2)(x, y);
    return y;
  });
  ::setenv("FLUXION_DEBUG", "race", 1);
  const auto race = fx::program("q", [&](fx::Buffer<float> y) { shift.over(4)(y); });
  ::unsetenv("FLUXION_DEBUG");
  CHECK(nan(dev.upload({1.f, 2.f})).host() == std::vector<float>{1, 1});
  CHECK_THROWS_WITH(nan(dev.upload({1.f, 0.f})).host(), Catch::Contains("p1[1]") && Catch::Contains("0 / 0 = nan"));
  const auto y = dev.zeros<float>(4);
  CHECK_THROWS_WITH((race(y), y.host()), Catch::Contains("program_capture.cpp"));
}

TEST_CASE("a failing check inside a program reports its line", "[jit][program]") {
  const fx::Device dev = fx::Device::best();
  const auto k = fx::kernel("k", [](fx::InOut<float> y) {
    auto i = fx::index();
    fx::check(y[i] < 3.f, "too large: {}", y[i]);
    y[i] = y[i] + 1.f;
  });
  const auto p = fx::program("p", [&](fx::Buffer<float> y) {
    for (auto t : fx::range(10)) {
      (void)t;
      k.over(2)(y);
    }
  });
  const auto y = dev.zeros<float>(2);
  CHECK_THROWS_WITH((p(y), y.host()), Catch::Contains("program_capture.cpp") && Catch::Contains("too large: 3"));
  // The evaluator works on values, and writes none of them after an error.
  CHECK(y.host()[0] == (dev.name() == "reference" ? 0.f : 3.f));
}

TEST_CASE("twenty thousand small launches inside a program each count", "[jit][program]") {
  const fx::Device dev = fx::Device::best();
  const auto k = axpy();
  const int n = 16, steps = 20000;
  const auto p = fx::program("p", [&](fx::Buffer<float> y, fx::Buffer<float> x) {
    for (auto t : fx::range(steps)) {
      (void)t;
      k.over(n)(y, x, 0.5f);
    }
  });
  const auto x = dev.full<float>(2.f, n), y = dev.zeros<float>(n);
  p(y, x);
  CHECK(y.host() == std::vector<float>(n, static_cast<float>(steps)));
}
