// Kernels to SPIR-V. What is emitted is what backends/gpu has made of the kernel: no sequences, no calls, subgroup ops only with
// Traits::subgroup, elementwise ops that the table of emit_ops.cpp spells.
//
// One invocation is one thread. What a launch is told stands in 8-byte words, as push constants or in memory at an address:
//   0: extents of axes 0, 1 (32 bits each); 1: extent of axis 2, number of the first thread (or group) of this dispatch; 2: number of
//   that after the last, where axis 0 begins (groups along it); 3: address of the report; then for each memory parameter its address and extents, two in a word; then the scalars, a word each.
// The report: see gpu/device.h.
#pragma once
#include <string>
#include <vector>

#include "fluxion/backend.h"
#include "gpu/device.h"
#include "module.h"

namespace fluxion::vulkan {

/// What the device can do, as far as code depends on it.
struct Traits {
  bool keeps_zero_inf_nan32 = false, keeps_zero_inf_nan64 = false;
  bool nearest32 = false, nearest64 = false;
  bool f64 = true;
  bool add_f32 = false, add_f32_shared = false;  // atomics
  bool atomics_i64 = false, atomics_i64_shared = false;
  int subgroup = 0;  // threads of a subgroup: the language's 32, where pipelines can have that (found out by running it, too), or none;
                     // tests have others
  // Found out by running it (probe.cpp): the specification asks for less.
  bool fma32 = false, fma64 = false, div32 = false, div64 = false, sqrt32 = false, sqrt64 = false;
  bool ends_loops = false;  // Mesa's software device: after 65535 rounds of all loops together, without a word
  bool operator==(const Traits&) const = default;
};

struct EmittedKernel {
  Words words;
  std::vector<gpu::Site> sites;
  int values = 0;  // of a record of the report: the most that a site hands over
  int argument_words = 0;
  bool push = true;  // the words are push constants, not in memory
  int threads = 64;  // of a workgroup
  std::int64_t shared_bytes = 0;
  int subgroup = 0;  // with subgroup ops: its pipeline needs whole subgroups of that many threads
};
inline constexpr int kPushWords = 16;  // 128 bytes, which every device has
inline constexpr int kHeaderWords = 4;

FLUXION_API EmittedKernel emit(const Function& kernel, const Traits& traits, bool fast);

/// Why the device cannot have `kernel`; "" where it can.
FLUXION_API std::string lacks(const Function& kernel, const Traits& traits);
bool uses_f64(const Function& kernel);

/// Words of the extents of a memory parameter.
constexpr int extent_words(int rank) { return rank > 2 ? 2 : 1; }

}  // namespace fluxion::vulkan
