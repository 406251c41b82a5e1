// What a kernel costs by its text: operations and bytes of memory, for one point.
#pragma once
#include <string>

#include "fluxion/ir.h"

namespace fluxion::console {

struct Cost {
  double flops = 0;      // of floats: an add, multiply, compare is one, an fma two, a function (exp, sin) one of those below
  double functions = 0;  // exp, sin, sqrt, divisions: what takes more than an operation
  double loaded = 0, stored = 0, added = 0;                 // bytes that loads, stores and sums name
  int loads = 0, stores = 0, accumulates = 0, atomics = 0;  // as written
  int loops = 0, branches = 0, depth = 0;
  bool exact = true;  // false: a trip count or a branch depends on data; loops of unknown length count once, branches by their longer arm
};
Cost cost_of(const Function& f);

}  // namespace fluxion::console
