// See peer_adolc.h. GRADBENCH_ADOLC says that the package is there.
#include "peer_adolc.h"

#ifdef GRADBENCH_ADOLC
#include <adolc/adolc.h>

#include <memory>

#include "formulas.h"

namespace gradbench::adolc {
namespace {

Numbers joined(std::initializer_list<const Numbers*> parts) {
  Numbers out;
  for (const Numbers* part : parts) out.insert(out.end(), part->begin(), part->end());
  return out;
}

// Made at the first call, so that who does not ask for the peer pays nothing.
template <class F>
std::function<void()> tape(const Numbers& at, const F& f) {
  struct State {
    Numbers x, gradient;
    short tag = 0;  // 0: not taped yet
  };
  auto s = std::make_shared<State>(State{at, Numbers(at.size()), 0});
  return [s, f] {
    if (s->tag == 0) {
      static short next = 1;
      s->tag = next++;
      // Buffers that hold the whole tape: what does not fit would go into files of the working directory.
      constexpr unsigned kBuffer = 1u << 24;
      trace_on(s->tag, 0, kBuffer, kBuffer, kBuffer, kBuffer);
      std::vector<adouble> x(s->x.size());
      for (std::size_t i = 0; i < x.size(); ++i) x[i] <<= s->x[i];
      double value;
      f(x.data()) >>= value;
      trace_off();
    }
    gradient(s->tag, static_cast<int>(s->x.size()), s->x.data(), s->gradient.data());
  };
}

}  // namespace

std::function<void()> derivative(const Gmm& in) {
  return tape(joined({&in.alpha, &in.mu, &in.q, &in.l}), [in](adouble* x) {
    adouble *mu = x + in.k, *q = mu + in.k * in.d, *l = q + in.k * in.d;
    return formulas::gmm<adouble>(in, x, mu, q, l);
  });
}
std::function<void()> derivative(const Lstm& in) {
  return tape(joined({&in.main, &in.extra}), [in](adouble* x) { return formulas::lstm<adouble>(in, x, x + in.main.size()); });
}
std::function<void()> derivative(const Ode& in) {
  return tape(in.x, [in](adouble* x) {
    std::vector<adouble> y(in.x.size());
    formulas::ode<adouble>(in, x, y.data());
    return y.back();
  });
}
std::function<void()> derivative(const Llsq& in) {
  return tape(in.x, [in](adouble* x) { return formulas::llsq<adouble>(in, x); });
}
std::function<void()> derivative(const Lse& in) {
  return tape(in.x, [in](adouble* x) { return formulas::logsumexp<adouble>(static_cast<int>(in.x.size()), x); });
}

}  // namespace gradbench::adolc

#else

namespace gradbench::adolc {
std::function<void()> derivative(const Gmm&) { return {}; }
std::function<void()> derivative(const Lstm&) { return {}; }
std::function<void()> derivative(const Ode&) { return {}; }
std::function<void()> derivative(const Llsq&) { return {}; }
std::function<void()> derivative(const Lse&) { return {}; }
}  // namespace gradbench::adolc
#endif
