// expect: a kernel returns nothing
#include <fluxion/capture.h>
namespace fx = fluxion;

#ifdef WRONG
auto k = fx::detail::capture_kernel("k", [](fx::In<float> x) { return x[0]; }, {});
#else
auto k = fx::detail::capture_kernel("k", [](fx::In<float> x, fx::Out<float> y) { y[0] = x[0]; }, {});
#endif
