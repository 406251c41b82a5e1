// A kernel on a GPU: the code of its stages (plan.h), and their launches.
#pragma once
#include <memory>
#include <mutex>

#include "device.h"
#include "plan.h"

namespace fluxion::gpu {

class KernelCode {
 public:
  /// `cached`: what object() gave for the same kernel, or "". `many`: see plan.h.
  KernelCode(Device& device, const Function& f, const CompileOptions& options, std::string_view cached, bool many = false);
  KernelCode(const KernelCode&) = delete;
  /// Queues the launch, and waits for it where it may report something. `at`: of a kernel that has no line itself.
  void run(const Launch& launch, FailureSlot& failure);
  std::string object() const;
  /// "ir", or the device's language.
  std::string dump(std::string_view what) const;

 private:
  struct Stages {
    std::unique_ptr<Code> main, count;
  };
  struct Columns {  // of the tapes
    std::int64_t slots[2] = {0, 0}, threads = 0;
  };

  Device& device_;
  const Function f_;
  const CompileOptions options_;
  Plan plan_;
  std::vector<Stages> stages_;
  std::shared_ptr<Executable> host_;  // on the CPU, where the plan says so
  std::unique_ptr<KernelCode> many_;  // where a launch adds more than the plan is for
  std::mutex mutex_;

  bool may_end_loops() const;
  std::int64_t most_points(const std::array<std::int64_t, 3>& domain) const;
  void with_many(const Launch& launch, FailureSlot& failure);
  void run_on_host(const Launch& launch, FailureSlot& failure);
  void run_stage(std::size_t k, const Launch& launch, std::span<const ArrayArgument> sums, FailureSlot& failure);
  Columns columns(std::size_t k, const std::array<std::int64_t, 3>& domain, const std::vector<ArrayArgument>& arrays,
                  std::span<const std::uint64_t> scalars, FailureSlot& failure);
  void dispatch(Code& code, const Function& kernel, const std::array<std::int64_t, 3>& domain, std::span<const ArrayArgument> arrays,
                std::span<const std::uint64_t> scalars, std::int64_t at_once, FailureSlot& failure);
  bool collect(const Code& code, const std::byte* report, FailureSlot& failure);
};

/// Kernels and programs that run on the CPU instead, on copies of their arrays.
void run_on_host(Device& device, Executable& code, const Function& f, const Launch& launch, FailureSlot& failure);

}  // namespace fluxion::gpu
