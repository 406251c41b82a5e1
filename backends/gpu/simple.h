// Small lowerings that every GPU backend needs: calls, and checks of indices.
#pragma once
#include "fluxion/ir.h"

namespace fluxion::gpu {

/// Every call of a fn becomes its body. Host functions stay calls.
FLUXION_API Function inline_all(const Function& f);
/// How many ops that makes.
std::size_t inlined_size(const Function& f);
/// A check before each access that its index is inside, and that items of sequences are.
FLUXION_API Function check_bounds(const Function& f);
/// True when `f` or what it calls is a host function.
bool calls_host(const Function& f);

}  // namespace fluxion::gpu
