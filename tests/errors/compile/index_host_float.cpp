// expect: an index is a whole number
#include <fluxion/params.h>
namespace fx = fluxion;

#ifdef WRONG
void k(fx::In<float> x, fx::Float v) { v = x[1.5]; }
#else
void k(fx::In<float> x, fx::Float v) { v = x[1]; }
#endif
