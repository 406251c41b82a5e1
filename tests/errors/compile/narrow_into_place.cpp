// expect: this value may not fit there
#include <fluxion/params.h>
namespace fx = fluxion;

#ifdef WRONG
void k(fx::In<double> x, fx::Out<float> y) { y[0] = x[0]; }
#else
void k(fx::In<double> x, fx::Out<float> y) { y[0] = fx::Float(x[0]); }
#endif
