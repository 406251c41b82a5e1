// Numbers at their edges: empty ranges as wide as the integers, indices that wrap, decisions that rounding makes, arrays that
// are the same one.
#include <climits>

#include <catch2/catch.hpp>

#include "fluxion/fluxion.h"

namespace fx = fluxion;
using fluxion::Device;
using Doubles = std::vector<double>;

TEST_CASE("torture 10: the loop over an empty box runs neither forwards nor backwards", "[jit][torture]") {
  const Device dev = Device::best();
  const auto k = fx::kernel("box", [](fx::In<double> x, fx::In<int> mask, fx::Accum<double> s) {
    fx::Int lo = INT_MAX, hi = INT_MIN;
    for (auto j : fx::range(mask.size()))
      fx::if_(mask[j] > 0, [&] {
        lo = fx::min(lo, j);
        hi = fx::max(hi, j);
      });
    fx::Double p = 1.0;
    for ([[maybe_unused]] auto j : fx::range(lo, hi)) p = p * x[0] + x[1];
    s[0] += p;
  });
  auto x = dev.upload({2.0, 3.0}), s = dev.zeros<double>(1), g = dev.zeros<double>(2);
  const auto empty = dev.upload(std::vector<int>{0, 0, 0}), full = dev.upload(std::vector<int>{1, 0, 1});
  k.over(1)(x, empty, s);
  CHECK(s.item() == 1);
  fx::vjp(k).over(1)(x, empty, fx::ones_like(s), g);
  CHECK(g.host() == Doubles{0, 0});
  fx::vjp(k).over(1)(x, full, fx::ones_like(s), g);
  CHECK(g.host() == Doubles{7, 3});  // (1 * x0 + x1) * x0 + x1

  const auto step = fx::kernel("step", [](fx::InOut<double> a, fx::In<double> x) {
    auto i = fx::index();
    a[i] = a[i] * x[i];
  });
  for (auto checkpoint : {fx::checkpoint_all, fx::strips(), fx::revolve(2), fx::budget(1 << 20)}) {
    const auto p = fx::program("steps", [&](fx::Buffer<double> x, fx::Int lo, fx::Int hi) {
      auto a = fx::copy(x);
      for ([[maybe_unused]] auto t : fx::range(lo, hi)) step.over(2)(a, x);
      return fx::sum(a);
    });
    auto [v, gx] = fx::value_and_grad(p, {.checkpoint = checkpoint})(x, INT_MAX, INT_MIN);
    CHECK(v.item() == 5);
    CHECK(gx.host() == Doubles{1, 1});
    auto [w, gw] = fx::value_and_grad(p, {.checkpoint = checkpoint})(x, INT_MAX - 2, INT_MAX);
    CHECK(w.item() == 8 + 27);
    CHECK(gw.host() == Doubles{12, 27});
  }
}

TEST_CASE("torture 10: ranges at the ends of the integers have as many iterations as C++ loops", "[jit][torture]") {
  const Device dev = Device::best();
  const auto down = fx::kernel("down", [](fx::Out<int> y, fx::Int a, fx::Int b) {
    fx::Int n = 0, last = 0;
    for (auto t : fx::range(a, b, -1)) {
      n += 1;
      last = t;
    }
    y[0] = n;
    y[1] = last;
  });
  auto y = dev.zeros<int>(2);
  down.over(1)(y, INT_MAX, INT_MAX - 3);
  CHECK(y.host() == std::vector<int>{3, INT_MAX - 2});
  down.over(1)(y, INT_MIN + 3, INT_MIN);
  CHECK(y.host() == std::vector<int>{3, INT_MIN + 1});
  down.over(1)(y, INT_MIN, INT_MAX);
  CHECK(y.host() == std::vector<int>{0, 0});
}

TEST_CASE("torture 14: elements that are apart only until the index wraps are not taken for apart", "[jit][torture]") {
  const Device dev = Device::best();
  const auto k = fx::kernel("wrap", [](fx::In<double> x, fx::Out<double> y) {
    auto i = fx::index();
    y[i * 4] = x[i] * x[i];
    y[(i + (1 << 30)) * 4] = 3.0 * x[i];  // the same element, modulo 2^32
  });
  auto x = dev.upload({1.0, 2.0, 3.0}), y = dev.zeros<double>(12), g = dev.zeros<double>(3);
  k.over(3)(x, y);
  CHECK(y.host() == Doubles{3, 0, 0, 0, 6, 0, 0, 0, 9, 0, 0, 0});
  fx::vjp(k).over(3)(x, fx::ones_like(y), g);
  CHECK(g.host() == Doubles{3, 3, 3});

  const auto loop = fx::kernel("wrap_in_loop", [](fx::In<double> x, fx::Out<double> y) {
    auto i = fx::index();
    for (auto t : fx::range(x.size())) y[(t * 65536 + i) * 65536] = x[t] * x[t];
  });
  auto z = dev.zeros<double>(1);
  loop.over(1)(x, z);
  CHECK(z.item() == 9);
  g = dev.zeros<double>(3);
  fx::vjp(loop).over(1)(x, fx::ones_like(z), g);
  CHECK(g.host() == Doubles{0, 0, 6});
}

// x * a - c is 0 if the product is rounded, and -2^-54 if it is not: what the value took, the derivative must take too.
TEST_CASE("torture 13: a select and a floor go the same way in value and derivative", "[jit][torture]") {
  const Device dev = Device::best();
  auto x = dev.upload({1 / 3.0}), w = dev.upload({7.0}), y = dev.zeros<double>(1), z = dev.zeros<double>(1);
  const auto agree = [&](const auto& k) {
    k.over(1)(x, 3.0, 1.0, w, y, z);
    auto g = dev.zeros<double>(1);
    fx::vjp(k, fx::wrt<3>).over(1)(x, 3.0, 1.0, w, dev.upload({1.0}), dev.zeros<double>(1), g);
    CHECK(g.item() == y.item() / 7);
  };
  agree(fx::kernel("by_select", [](fx::In<double> x, fx::Double a, fx::Double c, fx::In<double> w, fx::Out<double> y, fx::Out<double> z) {
    auto i = fx::index();
    fx::Double p = x[i] * a;
    z[i] = p;
    y[i] = fx::select(p - c < 0.0, w[i] * 2.0, w[i] * 3.0);
  }));
  agree(fx::kernel("by_floor", [](fx::In<double> x, fx::Double a, fx::Double c, fx::In<double> w, fx::Out<double> y, fx::Out<double> z) {
    auto i = fx::index();
    fx::Double p = x[i] * a;
    z[i] = p;
    y[i] = fx::cast<double>(fx::cast<int>(fx::floor(p - c))) * w[i];
  }));
  agree(fx::kernel("by_sign", [](fx::In<double> x, fx::Double a, fx::Double c, fx::In<double> w, fx::Out<double> y, fx::Out<double> z) {
    auto i = fx::index();
    fx::Double p = x[i] * a;
    z[i] = p;
    y[i] = (fx::sign(p - c) + fx::ceil(p - c) + 2.0) * w[i];
  }));
}

TEST_CASE("torture 19: a lane that rounding decides is the same lane backwards", "[jit][torture]") {
  const Device dev = Device::best();
  const auto k = fx::kernel("lanes", fx::groups(2),
                            [](fx::In<double> x, fx::Double a, fx::Double c, fx::In<double> w, fx::Out<double> y, fx::Out<double> z) {
                              auto i = fx::index();
                              fx::Double p = x[i] * a;
                              z[i] = p;
                              fx::Int j = fx::cast<int>(fx::floor(p - c)) + 1;
                              y[i] = fx::subgroup_shuffle(fx::Double(w[i]), j);
                            });
  auto x = dev.upload({1 / 3.0, 1 / 3.0}), w = dev.upload({7.0, 8.0}), y = dev.zeros<double>(2), z = dev.zeros<double>(2),
       g = dev.zeros<double>(2);
  k.over(2)(x, 3.0, 1.0, w, y, z);
  fx::vjp(k, fx::wrt<3>).over(2)(x, 3.0, 1.0, w, dev.upload({10.0, 20.0}), dev.zeros<double>(2), g);
  CHECK(g.host() == (y.host()[0] == 8 ? Doubles{0, 30} : Doubles{30, 0}));
}

TEST_CASE("torture 19: the adjoint of a scan adds what comes after and cancels nothing", "[jit][torture]") {
  const Device dev = Device::best();
  const auto k = fx::kernel("scan", fx::groups(8), [](fx::In<double> x, fx::Out<double> y) {
    auto i = fx::index();
    y[i] = fx::subgroup_scan_add(fx::Double(x[i]));
  });
  for (double first : {1e20, static_cast<double>(INFINITY)}) {
    auto g = dev.zeros<double>(8);
    fx::vjp(k).over(8)(dev.zeros<double>(8), dev.upload({first, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0}), g);
    CHECK(g.host() == Doubles{first, 7, 6, 5, 4, 3, 2, 1});
  }
}

TEST_CASE("torture 15: an array that is added to atomically must not be another argument too", "[jit][torture]") {
  const Device dev = Device::best();
  const auto k = fx::kernel("both", [](fx::In<double> x, fx::InOut<double> y, fx::Out<double> z) {
    auto i = fx::index();
    y[i].atomic_add(10.0);
    z[i] = x[i];
  });
  auto x = dev.upload({2.0, 3.0}), y = dev.upload({2.0, 3.0}), z = dev.zeros<double>(2);
  k.over(2)(x, y, z);
  CHECK(z.host() == Doubles{2, 3});
  CHECK_THROWS_WITH(k.over(2)(x, x, z), Catch::Contains("\"p0\" (in) and \"p1\" (inout) are the same array"));
}

TEST_CASE("torture 10: a while whose condition takes a root or quotient, inside of branches and loops", "[jit][torture]") {
  const Device dev = Device::best();
  const auto k = fx::kernel("halve", [](fx::In<double> x, fx::Int often, fx::Accum<double> s) {
    auto i = fx::index();
    for (auto t : fx::range(often)) {
      fx::Double v = x[i] * (1.0 + 0.1 * fx::cast<double>(t));
      fx::if_(x[i] > 0.0, [&] {
        for ([[maybe_unused]] auto _ : fx::while_([&] { return fx::sqrt(v) / (1.0 + x[i]) > 0.3; }))
          v = fx::sin(v) * 0.5 + 0.01 * fx::exp(-v);
        s[0] += v * v;
      }).else_([&] { s[0] += fx::sin(v); });
    }
  });
  const auto report = fx::check_gradient(k.over(4), dev.upload({0.4, 2.3, -0.7, 5.1}), 2, dev.zeros<double>(1));
  INFO(report.text);
  CHECK(report.ok);
  const auto p = fx::program("p", [&](fx::Buffer<double> x) {
    auto s = fx::zeros<double>(1);
    k.over(4)(x, 2, s);
    return s;
  });
  // What the loop reads and writes is recorded, so the reverse sweep knows how often it ran and does not ask again.
  const auto state = fx::kernel("with_state", [](fx::In<double> x, fx::InOut<double> z, fx::Accum<double> s) {
    auto i = fx::index();
    fx::Double v = x[i];
    for ([[maybe_unused]] auto t : fx::range(2))
      for ([[maybe_unused]] auto _ : fx::while_([&] { return fx::sqrt(v * v + 0.01) > 0.3 * fx::exp(0.01 * v); })) {
        v = v * 0.5 * z[i];
        z[i] = fx::sin(z[i]) * 0.9 + 0.05 * v;
      }
    s[0] += v * z[i];
  });
  const auto third =
      fx::check_gradient(state.over(4), dev.upload({0.4, 2.3, -0.7, 5.1}), dev.upload({0.9, 1.1, 0.8, 0.7}), dev.zeros<double>(1));
  INFO(third.text);
  CHECK(third.ok);
  const auto second = fx::check_gradient(fx::value_and_grad(p), dev.upload({0.4, 2.3, -0.7, 5.1}));
  INFO(second.text);
  CHECK(second.ok);
}
