// The gradient torture list: loops and what they change in place. Each name begins with its number in the list.
#include "torture.h"

using namespace fluxion::testing;
namespace fx = fluxion;

constexpr int n = 37;  // two groups of lanes and a part of one
const Torture kPoints{{n, 1, 1}};

TEST_CASE("torture 1: a variable set before a dynamic loop and used in and after it", "[jit][torture]") {
  auto k = fx::kernel("row1", [](fx::In<double> x, fx::In<int> trips, fx::Out<double> y) {
    auto i = fx::index();
    fx::Double a = x[i] * x[i], b = fx::sin(a), s = 0.0;
    for (auto t : fx::range(trips[i])) s += a * fx::cos(s + b) + fx::Double(t) * x[i];
    y[i] = s * a * b;
  });
  std::vector<int> trips;
  for (int i = 0; i < n; ++i) trips.push_back(i % 5);
  torture(k, {floats(n), ints(trips), floats(n)}, kPoints);
}
TEST_CASE("torture 2 and 3: nested dynamic loops with product recurrences", "[jit][torture]") {
  auto k = fx::kernel("row2", [](fx::In<double> x, fx::Int m, fx::Out<double> y, fx::Accum<double> total) {
    auto i = fx::index();
    fx::Double p = 1.0;
    for (auto a : fx::range(i % 3 + 1)) {
      fx::Double q = p;
      for (auto b : fx::range(a, m)) {
        p *= x[i];
        q += p * x[(i + b) % x.size()];
        for (auto c : fx::range(2)) p += 0.1 * q * fx::Double(c);
      }
      p += 0.25 * q;
    }
    y[i] = p;
    total[0] += p * p;
  });
  torture(k, {floats(n), scalar(4), floats(n), numbers({0.5})}, kPoints);
}
TEST_CASE("torture 4: continue and break and return around a largest element found by a loop", "[jit][torture]") {
  auto k = fx::kernel("row4", [](fx::In<double> x, fx::In<double> w, fx::Out<double> y, fx::Accum<double> best) {
    auto i = fx::index();
    y[i] = 0.5 * x[i];
    fx::Double s = 0.0, m = x[i];
    fx::Int arg = i;
    for (auto t : fx::range(x.size())) {
      fx::continue_if((t + i) % 3 == 1);
      fx::Double v = x[t] * w[i];
      fx::if_(v > m, [&] {
        m = v;
        arg = t;
      });
      fx::break_if(s > 1.5);
      s += v * v;
    }
    best[0] += m * x[arg];
    fx::return_if(x[i] < -0.3);
    y[i] = s + m * m;
  });
  torture(k, {floats(n), floats({n, 1, 1}, 1, 0.5, 1.5), floats(n), numbers({0})}, kPoints);
}
TEST_CASE("torture 4: exits of nested loops that change an element in place", "[jit][torture]") {
  auto k = fx::kernel("row4b", [](fx::InOut<double> y, fx::In<double> x) {
    auto i = fx::index();
    for (auto a : fx::range(4)) {
      y[i] = y[i] * 1.1 + x[i];
      fx::continue_if((i + a) % 4 == 0);
      for (auto b : fx::range(5)) {
        fx::break_if(y[i] > 2.0);
        fx::return_if(y[i] < -2.0);
        y[i] = y[i] + fx::sin(y[i]) * x[(i + b) % x.size()];
        fx::continue_if(b > 2);
        y[i] *= 1.05;
      }
      y[i] += 0.1 * y[i] * y[i];
    }
  });
  torture(k, {floats(n), floats(n, 0.1, 0.9)}, kPoints);
}
TEST_CASE("torture 5: reads and writes of one element in turn", "[jit][torture]") {
  auto k = fx::kernel("row5", [](fx::InOut<double> a, fx::In<double> c, fx::InOut<double> b) {
    auto i = fx::index();
    a[i] = a[i] + 1.0;
    a[i] *= c[i];
    fx::Double r = a[i];
    a[i] = fx::sin(r) * b[i];
    b[i] = a[i] * r;
    a[i] = a[i] * a[i] + b[i] * r;
    b[i] /= 2.0 + fx::square(a[i]);
  });
  torture(k, {floats(n), floats(n), floats(n)}, kPoints);
}
TEST_CASE("torture 6: a store that kills an earlier one", "[jit][torture]") {
  auto k = fx::kernel("row6", [](fx::InOut<double> a, fx::In<double> c, fx::Out<double> o) {
    auto i = fx::index();
    a[i] = c[i] * c[i];
    o[i] = fx::exp(c[i]);
    fx::if_(c[i] > 0.1234, [&] {
      a[i] = 3.0 * c[i];
      o[i] = a[i];
    });
    o[i] = c[i] * a[i];
    fx::if_(i % 2 == 0, [&] { a[i] = 1.0; });
  });
  torture(k, {floats(n), floats(n), floats(n)}, kPoints);
}
TEST_CASE("torture 7: recurrences over the elements of a row up and down", "[jit][torture]") {
  auto k = fx::kernel("row7", [](fx::In<double, 2> x, fx::Out<double, 2> y, fx::InOut<double, 2> z) {
    auto r = fx::index();
    y(r, 0) = x(r, 0);
    for (auto i : fx::range(1, x.extent(1))) {
      y(r, i) = 0.7 * y(r, i - 1) * x(r, i) + x(r, i);
      z(r, i) = z(r, i - 1) * y(r, i) + z(r, i) * z(r, i);
    }
    for (auto i : fx::range(x.extent(1) - 1, 0, -1)) z(r, i - 1) += z(r, i) * y(r, i);
  });
  torture(k, {floats({19, 7, 1}, 2), floats({19, 7, 1}, 2), floats({19, 7, 1}, 2)}, {{19, 1, 1}});
}
TEST_CASE("torture 8: nested loops accumulating into one element", "[jit][torture]") {
  auto k = fx::kernel("row8", [](fx::In<double, 2> x, fx::InOut<double> y, fx::Accum<double> t) {
    auto r = fx::index();
    for (auto i : fx::range(x.extent(1)))
      for (auto j : fx::range(i + 1)) {
        y[r] += x(r, i) * x(r, j) * y[r];
        t[(r + j) % 3] += y[r] * x(r, i);
      }
  });
  torture(k, {floats({n, 5, 1}, 2), floats(n), numbers({0, 0, 0})}, kPoints);
}
TEST_CASE("torture 10: a while with another number of trips in each lane", "[jit][torture]") {
  auto k = fx::kernel("row10", [](fx::In<double> x, fx::Out<double> y, fx::Out<int> trips) {
    auto i = fx::index();
    fx::Double v = x[i], s = 1.0;
    fx::Int t = 0;
    for (auto _ : fx::while_([&] { return v * v < 4.0 && t < 50; })) {
      s *= v;
      v = 1.3 * v + 0.1 * s;
      t += 1;
    }
    y[i] = v + s;
    trips[i] = t;
  });
  torture(k, {floats(n, 0.2, 3), floats(n), ints(std::vector<int>(n))}, kPoints);
}
TEST_CASE("torture 10: a while on memory that it changes in a for", "[jit][torture]") {
  auto k = fx::kernel("row10b", [](fx::InOut<double> x, fx::In<double> c) {
    auto i = fx::index();
    for (auto t : fx::range(i % 4)) {
      for (auto _ : fx::while_([&] { return x[i] < 2.0; })) {
        x[i] = x[i] * 1.5 + c[i];
        fx::break_if(x[i] > 1.8);
      }
      x[i] = fx::sin(x[i]) * 0.7 + 0.1 * fx::Double(t);
    }
  });
  torture(k, {floats(n, 0.2, 3), floats(n, 0.3, 0.6)}, kPoints);
}
TEST_CASE("torture 11: vectors and matrices as loop state with components updated", "[jit][torture]") {
  auto k = fx::kernel("row11", [](fx::In<fx::Vec<double, 3>> x, fx::In<fx::Mat<double, 2, 2>> m, fx::Out<fx::Vec<double, 3>> y,
                                  fx::InOut<fx::Mat<double, 2, 2>> z) {
    auto i = fx::index();
    fx::Vec<fx::Double, 3> v = x[i];
    fx::Mat<fx::Double, 2, 2> a = m[i];
    for (auto t : fx::range(5)) {
      v.y += v.x * v.z;
      a(0, 1) = a(0, 1) * v.y + a(1, 0);
      fx::if_(t % 2 == 0, [&] {
        v.x = fx::sin(v.y);
        a = a * a * 0.3;
      });
    }
    y[i] = v;
    z[i] = a * fx::Mat<fx::Double, 2, 2>(z[i]);
  });
  const auto v3 = fx::packed(fx::DType::f64, 3), m4 = fx::packed(fx::DType::f64, 4);
  torture(
      k,
      {floats({n, 1, 1}, 1, -1, 1, v3), floats({n, 1, 1}, 1, -1, 1, m4), floats({n, 1, 1}, 1, -1, 1, v3), floats({n, 1, 1}, 1, -1, 1, m4)},
      kPoints);
}
TEST_CASE("torture 12: loop variables exchanged each iteration", "[jit][torture]") {
  auto k = fx::kernel("row12", [](fx::In<double> x, fx::Out<double> y, fx::Int trips) {
    auto i = fx::index();
    fx::Double a = x[i], b = a * a, c = 1.0;
    for (auto t : fx::range(trips)) {
      fx::Double o = a;
      a = b;
      b = c;
      c = o;
      fx::if_(t % 3 == 1, [&] {
        fx::Double p = a;
        a = b;
        b = p;
      });
      a = a * 1.1 + b * b;
    }
    y[i] = a - b * c;
  });
  torture(k, {floats(n), floats(n), scalar(7)}, kPoints);
}
