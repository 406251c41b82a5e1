// Programs in memory form (docs/ir.md), run by the host: kernels are launched as they come, scalars are the host's. Only what a
// branch, a loop or a scalar result asks for is read back.
#pragma once
#include <array>
#include <cstdint>
#include <span>
#include <string_view>

#include "fluxion/evaluate.h"

namespace fluxion {

/// What runs the kernels of a program and holds its arrays, at addresses that the host need not be able to read. Calls take effect
/// in order; nobody waits for them but read().
class FLUXION_API ProgramMachine {
 public:
  virtual ~ProgramMachine() = default;
  virtual void* allocate(std::size_t bytes) = 0;  // null where memory runs out
  virtual void free(void* data, std::size_t bytes) = 0;
  virtual void write(void* to, const void* from, std::size_t bytes) = 0;
  virtual void read(void* to, const void* from, std::size_t bytes) = 0;
  virtual void copy(void* to, const void* from, std::size_t bytes) = 0;
  virtual void zero(void* to, std::size_t bytes) = 0;
  /// Told of memory whose contents mean nothing from now on.
  virtual void fresh(void* data, std::size_t bytes) { (void)data, (void)bytes; }
  /// A callee of the program, over `domain`, slowest axis first. False: it failed, and the program ends here.
  virtual bool launch(std::size_t callee, const std::array<std::int64_t, 3>& domain, std::span<const EvalMemory> arrays,
                      std::span<const std::uint64_t> scalars) = 0;
  virtual void print(std::string_view line) = 0;
};

/// Arguments as for evaluate_memory_form. Gives the most bytes that it had for arrays of its own.
/// Throws   KernelError for a failed check, with its line; ShapeError for arrays of other shapes than planned; DeviceError
///          with the sizes where allocate() gives null
FLUXION_API std::int64_t run_memory_form(const Function& f, std::span<const EvalMemory> arrays, std::span<const std::uint64_t> scalars,
                                         ProgramMachine& machine);

}  // namespace fluxion
