// expect: instead of `while (c)` for (auto _ : fx::while_
#include <fluxion/control.h>
namespace fx = fluxion;

#ifdef WRONG
void k(fx::Int n) {
  while (n > 0) n -= 1;
}
#else
void k(fx::Int n) {
  for (auto _ : fx::while_([&] { return n > 0; })) n -= 1;
}
#endif
