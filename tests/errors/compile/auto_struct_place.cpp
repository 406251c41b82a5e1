// expect: write `Particle<fx::Var> q = p[i]`
#include <fluxion/structs.h>
namespace fx = fluxion;
template <template <class> class F> struct Particle {
  F<float> mass;
};
#ifdef WRONG
void k(fx::InOut<Particle<fx::Host>> p, Particle<fx::Var> v) {
  auto q = p[0];
  q = v;
}
#else
void k(fx::InOut<Particle<fx::Host>> p, Particle<fx::Var> v) {
  Particle<fx::Var> q = p[0];
  q = v;
}
#endif
