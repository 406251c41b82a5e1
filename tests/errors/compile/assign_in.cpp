// expect: an element of an In cannot be assigned
#include <fluxion/params.h>
namespace fx = fluxion;

#ifdef WRONG
void k(fx::In<float> x) { x[0] = 1; }
#else
void k(fx::InOut<float> x) { x[0] = 1; }
#endif
