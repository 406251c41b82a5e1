// Kernels whose loops are so long that a tape of every iteration would fill the memory.
#pragma once
#include "fluxion/ir.h"

namespace fluxion::ad {

/// Each loop of `f` that may have more iterations than a strip becomes a loop over the first strip and a nest over the others: the
/// reverse keeps a tape of one strip at a time, and of the rest what each strip starts from, which it runs again. Up to a
/// strip nothing is run again. Loops around such loops stay as they are, since they keep no tape but what each iteration
/// starts from; so do very long bodies, and loops that keep what they load of an array that they change.
Function strip_loops(const Function& f);
/// Whether strip_loops would do something.
bool has_long_loops(const Function& f);

}  // namespace fluxion::ad
