// Private writable pages count (RLIMIT_DATA). That takes in address space which kernels only reserve for their tapes, half of the memory
// for each thread, so the limit leaves room for these. What is really written to is the business of the system, which ends the engine first.
#include "memory_limit.h"

#include <sys/sysinfo.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>

#include "fluxion/backend.h"

namespace fluxion::console {
namespace {

/// What counts towards the limit now, in bytes; 0 where the system does not tell.
rlim_t in_use() {
  unsigned long long data = 0;
  if (std::FILE* f = std::fopen("/proc/self/statm", "r")) {
    if (std::fscanf(f, "%*u %*u %*u %*u %*u %llu", &data) != 1) data = 0;
    std::fclose(f);
  }
  return static_cast<rlim_t>(data) * static_cast<rlim_t>(sysconf(_SC_PAGESIZE));
}

}  // namespace

MemoryLimit::MemoryLimit() {
  struct sysinfo machine{};
  const rlim_t used = in_use();
  if (used == 0 || sysinfo(&machine) != 0 || getrlimit(RLIMIT_DATA, &before_) != 0) return;
  const rlim_t memory = static_cast<rlim_t>(machine.totalram) * machine.mem_unit,
               swap = static_cast<rlim_t>(machine.totalswap) * machine.mem_unit;
  const rlim_t tapes = static_cast<rlim_t>(cpu_threads() + 1) * (memory / 2);
  const rlimit limit{std::min(before_.rlim_cur, used + 4 * (memory + swap) + tapes), before_.rlim_max};
  set_ = setrlimit(RLIMIT_DATA, &limit) == 0;
}
MemoryLimit::~MemoryLimit() {
  if (set_) setrlimit(RLIMIT_DATA, &before_);
}

bool can_fork() {
  const pid_t child = fork();
  if (child == 0) _exit(0);
  if (child < 0) return false;
  while (waitpid(child, nullptr, 0) < 0 && errno == EINTR) {}
  return true;
}

}  // namespace fluxion::console
