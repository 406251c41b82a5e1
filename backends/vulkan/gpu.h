// One Vulkan device in use: its memory, its pipelines, and the stream of commands, which run in the order in which they are given.
// Commands are recorded and submitted some at a time, while earlier ones run; whoever looks at memory from the host waits, and nobody
// else. All members may be called from several threads.
#pragma once
#include <chrono>
#include <cstddef>
#include <deque>
#include <functional>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "api.h"
#include "emit.h"

namespace fluxion::vulkan {

using Address = std::uint64_t;
/// Workgroups of a launch: along x, and rows of them, which every device takes.
inline constexpr std::int64_t kRow = 32768, kRows = 65535;

struct Pipeline {
  VkPipeline handle = VK_NULL_HANDLE;
  std::string cache;  // what the driver keeps of it
};

class FLUXION_API Gpu {
 public:
  /// Throws DeviceError, which says what is missing.
  Gpu();
  ~Gpu();
  Gpu(const Gpu&) = delete;

  std::string description() const;
  const std::string& name() const { return name_; }
  const std::string& identity() const { return identity_; }  // of device and driver
  bool software() const { return software_; }
  const Traits& traits() const { return traits_; }
  void set_traits(const Traits& t) { traits_ = t; }
  std::int64_t shared_limit() const { return shared_limit_; }
  int threads_limit() const { return threads_limit_; }

  // ---- memory
  Address allocate(std::size_t bytes);  // 0 where memory runs out
  void free(Address at, std::size_t bytes) noexcept;
  void write(Address to, const void* from, std::size_t bytes);
  void read(void* to, Address from, std::size_t bytes);
  void copy(Address to, Address from, std::size_t bytes);
  void fill(Address to, const void* element, std::size_t size, std::size_t bytes);
  void wait();

  // ---- code
  /// `cache`: what a pipeline of the same code had, of any process; it is ignored where it is of another device or driver.
  Pipeline pipeline(const Words& code, std::string_view cache, int subgroup = 0);
  void destroy(Pipeline p);
  /// `words`: as emit.h says. `push`: they are push constants. At most kRow * kRows of them.
  void dispatch(const Pipeline& p, std::span<const std::uint64_t> words, bool push, std::uint64_t workgroups);

  /// How work has come to the device.
  struct Counts {
    std::uint64_t submissions = 0;  // so far
    int in_flight = 0;              // of these not done yet
    int most_in_flight = 0;         // of all times
    std::size_t staged = 0;         // bytes on their way
    std::size_t held = 0;           // of the driver's memory
  };
  Counts counts();

  /// Bytes of arrays in use and their limit.
  std::size_t in_use() const { return in_use_; }
  std::size_t heap() const { return heap_; }

 private:
  static constexpr int kUnknownBatch = 4;
  struct Block {  // one allocation of the driver
    VkBuffer buffer;
    VkDeviceMemory memory;
    Address address;
    std::size_t bytes;
    std::byte* mapped;
  };
  struct Heap {
    std::uint32_t type = 0;
    bool mapped = false;
    std::map<Address, Block> blocks;
    std::map<Address, std::size_t> holes;  // of arenas
    std::set<std::pair<std::size_t, Address>> by_size;
    Address spare = 0;  // an arena that may be empty
  };
  struct Submission {
    VkCommandBuffer commands;
    std::uint64_t value;
    int launches;
    std::chrono::steady_clock::time_point since;
  };

  mutable std::recursive_mutex mutex_;
  Api vk_;
  VkInstance instance_ = VK_NULL_HANDLE;
  VkPhysicalDevice physical_ = VK_NULL_HANDLE;
  VkDevice device_ = VK_NULL_HANDLE;
  VkQueue queue_ = VK_NULL_HANDLE;
  std::uint32_t family_ = 0;
  VkPipelineLayout layout_ = VK_NULL_HANDLE;
  VkCommandPool pool_ = VK_NULL_HANDLE;
  VkSemaphore timeline_ = VK_NULL_HANDLE;
  std::uint64_t submitted_ = 0, finished_ = 0;
  VkCommandBuffer open_ = VK_NULL_HANDLE;         // being recorded
  int recorded_ = 0, launches_ = 0;               // in it: commands, and launches among them
  int most_batch_ = kUnknownBatch;                // by how long launches took
  std::chrono::steady_clock::time_point seen_{};  // when a submission was last seen to be done
  int batch_ = 1;                                 // launches that are submitted together, twice as many each time, until the host waits
  int most_in_flight_ = 0;
  std::size_t staged_ = 0;
  std::deque<Submission> running_;
  std::vector<VkCommandBuffer> idle_;
  std::deque<std::pair<std::uint64_t, std::function<void()>>> later_;  // once that submission is done
  Heap arrays_, staging_;
  std::string name_, identity_, driver_;
  std::string cache_header_;    // how what the driver keeps of pipelines begins
  bool requires_size_ = false;  // pipelines with subgroup ops say how many threads they want
  bool software_ = false, lost_ = false;
  Traits traits_;
  std::int64_t shared_limit_ = 0;
  int threads_limit_ = 0;
  std::size_t in_use_ = 0, held_ = 0, heap_ = 0, block_limit_ = 0;

  void make_instance();
  void choose_device();
  bool has_subgroups(bool size_control);
  void make_device();
  void choose_memory();
  void check(VkResult r, const char* what);
  /// With FLUXION_VULKAN_VALIDATE=1: what the validation layer has said is an error.
  void throw_messages();
  Address allocate(Heap& heap, std::size_t bytes);
  void free(Heap& heap, Address at, std::size_t bytes);
  static std::size_t rounded(std::size_t bytes);
  static VkBufferCreateInfo buffer_info(std::size_t bytes);
  bool make_block(Heap& heap, std::size_t bytes, Block& b);
  void give_back(Heap& heap, const Block& b);
  static void add_hole(Heap& heap, Address at, std::size_t bytes);
  static void remove_hole(Heap& heap, std::map<Address, std::size_t>::iterator hole);
  const Block& block_of(const Heap& heap, Address at) const;
  std::byte* mapped(const Heap& heap, Address at) const;
  VkCommandBuffer begin();  // a command buffer that what comes now may be recorded to, after a barrier
  void submit();
  void reap();
  void wait_for(std::uint64_t value);
  std::uint64_t now() const { return open_ ? submitted_ + 1 : submitted_; }  // of the submission with all that came so far
  void done(std::uint64_t value);
  void poll();                                         // what is done by now
  void make_room(std::size_t bytes);                   // for copies on their way
  Address stage(const void* from, std::size_t bytes);  // staging memory until what is recorded now is done
  void copy_command(VkCommandBuffer commands, const Heap& to_heap, Address to, const Heap& from_heap, Address from, std::size_t bytes);
};

}  // namespace fluxion::vulkan
