// Differentiating what threads of a group do together. Shared memory has an adjoint in shared memory, and barriers stay where
// they are, in reverse order: phases between barriers keep their race classes (docs/autodiff.md).
#pragma once
#include "fluxion/builder.h"

namespace fluxion::ad {

/// Throws KernelError for atomics that work on floats which vary, unless they add and nobody uses the old number.
void check_atomic(const Function& f, const Op& op);
/// Throws KernelError where the reverse mode would run atomics on a parameter again, get other results, and what is floating
/// point depends on them.
void check_repeatable(const Function& kernel);
/// atomic_min and atomic_max of floats in shared memory as a loop over the threads in order, where all of them come by.
Function order_minmax(const Function& f);
/// atomic_min and atomic_max of floats in arrays as stores of the thread that wins, found by kernels that run before; of a program:
/// of what it launches.
Function order_array_minmax(const Function& f);
Function order_launched_minmax(const Function& f);
bool has_barrier(const Function& kernel);

/// A memory for tangents or adjoints of `m`, local or shared as it is.
MemoryId make_adjoint_like(Builder& b, const Memory& m, const char* suffix);

/// The tangent of a subgroup op on `x` with result `r`, given that of x[0].
ValueId subgroup_tangent(Builder& b, const Op& op, const Values& x, ValueId r, ValueId tangent);
/// The cotangent of x[0], given that of `r`.
ValueId subgroup_adjoint(Builder& b, const Op& op, const Values& x, ValueId r, ValueId cotangent);

}  // namespace fluxion::ad
