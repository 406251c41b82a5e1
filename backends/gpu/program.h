// Programs in memory form, run by the host: kernels are launched as they come, scalars are the host's. Only what a branch, a loop or a
// scalar result asks for is read back, which waits for the device.
#pragma once
#include "fluxion/backend.h"

namespace fluxion::gpu {

/// What a program needs of a device. Calls take effect in order; the host does not wait but for read().
class Machine {
 public:
  virtual ~Machine() = default;
  virtual void* allocate(std::size_t bytes) = 0;  // null where memory runs out
  virtual void free(void* data, std::size_t bytes) = 0;
  virtual void write(void* to, const void* from, std::size_t bytes) = 0;
  virtual void read(void* to, const void* from, std::size_t bytes) = 0;
  virtual void copy(void* to, const void* from, std::size_t bytes) = 0;
  virtual void zero(void* to, std::size_t bytes) = 0;
  /// A callee of the program.
  virtual void launch(std::size_t callee, const Launch& launch, FailureSlot& failure) = 0;
};

/// Gives the most bytes that it had for arrays of its own.
std::int64_t run_program(const Function& f, const Launch& launch, Machine& machine, FailureSlot& failure);

}  // namespace fluxion::gpu
