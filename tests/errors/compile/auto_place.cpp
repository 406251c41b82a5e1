// expect: names the element, not its value; write `fx::Float v = y[i]`
#include <fluxion/params.h>
namespace fx = fluxion;

#ifdef WRONG
void k(fx::InOut<float> y, fx::Float x) {
  auto v = y[0];
  x = v + 1;
}
#else
void k(fx::InOut<float> y, fx::Float x) {
  auto v = +y[0];
  x = v + 1;
}
#endif
