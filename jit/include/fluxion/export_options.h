// What k.export_to(directory, targets, options) may be told.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

namespace fluxion {

struct ExportOptions {
  std::string name = {};                            // of the function and the files, an identifier of C; "": that of the kernel
  std::vector<std::string> parameters = {};         // names for the parameters of the lambda, in order; those without one are p0, p1, ...
  bool vjp = false;                                 // also its reverse-mode derivative, as NAME_vjp
  bool jvp = false;                                 // also its forward-mode derivative, as NAME_jvp
  std::int64_t tape_bytes = std::int64_t{1} << 30;  // address space of the tapes of a call; only what is used is touched
};

}  // namespace fluxion
