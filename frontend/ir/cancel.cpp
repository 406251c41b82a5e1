// The request to stop is one word, which signal handlers may write.
#include "fluxion/cancel.h"

#include <atomic>

namespace fluxion {
namespace {

std::atomic<int> request{0};
static_assert(std::atomic<int>::is_always_lock_free && sizeof(request) == sizeof(int));

}  // namespace

void cancel() noexcept { request.store(1, std::memory_order_relaxed); }
bool cancelled() noexcept { return request.load(std::memory_order_relaxed) != 0; }
void resume() noexcept { request.store(0, std::memory_order_relaxed); }

namespace detail {
// Compiled code reads the word as a plain int, which it is.
const int* cancel_word() noexcept { return reinterpret_cast<const int*>(&request); }
}  // namespace detail

}  // namespace fluxion
