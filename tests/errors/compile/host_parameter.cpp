// expect: captured values: fx::Float, not float
#include <fluxion/capture.h>
namespace fx = fluxion;

#ifdef WRONG
auto k = fx::detail::capture_kernel("k", [](fx::Out<float> y, float a) { y[0] = a; }, {});
#else
auto k = fx::detail::capture_kernel("k", [](fx::Out<float> y, fx::Float a) { y[0] = a; }, {});
#endif
