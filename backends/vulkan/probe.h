// What the device rounds correctly and whether it ends loops, found out by running it.
#pragma once
#include "gpu.h"

namespace fluxion::vulkan {

/// Completes gpu.traits().
FLUXION_API void probe(Gpu& gpu);

}  // namespace fluxion::vulkan
