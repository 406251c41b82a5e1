// FLUXION_DEBUG=nan and inf: the report names the op that made the first NaN, its operands, its line, its thread, the sweep
// of a derivative, and the step of a program; on the evaluator and on the CPU, which asks the evaluator.
#include <fmt/format.h>

#include <cmath>
#include <cstdlib>

#include <catch2/catch.hpp>

#include "fluxion/fluxion.h"
#include "inputs.h"

namespace fx = fluxion;
using Catch::Contains;
using fluxion::testing::Debug;

namespace {

fx::Device device() { return GENERATE(fx::Device::best(), fx::Device::reference()); }
std::string at(int line) { return fmt::format("nan_trace.cpp:{}", line); }

}  // namespace

TEST_CASE("a NaN of a kernel is traced to its op with operands and thread and element", "[jit][nan]") {
  const Debug nan("nan");
  const fx::Device dev = device();
  int line = 0;
  const auto k = fx::kernel("logs", [&](fx::In<float> x, fx::Out<float, 2> y) {
    const auto [i, j] = fx::index<2>();
    const fx::Float v = x[j] - fx::cast<float>(i);
    line = __LINE__ + 1;
    const fx::Float w = fx::log(v);
    y(i, j) = w * 2 + 1;
  });
  const auto x = dev.upload({3.f, 2.f, 1.5f});
  const auto y = dev.zeros<float>(2, 3), z = dev.zeros<float>(4, 3);
  k.over(2, 3)(x, y);
  CHECK_NOTHROW(dev.wait());
  k.over(4, 3)(x, z);
  CHECK_THROWS_WITH(dev.wait(), Contains(at(line)) && Contains("log(-0.5) = nan") && Contains("thread (2, 2)") && Contains("p1[2, 2]") &&
                                    Contains("kernel \"logs\""));
}

TEST_CASE("a NaN of a reverse sweep names the rule and the cotangent and what made the infinity", "[jit][nan]") {
  const Debug nan("nan");
  const fx::Device dev = device();
  const int line = __LINE__ + 3;
  const auto k = fx::kernel("roots", [](fx::In<double> x, fx::Out<double> y) {
    const auto i = fx::index();
    const fx::Double r = fx::sqrt(x[i]);
    y[i] = r * r;
  });
  const auto x = dev.upload({1., 4., 0.}), y = dev.upload({0., 0., 0.}), w = dev.upload({1., 1., 1.}), g = dev.zeros<double>(3);
  k.over(3)(x, y);
  CHECK_NOTHROW(dev.wait());
  fx::vjp(k).over(3)(x, w, g);
  CHECK_THROWS_WITH(dev.wait(), Contains(at(line)) &&
                                    Contains("the derivative of sqrt in the reverse sweep: cotangent 0 * partial inf = nan") &&
                                    Contains("because of " + at(line) + ": the derivative of sqrt in the reverse sweep: 0.5 / 0 = inf") &&
                                    Contains("thread (2)"));
  // The same in forward mode, and in the reverse sweep of the reverse sweep.
  const auto dx = dev.upload({0., 0., 0.}), dy = dev.zeros<double>(3);
  fx::jvp(k).over(3)(x, y, dx, dy);
  CHECK_THROWS_WITH(dev.wait(),
                    Contains(at(line)) && Contains("the derivative of sqrt in the forward sweep: tangent 0 * partial inf = nan"));
  const int powers = __LINE__ + 2;
  const auto cubic =
      fx::kernel("powers", [](fx::In<double> a, fx::Out<double> b) { b[fx::index()] = a[fx::index()] * fx::sqrt(a[fx::index()]); });
  const auto a = dev.upload({1., 0.}), one = dev.upload({1., 1.}), ga = dev.zeros<double>(2), gw = dev.zeros<double>(2);
  fx::vjp(fx::vjp(cubic)).over(2)(a, one, one, ga, gw);
  CHECK_THROWS_WITH(dev.wait(), Contains(at(powers)) && Contains("in the reverse sweep of the reverse sweep"));
}

TEST_CASE("with FLUXION_DEBUG=inf an infinity is reported by itself and a literal is not", "[jit][nan]") {
  const fx::Device dev = device();
  int line = 0;
  const auto run = [&](const char* words) {
    const Debug debug(words);
    line = __LINE__ + 1;
    const auto k = fx::kernel("root", [](fx::In<float> x, fx::Out<float> y) { y[fx::index()] = fx::sqrt(x[fx::index()]); });
    const auto d = fx::vjp(k);
    const auto x = dev.upload({1.f, 0.f}), w = dev.upload({1.f, 1.f}), g = dev.zeros<float>(2);
    d.over(2)(x, w, g);
    dev.wait();
    const auto most = fx::kernel("most", [](fx::In<float> v, fx::Out<float> y) {
      fx::Float m = -INFINITY;
      for (auto j : fx::range(v.extent(0))) m = fx::max(m, v[j]);
      y[fx::index()] = m;
    });
    const auto none = dev.empty<float>(0), y = dev.zeros<float>(2);
    most.over(2)(none, y);
    dev.wait();
    return y.host()[1];
  };
  CHECK(run("nan") == -INFINITY);
  CHECK_THROWS_WITH(run("inf"), Contains(at(line)) && Contains("the derivative of sqrt in the reverse sweep: 0.5 / 0 = inf"));
}

TEST_CASE("what a mask hides is not reported and what was passed is told apart", "[jit][nan]") {
  const Debug nan("nan");
  const fx::Device dev = device();
  const auto k = fx::kernel("masked", [](fx::In<double> x, fx::Out<double> y) {
    const auto i = fx::index();
    y[i] =
        fx::select(x[i] > 0.0, fx::log(x[i]), 0.0) + fx::if_(x[i] > 0.0, [&] { return fx::sqrt(x[i]); }, [&] { return fx::Double(0.0); });
  });
  const auto x = dev.upload({1., -1., 0.}), y = dev.zeros<double>(3), w = dev.upload({1., 1., 1.}), g = dev.zeros<double>(3);
  k.over(3)(x, y);
  fx::vjp(k).over(3)(x, w, g);
  CHECK_NOTHROW(dev.wait());
  const auto twice = fx::kernel("twice", [](fx::In<double> x, fx::Out<double> y) { y[fx::index()] = x[fx::index()] * 2; });
  twice.over(3)(dev.upload({1., double(NAN), 3.}), y);
  CHECK_THROWS_WITH(dev.wait(), Contains("p0[1] was nan when the launch began, and goes on to p1[1]"));
  // A masked NaN on an earlier line does not hide the true one.
  int line = 0;
  const auto two = fx::kernel("two", [&](fx::In<double> x, fx::Out<double> y) {
    const auto i = fx::index();
    const fx::Double a = fx::select(x[i] > 0.0, fx::log(x[i]), 0.0);
    line = __LINE__ + 1;
    y[i] = a + fx::sqrt(x[i]);
  });
  two.over(3)(x, y);
  CHECK_THROWS_WITH(dev.wait(), Contains(at(line)) && Contains("sqrt(-1) = nan"));
}

TEST_CASE("a NaN of a time loop names the program and the launch and the step", "[jit][nan][program]") {
  const Debug nan("nan");
  const fx::Device dev = device();
  const int divided = __LINE__ + 3;
  const auto push = fx::kernel("push", [](fx::InOut<double> x, fx::Double t) {
    const auto i = fx::index();
    x[i] = x[i] + (t - 37.0) / (t - 37.0);
  });
  int loop = 0;
  const auto sim = fx::program("sim", [&](fx::Buffer<double> x0) {
    auto x = fx::zeros<double>(2);
    x.copy_from(x0);
    loop = __LINE__ + 1;
    for (auto t : fx::range(60)) push.over(2)(x, fx::cast<double>(t));
    return x;
  });
  CHECK_THROWS_WITH(sim(dev.upload({1., 2.})).host(),
                    Contains(at(divided)) && Contains("0 / 0 = nan") && Contains("program \"sim\", launch 38") &&
                        Contains("step 37 of the loop at " + at(loop)) && Contains("kernel \"push\", thread (0)"));
}

TEST_CASE("a NaN of a reverse time loop names the step that is reversed", "[jit][nan][program]") {
  const Debug nan("nan");
  const fx::Device dev = device();
  const int rooted = __LINE__ + 3;
  const auto step = fx::kernel("step", [](fx::InOut<double> x, fx::Double t) {
    const auto i = fx::index();
    const fx::Double r = fx::sqrt((t - 3.0) * (t - 3.0) * x[i]);
    x[i] = x[i] + r * r;
  });
  const auto sum = fx::kernel("sum", [](fx::In<double> x, fx::Accum<double> s) { s[0] += x[fx::index()]; });
  const auto sim = fx::program("sim", [&](fx::Buffer<double> x0) {
    auto x = fx::zeros<double>(2), s = fx::zeros<double>(1);
    x.copy_from(x0);
    for (auto t : fx::range(6)) step.over(2)(x, fx::cast<double>(t));
    sum.over(2)(x, s);
    return s;
  });
  const auto x = dev.upload({1., 2.});
  CHECK_NOTHROW(sim(x).host());
  const auto d = fx::value_and_grad(sim);
  CHECK_THROWS_WITH((std::get<1>(d(x)).host()), Contains(at(rooted)) && Contains("step 3 of the loop at") && Contains("(backwards)") &&
                                                    Contains("the derivative of sqrt in the reverse sweep"));
}

TEST_CASE("a NaN of a called function names the line in it", "[jit][nan]") {
  const Debug nan("nan");
  const fx::Device dev = device();
  const int line = __LINE__ + 1;
  const auto f = fx::fn("quotient", [](fx::Double a, fx::Double b) { return a / b; });
  const auto k = fx::kernel("quotients", [&](fx::In<double> x, fx::Out<double> y) {
    const auto i = fx::index();
    fx::Double s = 0.0;
    for (auto j : fx::range(3)) s += f(x[i], x[i]) * f(x[i] + 1.0, fx::cast<double>(j) + 1.0);
    y[i] = s;
  });
  const auto y = dev.zeros<double>(2);
  k.over(2)(dev.upload({1., 0.}), y);
  CHECK_THROWS_WITH(dev.wait(), Contains(at(line)) && Contains("0 / 0 = nan") && Contains("thread (1)"));
  const auto w = dev.upload({1., 1.}), g = dev.zeros<double>(2);
  const int rooted = __LINE__ + 2;
  const auto root = fx::fn("root", [](fx::Double a) {
    const fx::Double r = fx::sqrt(a);
    return r * r;
  });
  const auto roots =
      fx::kernel("roots", [&](fx::In<double> x, fx::Out<double> y) { y[fx::index()] = root(x[fx::index()]) * root(x[fx::index()] + 1.0); });
  fx::vjp(roots).over(2)(dev.upload({1., 0.}), w, g);
  CHECK_THROWS_WITH(dev.wait(), Contains(at(rooted)) && Contains("the derivative of sqrt in the reverse sweep"));
}

TEST_CASE("NaNs are traced through loops and shared memory and subgroups and atomics", "[jit][nan]") {
  const Debug nan("nan");
  const fx::Device dev = device();
  int line = 0;
  const auto k = fx::kernel("mean", fx::groups(8), [&](fx::In<float> x, fx::InOut<float> y) {
    fx::Shared<float, 8> part;
    const auto t = fx::thread_index();
    line = __LINE__ + 1;
    part[t] = fx::log(x[fx::index()]);
    fx::barrier();
    fx::Float s = 0.f;
    for (auto j : fx::range(8)) s += part[j];
    const fx::Float all = fx::subgroup_add(s);
    fx::if_(t == 0, [&] { y[0].atomic_add(all); });
  });
  const auto y = dev.zeros<float>(1);
  k.over(16)(dev.upload({1.f, 1.f, 1.f, 1.f, 1.f, 1.f, 1.f, 1.f, 1.f, 1.f, -2.f, 1.f, 1.f, 1.f, 1.f, 1.f}), y);
  CHECK_THROWS_WITH(dev.wait(), Contains(at(line)) && Contains("log(-2) = nan") && Contains("thread (10)") && Contains("p1[0]"));
}

TEST_CASE("a NaN of the reverse sweep of several launches names the line and the kernel and what made it", "[jit][nan][program]") {
  const Debug nan("nan");
  const fx::Device dev = device();
  const auto shift = fx::kernel("shift", [](fx::In<double> x, fx::Out<double> y) { y[fx::index()] = x[fx::index()] - 1.0; });
  const int line = __LINE__ + 1;
  const auto root = fx::kernel("root", [](fx::In<double> y, fx::Out<double> z) { z[fx::index()] = fx::sqrt(y[fx::index()]); });
  const auto scale = fx::kernel(
      "scale", [](fx::In<double> z, fx::InOut<double> y) { y[fx::index()] = y[fx::index()] * 2.0 + z[fx::index()] * z[fx::index()]; });
  const auto sum = fx::kernel("sum", [](fx::In<double> y, fx::Accum<double> s) { s[0] += y[fx::index()]; });
  const auto loss = fx::program("loss", [&](fx::Buffer<double> x) {
    auto y = fx::zeros<double>(3), z = fx::zeros<double>(3), s = fx::zeros<double>(1);
    shift.over(3)(x, y);
    root.over(3)(y, z);
    scale.over(3)(z, y);
    sum.over(3)(y, s);
    return s;
  });
  const auto d = fx::value_and_grad(loss);
  CHECK(std::get<1>(d(dev.upload({2., 3., 5.}))).host() == std::vector<double>{3, 3, 3});
  const auto x = dev.upload({2., 3., 1.});
  CHECK_NOTHROW(loss(x).host());
  CHECK_THROWS_WITH(
      (std::get<1>(d(x)).host()),
      Contains(at(line)) && Contains("program \"loss.value_and_grad\", launch") && Contains("kernel \"root.vjp\", thread (2)") &&
          Contains("the derivative of sqrt in the reverse sweep: cotangent 0 * partial inf = nan") && Contains("because of " + at(line)));
}

TEST_CASE("a scalar that is NaN is told from what a kernel makes and a NaN that is written as such is no fault", "[jit][nan]") {
  const Debug nan("nan");
  const fx::Device dev = device();
  const auto k = fx::kernel("scaled", [](fx::In<double> x, fx::Out<double> y, fx::Double c) { y[fx::index()] = x[fx::index()] * c; });
  const auto x = dev.upload({1., 2.}), y = dev.zeros<double>(2);
  k.over(2)(x, y, 2.0);
  CHECK_NOTHROW(dev.wait());
  k.over(2)(x, y, double(NAN));
  CHECK_THROWS_WITH(dev.wait(), Contains("kernel \"scaled\"") && Contains("p2 was nan when the launch began, and goes on to p1["));
  const auto in_groups = fx::kernel("in_groups", fx::groups(2),
                                    [](fx::In<double> v, fx::Out<double> z, fx::Double c) { z[fx::index()] = v[fx::index()] * c; });
  in_groups.over(2)(x, y, double(NAN));
  CHECK_THROWS_WITH(dev.wait(), Contains("p2 was nan when the launch began, and goes on to p1["));
  const auto missing = fx::kernel(
      "missing", [](fx::Out<double> z) { z[fx::index()] = fx::select(fx::index() == 1, fx::Double(double(NAN)), fx::Double(1.0)); });
  missing.over(2)(y);
  CHECK_NOTHROW(dev.wait());
  CHECK(std::isnan(y.host()[1]));
}

TEST_CASE("a million masked NaNs do not keep one from being traced", "[jit][nan]") {
  const Debug nan("nan");
  const fx::Device dev = device();
  int line = 0;
  const auto k = fx::kernel("many", [&](fx::In<float> x, fx::Out<float> y) {
    const auto i = fx::index();
    const fx::Float masked = fx::select(x[i] > 0.f, fx::log(x[i]), 0.f);
    line = __LINE__ + 1;
    y[i] = masked + fx::sqrt(x[i] + 1.f);
  });
  constexpr std::int64_t n = 1 << 20;
  std::vector<float> x(n + 2, -0.5f);
  x.back() = -2.f;
  const auto y = dev.zeros<float>(n + 2);
  k.over(n + 2)(dev.upload(x), y);
  CHECK_THROWS_WITH(dev.wait(), Contains(at(line)) && Contains("sqrt(-1) = nan") && Contains("thread (1048577)"));
}

TEST_CASE("NaNs of whole arrays and of scalars of a program have the line of the program", "[jit][nan][program]") {
  const Debug nan("nan");
  const fx::Device dev = device();
  int line = 0;
  const auto ratio = fx::program("ratio", [&](fx::Buffer<double> x, fx::Buffer<double> y) {
    line = __LINE__ + 1;
    auto z = x / y;
    return fx::sum(z * 2.0);
  });
  CHECK_THROWS_WITH(ratio(dev.upload({1., 0.}), dev.upload({1., 0.})).host(), Catch::StartsWith(at(line)) && Contains("0 / 0 = nan"));
  int root = 0;
  const auto norm = fx::program("norm", [&](fx::Buffer<double> x) {
    root = __LINE__ + 1;
    auto z = fx::sqrt(x);
    return fx::sum(z * z);
  });
  const auto d = fx::value_and_grad(norm);
  CHECK_THROWS_WITH((std::get<1>(d(dev.upload({1., 0.}))).host()),
                    Contains(at(root)) && Contains("the derivative of sqrt in the reverse sweep: cotangent 0 * partial inf = nan"));
  const auto k = fx::kernel("scaled", [](fx::InOut<double> x, fx::Double c) { x[fx::index()] = x[fx::index()] * c; });
  int launched = 0;
  const auto scaled = fx::program("scaled", [&](fx::Buffer<double> x0, fx::Double c) {
    auto x = fx::zeros<double>(2);
    x.copy_from(x0);
    launched = __LINE__ + 1;
    k.over(2)(x, fx::log(c));
    return x;
  });
  CHECK(scaled(dev.upload({1., 2.}), 1.0).host() == std::vector<double>{0, 0});
  CHECK_THROWS_WITH(scaled(dev.upload({1., 2.}), -1.0).host(),
                    Contains("launch 1 at " + at(launched)) && Contains("p1 was nan when the launch began"));
}

TEST_CASE("a NaN that is passed to arrays that are worked on in place stays", "[jit][nan][program]") {
  const Debug nan("nan");
  const fx::Device dev = device();
  const auto p = fx::program("p", [&](fx::Buffer<double> x) {
    auto z = x + 1.0;
    auto y = z * 2.0;
    return y * y;
  });
  std::vector<double> y;
  try {
    y = p(dev.upload({1., double(NAN)})).host();
  } catch (const fx::KernelError& e) {
    CHECK_THAT(e.what(), Contains("was nan when the launch began"));
    return;
  }
  CHECK((y[0] == 16 && std::isnan(y[1])));
}
