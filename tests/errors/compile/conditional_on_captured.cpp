// expect: instead of `c ? a : b` fx::select(c, a, b)
#include <fluxion/functions.h>
namespace fx = fluxion;

#ifdef WRONG
void k(fx::Float x, fx::Float y) { y = x < 0 ? x : y; }
#else
void k(fx::Float x, fx::Float y) { y = fx::select(x < 0, x, y); }
#endif
