// What every point of a launch reaches of the arrays, whatever is in them: told by the indices alone, before anything runs.
#pragma once
#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "fluxion/ir.h"

namespace fluxion::detail {

/// Accesses of one parameter outside of loops and branches, at sum(coefficient[a] * index of axis a) + low .. high along an axis.
struct Reach {
  int parameter, axis;
  std::array<std::int64_t, 3> coefficient;
  std::int64_t low, high;
  Loc low_at, high_at;
};
std::vector<Reach> reach_of(const Function& kernel);

/// What is wrong with a launch over `domain`, whose axes have at least one point, on an array of `extent`: "" if nothing.
std::string misses(const Reach& r, const std::array<std::int64_t, 3>& domain, const std::array<std::int64_t, 3>& extent);

}  // namespace fluxion::detail
