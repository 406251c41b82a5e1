// A chain of n equations, each driven by the one before, by Runge and Kutta's fourth order: a launch over the n
// equations for each step. The stages of the few equations that one needs are computed where they are needed, which is
// cheaper than to write them down. The derivative is that of the last component.
#include <fluxion/fluxion.h>

#include <algorithm>
#include <functional>
#include <memory>

#include "problem.h"

namespace gradbench {

namespace fx = fluxion;

constexpr int kReach = 4;  // a step has four stages

Problem make_ode(const Ode& in) {
  const fx::Device dev = fx::Device::cpu();
  const int n = static_cast<int>(in.x.size()), steps = in.steps;
  const double h = 2.0 / steps;

  // The next y of equation i, which depends on the four equations before it: a stage is a point at which a slope is taken.
  // `before` of them are there; before the first equation everything is 1.
  auto advanced = [=](const fx::In<double>& x, const fx::In<double>& y, const fx::Int& i, int before) {
    const std::function<fx::Double(int, int)> stage = [&](int s, int back) -> fx::Double {
      if (back > before) return 1.0;
      if (s == 0) return +y[i - back];
      return y[i - back] + (s == 3 ? h : h / 2) * (x[i - back] * stage(s - 1, back + 1));
    };
    return y[i] + (h / 6) * (x[i] * (stage(0, 1) + 2.0 * (stage(1, 1) + stage(2, 1)) + stage(3, 1)));
  };
  auto step = fx::kernel("step", [=](fx::In<double> x, fx::In<double> y, fx::Out<double> next) {
    auto i = fx::index() + kReach;
    next[i] = advanced(x, y, i, kReach);
  });
  auto start = fx::kernel("start", [=](fx::In<double> x, fx::In<double> y, fx::InOut<double> next) {
    auto first = fx::index();
    for (int k = 0; k < std::min(n, kReach); ++k) next[first + k] = advanced(x, y, first + k, k);
  });
  auto last = fx::kernel("last", [=](fx::In<double> y, fx::Out<double> out) { out[fx::index()] = y[n - 1]; });

  auto solve = fx::program("solve", [=](fx::Buffer<double> x) {
    auto y = fx::zeros<double>(n);
    for ([[maybe_unused]] auto t : fx::range(steps)) {
      auto next = fx::zeros<double>(n);
      step.over(std::max(0, n - kReach))(x, y, next);
      start.over(1)(x, y, next);
      fx::swap(y, next);
    }
    return y;
  });
  auto end = fx::program("end", [=](fx::Buffer<double> x) {
    auto y = solve(x);
    auto out = fx::zeros<double>(1);
    last.over(1)(y, out);
    return out;
  });
  auto gradient = fx::value_and_grad(end);

  struct State {
    fx::Buffer<double> x, y, value, slope;
  };
  auto s = std::make_shared<State>(State{dev.upload(in.x), {}, {}, {}});
  Problem p;
  p.primal = [=] {
    s->y = solve(s->x);
    dev.wait();
  };
  p.derivative = [=] {
    std::tie(s->value, s->slope) = gradient(s->x);
    dev.wait();
  };
  p.primal_json = [=] { return nlohmann::json(s->y.host()); };
  p.derivative_json = [=] { return nlohmann::json(s->slope.host()); };
  add_rivals(p, in);
  return p;
}

}  // namespace gradbench
