// Numbers of programs in a batch: those that a program returns, functions with rules and host functions of them, checks of them; and
// what they must not decide.
#include <catch2/catch.hpp>

#include "fluxion/fluxion.h"
#include "inputs.h"

namespace fx = fluxion;
using fluxion::testing::Debug;
using fluxion::testing::random_numbers;

namespace {

using B = fx::Buffer<double>;
using Number = fx::Double;
using Numbers = std::vector<double>;
constexpr int kN = 4;

const auto step = fx::kernel("step", [](fx::InOut<double> x, Number c) {
  auto i = fx::index();
  x[i] = fx::sin(x[i]) + c * x[i];
});
const auto scale = fx::kernel("scale", [](fx::InOut<double> x, Number s) { x[fx::index()] *= s; });
B times(const B& x, Number s) {
  auto y = fx::copy(x);
  scale(y, s);
  return y;
}

}  // namespace

TEST_CASE("a batch of programs that returns numbers of all types is a loop over the batch", "[jit][vmap]") {
  const auto dev = fx::Device::reference();
  const Debug debug("verify");
  auto p = fx::program("p", [](B x, Number c, Number d, fx::Int n) {
    auto y = fx::copy(x);
    step.over(kN)(y, d - c);
    return std::tuple(y, d * d, c - d, n * fx::cast<int>(c + 0.5), n + 1, c > 1.5);
  });
  auto many = fx::vmap(p, fx::unbatched<2, 3>);
  const Numbers xs = random_numbers(2 * kN);
  const auto x = dev.upload(xs, 2, kN);
  const auto c = dev.upload<double>({1, 2});
  const auto [y, dd, cd, m, n1, more] = many(x, c, 3.0, 5);
  CHECK(dd.host() == Numbers{9, 9});
  CHECK(cd.host() == Numbers{-2, -1});
  CHECK(m.host() == std::vector<int>{5, 10});
  CHECK(n1.host() == std::vector<int>{6, 6});
  CHECK(more.host() == std::vector<bool>{false, true});
  const auto [gx, gc, gd] = fx::vjp(many)(x, c, 3.0, 5, x, dev.upload<double>({1, 10}), dev.upload<double>({2, 20}));
  double sum = 0;
  for (int k = 0; k < 2; ++k) {
    const B one = dev.upload(Numbers(xs.begin() + k * kN, xs.begin() + (k + 1) * kN));
    const auto [ox, oc, od] = fx::vjp(p)(one, k + 1.0, 3.0, 5, one, k ? 10.0 : 1.0, k ? 20.0 : 2.0);
    CHECK(gc.host()[static_cast<std::size_t>(k)] == Approx(oc.item()));
    CHECK(gx.host()[static_cast<std::size_t>(k * kN)] == Approx(ox.host()[0]));
    sum += od.item();
  }
  CHECK(gd.item() == Approx(sum));
}

TEST_CASE("rules and host functions of numbers are used in a batch of programs", "[jit][vmap]") {
  const Debug debug("verify");
  auto steps = fx::fn("steps", [](Number x, Number y) { return fx::floor(x) * y; });
  auto ruled = fx::rule(steps).vjp([](Number x, Number y, Number w) { return fx::Tuple<Number, Number>(w * y * 10.0, w * x); });
  auto host = fx::external("host", [](double x) { return x * x; }).vjp([](Number x, Number w) { return 2.0 * x * w; });
  auto p = fx::program("p", [=](B x, Number c, Number d) { return fx::sum(times(x, ruled(c, d) + host(c) * host(d))); });
  for (const auto& dev : fluxion::testing::devices()) {
    const Numbers xs = random_numbers(2 * kN), cs{1.25, 2.5};
    const auto x = dev.upload(xs, 2, kN);
    const auto c = dev.upload(cs);
    const auto [v, gx, gc, gd] = fx::vmap(fx::value_and_grad(p), fx::unbatched<2>)(x, c, 0.7);
    const auto [hx, hc, hd] = fx::vjp(fx::vmap(p, fx::unbatched<2>))(x, c, 0.7, dev.full<double>(1, 2, 1));
    double sum = 0;
    for (std::size_t k = 0; k < 2; ++k) {
      const auto from = xs.begin() + static_cast<std::ptrdiff_t>(k) * kN;
      const auto [o, ox, oc, od] = fx::value_and_grad(p)(dev.upload(Numbers(from, from + kN)), cs[k], 0.7);
      CHECK(v.host()[k] == Approx(o.item()));
      CHECK(gc.host()[k] == Approx(oc.item()));
      CHECK(hc.host()[k] == Approx(oc.item()));
      CHECK(gd.host()[k] == Approx(od.item()));
      sum += od.item();
    }
    CHECK(hd.item() == Approx(sum));
  }
}

TEST_CASE("a check of a number holds for each of the batch or has the line", "[jit][vmap]") {
  std::uint32_t line = 0;
  auto root = fx::fn("root", [&](Number x) {
    line = __LINE__ + 1;
    fx::check(x > 0.0, "{} is not positive", x);
    return fx::sqrt(x);
  });
  auto p = fx::program("p", [root](B x, Number c) { return times(x, root(c)); });
  for (const auto& dev : fluxion::testing::devices()) {
    const auto x = dev.full<double>(2, 2, kN);
    CHECK(fx::vmap(p)(x, dev.upload<double>({1, 4})).host()[kN] == 4);
    try {
      (void)fx::vmap(p)(x, dev.upload<double>({1, -4})).host();
      FAIL("nothing was thrown");
    } catch (const fx::KernelError& e) {
      CHECK_THAT(e.what(), Catch::Contains("-4 is not positive"));
      CHECK(e.where().line == line);
    }
  }
}

TEST_CASE("what decides within a batch is refused with the line", "[jit][vmap]") {
  const auto dev = fx::Device::reference();
  std::uint32_t line = 0;
  const auto refused = [&](const auto& p, const char* text) {
    try {
      (void)fx::vmap(p)(dev.full<double>(2, 2, kN), dev.upload<double>({1, 4}));
      FAIL("nothing was thrown");
    } catch (const fx::KernelError& e) {
      CHECK_THAT(e.what(), Catch::Contains(text) && Catch::Contains("differs within the batch"));
      CHECK(e.where().line == line);
    }
  };
  refused(fx::program("p",
                      [&](B x, Number c) {
                        auto y = fx::copy(x);
                        line = __LINE__ + 1;
                        fx::if_(c > 2.0, [&] { step.over(kN)(y, c); });
                        return y;
                      }),
          "the condition of a branch");
  refused(fx::program("p",
                      [&](B x, Number c) {
                        auto y = fx::copy(x);
                        line = __LINE__ + 1;
                        for ([[maybe_unused]] auto again : fx::while_([&] { return fx::item(y) < 9.0; })) step.over(kN)(y, c);
                        return y;
                      }),
          "the condition of a loop");
}
