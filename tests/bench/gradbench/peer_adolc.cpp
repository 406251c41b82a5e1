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

template <class F>
std::function<void()> tape(Numbers at, const F& f) {
  static short next = 1;
  const short tag = next++;
  trace_on(tag);
  {
    std::vector<adouble> x(at.size());
    for (std::size_t i = 0; i < at.size(); ++i) x[i] <<= at[i];
    double value;
    f(x.data()) >>= value;
  }
  trace_off();
  auto x = std::make_shared<Numbers>(std::move(at));
  auto g = std::make_shared<Numbers>(x->size());
  return [tag, x, g] { gradient(tag, static_cast<int>(x->size()), x->data(), g->data()); };
}

}  // namespace

std::function<void()> derivative(const Gmm& in) {
  return tape(joined({&in.alpha, &in.mu, &in.q, &in.l}), [&](adouble* x) {
    adouble *mu = x + in.k, *q = mu + in.k * in.d, *l = q + in.k * in.d;
    return formulas::gmm<adouble>(in, x, mu, q, l);
  });
}
std::function<void()> derivative(const Lstm& in) {
  return tape(joined({&in.main, &in.extra}),
              [&](adouble* x) { return formulas::lstm<adouble>(in, x, x + in.main.size()); });
}
std::function<void()> derivative(const Ode& in) {
  return tape(in.x, [&](adouble* x) {
    std::vector<adouble> y(in.x.size());
    formulas::ode<adouble>(in, x, y.data());
    return y.back();
  });
}
std::function<void()> derivative(const Llsq& in) {
  return tape(in.x, [&](adouble* x) { return formulas::llsq<adouble>(in, x); });
}
std::function<void()> derivative(const Lse& in) {
  return tape(in.x, [&](adouble* x) { return formulas::logsumexp<adouble>(static_cast<int>(in.x.size()), x); });
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
