// expect: an Accum can only be added to with += and -=
#include <fluxion/params.h>
namespace fx = fluxion;

#ifdef WRONG
void k(fx::Accum<float> e) { e[0] = 1; }
#else
void k(fx::Accum<float> e, fx::Float v) { e[0] += v; }
#endif
