// expect: no parameter of this kernel is floating point
#include <fluxion/differentiate.h>
namespace fx = fluxion;

#ifdef WRONG
void f(const fx::Kernel<fx::In<int>, fx::Out<int>>& k) { fx::vjp(k); }
#else
void f(const fx::Kernel<fx::In<int>, fx::Out<float>>& k) { fx::vjp(k); }
#endif
