// A kernel on a Vulkan device: its stages (gpu::Plan) as pipelines, and their launches.
#pragma once
#include <memory>
#include <mutex>

#include "gpu.h"
#include "gpu/plan.h"

namespace fluxion::vulkan {

class KernelCode {
 public:
  /// `cached`: what object() gave for the same kernel, or "".
  KernelCode(Gpu& gpu, const Function& f, const CompileOptions& options, std::string_view cached);
  ~KernelCode();
  KernelCode(const KernelCode&) = delete;
  /// Queues the launch, and waits for it where it may report something. `at`: of a kernel that has no line itself.
  void run(const Launch& launch, FailureSlot& failure);
  std::string object() const;
  /// "ir", "spirv".
  std::string dump(std::string_view what) const;
  const gpu::Plan& plan() const { return plan_; }
  std::vector<Words> modules() const;

 private:
  struct Made {
    EmittedKernel code;
    Pipeline pipeline;
  };
  struct Piece {
    Made main, count;
  };
  struct Columns {  // of the tapes
    std::int64_t slots[2] = {0, 0}, threads = 0;
  };

  Gpu& gpu_;
  const Function f_;
  const CompileOptions options_;
  gpu::Plan plan_;
  std::vector<Piece> pieces_;         // by stage
  std::shared_ptr<Executable> host_;  // on the CPU, where the plan says so
  std::mutex mutex_;

  Made make(const Function& f, std::string_view cached);
  bool may_end_loops() const;
  void run_on_host(const Launch& launch, FailureSlot& failure);
  void run_stage(std::size_t k, const Launch& launch, std::span<const ArrayArgument> arrays, FailureSlot& failure);
  Columns columns(std::size_t k, const Launch& launch, const std::vector<ArrayArgument>& arrays, std::int64_t threads);
  void dispatch(const Made& made, const Function& kernel, const std::array<std::int64_t, 3>& domain, std::span<const ArrayArgument> arrays,
                std::span<const std::uint64_t> scalars, std::int64_t at_once, FailureSlot& failure);
  bool collect(const Made& made, Address report, FailureSlot& failure);
};

/// The arrays of kernels and programs that run on the CPU instead.
void run_on_host(Gpu& gpu, Executable& code, const Function& f, const Launch& launch, FailureSlot& failure);

/// What the device rounds correctly, found out by running it.
void probe(Gpu& gpu);

gpu::Exact exact_of(const Traits& t);

}  // namespace fluxion::vulkan
