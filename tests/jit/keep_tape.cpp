// Forward launches that hand the tape of their loops to the reverse launch: which do, and that derivatives do not notice.
#include <catch2/catch.hpp>

#include <string>

#include "fluxion/fluxion.h"
#include "inputs.h"

namespace fx = fluxion;
using namespace fluxion::testing;

namespace {

bool keeps(const std::string& text) { return text.find("kernel @k.keep(") != std::string::npos; }

/// sum of w * k(x)^2, where k is a kernel of n points.
template <class K> auto loss_of(const K& k, int n) {
  auto weigh = fx::kernel("weigh", [](fx::In<double> y, fx::Accum<double> loss) {
    auto i = fx::index();
    loss[0] += y[i] * y[i] * (1.0 + 0.1 * fx::cast<double>(i));
  });
  return fx::program("loss", [=](fx::Buffer<double> x) {
    auto y = fx::zeros<double>(n), loss = fx::zeros<double>(1);
    k.over(n)(x, y);
    weigh.over(n)(y, loss);
    return loss;
  });
}

/// The gradient with and without a tape that is handed over, and the second derivative.
template <class P> void require_right(const P& p, int n, bool kept) {
  const auto x = random_numbers(static_cast<std::size_t>(n), 3, 0.3, 0.9);
  auto gradient = fx::value_and_grad(p);
  const auto again = fx::value_and_grad(p, fx::wrt<0>, {.checkpoint = fx::strips()});  // runs the kernel again
  CHECK(keeps(gradient.dump("lowered", fx::Device::cpu().upload(x))) == kept);
  CHECK_FALSE(keeps(again.dump("lowered", fx::Device::cpu().upload(x))));
  for (const fx::Device& dev : devices()) {
    CAPTURE(dev.name());
    const auto [value, slope] = gradient(dev.upload(x));
    const auto [same_value, same_slope] = again(dev.upload(x));
    CHECK(value.host()[0] == Approx(same_value.host()[0]).epsilon(1e-13));
    const auto a = slope.host(), b = same_slope.host();
    for (std::size_t i = 0; i < a.size(); ++i) CHECK(a[i] == Approx(b[i]).epsilon(1e-12));
  }
  const fx::Device cpu = fx::Device::cpu();
  const auto report = fx::check_gradient(p, cpu.upload(x));
  INFO(report.text);
  CHECK(report.ok);
  auto dot = fx::kernel("dot", [](fx::In<double> d, fx::Accum<double> s) { s[0] += d[fx::index()] * d[fx::index()]; });
  auto twice = fx::program("twice", [=](fx::Buffer<double> x) {
    auto [value, slope] = gradient(x);
    auto s = fx::zeros<double>(1);
    dot.over(n)(slope, s);
    return s;
  });
  const auto second = fx::check_gradient(twice, cpu.upload(x));
  INFO(second.text);
  CHECK(second.ok);
}

}  // namespace

TEST_CASE("a loop of costly steps hands its tape to the reverse", "[jit][program][keep]") {
  auto k = fx::kernel("k", [](fx::In<double> x, fx::Out<double> y) {
    auto i = fx::index();
    fx::Double a = x[i], b = 1.0;
    for (auto t : fx::range(2, 9)) {
      a = fx::sin(a) * b + fx::exp(-a) / fx::cast<double>(t);
      b += fx::tanh(a) * x[i];
    }
    y[i] = a + fx::exp(b);  // the loop's results are needed again
  });
  require_right(loss_of(k, 21), 21, true);
}

TEST_CASE("a loop of cheap steps is run again", "[jit][program][keep]") {
  auto k = fx::kernel("k", [](fx::In<double> x, fx::Out<double> y) {
    auto i = fx::index();
    fx::Double a = x[i];
    for ([[maybe_unused]] auto t : fx::range(6)) a = a * a * x[i] + 0.1;
    y[i] = a;
  });
  require_right(loss_of(k, 21), 21, false);
}

TEST_CASE("loops one after the other with branches and whole numbers hand over what each of them needs", "[jit][program][keep]") {
  auto k = fx::kernel("k", [](fx::In<double> x, fx::Out<double> y) {
    auto i = fx::index();
    fx::Double a = x[i], b = 0.5;
    fx::Int steps = 0;
    for (auto t : fx::range(8)) {
      fx::if_(a > 0.6, [&] { a = a * 0.7 + 0.2 * fx::sin(a); }, [&] { a = fx::sqrt(a) + 0.1 * fx::cast<double>(t); });
      steps += 1;
    }
    const fx::Double middle = fx::log(a) * fx::cast<double>(steps);
    for (auto t : fx::range(4)) {
      fx::Local<double, 3> local;
      local[t % 3] = fx::cos(b * middle);
      b = b * 0.5 + fx::exp(local[t % 3]) * a;
    }
    y[i] = b * middle;
  });
  require_right(loss_of(k, 19), 19, true);
}

TEST_CASE("loops that break and arrays that outlive a loop are run again", "[jit][program][keep]") {
  auto breaks = fx::kernel("k", [](fx::In<double> x, fx::Out<double> y) {
    auto i = fx::index();
    fx::Double a = x[i];
    for ([[maybe_unused]] auto t : fx::range(8)) {
      fx::break_if(a > 3.0);
      a = a * 1.3 + fx::sin(a);
    }
    y[i] = a;
  });
  require_right(loss_of(breaks, 19), 19, false);
  auto outlives = fx::kernel("k", [](fx::In<double> x, fx::Out<double> y) {
    auto i = fx::index();
    fx::Local<double, 3> last;
    fx::Double a = x[i];
    for (auto t : fx::range(8)) {
      a = fx::sin(a) + fx::exp(-a);
      last[t % 3] = a * x[i];
    }
    y[i] = last[0] * last[1] + last[2] * a;
  });
  require_right(loss_of(outlives, 19), 19, false);
}

TEST_CASE("kernels over two and three axes hand over their tapes and so does a part of their results", "[jit][program][keep]") {
  const auto steps = [](const fx::Double& from) {
    fx::Double a = from;
    for ([[maybe_unused]] auto t : fx::range(5)) a = fx::sin(a) + fx::exp(-a * from);
    return a;
  };
  auto plane = fx::kernel("k", [=](fx::In<double> x, fx::Out<double, 2> y, fx::Out<double, 2> unused, fx::Accum<double> sum) {
    auto [i, j] = fx::index<2>();
    const fx::Double a = steps(x[i] * (1.0 + 0.1 * fx::cast<double>(j)));
    y(i, j) = a;
    unused(i, j) = a * a;
    sum[0] += fx::exp(a);
  });
  auto space = fx::kernel("space", [=](fx::In<double, 2> y, fx::Accum<double> sum) {
    auto [i, j, l] = fx::index<3>();
    sum[0] += steps(y(i, l) * (0.2 + 0.1 * fx::cast<double>(j)));
  });
  auto p = fx::program("p", [=](fx::Buffer<double> x) {
    auto y = fx::zeros<double>(4, 18), unused = fx::zeros<double>(4, 18);
    auto sum = fx::zeros<double>(1);
    plane.over(4, 18)(x, y, unused, sum);
    space.over(4, 3, 18)(y, sum);
    return sum;
  });
  require_right(p, 4, true);
  const fx::Device cpu = fx::Device::cpu();
  CHECK(fx::value_and_grad(p).dump("lowered", cpu.upload({1., 2., 3., 4.})).find("kernel @space.keep(") != std::string::npos);
  // The same through a batch, whose leading axis the tape gets too.
  const std::vector<double> points = random_numbers(12, 5, 0.3, 0.9);
  const auto [values, slopes] = fx::vmap(fx::value_and_grad(loss_of(
      fx::kernel("k", [=](fx::In<double> x, fx::Out<double> y) { y[fx::index()] = steps(x[fx::index()]); }), 4)))(cpu.upload(points, 3, 4));
  auto one =
      fx::value_and_grad(loss_of(fx::kernel("k", [=](fx::In<double> x, fx::Out<double> y) { y[fx::index()] = steps(x[fx::index()]); }), 4));
  const auto all = slopes.host();
  for (std::size_t r = 0; r < 3; ++r) {
    const auto [v, s] = one(cpu.upload({points[4 * r], points[4 * r + 1], points[4 * r + 2], points[4 * r + 3]}));
    CHECK(values.host()[r] == Approx(v.host()[0]).epsilon(1e-13));
    for (std::size_t c = 0; c < 4; ++c) CHECK(all[4 * r + c] == Approx(s.host()[c]).epsilon(1e-12));
  }
}

TEST_CASE("launches in loops and of what is read back and of no points do not hand over tapes", "[jit][program][keep]") {
  const fx::Device cpu = fx::Device::cpu();
  auto k = fx::kernel("k", [](fx::InOut<double> x) {
    auto i = fx::index();
    for ([[maybe_unused]] auto t : fx::range(5)) x[i] = x[i] + 0.1 * fx::exp(-x[i]);
  });
  auto sum = fx::kernel("sum", [](fx::In<double> x, fx::Accum<double> s) { s[0] += x[fx::index()] * x[fx::index()]; });
  const auto program = [=](int rounds, int n) {
    return fx::program("p", [=](fx::Buffer<double> x) {
      auto y = x * 1.0, s = fx::zeros<double>(1);
      if (rounds == 0) k.over(n)(y);
      for ([[maybe_unused]] auto t : fx::range(rounds)) k.over(n)(y);
      sum.over(n)(y, s);
      return s;
    });
  };
  for (const int rounds : {0, 3}) {
    const auto report = fx::check_gradient(program(rounds, 5), cpu.upload({.3, .4, .5, .6, .7}));
    INFO(report.text);
    CHECK(report.ok);
    CHECK_FALSE(keeps(fx::value_and_grad(program(rounds, 5)).dump("lowered", cpu.upload({.3, .4, .5, .6, .7}))));
  }
  const auto [value, slope] = fx::value_and_grad(program(0, 0))(cpu.upload({.3, .4}));
  CHECK(value.host()[0] == 0);
  CHECK(slope.host() == std::vector<double>{0, 0});
}
