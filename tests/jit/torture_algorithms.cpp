// The gradient torture list, continued: whole algorithms as users write them in kernels: complex iterations, pivoting,
// sorting, stacks, walks over trees, smoothing in place, summation tricks.
#include "torture.h"

using namespace fluxion::testing;
namespace fx = fluxion;

namespace {
constexpr int n = 37;  // two groups of lanes and a part of one
const Torture kPoints{{n, 1, 1}};
const fx::LayoutId kComplex = fx::detail::element_of<fx::Complex<double>>();
}  // namespace

TEST_CASE("torture 10 and 11: Newton's iteration on complex numbers", "[jit][torture]") {
  auto k = fx::kernel("newton", [](fx::In<fx::Complex<double>> c, fx::Out<fx::Complex<double>> z_out) {
    auto i = fx::index();
    using Z = fx::Complex<fx::Double>;
    Z target = c[i], z = Z(1.0, 0.5);
    fx::Int t = 0;
    for (auto _ : fx::while_([&] { return t < 25 && fx::norm2(z * z * z - target) > 1e-20; })) {
      z = z - (z * z * z - target) / (3.0 * z * z);
      t += 1;
    }
    z_out[i] = z * fx::conj(z) + fx::exp(z) / fx::abs(z);
  });
  torture(k, {floats({n, 1, 1}, 1, 0.5, 1.5, kComplex), floats({n, 1, 1}, 1, 0, 1, kComplex)}, {{n, 1, 1}, true, true, 1e-5});
}

TEST_CASE("torture 4 and 11: an escape-time loop on a complex carry", "[jit][torture]") {
  auto k = fx::kernel("escape", [](fx::In<fx::Complex<double>> c, fx::Accum<double> sum) {
    auto i = fx::index();
    fx::Complex<fx::Double> z(0.0, 0.0), p = c[i];
    for (auto t : fx::range(30)) {
      z = z * z + p;
      fx::break_if(fx::norm2(z) > 4.0);
      fx::continue_if(t % 3 == 1);
      sum[t % 4] += z.re * z.im + 0.1 * z.re;
    }
  });
  torture(k, {floats({n, 1, 1}, 1, -0.4, 0.3, kComplex), floats(4)}, {{n, 1, 1}, true, true, 1e-6});
}

TEST_CASE("torture 9: Gaussian elimination with pivoting in a local array", "[jit][torture]") {
  auto k = fx::kernel("pivot", [](fx::In<double, 2> a, fx::In<double, 2> b, fx::Out<double, 2> x) {
    auto i = fx::index();
    fx::Local<double, 9> m;
    fx::Local<double, 3> r;
    for (auto j : fx::range(9)) m[j] = a(i, j);
    for (auto j : fx::range(3)) r[j] = b(i, j);
    for (auto col : fx::range(3)) {
      fx::Int best = col;
      for (auto row : fx::range(col + 1, 3)) fx::if_(fx::abs(m[row * 3 + col]) > fx::abs(m[best * 3 + col]), [&] { best = row; });
      for (auto j : fx::range(3)) {
        fx::Double t = m[col * 3 + j];
        m[col * 3 + j] = m[best * 3 + j];
        m[best * 3 + j] = t;
      }
      fx::Double t = r[col];
      r[col] = r[best];
      r[best] = t;
      for (auto row : fx::range(col + 1, 3)) {
        fx::Double f = m[row * 3 + col] / m[col * 3 + col];
        for (auto j : fx::range(col, 3)) m[row * 3 + j] -= f * m[col * 3 + j];
        r[row] -= f * r[col];
      }
    }
    for (auto back : fx::range(3)) {
      fx::Int row = 2 - back;
      fx::Double s = r[row];
      for (auto j : fx::range(row + 1, 3)) s -= m[row * 3 + j] * x(i, j);
      x(i, row) = s / m[row * 3 + row];
    }
  });
  torture(k, {floats({n, 9, 1}, 2), floats({n, 3, 1}, 2), floats({n, 3, 1}, 2)}, {{n, 1, 1}, true, true, 1e-6});
}

TEST_CASE("torture 5: a bubble sort of a row in place", "[jit][torture]") {
  auto k = fx::kernel("sort", [](fx::InOut<double, 2> a) {
    auto i = fx::index();
    for (auto pass : fx::range(a.extent(1))) {
      fx::Bool swapped = false;
      for (auto j : fx::range(a.extent(1) - 1 - pass)) {
        fx::Double l = a(i, j), r = a(i, j + 1);
        fx::if_(l > r, [&] {
          a(i, j) = r * 1.01;
          a(i, j + 1) = l;
          swapped = true;
        });
      }
      fx::break_if(!swapped);
    }
  });
  torture(k, {floats({n, 6, 1}, 2)}, {{n, 1, 1}, true, true, 1e-7});
}

TEST_CASE("torture 9 and 17: a walk over a tree with a stack of its own", "[jit][torture]") {
  auto k = fx::kernel("walk", [](fx::In<int> left, fx::In<int> right, fx::In<double> value, fx::In<double> x, fx::Out<double> y) {
    auto i = fx::index();
    fx::Local<int, 16> stack;
    fx::Local<double, 16> weight;
    fx::Int top = 1;
    stack[0] = 0;
    weight[0] = x[i];
    fx::Double sum = 0.0;
    for (auto _ : fx::while_([&] { return top > 0; })) {
      top -= 1;
      fx::Int node = stack[top];
      fx::Double w = weight[top];
      sum += w * value[node];
      fx::continue_if(w * w < 1e-6);
      for (auto side : fx::range(2)) {
        fx::Int child = fx::select(side == 0, left[node], right[node]);
        fx::continue_if(child < 0);
        stack[top] = child;
        weight[top] = w * fx::sin(value[node]) * fx::select(side == 0, 0.7, 0.4);
        top += 1;
      }
    }
    y[i] = sum;
  });
  std::vector<int> left, right;
  for (int v = 0; v < 15; ++v) {
    left.push_back(v < 7 ? 2 * v + 1 : -1);
    right.push_back(v < 7 && v != 4 ? 2 * v + 2 : -1);
  }
  torture(k, {ints(left), ints(right), floats(15, 0.3, 1.3), floats(n, 0.5, 1.5), floats(n)}, {{n, 1, 1}, true, true, 1e-6});
}

TEST_CASE("torture 3 and 12: compensated sums and Fibonacci-like recurrences", "[jit][torture]") {
  auto k = fx::kernel("sums", [](fx::In<double, 2> a, fx::Out<double> y, fx::Double scale) {
    auto i = fx::index();
    fx::Double s = 0.0, c = 0.0, f0 = 1.0, f1 = scale;
    for (auto j : fx::range(a.extent(1) - 1, -1, -2)) {
      fx::Double v = a(i, j) * f1 - c, t = s + v;
      c = (t - s) - v;
      s = t;
      fx::Double f2 = f0 * f1 + a(i, j / 2);
      f0 = f1;
      f1 = f2;
    }
    y[i] = s * f1;
  });
  torture(k, {floats({n, 9, 1}, 2), floats(n), scalar(0.8)}, kPoints);
}

TEST_CASE("torture 7 and 8: rows and columns summed while the element changes", "[jit][torture]") {
  auto k = fx::kernel("grid", [](fx::InOut<double, 2> a, fx::Accum<double> rows, fx::Accum<double> cols, fx::In<int> perm) {
    auto [i, j] = fx::index<2>();
    for (auto t : fx::range(perm[j])) {
      rows[i] += a(i, j) * a(i, j);
      a(i, j) = fx::sin(a(i, j)) + 0.2 * fx::Double(t);
      cols[perm[(j + t) % perm.size()] % cols.size()] += a(i, j) * fx::Double(i - j);
    }
    fx::return_if(a(i, j) < 0.3);
    a(i, j) *= a(i, j);
    rows[i] += a(i, j);
  });
  torture(k, {floats({7, 5, 1}, 2), floats(7), floats(5), ints({3, 0, 4, 1, 2})}, {{7, 5, 1}, true, true, 1e-6});
}

TEST_CASE("torture 2 and 4: loops in whiles in loops with exits of each", "[jit][torture]") {
  auto k = fx::kernel("deep", [](fx::In<double> x, fx::InOut<double> y, fx::In<int> trips) {
    auto i = fx::index();
    fx::Double v = x[i];
    for (auto a : fx::range(trips[i])) {
      fx::Int u = 0;
      fx::Double w = v * 0.5;
      for (auto _ : fx::while_([&] { return u < 5 && w < 3.0; })) {
        u += 1;
        fx::continue_if((u + a) % 3 == 0);
        for (auto b : fx::range(u)) {
          w = w * 1.1 + v * y[i];
          fx::break_if(w > 1.5 + fx::Double(b));
          y[i] = y[i] + 0.01 * w;
        }
        fx::break_if(w > 2.5);
      }
      v = v + w * fx::cos(v);
      fx::return_if(v > 6.0);
      y[i] *= v;
    }
    y[i] += v * fx::tanh(v);
  });
  std::vector<int> trips;
  for (int i = 0; i < n; ++i) trips.push_back(i % 5);
  torture(k, {floats(n, 0.2, 1), floats(n, 0.2, 1), ints(trips)}, {{n, 1, 1}, true, true, 1e-7});
}

TEST_CASE("torture 13: powers and roots whose exponents come from loops", "[jit][torture]") {
  auto k = fx::kernel("powers", [](fx::In<double> x, fx::Out<double> y) {
    auto i = fx::index();
    fx::Double r = 1.0, v = x[i];
    for (auto e : fx::range(5)) {
      r += fx::pow(v, fx::Double(e)) * fx::pow(v + 1.0, 0.5 * v);
      r = fx::sqrt(r * r + 1e-3) - fx::cbrt(r) + fx::atan2(r, v) + fx::log1p(fx::abs(v)) * fx::copysign(v, r);
    }
    y[i] = r;
  });
  torture(k, {floats(n, 0.1, 1.2), floats(n)}, kPoints);
}

TEST_CASE("torture 11: half precision arrays hold what f32 arithmetic makes", "[jit][torture]") {
  auto k = fx::kernel("halves", [](fx::In<fx::half> x, fx::InOut<fx::bfloat16> y, fx::Accum<float> e) {
    auto i = fx::index();
    fx::Float s = x[i];
    for (auto t : fx::range(3)) s = s * fx::Float(y[i]) + 0.25f * fx::Float(t);
    y[i] = s;
    e[0] += s * s;
  });
  const Arguments a{floats({n, 1, 1}, 1, -1, 1, fx::DType::f16), floats({n, 1, 1}, 1, -1, 1, fx::DType::bf16),
                    floats({1, 1, 1}, 1, 0, 1, fx::DType::f32)};
  const std::array<std::int64_t, 3> domain{n, 1, 1};
  CheckOptions o;
  o.domain = domain;
  o.differences = false;  // of rounded numbers there are none
  const Errors e = fluxion::testing::check(*k.function(), a, o);
  CHECK(e.dots < 1e-5);
  CHECK(e.order < 1e-5);
  const Arguments va = vjp_arguments(*k.function(), a, domain, 4);
  const Arguments expected = fluxion::testing::run(*k.handle().vjp({}).function(), va, {domain, 0});
  const Arguments mine = run_on(fx::Device::best(), k.handle().vjp({}), va, domain);
  for (std::size_t r = 0; r < mine.size(); ++r) CHECK(distance(expected[r], mine[r]) < 1e-5);
}
