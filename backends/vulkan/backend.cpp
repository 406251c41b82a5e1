// The Vulkan backend: one device of the process, kernels as SPIR-V, programs as dispatches that the host orders.
#include <fmt/format.h>

#include "fluxion/error.h"
#include "kernel.h"
#include "program.h"

namespace fluxion::vulkan {
namespace {

class Kernel final : public Executable {
 public:
  Kernel(std::shared_ptr<Gpu> gpu, const Function& f, const CompileOptions& options, std::string_view cached)
      : gpu_(std::move(gpu)), code_(*gpu_, f, options, cached) {}
  void run(const Launch& launch, FailureSlot& failure) override { code_.run(launch, failure); }
  std::string object() const override { return code_.object(); }
  std::string dump(std::string_view what) const override { return code_.dump(what); }

 private:
  const std::shared_ptr<Gpu> gpu_;
  KernelCode code_;
};

class VulkanBackend final : public Backend {
 public:
  VulkanBackend() : gpu_(std::make_shared<Gpu>()) { probe(*gpu_); }
  std::string name() const override { return "vulkan"; }
  std::string description() const override { return gpu_->description(); }
  std::uint64_t memory() const override { return gpu_->heap(); }
  std::vector<std::string> features() const override {
    const Traits& t = gpu_->traits();
    std::vector<std::string> list;
    const auto add = [&](bool has, const char* what) {
      if (has) list.push_back(what);
    };
    add(gpu_->software(), "software");
    add(t.f64, "f64");
    add(t.add_f32, "atomic f32 add");
    add(t.atomics_i64, "atomic i64");
    add(t.fma32, "fma");
    add(t.div32 && t.sqrt32, "exact div and sqrt");
    list.push_back(fmt::format("{} threads a group", gpu_->threads_limit()));
    list.push_back(fmt::format("{} KiB shared", gpu_->shared_limit() >> 10));
    return list;
  }
  std::string fingerprint(const CompileOptions& o) const override {
    return fmt::format("vulkan {}{}{}{}", gpu_->identity(), o.bounds ? " bounds" : "", o.fast ? " fast" : "", o.relaxed ? " relaxed" : "");
  }
  std::shared_ptr<Executable> compile(const Function& f, const CompileOptions& options) override { return load(f, options, ""); }
  std::shared_ptr<Executable> load(const Function& f, const CompileOptions& options, std::string_view object) override {
    switch (f.kind) {
      case Function::Kind::kernel: return std::make_shared<Kernel>(gpu_, f, options, object);
      case Function::Kind::program: return make_program(gpu_, f, options, object);
      case Function::Kind::fn: break;
    }
    throw KernelError(f.loc, "\"" + f.name + "\" is a fn; call it from a kernel");
  }

  bool host_memory() const override { return false; }
  void* allocate(std::size_t bytes) override { return pointer(gpu_->allocate(bytes)); }
  void free(void* data, std::size_t bytes) noexcept override { gpu_->free(address(data), bytes); }
  void write(void* to, const void* from, std::size_t bytes) override { gpu_->write(address(to), from, bytes); }
  void read(void* to, const void* from, std::size_t bytes) override { gpu_->read(to, address(from), bytes); }
  void copy(void* to, const void* from, std::size_t bytes) override { gpu_->copy(address(to), address(from), bytes); }
  void fill(void* to, const void* element, std::size_t size, std::size_t bytes) override { gpu_->fill(address(to), element, size, bytes); }
  void wait() override { gpu_->wait(); }

 private:
  const std::shared_ptr<Gpu> gpu_;
  static Address address(const void* p) { return reinterpret_cast<Address>(p); }
  static void* pointer(Address a) { return reinterpret_cast<void*>(a); }
};

}  // namespace
}  // namespace fluxion::vulkan

namespace fluxion {
std::shared_ptr<Backend> vulkan_backend() {
  // Never destroyed: arrays with static storage may outlive any object of ours. What fails is tried again.
  static std::mutex& mutex = *new std::mutex;
  static auto& backend = *new std::shared_ptr<Backend>;
  const std::lock_guard lock(mutex);
  if (!backend) backend = std::make_shared<vulkan::VulkanBackend>();
  return backend;
}
}  // namespace fluxion
