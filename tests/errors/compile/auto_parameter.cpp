// expect: write `fx::In<float> x`, not `auto x`
#include <fluxion/capture.h>
namespace fx = fluxion;

#ifdef WRONG
auto k = fx::detail::capture_kernel("k", [](auto x, fx::Out<float> y) { y[0] = x[0]; }, {});
#else
auto k = fx::detail::capture_kernel("k", [](fx::In<float> x, fx::Out<float> y) { y[0] = x[0]; }, {});
#endif
