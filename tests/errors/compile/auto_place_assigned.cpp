// expect: names the element, not its value; write `fx::Float v = y[i]`
#include <fluxion/params.h>
namespace fx = fluxion;

#ifdef WRONG
void k(fx::InOut<float> y) {
  auto v = y[0];
  v = 1;
}
#else
void k(fx::InOut<float> y) {
  fx::Float v = y[0];
  v = 1;
}
#endif
