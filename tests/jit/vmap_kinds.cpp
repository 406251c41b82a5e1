// vmap for all kinds of data: complex numbers, halves, structs, whole numbers with atomics; groups, empty batches, several tangents;
// and errors inside of a batch.
#include <catch2/catch.hpp>

#include <cmath>

#include "fluxion/fluxion.h"

namespace fx = fluxion;

namespace {

template <template <class> class F>
struct Body {
  fx::Vec<F<double>, 2> position;
  F<float> charge;
  F<int> kind;
};
using HostBody = Body<fx::Host>;

const std::vector<fx::Device>& devices() {
  static const std::vector<fx::Device> all{fx::Device::best(), fx::Device::reference()};
  return all;
}
double value(int i) { return std::sin(1.7 * i + 0.3) + 1.2; }
std::vector<double> values(int n, int from = 0) {
  std::vector<double> out;
  for (int i = 0; i < n; ++i) out.push_back(value(from + i));
  return out;
}
using Z = fx::Complex<double>;
std::vector<Z> complexes(int n, int from = 0) {
  std::vector<Z> out;
  for (int i = 0; i < n; ++i) out.push_back({value(from + 2 * i), value(from + 2 * i + 1) - 1});
  return out;
}
template <class T> std::vector<T> part(const std::vector<T>& all, int b, int n) { return {all.begin() + b * n, all.begin() + (b + 1) * n}; }

}  // namespace

TEST_CASE("a batch of complex numbers by array and by value is the kernels one by one", "[jit][vmap]") {
  auto k = fx::kernel("turn", [](fx::In<Z> x, fx::Complex<fx::Double> w, fx::InOut<Z> y) {
    auto i = fx::index();
    fx::Complex<fx::Double> here = x[i], old = y[i];
    y[i] = here * w + old * old;
  });
  for (const auto& dev : devices()) {
    const auto x = complexes(15), y = complexes(15, 100), w = complexes(3, 50), c = complexes(15, 70);
    auto many = fx::vmap(k);
    auto ys = dev.upload(y, 3, 5);
    many(dev.upload(x, 3, 5), dev.upload(w), ys);
    auto slopes = fx::vmap(fx::vjp(k));
    auto cs = dev.upload(c, 3, 5), gx = dev.zeros<Z>(3, 5);
    auto gre = dev.zeros<double>(3, 1), gim = dev.zeros<double>(3, 1);
    slopes.over(3, 5)(dev.upload(x, 3, 5), dev.upload(w), dev.upload(y, 3, 5), cs, gx, gre, gim);
    for (int b = 0; b < 3; ++b) {
      auto one = dev.upload(part(y, b, 5)), oc = dev.upload(part(c, b, 5)), ox = dev.zeros<Z>(5);
      auto ore = dev.zeros<double>(1), oim = dev.zeros<double>(1);
      k(dev.upload(part(x, b, 5)), w[static_cast<std::size_t>(b)], one);
      fx::vjp(k).over(5)(dev.upload(part(x, b, 5)), w[static_cast<std::size_t>(b)], dev.upload(part(y, b, 5)), oc, ox, ore, oim);
      for (int i = 0; i < 5; ++i) {
        const auto at = static_cast<std::size_t>(5 * b + i), u = static_cast<std::size_t>(i);
        CHECK(ys.host()[at].re == Approx(one.host()[u].re));
        CHECK(ys.host()[at].im == Approx(one.host()[u].im));
        CHECK(gx.host()[at].re == Approx(ox.host()[u].re));
        CHECK(gx.host()[at].im == Approx(ox.host()[u].im));
        CHECK(cs.host()[at].im == Approx(oc.host()[u].im));
      }
      CHECK(gre.host()[static_cast<std::size_t>(b)] == Approx(ore.item()));
      CHECK(gim.host()[static_cast<std::size_t>(b)] == Approx(oim.item()));
    }
  }
}

TEST_CASE("a batch of half precision numbers by array and by value is the kernels one by one", "[jit][vmap]") {
  auto k = fx::kernel("halves", [](fx::In<fx::half> x, fx::Half a, fx::InOut<fx::bfloat16> y, fx::Accum<float> e) {
    auto i = fx::index();
    y[i] = x[i] * a + y[i];
    e[0] += x[i] * x[i] * a;
  });
  for (const auto& dev : devices()) {
    std::vector<fx::half> x, a{fx::half(0.5f), fx::half(3.f)};
    std::vector<fx::bfloat16> y;
    for (int i = 0; i < 8; ++i) x.emplace_back(0.25f * static_cast<float>(i)), y.emplace_back(static_cast<float>(i));
    auto ys = dev.upload(y, 2, 4);
    auto es = dev.zeros<float>(2, 1);
    fx::vmap(k)(dev.upload(x, 2, 4), dev.upload(a), ys, es);
    auto gx = dev.zeros<float>(2, 4), ga = dev.zeros<float>(2, 1), cy = dev.full<float>(1, 2, 4);
    fx::vmap(fx::vjp(k)).over(2, 4)(dev.upload(x, 2, 4), dev.upload(a), dev.upload(y, 2, 4), cy, dev.full<float>(1, 2, 1), gx, ga);
    for (int b = 0; b < 2; ++b) {
      auto one = dev.upload(part(y, b, 4));
      auto e = dev.zeros<float>(1), ox = dev.zeros<float>(4), oa = dev.zeros<float>(1), oc = dev.full<float>(1, 4);
      k(dev.upload(part(x, b, 4)), a[static_cast<std::size_t>(b)], one, e);
      fx::vjp(k).over(4)(dev.upload(part(x, b, 4)), a[static_cast<std::size_t>(b)], dev.upload(part(y, b, 4)), oc, dev.full<float>(1, 1),
                         ox, oa);
      for (int i = 0; i < 4; ++i) {
        CHECK(ys.host()[static_cast<std::size_t>(4 * b + i)].bits == one.host()[static_cast<std::size_t>(i)].bits);
        CHECK(gx.host()[static_cast<std::size_t>(4 * b + i)] == ox.host()[static_cast<std::size_t>(i)]);
      }
      CHECK(es.host()[static_cast<std::size_t>(b)] == e.item());
      CHECK(ga.host()[static_cast<std::size_t>(b)] == oa.item());
    }
  }
}

TEST_CASE("a batch of structs by array and by value is the kernels one by one", "[jit][vmap]") {
  auto k = fx::kernel("bodies", [](fx::InOut<HostBody> x, Body<fx::Var> pull, fx::Accum<int> kinds) {
    auto i = fx::index();
    Body<fx::Var> me = x[i];
    me.position += pull.position * fx::cast<double>(me.charge * pull.charge);
    me.kind = me.kind + pull.kind;
    x[i] = me;
    kinds[0] += me.kind;
  });
  for (const auto& dev : devices()) {
    std::vector<HostBody> x, pull;
    for (int i = 0; i < 6; ++i) x.push_back({{value(i), value(i + 9)}, static_cast<float>(i), i});
    for (int i = 0; i < 2; ++i) pull.push_back({{value(i + 30), 1}, 0.5f, 10 * i});
    auto xs = dev.upload(x, 2, 3);
    auto kinds = dev.zeros<int>(2, 1);
    fx::vmap(k)(xs, dev.upload(pull), kinds);
    for (int b = 0; b < 2; ++b) {
      auto one = dev.upload(part(x, b, 3));
      auto kind = dev.zeros<int>(1);
      k(one, pull[static_cast<std::size_t>(b)], kind);
      for (int i = 0; i < 3; ++i) {
        const HostBody p = xs.host()[static_cast<std::size_t>(3 * b + i)], q = one.host()[static_cast<std::size_t>(i)];
        CHECK(p.position[0] == Approx(q.position[0]));
        CHECK(p.position[1] == Approx(q.position[1]));
        CHECK(p.kind == q.kind);
      }
      CHECK(kinds.host()[static_cast<std::size_t>(b)] == kind.item());
    }
  }
}

TEST_CASE("groups over two axes with subgroups and atomics are batched and so is their derivative", "[jit][vmap]") {
  auto k = fx::kernel("tiles", fx::groups(2, 4), [](fx::In<double, 2> x, fx::Out<double, 2> y, fx::InOut<int> count) {
    fx::Shared<double, 8> tile;
    auto [s, t] = fx::thread_index<2>();
    auto [i, j] = fx::index<2>();
    tile[s * 4 + t] = x(i, j) * x(i, j);
    fx::barrier();
    y(i, j) = tile[(1 - s) * 4 + (3 - t)] + fx::subgroup_add(x(i, j)) * fx::cast<double>(fx::group_index<2>()[1] + 1);
    count[fx::cast<int>(x(i, j)) % 3].atomic_add(1);
  });
  for (const auto& dev : devices()) {
    const auto x = values(2 * 4 * 8), c = values(2 * 4 * 8, 200);
    auto bx = dev.upload(x, 2, 4, 8), by = dev.zeros<double>(2, 4, 8);
    auto bn = dev.zeros<int>(2, 3);
    fx::vmap(k)(bx, by, bn);
    for (int b = 0; b < 2; ++b) {
      auto y = dev.zeros<double>(4, 8);
      auto n = dev.zeros<int>(3);
      k(dev.upload(part(x, b, 32), 4, 8), y, n);
      for (int i = 0; i < 32; ++i) CHECK(by.host()[static_cast<std::size_t>(32 * b + i)] == Approx(y.host()[static_cast<std::size_t>(i)]));
      CHECK(part(bn.host(), b, 3) == n.host());
    }
    auto smooth = fx::kernel("smooth", fx::groups(2, 4), [](fx::In<double, 2> x, fx::Out<double, 2> y) {
      fx::Shared<double, 8> tile;
      auto [s, t] = fx::thread_index<2>();
      auto [i, j] = fx::index<2>();
      tile[s * 4 + t] = x(i, j) * x(i, j);
      fx::barrier();
      y(i, j) = tile[(1 - s) * 4 + (3 - t)] * x(i, j);
    });
    auto inside = dev.zeros<double>(2, 4, 8), outside = dev.zeros<double>(2, 4, 8);
    auto bc = dev.upload(c, 2, 4, 8);
    fx::vmap(fx::vjp(smooth)).over(2, 4, 8)(bx, bc, inside);
    fx::vjp(fx::vmap(smooth)).over(2, 4, 8)(bx, bc, outside);
    for (int b = 0; b < 2; ++b) {
      auto g = dev.zeros<double>(4, 8);
      fx::vjp(smooth).over(4, 8)(dev.upload(part(x, b, 32), 4, 8), dev.upload(part(c, b, 32), 4, 8), g);
      for (int i = 0; i < 32; ++i) {
        CHECK(inside.host()[static_cast<std::size_t>(32 * b + i)] == Approx(g.host()[static_cast<std::size_t>(i)]));
        CHECK(outside.host()[static_cast<std::size_t>(32 * b + i)] == Approx(g.host()[static_cast<std::size_t>(i)]));
      }
    }
  }
  auto cube = fx::kernel("cube", fx::groups(2, 2, 2), [](fx::Accum<double> e, fx::Double a) {
    auto [i, j, l] = fx::index<3>();
    e[i + j + l] += a;
  });
  CHECK_THROWS_WITH(fx::vmap(cube), Catch::Contains("three axes already"));
  // The launch is still a multiple of the groups.
  auto bad = fx::kernel("bad", fx::groups(4), [](fx::Out<double> y) { y[fx::index()] = 1.0; });
  CHECK_THROWS_AS(fx::vmap(bad)(fx::Device::best().zeros<double>(2, 6)), fx::ShapeError);
}

TEST_CASE("a batch of a batch and several tangents of a batch and a batch of several tangents", "[jit][vmap]") {
  auto k = fx::kernel("k", [](fx::In<double> x, fx::Double a, fx::Out<double> y) { y[fx::index()] = fx::sin(x[fx::index()] * a); });
  for (const auto& dev : devices()) {
    const auto x = values(2 * 3 * 4), a = values(6, 40), dx = values(2 * 12, 60);
    auto y = dev.zeros<double>(2, 3, 4);
    fx::vmap(fx::vmap(k))(dev.upload(x, 2, 3, 4), dev.upload(a, 2, 3), y);
    for (int i = 0; i < 24; ++i)
      CHECK(y.host()[static_cast<std::size_t>(i)] == Approx(std::sin(x[static_cast<std::size_t>(i)] * a[static_cast<std::size_t>(i / 4)])));
    // Two tangents of a batch of three.
    auto by = dev.zeros<double>(3, 4), zeros = dev.zeros<double>(2, 3);
    auto bt = dev.zeros<double>(2, 3, 4);
    auto bx = dev.upload(part(x, 0, 12), 3, 4);
    auto ba = dev.upload(part(a, 0, 3));
    fx::jvp<2>(fx::vmap(k)).over(3, 4)(bx, ba, by, dev.upload(dx, 2, 3, 4), zeros, bt);
    for (int t = 0; t < 2; ++t)
      for (int i = 0; i < 12; ++i) {
        const auto u = static_cast<std::size_t>(i);
        const double slope = std::cos(x[u] * a[u / 4]) * a[u / 4];
        CHECK(bt.host()[static_cast<std::size_t>(12 * t + i)] == Approx(slope * dx[static_cast<std::size_t>(12 * t + i)]));
      }
    // A batch of three with two tangents each: the batch comes first.
    auto mt = dev.zeros<double>(3, 2, 4);
    fx::vmap(fx::jvp<2>(k), fx::unbatched<4>).over(3, 4)(bx, ba, by, dev.upload(dx, 3, 2, 4), fx::Vec<double, 2>{0, 0}, mt);
    for (int b = 0; b < 3; ++b)
      for (int t = 0; t < 2; ++t)
        for (int i = 0; i < 4; ++i) {
          const auto u = static_cast<std::size_t>(4 * b + i), v = static_cast<std::size_t>(8 * b + 4 * t + i);
          CHECK(mt.host()[v] == Approx(std::cos(x[u] * a[static_cast<std::size_t>(b)]) * a[static_cast<std::size_t>(b)] * dx[v]));
        }
  }
}

TEST_CASE("an empty batch does nothing and an error in a batch has the line of the kernel", "[jit][vmap]") {
  std::uint32_t line = 0;
  auto k = fx::kernel("k", [&](fx::In<double> x, fx::Out<double> y) {
    auto i = fx::index();
    line = __LINE__ + 1;
    fx::check(x[i] > 0.0, "{} is not positive", x[i]);
    y[i] = fx::log(x[i]);
  });
  for (const auto& dev : devices()) {
    auto none = dev.zeros<double>(0, 4);
    CHECK_NOTHROW(fx::vmap(k)(none, dev.zeros<double>(0, 4)));
    auto y = dev.zeros<double>(2, 2);
    fx::vmap(k)(dev.upload<double>({1, 2, 3, -4}, 2, 2), y);
    try {
      (void)y.host();
      FAIL("nothing was thrown");
    } catch (const fx::KernelError& e) {
      CHECK_THAT(e.what(), Catch::Contains("-4 is not positive"));
      CHECK(e.where().line == line);
    }
  }
}

TEST_CASE("a batch of programs on halves and complex numbers is the programs one by one", "[jit][vmap]") {
  const auto dev = fx::Device::best();
  auto turn = fx::kernel("turn", [](fx::InOut<Z> z, fx::In<fx::half> h, fx::Double a) {
    auto i = fx::index();
    fx::Complex<fx::Double> here = z[i];
    z[i] = here * here * fx::cast<double>(h[i]) + a;
  });
  auto size = fx::kernel("size", [](fx::In<Z> z, fx::Accum<double> e) {
    fx::Complex<fx::Double> here = z[fx::index()];
    e[0] += here.re * here.re + here.im * here.im;
  });
  auto p = fx::program("p", [&](fx::Buffer<Z> z0, fx::Buffer<fx::half> h, fx::Double a) {
    auto z = fx::copy(z0);
    for ([[maybe_unused]] auto t : fx::range(3)) turn.over(4)(z, h, a);
    auto e = fx::zeros<double>(1);
    size.over(4)(z, e);
    return e;
  });
  std::vector<fx::half> h;
  for (int i = 0; i < 8; ++i) h.emplace_back(0.125f * static_cast<float>(i));
  const auto z = complexes(8);
  const std::vector<double> a{0.25, -0.5};
  const auto [e, gz, gh, ga] = fx::vmap(fx::value_and_grad(p))(dev.upload(z, 2, 4), dev.upload(h, 2, 4), dev.upload(a));
  for (int b = 0; b < 2; ++b) {
    const auto [oe, oz, oh, oa] =
        fx::value_and_grad(p)(dev.upload(part(z, b, 4)), dev.upload(part(h, b, 4)), a[static_cast<std::size_t>(b)]);
    CHECK(e.host()[static_cast<std::size_t>(b)] == Approx(oe.item()));
    CHECK(ga.host()[static_cast<std::size_t>(b)] == Approx(oa.item()));
    for (int i = 0; i < 4; ++i) {
      CHECK(gz.host()[static_cast<std::size_t>(4 * b + i)].im == Approx(oz.host()[static_cast<std::size_t>(i)].im));
      CHECK(gh.host()[static_cast<std::size_t>(4 * b + i)] == Approx(oh.host()[static_cast<std::size_t>(i)]));
    }
  }
}
