// Memory of a device: blocks from the driver, cut into pieces of size classes that are given out again. Staging memory carries what
// the host cannot see, and what it writes while the device is at work: the host copies it there and goes on. On the software device
// everything is in plain sight once the device is idle.
#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cstring>

#include "fluxion/error.h"
#include "gpu.h"

namespace fluxion::vulkan {
namespace {
constexpr std::size_t kArena = std::size_t{32} << 20;
constexpr std::size_t kPiece = 256;
constexpr std::size_t kCopy = std::size_t{8} << 20;     // of a large copy that travels at once,
constexpr std::size_t kStaged = std::size_t{64} << 20;  // and of all that are on their way
}  // namespace

// Small sizes in steps of 256 bytes, large ones in steps of an eighth.
std::size_t Gpu::size_class(std::size_t bytes) {
  const std::size_t step = std::max(kPiece, std::bit_ceil(bytes) / 16);
  return (bytes + step - 1) / step * step;
}

Address Gpu::allocate(Heap& heap, std::size_t bytes) {
  const std::size_t size = size_class(bytes);
  if (auto it = heap.free.find(size); it != heap.free.end() && !it->second.empty()) {
    const Address at = it->second.back();
    it->second.pop_back();
    return at;
  }
  const bool own = size > kArena / 2;
  if (!own && heap.current) {
    Block& b = heap.blocks.at(heap.current);
    if (b.used + size <= b.bytes) {
      b.used += size;
      return b.address + b.used - size;
    }
  }
  const std::size_t want = own ? size : kArena;
  if (want > block_limit_) return 0;
  Block b{VK_NULL_HANDLE, VK_NULL_HANDLE, 0, want, size, nullptr};
  VkBufferCreateInfo info{VK_STRUCTURE_TYPE_BUFFER_CREATE_INFO,
                          nullptr,
                          0,
                          want,
                          VK_BUFFER_USAGE_SHADER_DEVICE_ADDRESS_BIT | VK_BUFFER_USAGE_STORAGE_BUFFER_BIT |
                              VK_BUFFER_USAGE_TRANSFER_SRC_BIT | VK_BUFFER_USAGE_TRANSFER_DST_BIT,
                          VK_SHARING_MODE_EXCLUSIVE,
                          0,
                          nullptr};
  if (vk_.CreateBuffer(device_, &info, nullptr, &b.buffer) != VK_SUCCESS) return 0;
  VkMemoryRequirements needs;
  vk_.GetBufferMemoryRequirements(device_, b.buffer, &needs);
  VkMemoryAllocateFlagsInfo flags{VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_FLAGS_INFO, nullptr, VK_MEMORY_ALLOCATE_DEVICE_ADDRESS_BIT, 0};
  VkMemoryAllocateInfo memory{VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO, &flags, needs.size, heap.type};
  if (vk_.AllocateMemory(device_, &memory, nullptr, &b.memory) != VK_SUCCESS) {
    vk_.DestroyBuffer(device_, b.buffer, nullptr);
    return 0;
  }
  check(vk_.BindBufferMemory(device_, b.buffer, b.memory, 0), "memory cannot be bound");
  if (heap.mapped) {
    void* p = nullptr;
    check(vk_.MapMemory(device_, b.memory, 0, VK_WHOLE_SIZE, 0, &p), "memory cannot be mapped");
    b.mapped = static_cast<std::byte*>(p);
  }
  VkBufferDeviceAddressInfo where{VK_STRUCTURE_TYPE_BUFFER_DEVICE_ADDRESS_INFO, nullptr, b.buffer};
  b.address = vk_.GetBufferDeviceAddress(device_, &where);
  if (!own) heap.current = b.address;
  heap.blocks[b.address] = b;
  return b.address;
}

void Gpu::free(Heap& heap, Address at, std::size_t bytes) {
  const std::size_t size = size_class(bytes);
  if (size <= kArena / 2) {
    heap.free[size].push_back(at);
    return;
  }
  // Large ones go back to the driver, as soon as nothing that was recorded can use them.
  const Block b = heap.blocks.at(at);
  later_.push_back({now(), [this, &heap, b] {
                      heap.blocks.erase(b.address);
                      vk_.DestroyBuffer(device_, b.buffer, nullptr);
                      vk_.FreeMemory(device_, b.memory, nullptr);
                    }});
}

Address Gpu::allocate(std::size_t bytes) {
  const std::lock_guard lock(mutex_);
  Address at = allocate(arrays_, bytes);
  if (!at && !later_.empty()) {  // what has been freed may not have gone back yet
    wait();
    at = allocate(arrays_, bytes);
  }
  if (at) in_use_ += bytes;
  return at;
}

void Gpu::free(Address at, std::size_t bytes) noexcept {
  const std::lock_guard lock(mutex_);
  in_use_ -= bytes;
  free(arrays_, at, bytes);
}

const Gpu::Block& Gpu::block_of(const Heap& heap, Address at) const {
  auto it = heap.blocks.upper_bound(at);
  if (it == heap.blocks.begin()) throw Bug({}, "vulkan: an address that no block has");
  --it;
  if (at >= it->second.address + it->second.bytes) throw Bug({}, "vulkan: an address that no block has");
  return it->second;
}

std::byte* Gpu::mapped(const Heap& heap, Address at) const {
  const Block& b = block_of(heap, at);
  return b.mapped + (at - b.address);
}

Address Gpu::stage(const void* from, std::size_t bytes) {
  const Address at = allocate(staging_, bytes);
  if (!at) throw DeviceError({}, fmt::format("device vulkan: no {} bytes of host memory for a copy", bytes));
  std::memcpy(mapped(staging_, at), from, bytes);
  staged_ += bytes;
  later_.push_back({now(), [this, at, bytes] {
                      staged_ -= bytes;
                      free(staging_, at, bytes);
                    }});
  return at;
}

void Gpu::make_room(std::size_t bytes) {
  poll();
  reap();
  if (staged_ + bytes > kStaged) submit();
  while (staged_ > 0 && staged_ + bytes > kStaged && !later_.empty()) {
    wait_for(later_.front().first);
    reap();
  }
}

void Gpu::copy_command(VkCommandBuffer commands, const Heap& to_heap, Address to, const Heap& from_heap, Address from, std::size_t bytes) {
  const Block &a = block_of(to_heap, to), &b = block_of(from_heap, from);
  const VkBufferCopy region{from - b.address, to - a.address, bytes};
  vk_.CmdCopyBuffer(commands, b.buffer, a.buffer, 1, &region);
}

void Gpu::write(Address to, const void* from, std::size_t bytes) {
  const std::lock_guard lock(mutex_);
  poll();
  if (arrays_.mapped && !open_ && finished_ == submitted_) {
    std::memcpy(mapped(arrays_, to), from, bytes);
    return;
  }
  constexpr std::size_t kInCommands = 1024;  // little enough to travel with the commands
  if (bytes <= kInCommands && bytes % 4 == 0 && to % 4 == 0) {
    const Block& b = block_of(arrays_, to);
    vk_.CmdUpdateBuffer(begin(), b.buffer, to - b.address, bytes, from);
    return;
  }
  for (std::size_t at = 0; at < bytes; at += kCopy) {
    const std::size_t n = std::min(kCopy, bytes - at);
    make_room(n);
    const VkCommandBuffer commands = begin();  // what is staged from here on belongs to it
    copy_command(commands, arrays_, to + at, staging_, stage(static_cast<const std::byte*>(from) + at, n), n);
    if (n == kCopy) submit();  // the device copies it while the host copies the next one
  }
}

void Gpu::read(void* to, Address from, std::size_t bytes) {
  const std::lock_guard lock(mutex_);
  if (arrays_.mapped) {
    wait();
    std::memcpy(to, mapped(arrays_, from), bytes);
    return;
  }
  // Two pieces at a time: the device copies one while the host copies the other.
  struct Part {
    Address staged;
    std::size_t at, bytes;
    std::uint64_t value;
  };
  std::deque<Part> parts;
  const auto take = [&] {
    const Part p = parts.front();
    parts.pop_front();
    wait_for(p.value);
    std::memcpy(static_cast<std::byte*>(to) + p.at, mapped(staging_, p.staged), p.bytes);
    free(staging_, p.staged, p.bytes);
  };
  for (std::size_t at = 0; at < bytes; at += kCopy) {
    if (parts.size() == 2) take();
    const std::size_t n = std::min(kCopy, bytes - at);
    const Address staged = allocate(staging_, n);
    if (!staged) throw DeviceError({}, fmt::format("device vulkan: no {} bytes of host memory for a copy", n));
    copy_command(begin(), staging_, staged, arrays_, from + at, n);
    submit();
    parts.push_back({staged, at, n, submitted_});
  }
  while (!parts.empty()) take();
  reap();
  batch_ = 1;
}

void Gpu::copy(Address to, Address from, std::size_t bytes) {
  const std::lock_guard lock(mutex_);
  if (to != from && bytes > 0) copy_command(begin(), arrays_, to, arrays_, from, bytes);
}

void Gpu::fill(Address to, const void* element, std::size_t size, std::size_t bytes) {
  const std::lock_guard lock(mutex_);
  if (bytes == 0) return;
  const auto* e = static_cast<const unsigned char*>(element);
  const bool one_byte = std::all_of(e, e + size, [&](unsigned char b) { return b == e[0]; });
  std::size_t done = 0;
  if ((one_byte || size == 4) && to % 4 == 0 && bytes >= 4) {
    std::uint32_t word = 0x01010101u * e[0];
    if (!one_byte) std::memcpy(&word, e, 4);
    done = bytes / 4 * 4;
    const Block& b = block_of(arrays_, to);
    vk_.CmdFillBuffer(begin(), b.buffer, to - b.address, done, word);
    if (done == bytes) return;
  }
  if (done == 0) {
    write(to, element, std::min(size, bytes));
    done = size;
  } else {
    std::vector<unsigned char> rest(bytes - done, e[0]);
    return write(to + done, rest.data(), rest.size());
  }
  // Doubling: each copy is as long as what is there.
  for (; done < bytes; done *= 2) copy_command(begin(), arrays_, to + done, arrays_, to, std::min(done, bytes - done));
}

}  // namespace fluxion::vulkan
