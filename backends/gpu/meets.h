// Where threads of a group meet: subgroup ops and barriers. A GPU's own subgroups have other widths, and which of their threads are
// active in a branch is not the language's. So the threads go through branches and loops around a meeting together, each with a flag
// that says whether it takes part, and meet in shared memory: values in one array, flags in another, and each thread combines those
// of its subgroup in the order of the threads, which is the evaluator's.
#pragma once
#include "fluxion/ir.h"

namespace fluxion::gpu {

/// A kernel without subgroup ops, whose barriers stand where all threads of a group come by. `subgroups`: a kernel may keep them if all
/// of them stand so too.
FLUXION_API Function lower_meets(const Function& f, bool subgroups = false);

}  // namespace fluxion::gpu
