// From a kernel Function to LLVM IR. Users of this header need no LLVM headers.
#pragma once
#include <string>

#include "abi.h"
#include "common/uniformity.h"
#include "fluxion/ir.h"

namespace llvm {
class Module;
class Function;
}  // namespace llvm

namespace fluxion::cpu {

struct EmitOptions {
  int width = 16;           // lanes
  bool bounds = false;      // check every index
  bool wide = false;        // 64-bit offsets in gathers
  bool fast = false;        // LLVM's fast-math flags
  bool masks_in_k = false;  // the target has mask registers (AVX-512)
  bool f16c = false;        // the target converts f16
  bool fma = false;
  bool relaxed = false;    // the order of the threads may show
  bool race = false;       // accesses are told to the race checker
  bool interrupt = false;  // loops look for requests to stop
};

/// Adds a function of type KernelFn named `symbol` to `module`. `f` has been through math_lowering.
/// The kernel's memory parameters must not overlap at run time, unless none of the overlapping ones is written.
llvm::Function* emit_kernel(llvm::Module& module, const Function& f, const std::string& symbol, const EmitOptions& options);

/// What runs one after the other for `f`, a kernel.
std::vector<Function> phases_of(const Function& f, const CompileOptions& options);

/// Lanes for `f` under `options`: the wish, or 16; one where points must print in order.
int choose_width(const Function& f, const CompileOptions& options);

/// True when what the atomics of `f` leave behind depends on the order of the threads: such a launch is one chunk,
/// unless it is relaxed.
bool atomics_need_order(const Function& f, const Uniformity& u);
/// By memory: the race checker looks at it. Not where every access goes to the thread's own point.
std::vector<char> watched_memories(const Function& f);
/// True when the threads of a group may part on the way to a barrier, as far as one can tell beforehand.
bool barrier_may_part(const Function& f, const Uniformity& u, OpId barrier);

/// The functions that `f` calls, directly or not, each once, in the order of their first call.
std::vector<const Function*> called(const Function& f);

/// Numbers ops that can fail or print, in the order of the text form; -1 for the rest.
std::vector<int> number_sites(const Function& f);

}  // namespace fluxion::cpu
