// Two parameters of one launch on the same memory: merged into one where that keeps the meaning, else refused.
#pragma once
#include <span>
#include <vector>

#include "fluxion/ir.h"
#include "fluxion/kernel_handle.h"

namespace fluxion::detail {

/// For each parameter the earlier parameter that it becomes one with, or -1. Empty: no merging.
using Merges = std::vector<int>;

/// Throws KernelError naming both parameters when two share memory that one writes and merging may race.
Merges find_merges(const Function& f, std::span<const Argument> arguments);
/// `f` without the merged parameters; what was left is InOut, or Accum when everything accumulates.
Function merge_parameters(const Function& f, const Merges& merges);

}  // namespace fluxion::detail
