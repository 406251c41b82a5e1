// Least squares of a polynomial against the sign function: a thread for each of the n points. The
// residuals are an array, so that their sum of squares and the polynomials are differentiated one by one.
#include <fluxion/fluxion.h>

#include <memory>

#include "problem.h"

namespace gradbench {

namespace fx = fluxion;

Problem make_llsq(const Llsq& in) {
  const fx::Device dev = fx::Device::cpu();
  const int n = in.n, m = static_cast<int>(in.x.size());

  auto residuals = fx::kernel("residuals", [=](fx::In<double> x, fx::Out<double> residual) {
    auto i = fx::index();
    fx::Double t = fx::cast<double>(i) * 2.0 / double(n - 1) - 1.0, power = 1.0, value = 0.0;
    for (auto j : fx::range(m)) {
      value += x[j] * power;
      power *= t;
    }
    residual[i] = fx::sign(t) - value;
  });
  auto squares =
      fx::kernel("squares", [](fx::In<double> residual, fx::Accum<double> loss) { loss[0] += 0.5 * fx::square(residual[fx::index()]); });
  auto llsq = fx::program("llsq", [=](fx::Buffer<double> x) {
    auto residual = fx::zeros<double>(n), loss = fx::zeros<double>(1);
    residuals.over(n)(x, residual);
    squares.over(n)(residual, loss);
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
