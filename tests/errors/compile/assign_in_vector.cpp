// expect: an element of an In cannot be assigned
#include <fluxion/vec.h>
namespace fx = fluxion;

#ifdef WRONG
void k(fx::In<fx::float2> x, fx::Float2 v) { x[0] = v; }
#else
void k(fx::InOut<fx::float2> x, fx::Float2 v) { x[0] = v; }
#endif
