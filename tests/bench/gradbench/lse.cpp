// logsumexp, shifted by the maximum. The maximum is taken in slots, neighbouring threads looking at neighbouring
// elements; it only shifts, so nothing is differentiated through it.
#include <fluxion/fluxion.h>

#include <algorithm>

#include "scalar_problem.h"

namespace gradbench {

namespace fx = fluxion;

Problem make_lse(const Lse& in) {
  const int n = static_cast<int>(in.x.size()), slots = std::min(n, 64), rounds = n / slots;

  auto slot_maxima = fx::kernel("slot_maxima", [=](fx::In<double> x, fx::Out<double> most) {
    auto s = fx::index();
    fx::Double m = x[s];
    for (auto r : fx::range(1, rounds)) m = fx::max(m, x[r * slots + s]);
    fx::if_(rounds * slots + s < n, [&] { m = fx::max(m, x[rounds * slots + s]); });
    most[s] = m;
  });
  auto maximum = fx::kernel("maximum", [=](fx::In<double> most, fx::Out<double> shift) {
    fx::Double m = most[0];
    for (auto s : fx::range(1, slots)) m = fx::max(m, most[s]);
    shift[fx::index()] = fx::stop_grad(m);
  });
  auto sum = fx::kernel(
      "sum", [](fx::In<double> x, fx::In<double> shift, fx::Accum<double> total) { total[0] += fx::exp(x[fx::index()] - shift[0]); });
  auto finish = fx::kernel("finish", [](fx::In<double> total, fx::In<double> shift, fx::Out<double> result) {
    auto i = fx::index();
    result[i] = shift[i] + fx::log(total[i]);
  });
  auto lse = fx::program("lse", [=](fx::Buffer<double> x) {
    auto most = fx::zeros<double>(slots), shift = fx::zeros<double>(1), total = fx::zeros<double>(1), result = fx::zeros<double>(1);
    slot_maxima.over(slots)(x, most);
    maximum.over(1)(most, shift);
    sum.over(n)(x, shift, total);
    finish.over(1)(total, shift, result);
    return result;
  });
  return scalar_problem(lse, in);
}

}  // namespace gradbench
