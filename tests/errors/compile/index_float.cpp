// expect: an index is fx::Int; convert it: x[fx::Int(i)]
#include <fluxion/params.h>
namespace fx = fluxion;

#ifdef WRONG
void k(fx::In<float> x, fx::Float i, fx::Float v) { v = x[i]; }
#else
void k(fx::In<float> x, fx::Float i, fx::Float v) { v = x[fx::Int(i)]; }
#endif
