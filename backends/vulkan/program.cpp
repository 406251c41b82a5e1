// A program and its kernels; the host part is interpreted (gpu/program.h).
#include "program.h"

#include <atomic>
#include <vector>

#include "gpu/program.h"
#include "kernel.h"

namespace fluxion::vulkan {
namespace {

Address address(const void* p) { return reinterpret_cast<Address>(p); }

class Run final : public ProgramMachine {
 public:
  Run(Gpu& gpu, const std::vector<std::unique_ptr<KernelCode>>& kernels, FailureSlot& failure)
      : gpu_(gpu), kernels_(kernels), failure_(failure) {}
  void* allocate(std::size_t bytes) override { return reinterpret_cast<void*>(gpu_.allocate(bytes)); }
  void free(void* data, std::size_t bytes) override { gpu_.free(address(data), bytes); }
  void write(void* to, const void* from, std::size_t bytes) override { gpu_.write(address(to), from, bytes); }
  void read(void* to, const void* from, std::size_t bytes) override { gpu_.read(to, address(from), bytes); }
  void copy(void* to, const void* from, std::size_t bytes) override { gpu_.copy(address(to), address(from), bytes); }
  void zero(void* to, std::size_t bytes) override {
    const std::uint32_t zero = 0;
    gpu_.fill(address(to), &zero, 4, bytes);
  }
  bool launch(std::size_t callee, const std::array<std::int64_t, 3>& domain, std::span<const EvalMemory> arrays,
              std::span<const std::uint64_t> scalars) override {
    std::vector<ArrayArgument> list;
    for (const EvalMemory& a : arrays) list.push_back({a.data, a.extent});
    kernels_[callee]->run({domain, list, scalars}, failure_);
    return failure_.empty();
  }
  void print(std::string_view line) override { print_line(line); }

 private:
  Gpu& gpu_;
  const std::vector<std::unique_ptr<KernelCode>>& kernels_;
  FailureSlot& failure_;
};

class Program final : public Executable {
 public:
  Program(std::shared_ptr<Gpu> gpu, const Function& f, const CompileOptions& options) : gpu_(std::move(gpu)), f_(f) {
    // What is looked for there is the CPU's.
    if (options.race || options.nan || options.inf) {
      host_ = cpu_backend()->compile(f, options);
      return;
    }
    for (const auto& callee : f_.callees)
      kernels_.push_back(callee->kind == Function::Kind::kernel ? std::make_unique<KernelCode>(*gpu_, *callee, options, "") : nullptr);
  }
  void run(const Launch& launch, FailureSlot& failure) override {
    if (host_) return run_on_host(*gpu_, *host_, f_, launch, failure);
    Run machine(*gpu_, kernels_, failure);
    peak_ = gpu::run_program(f_, launch, machine, failure);
  }
  std::int64_t peak_bytes() const override { return host_ ? host_->peak_bytes() : peak_.load(); }
  std::string dump(std::string_view what) const override {
    std::string text = what == "ir" ? print(f_) : "";
    for (const auto& k : kernels_)
      if (k && what != "ir") text += k->dump(what);
    return text;
  }

 private:
  const std::shared_ptr<Gpu> gpu_;
  const Function f_;
  std::vector<std::unique_ptr<KernelCode>> kernels_;  // by callee; null: a fn, which the host calls
  std::shared_ptr<Executable> host_;
  std::atomic<std::int64_t> peak_{0};
};

}  // namespace

std::shared_ptr<Executable> make_program(std::shared_ptr<Gpu> gpu, const Function& f, const CompileOptions& options, std::string_view) {
  return std::make_shared<Program>(std::move(gpu), f, options);
}

}  // namespace fluxion::vulkan
