// One CUDA device in use: its memory and one stream, in which everything runs in the order in which it is given. Whoever looks at memory
// from the host waits. All members may be called from several threads.
#pragma once
#include <atomic>
#include <deque>
#include <functional>
#include <mutex>
#include <string>
#include <vector>

#include "api.h"
#include "fluxion/type.h"

namespace fluxion::cuda {

/// Code in the driver.
struct Loaded {
  Module module = nullptr;
  Entry entry = nullptr;
  int block = 0;  // threads of a block that keep the device busiest
};

class FLUXION_API Gpu {
 public:
  /// Throws DeviceError, which says what is missing.
  Gpu();
  Gpu(const Gpu&) = delete;
  ~Gpu();

  std::string description() const;
  std::vector<std::string> features() const;
  std::string identity() const;  // of device and driver
  const std::string& arch() const { return arch_; }
  int multiprocessors() const { return multiprocessors_; }
  int threads_limit() const { return threads_limit_; }

  // ---- memory
  Pointer allocate(std::size_t bytes);  // 0 where memory runs out
  void free(Pointer at, std::size_t bytes) noexcept;
  void write(Pointer to, const void* from, std::size_t bytes);
  void read(void* to, Pointer from, std::size_t bytes);
  void copy(Pointer to, Pointer from, std::size_t bytes);
  void fill(Pointer to, const void* element, std::size_t size, std::size_t bytes);
  void wait();
  std::size_t in_use() const { return in_use_; }
  std::size_t heap() const { return heap_; }

  // ---- code
  /// `kernel`: for messages. `most`: threads of a block; 0 where that is fixed.
  Loaded load(const std::string& ptx, const std::string& entry, const std::string& kernel, int most);
  void unload(const Loaded& code) noexcept;
  void launch(const Loaded& code, std::uint64_t blocks, int block, void** parameters);

 private:
  struct Slot {  // of pinned memory
    std::byte* data = nullptr;
    Event done = nullptr;
    bool busy = false;
  };

  /// A call: alone, in the device's context, after which the caller's is the thread's again.
  class Use {
   public:
    explicit Use(Gpu& gpu);
    ~Use();
    Use(const Use&) = delete;

   private:
    Gpu& gpu_;
    const std::lock_guard<std::recursive_mutex> lock_;
  };

  std::recursive_mutex mutex_;
  Api cu_;
  Ordinal device_ = 0;
  Context context_ = nullptr;
  Stream stream_ = nullptr;
  Pool pool_ = nullptr;
  std::vector<Slot> slots_;  // none where the host has no memory to pin
  std::size_t next_slot_ = 0;
  std::deque<Event> marks_;          // in the stream: after every so many calls
  std::vector<Event> unused_marks_;  // events for more of them
  int since_mark_ = 0;
  std::string name_, arch_;
  int number_ = 0, driver_ = 0, major_ = 0, minor_ = 0, multiprocessors_ = 1, threads_limit_ = 1024;
  std::size_t heap_ = 0;
  std::atomic<std::size_t> in_use_{0};
  bool lost_ = false;

  void choose_device();
  void make_staging();
  int attribute(int which, Ordinal device) const;
  void close() noexcept;
  void check(Result r, const char* what);
  [[noreturn]] void fail(Result r, const char* what);
  /// Until `query` says no more that something runs. What takes too long is one part of what runs, from mark to mark.
  void wait_for(const std::function<Result()>& query);
  bool reached_mark();
  void queued();  // a call has been: the driver's queue must not run full, since then it is the driver that waits
  Slot& slot();   // the next one, once it is free
};

}  // namespace fluxion::cuda
