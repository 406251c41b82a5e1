// See the header. What only a GPU has (numbers of threads, barriers, shuffles) becomes calls of functions below; where threads meet, each
// is a fiber, and the block goes on once all have come.
#include "emulate.h"

#include <fmt/format.h>
#include <llvm/IR/IRBuilder.h>
#include <llvm/IR/IntrinsicInst.h>
#include <llvm/IR/IntrinsicsNVPTX.h>
#include <llvm/IR/Module.h>
#include <setjmp.h>
#include <ucontext.h>

#include <cstdlib>
#include <cstring>

#include "code.h"
#include "common/uniformity.h"
#include "cpu/orc.h"
#include "emit.h"
#include "fluxion/error.h"
#include "gpu/backend.h"

namespace fluxion::cuda {
namespace {

using Body = void (*)(const std::uint64_t* words);
enum class At : std::uint8_t { running, barrier, shuffle, end };
enum How : std::uint32_t { butterfly, from_lane, up, down, ballot };

struct Fiber {
  ucontext_t context{};  // where it begins
  jmp_buf here{};        // where it goes on: jumps spare the system call that changing contexts makes
  bool begun = false;
  std::vector<std::byte> stack;
  At at = At::running;
  std::uint32_t site = 0, how = 0, mask = 0, value = 0, lane = 0;
};

/// A block that runs.
struct Block {
  Body body = nullptr;
  const std::uint64_t* words = nullptr;
  std::uint32_t thread = 0, threads = 0, number = 0;
  std::vector<Fiber> fibers;
  jmp_buf home{};
};
Block* g_block = nullptr;  // under the lock of dispatch()

std::uint32_t thread_number() { return g_block->thread; }
std::uint32_t block_number() { return g_block->number; }
std::uint32_t block_threads() { return g_block->threads; }

void pause(At at) {
  Fiber& f = g_block->fibers[g_block->thread];
  f.at = at;
  if (_setjmp(f.here) == 0) _longjmp(g_block->home, 1);
}
// Until it pauses.
[[gnu::noinline]] void resume(Fiber& f) {
  if (_setjmp(g_block->home) != 0) return;
  if (f.begun) _longjmp(f.here, 1);
  f.begun = true;
  setcontext(&f.context);
}
void barrier(std::uint32_t site) {
  g_block->fibers[g_block->thread].site = site;
  pause(At::barrier);
}
std::uint32_t shuffle(std::uint32_t site, std::uint32_t how, std::uint32_t mask, std::uint32_t value, std::uint32_t lane) {
  Fiber& f = g_block->fibers[g_block->thread];
  f.site = site, f.how = how, f.mask = mask, f.value = value, f.lane = lane;
  pause(At::shuffle);
  return f.value;
}
void start() {
  g_block->body(g_block->words);
  pause(At::end);
}

[[noreturn]] void parted(const char* where) { throw Bug({}, fmt::format("cuda: threads of a block part on the way to a {}", where)); }

/// Shuffles of one warp, whose threads have all come.
void exchange(std::span<Fiber> warp) {
  std::uint32_t there = 0;
  for (std::size_t k = 0; k < warp.size(); ++k) there |= std::uint32_t{warp[k].at == At::shuffle} << k;
  const std::uint32_t all = warp.size() == 32 ? ~0u : (1u << warp.size()) - 1;
  std::vector<std::uint32_t> result(warp.size());
  for (std::uint32_t k = 0; k < warp.size(); ++k) {
    const Fiber& f = warp[k];
    if (f.at != At::shuffle) continue;
    if (f.site != warp[static_cast<std::size_t>(__builtin_ctz(there))].site || f.mask != all) parted("shuffle");
    std::uint32_t from = f.how == butterfly ? k ^ f.lane : f.how == from_lane ? f.lane & 31 : f.how == up ? k - f.lane : k + f.lane;
    if (from > 31) from = k;
    if (f.how == ballot) {
      for (std::uint32_t j = 0; j < warp.size(); ++j) result[k] |= (there >> j & 1 ? warp[j].value : 0) << j;
      continue;
    }
    constexpr std::uint32_t kUndefined = 0xdeadbeef;
    result[k] = from < 32 && there >> from & 1 ? warp[from].value : kUndefined;
  }
  for (std::size_t k = 0; k < warp.size(); ++k)
    if (warp[k].at == At::shuffle) warp[k].value = result[k], warp[k].at = At::running;
}

// On its own, since the compiler takes getcontext for something that may return twice.
[[gnu::noinline]] void begin(Fiber& f) {
  f.at = At::running;
  f.begun = false;
  getcontext(&f.context);
  f.context.uc_stack.ss_sp = f.stack.data();
  // Stacks of one size begin at one place of a page: all would have the same lines of the cache.
  f.context.uc_stack.ss_size = f.stack.size() - static_cast<std::size_t>(&f - g_block->fibers.data()) * 576 % 8192;
  f.context.uc_link = nullptr;
  makecontext(&f.context, start, 0);
}

/// The first threads of the block.
void run_fibers(Block& b, std::uint32_t count) {
  constexpr std::size_t kStack = std::size_t{128} << 10;
  if (b.fibers.size() < count) b.fibers.resize(count);
  const std::span<Fiber> fibers(b.fibers.data(), count);
  for (Fiber& f : fibers) {
    if (f.stack.empty()) f.stack.resize(kStack);
    begin(f);
  }
  for (;;) {
    for (b.thread = 0; b.thread < count; ++b.thread)
      if (fibers[b.thread].at == At::running) resume(fibers[b.thread]);
    std::uint32_t live = 0, waiting = 0;
    for (const Fiber& f : fibers) live += f.at != At::end, waiting += f.at == At::barrier;
    if (live == 0) return;
    if (waiting == live) {
      std::int64_t site = -1;
      for (Fiber& f : fibers) {
        if (f.at == At::end) continue;
        if (site >= 0 && f.site != site) parted("barrier");
        site = f.site;
        f.at = At::running;
      }
      continue;
    }
    bool any = false;
    for (std::size_t w = 0; w < count; w += 32) {
      const std::span<Fiber> warp = fibers.subspan(w, std::min<std::size_t>(32, count - w));
      std::size_t here = 0, gone = 0;
      for (const Fiber& f : warp) here += f.at == At::shuffle, gone += f.at == At::end;
      if (here == 0 || here + gone < warp.size()) continue;
      exchange(warp);
      any = true;
    }
    if (!any) parted("meeting");
  }
}

/// The module as it is for the host; gives whether threads meet.
bool adapt(llvm::Module& module, llvm::Function& entry) {
  namespace in = llvm::Intrinsic;
  entry.setCallingConv(llvm::CallingConv::C);
  llvm::IRBuilder<> b(module.getContext());
  bool meets = false;
  std::uint32_t site = 0;
  const auto call = [&](auto* function, std::vector<llvm::Value*> arguments, bool result) {
    std::vector<llvm::Type*> types(arguments.size(), b.getInt32Ty());
    auto* type = llvm::FunctionType::get(result ? static_cast<llvm::Type*>(b.getInt32Ty()) : b.getVoidTy(), types, false);
    llvm::Value* address = b.getInt64(reinterpret_cast<std::uintptr_t>(function));
    return b.CreateCall(type, b.CreateIntToPtr(address, b.getPtrTy()), arguments);
  };
  std::vector<llvm::IntrinsicInst*> found;
  for (llvm::BasicBlock& block : entry)
    for (llvm::Instruction& i : block)
      if (auto* c = llvm::dyn_cast<llvm::IntrinsicInst>(&i)) found.push_back(c);
  for (llvm::IntrinsicInst* c : found) {
    b.SetInsertPoint(c);
    llvm::Value* made = nullptr;
    const auto shuffled = [&](How how) {
      meets = true;
      return call(shuffle, {b.getInt32(site++), b.getInt32(how), c->getArgOperand(0), c->getArgOperand(1), c->getArgOperand(2)}, true);
    };
    switch (c->getIntrinsicID()) {
      case in::nvvm_read_ptx_sreg_tid_x: made = call(thread_number, {}, true); break;
      case in::nvvm_read_ptx_sreg_ctaid_x: made = call(block_number, {}, true); break;
      case in::nvvm_read_ptx_sreg_ntid_x: made = call(block_threads, {}, true); break;
      case in::nvvm_shfl_sync_bfly_i32: made = shuffled(butterfly); break;
      case in::nvvm_shfl_sync_idx_i32: made = shuffled(from_lane); break;
      case in::nvvm_shfl_sync_up_i32: made = shuffled(up); break;
      case in::nvvm_shfl_sync_down_i32: made = shuffled(down); break;
      case in::nvvm_vote_ballot_sync:
        meets = true;
        made = call(
            shuffle,
            {b.getInt32(site++), b.getInt32(ballot), c->getArgOperand(0), b.CreateZExt(c->getArgOperand(1), b.getInt32Ty()), b.getInt32(0)},
            true);
        break;
      case in::nvvm_barrier0:
        call(barrier, {b.getInt32(site++)}, false);
        meets = true;
        break;
      default: continue;
    }
    if (made) c->replaceAllUsesWith(made);
    c->eraseFromParent();
  }
  // The entry's parameters come as words.
  auto* run = llvm::Function::Create(llvm::FunctionType::get(b.getVoidTy(), {b.getPtrTy()}, false), llvm::GlobalValue::ExternalLinkage,
                                     "run", module);
  b.SetInsertPoint(llvm::BasicBlock::Create(module.getContext(), "entry", run));
  std::vector<llvm::Value*> arguments;
  for (llvm::Argument& a : entry.args())
    arguments.push_back(b.CreateLoad(a.getType(), b.CreateGEP(b.getInt64Ty(), run->getArg(0), {b.getInt64(a.getArgNo())})));
  b.CreateCall(&entry, arguments);
  b.CreateRetVoid();
  return meets;
}

class EmulatedCode final : public gpu::Code {
 public:
  EmulatedCode(const Function& f, bool fast, bool compact) : f_(f), fast_(fast), first_compact_(compact) {
    sites = cuda::sites(f, values);
    if (keeps()) keep(f, text());
    (void)variant(compact);
  }
  std::string cached() const override { return {}; }
  std::string text() const override { return ptx(f_, {.compact = first_compact_, .fast = fast_}); }

  struct Variant {
    std::shared_ptr<cpu::Linked> code;
    Body body = nullptr;
    bool meets = false;
  };
  /// `compact`: permitted. What is made first for launches of all kinds is as good.
  const Variant& variant(bool compact) {
    Variant& v = variants_[compact && first_compact_];
    if (!v.body) {
      const auto made = cpu::compile_object(cpu::target(""), false, [&](llvm::Module& module) {
        v.meets = adapt(module, *emit(module, f_, {.compact = compact && first_compact_, .fast = fast_}));
      });
      v.code = cpu::link_object(made.object);
      v.body = reinterpret_cast<Body>(v.code->symbol("run"));
    }
    return v;
  }

 private:
  const Function f_;
  const bool fast_, first_compact_;
  Variant variants_[2];
};

class EmulatedDevice final : public gpu::Device {
 public:
  std::string name() const override { return "cuda"; }
  std::string api() const override { return "CUDA"; }
  std::string language() const override { return "ptx"; }
  std::string description() const override { return "a CUDA device played by the host, for tests"; }
  std::vector<std::string> features() const override { return {"emulated", "f64"}; }
  std::string identity() const override { return "emulated " + fingerprint(); }
  const gpu::Limits& limits() const override { return limits_; }
  std::string lacks(const Function& kernel) const override { return cuda::lacks(kernel); }
  std::size_t heap() const override { return kHeap; }
  std::size_t in_use() const override { return in_use_; }

  void* allocate(std::size_t bytes) override {
    const std::lock_guard lock(mutex_);
    if (bytes > kHeap - in_use_) return nullptr;
    constexpr std::size_t kAlign = 256, kPoisoned = std::size_t{1} << 20;
    void* p = std::aligned_alloc(kAlign, (bytes + kAlign - 1) / kAlign * kAlign);
    if (!p) return nullptr;
    if (bytes <= kPoisoned) std::memset(p, 0xa5, bytes);
    in_use_ += bytes;
    return p;
  }
  void free(void* data, std::size_t bytes) noexcept override {
    const std::lock_guard lock(mutex_);
    in_use_ -= bytes;
    std::free(data);
  }
  void write(void* to, const void* from, std::size_t bytes) override { std::memcpy(to, from, bytes); }
  void read(void* to, const void* from, std::size_t bytes) override { std::memcpy(to, from, bytes); }
  void copy(void* to, const void* from, std::size_t bytes) override { std::memmove(to, from, bytes); }
  void fill(void* to, const void* element, std::size_t size, std::size_t bytes) override {
    for (std::size_t k = 0; k < bytes; k += size) std::memcpy(static_cast<std::byte*>(to) + k, element, std::min(size, bytes - k));
  }
  void wait() override {}

  std::unique_ptr<gpu::Code> compile(const Function& kernel, const CompileOptions& options, std::string_view) override {
    const std::lock_guard lock(mutex_);
    constexpr unsigned kGeneral = 4;  // one of so many kernels runs in its general form whatever the launch is
    return std::make_unique<EmulatedCode>(kernel, options.fast, next_++ % kGeneral != 0);
  }
  void dispatch(gpu::Code& code, const Function& kernel, const gpu::Piece& piece, std::span<const ArrayArgument> arrays,
                std::span<const std::uint64_t> scalars, void* report) override {
    const std::lock_guard lock(mutex_);
    const auto& v = static_cast<EmulatedCode&>(code).variant(is_compact(kernel, piece, arrays));
    const std::vector<std::uint64_t> words = parameters(kernel, piece, arrays, scalars, report);
    constexpr int kMultiprocessors = 4;
    const int threads = block_size(kernel, piece, kMostThreads, kMultiprocessors);
    const std::int64_t n = piece.end - piece.first, blocks = kernel.has_groups() ? n : (n + threads - 1) / threads;
    block_.body = v.body;
    block_.words = words.data();
    block_.threads = static_cast<std::uint32_t>(threads);
    g_block = &block_;
    for (std::int64_t k = 0; k < blocks; ++k) {
      block_.number = static_cast<std::uint32_t>(k);
      // Without groups only whole warps meet; what is beyond the end has nothing to do.
      std::int64_t live = threads;
      if (!kernel.has_groups())
        live = std::min<std::int64_t>(threads, (n - k * threads + kSubgroupSize - 1) / kSubgroupSize * kSubgroupSize);
      if (v.meets && (kernel.has_groups() || n - k * threads >= kSubgroupSize)) {
        run_fibers(block_, static_cast<std::uint32_t>(live));
        continue;
      }
      for (block_.thread = 0; block_.thread < block_.threads; ++block_.thread) v.body(words.data());
    }
  }

 private:
  static constexpr std::size_t kHeap = std::size_t{8} << 30;
  const gpu::Limits limits_ = cuda::limits(1024);
  std::recursive_mutex mutex_;
  std::size_t in_use_ = 0;
  unsigned next_ = 0;
  Block block_;
};

}  // namespace

std::shared_ptr<Backend> emulated_backend() {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  throw DeviceError({}, "device cuda: the emulated one changes stacks, which sanitizers do not follow");
#else
  static auto& backend = *new std::shared_ptr<Backend>(gpu::make_backend(std::make_shared<EmulatedDevice>()));
  return backend;
#endif
}

}  // namespace fluxion::cuda
