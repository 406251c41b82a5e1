// Memory of a CUDA device: from the driver's pool, whose blocks are given out again in the order of the stream. Copies to and from the
// host go through pinned memory in pieces, so that one piece travels while the host copies the next.
#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "fluxion/error.h"
#include "gpu.h"

namespace fluxion::cuda {
namespace {
constexpr std::size_t kSlots = 4, kSlotBytes = std::size_t{2} << 20;
}

void Gpu::make_staging() {
  for (std::size_t k = 0; k < kSlots; ++k) {
    Slot s;
    void* data = nullptr;
    if (cu_.MemHostAlloc(&data, kSlotBytes, 0) != kSuccess) return;  // the driver copies by itself then
    s.data = static_cast<std::byte*>(data);
    slots_.push_back(s);
    check(cu_.EventCreate(&slots_.back().done, kEventDisableTiming), "no event");
  }
}

Gpu::Slot& Gpu::slot() {
  Slot& s = slots_[next_slot_++ % slots_.size()];
  if (s.busy) wait_for([&] { return cu_.EventQuery(s.done); });
  s.busy = false;
  return s;
}

Pointer Gpu::allocate(std::size_t bytes) {
  const Use use(*this);
  Pointer at = 0;
  const auto attempt = [&] { return pool_ ? cu_.MemAllocFromPoolAsync(&at, bytes, pool_, stream_) : cu_.MemAlloc(&at, bytes); };
  Result r = attempt();
  if (r == kOutOfMemory) {  // what has been freed may not have gone back yet
    wait();
    if (pool_) check(cu_.MemPoolTrimTo(pool_, 0), "memory cannot be given back");
    r = attempt();
  }
  if (r == kOutOfMemory) return 0;
  check(r, "memory cannot be allocated");
  queued();
  in_use_ += bytes;
  return at;
}

void Gpu::free(Pointer at, std::size_t bytes) noexcept {
  if (!at) return;
  in_use_ -= bytes;
  try {
    const Use use(*this);
    // What fails here fails again where somebody can be told.
    if (pool_) cu_.MemFreeAsync(at, stream_);
    else cu_.MemFree(at);
    queued();
  } catch (const DeviceError&) {  // the device is lost, and all its memory
  }
}

void Gpu::write(Pointer to, const void* from, std::size_t bytes) {
  const Use use(*this);
  if (slots_.empty()) {  // not pinned: the driver has its own copy when this returns
    check(cu_.MemcpyHtoDAsync(to, from, bytes, stream_), "a copy to the device");
    return;
  }
  for (std::size_t done = 0; done < bytes;) {
    const std::size_t n = std::min(kSlotBytes, bytes - done);
    Slot& s = slot();
    std::memcpy(s.data, static_cast<const std::byte*>(from) + done, n);
    check(cu_.MemcpyHtoDAsync(to + done, s.data, n, stream_), "a copy to the device");
    check(cu_.EventRecord(s.done, stream_), "a copy to the device");
    s.busy = true;
    done += n;
  }
}

void Gpu::read(void* to, Pointer from, std::size_t bytes) {
  const Use use(*this);
  if (slots_.empty()) {
    check(cu_.MemcpyDtoHAsync(to, from, bytes, stream_), "a copy from the device");
    return wait();
  }
  struct Piece {
    Slot* slot;
    std::size_t at, bytes;
  };
  std::vector<Piece> flying;
  const auto land = [&] {
    const Piece p = flying.front();
    flying.erase(flying.begin());
    wait_for([&] { return cu_.EventQuery(p.slot->done); });
    p.slot->busy = false;
    std::memcpy(static_cast<std::byte*>(to) + p.at, p.slot->data, p.bytes);
  };
  for (std::size_t done = 0; done < bytes;) {
    if (flying.size() == slots_.size()) land();
    const std::size_t n = std::min(kSlotBytes, bytes - done);
    Slot& s = slot();
    check(cu_.MemcpyDtoHAsync(s.data, from + done, n, stream_), "a copy from the device");
    check(cu_.EventRecord(s.done, stream_), "a copy from the device");
    s.busy = true;
    flying.push_back({&s, done, n});
    done += n;
  }
  while (!flying.empty()) land();
}

void Gpu::copy(Pointer to, Pointer from, std::size_t bytes) {
  const Use use(*this);
  if (to != from && bytes > 0) {
    check(cu_.MemcpyDtoDAsync(to, from, bytes, stream_), "a copy on the device");
    queued();
  }
}

void Gpu::fill(Pointer to, const void* element, std::size_t size, std::size_t bytes) {
  const Use use(*this);
  if (bytes == 0) return;
  queued();
  const auto* e = static_cast<const unsigned char*>(element);
  const bool one_byte = std::all_of(e, e + size, [&](unsigned char b) { return b == e[0]; });
  if (!one_byte && size == 2 && to % 2 == 0 && bytes % 2 == 0) {
    std::uint16_t v;
    std::memcpy(&v, e, 2);
    return check(cu_.MemsetD16Async(to, v, bytes / 2, stream_), "memory cannot be filled");
  }
  if ((one_byte || size == 4) && to % 4 == 0 && bytes % 4 == 0) {
    std::uint32_t v = 0x01010101u * e[0];
    if (!one_byte) std::memcpy(&v, e, 4);
    return check(cu_.MemsetD32Async(to, v, bytes / 4, stream_), "memory cannot be filled");
  }
  if (one_byte) return check(cu_.MemsetD8Async(to, e[0], bytes, stream_), "memory cannot be filled");
  // Doubling: each copy is as long as what is there.
  std::size_t done = std::min(size, bytes);
  write(to, element, done);
  for (; done < bytes; done *= 2) copy(to + done, to, std::min(done, bytes - done));
}

}  // namespace fluxion::cuda
