// The thread pool. Waking a sleeping thread costs 20-40 us, a spinning one 0.2 us: workers spin a while first.
#include "pool.h"

#include <immintrin.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <thread>

namespace fluxion::cpu {
namespace {

int default_threads() {
  if (const char* text = std::getenv("FLUXION_THREADS"))
    if (const int n = std::atoi(text); n > 0) return std::min(n, 1024);
  return std::max(1u, std::thread::hardware_concurrency());
}

class Pool {
 public:
  int size() {
    std::lock_guard lock(mutex_);
    return wanted();
  }
  void resize(int n) {
    std::lock_guard lock(mutex_);
    stop();
    wanted_ = n;
  }
  bool run(int chunks, void (*body)(void*, int, ThreadContext*), void* data, ThreadContext* mine) {
    std::unique_lock lock(mutex_, std::try_to_lock);
    if (!lock || wanted() == 1) return false;
    start();
    body_ = body, data_ = data, chunks_ = chunks, failure_ = mine->failure;
    next_.store(0);
    open_.store(true);
    generation_.fetch_add(1);
    if (asleep_.load() > 0) generation_.notify_all();
    work(mine);
    open_.store(false);
    for (int spins = 0; inside_.load() != 0; ++spins) {
      if (spins < 4096) _mm_pause();
      else std::this_thread::yield();  // a worker that was descheduled needs the core
    }
    return true;
  }

 private:
  int wanted() const { return wanted_ > 0 ? wanted_ : default_; }
  void start() {
    for (int k = static_cast<int>(workers_.size()); k + 1 < wanted(); ++k)
      workers_.emplace_back([this, seen = generation_.load()]() mutable { serve(seen); });
  }
  void stop() {
    quit_.store(true);
    generation_.fetch_add(1);
    generation_.notify_all();
    for (std::thread& t : workers_) t.join();
    workers_.clear();
    quit_.store(false);
  }
  void work(ThreadContext* context) {
    for (int chunk; (chunk = next_.fetch_add(1)) < chunks_;) body_(data_, chunk, context);
  }
  void serve(std::uint32_t seen) {
    flush_denormals();
    const std::unique_ptr<ThreadContext, void (*)(ThreadContext*)> context(make_context(), free_context);
    while (!quit_.load()) {
      inside_.fetch_add(1);
      if (open_.load()) {  // the job stays as it is while a worker is inside
        context->failure = failure_;
        work(context.get());
      }
      inside_.fetch_sub(1);
      using Clock = std::chrono::steady_clock;
      const auto until = Clock::now() + std::chrono::microseconds(60);
      while (generation_.load() == seen && Clock::now() < until)
        for (int k = 0; k < 16; ++k) _mm_pause();
      if (generation_.load() == seen) {
        asleep_.fetch_add(1);
        generation_.wait(seen);
        asleep_.fetch_sub(1);
      }
      seen = generation_.load();
    }
  }

  std::mutex mutex_;
  const int default_ = default_threads();
  int wanted_ = 0;
  std::vector<std::thread> workers_;
  std::atomic<std::uint32_t> generation_ = 0;
  std::atomic<int> asleep_ = 0, inside_ = 0, next_ = 0;
  std::atomic<bool> open_ = false, quit_ = false;
  void (*body_)(void*, int, ThreadContext*) = nullptr;
  void* data_ = nullptr;
  int chunks_ = 0;
  FailureSlot* failure_ = nullptr;
};
// Never destroyed: launches that are pending when main returns still run on it.
Pool& pool() {
  static Pool& p = *new Pool;
  return p;
}

}  // namespace

void parallel(int chunks, void (*body)(void*, int, ThreadContext*), void* data, ThreadContext* mine) {
  if (chunks > 1 && pool().run(chunks, body, data, mine)) return;
  for (int chunk = 0; chunk < chunks; ++chunk) body(data, chunk, mine);
}

unsigned flush_denormals() {
  const unsigned word = _mm_getcsr();
  _mm_setcsr(word | 0x8040u);
  return word;
}
void restore_control(unsigned word) { _mm_setcsr(word); }

ThreadContext* make_context() {
  auto* context = new ThreadContext;
  // Address space only; pages are committed when a tape first reaches them.
  const auto memory = static_cast<std::uint64_t>(sysconf(_SC_PHYS_PAGES)) * static_cast<std::uint64_t>(sysconf(_SC_PAGE_SIZE));
  std::uint64_t bytes = memory / 2;
  if (const char* text = std::getenv("FLUXION_TAPE_BYTES"))
    if (const long long n = std::atoll(text); n > 0) bytes = static_cast<std::uint64_t>(n);
  for (bytes = (bytes + 4095) & ~std::uint64_t{4095}; bytes >= 1 << 16; bytes = (bytes / 2) & ~std::uint64_t{4095}) {
    void* p = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED) continue;
    context->base = context->top = static_cast<char*>(p);
    context->end = context->base + bytes;
    break;
  }
  return context;
}

void free_context(ThreadContext* context) {
  if (context->base) munmap(context->base, static_cast<std::size_t>(context->end - context->base));
  delete context;
}

}  // namespace fluxion::cpu

namespace fluxion {
void set_cpu_threads(int n) { cpu::pool().resize(n); }
int cpu_threads() { return cpu::pool().size(); }
}  // namespace fluxion
