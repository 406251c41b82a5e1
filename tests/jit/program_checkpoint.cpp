// Time loops that keep less than everything for their reverse: the same gradients, memory within the budget, and no more
// iterations run again than the theory says.
#include <catch2/catch.hpp>
#include <cmath>
#include <random>

#include "fluxion/backend.h"
#include "fluxion/fluxion.h"

namespace fx = fluxion;
using namespace fluxion::literals;

namespace {

using Numbers = std::vector<double>;

Numbers start(int n) {
  std::mt19937_64 random(5);
  std::uniform_real_distribution<double> u(-1, 1);
  Numbers v(static_cast<std::size_t>(n));
  for (double& x : v) x = u(random);
  return v;
}

auto swing() {
  return fx::kernel("swing", [](fx::InOut<double> x, fx::InOut<double> v, fx::Double dt) {
    auto i = fx::index();
    v[i] -= dt * fx::sin(x[i]);
    x[i] += dt * v[i];
  });
}
/// x0, the number of steps -> a number.
auto pendulums() {
  return fx::program("pendulums", [step = swing()](fx::Buffer<double> x0, fx::Int steps) {
    auto x = fx::copy(x0), v = x0 * 0.5;
    for (auto t : fx::range(steps)) step.over(x.size())(x, v, 0.01 + 1e-5 * fx::Double(t % 7));
    return fx::dot(x, v);
  });
}

/// Advances of `length` iterations with `states` states, by trying every place for the next one.
double advances(int length, int states, std::vector<std::vector<double>>& known) {
  if (length <= 1) return 0;
  double& cost = known[static_cast<std::size_t>(states)][static_cast<std::size_t>(length)];
  if (cost >= 0) return cost;
  if (states == 1) return cost = length * (length - 1) / 2.0;
  double least = 1e300;
  for (int first = 1; first < length; ++first)
    least = std::min(least, first + advances(length - first, states - 1, known) + advances(first, states, known));
  return cost = least;
}
double advances(int length, int states) {
  std::vector<std::vector<double>> known(static_cast<std::size_t>(states) + 1,
                                         std::vector<double>(static_cast<std::size_t>(length) + 1, -1));
  return advances(length, states, known);
}
/// The same in closed form (Griewank & Walther 2000).
double fewest(double length, double states) {
  double r = 0, all = 1, before = 0;
  while (all < length) before = all, r += 1, all = all * (states + r) / r;
  return r > 0 ? r * length - before * (states + r) / (states + 1) : 0;
}

}  // namespace

TEST_CASE("all ways to keep states give the same bits on every device", "[jit][program][checkpoint]") {
  for (const fx::Device& dev : {fx::Device::best(), fx::Device::reference()}) {
    const auto x = dev.upload(start(5));
    for (int steps : {0, 1, 2, 3, 17, 50}) {
      INFO(dev.name() << ", " << steps << " steps");
      auto [value, gradient] = fx::value_and_grad(pendulums(), fx::wrt<0>)(x, steps);
      for (const fx::CheckpointRule& rule : {fx::checkpoint_all, fx::strips(), fx::strips(3), fx::revolve(1), fx::revolve(4),
                                             fx::revolve(100), fx::budget(1_MB), fx::budget(1_KB)}) {
        auto [v, g] = fx::value_and_grad(pendulums(), fx::wrt<0>, {.checkpoint = rule})(x, steps);
        CHECK(v.host() == value.host());
        CHECK(g.host() == gradient.host());
        const auto back = fx::vjp(pendulums(), fx::wrt<0>, {.checkpoint = rule})(x, steps, dev.upload({1.0}));
        CHECK(back.host() == gradient.host());
      }
    }
  }
}

TEST_CASE("revolve runs as few iterations again as is possible", "[jit][program][checkpoint]") {
  const fx::Device dev = fx::Device::best();
  const auto x = dev.upload(start(5));
  for (int steps : {1, 2, 9, 40, 100}) {
    const double all = fx::value_and_grad(pendulums(), fx::wrt<0>).use(x, steps).launches;
    for (int states : {1, 2, 3, 5, 8, 30}) {
      INFO(steps << " steps, " << states << " states");
      const double least = advances(steps, states);
      CHECK(fewest(steps, states) == least);
      // Beyond the schedule's advances: the forward sweep runs to the end, so its last stretch is run again.
      const double more = fx::value_and_grad(pendulums(), fx::wrt<0>, {.checkpoint = fx::revolve(states)}).use(x, steps).launches - all;
      CHECK(steps + more >= least);
      CHECK(steps + more <= 1.05 * least + 5 + (states == 1 ? steps : 0));
    }
  }
}

TEST_CASE("a budget holds from half to a 64th of what keeping everything takes", "[jit][program][checkpoint][memory]") {
  const fx::Device dev = fx::Device::best();
  const int n = 500, steps = 2000;
  const auto x = dev.upload(start(n));
  const auto everything = fx::value_and_grad(pendulums(), fx::wrt<0>);
  auto [value, gradient] = everything(x, steps);
  const Numbers expected = gradient.host();
  const fx::ProgramUse all = everything.use(x, steps);
  CHECK(static_cast<double>(everything.peak_bytes()) == Approx(static_cast<double>(all.bytes)).epsilon(0.01));
  for (int part : {1, 2, 4, 8, 16, 32, 64}) {
    INFO("1/" << part << " of " << all.bytes);
    const std::int64_t bytes = all.bytes / part;
    const auto within = fx::value_and_grad(pendulums(), fx::wrt<0>, {.checkpoint = fx::budget(bytes)});
    auto [v, g] = within(x, steps);
    CHECK(g.host() == expected);
    CHECK(within.use(x, steps).bytes <= bytes);
    CHECK(static_cast<double>(within.peak_bytes()) <= 1.1 * static_cast<double>(bytes));
    // The rival has the whole budget for states of two arrays, and reverses each iteration on its own.
    const double states = std::floor(static_cast<double>(bytes) / (2.0 * n * 8));
    const double forward = within.use(x, steps).launches - all.launches + steps, rival = fewest(steps, states);
    CHECK(forward <= 1.2 * rival);
    if (part == 1) CHECK(within.use(x, steps).launches == all.launches);
  }
}

TEST_CASE("a budget that is too small says what is possible", "[jit][program][checkpoint]") {
  const fx::Device dev = fx::Device::best();
  const auto x = dev.upload(start(1000));
  CHECK_THROWS_WITH(fx::value_and_grad(pendulums(), fx::wrt<0>, {.checkpoint = fx::budget(10_KB)})(x, 100),
                    Catch::Contains("the least that it needs is"));
  // What it says is enough.
  std::string text;
  try {
    fx::value_and_grad(pendulums(), fx::wrt<0>, {.checkpoint = fx::budget(10_KB)})(x, 100);
  } catch (const fx::KernelError& e) { text = e.what(); }
  const auto at = text.find("needs is ");
  REQUIRE(at != std::string::npos);
  const double mb = std::stod(text.substr(at + 9)) + 0.001;
  const auto enough = fx::value_and_grad(pendulums(), fx::wrt<0>, {.checkpoint = fx::budget(static_cast<std::int64_t>(mb * (1 << 20)))});
  auto [v, g] = enough(x, 100);
  auto [v2, g2] = fx::value_and_grad(pendulums(), fx::wrt<0>)(x, 100);
  CHECK(g.host() == g2.host());
}

TEST_CASE("a budget goes into nested loops and through a while", "[jit][program][checkpoint]") {
  const fx::Device dev = fx::Device::best();
  auto damp = fx::kernel("damp", [](fx::InOut<double> v, fx::In<double> x) {
    auto i = fx::index();
    v[i] *= 1 - 0.01 * x[i] * x[i];
  });
  const auto p = fx::program("nest", [&, step = swing()](fx::Buffer<double> x0, fx::Int outer, fx::Int inner) {
    auto x = fx::copy(x0), v = x0 * 0.5;
    fx::Int k = 0;
    for (auto _ : fx::while_([&] { return k < outer; })) {
      for ([[maybe_unused]] auto t : fx::range(inner + k % 3)) step.over(x.size())(x, v, 0.01);
      damp.over(x.size())(v, x);
      k += 1;
    }
    return fx::dot(x, v);
  });
  const auto x = dev.upload(start(300));
  const auto everything = fx::value_and_grad(p, fx::wrt<0>);
  for (const auto& [outer, inner] : {std::pair(60, 5), {7, 70}, {3, 200}, {20, 20}}) {
    auto [value, gradient] = everything(x, outer, inner);
    const fx::ProgramUse all = everything.use(x, outer, inner);
    for (int part : {2, 8, 16}) {
      INFO(outer << " by " << inner << ", 1/" << part << " of " << all.bytes);
      const auto within = fx::value_and_grad(p, fx::wrt<0>, {.checkpoint = fx::budget(all.bytes / part)});
      auto [v, g] = within(x, outer, inner);
      CHECK(g.host() == gradient.host());
      CHECK(within.use(x, outer, inner).bytes <= all.bytes / part);
      CHECK(static_cast<double>(within.peak_bytes()) <= 1.1 * static_cast<double>(all.bytes / part));
      CHECK(within.use(x, outer, inner).launches < 5 * all.launches);
    }
    for (const fx::CheckpointRule& rule : {fx::strips(2), fx::strips(3), fx::revolve(3)}) {
      auto [v, g] = fx::value_and_grad(p, fx::wrt<0>, {.checkpoint = rule})(x, outer, inner);
      CHECK(g.host() == gradient.host());
    }
  }
}

TEST_CASE("loops that count down and loops that start elsewhere keep states as others do", "[jit][program][checkpoint]") {
  const fx::Device dev = fx::Device::best();
  const auto p = fx::program("down", [step = swing()](fx::Buffer<double> x0, fx::Int from) {
    auto x = fx::copy(x0), v = x0 * 0.5;
    for (auto t : fx::range(from, 3, -1)) step.over(x.size())(x, v, 0.01 * fx::Double(t));
    for (auto t : fx::range(5, from, 2)) step.over(x.size())(v, x, 0.02 * fx::Double(t));
    return fx::dot(x, v);
  });
  const auto x = dev.upload(start(5));
  for (int from : {0, 4, 20}) {
    auto [value, gradient] = fx::value_and_grad(p, fx::wrt<0>)(x, from);
    for (const fx::CheckpointRule& rule : {fx::strips(2), fx::strips(3), fx::revolve(1), fx::revolve(3), fx::budget(1_KB)}) {
      auto [v, g] = fx::value_and_grad(p, fx::wrt<0>, {.checkpoint = rule})(x, from);
      CHECK(g.host() == gradient.host());
    }
  }
}

TEST_CASE("second derivatives within strips and budgets are those of keeping everything", "[jit][program][checkpoint]") {
  const fx::Device dev = fx::Device::best();
  const int n = 40, steps = 200;
  const auto x = dev.upload(start(n)), direction = dev.upload(Numbers(static_cast<std::size_t>(n), 0.25));
  const auto all = fx::vjp(fx::value_and_grad(pendulums(), fx::wrt<0>), fx::wrt<0>);
  const Numbers hvp = all(x, steps, dev.zeros<double>(1), direction).host();
  const auto bytes = all.use(x, steps, dev.zeros<double>(1), direction).bytes;
  for (const fx::CheckpointRule& rule : {fx::strips(2), fx::strips(3), fx::budget(bytes / 4)}) {
    const auto less = fx::vjp(fx::value_and_grad(pendulums(), fx::wrt<0>, {.checkpoint = rule}), fx::wrt<0>);
    const Numbers mine = less(x, steps, dev.zeros<double>(1), direction).host();
    CHECK(less.use(x, steps, dev.zeros<double>(1), direction).bytes < bytes / 3);
    for (std::size_t i = 0; i < mine.size(); ++i) CHECK(mine[i] == Approx(hvp[i]).epsilon(1e-10));
  }
  for (const fx::CheckpointRule& rule : {fx::strips(2), fx::revolve(5), fx::budget(bytes / 8)}) {
    auto [v, g, dv, dg] = fx::jvp(fx::value_and_grad(pendulums(), fx::wrt<0>, {.checkpoint = rule}))(x, steps, direction);
    const Numbers mine = dg.host();
    for (std::size_t i = 0; i < mine.size(); ++i) CHECK(mine[i] == Approx(hvp[i]).epsilon(1e-10));
  }
  CHECK_THROWS_WITH(fx::vjp(fx::value_and_grad(pendulums(), fx::wrt<0>, {.checkpoint = fx::revolve(3)}), fx::wrt<0>)(
                        x, steps, dev.zeros<double>(1), direction),
                    Catch::Contains("revolve"));
}

TEST_CASE("a loop that is run again prints once", "[jit][program][checkpoint]") {
  static int lines;
  lines = 0;
  auto loud = fx::kernel("loud", [](fx::InOut<double> x) {
    auto i = fx::index();
    fx::print("x = {}", x[i]);
    x[i] = fx::sin(x[i]);
  });
  const auto p = fx::program("loud", [&](fx::Buffer<double> x0) {
    auto x = fx::copy(x0);
    for ([[maybe_unused]] auto t : fx::range(9)) loud.over(1)(x);
    return fx::dot(x, x);
  });
  fx::set_print_sink([](std::string_view, void*) { ++lines; }, nullptr);
  for (const fx::CheckpointRule& rule : {fx::checkpoint_all, fx::strips(), fx::revolve(2)}) {
    lines = 0;
    auto [v, g] = fx::value_and_grad(p, fx::wrt<0>, {.checkpoint = rule})(fx::Device::best().upload({0.5}));
    g.host();
    CHECK(lines == 9);
  }
  fx::set_print_sink(nullptr, nullptr);
}

TEST_CASE("torture 24: an orbit of a hundred thousand steps is differentiated within 64 MB", "[jit][program][checkpoint][torture]") {
  const fx::Device dev = fx::Device::best();
  // A sun and two planets in the plane, symplectic Euler: positions and velocities in one array of 12 numbers.
  const auto accelerate = fx::kernel("accelerate", [](fx::In<double> x, fx::InOut<double> v, fx::In<double> mass) {
    auto i = fx::index();
    fx::Double ax = 0.0, ay = 0.0;
    for (int j = 0; j < 3; ++j) {
      fx::Double dx = x[2 * j] - x[2 * i], dy = x[2 * j + 1] - x[2 * i + 1], r2 = dx * dx + dy * dy + 1e-4;
      fx::Double w = mass[j] / (r2 * fx::sqrt(r2));
      ax += w * dx;
      ay += w * dy;
    }
    v[2 * i] += 1e-3 * ax;
    v[2 * i + 1] += 1e-3 * ay;
  });
  const auto drift = fx::kernel("drift", [](fx::InOut<double> x, fx::In<double> v) {
    auto i = fx::index();
    x[i] += 1e-3 * v[i];
  });
  const auto orbit = fx::program("orbit", [&](fx::Buffer<double> v0, fx::Buffer<double> mass, fx::Int steps) {
    auto v = fx::copy(v0), x = v0 * 0.0;
    x += dev.upload({0.0, 0.0, 1.0, 0.0, 0.0, 1.7});
    for ([[maybe_unused]] auto t : fx::range(steps)) {
      accelerate.over(3)(x, v, mass);
      drift.over(6)(x, v);
    }
    return fx::dot(x, x);
  });
  const auto v0 = dev.upload({0.0, 0.0, 0.0, 1.0, -0.77, 0.0}), mass = dev.upload({1.0, 1e-3, 2e-3});
  const Numbers direction = {0.1, -0.2, 0.3, 0.4, -0.5, 0.6};
  const int steps = 100000;
  for (const std::int64_t bytes : {64_MB, std::int64_t{256} << 10}) {
    const auto derivative = fx::value_and_grad(orbit, fx::wrt<0>, {.checkpoint = fx::budget(bytes)});
    auto [value, gradient] = derivative(v0, mass, steps);
    const Numbers g = gradient.host();
    CHECK(static_cast<double>(derivative.peak_bytes()) <= 1.1 * static_cast<double>(bytes));
    auto [same, dv] = fx::jvp(orbit)(v0, mass, steps, dev.upload(direction), dev.zeros<double>(3));
    CHECK(value.item() == same.item());
    double dot = 0;
    for (std::size_t i = 0; i < 6; ++i) dot += g[i] * direction[i];
    CHECK(dot == Approx(dv.item()).epsilon(1e-6));
  }
}

TEST_CASE("the memory of a program goes with its last handle", "[jit][program][checkpoint]") {
  const fx::Device dev = fx::Device::cpu();
  const auto resident = [] {
    long pages = 0, here = 0;
    if (std::FILE* f = std::fopen("/proc/self/statm", "r")) {
      if (std::fscanf(f, "%ld %ld", &pages, &here) != 2) here = 0;
      std::fclose(f);
    }
    return here * 4096;
  };
  const auto x = dev.upload(start(1000));
  long with = 0;
  {
    const auto derivative = fx::value_and_grad(pendulums(), fx::wrt<0>);
    auto [v, g] = derivative(x, 8000);
    g.host();
    with = resident();
    CHECK(derivative.peak_bytes() > 60_MB);
  }
  CHECK(with - resident() > 50_MB);
}
