// expect: operands of types that need a cast to meet
#include <fluxion/functions.h>
namespace fx = fluxion;

#ifdef WRONG
void k(fx::Bool b, fx::Float x) { x = fx::max(x, b); }
#else
void k(fx::Bool b, fx::Float x) { x = fx::max(x, fx::Float(b)); }
#endif
