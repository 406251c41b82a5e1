// Sums that threads of a launch add to, so that the result does not depend on who comes first.
//
// An element that one thread owns is read, added to and written. Integers are added by atomics. Floats are added exactly: the 2^-149
// (2^-1074) of each number are spread over limbs of 32 bits, each in an i64 that many threads may add to in any order; a second kernel
// carries and rounds once, and adds that to the element. The result is the sum of all that was added, correctly rounded.
// Where order may matter (`relaxed`), or where a kernel also looks at the memory, floats are added by atomics.
#pragma once
#include <vector>

#include "fluxion/ir.h"

namespace fluxion::gpu {

struct Sums {
  Function kernel;  // memory parameters i64[limbs, elements] appended, one for each of `targets`
  struct Target {
    int parameter;  // position among the memory parameters
    int limbs;
    Function finish;  // parameters: the array and its limbs; runs once for each element
  };
  std::vector<Target> targets;
  int shift = 0;  // an axis longer than 2^(32 - shift) makes threads meet that seem to own elements
};
FLUXION_API Sums lower_sums(const Function& f, bool relaxed);

}  // namespace fluxion::gpu
