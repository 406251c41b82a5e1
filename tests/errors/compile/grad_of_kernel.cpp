// expect: a kernel has no one value to take the gradient of
#include <fluxion/differentiate.h>
namespace fx = fluxion;

#ifdef WRONG
void f(const fx::Kernel<fx::In<float>, fx::Out<float>>& k) { fx::grad(k); }
#else
void f(const fx::Kernel<fx::In<float>, fx::Out<float>>& k) { fx::vjp(k); }
#endif
