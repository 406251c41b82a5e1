// The CUDA backend.
#pragma once
#include <memory>

#include "fluxion/backend.h"

namespace fluxion::cuda {

/// A new one on the GPU that FLUXION_CUDA_DEVICE names, through FLUXION_CUDA_LIBRARY; cuda_backend() is the one of the process.
FLUXION_API std::shared_ptr<Backend> open_backend();

}  // namespace fluxion::cuda
