// expect: not an element type
#include <fluxion/params.h>
namespace fx = fluxion;
struct Odd {
  virtual ~Odd() {}
};
#ifdef WRONG
void k(fx::In<Odd> x) { (void)x[0]; }
#else
void k(fx::In<float> x) { (void)x[0]; }
#endif
