// The passes between capture and a backend, as values. A pass is added by adding a row in jit/pipeline.cpp.
#pragma once
#include <span>
#include <string_view>

#include "fluxion/passes.h"

namespace fluxion {

/// After capture, before anything else sees the function. Contraction to fma is decided here, before
/// differentiation clones regions, so that a replayed region computes the same numbers.
FLUXION_API std::span<const Pass> capture_pipeline();
/// After a transform: the same without contraction.
FLUXION_API std::span<const Pass> derived_pipeline();
/// Between that and the code of a native backend.
FLUXION_API std::span<const Pass> native_pipeline();

/// Runs `passes` in order. In debug builds and with FLUXION_DEBUG=verify the verifier runs after each;
/// FLUXION_DUMP=all, or a list of names of passes, prints what they made to standard error.
FLUXION_API Function run_passes(const Function& f, std::span<const Pass> passes);

/// `f` for a backend: native_pipeline for it and for what it launches, but for the reference backend. `as_written`: backends lower
/// transcendentals themselves, so that a NaN can be traced to what the user wrote.
FLUXION_API Function lower(const Function& f, std::string_view backend, bool as_written = false);

/// True when FLUXION_DUMP asks for this stage: a pass, "captured", "llvm" or "asm".
FLUXION_API bool dump_wanted(std::string_view stage);
FLUXION_API void dump_stage(std::string_view stage, std::string_view function, std::string_view text);

}  // namespace fluxion
