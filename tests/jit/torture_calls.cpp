// The gradient torture list, rows 20 and 29: device functions that stay calls, with all that a function may hold, in the
// evaluator and on devices, to the second order.
#include <chrono>

#include "fluxion/ad.h"
#include "fluxion/passes.h"
#include "torture.h"

using namespace fluxion;
using namespace fluxion::testing;
namespace fx = fluxion;

namespace {

struct Kept {
  Kept() { keep_calls(true); }
  ~Kept() { keep_calls(false); }
};
bool calls(const Function& f) {
  for (const Op& op : f.ops)
    if (op.code == Opcode::call) return true;
  return false;
}
constexpr Torture kPoints{{37, 1, 1}};
constexpr std::int64_t n = 37;

/// f(x) = sin(f'(x)) + f'(1.25 x), `depth` deep: every level calls the one below twice.
fx::Fn<fx::Double(fx::Double)> nest(int depth) {
  auto f = fx::fn("level", [](fx::Double x) { return 0.5 * fx::sin(x) + 0.3 * x * x; });
  for (int k = 0; k < depth; ++k) f = fx::fn("level", [f](fx::Double x) { return 0.4 * fx::sin(f(x)) + 0.2 * f(0.9 * x + 0.1); });
  return f;
}

/// Value and derivatives along a line, to the second order.
struct Dual2 {
  double v, d, dd;
};
Dual2 operator+(Dual2 a, Dual2 b) { return {a.v + b.v, a.d + b.d, a.dd + b.dd}; }
Dual2 operator*(double s, Dual2 a) { return {s * a.v, s * a.d, s * a.dd}; }
Dual2 operator*(Dual2 a, Dual2 b) { return {a.v * b.v, a.d * b.v + a.v * b.d, a.dd * b.v + 2 * a.d * b.d + a.v * b.dd}; }
Dual2 sine(Dual2 a) { return {std::sin(a.v), std::cos(a.v) * a.d, std::cos(a.v) * a.dd - std::sin(a.v) * a.d * a.d}; }
Dual2 nest_dual(int depth, Dual2 x) {
  if (depth == 0) return 0.5 * sine(x) + 0.3 * (x * x);
  return 0.4 * sine(nest_dual(depth - 1, x)) + 0.2 * nest_dual(depth - 1, 0.9 * x + Dual2{0.1, 0, 0});
}

}  // namespace

TEST_CASE("torture 20: functions that stay calls with loops and branches and locals and tapes inside", "[jit][torture]") {
  const Kept kept;
  const auto f = fx::fn("mixed", [](fx::Double x, fx::Double y, fx::Int m) {
    fx::Double s = x;
    fx::Local<double, 4> a;
    for (auto i : fx::range(m)) {
      a[i % 4] = a[i % 4] + s * y;
      s = s * fx::sin(y) + 0.3 * a[(i + 1) % 4];
      fx::if_(s > 0.4, [&] { s = s * 0.7 - x; });
      fx::break_if(s < -3.0);
    }
    return s + a[1] * x;
  });
  const auto g =
      fx::fn("outer", [f](fx::Double x, fx::Double y) { return f(x, y, fx::Int(5)) * f(y, x, fx::Int(3)) + f(x * y, x, fx::Int(2)); });
  const auto k = fx::kernel("calls", [&](fx::In<double> x, fx::In<double> y, fx::In<int> m, fx::Double c, fx::Out<double> out) {
    auto i = fx::index();
    fx::Double v = g(x[i], y[i]);
    fx::Double a = x[i], half = c * 0.5;
    for (auto t : fx::range(m[i])) v += f(v, a, t) * c;  // ragged: the callee runs under a mask
    fx::Double u = f(c, half, fx::Int(4));               // uniform: once for all lanes
    out[i] = v + u;
  });
  REQUIRE(calls(*k.handle().function()));
  std::vector<int> trips;
  for (int i = 0; i < n; ++i) trips.push_back(i % 4);
  torture(k, {floats(n, -0.9, 0.9), floats(n, 0.1, 0.8), ints(trips), scalar(0.3), data({n, 1, 1}, 1)}, {{n, 1, 1}, true, true, 1e-5});
}

TEST_CASE("torture 20: several results and integer results and arguments that are not differentiated", "[jit][torture]") {
  const Kept kept;
  const auto f = fx::fn("pair", [](fx::Vec<fx::Double, 2> p, fx::Int j) {
    return fx::Vec<fx::Double, 2>(p[0] * p[1] + fx::cast<double>(j), fx::select(p[0] > p[1], fx::sqrt(p[0] - p[1]), p[1]));
  });
  const auto k = fx::kernel("pairs", [&](fx::In<double> x, fx::In<double> y, fx::Accum<double> sum, fx::Out<double> out) {
    auto i = fx::index();
    using Pair = fx::Vec<fx::Double, 2>;
    fx::Double a = x[i], b = y[i], two = 2.0;
    auto v = f(Pair(a, b), i);
    auto w = f(Pair(v[1], two), fx::Int(3));  // only the first of its numbers varies
    sum[0] += w[0];
    out[i] = v[0] * w[1];
  });
  REQUIRE(calls(*k.handle().function()));
  torture(k, {floats(n, 0.1, 0.9), floats(n, -0.9, 0.05), numbers({0}), data({n, 1, 1}, 1)}, kPoints);
}

TEST_CASE("torture 20: what a branch masks in the caller stays masked through a call", "[jit][torture]") {
  const Kept kept;
  const auto root = fx::fn("root", [](fx::Double x) { return fx::sqrt(x); });
  const auto safe = fx::fn("safe", [root](fx::Double x) { return fx::select(x > 0.0, root(x), 0.0); });
  const auto k = fx::kernel("masked", [&](fx::In<double> x, fx::Out<double> out) {
    auto i = fx::index();
    out[i] = safe(x[i]) * 2.0 + fx::select(x[i] > 0.0, root(x[i]), 1.0);
  });
  auto x = floats(n, 0.2, 1);
  for (int i = 0; i < n; i += 3) x.as<double>()[i] = 0;
  Data bar = numbers(std::vector<double>(n, 1.0)), grad = numbers(std::vector<double>(n, 0.0));
  const Arguments out = run(*k.handle().vjp({}).function(), {x, bar, grad}, {{n, 1, 1}, 0});
  for (int i = 0; i < n; ++i) {
    const double expected = x.as<double>()[i] > 0 ? 1.5 / std::sqrt(x.as<double>()[i]) : 0.0;
    CHECK(out[0].as<double>()[i] == Approx(expected));
  }
  torture(k, {floats(n, 0.2, 1), data({n, 1, 1}, 1)}, kPoints);
}

TEST_CASE("torture 20: a nest of depth 25 compiles with its second derivatives in no time", "[jit][torture]") {
  const auto start = std::chrono::steady_clock::now();
  const auto f = nest(25);
  const Function v = vjp(*f.function()), h = vjp(v), j = jvp(v);
  const auto k = fx::kernel("deep", [&](fx::In<double> x, fx::Out<double> out) { out[fx::index()] = f(x[fx::index()]); });
  const auto all = [](const Function& g) {
    std::size_t ops = 0;
    std::vector<const Function*> seen;
    const auto walk = [&](const auto& self, const Function& one) -> void {
      if (std::find(seen.begin(), seen.end(), &one) != seen.end()) return;
      seen.push_back(&one);
      ops += one.ops.size();
      for (const auto& callee : one.callees) self(self, *callee);
    };
    walk(walk, g);
    return ops;
  };
  CHECK(all(*k.handle().vjp({}).function()) < 20'000);
  CHECK(all(h) < 100'000);
  CHECK(all(j) < 100'000);
  // Compiled, not run: 2^25 calls a point.
  auto x = Device::best().zeros<double>(1), out = Device::best().zeros<double>(1);
  k.over(0)(x, out);
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  CHECK(seconds < 5);  // exponential inlining would not end; a loaded machine is slow
}

TEST_CASE("torture 20: value and derivatives of a nest of depth 9 agree with dual numbers", "[jit][torture]") {
  constexpr int depth = 9;
  const auto f = nest(depth);
  const auto g = fx::grad(f);
  const auto k = fx::kernel("nested", [&](fx::In<double> x, fx::Out<double> v, fx::Out<double> d) {
    auto i = fx::index();
    v[i] = f(x[i]);
    d[i] = g(x[i]);
  });
  REQUIRE(calls(*f.function()));
  const auto kj = fx::jvp(k);
  const int m = 19;
  std::vector<double> x(m), one(m, 1.0);
  for (int i = 0; i < m; ++i) x[i] = -1 + 0.11 * i;
  for (const Device& device : {Device::best(), Device::reference()}) {
    auto bx = device.upload(x), bone = device.upload(one);
    auto v = device.zeros<double>(m), d = device.zeros<double>(m), vd = device.zeros<double>(m), dd = device.zeros<double>(m);
    const int points = device.name() == "cpu" ? m : 2;
    kj.over(points)(bx, v, d, bone, vd, dd);
    const auto hv = v.host(), hd = d.host(), hvd = vd.host(), hdd = dd.host();
    for (int i = 0; i < points; ++i) {
      const Dual2 e = nest_dual(depth, {x[i], 1, 0});
      CHECK(hv[i] == Approx(e.v).epsilon(1e-12));
      CHECK(hd[i] == Approx(e.d).epsilon(1e-11).margin(1e-14));
      CHECK(hvd[i] == Approx(e.d).epsilon(1e-11).margin(1e-14));
      CHECK(hdd[i] == Approx(e.dd).epsilon(1e-10).margin(1e-13));
    }
  }
}

TEST_CASE("torture 29: one helper in a differentiated and a plain kernel", "[jit][torture]") {
  const Kept kept;
  const auto helper = fx::fn("helper", [](fx::Double x) { return fx::exp(x) * x; });
  const auto plain = fx::kernel("plain", [&](fx::In<double> x, fx::Out<double> y) { y[fx::index()] = helper(x[fx::index()]); });
  const auto other = fx::kernel("other", [&](fx::In<double> x, fx::Accum<double> y) { y[0] += helper(helper(x[fx::index()])); });
  torture(other, {floats(n, -0.9, 0.5), numbers({0})}, kPoints);
  torture(plain, {floats(n), data({n, 1, 1}, 1)}, kPoints);
}

TEST_CASE("prints and checks of a called function happen once whatever the derivative repeats", "[jit]") {
  const Kept kept;
  const auto f = fx::fn("guarded", [](fx::Double x) {
    fx::check(x > -2.0, "x is {}", x);
    return x * x * x;
  });
  const auto k = fx::kernel("loud", [&](fx::In<double> x, fx::Accum<double> y) {
    fx::Double s = x[fx::index()];
    for ([[maybe_unused]] auto t : fx::range(3)) s = f(s);
    y[0] += s;
  });
  std::size_t checks = 0;
  const auto count = [&](const auto& self, const Function& g, std::vector<const Function*>& seen) -> void {
    if (std::find(seen.begin(), seen.end(), &g) != seen.end()) return;
    seen.push_back(&g);
    for (const Op& op : g.ops) checks += op.code == Opcode::check;
    for (const auto& callee : g.callees) self(self, *callee, seen);
  };
  std::vector<const Function*> seen;
  count(count, *k.handle().vjp({}).function(), seen);
  CHECK(checks == 1);
  auto x = Device::best().upload(std::vector<double>{1, -3}), y = Device::best().zeros<double>(1);
  k.over(2)(x, y);
  CHECK_THROWS_WITH(y.host(), Catch::Contains("x is -3"));
}

TEST_CASE("a function that calls itself is refused", "[jit]") {
  std::function<fx::Double(fx::Double)> again = [&](fx::Double x) {
    return fx::fn("again", [&](fx::Double y) { return again(y) + 1.0; })(x);
  };
  CHECK_THROWS_WITH(fx::fn("first", [&](fx::Double x) { return again(x); }), Catch::Contains("functions cannot call themselves"));
}
