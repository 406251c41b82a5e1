// expect: a launch takes one argument for each parameter
#include <fluxion/kernel.h>
namespace fx = fluxion;

#ifdef WRONG
void launch(const fx::Kernel<fx::In<float>, fx::Out<float>, fx::Float>& k, const fx::Buffer<float>& x, const fx::Buffer<float>& y) {
  k.over(8)(x, y);
}
#else
void launch(const fx::Kernel<fx::In<float>, fx::Out<float>, fx::Float>& k, const fx::Buffer<float>& x, const fx::Buffer<float>& y) {
  k.over(8)(x, y, 2);
}
#endif
