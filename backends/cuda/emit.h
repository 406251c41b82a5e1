// From a kernel to an LLVM module, which codegen.cpp makes PTX of and emulate.cpp code of the host.
#pragma once
#include "ptx.h"

namespace llvm {
class Module;
class Function;
}  // namespace llvm

namespace fluxion::cuda {

llvm::Function* emit(llvm::Module& module, const Function& kernel, const PtxOptions& options);

}  // namespace fluxion::cuda
