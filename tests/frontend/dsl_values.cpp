// Vectors, matrices, complex numbers, structs, functions and random numbers inside kernels.
#include <fluxion/random.h>

#include "dsl.h"

using namespace fluxion;  // NOLINT: as users do

namespace {
template <template <class> class F>
struct Particle {
  Vec<F<float>, 2> pos;
  F<double> mass;
  F<int> id;
  Mat<F<float>, 2, 2> C;
};
struct Ball {
  float2 pos;
  double r;
  int id;
};
int count(const Function& f, Opcode code) {
  int n = 0;
  for (const Region& r : f.regions)
    for (OpId o : r.ops) n += f[o].code == code;
  return n;
}
}  // namespace

TEST_CASE("vector arithmetic is componentwise", "[dsl]") {
  std::vector<float3> x = {{1, 2, 3}, {4, 5, 6}}, y(2);
  run_over(
      2,
      [](In<float3> x, Out<float3> y) {
        auto i = fx::index();
        Float3 v = x[i];
        v = 2 * v + float3(1, 0, 0) - v / 2.f * Float3(Float(i), 1, 1);
        v.z += dot(v, x[i]);
        y[i] = v;
      },
      x, y);
  for (int i = 0; i < 2; ++i) {
    const float3 v = x[i];
    float3 e(2 * v.x + 1 - v.x / 2 * static_cast<float>(i), 2 * v.y - v.y / 2, 2 * v.z - v.z / 2);
    e.z += e.x * v.x + e.y * v.y + e.z * v.z;
    CHECK(y[i] == e);
  }
}
TEST_CASE("a component of a vector in memory can be updated alone", "[dsl]") {
  std::vector<float2> y = {{1, 2}, {3, 4}};
  run_over(
      2,
      [](InOut<float2> y) {
        auto i = fx::index();
        y[i].x += 10;
        y[i][1] = y[i].x * 2;
        y[i] *= 0.5f;
      },
      y);
  CHECK(y[0] == float2(5.5f, 11));
  CHECK(y[1] == float2(6.5f, 13));
}
TEST_CASE("vectors are carried by loops and chosen by if and select", "[dsl]") {
  std::vector<float2> y = {{1, 2}, {3, 4}};
  run_over(
      2,
      [](InOut<float2> y) {
        auto i = fx::index();
        Float2 a = y[i], b(0, 1);
        for (auto k : fx::range(3)) {
          std::swap(a, b);
          a.x += Float(k);
        }
        a = if_(i == 0, [&] { return a; }, [&] { return b; });
        y[i] = select(i == 0, a, -a);
      },
      y);
  CHECK(y[0] == float2(2, 1));    // b swapped in three times: (0, 1) + 0 + 2
  CHECK(y[1] == float2(-4, -4));  // (3, 4) + 1
}
TEST_CASE("length is safe at zero and normalize gives zero", "[dsl]") {
  std::vector<float2> x = {{0, 0}, {3, 4}}, y(2);
  run_over(
      2,
      [](In<float2> x, Out<float2> y) {
        auto i = fx::index();
        y[i] = normalize(x[i]) * length(x[i]);
      },
      x, y);
  CHECK(y[0] == float2(0, 0));
  CHECK(y[1].x == Approx(3));
  CHECK(y[1].y == Approx(4));
}
TEST_CASE("the cross product is orthogonal to its factors", "[dsl]") {
  std::vector<float3> x = {{1, 2, 3}, {-4, 5, 0.5f}}, y(2);
  run_over(
      1,
      [](In<float3> x, Out<float3> y) {
        Float3 c = cross(x[0], x[1]);
        y[0] = {dot(c, x[0]), dot(c, x[1]), c.z};
      },
      x, y);
  CHECK(y[0] == float3(0, 0, 13));
}
TEST_CASE("a matrix times its inverse is the identity", "[dsl]") {
  std::vector<double2x2> a = {{{2, 1, -3, 4}}}, b(1);
  std::vector<double3x3> c = {{{2, 1, 0, -3, 4, 1, 0.5, 2, 7}}}, d(1);
  run_over(
      1,
      [](In<double2x2> a, Out<double2x2> b, In<double3x3> c, Out<double3x3> d) {
        Mat2d m = a[0];
        b[0] = m * inverse(m);
        Mat3d n = c[0];
        d[0] = inverse(n) * n;
      },
      a, b, c, d);
  for (int k = 0; k < 4; ++k) CHECK(b[0].e[k] == Approx(k % 3 == 0).margin(1e-12));
  for (int k = 0; k < 9; ++k) CHECK(d[0].e[k] == Approx(k % 4 == 0).margin(1e-12));
}
TEST_CASE("matrix products follow the rows and columns", "[dsl]") {
  std::vector<float2x2> a = {{{1, 2, 3, 4}}}, r(3);
  std::vector<float2> v = {{5, 6}}, w(1);
  run_over(
      1,
      [](In<float2x2> a, In<float2> v, Out<float2x2> r, Out<float2> w) {
        Mat2 m = a[0];
        w[0] = m * v[0];
        r[0] = m * transpose(m);
        r[1] = outer(v[0], m.row(1)) + Mat2::identity() * det(m);
        r[2] = m;
        r[2](0, 1) = trace(m) + norm2(m);
      },
      a, v, r, w);
  CHECK(w[0] == float2(17, 39));
  CHECK(r[0] == float2x2{{5, 11, 11, 25}});
  CHECK(r[1] == float2x2{{13, 20, 18, 22}});
  CHECK(r[2] == float2x2{{1, 35, 3, 4}});
}
TEST_CASE("the polar decomposition gives a rotation and a symmetric factor", "[dsl]") {
  std::vector<double2x2> a = {{{2, 1, -0.5, 1.5}}}, r(2);
  run_over(
      1,
      [](In<double2x2> a, Out<double2x2> r) {
        auto [rotation, symmetric] = polar(a[0]);
        r[0] = rotation * transpose(rotation);
        r[1] = symmetric;
      },
      a, r);
  for (int k = 0; k < 4; ++k) CHECK(r[0].e[k] == Approx(k % 3 == 0).margin(1e-12));
  CHECK(r[1].e[1] == Approx(r[1].e[2]));
}
TEST_CASE("complex arithmetic agrees with std complex", "[dsl]") {
  std::vector<Complex<float>> z = {{1, 2}, {-0.5f, 3}}, w(4);
  run_over(
      1,
      [](In<Complex<float>> z, InOut<Complex<float>> w) {
        Complex<Float> a = z[0], b = z[1];
        w[0] = a * b - 1;
        w[1] = a / b;
        w[2] = exp(a) * conj(b);
        w[2] = w[2];
        w[3].re = abs(a);
      },
      z, w);
  CHECK(w[0].re == Approx(-7.5));
  CHECK(w[0].im == Approx(2));
  CHECK(w[1].re == Approx(5.5 / 9.25));
  CHECK(w[1].im == Approx(-4 / 9.25));
  CHECK(w[2].re == Approx(std::exp(1) * (std::cos(2) * -0.5 + std::sin(2) * 3)));
  CHECK(w[3].re == Approx(std::sqrt(5)));
}
TEST_CASE("structs are loaded and stored by leaves where C puts them", "[dsl]") {
  using P = Particle<Host>;
  std::vector<P> p(2);
  for (int i = 0; i < 2; ++i) p[i] = {{1.f + i, 2.f}, 3.0 + i, 7 * i, {{1, 2, 3, 4}}};
  run_over(
      2,
      [](InOut<P> p) {
        auto i = fx::index();
        Particle<Var> q = p[i];
        q.pos.x += 10;
        q.C(0, 1) = 0;
        p[i] = q;
        p[i].mass *= 2;
        p[i].id += 1;
        p[i].pos = p[i].pos * 2;
      },
      p);
  CHECK(p[1].pos == float2(24, 4));
  CHECK(p[1].mass == 8);
  CHECK(p[1].id == 8);
  CHECK(p[1].C == float2x2{{1, 0, 3, 4}});
}
TEST_CASE("only the leaves that are used are loaded", "[dsl]") {
  const auto f = detail::capture_kernel(
      "leaves",
      [](In<Particle<Host>> p, Out<float> y) {
        auto i = fx::index();
        y[i] = p[i].pos.y;
      },
      Loc::here());
  CHECK(count(*f, Opcode::load) == 1);
  for (const Op& op : f->ops)
    if (op.code == Opcode::load) CHECK(op.leaf == 1);
}
TEST_CASE("plain structs come apart in structured bindings", "[dsl]") {
  std::vector<Ball> b = {{{1, 2}, 3, 4}, {{5, 6}, 7, 8}};
  run_over(
      2,
      [](InOut<Ball> b) {
        auto i = fx::index();
        auto [pos, r, id] = b[i];
        pos.y += 1;
        r = r * 2;
        b[i] = tuple(pos, r, id + 1);
      },
      b);
  CHECK(b[1].pos == float2(5, 7));
  CHECK(b[1].r == 14);
  CHECK(b[1].id == 9);
}
TEST_CASE("functions take and give vectors matrices and tuples", "[dsl]") {
  auto f = fx::fn([](Mat2 m, Float2 v) { return m * v + det(m); });
  CHECK(f(float2x2{{1, 2, 3, 4}}, float2(5, 6)) == float2(15, 37));
  auto g = fx::fn([&](Float2 v) { return tuple(f(Mat2::identity(), v), v.x); });
  const auto [w, x] = g(float2(1, 2));
  CHECK(w == float2(2, 3));
  CHECK(x == 1);
  std::vector<float2> y = {{1, 2}};
  run_over(
      1,
      [&](InOut<float2> y) {
        auto [w, x] = g(y[0]);
        y[0] = w * x;
      },
      y);
  CHECK(y[0] == float2(2, 3));
}
TEST_CASE("arrays over two axes are indexed slowest axis first", "[dsl]") {
  std::vector<int> y(6), z(6);
  const auto f = detail::capture_kernel(
      "grid",
      [](Out<int, 2> y, Out<int, 2> z) {
        auto [i, j] = fx::index<2>();
        y(i, j) = i * 10 + j;
        z(i, j) = y.extent(1) * 100 + fx::domain(0);
      },
      Loc::here());
  CHECK(f->domain_rank == 2);
  const EvalMemory m[] = {{reinterpret_cast<std::byte*>(y.data()), {2, 3, 1}}, {reinterpret_cast<std::byte*>(z.data()), {2, 3, 1}}};
  evaluate_kernel(*f, {2, 3, 1}, m, {});
  CHECK(y == std::vector<int>{0, 1, 2, 10, 11, 12});
  CHECK(z[0] == 302);
}
TEST_CASE("a vector of indices is a point of an array", "[dsl]") {
  std::vector<int> y(6);
  const auto f = detail::capture_kernel(
      "grid",
      [](InOut<int, 2> y) {
        const Int2 p = fx::index<2>();
        y[p] = p.x * 10 + p.y;
        y[p] += 1;
      },
      Loc::here());
  const EvalMemory m[] = {{reinterpret_cast<std::byte*>(y.data()), {2, 3, 1}}};
  evaluate_kernel(*f, {2, 3, 1}, m, {});
  CHECK(y == std::vector<int>{1, 2, 3, 11, 12, 13});
}
TEST_CASE("functions may loop and use local arrays", "[dsl]") {
  auto f = fx::fn([](Float x, Int n) {
    Local<float, 4> t;
    for (auto i : fx::range(4)) t[i] = x * Float(i);
    Float s = 0;
    for (auto i : fx::range(n)) {
      fx::break_if(i >= 4);
      s += t[i];
    }
    return s;
  });
  CHECK(f(2.f, 3) == 6);
  std::vector<float> y = {1, 2, 3};
  run_over(
      3,
      [&](InOut<float> y) {
        auto i = fx::index();
        for (auto k : fx::range(2)) y[i] = f(y[i], i + k + 1);
      },
      y);
  CHECK(y == std::vector<float>{0, 2 * 3, 9 * 6});
}
TEST_CASE("an accumulated vector sums over all threads", "[dsl]") {
  std::vector<float2> x = {{1, 2}, {3, 4}, {5, 6}}, e(1);
  run_over(3, [](In<float2> x, Accum<float2> e) { e[0] += x[fx::index()] * 2.f; }, x, e);
  CHECK(e[0] == float2(18, 24));
}
TEST_CASE("functions of scalars agree with the host", "[dsl]") {
  auto f = fx::fn([](Double x) {
    return fx::clamp(x, 0, 2) + fx::lerp(x, 3.0, 0.25) + fx::step(1.0, x) + fx::square(x) + fx::pow(x, 3) + fx::pow(x, -2) +
           fx::fma(x, 2, 1) + fx::min(x, 1) + fx::sign(x) + fx::pow(fx::abs(x), 0.5);
  });
  for (double x : {-1.5, 0.5, 3.0}) {
    const double expected = std::min(std::max(x, 0.0), 2.0) + (x + 0.25 * (3 - x)) + (x < 1 ? 0 : 1) + x * x + x * x * x + 1 / (x * x) +
                            (x * 2 + 1) + std::min(x, 1.0) + (x > 0 ? 1 : -1) + std::sqrt(std::abs(x));
    CHECK(f(x) == Approx(expected).epsilon(1e-14));
  }
}
TEST_CASE("philox gives the known answers of Random123", "[dsl]") {
  auto f = fx::fn([](UInt4 c, UInt2 k) { return philox(c, k); });
  CHECK(f(uint4(0u, 0u, 0u, 0u), uint2(0u, 0u)) == uint4(0x6627e8d5u, 0xe169c58du, 0xbc57ac4cu, 0x9b00dbd8u));
  const auto all = 0xffffffffu;
  CHECK(f(uint4(all, all, all, all), uint2(all, all)) == uint4(0x408f276du, 0x41c83b0eu, 0xa20bc7c6u, 0x6d5451fdu));
  CHECK(f(uint4(0x243f6a88u, 0x85a308d3u, 0x13198a2eu, 0x03707344u), uint2(0xa4093822u, 0x299f31d0u)) ==
        uint4(0xd16cfe09u, 0x94fdccebu, 0x5001e420u, 0x24126ea1u));
}
TEST_CASE("uniform and normal numbers have their moments", "[dsl]") {
  constexpr int n = 20000;
  std::vector<float> u(n), g(n);
  run_over(
      n,
      [](Out<float> u, Out<float> g) {
        auto i = fx::index();
        u[i] = random::uniform(42, i);
        g[i] = random::normal(7, i, 3);
      },
      u, g);
  double mean = 0, var = 0, gmean = 0, gvar = 0;
  for (int i = 0; i < n; ++i) {
    REQUIRE(u[i] >= 0.f);
    REQUIRE(u[i] < 1.f);
    mean += u[i] / n, var += (u[i] - 0.5) * (u[i] - 0.5) / n, gmean += g[i] / n, gvar += g[i] * g[i] / n;
  }
  CHECK(mean == Approx(0.5).margin(0.01));  // five standard errors
  CHECK(var == Approx(1 / 12.).margin(0.003));
  CHECK(gmean == Approx(0).margin(0.036));
  CHECK(gvar == Approx(1).margin(0.05));
}
TEST_CASE("half precision values are updated by integers and floats", "[dsl]") {
  std::vector<int> n = {3, -2};
  std::vector<float> y(2);
  run_over(
      2,
      [](fx::In<int> n, fx::InOut<float> y) {
        auto i = fx::index();
        fx::Half h = 1.5f;
        fx::BFloat b = 8.f;
        h += n[i];
        h *= fx::Float(0.5f);
        b -= fx::Int(n[i]);
        b /= fx::Half(2.f);
        y[i] = h + b;
      },
      n, y);
  CHECK(y == std::vector<float>{4.75f, 4.75f});
}

TEST_CASE("print and check reach the host", "[dsl]") {
  std::vector<int> x = {3, -1};
  const auto f = detail::capture_kernel(
      "talk",
      [](In<int> x) {
        auto i = fx::index();
        fx::print("x[{}] = {}", i, x[i]);
        fx::check(x[i] > 0, "x[{}] must be positive", i);
      },
      Loc::here());
  std::string lines;
  EvalOptions options;
  options.print = [&](std::string_view line) { lines += std::string(line) + "|"; };
  const EvalMemory m[] = {{reinterpret_cast<std::byte*>(x.data()), {2, 1, 1}}};
  CHECK_THROWS_WITH(evaluate_kernel(*f, {2, 1, 1}, m, {}, options), Catch::Contains("x[1] must be positive"));
  CHECK(lines.substr(0, 9) == "x[0] = 3|");
}
