// The gradient torture list, row 18: atomic_min and atomic_max of floats in arrays, in all modes to the second order; who wins.
#include "torture.h"

using namespace fluxion::testing;
namespace fx = fluxion;
using Catch::Contains;

namespace {

const fx::LayoutId kPair = fx::packed(fx::DType::f64, 2);

template <class K> void extremes(const K& k, const Arguments& a, const Torture& t) {
  torture(k, a, t);
  // In any order of the threads.
  const fx::Function v = fx::vjp(*k.function());
  const Arguments va = vjp_arguments(*k.function(), a, t.domain, 4);
  const Arguments in_order = run(v, va, {t.domain, 0}), shuffled = run(v, va, {t.domain, 99});
  for (std::size_t r = 0; r < in_order.size(); ++r) CHECK(distance(in_order[r], shuffled[r]) == 0);
}
/// The gradient of sum_k (k + 1) y[k] after y[bin[i]] has met x[i], with `old` in y; then the cotangent of the old y.
std::pair<std::vector<double>, std::vector<double>> winners(const fx::Device& dev, const std::vector<double>& x,
                                                            const std::vector<int>& bin, const std::vector<double>& old, bool most) {
  const auto k = fx::kernel("winners", [&](fx::In<double> v, fx::In<int> at, fx::InOut<double> y) {
    const auto i = fx::index();
    if (most) y[at[i]].atomic_max(v[i]);
    else y[at[i]].atomic_min(v[i]);
  });
  std::vector<double> seed;
  for (std::size_t j = 0; j < old.size(); ++j) seed.push_back(static_cast<double>(j + 1));
  const auto g = dev.zeros<double>(static_cast<std::int64_t>(x.size())), w = dev.upload(seed);
  fx::vjp(k).over(static_cast<std::int64_t>(x.size()))(dev.upload(x), dev.upload(bin), dev.upload(old), w, g);
  return {g.host(), w.host()};
}

}  // namespace

TEST_CASE("torture 18: atomic_max and atomic_min in arrays have a derivative", "[jit][torture]") {
  const auto k = fx::kernel("row18_extremes",
                            [](fx::In<double> x, fx::In<int> bin, fx::InOut<double> most, fx::InOut<fx::double2> least, fx::Double c) {
                              const auto i = fx::index();
                              const fx::Double v = x[i] * x[i] + fx::sin(c * x[i]);
                              most[bin[i]].atomic_max(v * c);
                              least[bin[i]].y.atomic_min(fx::cos(3.0 * x[i]));
                              fx::if_(bin[i] == 1, [&] { least[2].x.atomic_min(v); });
                            });
  Arguments a{floats(17), ints({0, 1, 1, 0, 2, 0, 0, 2, 1, 1, 0, 1, 2, 2, 0, 1, 0}), numbers({-5, 100, 0.2}),
              floats({3, 1, 1}, 1, 0.5, 0.9, kPair), scalar(1.3)};
  extremes(k, a, {{17, 1, 1}});
}

TEST_CASE("torture 18: atomic_max in loops and branches and over two axes and several times a thread", "[jit][torture]") {
  const auto k = fx::kernel("row18_loops", [](fx::In<double> x, fx::In<int> bin, fx::InOut<double, 2> y) {
    const auto [i, j] = fx::index<2>();
    fx::Double v = x[j] + 0.1 * fx::cast<double>(i);
    for (auto t : fx::range(3)) {
      y(bin[j], t % 2).atomic_max(fx::sin(v) * x[j]);
      v = v * 1.7 - 0.2;
      fx::if_(v > 0.3, [&] { y(bin[j], 1).atomic_max(v * v); });
    }
    y(0, 0).atomic_max(0.5 * v);
  });
  extremes(k, {floats(6), ints({0, 1, 1, 0, 2, 0}), floats({3, 2, 1}, 2, -0.5, 0.1)}, {{3, 6, 1}});
}

TEST_CASE("torture 18: of equal numbers the old one wins and then the first thread", "[jit][torture]") {
  const fx::Device dev = GENERATE(fx::Device::best(), fx::Device::reference());
  using V = std::vector<double>;
  // bin 0: threads 1 and 3 tie; bin 1: the old content is as large; bin 2: nobody comes; bin 3: the old content is a NaN.
  auto [g, old] = winners(dev, {1, 7, 2, 7, 5, 5, -3}, {0, 0, 0, 0, 1, 1, 3}, {6, 5, 9, NAN}, true);
  CHECK(g == V{0, 1, 0, 0, 0, 0, 4});
  CHECK(old == V{0, 2, 3, 0});
  std::tie(g, old) = winners(dev, {1, -7, 2, -7, 5, 5, NAN, 0.0, -0.0}, {0, 0, 0, 0, 1, 1, 2, 3, 3}, {6, 5, 9, 1}, false);
  CHECK(g == V{0, 1, 0, 0, 0, 0, 0, 4, 0});
  CHECK(old == V{0, 2, 3, 0});
  const auto twice = fx::kernel("twice", [](fx::In<double> a, fx::In<double> b, fx::InOut<double> y) {
    const auto i = fx::index();
    y[0].atomic_max(a[i]);
    for ([[maybe_unused]] auto t : fx::range(2)) y[0].atomic_max(b[i]);
  });
  const auto a = dev.upload({1., 4.}), b = dev.upload({4., 4.}), y = dev.upload({0.}), w = dev.upload({1.}), ga = dev.zeros<double>(2),
             gb = dev.zeros<double>(2);
  fx::vjp(twice).over(2)(a, b, y, w, ga, gb);
  CHECK(ga.host() == V{0, 0});
  CHECK(gb.host() == V{1, 0});
}

TEST_CASE("torture 18: atomic_max in a time loop of a program and in a captured derivative", "[jit][torture]") {
  const fx::Device dev = fx::Device::best();
  const auto climb = fx::kernel("climb", [](fx::In<double> x, fx::InOut<double> y) {
    const auto i = fx::index();
    y[i / 2].atomic_max(x[i] * x[i]);
  });
  const auto grow =
      fx::kernel("grow", [](fx::InOut<double> x, fx::In<double> y) { x[fx::index()] = x[fx::index()] * 0.9 + 0.1 * y[fx::index() / 2]; });
  const auto sum = fx::kernel("sum", [](fx::In<double> y, fx::Accum<double> s) { s[0] += y[fx::index()] * y[fx::index()]; });
  const auto sim = fx::program("sim", [&](fx::Buffer<double> x0) {
    auto x = fx::zeros<double>(6), y = fx::zeros<double>(3), s = fx::zeros<double>(1);
    x.copy_from(x0);
    for ([[maybe_unused]] auto t : fx::range(4)) {
      climb.over(6)(x, y);
      grow.over(6)(x, y);
    }
    sum.over(3)(y, s);
    return s;
  });
  const std::vector<double> at{0.3, -0.8, 1.1, 0.2, -0.4, 0.5};
  const auto g = std::get<1>(fx::value_and_grad(sim)(dev.upload(at))).host();
  for (std::size_t k = 0; k < at.size(); ++k) {
    auto up = at, down = at;
    up[k] += 1e-5, down[k] -= 1e-5;
    CHECK(g[k] == Approx((sim(dev.upload(up)).host()[0] - sim(dev.upload(down)).host()[0]) / 2e-5).epsilon(1e-6).margin(1e-8));
  }
  const auto reverse = fx::vjp(climb);
  const auto captured = fx::program("captured", [&](fx::Buffer<double> x, fx::Buffer<double> w) {
    auto y = fx::zeros<double>(3), gx = fx::zeros<double>(6), bar = fx::zeros<double>(3);
    bar.copy_from(w);
    reverse.over(6)(x, y, bar, gx);
    return gx;
  });
  CHECK(captured(dev.upload(at), dev.upload({1., 1., 1.})).host() == std::vector<double>{0, -1.6, 2.2, 0, 0, 1});
}

TEST_CASE("torture 18: a batch of derivatives of atomic_max is the derivatives one by one", "[jit][torture][vmap]") {
  const fx::Device dev = GENERATE(fx::Device::best(), fx::Device::reference());
  const auto k = fx::kernel("most", [](fx::In<double> x, fx::Double c, fx::InOut<double> y) {
    const auto i = fx::index();
    y[i % 2].atomic_max(fx::sin(c * x[i]));
  });
  const auto d = fx::vjp(k);
  const int batch = 3, n = 5;
  std::vector<double> x, c{1.1, -0.7, 2.3}, y, gx, gc, gy;
  const std::vector<double> seed{1, 3, 1, 3, 1, 3};
  for (int j = 0; j < batch * n; ++j) x.push_back(std::sin(3.7 * j) * 1.4);
  for (int j = 0; j < batch * 2; ++j) y.push_back(j == 3 ? 0.99 : -0.5);
  for (int b = 0; b < batch; ++b) {
    const auto part = [&](const std::vector<double>& v, int m) {
      return dev.upload(std::vector<double>(v.begin() + b * m, v.begin() + (b + 1) * m));
    };
    const auto w = dev.upload({1., 3.}), x_ = dev.zeros<double>(n), c_ = dev.zeros<double>(1);
    d.over(n)(part(x, n), c[static_cast<std::size_t>(b)], part(y, 2), w, x_, c_);
    for (const double v : x_.host()) gx.push_back(v);
    for (const double v : w.host()) gy.push_back(v);
    gc.push_back(c_.item());
  }
  const auto bx = dev.upload(x, batch, n), by = dev.upload(y, batch, 2);
  const auto bc = dev.upload(c);
  {
    const auto w = dev.upload(seed, batch, 2), x_ = dev.zeros<double>(batch, n), c_ = dev.zeros<double>(batch, 1);
    fx::vmap(d).over(batch, n)(bx, bc, by, w, x_, c_);
    CHECK(x_.host() == gx);
    CHECK(w.host() == gy);
    CHECK(c_.host() == gc);
  }
  const auto w = dev.upload(seed, batch, 2), x_ = dev.zeros<double>(batch, n);
  const auto c_ = dev.zeros<double>(batch);
  fx::vjp(fx::vmap(k)).over(batch, n)(bx, bc, by, w, x_, c_);
  CHECK(x_.host() == gx);
  CHECK(w.host() == gy);
  CHECK(c_.host() == gc);
}

TEST_CASE("torture 18: atomic_max of what the kernel writes and mixed kinds are refused with their line", "[jit][torture]") {
  int line = 0;
  const auto refused = [&](const auto& k) {
    const std::string place = "torture_atomics.cpp:" + std::to_string(line);
    CHECK_THROWS_WITH(fx::jvp(*k.function()), Contains(place) && Contains("depends on the order of threads"));
    CHECK_THROWS_WITH(fx::vjp(*k.function()), Contains(place) && Contains("depends on the order of threads"));
  };
  refused(fx::kernel("mixed", [&](fx::In<double> x, fx::InOut<double> y) {
    line = __LINE__ + 1;
    y[0].atomic_max(x[fx::index()]);
    y[1].atomic_min(x[fx::index()]);
  }));
  refused(fx::kernel("read", [&](fx::In<double> x, fx::InOut<double> y, fx::Out<double> z) {
    line = __LINE__ + 1;
    y[0].atomic_max(x[fx::index()]);
    z[fx::index()] = y[1];
  }));
  refused(fx::kernel("written", [&](fx::InOut<double> x, fx::InOut<int> bin, fx::InOut<double> y) {
    const auto i = fx::index();
    x[i] = x[i] * 2.0;
    fx::if_(i > 5, [&] { bin[i] = 0; });
    line = __LINE__ + 1;
    y[bin[i]].atomic_max(x[i]);
  }));
}
