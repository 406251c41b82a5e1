// expect: x[i, j] would be x[j]; write x(i, j)
#include <fluxion/params.h>
namespace fx = fluxion;

#ifdef WRONG
void k(fx::In<float> x, fx::Int i, fx::Int j, fx::Float v) { v = x[i, j]; }
#else
void k(fx::In<float, 2> x, fx::Int i, fx::Int j, fx::Float v) { v = x(i, j); }
#endif
