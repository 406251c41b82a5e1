// Sequences of a kernel in memory. A sequence is two numbers: where its items start on the thread's tape, and how many there are. A
// tape is a column of u32[slots, threads] (items of up to 4 bytes) or u64[slots, threads] (the others, and sequences of sequences);
// `threads` is a power of two, and thread t of the launch has column t mod threads, so no more may be in flight at once.
// Space is taken from the top and given back at the end of a loop's round, where no sequence made in it lives on.
#pragma once
#include <optional>

#include "fluxion/ir.h"

namespace fluxion::gpu {

struct Tapes {
  Function kernel;  // memory parameters @tape4, @tape8 appended, those that are used
  bool has4 = false, has8 = false;
  /// Kernel with the parameters of the original and @peaks: inout i32[2], which gets the most slots that a thread uses of each tape; to
  /// be run before. Empty: nothing is known before the run.
  std::optional<Function> count;
  bool uniform = false;  // one thread, run anywhere, counts for all
};
FLUXION_API bool has_sequences(const Function& f);
FLUXION_API Tapes lower_sequences(const Function& f);

}  // namespace fluxion::gpu
