// expect: an argument does not fit its parameter
#include <fluxion/kernel.h>
namespace fx = fluxion;

#ifdef WRONG
void launch(const fx::Kernel<fx::In<float>, fx::Out<float>, fx::Float>& k, const fx::Buffer<float>& x, const fx::Buffer<float>& y) {
  k(x, 2.f, y);
}
#else
void launch(const fx::Kernel<fx::In<float>, fx::Out<float>, fx::Float>& k, const fx::Buffer<float>& x, const fx::Buffer<float>& y) {
  k(x, y, 2.f);
}
#endif
