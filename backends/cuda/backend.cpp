// The CUDA device of the process, as gpu/device.h has it.
#include "backend.h"

#include <cstdlib>
#include <cstring>

#include "code.h"
#include "emulate.h"
#include "gpu.h"
#include "gpu/backend.h"

namespace fluxion::cuda {
namespace {

class CudaCode final : public gpu::Code {
 public:
  CudaCode(Gpu& gpu, const Function& f, bool fast, std::string_view cached) : gpu_(gpu), f_(f), fast_(fast) {
    sites = cuda::sites(f, values);
    make(compact_, true, cached);
  }
  ~CudaCode() override {
    gpu_.unload(compact_.code);
    gpu_.unload(general_.code);
  }
  std::string cached() const override { return compact_.text; }
  std::string text() const override { return compact_.text; }
  /// The general one is made when the first launch needs it.
  const Loaded& code(bool compact) {
    const std::lock_guard lock(mutex_);
    if (!compact && !general_.code.entry) make(general_, false, "");
    return (compact ? compact_ : general_).code;
  }

 private:
  struct Variant {
    std::string text;
    Loaded code;
  };
  Gpu& gpu_;
  const Function f_;
  const bool fast_;
  std::mutex mutex_;
  Variant compact_, general_;

  void make(Variant& v, bool compact, std::string_view cached) {
    const PtxOptions options{.arch = gpu_.arch(), .compact = compact, .fast = fast_};
    v.text = cached.empty() ? ptx(f_, options) : std::string(cached);
    keep(f_, v.text);
    v.code = gpu_.load(v.text, options.entry, f_.name, f_.has_groups() ? 0 : kMostThreads);
  }
};

class CudaDevice final : public gpu::Device {
 public:
  CudaDevice() : limits_(cuda::limits(gpu_.threads_limit())) {}
  std::string name() const override { return "cuda"; }
  std::string api() const override { return "CUDA"; }
  std::string language() const override { return "ptx"; }
  std::string description() const override { return gpu_.description(); }
  std::vector<std::string> features() const override { return gpu_.features(); }
  std::string identity() const override { return gpu_.identity(); }
  const gpu::Limits& limits() const override { return limits_; }
  std::string lacks(const Function& kernel) const override { return cuda::lacks(kernel); }
  std::size_t heap() const override { return gpu_.heap(); }
  std::size_t in_use() const override { return gpu_.in_use(); }

  void* allocate(std::size_t bytes) override { return reinterpret_cast<void*>(gpu_.allocate(bytes)); }
  void free(void* data, std::size_t bytes) noexcept override { gpu_.free(address(data), bytes); }
  void write(void* to, const void* from, std::size_t bytes) override { gpu_.write(address(to), from, bytes); }
  void read(void* to, const void* from, std::size_t bytes) override { gpu_.read(to, address(from), bytes); }
  void copy(void* to, const void* from, std::size_t bytes) override { gpu_.copy(address(to), address(from), bytes); }
  void fill(void* to, const void* element, std::size_t size, std::size_t bytes) override { gpu_.fill(address(to), element, size, bytes); }
  void wait() override { gpu_.wait(); }

  std::unique_ptr<gpu::Code> compile(const Function& kernel, const CompileOptions& options, std::string_view cached) override {
    return std::make_unique<CudaCode>(gpu_, kernel, options.fast, cached);
  }
  void dispatch(gpu::Code& code, const Function& kernel, const gpu::Piece& piece, std::span<const ArrayArgument> arrays,
                std::span<const std::uint64_t> scalars, void* report) override {
    const Loaded& loaded = static_cast<CudaCode&>(code).code(is_compact(kernel, piece, arrays));
    std::vector<std::uint64_t> words = parameters(kernel, piece, arrays, scalars, report);
    std::vector<void*> pointers;
    for (std::uint64_t& w : words) pointers.push_back(&w);
    const int block = block_size(kernel, piece, loaded.block, gpu_.multiprocessors());
    const std::int64_t n = piece.end - piece.first;
    gpu_.launch(loaded, static_cast<std::uint64_t>(kernel.has_groups() ? n : (n + block - 1) / block), block, pointers.data());
  }

 private:
  Gpu gpu_;
  gpu::Limits limits_;
  static Pointer address(const void* p) { return reinterpret_cast<Pointer>(p); }
};

}  // namespace

std::shared_ptr<Backend> open_backend() { return gpu::make_backend(std::make_shared<CudaDevice>()); }

}  // namespace fluxion::cuda

namespace fluxion {
std::shared_ptr<Backend> cuda_backend() {
  const char* emulate = std::getenv("FLUXION_CUDA_EMULATE");
  if (emulate && std::strcmp(emulate, "1") == 0) return cuda::emulated_backend();
  // Never destroyed: arrays with static storage may outlive any object of ours. What fails is tried again.
  static std::mutex& mutex = *new std::mutex;
  static auto& backend = *new std::shared_ptr<Backend>;
  const std::lock_guard lock(mutex);
  if (!backend) backend = cuda::open_backend();
  return backend;
}
}  // namespace fluxion
