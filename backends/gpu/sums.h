// Sums that threads of a launch add to, so that the result does not depend on who comes first.
//
// An element that one thread owns is read, added to and written. Integers are added by atomics. Floats are added exactly: the 2^-149
// (2^-1074) of each number are spread over limbs of 32 bits, each in an i64 that many threads may add to in any order; a second kernel
// carries and rounds once, and adds that to the element. The result is the sum of all that was added, correctly rounded. A limb holds
// 2^31 parts: where a launch may add more, or the rounds of a loop are not known, who brings a limb across a multiple of 2^60 carries that on.
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
  std::int64_t adds = 0;  // at most, of a thread to the elements of one target; 0: any number is right
  int shift = 0;          // an axis longer than 2^(32 - shift) makes threads meet that seem to own elements
};
struct SumsOptions {
  bool relaxed = false;  // in any order
  bool many = false;     // limbs carry on, whatever the number of adds
  bool warps = false;    // where all threads of a warp add to one element, they do without branches, so that code can add up theirs first
};
FLUXION_API Sums lower_sums(const Function& f, const SumsOptions& options);

/// Adds to one element by a launch that limbs hold without carrying on: 2^30 unless a test changes it.
FLUXION_API std::int64_t& most_adds();

}  // namespace fluxion::gpu
