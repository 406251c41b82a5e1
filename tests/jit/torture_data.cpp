// The gradient torture list: singular points, scatters, state of all kinds, device functions, structs, local arrays,
// two and three axes. Each name begins with its number in the list.
#include "torture.h"

using namespace fluxion::testing;
namespace fx = fluxion;

constexpr int n = 37;  // two groups of lanes and a part of one
const Torture kPoints{{n, 1, 1}};
template <template <class> class F>
struct Body {
  fx::Vec<F<double>, 2> pos;
  F<int> kind;
  F<double> mass;
};
namespace {
Data bodies(int m) {
  Data d = data({m, 1, 1}, 1, fx::detail::element_of<Body<fx::Host>>());
  auto* b = d.as<Body<fx::Host>>();
  for (int i = 0; i < m; ++i) {
    b[i].pos[0] = 0.1 * i - 1;
    b[i].pos[1] = std::sin(i);
    b[i].kind = i % 3;
    b[i].mass = 1 + 0.05 * i;
  }
  return d;
}
}  // namespace
TEST_CASE("torture 13: masked singularities and ties", "[jit][torture]") {
  auto k = fx::kernel("row13", [](fx::In<double> x, fx::Out<double> y) {
    auto i = fx::index();
    fx::Double v = x[i];
    fx::Double a = fx::select(v > 0.0, fx::sqrt(v), 0.0);
    fx::Double b = fx::select(v > 0.0, fx::log(v), v * v);
    fx::Double c = fx::if_(v > 0.0, [&] { return fx::pow(v, 1.5); }, [&] { return -v; });
    fx::Double d = fx::clamp(v, -0.5, 0.5) + fx::min(v, 0.3) * fx::max(v, -0.2) + fx::abs(v);
    fx::Double e = fx::pow(v, 3) + fx::hypot(v, 0.3) + fx::cbrt(fx::square(v) + 1.0);
    y[i] = a * b + c * d * e;
  });
  Data x = floats(n);
  for (int i = 0; i < n; ++i) x.as<double>()[i] = 0.07 * i - 1.29;  // no kink within a step
  torture(k, {x, floats(n)}, kPoints);
  // at the points themselves
  auto zeros = fx::kernel("zeros", [](fx::In<double> x, fx::Out<double> y) {
    auto i = fx::index();
    fx::Double v = x[i];
    fx::Double r = fx::select(v > 0.0, fx::sqrt(v) * fx::log(v), 0.0);
    for (auto t : fx::range(3)) {
      (void)t;
      r = fx::select(v > 0.0, r / v, v);
    }
    y[i] = r + fx::abs(v) + fx::max(v, -v) + fx::pow(v, 2.0) + fx::hypot(v, 0.0 * v);
  });
  for (auto& dev : {fx::Device::best(), fx::Device::reference()}) {
    auto x = dev.upload({0.0, -1.0}), g = dev.zeros<double>(2);
    fx::vjp(zeros)(x, dev.upload({1.0, 1.0}), g);
    CHECK(g.host() == std::vector<double>{2.0, -4.0});
  }
}
TEST_CASE("torture 14: scatters to one element and gathers of one element", "[jit][torture]") {
  auto k = fx::kernel("row14", [](fx::In<double> x, fx::In<int> to, fx::Accum<double> y, fx::Out<double> z) {
    auto i = fx::index();
    fx::Double v = x[i] * x[i];
    y[to[i]] += v;
    y[to[i]] += v * x[to[i]];
    y[(to[i] + 1) % 5] -= fx::sin(v);
    fx::Double s = 0.0;
    for (auto t : fx::range(6)) s += x[to[i]] * x[(to[i] + t / 2) % x.size()];
    z[i] = s;
  });
  std::vector<int> to;
  for (int i = 0; i < n; ++i) to.push_back(i * i % 5);
  torture(k, {floats(n), ints(to), floats(5), floats(n)}, kPoints);
}
TEST_CASE("torture 16 and 17: unused floats and integers and booleans as loop state", "[jit][torture]") {
  auto k = fx::kernel("row16", [](fx::In<double> x, fx::Out<double> y, fx::InOut<int> count) {
    auto i = fx::index();
    fx::Double s = 0.0, unused = x[i], last = 1.0;
    fx::Int hits = 0;
    fx::Bool found = false;
    fx::UInt bits = 1u;
    for (auto t : fx::range(x.size())) {
      unused = fx::sin(unused) + 1.0;
      fx::if_(x[t] > x[i] && !found, [&] {
        hits += 1;
        s += x[t] * last;
        last = x[t];
      });
      found = found || hits > 3;
      bits = (bits << 1) ^ fx::UInt(hits);
      count[i] += hits;
    }
    y[i] = s * fx::Double(hits) + fx::select(found, last, s) + fx::Double(fx::Int(bits & 7u)) * last;
  });
  torture(k, {floats(n), floats(n), ints(std::vector<int>(n, 2))}, kPoints);
}
TEST_CASE("torture 20: a device function called many times and in its own arguments", "[jit][torture]") {
  auto f1 = fx::fn([](fx::Double x, fx::Double y) {
    fx::Double s = x;
    for (auto t : fx::range(3)) {
      fx::break_if(s > 5.0);
      s = s * y + fx::sin(s);
      (void)t;
    }
    return s;
  });
  auto f2 = fx::fn([&](fx::Double x) { return f1(x, f1(x, 0.5)) * f1(0.1 * x, x); });
  auto f3 = fx::fn([&](fx::Double x) { return f2(f2(x)) + f2(x); });
  auto k = fx::kernel("row20", [&](fx::In<double> x, fx::Out<double> y) {
    auto i = fx::index();
    y[i] = f3(x[i] * 0.3);
  });
  torture(k, {floats(n), floats(n)}, kPoints);
}
TEST_CASE("torture 21: a gradient taken inside a loop", "[jit][torture]") {
  auto psi = fx::fn([](fx::Double x, fx::Double y) {
    fx::Double s = 0.0;
    for (auto t : fx::range(3)) s += fx::sin(x * y + fx::Double(t)) * x;
    return s;
  });
  auto g = fx::grad(psi);
  auto k = fx::kernel("row21", [&](fx::InOut<double> x, fx::InOut<double> v, fx::Double dt) {
    auto i = fx::index();
    for (auto t : fx::range(4)) {
      (void)t;
      auto [a, b] = g(x[i], v[i]);
      v[i] -= dt * a;
      x[i] += dt * (v[i] + b);
    }
  });
  torture(k, {floats(n), floats(n), scalar(0.1)}, kPoints);
}
TEST_CASE("torture 5: elements that are structs with integer leaves changed in place", "[jit][torture]") {
  auto k = fx::kernel("structs", [](fx::InOut<Body<fx::Host>> b, fx::In<Body<fx::Host>> o, fx::Accum<double> e) {
    auto i = fx::index();
    Body<fx::Var> me = b[i];
    fx::Vec<fx::Double, 2> f{0.0, 0.0};
    for (auto j : fx::range(o.size())) {
      Body<fx::Var> other = o[j];
      fx::continue_if(other.kind == me.kind);
      fx::Vec<fx::Double, 2> d = other.pos - me.pos;
      f += d * (other.mass / (fx::dot(d, d) + 0.1));
    }
    b[i].pos = me.pos + 0.1 * f;
    b[i].mass *= 1.0 + b[i].pos.x;
    b[i].kind = me.kind + 1;
    fx::if_(me.kind == 1, [&] {
      me.mass = me.mass * me.mass;
      b[i] = me;
    });
    e[0] += fx::dot(f, f) * b[i].mass;
  });
  torture(k, {bodies(n), bodies(9), numbers({0})}, {{n, 1, 1}, true, true, 1e-5});
}
TEST_CASE("torture 9: local arrays changed in nested loops", "[jit][torture]") {
  auto k = fx::kernel("locals", [](fx::In<double> x, fx::Out<double> y) {
    auto i = fx::index();
    fx::Local<double, 6> a;
    fx::Local<double, 40> big;
    for (auto t : fx::range(6)) a[t] = x[(i + t) % x.size()];
    for (auto r : fx::range(3))
      for (auto t : fx::range(5)) {
        fx::if_(a[t] > a[t + 1], [&] {
          fx::Double s = a[t];
          a[t] = a[t + 1];
          a[t + 1] = s;
        });
        big[t * 7 + r] += a[t] * a[r];
        big[(t + r * 5 + i) % 40] *= 1.0 + a[r];
      }
    fx::Double s = 0.0;
    for (auto t : fx::range(40)) {
      fx::Local<double, 3> c;
      c[t % 3] = big[t];
      c[1] += big[t] * a[2];
      s += c[0] * c[1] + c[2];
    }
    y[i] = s;
  });
  torture(k, {floats(n), floats(n)}, kPoints);
}
TEST_CASE("torture 5: two axes with transposed reads", "[jit][torture]") {
  auto k = fx::kernel("two", [](fx::In<double, 2> x, fx::InOut<double, 2> y, fx::Accum<double> rows) {
    auto [i, j] = fx::index<2>();
    fx::Double l = fx::if_(j > 0, [&] { return x(i, j - 1); }, [&] { return fx::Double(0.0); });
    y(i, j) = y(i, j) * l + x(j % x.extent(0), i) * y(i, j);
    for (auto t : fx::range(i % 3)) y(i, j) += fx::Double(t) * y(i, j) * x(i, j);
    rows[i] += y(i, j) * y(i, j);
  });
  torture(k, {floats({11, 21, 1}, 2), floats({11, 21, 1}, 2), floats(11)}, {{11, 21, 1}});
}
TEST_CASE("torture 4: three axes with scalars and exits", "[jit][torture]") {
  auto k = fx::kernel("three", [](fx::In<double, 3> x, fx::Out<double, 3> y, fx::Double a, fx::Accum<double, 2> s) {
    auto [i, j, l] = fx::index<3>();
    fx::return_if(i + j == 3);
    fx::Double v = x(i, j, l) * a;
    for (auto t : fx::range(l)) {
      fx::break_if(v > 0.9);
      v = fx::sin(v + a) * x(i, j, t);
    }
    y(i, j, l) = v;
    s(j, l) += v * a;
  });
  torture(k, {floats({3, 4, 5}, 3), floats({3, 4, 5}, 3), scalar(0.7), floats({4, 5, 1}, 2)}, {{3, 4, 5}});
}
TEST_CASE("torture 17: an integer that leaves a loop is an index", "[jit][torture]") {
  auto k = fx::kernel("escape", [](fx::In<double> x, fx::InOut<double, 2> y) {
    auto i = fx::index();
    fx::Int at = 0;
    fx::Double s = 0.0;
    for (auto _ : fx::while_([&] { return at < 4 && s < 0.8; })) {
      s += fx::abs(x[(i + at) % x.size()]);
      at += 1;
    }
    y(i, at) = y(i, at) * s;
    y(i, 0) += y(i, at) * y(i, (at + 1) % 5);
    y(i, (at + 2) % 5) = y(i, 0) * s;
  });
  torture(k, {floats(n), floats({n, 5, 1}, 2)}, kPoints);
}
TEST_CASE("torture 2: loops down and with steps in ragged nests", "[jit][torture]") {
  auto k = fx::kernel("down", [](fx::In<double> x, fx::InOut<double> y, fx::Int step) {
    auto i = fx::index();
    fx::Double s = x[i];
    for (auto t : fx::range(i % 9, 0, -2))
      for (auto u : fx::range(t, t + 7, step)) {
        fx::continue_if(u == 3);
        s = s * 0.9 + x[u] * y[i];
        for (auto w : fx::range(u, u - 2, -1)) {
          y[i] = y[i] + s * x[fx::abs(w)] * 0.1;
          fx::break_if(y[i] > 3.0);
        }
      }
    y[i] *= s;
  });
  torture(k, {floats(n), floats(n), scalar(3)}, kPoints);
}
