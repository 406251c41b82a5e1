// Least squares of a polynomial against the sign function: a thread for each of the n points. The
// residuals are an array, so that their sum of squares and the polynomials are differentiated one by one.
#include <fluxion/fluxion.h>

#include "scalar_problem.h"

namespace gradbench {

namespace fx = fluxion;

Problem make_llsq(const Llsq& in) {
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
  return scalar_problem(llsq, in);
}

}  // namespace gradbench
