// A kernel as PTX in up to two variants, and what its entry is called with: shared by the real device and the emulated one.
#pragma once
#include <mutex>
#include <vector>

#include "gpu/device.h"
#include "ptx.h"

namespace fluxion::cuda {

/// The entry's parameters, each in a word of 8 bytes.
std::vector<std::uint64_t> parameters(const Function& kernel, const gpu::Piece& piece, std::span<const ArrayArgument> arrays,
                                      std::span<const std::uint64_t> scalars, const void* report);
/// Whether PtxOptions::compact holds for a launch.
bool is_compact(const Function& kernel, const gpu::Piece& piece, std::span<const ArrayArgument> arrays);
/// Threads of the piece, and of a block: all of a group, else such that every multiprocessor has some.
int block_size(const Function& kernel, const gpu::Piece& piece, int best, int multiprocessors);

/// The limits of CUDA devices.
gpu::Limits limits(int threads);
/// With FLUXION_CUDA_KEEP=FOLDER: writes `ptx` there, for ptxas to look at.
void keep(const Function& kernel, const std::string& ptx);
/// True when keep() does something.
bool keeps();
/// Why `kernel` cannot run there; "" where it can.
std::string lacks(const Function& kernel);

}  // namespace fluxion::cuda
