// Kernels that touch each element on its own: made for array arithmetic, and recognised for working in place.
#pragma once
#include <span>

#include "fluxion/ir.h"

namespace fluxion {

/// r[i] = op(a[i], b[i], ...): arrays are In, scalars scalars, the result is Out "r".
Function pointwise_kernel(Opcode op, std::span<const Type> operands, const Type& result);

/// True when a thread loads and stores its own index only, and loads before it stores; then an Out may share
/// the memory of an In. Needs In and Out parameters only.
bool is_pointwise(const Function& kernel);
/// Its loads before its stores again, which passes may have mixed: to them an Out and an In are different memories.
Function loads_first(Function pointwise);

/// The In parameters of a pointwise kernel whose memory an Out may take over. What orders a load before a store is that the
/// store needs it, since passes and LLVM take the two for different memory: so every store of a leaf must need it.
std::vector<char> taken_over(const Function& kernel);

}  // namespace fluxion
