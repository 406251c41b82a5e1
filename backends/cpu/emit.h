// From a kernel Function to LLVM IR. Users of this header need no LLVM headers.
#pragma once
#include <string>

#include "abi.h"
#include "fluxion/ir.h"

namespace llvm {
class Module;
class Function;
}  // namespace llvm

namespace fluxion::cpu {

struct EmitOptions {
  int width = 16;         // lanes
  bool bounds = false;    // check every index
  bool wide = false;      // 64-bit offsets in gathers
  bool fast = false;      // LLVM's fast-math flags
  bool masks_in_k = false;  // the target has mask registers (AVX-512)
  bool f16c = false;      // the target converts f16
  bool fma = false;
};

/// Adds a function of type KernelFn named `symbol` to `module`. `f` has been through math_lowering.
/// The kernel's memory parameters must not overlap at run time, unless none of the overlapping ones is written.
llvm::Function* emit_kernel(llvm::Module& module, const Function& f, const std::string& symbol,
                            const EmitOptions& options);

/// Lanes for `f` under `options`: the wish, or 16; one where points must print in order.
int choose_width(const Function& f, const CompileOptions& options);

/// Numbers ops that can fail or print, in the order of the text form; -1 for the rest.
std::vector<int> number_sites(const Function& f);

}  // namespace fluxion::cpu
