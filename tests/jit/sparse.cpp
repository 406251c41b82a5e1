// Sparse Jacobians and Hessians against dense ones and by hand: patterns, numbers of colours, what makes a pattern anew.
#include <catch2/catch.hpp>

#include <cmath>
#include <random>

#include "fluxion/fluxion.h"
#include "inputs.h"

namespace fx = fluxion;
using fluxion::testing::random_numbers;

namespace {

/// Column by column with one tangent each: what the sparse one is to agree with.
template <class K> std::vector<double> dense_jacobian(const K& k, std::int64_t points, const std::vector<double>& x, std::int64_t rows) {
  const auto dev = fx::Device::best();
  auto j = fx::jvp(k);
  std::vector<double> out(static_cast<std::size_t>(rows) * x.size());
  for (std::size_t c = 0; c < x.size(); ++c) {
    std::vector<double> seed(x.size());
    seed[c] = 1;
    auto y = dev.template zeros<double>(rows), dy = dev.template zeros<double>(rows);
    j.over(points)(dev.upload(x), y, dev.upload(seed), dy);
    const auto d = dy.host();
    for (std::size_t r = 0; r < d.size(); ++r) out[r * x.size() + c] = d[r];
  }
  return out;
}
template <class T> void check_equal(const fx::Csr<T>& m, const std::vector<double>& dense) {
  const auto mine = m.dense();
  REQUIRE(mine.size() == dense.size());
  for (std::size_t k = 0; k < dense.size(); ++k) CHECK(mine[k] == Approx(dense[k]).epsilon(1e-12).margin(1e-13));
}

const auto tridiagonal = fx::kernel("tridiagonal", [](fx::In<double> x, fx::Out<double> r) {
  auto i = fx::index();
  auto n = x.extent(0);
  fx::Double left = fx::if_(i > 0, [&] { return x[i - 1]; }, [&] { return 0.0; });
  fx::Double right = fx::if_(i < n - 1, [&] { return x[i + 1]; }, [&] { return 0.0; });
  r[i] = x[i] * x[i] * (left - 2.0 * x[i] + right) + fx::sin(left * right);
});

}  // namespace

TEST_CASE("a tridiagonal Jacobian takes three colours and equals the dense one", "[jit][sparse]") {
  const auto dev = fx::Device::best();
  auto j = fx::sparse_jacobian(tridiagonal);
  for (const int n : {1, 2, 3, 50}) {
    const auto x = random_numbers(static_cast<std::size_t>(n));
    auto r = dev.full<double>(7, n);
    const fx::Csr<double> m = j(dev.upload(x), r);
    CHECK(m.nonzeros() == 3 * n - 2);
    CHECK(j.colors() == std::min(n, 3));
    CHECK_FALSE(j.reverse());
    check_equal(m, dense_jacobian(tridiagonal, n, x, n));
    CHECK(r.host() == std::vector<double>(static_cast<std::size_t>(n), 7));  // not written
  }
  CHECK(j.patterns() == 4);
}

TEST_CASE("a pattern is kept while shapes and integers stay and found anew when they change", "[jit][sparse]") {
  const auto dev = fx::Device::best();
  auto gather = fx::kernel("gather", [](fx::In<double> x, fx::In<int> at, fx::Out<double> y) {
    auto i = fx::index();
    fx::Int k = at[i];
    y[i] = x[k] * x[(k + 1) % x.extent(0)];
  });
  auto j = fx::sparse_jacobian(gather);
  const int n = 12;
  const auto x = random_numbers(n);
  std::vector<int> at(n);
  for (int round = 0; round < 3; ++round) {
    for (int i = 0; i < n; ++i) at[static_cast<std::size_t>(i)] = (i * (round + 1) + round) % n;
    auto ix = dev.upload(at);
    auto y = dev.zeros<double>(n);
    for (int again = 0; again < 2; ++again) {
      const auto m = j(dev.upload(random_numbers(n, static_cast<unsigned>(again))), ix, y);
      const auto now = random_numbers(n, static_cast<unsigned>(again));
      CHECK(m.nonzeros() == 2 * n);
      const auto d = m.dense();
      for (int i = 0; i < n; ++i) {
        const auto k = static_cast<std::size_t>(at[static_cast<std::size_t>(i)]), next = (k + 1) % n;
        std::vector<double> row(n);
        row[k] = now[next];
        row[next] = now[k];
        for (std::size_t c = 0; c < n; ++c) CHECK(d[static_cast<std::size_t>(i) * n + c] == row[c]);
      }
    }
    CHECK(j.patterns() == round + 1);
  }
}

TEST_CASE("branches that floats decide count with both arms and indices that floats make with all elements", "[jit][sparse]") {
  const auto dev = fx::Device::best();
  auto both = fx::kernel("both", [](fx::In<double> x, fx::Out<double> y) {
    auto i = fx::index();
    auto n = x.extent(0);
    fx::Double v = 0.0;
    fx::if_(x[i] > 1.0, [&] { v = x[i] * 2.0; }).else_([&] { v = x[(i + 1) % n] * x[i]; });
    fx::Int where = fx::cast<int>(x[0]);
    fx::if_(i == 3, [&] { v = x[where]; });
    y[i] = v;
  });
  auto j = fx::sparse_jacobian(both);
  const int n = 6;
  for (const unsigned seed : {1u, 2u, 3u}) {
    const auto x = random_numbers(n, seed);
    const auto m = j(dev.upload(x), dev.zeros<double>(n));
    CHECK(m.row_offsets == std::vector<std::int64_t>{0, 2, 4, 6, 12, 14, 16});
    check_equal(m, dense_jacobian(both, n, x, n));
  }
  CHECK(j.patterns() == 1);
}

TEST_CASE("loops that floats end and loops whose trips integers give are followed", "[jit][sparse]") {
  const auto dev = fx::Device::best();
  auto loops = fx::kernel("loops", [](fx::In<double> x, fx::Out<double> y) {
    auto i = fx::index();
    fx::Double v = x[i];
    for ([[maybe_unused]] auto k : fx::while_([&] { return v < 20.0; })) v = v * 2.0 + x[(i + 1) % x.extent(0)];
    fx::Double s = 0.0;
    for (auto k : fx::range(i)) s += x[k];
    fx::Local<double, 3> window;
    for (auto k : fx::range(3)) window[k] = x[(i + k) % x.extent(0)];
    for (auto k : fx::range(2)) window[k] = window[k + 1] * window[k];
    y[i] = v + s + window[1];
  });
  const int n = 7;
  const auto x = random_numbers(n);
  auto j = fx::sparse_jacobian(loops);
  const auto m = j(dev.upload(x), dev.zeros<double>(n));
  check_equal(m, dense_jacobian(loops, n, x, n));
  CHECK(m.row_offsets[1] == 3);  // x[0], x[1], x[2]
}

TEST_CASE("empty rows and columns cost no colour, and one dense row is swept in reverse", "[jit][sparse]") {
  const auto dev = fx::Device::best();
  auto holes = fx::kernel("holes", [](fx::In<double> x, fx::Out<double> y) {
    auto i = fx::index();
    fx::if_(i % 2 == 0, [&] { y[i] = x[i] * x[i]; }).else_([&] { y[i] = 3.0 * fx::floor(x[i]); });
  });
  const int n = 20;
  const auto x = random_numbers(n);
  auto j = fx::sparse_jacobian(holes);
  const auto m = j(dev.upload(x), dev.zeros<double>(n));
  CHECK(m.nonzeros() == n / 2);
  CHECK(j.colors() == 1);
  check_equal(m, dense_jacobian(holes, n, x, n));

  auto dense_row = fx::kernel("dense_row", [](fx::In<double> x, fx::Out<double> y, fx::Accum<double> total) {
    auto i = fx::index();
    fx::Double v = x[i] * x[i];
    y[i] = v * x[fx::max(i - 1, 0)];
    total[0] += v;
  });
  auto d = fx::sparse_jacobian(dense_row);
  auto y = dev.zeros<double>(n);
  auto total = dev.zeros<double>(1);
  const auto t = d(dev.upload(x), y, total);
  CHECK(d.reverse());
  CHECK(d.colors() == 3);
  CHECK(t.rows == n + 1);
  for (int c = 0; c < n; ++c) CHECK(t.dense()[static_cast<std::size_t>(n * n + c)] == 2 * x[static_cast<std::size_t>(c)]);
  CHECK(t.dense()[0] == Approx(3 * x[0] * x[0]));
  CHECK(t.dense()[static_cast<std::size_t>(n)] == Approx(x[1] * x[1]));

  auto nothing = fx::kernel("nothing", [](fx::In<double> x, fx::Out<double> y) { y[fx::index()] = fx::floor(x[fx::index()]); });
  auto none = fx::sparse_jacobian(nothing);
  CHECK(none(dev.upload(x), y).nonzeros() == 0);
  CHECK(none.colors() == 0);
}

TEST_CASE("the residual of a Laplacian in two dimensions takes few colours", "[jit][sparse]") {
  const auto dev = fx::Device::best();
  auto residual = fx::kernel("residual", [](fx::In<double, 2> u, fx::Double lambda, fx::Out<double, 2> r) {
    auto [i, j] = fx::index<2>();
    auto n = u.extent(0), m = u.extent(1);
    auto at = [&](const fx::Int& a, const fx::Int& b) {
      return fx::if_(a >= 0 && a < n && b >= 0 && b < m, [&] { return u(a, b); }, [&] { return 0.0; });
    };
    r(i, j) = at(i - 1, j) + at(i + 1, j) + at(i, j - 1) + at(i, j + 1) - 4.0 * u(i, j) + lambda * fx::exp(u(i, j));
  });
  const int n = 9, m = 7;
  const auto x = random_numbers(n * m);
  auto u = dev.upload(x, n, m);
  auto r = dev.zeros<double>(n, m);
  auto j = fx::sparse_jacobian(residual, fx::wrt<0>);
  const auto a = j(u, 0.3, r);
  CHECK(a.rows == n * m);
  CHECK(a.nonzeros() == 5 * n * m - 2 * n - 2 * m);
  CHECK(j.colors() <= 7);
  const auto d = a.dense();
  for (int p = 0; p < n; ++p)
    for (int q = 0; q < m; ++q)
      for (int s = 0; s < n; ++s)
        for (int t = 0; t < m; ++t) {
          const int apart = std::abs(p - s) + std::abs(q - t);
          const double expected = apart == 0 ? -4 + 0.3 * std::exp(x[static_cast<std::size_t>(p * m + q)]) : apart == 1 ? 1 : 0;
          CHECK(d[static_cast<std::size_t>((p * m + q) * n * m + s * m + t)] == Approx(expected).epsilon(1e-13));
        }
  // Newton's method with it, the scalar as a column of its own.
  auto with = fx::sparse_jacobian(residual);
  const auto b = with(u, 0.3, r);
  CHECK(b.cols == n * m + 1);
  CHECK(with.colors() == j.colors() + 1);
  CHECK(b.dense()[static_cast<std::size_t>(n * m)] == Approx(std::exp(x[0])));
  std::vector<double> ones(static_cast<std::size_t>(n * m), 1.0);
  CHECK(a.matvec(ones)[static_cast<std::size_t>(m + 1)] == Approx(0.3 * std::exp(x[static_cast<std::size_t>(m + 1)])));
  CHECK_THROWS_AS(a.matvec(random_numbers(3)), fx::ShapeError);
}

TEST_CASE("blocks of cameras and points take as many colours as a block has columns", "[jit][sparse]") {
  const auto dev = fx::Device::best();
  using D3 = fx::Vec<double, 3>;
  auto project = fx::kernel("project", [](fx::In<D3> cameras, fx::In<fx::Vec<double, 2>> points, fx::In<int> camera, fx::In<int> point,
                                          fx::Out<fx::Vec<double, 2>> r) {
    auto i = fx::index();
    fx::Double3 c = cameras[camera[i]];
    fx::Double2 p = points[point[i]];
    r[i] = fx::Double2{c.x * p.x + fx::sin(c.z), c.y * p.y * p.x - c.z};
  });
  const int cameras = 4, points = 9, n = 20;
  const auto cx = random_numbers(3 * cameras), px = random_numbers(2 * points, 2);
  std::vector<D3> c(cameras);
  std::vector<fx::Vec<double, 2>> p(points);
  for (int k = 0; k < 3 * cameras; ++k) c[static_cast<std::size_t>(k / 3)][k % 3] = cx[static_cast<std::size_t>(k)];
  for (int k = 0; k < 2 * points; ++k) p[static_cast<std::size_t>(k / 2)][k % 2] = px[static_cast<std::size_t>(k)];
  std::vector<int> camera, point;
  for (int i = 0; i < n; ++i) camera.push_back(i % cameras), point.push_back(i * 2 % points);
  auto j = fx::sparse_jacobian(project);
  const auto m = j.over(n)(dev.upload(c), dev.upload(p), dev.upload(camera), dev.upload(point), dev.zeros<fx::Vec<double, 2>>(n));
  CHECK(m.rows == 2 * n);
  CHECK(m.cols == 3 * cameras + 2 * points);
  CHECK(m.nonzeros() == n * (2 + 1 + 2 + 2));
  CHECK(j.colors() <= 5);
  std::vector<double> dense(static_cast<std::size_t>(m.rows * m.cols));
  for (int i = 0; i < n; ++i) {
    const auto at = static_cast<std::size_t>(i);
    const int a = camera[at], b = point[at];
    const D3 cam = c[static_cast<std::size_t>(a)];
    const auto pt = p[static_cast<std::size_t>(b)];
    const auto set = [&](int row, int col, double v) { dense[static_cast<std::size_t>((2 * i + row) * m.cols + col)] = v; };
    set(0, 3 * a, pt[0]), set(0, 3 * a + 2, std::cos(cam[2])), set(0, 3 * cameras + 2 * b, cam[0]);
    set(1, 3 * a + 1, pt[1] * pt[0]), set(1, 3 * a + 2, -1);
    set(1, 3 * cameras + 2 * b, cam[1] * pt[1]), set(1, 3 * cameras + 2 * b + 1, cam[1] * pt[0]);
  }
  check_equal(m, dense);
}

TEST_CASE("old contents are columns and what was written before them is not", "[jit][sparse]") {
  const auto dev = fx::Device::best();
  auto step = fx::kernel("step", [](fx::InOut<float> y, fx::In<float> x) {
    auto i = fx::index();
    for ([[maybe_unused]] auto k : fx::range(2)) y[i] = y[i] * x[i];
    y[i] += fx::select(i == 0, 0.f, x[fx::max(i - 1, 0)]);
  });
  auto j = fx::sparse_jacobian(step);
  auto y = dev.upload(std::vector<float>{2, 3, 5}), x = dev.upload(std::vector<float>{7, 11, 13});
  const fx::Csr<float> m = j(y, x);
  CHECK(m.dense() == std::vector<float>{49, 0, 0, 28, 0, 0, 0, 121, 0, 1, 66, 0, 0, 0, 169, 0, 1, 130});
  CHECK(y.host() == std::vector<float>{2, 3, 5});
  CHECK(j(y, x).values == m.values);
}

TEST_CASE("threads of a group share through the set of what they exchange", "[jit][sparse]") {
  const auto dev = fx::Device::best();
  auto smooth = fx::kernel("smooth", fx::groups(8), [](fx::In<double> x, fx::Out<double> y, fx::Out<double> sums) {
    fx::Shared<double, 8> tile;
    auto i = fx::index();
    auto t = fx::thread_index();
    tile[t] = x[i];
    fx::barrier();
    y[i] = tile[t] * tile[fx::min(t + 1, 7)];
    fx::Double s = fx::subgroup_add(x[i] * x[i]);
    sums[i] = s;
  });
  const int n = 24;
  const auto x = random_numbers(n);
  auto j = fx::sparse_jacobian(smooth);
  const auto m = j(dev.upload(x), dev.zeros<double>(n), dev.zeros<double>(n));
  CHECK(m.row_offsets[n] == n * 2 - 3);
  CHECK(m.nonzeros() == n * 2 - 3 + n * 8);
  const auto d = m.dense();
  for (std::size_t i = 0; i < n; ++i)
    for (std::size_t c = 0; c < n; ++c) {
      const bool same = i / 8 == c / 8;
      const double y = i % 8 == 7 ? (c == i ? 2 * x[i] : 0) : c == i ? x[i + 1] : c == i + 1 ? x[i] : 0;
      CHECK(d[i * n + c] == Approx(y).margin(1e-14));
      CHECK(d[(n + i) * n + c] == Approx(same ? 2 * x[c] : 0).margin(1e-14));
    }
}

TEST_CASE("a sparse Hessian of an arrowhead takes two colours", "[jit][sparse]") {
  const auto dev = fx::Device::best();
  for (const bool last : {false, true}) {
    auto arrow = fx::kernel("arrow", [=](fx::In<double> x, fx::Accum<double> e) {
      auto i = fx::index();
      fx::Int hub = last ? x.extent(0) - 1 : fx::Int(0);
      e[0] += fx::sin(x[i]) * x[hub];
    });
    const int n = 15;
    const auto x = random_numbers(n);
    auto h = fx::sparse_hessian(arrow);
    const auto m = h(dev.upload(x), dev.zeros<double>(1));
    CHECK(h.colors() == 2);
    CHECK(m.nonzeros() == 3 * n - 2);
    const auto d = m.dense();
    const std::size_t hub = last ? n - 1 : 0;
    for (std::size_t r = 0; r < n; ++r)
      for (std::size_t c = 0; c < n; ++c) {
        double expected = 0;
        if (r == c) expected = -std::sin(x[r]) * x[hub] + (r == hub ? 2 * std::cos(x[r]) : 0);
        else if (r == hub || c == hub) expected = std::cos(x[r == hub ? c : r]);
        CHECK(d[r * n + c] == Approx(expected).margin(1e-13));
      }
  }
}

TEST_CASE("sparse Hessians of chains and of sums over edges equal those by hand", "[jit][sparse]") {
  const auto dev = fx::Device::best();
  auto chain = fx::kernel("chain", [](fx::In<double> x, fx::Double k, fx::Accum<double> e) {
    auto i = fx::index();
    e[0] += 100.0 * fx::square(x[i + 1] - x[i] * x[i]) + fx::square(k - x[i]);
  });
  const int n = 30;
  const auto x = random_numbers(n);
  auto h = fx::sparse_hessian(chain, fx::wrt<0>);
  const auto m = h.over(n - 1)(dev.upload(x), 1.0, dev.zeros<double>(1));
  CHECK(m.nonzeros() == 3 * n - 2);
  CHECK(h.colors() == 3);
  const auto d = m.dense();
  for (std::size_t r = 0; r < n; ++r)
    for (std::size_t c = 0; c < n; ++c) {
      double expected = 0;
      if (r == c) expected = (r + 1 < n ? 1200 * x[r] * x[r] - 400 * x[r + 1] + 2 : 0) + (r > 0 ? 200 : 0);
      if (r + 1 == c) expected = -400 * x[r];
      if (c + 1 == r) expected = -400 * x[c];
      CHECK(d[r * n + c] == Approx(expected).epsilon(1e-11).margin(1e-11));
    }
  auto all = fx::sparse_hessian(chain);
  const auto w = all.over(n - 1)(dev.upload(x), 1.0, dev.zeros<double>(1));
  CHECK(w.cols == n + 1);
  CHECK(w.dense()[static_cast<std::size_t>(n)] == Approx(-2));
  CHECK(w.dense().back() == Approx(2 * (n - 1)));
  CHECK_THROWS_WITH(all.over(n - 1)(dev.upload(x), 1.0, dev.zeros<double>(2)), Catch::Contains("writes 2 floating point numbers"));

  auto edges = fx::kernel("edges", [](fx::In<double> x, fx::In<int> from, fx::In<int> to, fx::Accum<double> e) {
    auto i = fx::index();
    fx::Double d = x[from[i]] - x[to[i]];
    e[0] += fx::square(fx::square(d));
  });
  std::mt19937 random(3);
  auto s = fx::sparse_hessian(edges);
  for (int round = 0; round < 5; ++round) {
    std::vector<int> from, to;
    std::vector<double> expected(n * n);
    for (int k = 0; k < 40; ++k) {
      const int a = static_cast<int>(random() % n), b = static_cast<int>(random() % n);
      from.push_back(a), to.push_back(b);
      const double v = 12 * std::pow(x[static_cast<std::size_t>(a)] - x[static_cast<std::size_t>(b)], 2);
      expected[static_cast<std::size_t>(a * n + a)] += v, expected[static_cast<std::size_t>(b * n + b)] += v;
      if (a != b) expected[static_cast<std::size_t>(a * n + b)] -= v, expected[static_cast<std::size_t>(b * n + a)] -= v;
    }
    check_equal(s.over(40)(dev.upload(x), dev.upload(from), dev.upload(to), dev.zeros<double>(1)), expected);
  }
  CHECK(s.patterns() == 5);
}

TEST_CASE("programs and functions have sparse derivatives too", "[jit][sparse]") {
  const auto dev = fx::Device::best();
  auto diffuse = fx::kernel("diffuse", [](fx::In<double> u, fx::Double k, fx::Out<double> v) {
    auto i = fx::index();
    v[i] = u[i] + k * (u[fx::max(i - 1, 0)] - 2.0 * u[i] + u[fx::min(i + 1, u.extent(0) - 1)]) * u[i];
  });
  auto energy = fx::kernel("energy", [](fx::In<double> u, fx::Accum<double> e) { e[0] += fx::square(fx::square(u[fx::index()])); });
  const int n = 21;
  auto sim = fx::program("sim", [&](fx::Buffer<double> u0, fx::Double k) {
    auto a = fx::copy(u0), b = fx::zeros<double>(n);
    for ([[maybe_unused]] auto t : fx::range(2)) {
      diffuse.over(n)(a, k, b);
      fx::swap(a, b);
    }
    return a;
  });
  const auto x = random_numbers(n);
  auto u0 = dev.upload(x);
  auto j = fx::sparse_jacobian(sim, fx::wrt<0>);
  const auto m = j(u0, 0.1);
  CHECK(m.nonzeros() == 5 * n - 6);
  CHECK(j.colors() == 5);
  std::vector<double> dense(n * n);
  auto t = fx::jvp(sim);
  for (std::size_t c = 0; c < n; ++c) {
    std::vector<double> seed(n);
    seed[c] = 1;
    const auto column = std::get<1>(t(u0, 0.1, dev.upload(seed), 0.0)).host();
    for (std::size_t r = 0; r < n; ++r) dense[r * n + c] = column[r];
  }
  check_equal(m, dense);

  auto loss = fx::program("loss", [&](fx::Buffer<double> u0) {
    auto b = fx::zeros<double>(n);
    diffuse.over(n)(u0, 0.1, b);
    auto e = fx::zeros<double>(1);
    energy.over(n)(b, e);
    return e;
  });
  auto h = fx::sparse_hessian(loss);
  const auto hm = h(u0);
  CHECK(hm.rows == n);
  CHECK(hm.nonzeros() <= 5 * n - 6);
  auto hv = fx::jvp(fx::value_and_grad(loss));
  for (std::size_t c = 0; c < n; ++c) {
    std::vector<double> seed(n);
    seed[c] = 1;
    const auto column = std::get<3>(hv(u0, dev.upload(seed))).host();
    for (std::size_t r = 0; r < n; ++r) CHECK(hm.dense()[r * n + c] == Approx(column[r]).epsilon(1e-11).margin(1e-12));
  }

  using V6 = fx::Vec<fx::Double, 6>;
  auto f = fx::fn([](V6 x) {
    V6 r;
    for (int k = 0; k < 6; ++k) r[k] = x[k] * x[k == 0 ? 0 : k - 1];
    return r;
  });
  const fx::Vec<double, 6> at{1, 2, 3, 4, 5, 6};
  auto fj = fx::sparse_jacobian(f);
  const auto fm = fj(at);
  CHECK(fj.colors() == 2);
  CHECK(fm.nonzeros() == 11);
  const auto expected = fx::jacobian(f)(at);
  for (std::size_t k = 0; k < 36; ++k) CHECK(fm.dense()[k] == expected.e[k]);
  auto g = fx::fn([](V6 x) {
    fx::Double s = 0.0;
    for (int k = 0; k < 5; ++k) s += fx::square(x[k + 1] * x[k]);
    return s;
  });
  auto fh = fx::sparse_hessian(g);
  const auto hh = fh(at);
  CHECK(fh.colors() == 3);
  const auto eh = fx::hessian(g)(at);
  for (std::size_t k = 0; k < 36; ++k) CHECK(hh.dense()[k] == Approx(eh.e[k]).margin(1e-12));
}

TEST_CASE("a rule makes a function depend on all of its arguments", "[jit][sparse]") {
  const auto dev = fx::Device::best();
  auto floor = fx::rule(fx::fn([](fx::Double x) { return fx::floor(x); })).vjp([](fx::Double, fx::Double w) { return w + 0.0; });
  auto through = fx::kernel("through", [=](fx::In<double> x, fx::Out<double> y) { y[fx::index()] = floor(x[fx::index()]); });
  auto j = fx::sparse_jacobian(through);
  const auto m = j(dev.upload(random_numbers(4)), dev.zeros<double>(4));
  CHECK(m.values == std::vector<double>(4, 1.0));
}

TEST_CASE("what cannot be a sparse derivative is refused", "[jit][sparse]") {
  const auto dev = fx::Device::best();
  auto x = dev.upload(random_numbers(4));
  auto twice = fx::kernel("twice", [](fx::In<double> x, fx::InOut<double> y) { y[fx::index()] += x[fx::index()]; });
  auto j = fx::sparse_jacobian(twice);
  CHECK_THROWS_WITH(j(x, x), Catch::Contains("gets one array as"));
  CHECK_THROWS_WITH(fx::sparse_hessian(twice, fx::wrt<1>), Catch::Contains("which is inout"));
  auto outside = fx::kernel("outside", [](fx::In<double> x, fx::Out<double> y) { y[fx::index()] = x[fx::index() + 1]; });
  CHECK_THROWS_WITH(fx::sparse_jacobian(outside)(x, dev.zeros<double>(4)), Catch::Contains("outside"));
  auto p = fx::program("p", [&](fx::Buffer<double> a) { return fx::Buffer<double>(a * 2.0); });
  auto captured = fx::program("captured", [&](fx::Buffer<double> a) {
    auto s = fx::sparse_jacobian(p)(a);
    return a;
  });
  CHECK_THROWS_WITH(captured(x), Catch::Contains("on the host"));
}
