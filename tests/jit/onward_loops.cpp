// Loops of sums are reversed the way they go and keep no tape (ad/reverse_onward.cpp); others are not.
#include <algorithm>

#include "fluxion/ad.h"
#include "torture.h"

using namespace fluxion::testing;
namespace fx = fluxion;

namespace {

constexpr int n = 37;

template <class K>
bool keeps_tape(const K& k) {
  const fx::Function v = fx::vjp(*k.function());
  return std::any_of(v.values.begin(), v.values.end(), [](const fx::Value& x) { return x.type.is_seq(); });
}
std::vector<int> trips() {
  std::vector<int> all;
  for (int i = 0; i < n; ++i) all.push_back(i % 6);
  return all;
}

}  // namespace

TEST_CASE("a polynomial is reversed without a tape of powers", "[jit][onward]") {
  auto k = fx::kernel("polynomial", [](fx::In<double> c, fx::In<double> x, fx::In<int> trips, fx::Out<double> y) {
    auto i = fx::index();
    fx::Double power = 1.0, t = fx::Double(i) * 0.05, value = x[i];
    for (auto j : fx::range(1, trips[i])) {
      value += c[j] * power;
      power *= t;
    }
    y[i] = value * value;
  });
  CHECK(!keeps_tape(k));
  torture(k, {floats(8), floats(n), ints(trips()), floats(n)}, {{n, 1, 1}});
}

TEST_CASE("random numbers of a sum are made again", "[jit][onward]") {
  auto k = fx::kernel("monte_carlo", [](fx::In<double> x, fx::Out<double> y, fx::Accum<double> total) {
    auto i = fx::index();
    fx::UInt state = fx::cast<std::uint32_t>(i) * 747796405u + 1u;
    fx::Double s = 0.0, w = 0.0;
    for (auto t : fx::range(9, 0, -1)) {
      state = state * 1664525u + 1013904223u;
      fx::Double u = fx::cast<double>(state >> 8) * (1.0 / 16777216.0);
      fx::if_(u > 0.3, [&] { s += u * x[i] * x[i] - w * 0.0; }, [&] { s = s - fx::Double(t) * x[(i + 1) % x.size()]; });
      total[0] += u * x[i];
    }
    y[i] = s;
  });
  CHECK(!keeps_tape(k));
  torture(k, {floats(n), floats(n), numbers({0.25})}, {{n, 1, 1}});
}

TEST_CASE("loops in loops and exits are reversed onward where only sums pass on", "[jit][onward]") {
  auto k = fx::kernel("nest", [](fx::In<double> x, fx::In<int> trips, fx::Out<double> y) {
    auto i = fx::index();
    fx::Double s = 0.0, scale = 1.0, a = fx::sin(x[i]);
    for (auto t : fx::range(trips[i])) {
      fx::Double r = scale * 0.5, inner = 1.0;
      for (auto u : fx::range(t + 1)) {
        s += a * r * x[(i + u) % x.size()];
        r *= 0.7;
        inner *= 1.0 + 0.1 * x[i];
      }
      s += inner * a;
      fx::break_if(scale > 2.0);
      scale *= 1.3;
    }
    y[i] = fx::exp(s * 0.1);
  });
  torture(k, {floats(n), ints(trips()), floats(n)}, {{n, 1, 1}});
}

TEST_CASE("what is more than a sum is reversed against the loop", "[jit][onward]") {
  auto used = fx::kernel("used", [](fx::In<double> x, fx::Out<double> y) {
    auto i = fx::index();
    fx::Double s = x[i], p = 1.0;
    for (auto t : fx::range(5)) {
      s += s * p * 0.1 + x[(i + t) % x.size()];
      p *= 0.9;
    }
    y[i] = s;
  });
  CHECK(keeps_tape(used));
  torture(used, {floats(n), floats(n)}, {{n, 1, 1}});
  auto two = fx::kernel("two", [](fx::In<double> x, fx::Out<double> y) {
    auto i = fx::index();
    fx::Double s = x[i], r = 0.5, p = 1.0;
    for ([[maybe_unused]] auto t : fx::range(5)) {
      fx::Double before = s;
      s = r + p * x[i];
      r = before + p;
      p *= 0.9;
    }
    y[i] = s * r;
  });
  torture(two, {floats(n), floats(n)}, {{n, 1, 1}});
  auto stored = fx::kernel("stored", [](fx::In<double> x, fx::InOut<double> y) {
    auto i = fx::index();
    fx::Double p = 1.0, s = 0.0;
    for ([[maybe_unused]] auto t : fx::range(5)) {
      s += y[i] * p;
      y[i] = y[i] * x[i] + p;
      p *= 0.9;
    }
    y[i] = y[i] + s;
  });
  torture(stored, {floats(n), floats(n)}, {{n, 1, 1}});
}
