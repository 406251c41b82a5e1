// The golden primals: formulas.h for double, compiled by g++ -O3 -march=native; in `golden_fast` with -ffast-math
// besides.
#pragma once
#include "inputs.h"

#define GRADBENCH_GOLDEN(name)                              \
  namespace gradbench::name {                               \
  Numbers primal(const Gmm& in);                            \
  Numbers primal(const Ba& in); /* residuals, then w_err */ \
  Numbers primal(const Ht& in);                             \
  Numbers primal(const Lstm& in);                           \
  Numbers primal(const Ode& in);                            \
  Numbers primal(const Llsq& in);                           \
  Numbers primal(const Lse& in);                            \
  }
GRADBENCH_GOLDEN(golden)
GRADBENCH_GOLDEN(golden_fast)
#undef GRADBENCH_GOLDEN
