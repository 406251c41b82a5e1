// Least squares of a polynomial against the sign function: a thread for each of the n points.
#include <fluxion/fluxion.h>

#include <memory>

#include "problem.h"

namespace gradbench {

namespace fx = fluxion;

Problem make_llsq(const Llsq& in) {
  const fx::Device dev = fx::Device::cpu();
  const int n = in.n, m = static_cast<int>(in.x.size());

  auto squares = fx::kernel("squares", [=](fx::In<double> x, fx::Accum<double> loss) {
    fx::Double t = fx::cast<double>(fx::index()) * 2.0 / double(n - 1) - 1.0, power = 1.0, value = 0.0;
    for (auto j : fx::range(m)) {
      value += x[j] * power;
      power *= t;
    }
    fx::Double r = fx::sign(t) - value;
    loss[0] += 0.5 * r * r;
  });
  auto llsq = fx::program("llsq", [=](fx::Buffer<double> x) {
    auto loss = fx::zeros<double>(1);
    squares.over(n)(x, loss);
    return loss;
  });
  auto gradient = fx::value_and_grad(llsq);

  struct State {
    fx::Buffer<double> x, value, slope;
  };
  auto s = std::make_shared<State>(State{dev.upload(in.x), {}, {}});
  Problem p;
  p.primal = [=] {
    s->value = llsq(s->x);
    dev.wait();
  };
  p.derivative = [=] {
    std::tie(s->value, s->slope) = gradient(s->x);
    dev.wait();
  };
  p.primal_json = [=] { return nlohmann::json(s->value.item()); };
  p.derivative_json = [=] { return nlohmann::json(s->slope.host()); };
  add_rivals(p, in);
  return p;
}

}  // namespace gradbench
