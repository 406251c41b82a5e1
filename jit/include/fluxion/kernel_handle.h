// The untyped kernel: a captured Function and how to launch it. Kernel<...> is the typed face.
#pragma once
#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "fluxion/array.h"
#include "fluxion/export_options.h"

namespace fluxion {
struct Function;
struct CompileOptions;
struct BatchedScalars;
enum class BatchAxis : std::uint8_t;
struct Pass;

namespace detail {

/// One argument, as the typed layer hands it down: of a memory parameter the array, of a scalar its bits, or the
/// name of a value when it is one of a program that is being captured.
struct Argument {
  std::shared_ptr<ArrayState> array;
  std::uint64_t bits = 0;
  std::uint32_t traced = ~0u;
};

struct KernelFacts;

class FLUXION_API KernelHandle {
 public:
  KernelHandle() = default;
  explicit KernelHandle(std::shared_ptr<const Function> f);
  const std::shared_ptr<const Function>& function() const;

  // ---- copies with other options
  KernelHandle eager() const;
  KernelHandle relaxed() const;
  KernelHandle fast() const;
  KernelHandle with(const CompileOptions& options) const;

  // ---- derivatives, with the same options; made once and kept. `wrt`: as in ad.h
  KernelHandle vjp(const std::vector<int>& wrt) const;
  KernelHandle jvp() const;
  /// With n tangents at once.
  KernelHandle jvp(int n) const;

  /// With a batch axis; `axes`, `scalars`: as in batch.h.
  KernelHandle batched(const std::vector<BatchAxis>& axes, const std::vector<BatchedScalars>& scalars) const;
  /// Checks that the first extents of all arrays are that of the domain.
  KernelHandle same_leading() const;

  /// Queues a launch; rank 0: the implicit domain.
  void launch(std::array<std::int64_t, 3> domain, int rank, std::span<const Argument> arguments, Loc at) const;
  /// The domain of such a launch; throws ShapeError where there is none.
  std::array<std::int64_t, 3> domain(std::array<std::int64_t, 3> domain, int rank, std::span<const Argument> arguments, Loc at) const;
  std::string ir() const;
  /// "ir" (as captured), "lowered" (as the backend gets it), "llvm" or "asm".
  std::string dump(std::string_view what, const Device& device) const;
  /// Writes files, whose names are returned: Kernel::export_to.
  std::vector<std::string> export_to(const std::string& directory, const std::vector<std::string>& targets, const ExportOptions& options,
                                     Loc at) const;
  KernelFacts facts() const;

 private:
  struct State;
  /// `domain_parameter`: which parameter's extents are the launch domain when none is given; -1: the first
  /// array with the rank of the domain; -2: none, the domain must be given.
  KernelHandle(std::shared_ptr<const Function> f, int domain_parameter, std::span<const Pass> passes);
  KernelHandle copy() const;
  KernelHandle with_options_of(const KernelHandle& other) const;
  std::shared_ptr<State> state_;
};

}  // namespace detail
}  // namespace fluxion
