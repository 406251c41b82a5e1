// Stopping what runs: kernels in the middle of their work, programs between two launches, and host code that goes on launching.
// Whoever launches or waits next gets a Cancelled, which has the user's line. Arrays then hold what had been written; devices go on
// as after any other error.
#pragma once
#include <utility>

#include "fluxion/error.h"

namespace fluxion {

/// Something was stopped by cancel().
class FLUXION_API Cancelled : public Error {
  using Error::Error;
};

/// Asks everything that runs, on all devices, to stop. The next launch, wait or read of an array throws Cancelled, and the request is
/// met by that. May be called from any thread and from a signal handler.
///
/// CPU launches stop at the next chunk of their domain, programs before their next launch, GPU kernels where the host cuts them into
/// pieces. A loop inside of a kernel or between launches on the CPU stops where the code was compiled to look at the request, which
/// costs a test each turn: CompileOptions::interrupt, or FLUXION_INTERRUPT=1 for all that is made from then on.
FLUXION_API void cancel() noexcept;
/// True from cancel() on, until it has been met.
FLUXION_API bool cancelled() noexcept;
/// Takes a request back that nobody has met.
FLUXION_API void resume() noexcept;

namespace detail {
/// What code that runs looks at: not 0 while there is a request.
FLUXION_API const int* cancel_word() noexcept;

/// Calls what the evaluator does on the caller's own thread: a request that ends it has been met.
template <class F> decltype(auto) meeting_requests(F&& f) {
  try {
    return std::forward<F>(f)();
  } catch (const Cancelled&) {
    resume();
    throw;
  }
}
}  // namespace detail

}  // namespace fluxion
