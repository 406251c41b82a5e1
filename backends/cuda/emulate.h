// The CUDA backend without a GPU: the same kernels, as LLVM has them before they become PTX, run by the host, block after block. It is
// for tests; threads that part on the way to a barrier or a shuffle are an error. FLUXION_CUDA_EMULATE=1 makes it the device cuda.
#pragma once
#include <memory>

#include "fluxion/backend.h"

namespace fluxion::cuda {

FLUXION_API std::shared_ptr<Backend> emulated_backend();

}  // namespace fluxion::cuda
