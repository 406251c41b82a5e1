// expect: a captured lambda must not be `mutable`
#include <fluxion/capture.h>
namespace fx = fluxion;

#ifdef WRONG
auto k = fx::detail::capture_kernel("k", [n = 0](fx::Out<float> y) mutable { y[0] = ++n; }, {});
#else
auto k = fx::detail::capture_kernel("k", [n = 0](fx::Out<float> y) { y[0] = n + 1; }, {});
#endif
