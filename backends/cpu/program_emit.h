// From a program in memory form to LLVM IR. Users of this header need no LLVM headers.
#pragma once
#include <span>
#include <string>

#include "emit.h"

namespace fluxion::cpu {

struct ProgramEmission {
  bool watched = false;    // launches are looked at, and the turns of loops are told
  bool interrupt = false;  // loops look for requests to stop
};
/// Adds a function of type ProgramFn named `symbol`; `kernels` are the emitted callees of `f`, in order.
void emit_program(llvm::Module& module, const Function& f, const std::string& symbol, std::span<llvm::Function* const> kernels,
                  ProgramEmission how);

}  // namespace fluxion::cpu
