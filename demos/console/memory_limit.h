// Memory that runs out: a limit for the code of inputs, so that it gets std::bad_alloc while the engine can still go on, and whether
// the process can still be copied, which trying an input needs.
#pragma once
#include <sys/resource.h>

namespace fluxion::console {

/// While it lives, memory that is written to may grow to some times what the machine has; address space is far larger, and a process
/// that has mapped most of it can neither be forked nor ended soon. Threads of earlier inputs are limited only as long, too.
class MemoryLimit {
 public:
  MemoryLimit();
  ~MemoryLimit();
  MemoryLimit(const MemoryLimit&) = delete;

 private:
  rlimit before_{};
  bool set_ = false;
};

/// Whether a copy of the process can be made.
bool can_fork();

}  // namespace fluxion::console
