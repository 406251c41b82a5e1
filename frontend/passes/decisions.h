// Which values decide what runs: those that a condition, a loop bound, a trip or an index depends on, through
// values, loops and memory. Two copies of a region agree on what they do when these are computed alike.
#pragma once
#include <vector>

#include "fluxion/ir.h"

namespace fluxion {

/// By value index.
std::vector<bool> deciding_values(const Function& f);

}  // namespace fluxion
