// The arrays of a launch as host memory: the arrays themselves where the backend works on the host, else copies that go back.
// For what can only run on the host: host functions, the evaluator, the checks of FLUXION_DEBUG.
#pragma once
#include <vector>

#include "fluxion/backend.h"

namespace fluxion {

class FLUXION_API HostArrays {
 public:
  /// `arrays` are those of `f`, a kernel or a program in memory form, in the order of its parameters.
  HostArrays(const Function& f, Backend& backend, std::span<const ArrayArgument> arrays);
  std::span<const ArrayArgument> arrays() const { return now_; }
  /// Writes back what `f` may have written.
  void give_back();

 private:
  Backend& backend_;
  std::vector<ArrayArgument> now_;
  std::vector<std::vector<std::byte>> copies_;  // empty on the host
  std::vector<void*> home_;                     // where a copy goes back to; null: it was only read
};

/// Bytes of one array.
FLUXION_API std::size_t bytes_of(const ArrayArgument& a, LayoutId element);

}  // namespace fluxion
