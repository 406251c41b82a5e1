// A chain of n equations, each driven by the one before, by Runge and Kutta's fourth order: a launch over the n
// equations for each stage. The derivative is that of the last component.
#include <fluxion/fluxion.h>

#include <memory>

#include "problem.h"

namespace gradbench {

namespace fx = fluxion;

Problem make_ode(const Ode& in) {
  const fx::Device dev = fx::Device::cpu();
  const int n = static_cast<int>(in.x.size()), steps = in.steps;
  const double h = 2.0 / steps;

  // Equation i is driven by the one before it, the first by 1; the first is a launch of its own, so that the others
  // need not ask. A stage is the point at which the next slope is taken: y + scale * slope(at).
  auto stage = fx::kernel(
      "stage", [](fx::In<double> x, fx::In<double> y, fx::In<double> at, fx::Out<double> next, fx::Double scale) {
        auto i = fx::index() + 1;
        next[i] = y[i] + scale * (x[i] * at[i - 1]);
      });
  auto combine = fx::kernel("combine", [=](fx::In<double> x, fx::In<double> y, fx::In<double> b, fx::In<double> c,
                                           fx::In<double> d, fx::Out<double> next) {
    auto i = fx::index() + 1;
    next[i] = y[i] + (h / 6) * (x[i] * (y[i - 1] + 2.0 * (b[i - 1] + c[i - 1]) + d[i - 1]));
  });
  auto first = fx::kernel("first", [](fx::In<double> x, fx::In<double> y, fx::InOut<double> next, fx::Double scale) {
    auto i = fx::index();
    next[i] = y[i] + scale * x[i];
  });
  auto last = fx::kernel("last", [=](fx::In<double> y, fx::Out<double> out) { out[fx::index()] = y[n - 1]; });

  auto solve = fx::program("solve", [=](fx::Buffer<double> x) {
    auto y = fx::zeros<double>(n);
    for ([[maybe_unused]] auto t : fx::range(steps)) {
      auto b = fx::zeros<double>(n), c = fx::zeros<double>(n), d = fx::zeros<double>(n), next = fx::zeros<double>(n);
      stage.over(n - 1)(x, y, y, b, h / 2);
      first.over(1)(x, y, b, h / 2);
      stage.over(n - 1)(x, y, b, c, h / 2);
      first.over(1)(x, y, c, h / 2);
      stage.over(n - 1)(x, y, c, d, h);
      first.over(1)(x, y, d, h);
      combine.over(n - 1)(x, y, b, c, d, next);
      first.over(1)(x, y, next, h);
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
