// expect: this value may not fit there
#include <fluxion/params.h>
namespace fx = fluxion;

#ifdef WRONG
void k(fx::Int n) { n = 1.5; }
#else
void k(fx::Int n, fx::Float f) { n = 2, f = 1.5, f = 2; }
#endif
