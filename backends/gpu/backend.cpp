// Kernels and programs of a device; the host part of programs is interpreted (program.h).
#include "backend.h"

#include <fmt/format.h>

#include <atomic>
#include <vector>

#include "fluxion/error.h"
#include "launch.h"
#include "packed.h"
#include "program.h"

namespace fluxion::gpu {
namespace {

class Kernel final : public Executable {
 public:
  Kernel(std::shared_ptr<Device> device, const Function& f, const CompileOptions& options, std::string_view cached)
      : device_(std::move(device)), code_(*device_, f, options, cached) {}
  void run(const Launch& launch, FailureSlot& failure) override { code_.run(launch, failure); }
  std::string object() const override { return code_.object(); }
  std::string dump(std::string_view what) const override { return code_.dump(what); }

 private:
  const std::shared_ptr<Device> device_;
  KernelCode code_;
};

class Run final : public ProgramMachine {
 public:
  Run(Device& device, const std::vector<std::unique_ptr<KernelCode>>& kernels, FailureSlot& failure)
      : device_(device), kernels_(kernels), failure_(failure) {}
  void* allocate(std::size_t bytes) override { return device_.allocate(bytes); }
  void free(void* data, std::size_t bytes) override { device_.free(data, bytes); }
  void write(void* to, const void* from, std::size_t bytes) override { device_.write(to, from, bytes); }
  void read(void* to, const void* from, std::size_t bytes) override { device_.read(to, from, bytes); }
  void copy(void* to, const void* from, std::size_t bytes) override { device_.copy(to, from, bytes); }
  void zero(void* to, std::size_t bytes) override {
    const std::uint32_t zero = 0;
    device_.fill(to, &zero, 4, bytes);
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
  Device& device_;
  const std::vector<std::unique_ptr<KernelCode>>& kernels_;
  FailureSlot& failure_;
};

class Program final : public Executable {
 public:
  Program(std::shared_ptr<Device> device, const Function& f, const CompileOptions& options, std::string_view cached)
      : device_(std::move(device)), f_(f) {
    // What is looked for there is the CPU's.
    if (options.race || options.nan || options.inf) {
      host_ = cpu_backend()->compile(f, options);
      return;
    }
    for (const auto& callee : f_.callees) {
      const std::string_view part = next_part(cached);
      kernels_.push_back(callee->kind == Function::Kind::kernel ? std::make_unique<KernelCode>(*device_, *callee, options, part) : nullptr);
    }
  }
  void run(const Launch& launch, FailureSlot& failure) override {
    if (host_) return run_on_host(*device_, *host_, f_, launch, failure);
    Run machine(*device_, kernels_, failure);
    peak_ = run_program(f_, launch, machine, failure);
  }
  std::string object() const override {
    std::vector<std::string> parts;
    for (const auto& k : kernels_) parts.push_back(k ? k->object() : std::string());
    return packed(parts);
  }
  std::int64_t peak_bytes() const override { return host_ ? host_->peak_bytes() : peak_.load(); }
  std::string dump(std::string_view what) const override {
    std::string text = what == "ir" ? print(f_) : "";
    for (const auto& k : kernels_)
      if (k && what != "ir") text += k->dump(what);
    return text;
  }

 private:
  const std::shared_ptr<Device> device_;
  const Function f_;
  std::vector<std::unique_ptr<KernelCode>> kernels_;  // by callee; null: a fn, which the host calls
  std::shared_ptr<Executable> host_;
  std::atomic<std::int64_t> peak_{0};
};

class DeviceBackend final : public Backend {
 public:
  explicit DeviceBackend(std::shared_ptr<Device> device) : device_(std::move(device)) {}
  std::string name() const override { return device_->name(); }
  std::string description() const override { return device_->description(); }
  std::uint64_t memory() const override { return device_->heap(); }
  std::vector<std::string> features() const override { return device_->features(); }
  std::string fingerprint(const CompileOptions& o) const override {
    return fmt::format("{} {}{}{}{}", device_->name(), device_->identity(), o.bounds ? " bounds" : "", o.fast ? " fast" : "",
                       o.relaxed ? " relaxed" : "");
  }
  std::shared_ptr<Executable> compile(const Function& f, const CompileOptions& options) override { return load(f, options, ""); }
  std::shared_ptr<Executable> load(const Function& f, const CompileOptions& options, std::string_view object) override {
    switch (f.kind) {
      case Function::Kind::kernel: return std::make_shared<Kernel>(device_, f, options, object);
      case Function::Kind::program: return std::make_shared<Program>(device_, f, options, object);
      case Function::Kind::fn: break;
    }
    throw KernelError(f.loc, "\"" + f.name + "\" is a fn; call it from a kernel");
  }

  bool host_memory() const override { return false; }
  void* allocate(std::size_t bytes) override { return device_->allocate(bytes); }
  void free(void* data, std::size_t bytes) noexcept override { device_->free(data, bytes); }
  void write(void* to, const void* from, std::size_t bytes) override { device_->write(to, from, bytes); }
  void read(void* to, const void* from, std::size_t bytes) override { device_->read(to, from, bytes); }
  void copy(void* to, const void* from, std::size_t bytes) override { device_->copy(to, from, bytes); }
  void fill(void* to, const void* element, std::size_t size, std::size_t bytes) override { device_->fill(to, element, size, bytes); }
  void wait() override { device_->wait(); }

 private:
  const std::shared_ptr<Device> device_;
};

}  // namespace

std::shared_ptr<Backend> make_backend(std::shared_ptr<Device> device) { return std::make_shared<DeviceBackend>(std::move(device)); }

}  // namespace fluxion::gpu
