// From a program in memory form to LLVM IR. Users of this header need no LLVM headers.
#pragma once
#include <span>
#include <string>

#include "emit.h"

namespace fluxion::cpu {

/// Adds a function of type ProgramFn named `symbol`; `kernels` are the emitted callees of `f`, in order.
/// `watched`: launches are looked at (program_watch.cpp), and the turns of loops are told.
void emit_program(llvm::Module& module, const Function& f, const std::string& symbol, std::span<llvm::Function* const> kernels,
                  bool watched);

}  // namespace fluxion::cpu
