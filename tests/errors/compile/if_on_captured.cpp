// expect: write fx::if_(c, [&]{ ... })
#include <fluxion/control.h>
namespace fx = fluxion;

#ifdef WRONG
void k(fx::Float x) {
  if (x < 0) x = 1;
}
#else
void k(fx::Float x) {
  fx::if_(x < 0, [&] { x = 1; });
}
#endif
