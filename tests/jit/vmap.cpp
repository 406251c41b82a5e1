// vmap against a loop over single calls: kernels, functions and programs, before and after differentiation.
#include <catch2/catch.hpp>

#include <cmath>
#include <random>

#include "fluxion/fluxion.h"
#include "inputs.h"

namespace fx = fluxion;
using fluxion::testing::random_numbers;

namespace {

std::vector<double> part(const std::vector<double>& all, std::size_t b, std::size_t n) {
  return {all.begin() + static_cast<std::ptrdiff_t>(b * n), all.begin() + static_cast<std::ptrdiff_t>((b + 1) * n)};
}
void check_close(const std::vector<double>& a, const std::vector<double>& b) {
  REQUIRE(a.size() == b.size());
  for (std::size_t k = 0; k < a.size(); ++k) CHECK(a[k] == Approx(b[k]).epsilon(1e-13).margin(1e-14));
}

constexpr int kBatch = 5, kN = 6;
const auto mix = fx::kernel("mix", [](fx::In<double> x, fx::In<double> w, fx::Double a, fx::InOut<double> y, fx::Accum<double> total) {
  auto i = fx::index();
  auto n = x.extent(0);
  fx::Local<double, 2> pair;
  pair[0] = x[i];
  pair[1] = x[(i + 1) % n];
  fx::Double v = 0.0;
  for (auto k : fx::range(2)) v += pair[k] * w[i] * (k + 1);
  fx::if_(v > 2.0, [&] { v = fx::sin(v) * a; });
  y[i] = y[i] * v;
  total[0] += v * a;
});

}  // namespace

TEST_CASE("a batch of kernels is the kernels one by one", "[jit][vmap]") {
  for (const auto& dev : {fx::Device::best(), fx::Device::reference()}) {
    const auto x = random_numbers(kBatch * kN), w = random_numbers(kN, 2), a = random_numbers(kBatch, 3),
               y = random_numbers(kBatch * kN, 4);
    auto many = fx::vmap(mix, fx::unbatched<1>);
    auto my = dev.upload(y, kBatch, kN), mt = dev.zeros<double>(kBatch, 1);
    auto dw = dev.upload(w);
    many.over(kBatch, kN)(dev.upload(x, kBatch, kN), dw, dev.upload(a), my, mt);
    std::vector<double> ys, ts;
    for (std::size_t b = 0; b < kBatch; ++b) {
      auto sy = dev.upload(part(y, b, kN)), st = dev.zeros<double>(1);
      mix(dev.upload(part(x, b, kN)), dw, a[b], sy, st);
      for (const double v : sy.host()) ys.push_back(v);
      ts.push_back(st.item());
    }
    check_close(my.host(), ys);
    check_close(mt.host(), ts);
    // The implicit domain, and a shared sum.
    auto summed = fx::vmap(mix, fx::unbatched<1, 4>);
    auto again = dev.upload(y, kBatch, kN);
    auto total = dev.zeros<double>(1);
    summed(dev.upload(x, kBatch, kN), dw, dev.upload(a), again, total);
    check_close(again.host(), ys);
    double sum = 0;
    for (const double t : ts) sum += t;
    CHECK(total.item() == Approx(sum));
  }
}

TEST_CASE("vmap of a derivative is a batch of derivatives and the derivative of a vmap sums over what is shared", "[jit][vmap]") {
  for (const auto& dev : {fx::Device::best(), fx::Device::reference()}) {
    const auto x = random_numbers(kBatch * kN), w = random_numbers(kN, 2), a = random_numbers(kBatch, 3),
               y = random_numbers(kBatch * kN, 4), cy = random_numbers(kBatch * kN, 5), ct = random_numbers(kBatch, 6);
    auto dw = dev.upload(w);
    auto single = fx::vjp(mix);
    std::vector<double> gx, gw, gw_sum(kN), ga, gy;
    for (std::size_t b = 0; b < kBatch; ++b) {
      auto c = dev.upload(part(cy, b, kN)), x_ = dev.zeros<double>(kN), w_ = dev.zeros<double>(kN), a_ = dev.zeros<double>(1);
      single.over(kN)(dev.upload(part(x, b, kN)), dw, a[b], dev.upload(part(y, b, kN)), c, dev.upload(part(ct, b, 1)), x_, w_, a_);
      for (const double v : x_.host()) gx.push_back(v);
      for (const double v : c.host()) gy.push_back(v);
      const auto g = w_.host();
      for (std::size_t k = 0; k < kN; ++k) gw_sum[k] += g[k], gw.push_back(g[k]);
      ga.push_back(a_.item());
    }
    auto bx = dev.upload(x, kBatch, kN), by = dev.upload(y, kBatch, kN);
    auto ba = dev.upload(a);
    {
      auto batched = fx::vmap(single, fx::unbatched<1>);
      auto c = dev.upload(cy, kBatch, kN), x_ = dev.zeros<double>(kBatch, kN), w_ = dev.zeros<double>(kBatch, kN),
           a_ = dev.zeros<double>(kBatch, 1);
      batched.over(kBatch, kN)(bx, dw, ba, by, c, dev.upload(ct, kBatch, 1), x_, w_, a_);
      check_close(x_.host(), gx);
      check_close(w_.host(), gw);
      check_close(a_.host(), ga);
      check_close(c.host(), gy);
    }
    {
      auto of_batch = fx::vjp(fx::vmap(mix, fx::unbatched<1>));
      auto c = dev.upload(cy, kBatch, kN), x_ = dev.zeros<double>(kBatch, kN);
      auto w_ = dev.zeros<double>(kN), a_ = dev.zeros<double>(kBatch);
      of_batch.over(kBatch, kN)(bx, dw, ba, by, c, dev.upload(ct, kBatch, 1), x_, w_, a_);
      check_close(x_.host(), gx);
      check_close(w_.host(), gw_sum);
      check_close(a_.host(), ga);
      check_close(c.host(), gy);
    }
    {  // Forward, both ways.
      const auto dx = random_numbers(kBatch * kN, 7);
      auto forward = fx::vmap(fx::jvp(mix), fx::unbatched<1, 6>);
      auto forward_of = fx::jvp(fx::vmap(mix, fx::unbatched<1>));
      auto zeros = dev.zeros<double>(kN);
      auto tx = dev.upload(dx, kBatch, kN), ty = dev.zeros<double>(kBatch, kN), tt = dev.zeros<double>(kBatch, 1),
           ta = dev.zeros<double>(kBatch, 1);
      auto y1 = fx::copy(by), y2 = fx::copy(by), t1 = dev.zeros<double>(kBatch, 1), t2 = dev.zeros<double>(kBatch, 1);
      auto ty2 = dev.zeros<double>(kBatch, kN), tt2 = dev.zeros<double>(kBatch, 1);
      auto no = dev.zeros<double>(kBatch);
      forward.over(kBatch, kN)(bx, dw, ba, y1, t1, tx, zeros, no, ty, tt);
      forward_of.over(kBatch, kN)(bx, dw, ba, y2, t2, tx, zeros, no, ty2, tt2);
      check_close(ty.host(), ty2.host());
      check_close(tt.host(), tt2.host());
      check_close(y1.host(), y2.host());
      double norm = 0;
      for (const double v : ty.host()) norm += std::abs(v);
      CHECK(norm > 0.1);
    }
  }
}

TEST_CASE("vmap of a function is a kernel over its arguments and results", "[jit][vmap]") {
  const auto dev = fx::Device::best();
  auto f = fx::fn("f", [](fx::Double x, fx::Double2 p, fx::Double k) { return fx::sin(x * p.x) + k * p.y * x; });
  auto many = fx::vmap(f, fx::unbatched<2>);
  auto slopes = fx::vmap(fx::value_and_grad(f), fx::unbatched<2>);
  const auto x = random_numbers(7);
  std::vector<fx::Vec<double, 2>> p;
  for (const double v : random_numbers(7, 2)) p.push_back({v, 1 - v});
  auto y = dev.zeros<double>(7), value = dev.zeros<double>(7), gx = dev.zeros<double>(7), gk = dev.zeros<double>(7);
  auto gp = dev.zeros<fx::Vec<double, 2>>(7);
  many(dev.upload(x), dev.upload(p), 0.5, y);
  slopes(dev.upload(x), dev.upload(p), 0.5, value, gx, gp, gk);
  for (std::size_t i = 0; i < 7; ++i) {
    const auto [v, a, b, c] = fx::value_and_grad(f)(x[i], p[i], 0.5);
    CHECK(y.host()[i] == Approx(v));
    CHECK(value.host()[i] == Approx(v));
    CHECK(gx.host()[i] == Approx(a));
    CHECK(gp.host()[i][1] == Approx(b[1]));
    CHECK(gk.host()[i] == Approx(c));
  }
  // The gradient of the batch, of the number that it shares too.
  auto g = fx::vjp(many);
  auto w = dev.full<double>(1.0, 7);
  auto x_ = dev.zeros<double>(7), k_ = dev.zeros<double>(1);
  auto p_ = dev.zeros<fx::Vec<double, 2>>(7);
  g.over(7)(dev.upload(x), dev.upload(p), 0.5, w, x_, p_, k_);
  check_close(x_.host(), gx.host());
  double sum = 0;
  for (const double v : gk.host()) sum += v;
  CHECK(k_.item() == Approx(sum));
}

TEST_CASE("a vector by value becomes an array of vectors and groups stay groups", "[jit][vmap]") {
  for (const auto& dev : {fx::Device::best(), fx::Device::reference()}) {
    auto k = fx::kernel("groups", fx::groups(4), [](fx::In<double> x, fx::Double2 p, fx::Out<double> y, fx::Out<int> where) {
      fx::Shared<double, 4> tile;
      auto t = fx::thread_index();
      auto i = fx::index();
      tile[t] = x[i] * p.x;
      fx::barrier();
      y[i] = tile[3 - t] + p.y + fx::subgroup_add(x[i]);
      where[i] = fx::group_index() * 100 + x.extent(0);
    });
    auto many = fx::vmap(k);
    const auto x = random_numbers(3 * 8);
    std::vector<fx::Vec<double, 2>> p{{1, 2}, {3, 4}, {5, 6}};
    auto y = dev.zeros<double>(3, 8);
    auto where = dev.zeros<int>(3, 8);
    many(dev.upload(x, 3, 8), dev.upload(p), y, where);
    for (std::size_t b = 0; b < 3; ++b) {
      auto sy = dev.zeros<double>(8);
      auto sw = dev.zeros<int>(8);
      k(dev.upload(part(x, b, 8)), p[b], sy, sw);
      check_close(part(y.host(), b, 8), sy.host());
      for (std::size_t i = 0; i < 8; ++i) CHECK(where.host()[b * 8 + i] == sw.host()[i]);
    }
  }
}

TEST_CASE("a rule is used in the derivative of a batch", "[jit][vmap]") {
  const auto dev = fx::Device::best();
  auto body = fx::kernel("body", [](fx::In<double> x, fx::Double a, fx::Out<double> y) { y[fx::index()] = fx::floor(x[fx::index()] * a); });
  auto ruled = fx::rule(body).vjp([](fx::In<double> x, fx::Double a, fx::In<double> w, fx::Accum<double> gx, fx::Accum<double> ga) {
    auto i = fx::index();
    gx[i] += w[i] * a * 10.0;
    ga[0] += w[i] * x[i];
  });
  auto g = fx::vjp(fx::vmap(ruled));
  auto x = dev.upload(std::vector<double>{1, 2, 3, 4, 5, 6}, 2, 3), w = dev.full<double>(1, 2, 3), gx = dev.zeros<double>(2, 3);
  auto a = dev.upload<double>({0.5, 2.0}), ga = dev.zeros<double>(2);
  g.over(2, 3)(x, a, w, gx, ga);
  CHECK(gx.host() == std::vector<double>{5, 5, 5, 20, 20, 20});
  CHECK(ga.host() == std::vector<double>{6, 15});
}

TEST_CASE("a batch of programs is the programs one by one, derivatives too", "[jit][vmap]") {
  const auto dev = fx::Device::best();
  auto move = fx::kernel("move", [](fx::InOut<double> x, fx::In<double> v, fx::Double dt) {
    auto i = fx::index();
    x[i] = x[i] + dt * v[i] * fx::cos(x[i]);
  });
  auto measure = fx::kernel("measure", [](fx::In<double> x, fx::Accum<double> e) { e[0] += fx::square(x[fx::index()]); });
  auto v = dev.upload(random_numbers(kN, 9));
  auto sim = fx::program("sim", [&](fx::Buffer<double> x0, fx::Double dt, fx::Buffer<double> scale) {
    auto x = fx::copy(x0), older = fx::zeros<double>(kN);
    for ([[maybe_unused]] auto t : fx::range(4)) {
      older.copy_from(x);
      move.over(kN)(x, v, dt * 0.5);
      fx::swap(x, older);
      move.over(kN)(x, scale, dt);
    }
    auto e = fx::zeros<double>(1);
    measure.over(kN)(x, e);
    measure.over(kN)(older, e);
    auto y = x * scale + older;
    return std::tuple(e, fx::Buffer<double>(y * 2.0), dt * 3.0);
  });
  const auto x = random_numbers(kBatch * kN), s = random_numbers(kN, 2), dts = random_numbers(kBatch, 3);
  auto bx = dev.upload(x, kBatch, kN);
  auto scale = dev.upload(s), bdt = dev.upload(dts);
  auto many = fx::vmap(sim, fx::unbatched<2>);
  const auto [be, by, bd] = many(bx, bdt, scale);
  for (std::size_t b = 0; b < kBatch; ++b) {
    const auto [e, y, d] = sim(dev.upload(part(x, b, kN)), dts[b], scale);
    CHECK(be.host()[b] == Approx(e.item()).epsilon(1e-13));
    check_close(part(by.host(), b, kN), y.host());
    CHECK(bd.host()[b] == Approx(d.item()));
  }
  // A batch of gradients; each shares the scale, so its gradient comes for each of the batch.
  auto single = fx::value_and_grad(sim, fx::wrt<0, 1, 2>);
  auto gradients = fx::vmap(single, fx::unbatched<2>);
  const auto [ge, gy, gd, gx, gdt, gs] = gradients(bx, bdt, scale);
  std::vector<double> shared(kN);
  for (std::size_t b = 0; b < kBatch; ++b) {
    const auto [e, y, d, x_, dt_, s_] = single(dev.upload(part(x, b, kN)), dts[b], scale);
    check_close(part(gx.host(), b, kN), x_.host());
    check_close(part(gs.host(), b, kN), s_.host());
    CHECK(gdt.host()[b] == Approx(dt_.item()).epsilon(1e-12));
    for (std::size_t k = 0; k < kN; ++k) shared[k] += s_.host()[k];
  }
  // The gradient of a batch: what is shared gathers.
  auto pull = fx::vjp(many);
  auto none = dev.zeros<double>(kBatch, kN);
  auto no = dev.zeros<double>(kBatch);
  const auto [px, pdt, ps] = pull(bx, bdt, scale, dev.full<double>(1, kBatch, 1), none, no);
  check_close(px.host(), gx.host());
  check_close(ps.host(), shared);
  for (std::size_t b = 0; b < kBatch; ++b) CHECK(pdt.host()[b] == Approx(gdt.host()[b]).epsilon(1e-12));
  // A batch of batches.
  auto twice = fx::vmap(fx::vmap(sim, fx::unbatched<1, 2>), fx::unbatched<1, 2>);
  const auto [te, ty, td] = twice(dev.upload(random_numbers(2 * 3 * kN), 2, 3, kN), 0.1, scale);
  const auto [oe, oy, od] = sim(dev.upload(part(random_numbers(2 * 3 * kN), 4, kN)), 0.1, scale);
  CHECK(te.host()[4] == Approx(oe.item()).epsilon(1e-13));
}

TEST_CASE("a batch of gradients under strips or a budget is the batch without", "[jit][vmap]") {
  const auto dev = fx::Device::best();
  using namespace fx::literals;
  auto turn = fx::kernel("turn", [](fx::InOut<double> x, fx::Double dt) { x[fx::index()] += dt * fx::sin(x[fx::index()]); });
  auto sim = fx::program("sim", [&](fx::Buffer<double> x0, fx::Double dt) {
    auto x = fx::copy(x0);
    for ([[maybe_unused]] auto t : fx::range(40)) turn.over(kN)(x, dt);
    return fx::sum(x);
  });
  auto x = dev.upload(random_numbers(kBatch * kN), kBatch, kN);
  auto dt = dev.upload(random_numbers(kBatch, 3));
  const auto [e, gx, gdt] = fx::vmap(fx::value_and_grad(sim))(x, dt);
  const auto [e2, gx2, gdt2] = fx::vmap(fx::value_and_grad(sim, {.checkpoint = fx::strips(2)}))(x, dt);
  check_close(gx2.host(), gx.host());
  check_close(gdt2.host(), gdt.host());
  const auto [e3, gx3, gdt3] = fx::vmap(fx::value_and_grad(sim, {.checkpoint = fx::budget(8_KB)}))(x, dt);
  check_close(gx3.host(), gx.host());
  check_close(gdt3.host(), gdt.host());
  const auto [e4, gx4, gdt4] = fx::value_and_grad(sim)(dev.upload(part(random_numbers(kBatch * kN), 2, kN)), random_numbers(kBatch, 3)[2]);
  check_close(part(gx.host(), 2, kN), gx4.host());
}

TEST_CASE("what cannot be a batch is refused with the line", "[jit][vmap]") {
  const auto dev = fx::Device::best();
  auto k = fx::kernel("k", [](fx::In<double> x, fx::Out<double> y) { y[fx::index()] = x[fx::index()]; });
  CHECK_THROWS_WITH(fx::vmap(k, fx::unbatched<1>), Catch::Contains("all of the batch would write it"));
  auto cube = fx::kernel("cube", [](fx::Out<double> y, fx::Double a) {
    auto [i, j, l] = fx::index<3>();
    fx::if_(i + j + l == 0, [&] { y[0] = a; });
  });
  CHECK_THROWS_WITH(fx::vmap(cube), Catch::Contains("three axes already"));
  auto many = fx::vmap(k);
  CHECK_THROWS_WITH(many(dev.zeros<double>(3, 4), dev.zeros<double>(2, 4)), Catch::Contains("the batch is 3, but argument 2"));
  CHECK_THROWS_AS(many.over(2, 4)(dev.zeros<double>(3, 4), dev.zeros<double>(2, 4)), fx::ShapeError);
  auto trips = fx::program("trips", [&](fx::Buffer<double> x, fx::Int n) {
    auto y = fx::copy(x);
    for ([[maybe_unused]] auto t : fx::range(n)) k.over(4)(x, y);
    return y;
  });
  CHECK_THROWS_WITH(fx::vmap(trips)(dev.zeros<double>(2, 4), dev.zeros<int>(2)),
                    Catch::Contains("trip count of a loop differs within the batch"));
  CHECK_NOTHROW(fx::vmap(trips, fx::unbatched<1>)(dev.zeros<double>(2, 4), 2));
  auto two = fx::program("two", [&](fx::Buffer<double> a, fx::Buffer<double> b) { return fx::Buffer<double>(a + b); });
  CHECK_THROWS_WITH(fx::vmap(two)(dev.zeros<double>(2, 4), dev.zeros<double>(3, 4)),
                    Catch::Contains("the batch is 2 along axis 0 of argument 1, and 3 of argument 2"));
  auto writes = fx::program("writes", [&](fx::Buffer<double> a, fx::Buffer<double> b) { k.over(4)(a, b); });
  CHECK_THROWS_WITH(fx::vmap(writes, fx::unbatched<1>)(dev.zeros<double>(2, 4), dev.zeros<double>(4)),
                    Catch::Contains("which all of the batch share"));
}
