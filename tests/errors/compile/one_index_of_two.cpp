// expect: this array has more than one axis: x(i, j)
#include <fluxion/params.h>
namespace fx = fluxion;

#ifdef WRONG
void k(fx::In<float, 2> x, fx::Int i, fx::Float v) { v = x[i]; }
#else
void k(fx::In<float, 2> x, fx::Int i, fx::Float v) { v = x(i, 0); }
#endif
