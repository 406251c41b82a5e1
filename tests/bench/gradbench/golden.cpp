// Compiled twice: GRADBENCH_FORMULAS is golden, or golden_fast with -ffast-math.
#include "golden.h"

#include "formulas.h"

namespace gradbench::GRADBENCH_FORMULAS {

Numbers primal(const Gmm& in) { return {gmm(in, in.alpha.data(), in.mu.data(), in.q.data(), in.l.data())}; }
Numbers primal(const Ba& in) {
  Numbers out(3 * in.p);
  ba(in, in.cameras.data(), in.points.data(), in.weights.data(), out.data(), out.data() + 2 * in.p);
  return out;
}
Numbers primal(const Ht& in) {
  Numbers out(3 * in.count);
  ht(in, in.theta.data(), in.us.data(), out.data());
  return out;
}
Numbers primal(const Lstm& in) { return {lstm(in, in.main.data(), in.extra.data())}; }
Numbers primal(const Ode& in) {
  Numbers out(in.x.size());
  ode(in, in.x.data(), out.data());
  return out;
}
Numbers primal(const Llsq& in) { return {llsq(in, in.x.data())}; }
Numbers primal(const Lse& in) { return {logsumexp(static_cast<int>(in.x.size()), in.x.data())}; }

}  // namespace gradbench::GRADBENCH_FORMULAS
