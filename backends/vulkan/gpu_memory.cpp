// Memory of a device: large arrays are blocks of the driver's, small ones pieces of arenas, whose holes grow together again. Staging memory carries what
// the host cannot see, and what it writes while the device is at work: the host copies it there and goes on. On the software device
// everything is in plain sight once the device is idle.
#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <iterator>

#include "fluxion/error.h"
#include "gpu.h"

namespace fluxion::vulkan {
namespace {
constexpr std::size_t kArena = std::size_t{32} << 20;
constexpr std::size_t kPiece = 256;
constexpr std::size_t kCopy = std::size_t{8} << 20;     // of a large copy that travels at once,
constexpr std::size_t kStaged = std::size_t{64} << 20;  // and of all that are on their way
}  // namespace

std::size_t Gpu::rounded(std::size_t bytes) { return (std::max<std::size_t>(bytes, 1) + kPiece - 1) / kPiece * kPiece; }

bool Gpu::make_block(Heap& heap, std::size_t bytes, Block& b) {
  b = {VK_NULL_HANDLE, VK_NULL_HANDLE, 0, bytes, nullptr};
  const VkBufferCreateInfo info = buffer_info(bytes);
  if (bytes > block_limit_ || vk_.CreateBuffer(device_, &info, nullptr, &b.buffer) != VK_SUCCESS) return false;
  VkMemoryRequirements needs;
  vk_.GetBufferMemoryRequirements(device_, b.buffer, &needs);
  VkMemoryAllocateFlagsInfo flags{VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_FLAGS_INFO, nullptr, VK_MEMORY_ALLOCATE_DEVICE_ADDRESS_BIT, 0};
  VkMemoryAllocateInfo memory{VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO, &flags, needs.size, heap.type};
  void* p = nullptr;
  const bool made = vk_.AllocateMemory(device_, &memory, nullptr, &b.memory) == VK_SUCCESS &&
                    vk_.BindBufferMemory(device_, b.buffer, b.memory, 0) == VK_SUCCESS &&
                    (!heap.mapped || vk_.MapMemory(device_, b.memory, 0, VK_WHOLE_SIZE, 0, &p) == VK_SUCCESS);
  if (!made) {
    vk_.DestroyBuffer(device_, b.buffer, nullptr);
    if (b.memory) vk_.FreeMemory(device_, b.memory, nullptr);
    return false;
  }
  b.mapped = static_cast<std::byte*>(p);
  const VkBufferDeviceAddressInfo where{VK_STRUCTURE_TYPE_BUFFER_DEVICE_ADDRESS_INFO, nullptr, b.buffer};
  b.address = vk_.GetBufferDeviceAddress(device_, &where);
  heap.blocks[b.address] = b;
  held_ += b.bytes;
  return true;
}

// To the driver, as soon as nothing that was recorded can use it.
void Gpu::give_back(Heap& heap, const Block& b) {
  later_.push_back({now(), [this, &heap, b] {
                      heap.blocks.erase(b.address);
                      held_ -= b.bytes;
                      vk_.DestroyBuffer(device_, b.buffer, nullptr);
                      vk_.FreeMemory(device_, b.memory, nullptr);
                    }});
}

void Gpu::add_hole(Heap& heap, Address at, std::size_t bytes) {
  heap.holes[at] = bytes;
  heap.by_size.insert({bytes, at});
}
void Gpu::remove_hole(Heap& heap, std::map<Address, std::size_t>::iterator hole) {
  heap.by_size.erase({hole->second, hole->first});
  heap.holes.erase(hole);
}

Address Gpu::allocate(Heap& heap, std::size_t bytes) {
  const std::size_t size = rounded(bytes);
  Block b;
  if (size > kArena / 2) return make_block(heap, size, b) ? b.address : 0;
  auto it = heap.by_size.lower_bound({size, 0});  // the smallest that will do
  if (it == heap.by_size.end()) {
    if (!make_block(heap, kArena, b)) return 0;
    add_hole(heap, b.address, kArena);
    it = heap.by_size.lower_bound({size, 0});
  }
  const auto [room, at] = *it;
  remove_hole(heap, heap.holes.find(at));
  if (room > size) add_hole(heap, at + size, room - size);
  return at;
}

void Gpu::free(Heap& heap, Address at, std::size_t bytes) {
  std::size_t size = rounded(bytes);
  const Block b = block_of(heap, at);
  if (size > kArena / 2) return give_back(heap, b);
  // Together with the holes beside it.
  if (auto next = heap.holes.find(at + size); next != heap.holes.end() && next->first < b.address + b.bytes) {
    size += next->second;
    remove_hole(heap, next);
  }
  if (auto next = heap.holes.lower_bound(at); next != heap.holes.begin()) {
    const auto before = std::prev(next);
    if (before->first >= b.address && before->first + before->second == at) {
      at = before->first;
      size += before->second;
      remove_hole(heap, before);
    }
  }
  // One empty arena is kept.
  const bool empty = size == b.bytes;
  if (empty && heap.by_size.contains({kArena, heap.spare}) && heap.spare != at) return give_back(heap, b);
  add_hole(heap, at, size);
  if (empty) heap.spare = at;
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
    Address staged = allocate(staging_, n);
    if (!staged) {  // what is on its way, and what is finished, gives its room back
      while (!parts.empty()) take();
      wait();
      staged = allocate(staging_, n);
    }
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
