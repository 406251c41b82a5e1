// Host functions in kernels, functions and programs, on every device: what they are called with, how often, their rules, and what they
// throw.
#include <atomic>
#include <cmath>
#include <mutex>
#include <set>
#include <thread>

#include "fluxion/ad.h"
#include "fluxion/passes.h"
#include "inputs.h"
#include "torture.h"

using namespace fluxion;
using namespace fluxion::testing;
namespace fx = fluxion;

namespace {

/// y = x^3 + 2 x on the host, its slope, and the two as one differentiable function.
double cubic(double x) { return x * x * x + 2 * x; }
auto smooth() {
  auto curve = fx::external("curvature", [](double x) { return 6 * x; }).vjp([](fx::Double, fx::Double w) { return 6.0 * w; });
  auto slope =
      fx::external("slope", [](double x) { return 3 * x * x + 2; }).vjp([curve](fx::Double x, fx::Double w) { return w * curve(x); });
  return fx::external("cubic", cubic).vjp([slope](fx::Double x, fx::Double w) { return w * slope(x); });
}

}  // namespace

TEST_CASE("a host function gives a kernel what it gives the host", "[jit][external]") {
  auto f = fx::external("mix", [](double x, float y, int n, bool up) { return up ? std::lgamma(x) + static_cast<double>(y) * n : -x; });
  auto k = fx::kernel("k", [&](fx::In<double> x, fx::In<float> y, fx::Out<double> z) {
    auto i = fx::index();
    z[i] = f(x[i], y[i], i - 5, x[i] > 2.0) * 2.0;
  });
  for (const auto& dev : devices()) {
    for (int n : {1, 7, 16, 1000}) {
      const auto x = ramp(n, 0.5, 0.01);
      std::vector<float> y(static_cast<std::size_t>(n), 0.25f);
      auto z = dev.zeros<double>(n);
      k(dev.upload(x), dev.upload(y), z);
      const auto got = z.host();
      for (int i = 0; i < n; ++i) {
        const auto u = static_cast<std::size_t>(i);
        CHECK(got[u] == 2.0 * (x[u] > 2.0 ? std::lgamma(x[u]) + 0.25 * (i - 5) : -x[u]));
      }
    }
  }
  CHECK(f(3.0, 0.5f, 2, true) == std::lgamma(3.0) + 1.0);
}

TEST_CASE("whole numbers of every size and bools go to a host function and back", "[jit][external]") {
  auto f =
      fx::external("sizes", [](std::int8_t a, std::uint8_t b, std::int16_t c, std::uint16_t d, std::int64_t e, std::uint64_t g, bool h) {
        return fx::Tuple<std::int8_t, std::uint16_t, std::int64_t, std::uint64_t, bool>(
            static_cast<std::int8_t>(a - 1), static_cast<std::uint16_t>(b + d), e * c, g + 1, !h);
      });
  auto k = fx::kernel("k", [&](fx::In<std::int8_t> a, fx::In<std::int64_t> e, fx::Out<std::int8_t> p, fx::Out<std::uint16_t> q,
                               fx::Out<std::int64_t> r, fx::Out<std::uint64_t> s, fx::Out<int> t) {
    auto i = fx::index();
    auto [v, w, x, y, z] = f(a[i], fx::cast<std::uint8_t>(a[i]), fx::cast<std::int16_t>(-i), fx::cast<std::uint16_t>(i), e[i],
                             fx::cast<std::uint64_t>(e[i]), i % 2 == 0);
    p[i] = v;
    q[i] = w;
    r[i] = x;
    s[i] = y;
    t[i] = fx::select(z, 1, 0);
  });
  for (const auto& dev : devices()) {
    std::vector<std::int8_t> a;
    std::vector<std::int64_t> e;
    for (int i = 0; i < 40; ++i)
      a.push_back(static_cast<std::int8_t>(7 * i - 128)), e.push_back(std::int64_t{-1} - (std::int64_t{i} << 40));
    auto p = dev.zeros<std::int8_t>(40);
    auto q = dev.zeros<std::uint16_t>(40);
    auto r = dev.zeros<std::int64_t>(40);
    auto s = dev.zeros<std::uint64_t>(40);
    auto t = dev.zeros<int>(40);
    k(dev.upload(a), dev.upload(e), p, q, r, s, t);
    for (int i = 0; i < 40; ++i) {
      const auto u = static_cast<std::size_t>(i);
      CHECK(p.host()[u] == static_cast<std::int8_t>(a[u] - 1));
      CHECK(q.host()[u] == static_cast<std::uint16_t>(static_cast<std::uint8_t>(a[u]) + i));
      CHECK(r.host()[u] == e[u] * -i);
      CHECK(s.host()[u] == static_cast<std::uint64_t>(e[u]) + 1);
      CHECK(t.host()[u] == (i % 2 == 0 ? 0 : 1));
    }
  }
}

TEST_CASE("a host function takes and gives vectors and tuples", "[jit][external]") {
  auto f = fx::external(
      "turn", [](const fx::Vec<double, 3>& v, double a) { return fx::Tuple<fx::Vec<double, 2>, double>({v[0] * a, v[1] - v[2]}, a * a); });
  auto k = fx::kernel("k", [&](fx::In<fx::Vec<double, 3>> v, fx::Out<fx::Vec<double, 2>> p, fx::Out<double> q) {
    auto i = fx::index();
    fx::Double3 here = v[i];
    auto [a, b] = f(here, 3.0);
    p[i] = a;
    q[i] = b + here.x;
  });
  for (const auto& dev : devices()) {
    auto v = dev.upload(std::vector<fx::Vec<double, 3>>{{1, 2, 3}, {4, 5, 7}});
    auto p = dev.zeros<fx::Vec<double, 2>>(2);
    auto q = dev.zeros<double>(2);
    k(v, p, q);
    CHECK(p.host()[1][0] == 12);
    CHECK(p.host()[1][1] == -2);
    CHECK(q.host() == std::vector<double>{10, 13});
  }
}

TEST_CASE("a host function is called for active threads only and once for each", "[jit][external]") {
  std::mutex mutex;
  std::multiset<double> seen;
  auto f = fx::external("spy", [&](double x) {
    std::lock_guard lock(mutex);
    seen.insert(x);
    return -x;
  });
  auto k = fx::kernel("k", [&](fx::In<double> x, fx::Out<double> y) {
    auto i = fx::index();
    y[i] = 0.0;
    fx::if_(x[i] > 50.0, [&] {
      for (auto t : fx::range(i % 3)) y[i] = f(x[i] + 0.25 * fx::cast<double>(t));
    });
  });
  for (const auto& dev : devices()) {
    const auto x = ramp(101, 0, 1);
    std::multiset<double> wanted;
    for (int i = 51; i < 101; ++i)
      for (int t = 0; t < i % 3; ++t) wanted.insert(i + 0.25 * t);
    auto y = dev.zeros<double>(101);
    seen.clear();
    k(dev.upload(x), y);
    CHECK(y.host()[53] == -53.25);
    CHECK(seen == wanted);
  }
}

TEST_CASE("a call with the same number for all threads is not made where no thread comes by", "[jit][external]") {
  std::atomic<int> calls = 0;
  auto f = fx::external("never", [&](double x) {
    ++calls;
    return x;
  });
  auto k = fx::kernel("k", [&](fx::In<double> x, fx::Double a, fx::Int n, fx::Out<double> y) {
    auto i = fx::index();
    y[i] = x[i];
    fx::if_(x[i] > 1e6, [&] { y[i] = f(a); });
    for ([[maybe_unused]] auto t : fx::range(n)) y[i] = f(a) + 1.0;
  });
  for (const auto& dev : devices()) {
    auto y = dev.zeros<double>(64);
    k(dev.upload(ramp(64, 0, 1)), 2.0, 0, y);
    CHECK(y.host()[63] == 63);
    CHECK(calls == 0);
  }
}

TEST_CASE("threads of groups call host functions", "[jit][external]") {
  auto f = fx::external("square", [](float x) { return x * x; });
  auto k = fx::kernel("k", fx::groups(24), [&](fx::In<float> x, fx::Out<float> y) {
    fx::Shared<float, 24> s;
    auto t = fx::thread_index();
    s[t] = f(x[fx::index()]);
    fx::barrier();
    y[fx::index()] = s[23 - t];
  });
  for (const auto& dev : devices()) {
    std::vector<float> x;
    for (int i = 0; i < 48; ++i) x.push_back(static_cast<float>(i));
    auto y = dev.zeros<float>(48);
    k(dev.upload(x), y);
    for (int i = 0; i < 48; ++i)
      CHECK(y.host()[static_cast<std::size_t>(i)] == static_cast<float>((i / 24 * 24 + 23 - i % 24) * (i / 24 * 24 + 23 - i % 24)));
  }
}

TEST_CASE("host functions see denormal numbers", "[jit][external]") {
  auto f = fx::external("tiny", [](double x) {
    volatile double t = 1e-310;
    return t * 2 > 0 ? x : -1.0;
  });
  auto k = fx::kernel("k", [&](fx::In<double> x, fx::Out<double> y) { y[fx::index()] = f(x[fx::index()]); });
  for (const auto& dev : devices()) {
    auto y = dev.zeros<double>(20);
    k(dev.upload(ramp(20, 1, 1)), y);
    CHECK(y.host()[19] == 20);
  }
}

TEST_CASE("what a host function throws is thrown by the call that waits", "[jit][external]") {
  auto f = fx::external("strict", [](double x) {
    if (x > 40) throw std::domain_error("no " + std::to_string(static_cast<int>(x)) + " please");
    return x;
  });
  std::uint32_t line = 0;
  auto k = fx::kernel("k", [&](fx::In<double> x, fx::Out<double> y) {
    auto i = fx::index();
    fx::if_(x[i] < 100.0, [&] {
      line = __LINE__ + 1;
      y[i] = f(x[i]);
    });
  });
  for (const auto& dev : devices()) {
    for (int n : {30, 42, 60000}) {  // one thread, and all
      auto y = dev.zeros<double>(n);
      k(dev.upload(ramp(n, 0, 1)), y);
      if (n == 30) {
        CHECK(y.host()[29] == 29);
        continue;
      }
      try {
        (void)y.host();
        FAIL("nothing was thrown");
      } catch (const fx::KernelError& e) {
        CHECK_THAT(e.what(), Catch::Contains("external \"strict\" threw: no ") && Catch::Contains("please"));
        CHECK(e.where().line == line);
      }
      auto again = dev.zeros<double>(10);  // the device goes on
      k(dev.upload(ramp(10, 0, 1)), again);
      CHECK(again.host()[9] == 9);
    }
  }
  auto g = fx::external("odd", [](int) -> int { throw 7; });
  auto h = fx::kernel("h", [&](fx::Out<int> y) { y[fx::index()] = g(fx::index()); });
  for (const auto& dev : devices()) {
    auto y = dev.zeros<int>(3);
    h(y);
    CHECK_THROWS_WITH(y.host(), Catch::Contains("no std::exception"));
  }
  CHECK_THROWS_WITH(f(41.0), Catch::Contains("no 41 please"));
}

TEST_CASE("a launch returns before its work is done", "[jit][external]") {
  // The work waits for what is said after the launch: one that waited for its work would see nothing of it until it gives up.
  static std::atomic<bool> returned, seen;
  returned = seen = false;
  auto wait = fx::external(
      "wait",
      [](float v) {
        for (int k = 0; k < 10000 && !returned; ++k) std::this_thread::sleep_for(std::chrono::milliseconds(1));
        seen = returned.load();
        return v + 1;
      },
      fx::impure);
  auto k = fx::kernel("waits", [&](fx::InOut<float> z) { z[fx::index()] = wait(z[fx::index()]); });
  const auto z = fx::Device::best().zeros<float>(20000);  // few points run at once
  k.over(20000)(z);
  returned = true;
  CHECK(z.host() == std::vector<float>(20000, 1));
  CHECK(seen);
}

TEST_CASE("a host function that uses a device is refused instead of waiting for itself", "[jit][external]") {
  for (const auto& dev : devices()) {
    auto other = fx::kernel("other", [](fx::Out<double> y) { y[fx::index()] = 1.0; });
    auto f = fx::external("greedy", [&](double x) {
      auto y = dev.zeros<double>(4);
      other(y);
      return x + y.host()[0];
    });
    auto k = fx::kernel("k", [&](fx::In<double> x, fx::Out<double> y) { y[fx::index()] = f(x[fx::index()]); });
    auto y = dev.zeros<double>(4);
    k(dev.upload(ramp(4, 0, 1)), y);
    CHECK_THROWS_WITH(y.host(), Catch::Contains("greedy") && Catch::Contains("compute in plain C++"));
  }
}

TEST_CASE("a host function with rules is right in every mode and order", "[jit][external]") {
  const auto f = smooth();
  constexpr std::int64_t n = 23;
  auto k = fx::kernel("k", [&](fx::In<double> x, fx::Double c, fx::Out<double> y, fx::Accum<double> e) {
    auto i = fx::index();
    fx::Double s = x[i];
    for ([[maybe_unused]] auto t : fx::range(2)) s = f(s * 0.5) * c + x[i];
    fx::if_(s > 0.3, [&] { s = s + f(s) * 0.1; });
    y[i] = s;
    e[0] += s * f(c);
  });
  torture(k, {floats(n), scalar(0.4), data({n, 1, 1}, 1), data({1, 1, 1}, 1)}, {{n, 1, 1}});
  CHECK(fx::grad(f)(2.0) == Approx(14));
  CHECK(fx::grad(fx::grad(f))(2.0) == Approx(12));
  CHECK(fx::grad(fx::grad(fx::grad(f)))(2.0) == Approx(6));
  CHECK(fx::jvp(f)(2.0, 0.5).get<1>() == Approx(7));
  fx::check_rules(f, 1.3);
  const auto wrong = fx::external("wrong", cubic).vjp([](fx::Double x, fx::Double w) { return w * x; });
  CHECK_THROWS_WITH(fx::check_rules(wrong, 1.3), Catch::Contains("do not fit"));
}

TEST_CASE("a jvp rule of a host function gives vjp", "[jit][external]") {
  using Pair = fx::Tuple<fx::Double, fx::Double>;
  auto f =
      fx::external("area", [](double x, double y) { return x * x * y; }).jvp([](fx::Double x, fx::Double y, fx::Double dx, fx::Double dy) {
        fx::Double v = x * x * y, d = 2.0 * x * y * dx + x * x * dy;
        return Pair(v, d);
      });
  fx::check_rules(f, 1.5, -0.5);
  const auto g = fx::grad(f)(3.0, 5.0);
  CHECK(g.get<0>() == Approx(30));
  CHECK(g.get<1>() == Approx(9));
}

TEST_CASE("several tangents at once go through a rule of a host function", "[jit][external]") {
  const auto f = smooth();
  auto k = fx::kernel("k", [&](fx::In<double> x, fx::Out<double> y) { y[fx::index()] = f(x[fx::index()]); });
  for (const auto& dev : devices()) {
    auto x = dev.upload(ramp(5, 0.1, 0.2));
    auto dx = dev.upload(ramp(15, 1, 1), 3, 5), dy = dev.zeros<double>(3, 5);
    auto y = dev.zeros<double>(5);
    fx::jvp<3>(k).over(5)(x, y, dx, dy);
    for (std::size_t t = 0; t < 3; ++t)
      for (std::size_t i = 0; i < 5; ++i) CHECK(dy.host()[5 * t + i] == Approx(dx.host()[5 * t + i] * (3 * x.host()[i] * x.host()[i] + 2)));
  }
}

TEST_CASE("differentiating a host function without a rule is refused at the call", "[jit][external]") {
  auto f = fx::external("bare", [](double x) { return x * x; });
  std::uint32_t line = 0;
  auto k = fx::kernel("k", [&](fx::In<double> x, fx::Out<double> y) {
    auto i = fx::index();
    line = __LINE__ + 1;
    y[i] = x[i] + f(x[i]);
  });
  const auto refused = [&](const auto& make) {
    try {
      make();
      FAIL("not refused");
    } catch (const fx::KernelError& e) {
      CHECK_THAT(e.what(), Catch::Contains("external \"bare\"") && Catch::Contains("give it a rule"));
      CHECK(e.where().line == line);
    }
  };
  refused([&] { (void)fx::vjp(k); });
  refused([&] { (void)fx::jvp(k); });
  refused([&] { (void)fx::jvp<4>(k); });
  auto outer = fx::fn("outer", [&](fx::Double x) {
    line = __LINE__ + 1;
    return f(x) * 2.0;
  });
  refused([&] { (void)fx::grad(outer); });
  refused([&] { (void)fx::jvp(outer); });
  CHECK_THROWS_WITH(fx::grad(f), Catch::Contains("give it a rule"));
  CHECK_THROWS_WITH(fx::jvp(f), Catch::Contains("give it a rule"));
  // What is not differentiated needs none.
  auto fine = fx::kernel("fine", [&](fx::In<double> x, fx::In<double> w, fx::Out<double> y) {
    auto i = fx::index();
    y[i] = x[i] * f(w[i]) + f(fx::stop_grad(x[i]));
  });
  const auto dev = fx::Device::best();
  auto gx = dev.zeros<double>(2);
  fx::vjp(fine, fx::wrt<0>).over(2)(dev.upload<double>({1, 2}), dev.upload<double>({3, 4}), dev.upload<double>({1, 1}), gx);
  CHECK(gx.host() == std::vector<double>{9, 16});
}

TEST_CASE("whole numbers that a host function gives are constants", "[jit][external]") {
  auto cell = fx::external("cell", [](double x) { return static_cast<int>(std::floor(x * 4)); });
  auto k = fx::kernel("k", [&](fx::In<double> x, fx::In<double> table, fx::Accum<double> sum) {
    auto i = fx::index();
    sum[0] += table[cell(x[i])] * x[i];
  });
  torture(k, {numbers(ramp(9, 0.06, 0.1)), floats(4), data({1, 1, 1}, 1)}, {{9, 1, 1}});
}

TEST_CASE("equal calls of a host function are one call and unused ones none", "[jit][external]") {
  std::atomic<int> calls = 0;
  auto pure = fx::external("pure", [&](double x) {
    ++calls;
    return x;
  });
  auto k = fx::kernel("k", [&](fx::In<double> x, fx::Out<double> y) {
    auto i = fx::index();
    [[maybe_unused]] fx::Double unused = pure(x[i] + 1.0);
    y[i] = pure(x[i]) + pure(x[i]);
  });
  for (const auto& dev : devices()) {
    calls = 0;
    auto y = dev.zeros<double>(33);
    k(dev.upload(ramp(33, 0, 1)), y);
    CHECK(y.host()[32] == 64);
    CHECK(calls == 33);
  }
}

TEST_CASE("each call of an impure host function counts", "[jit][external]") {
  std::atomic<int> calls = 0, notes = 0;
  auto next = fx::external("next", [&] { return ++calls; }, fx::impure);
  auto note = fx::external("note", [&](int) { ++notes; }, fx::impure);
  auto twice = fx::fn("twice", [&](fx::Int a) { return next() + next() * a; });
  auto k = fx::kernel("k", [&](fx::In<double> x, fx::Out<int> y) {
    auto i = fx::index();
    y[i] = 0;
    fx::if_(x[i] > 9.0, [&] {
      [[maybe_unused]] fx::Int unused = next();
      fx::Int a = next();
      fx::Int b = next();
      note(7);
      y[i] = fx::select(a == b, 0, 1) + fx::select(twice(i) == 0, 1, 0);
    });
  });
  for (const auto& dev : devices()) {
    calls = notes = 0;
    auto y = dev.zeros<int>(40);
    k(dev.upload(ramp(40, 0, 1)), y);
    const auto got = y.host();
    CHECK(calls == 30 * 5);
    CHECK(notes == 30);
    for (std::size_t i = 10; i < 40; ++i) CHECK(got[i] == 1);
  }
}

TEST_CASE("an impure host function is called in the first sweep of a derivative and refused where it gives numbers", "[jit][external]") {
  std::atomic<int> notes = 0;
  auto note = fx::external("note", [&](double) { ++notes; }, fx::impure);
  auto k = fx::kernel("k", [&](fx::In<double> x, fx::Out<double> y) {
    auto i = fx::index();
    fx::Double s = x[i];
    for ([[maybe_unused]] auto t : fx::range(3)) {
      s = s * s;
      note(s);
    }
    y[i] = s;
  });
  const auto dev = fx::Device::best();
  auto gx = dev.zeros<double>(5);
  fx::vjp(k).over(5)(dev.upload(ramp(5, 1, 0)), dev.upload(ramp(5, 1, 0)), gx);
  CHECK(gx.host() == std::vector<double>(5, 8));
  CHECK(notes == 15);
  auto roll = fx::external("roll", [&](double x) { return x; }, fx::impure);
  std::uint32_t line = 0;
  auto noisy = fx::kernel("noisy", [&](fx::In<double> x, fx::Double a, fx::Out<double> y) {
    auto i = fx::index();
    line = __LINE__ + 1;
    y[i] = x[i] * roll(fx::stop_grad(a));
  });
  try {
    (void)fx::vjp(noisy);
    FAIL("not refused");
  } catch (const fx::KernelError& e) {
    CHECK_THAT(e.what(), Catch::Contains("external \"roll\" is impure"));
    CHECK(e.where().line == line);
  }
  auto y = dev.zeros<double>(2), dy = dev.zeros<double>(2);
  fx::jvp(noisy).over(2)(dev.upload<double>({1, 2}), 3.0, y, dev.upload<double>({1, 1}), 0.0, dy);
  CHECK(dy.host() == std::vector<double>{3, 3});
  CHECK_THROWS_WITH(fx::kernel("host", [&](fx::Out<double> y) { y[fx::index()] = roll(1.0); }), Catch::Contains("once, now"));
  auto through = fx::fn("through", [&](fx::Double x) { return roll(x) + 1.0; });
  CHECK_THROWS_WITH(fx::kernel("host", [&](fx::Out<double> y) { y[fx::index()] = through(1.0); }),
                    Catch::Contains("\"through\"") && Catch::Contains("once, now"));
}

TEST_CASE("programs call host functions, differentiated and in loops", "[jit][external]") {
  const auto f = smooth();
  auto strict = fx::external("strict", [](int n) {
    if (n > 6) throw std::runtime_error("too many");
    return n;
  });
  for (const auto& dev : devices()) {
    auto k = fx::kernel("k", [&](fx::InOut<double> x, fx::Double c) { x[fx::index()] = x[fx::index()] + 0.1 * f(x[fx::index()]) * c; });
    auto sim = fx::program("sim", [&](fx::Buffer<double> x0, fx::Double a, fx::Int steps) {
      auto x = fx::copy(x0);
      for ([[maybe_unused]] auto t : fx::range(strict(steps))) k.over(4)(x, f(a));
      return fx::sum(x);
    });
    const auto run = [&](double a, double shift) {
      double sum = 0;
      for (double x : {0.1, 0.2, 0.3, 0.4}) {
        x += shift;
        for (int t = 0; t < 3; ++t) x += 0.1 * cubic(x) * cubic(a);
        sum += x;
      }
      return sum;
    };
    auto x = dev.upload(ramp(4, 0.1, 0.1));
    CHECK(sim(x, 0.7, 3).item() == Approx(run(0.7, 0)));
    const auto [value, gx, ga] = fx::value_and_grad(sim)(x, 0.7, 3);
    CHECK(value.item() == Approx(run(0.7, 0)));
    CHECK(ga.item() == Approx((run(0.7 + 1e-5, 0) - run(0.7 - 1e-5, 0)) / 2e-5).epsilon(1e-6));
    double sum = 0;
    for (double v : gx.host()) sum += v;
    CHECK(sum == Approx((run(0.7, 1e-5) - run(0.7, -1e-5)) / 2e-5).epsilon(1e-6));
    CHECK_THROWS_WITH(sim(x, 0.7, 7).item(), Catch::Contains("external \"strict\" threw: too many"));
    CHECK(sim(x, 0.7, 3).item() == Approx(run(0.7, 0)));
  }
}

TEST_CASE("the pattern of a sparse Jacobian goes through host functions", "[jit][external]") {
  const auto f = smooth();
  auto where = fx::external("where", [](int i) { return i % 3; });
  auto k = fx::kernel("k", [&](fx::In<double> x, fx::Out<double> y) {
    auto i = fx::index();
    y[i] = f(x[i]) + x[where(i)];
  });
  const auto dev = fx::Device::best();
  auto x = dev.upload(ramp(6, 0.1, 0.2));
  auto y = dev.zeros<double>(6);
  const auto dense = fx::sparse_jacobian(k)(x, y).dense();
  for (std::size_t r = 0; r < 6; ++r)
    for (std::size_t c = 0; c < 6; ++c) {
      const double v = x.host()[r];
      CHECK(dense[6 * r + c] == Approx((r == c ? 3 * v * v + 2 : 0) + (c == r % 3 ? 1 : 0)).margin(1e-14));
    }
}

TEST_CASE("a batch calls host functions", "[jit][external]") {
  const auto f = smooth();
  const auto dev = fx::Device::best();
  auto y = dev.zeros<double>(9), gx = dev.zeros<double>(9);
  auto x = dev.upload(ramp(9, -1, 0.25));
  fx::vmap(f)(x, y);
  fx::vmap(fx::grad(f))(x, gx);
  for (std::size_t i = 0; i < 9; ++i) {
    CHECK(y.host()[i] == cubic(x.host()[i]));
    CHECK(gx.host()[i] == Approx(3 * x.host()[i] * x.host()[i] + 2));
  }
}

TEST_CASE("functions that stay calls have host functions too", "[jit][external]") {
  struct Keep {
    Keep() { keep_calls(true); }
    ~Keep() { keep_calls(false); }
  } keep;
  std::uint32_t line = 0;
  std::atomic<int> notes = 0;
  auto strict = fx::external("strict", [](double x) {
    if (x > 90) throw std::domain_error("no");
    return 2 * x;
  });
  auto note = fx::external("note", [&](double) { ++notes; }, fx::impure);
  auto inner = fx::fn("inner", [&](fx::Double x) {
    note(1.0 + 0.0 * x);
    line = __LINE__ + 1;
    return strict(x) + 1.0;
  });
  auto outer = fx::fn("outer", [&](fx::Double x, fx::Double a) {
    return fx::if_(x > 10.0, [&] { return inner(x) * inner(a); }, [&] { return inner(a) * 3.0; });
  });
  auto k = fx::kernel("k", [&](fx::In<double> x, fx::Double a, fx::Out<double> y) {
    auto i = fx::index();
    y[i] = outer(x[i], a) + outer(a, a);
  });
  for (const auto& dev : devices()) {
    notes = 0;
    auto y = dev.zeros<double>(37);
    k(dev.upload(ramp(37, 0, 1)), 4.0, y);
    CHECK(y.host()[10] == 54);
    CHECK(y.host()[30] == 61 * 9 + 27);
    CHECK(notes == 11 * 2 + 26 * 3);
    k(dev.upload(ramp(37, 60, 1)), 4.0, y);
    try {
      (void)y.host();
      FAIL("nothing was thrown");
    } catch (const fx::KernelError& e) {
      CHECK_THAT(e.what(), Catch::Contains("external \"strict\" threw: no"));
      CHECK(e.where().line == line);
    }
  }
}
