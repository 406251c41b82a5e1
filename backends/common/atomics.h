// Atomics that are plain sums.
#pragma once
#include "fluxion/ir.h"

namespace fluxion {

/// Atomic additions whose old number nobody uses become `accumulate`, where nothing but sums goes to that memory: backends
/// have better ways for those (private copies, registers), and their result does not depend on the threads.
Function atomic_sums(Function f);

}  // namespace fluxion
