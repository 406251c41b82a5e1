// expect: this value may not fit there
#include <fluxion/params.h>
namespace fx = fluxion;

#ifdef WRONG
void k(fx::Float f, fx::Double d) { f += d; }
#else
void k(fx::Float f, fx::Double d) { f += fx::Float(d), d += f; }
#endif
