// expect: after the domain: k.over(n)
#include <fluxion/kernel.h>
namespace fx = fluxion;

#ifdef WRONG
void launch(const fx::Kernel<fx::In<float>, fx::Out<float>, fx::Float>& k, const fx::Buffer<float>& x, const fx::Buffer<float>& y) { k(8); }
#else
void launch(const fx::Kernel<fx::In<float>, fx::Out<float>, fx::Float>& k, const fx::Buffer<float>& x, const fx::Buffer<float>& y) {
  k.over(8)(x, y, 2.f);
}
#endif
