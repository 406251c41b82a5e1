// Finds barriers that surely are not reached by all threads of a group.
#pragma once
#include "fluxion/ir.h"

namespace fluxion {

/// Throws KernelError at a barrier under a condition or trip count that is made of the thread's index alone and differs between
/// threads of the first group. What depends on data is the evaluator's to find.
void refuse_divergent_barriers(const Function& kernel);

}  // namespace fluxion
