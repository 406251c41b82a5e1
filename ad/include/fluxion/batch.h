// A kernel or program as one that runs over a leading axis of its arguments: the transform beneath fx::vmap. Like the
// derivatives a map of Functions, so that each may be applied to the results of the others.
#pragma once
#include <cstdint>
#include <vector>

#include "fluxion/ir.h"

namespace fluxion {

/// How a parameter takes part.
enum class BatchAxis : std::uint8_t {
  shared,   // all of the batch have the same
  leading,  // its leading axis is the batch; a scalar becomes an In array
  element,  // a memory of one element becomes one of an element for each of the batch
};

/// Kernel: a leading axis in front of the domain. `scalars`: how many scalar parameters, from each on, become one array of
/// structs of this layout (0: by themselves).
struct BatchedScalars {
  int count = 1;
  LayoutId element;
};
FLUXION_API Function batched_kernel(const Function& k, const std::vector<BatchAxis>& axes, const std::vector<BatchedScalars>& scalars = {});

/// Program: `n` runs at once, `leading` by parameter. Everything that it returns has the leading axis.
FLUXION_API Function batched_program(const Function& f, const std::vector<char>& leading, std::int64_t n);

}  // namespace fluxion
