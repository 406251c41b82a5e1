// The gradient torture list, continued: memory shared and owned leaf by leaf, integers that steer, local arrays,
// functions.
#include "torture.h"

using namespace fluxion::testing;
namespace fx = fluxion;

namespace {

constexpr int n = 37;  // two groups of lanes and a part of one
const Torture kPoints{{n, 1, 1}};
template <template <class> class F>
struct Particle {
  fx::Vec<F<double>, 2> pos;
  fx::Vec<F<double>, 2> vel;
  F<int> next;
};
Data particles(int m) {
  Data d = data({m, 1, 1}, 1, fx::detail::element_of<Particle<fx::Host>>());
  auto* b = d.as<Particle<fx::Host>>();
  for (int i = 0; i < m; ++i) {
    b[i].pos[0] = std::sin(i * 1.3);
    b[i].pos[1] = std::cos(i * 0.7);
    b[i].vel[0] = 0.3 * std::sin(i * 2.1);
    b[i].vel[1] = 0.1;
    b[i].next = (i * 7 + 3) % m;
  }
  return d;
}

}  // namespace

TEST_CASE("torture 5: some leaves of an element are read by all threads and others are own", "[jit][torture]") {
  auto k = fx::kernel("leaves", [](fx::InOut<Particle<fx::Host>> p) {
    auto i = fx::index();
    fx::Int j = p[i].next;
    for (auto t : fx::range(3)) {
      (void)t;
      fx::Vec<fx::Double, 2> q = p[j].pos;
      p[i].vel += q * fx::dot(q, fx::Vec<fx::Double, 2>(p[i].vel));
      j = p[j].next;
    }
  });
  torture(k, {particles(n)}, kPoints);
  const int m = 5000;  // several threads
  same_on_devices(k.handle().vjp({}), vjp_arguments(*k.function(), {particles(m)}, {m, 1, 1}, 4), {m, 1, 1});
}

TEST_CASE("torture 8: neighbours read in place and sums into elements that are read too", "[jit][torture]") {
  auto k = fx::kernel("rb", [](fx::InOut<double> y, fx::In<double> x) {
    auto i = fx::index() * 2 + 1;
    for (auto t : fx::range(3)) y[i] = 0.5 * (y[i - 1] * x[i] + y[i + 1] * y[i]) + fx::Double(t);
  });
  torture(k, {floats(2 * n + 1), floats(2 * n + 1)}, kPoints);
  auto a = fx::kernel("acc", [](fx::InOut<double> y, fx::In<double> x) {
    auto i = fx::index();
    y[i % 5].accumulate(x[i] * x[i]);
    y[5 + i] = y[5 + i] * y[5 + i] + y[5 + n] * x[i];
  });
  torture(a, {floats(n + 6), floats(n)}, kPoints);
}

TEST_CASE("torture 17: trip counts and indices in integers that the loop changes", "[jit][torture]") {
  auto k = fx::kernel("ib", [](fx::InOut<int> m, fx::In<double> x, fx::InOut<double, 2> y) {
    auto i = fx::index();
    for (auto t : fx::range(m[i])) {
      m[i] += 1;
      y(i, m[i] % 4) = y(i, t % 4) * x[i] + 0.1;
      for (auto u : fx::range(m[i] % 3)) {
        m[i] -= u;
        y(i, u) *= y(i, (u + m[i]) % 4 * 0 + 1);
      }
    }
    y(i, 0) *= fx::Double(m[i]);
  });
  std::vector<int> m;
  for (int i = 0; i < n; ++i) m.push_back(i % 5);
  torture(k, {ints(m), floats(n), floats({n, 4, 1}, 2)}, kPoints);
}

TEST_CASE("torture 9: local arrays of integers and vectors in branches of a while", "[jit][torture]") {
  auto k = fx::kernel("lw", [](fx::In<double> x, fx::Out<double> y, fx::Accum<double> e) {
    auto i = fx::index();
    fx::Double s = x[i];
    fx::Int t = 0;
    fx::Local<int, 4> order;
    fx::Local<fx::Vec<double, 2>, 5> v;
    for (auto a : fx::range(4)) order[a] = (a * 3 + i) % 4;
    for (auto _ : fx::while_([&] { return t < 6 && s < 2.0; })) {
      fx::if_(t % 2 == 0, [&] {
        fx::Local<double, 3> w;
        for (auto q : fx::range(3)) w[q] = s * fx::Double(q) + x[(i + q) % x.size()];
        s += w[order[t % 4] % 3] * w[1];
        v[order[t % 4]] = fx::Vec<fx::Double, 2>(s, w[2]);
      }).else_([&] {
        v[t % 5].x += s * s;
        fx::Int o = order[0];
        order[0] = order[1];
        order[1] = o;
      });
      t += 1;
      fx::continue_if(t == 3);
      fx::return_if(s > 1.5);
      e[t] += s * v[1].x;
    }
    y[i] = s + fx::dot(fx::Vec<fx::Double, 2>(v[0]), fx::Vec<fx::Double, 2>(v[3])) * v[2].y;
  });
  torture(k, {floats(n), floats(n), floats(8)}, kPoints);
}

TEST_CASE("torture 21: every function to the second order", "[jit][torture]") {
  auto k = fx::kernel("ops", [](fx::In<double> x, fx::In<double> z, fx::Out<double> y) {
    auto i = fx::index();
    fx::Double v = x[i], w = z[i], s = 0.0;
    s += fx::tan(0.5 * v) + fx::asin(0.4 * v) * fx::acos(0.3 * w) + fx::atan(v * w);
    s += fx::sinh(v) * fx::cosh(w) + fx::tanh(v - w) + fx::asinh(v) + fx::acosh(2.5 + v) + fx::atanh(0.4 * v);
    s += fx::exp2(v) * fx::expm1(w) + fx::log2(2.0 + v) + fx::log10(2.0 + w) * fx::log1p(0.5 * v) + fx::erf(v) * fx::rsqrt(2.0 + w) +
         fx::cbrt(2.0 + v);
    s += fx::atan2(v, w + 2.0) + fx::hypot(v, w) + fx::copysign(v, w) + fx::fmod(3.3 * v, 0.77 + 0.1 * w) + fx::pow(2.0 + v, w) +
         fx::pow(1.5 + v, -2) + fx::fma(v, w, v);
    s += fx::mulz(v, w) + fx::sdiv(v, 2.0 + w) + fx::lerp(v, w, v * w) + fx::sign(v) * w + fx::floor(5.0 * v) * w + v / (2.0 + w) -
         fx::square(v);
    y[i] = s;
  });
  torture(k, {floats(n, -0.9, 0.83), floats(n, 0.15, 0.77), floats(n)}, kPoints);
}

TEST_CASE("torture 26: an Out that is written in part and leaf by leaf", "[jit][torture]") {
  auto k = fx::kernel("pl", [](fx::In<Particle<fx::Host>> p, fx::Out<Particle<fx::Host>> q, fx::Accum<fx::Vec<double, 2>> s, fx::Double c) {
    auto i = fx::index();
    q[i].pos = fx::Vec<fx::Double, 2>(p[i].pos) * c;
    q[i].next = 1;
    q[i].vel = q[i].pos;
    q[i].vel.x = c * c;
    s[i % 3] += fx::Vec<fx::Double, 2>(q[i].vel) * c;
  });
  torture(k, {particles(n), particles(n), floats({3, 1, 1}, 1, -1, 1, fx::packed(fx::DType::f64, 2)), scalar(0.7)}, kPoints);
}

TEST_CASE("torture 27: loops whose bounds are the limits of integers", "[jit][torture]") {
  auto k = fx::kernel("lim", [](fx::Out<int> y, fx::Int lo, fx::Int hi, fx::Int step) {
    auto i = fx::index();
    fx::Int s = 0;
    for (auto t : fx::range(lo, hi, step)) s += 1 + (t & 1);
    y[i] = s;
  });
  const int M = 2147483647;
  using Bounds = std::array<int, 3>;
  for (auto [lo, hi, st] :
       {Bounds{M - 7, M, 5}, Bounds{0, 10, 0}, Bounds{10, 0, -3}, Bounds{-M - 1, -M + 6, 3}, Bounds{M, M - 7, -2},
        Bounds{-M + 5, -M - 1, -3}, Bounds{0, 5, -1}, Bounds{-M, M, 1073741824}, Bounds{M, -M, -1073741824}, Bounds{M, -M - 1, -M - 1}}) {
    int s = 0;
    if (st > 0)
      for (long long t = lo; t < hi; t += st) s += 1 + (int(t) & 1);
    else if (st < 0)
      for (long long t = lo; t > hi; t += st) s += 1 + (int(t) & 1);
    for (auto& d : {fx::Device::best(), fx::Device::reference()}) {
      auto y = d.zeros<int>(3);
      k(y, lo, hi, st);
      INFO(lo << " " << hi << " " << st << " " << d.name());
      CHECK(y.host()[0] == s);
      CHECK(y.host()[2] == s);
    }
  }
}

TEST_CASE("torture 13: masked singularities in a loop to the second order", "[jit][torture]") {
  auto k = fx::kernel("ms", [](fx::In<double> x, fx::Out<double> y) {
    auto i = fx::index();
    fx::Double v = x[i], s = 0.0;
    for (auto t : fx::range(3)) {
      fx::Double r = fx::sqrt(v);  // 0 and NaN for some
      s = fx::select(v > 0.0, s + r * fx::log(v) + fx::Double(t) * s, v * v + s);
      fx::if_(v > 0.0, [&] { s += 1.0 / r; });
    }
    y[i] = s;
  });
  Data x = floats(n);
  for (int i = 0; i < n; ++i) x.as<double>()[i] = i % 3 == 0 ? -1.0 : i % 3 == 1 ? -0.5 : 0.3 + i * 0.1;
  torture(k, {x, floats(n)}, kPoints);
  for (auto& d : {fx::Device::best(), fx::Device::reference()}) {
    auto xx = d.upload({0.0, -1.0, 4.0}), g = d.zeros<double>(3), tg = d.zeros<double>(3), z = d.zeros<double>(3),
         o = d.upload({1.0, 1.0, 1.0});
    fx::jvp(fx::vjp(k))(xx, o, g, o, z, tg);
    for (double v : g.host()) CHECK(std::isfinite(v));
    for (double v : tg.host()) CHECK(std::isfinite(v));
    CHECK(g.host()[0] == 0.0);
    CHECK(g.host()[1] == -6.0);
    CHECK(tg.host()[1] == 6.0);
    CHECK(tg.host()[0] == 6.0);
  }
}

TEST_CASE("torture 20: the gradient of a function with a while and vectors", "[jit][torture]") {
  auto w = fx::fn([](fx::Double a, fx::Vec<fx::Double, 3> v, fx::Int m) {
    fx::Double s = a;
    fx::Int t = 0;
    for (auto _ : fx::while_([&] { return t < m && s < 50.0; })) {
      s = s * v.x + fx::dot(v, v);
      v.y = v.y * s * 0.1;
      t += 1;
      fx::break_if(v.y > 40.0);
    }
    return fx::select(s > 0.0, fx::log(s + 0.5), s) + v.y;
  });
  auto g = fx::grad(w);
  auto k = fx::kernel("kg", [&](fx::In<double> x, fx::In<fx::Vec<double, 3>> v, fx::Out<double> y, fx::Out<fx::Vec<double, 3>> z) {
    auto i = fx::index();
    auto [a, b] = g(x[i], v[i], i % 5);
    y[i] = a;
    z[i] = b * x[i];
  });
  const auto v3 = fx::packed(fx::DType::f64, 3);
  torture(k, {floats(n), floats({n, 1, 1}, 1, -1, 1, v3), floats(n), floats({n, 1, 1}, 1, -1, 1, v3)}, kPoints);
}

TEST_CASE("torture 9: a large local array to the second order", "[jit][torture]") {
  auto k = fx::kernel("bl", [](fx::In<double> x, fx::Out<double> y) {
    auto i = fx::index();
    fx::Local<double, 300> a;
    fx::Double s = 0.0;
    for (auto t : fx::range(300))
      a[(t * 7) % 300] +=
          x[(t + i) % x.size()] * 0.1 + fx::if_(t > 0, [&] { return a[((t - 1) * 7) % 300] * 0.5; }, [&] { return fx::Double(0.0); });
    for (auto r : fx::range(2))
      for (auto t : fx::range(300)) {
        a[t] = fx::sin(a[299 - t]) * a[(t + r) % 300];
        s += a[t];
      }
    y[i] = s;
  });
  torture(k, {floats(n), floats(n)}, kPoints);
}

TEST_CASE("torture 4: helpers with loops and exits at every depth", "[jit][torture]") {
  auto find = [](const fx::In<double>& x, fx::Int from, fx::Double limit) {
    fx::Int at = from;
    for (auto _ : fx::while_([&] { return at < x.size() && x[at] < limit; })) at += 1;
    return at;
  };
  auto k = fx::kernel("sc", [&](fx::In<double> x, fx::InOut<double> y) {
    auto i = fx::index();
    fx::Int a = find(x, i, y[i]);
    fx::if_(a < x.size() && x[a] * 2.0 > y[i] || a == 3, [&] { y[i] += x[fx::min(a, x.size() - 1)] * y[i]; });
    for (auto t : fx::range(5)) {
      fx::Int b = find(x, (i + t) % x.size(), 0.2 * fx::Double(t));
      fx::return_if(!(b < x.size() || y[i] > 0.0));
      fx::continue_if(b >= x.size());
      fx::if_(i % 2 == 0, [&] {
        fx::break_if(b == 7);
        y[i] = y[i] * x[b] + x[b];
      }).else_([&] {
        for (auto u : fx::range(b % 4)) {
          fx::break_if(u == 2);
          y[i] += x[u] * y[i];
          fx::return_if(y[i] > 4.0);
        }
      });
      y[i] *= 1.01;
    }
    y[i] = fx::sin(y[i]);
  });
  torture(k, {floats(n), floats(n, -0.93, 1.07)}, {{n, 1, 1}, true, true, 1e-5});
}

TEST_CASE("torture 29: gradients of some parameters are those of all", "[jit][torture]") {
  auto k = fx::kernel("ws", [](fx::In<double> a, fx::Double s, fx::InOut<double> y, fx::In<double> b, fx::Double r) {
    auto i = fx::index();
    for (auto t : fx::range(3)) { y[i] = y[i] * a[i] * s + b[(i + t) % b.size()] * r; }
  });
  for (auto& d : {fx::Device::best(), fx::Device::reference()}) {
    auto a = d.upload({0.5, 0.4, 0.3}), b = d.upload({1.0, 2.0, 3.0}), y = d.upload({0.1, 0.2, 0.3});
    auto w = [&] { return d.upload({1.0, -1.0, 2.0}); };
    auto ga = d.zeros<double>(3), gb = d.zeros<double>(3), gs = d.zeros<double>(1), gr = d.zeros<double>(1), w1 = w();
    fx::vjp(k)(a, 0.7, y, b, 0.9, w1, ga, gs, gb, gr);
    auto ga2 = d.zeros<double>(3), gr2 = d.zeros<double>(1), gs2 = d.zeros<double>(1), w2 = w();
    fx::vjp(k, fx::wrt<0>)(a, 0.7, y, b, 0.9, w2, ga2);
    CHECK(ga2.host() == ga.host());
    CHECK(w2.host() == w1.host());
    auto w3 = w();
    fx::vjp(k, fx::wrt<1, 4>)(a, 0.7, y, b, 0.9, w3, gs2, gr2);
    CHECK(gs2.host() == gs.host());
    CHECK(gr2.host() == gr.host());
    auto e = w();
    auto ge = d.zeros<double>(3);
    fx::vjp(k, fx::wrt<3>).eager()(a, 0.7, y, b, 0.9, e, ge);
    for (size_t i = 0; i < 3; ++i) CHECK(ge.host()[i] == Approx(gb.host()[i]));
  }
}

TEST_CASE("torture 21: reverse over reverse of loops three deep and ragged", "[jit][torture]") {
  auto k = fx::kernel("deep", [](fx::In<double> x, fx::Out<double> y) {
    auto i = fx::index();
    fx::Local<double, 4> a;
    for (auto t : fx::range(4)) a[t] = x[(i + t) % x.size()];
    for (auto p : fx::range(i % 3 + 1))
      for (auto q : fx::range(p, i % 4))
        for (auto r : fx::range(q + 1)) a[(p + q + r) % 4] += a[q % 4] * a[(r + i) % 4] * 0.5;
    y[i] = a[0] * a[1] + a[2] * a[3];
  });
  torture(k, {floats(n), floats(n)}, kPoints);
}
