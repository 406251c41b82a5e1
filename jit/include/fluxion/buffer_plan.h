// From programs on values to programs on memory: what a backend compiles. ir.h's preface defines both forms.
#pragma once
#include "fluxion/ir.h"

namespace fluxion {

/// Elementwise ops on arrays become launches of small kernels, on sequences loops over their items; a
/// seq_add_at of sequences becomes seq_get, add, seq_set. What is left on arrays: zeros, launch, structure.
FLUXION_API Function lower_array_ops(const Function& program);

/// Launches lose the parameters that their kernel does not need, and what only fed those goes too: the primals
/// of linear kernels are not kept for the reverse sweep.
FLUXION_API Function prune_launches(const Function& program);

/// A launch that adds once to each element of an array of zeros gets the array as an Out and writes it.
FLUXION_API Function write_sums(const Function& program);

/// Value form -> memory form. A launch works in place where the old version is dead, and on a copy elsewhere;
/// versions that a loop carries share a buffer where their lives permit; dead buffers are used again.
/// Needs: a verified program in value form; runs lower_array_ops itself.
FLUXION_API Function buffer_plan(const Function& program);

/// True for a program that buffer_plan has been over.
FLUXION_API bool is_memory_form(const Function& program);

}  // namespace fluxion
