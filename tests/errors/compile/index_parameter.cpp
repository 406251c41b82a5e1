// expect: a captured lambda takes fx::In, Out, InOut, Accum
#include <fluxion/kernel.h>
namespace fx = fluxion;

#ifdef WRONG
auto k = fx::kernel([](fx::Index, fx::Out<float> y) { y[0] = 1; });
#else
auto k = fx::kernel([](fx::Out<float> y) { y[fx::index()] = 1; });
#endif
