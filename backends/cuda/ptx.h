// Kernels as PTX text, made without a GPU and without CUDA installed. A kernel is what gpu/plan.h makes a stage of.
//
// The entry's parameters, in order:
//   .u64 first, end      the units of this launch: threads, or groups of a kernel that has some. Thread (block) k of the grid is unit
//                        first + k; those from `end` on leave at once. They are counted along the last axis of the domain first.
//   .u64 report          address of the report (gpu/device.h); read only where the kernel has checks or prints
//   .u32 n0, n1, n2      the extents of the domain
// then for each parameter of the kernel, in order:
//   an array             .u64 address, .u32 extents of its axes (as many as it has)
//   a scalar             its type; a bool is .u8, an f16 or bf16 its bits as .u16
// Blocks have one axis: of as many threads as a group has, or of any number up to kMostThreads.
#pragma once
#include <string>
#include <string_view>

#include "gpu/device.h"
#include "gpu/plan.h"

namespace fluxion::cuda {

/// Threads of a block of a kernel without groups.
inline constexpr int kMostThreads = 256;
/// Bytes of parameters that every driver takes.
inline constexpr int kParameterBytes = 4096;
/// Bytes of shared memory that a block has without asking.
inline constexpr std::int64_t kSharedBytes = 48 << 10;

struct PtxOptions {
  std::string arch = "sm_75";
  std::string entry = "kernel";
  /// No array has 2^31 elements, all start at multiples of 16 bytes, and `end` is at most 2^31 threads.
  bool compact = true;
  bool fast = false;
};

/// The code of `kernel`. Throws KernelError for one that CUDA cannot have (too much shared memory, too many parameters).
FLUXION_API std::string ptx(const Function& kernel, const PtxOptions& options);

/// `f` as kernels for ptx(), and what is to be known of each for its launches.
FLUXION_API gpu::Plan plan(const Function& f, const CompileOptions& options, bool many = false);
/// The places of `kernel` that report, by their numbers; in `values` the most that one hands over.
std::vector<gpu::Site> sites(const Function& kernel, int& values);

/// Bytes of all parameters of the entry.
int parameter_bytes(const Function& kernel);

/// The arch with the highest number that code can be made for and that a GPU of compute capability `major`.`minor` runs; "" if none.
std::string arch_for(int major, int minor);

/// All that changes the text.
std::string fingerprint();

}  // namespace fluxion::cuda
