// Loops longer than a strip (ad/strip_loops.h): the derivative is that of the loop, and the tape is no longer than a strip's.
#include <cstdlib>
#include <limits>
#include <thread>

#include "fluxion/ad.h"
#include "fluxion/backend.h"
#include "fluxion/pipeline.h"
#include "fluxion/strips.h"
#include "torture.h"

using namespace fluxion::testing;
namespace fx = fluxion;

namespace {

constexpr int n = 37;  // two groups of lanes and a part of one

std::vector<int> counts(int most) {
  std::vector<int> all;
  for (int i = 0; i < n; ++i) all.push_back(i * 5 % (most + 1));
  return all;
}

/// x becomes x / (1 + h x), n times: x / (1 + n h x) in the end.
struct Decay {
  static constexpr double h = 1e-7;
  static constexpr int steps = 10'000'000;
  const std::vector<double> x = {0.5, 1, 2};
  std::vector<double> slopes;

  /// Gives what the derivative throws where tapes have this much memory.
  std::string run(int strip, const char* bytes) {
    const StripLength length(strip);
    auto k = fx::kernel("decay", [](fx::In<double> x, fx::Int count, fx::Out<double> y) {
      auto i = fx::index();
      fx::Double v = x[i];
      for ([[maybe_unused]] auto t : fx::range(count - i)) v = v / (1.0 + h * v);
      y[i] = v;
    });
    const fx::Function f = fx::lower(fx::run_passes(fx::vjp(*k.function()), fx::derived_pipeline()), "cpu");
    const auto code = fx::cpu_backend()->compile(f, {});
    std::string what;
    setenv("FLUXION_TAPE_BYTES", bytes, 1);
    std::thread([&] {  // a thread reserves the memory when it first needs it
      std::vector<double> from = x, y_bar(3, 1.0);
      slopes.assign(3, 0.0);
      std::vector<fx::ArrayArgument> arrays;
      for (auto* v : {&from, &y_bar, &slopes}) arrays.push_back({v->data(), {3, 1, 1}});
      const std::vector<std::uint64_t> scalars = {steps};
      fx::FailureSlot failure;
      try {
        code->run({{3, 1, 1}, arrays, scalars}, failure);
        failure.rethrow();
      } catch (const std::exception& e) { what = e.what(); }
    })
        .join();
    unsetenv("FLUXION_TAPE_BYTES");
    return what;
  }
};

}  // namespace

TEST_CASE("ten million steps of a recurrence are reversed with the tape of a strip", "[jit][strips]") {
  Decay k;
  REQUIRE(k.run(1 << 14, "33554432") == "");
  for (int i = 0; i < 3; ++i) {
    const double all = 1 + (Decay::steps - i) * Decay::h * k.x[static_cast<std::size_t>(i)];
    CHECK(k.slopes[static_cast<std::size_t>(i)] == Approx(1 / (all * all)).epsilon(1e-8));
  }
  // A tape of all steps needs at least 16 bytes for each step of each lane.
  CHECK_THAT(k.run(std::numeric_limits<int>::max(), "33554432"), Catch::Contains("tape"));
}

TEST_CASE("loops of any length are reversed in strips of any length", "[jit][strips]") {
  const StripLength strips(GENERATE(1, 2, 5));
  SECTION("up") {
    auto k = fx::kernel("up", [](fx::In<double> x, fx::In<int> lo, fx::In<int> hi, fx::Out<double> y) {
      auto i = fx::index();
      fx::Double v = x[i];
      for (auto t : fx::range(lo[i] - 3, hi[i])) v = v * v * 0.5 + fx::Double(t) * x[(i + 1) % x.size()] * 0.1 + fx::sin(v);
      y[i] = v;
    });
    torture(k, {floats(n), ints(counts(5)), ints(counts(9)), floats(n)}, {{n, 1, 1}});
  }
  SECTION("down") {
    auto k = fx::kernel("down", [](fx::In<double> x, fx::In<int> hi, fx::Out<double> y, fx::Accum<double> sum) {
      auto i = fx::index();
      fx::Double v = x[i], w = 1.0;
      for (auto t : fx::range(hi[i], -2, -1)) {
        v = fx::cos(v * w) + fx::Double(t) * 0.1;
        w = w * 0.9 + v * 0.1;
        sum[0] += v * w * 0.1;
      }
      y[i] = v + w;
    });
    torture(k, {floats(n), ints(counts(9)), floats(n), numbers({0.5})}, {{n, 1, 1}});
  }
  SECTION("until something happens") {
    auto k = fx::kernel("until", [](fx::In<double> x, fx::Out<double> y) {
      auto i = fx::index();
      fx::Double v = x[i];
      fx::Int trips = 0;
      for ([[maybe_unused]] auto _ : fx::while_([&] { return v * v < 2.0; })) {
        v = v * 1.3 + fx::sin(v) * 0.1 + 0.01;
        trips += 1;
        fx::break_if(trips > 8);
      }
      y[i] = v * fx::Double(trips);
    });
    torture(k, {floats(n), floats(n)}, {{n, 1, 1}});
  }
  SECTION("nested, with an exit and an array of its own") {
    auto k = fx::kernel("nest", [](fx::In<double> x, fx::Int m, fx::Out<double> y) {
      auto i = fx::index();
      fx::Double v = x[i];
      for (auto a : fx::range(m)) {
        fx::Local<double, 2> last;
        last[0] = v;
        last[1] = x[i];
        for (auto b : fx::range(a + i % 3)) {
          v = v * last[b % 2] + 0.3;
          fx::break_if(v > 1.5);
        }
      }
      y[i] = v;
    });
    torture(k, {floats(n, 0.1, 0.9), scalar(5), floats(n)}, {{n, 1, 1}});
  }
  SECTION("in place") {
    auto k = fx::kernel("place", [](fx::InOut<double> y, fx::In<int> hi) {
      auto i = fx::index();
      for (auto t : fx::range(hi[i])) y[i] = fx::sin(y[i]) + 0.1 * y[i] * fx::Double(t);
    });
    torture(k, {floats(n), ints(counts(9))}, {{n, 1, 1}});
  }
}

TEST_CASE("device functions and launches of a program keep strips too", "[jit][strips]") {
  const fx::Device dev = fx::Device::best();
  auto f = fx::fn("logistic", [](fx::Double x, fx::Int m) {
    fx::Double v = x;
    for ([[maybe_unused]] auto t : fx::range(m)) v = v * (1.0 - v) * 3.1;
    return v;
  });
  auto k = fx::kernel("k", [=](fx::In<double> x, fx::Int m, fx::Out<double> y) {
    auto i = fx::index();
    y[i] = f(x[i], m) + f(x[i] * 0.5, m - 1);
  });
  const auto slope = [&](int strip, int m) {
    const StripLength strips(strip);
    auto p = fx::program("p", [=](fx::Buffer<double> x) {
      auto y = fx::zeros<double>(5);
      k.over(5)(x, m, y);
      return fx::sum(y * y);
    });
    auto [value, g] = fx::value_and_grad(p)(dev.upload({0.1, 0.2, 0.4, 0.5, 0.7}));
    return g.host();
  };
  for (int m : {1, 2, 3, 4, 9}) CHECK(slope(2, m) == slope(100, m));
}
