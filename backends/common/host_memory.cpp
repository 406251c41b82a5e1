// The memory of backends that run on the host: plain pointers, blocks of the size that was freed last given out again.
#include <sys/mman.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "fluxion/backend.h"

namespace fluxion {
namespace {

// Blocks that were freed, by size: launches with scratch ask for the same sizes again and again.
struct Pool {
  std::mutex mutex;
  std::unordered_map<std::size_t, std::vector<void*>> blocks;
  std::size_t bytes = 0;
};
constexpr std::size_t kPooled = std::size_t{256} << 20;
constexpr std::size_t kHuge = std::size_t{2} << 20;
constexpr std::size_t kPage = 4096;
Pool& pool() {
  static Pool& p = *new Pool;
  return p;
}

}  // namespace

void* Backend::allocate(std::size_t size) {
  Pool& p = pool();
  {
    std::lock_guard lock(p.mutex);
    if (auto it = p.blocks.find(size); it != p.blocks.end() && !it->second.empty()) {
      void* data = it->second.back();
      it->second.pop_back();
      p.bytes -= size;
      return data;
    }
  }
  const bool large = size >= 2 * kHuge;
  // Whole pages: two arrays a few cache lines apart modulo 4096 make loads wait for stores they only seem to follow
  // (a stencil then takes half as long again).
  const std::size_t align = large ? kHuge : size >= 8 * kPage ? kPage : 64;
  void* data = std::aligned_alloc(align, (size + align - 1) / align * align);
  if (data && large) madvise(data, size, MADV_HUGEPAGE);
  return data;
}

void Backend::free(void* data, std::size_t bytes) noexcept {
  Pool& p = pool();
  {
    std::lock_guard lock(p.mutex);
    if (p.bytes + bytes <= kPooled) {
      p.blocks[bytes].push_back(data);
      p.bytes += bytes;
      return;
    }
  }
  std::free(data);
}

void Backend::write(void* to, const void* from, std::size_t bytes) { std::memcpy(to, from, bytes); }
void Backend::read(void* to, const void* from, std::size_t bytes) { std::memcpy(to, from, bytes); }
void Backend::copy(void* to, const void* from, std::size_t bytes) { std::memmove(to, from, bytes); }

void Backend::fill(void* data, const void* element, std::size_t size, std::size_t bytes) {
  auto* to = static_cast<std::byte*>(data);
  if (std::all_of(static_cast<const std::byte*>(element), static_cast<const std::byte*>(element) + size,
                  [](std::byte b) { return b == std::byte{0}; })) {
    std::memset(to, 0, bytes);
    return;
  }
  std::memcpy(to, element, std::min(size, bytes));
  // Doubling: each copy is as long as what is there.
  for (std::size_t done = size; done < bytes; done *= 2) std::memcpy(to + done, to, std::min(done, bytes - done));
}

}  // namespace fluxion
