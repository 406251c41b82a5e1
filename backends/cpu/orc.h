// LLVM modules to objects, objects to running code. A pimpl over ORC: no LLVM headers here.
#pragma once
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "emit.h"

namespace fluxion::cpu {

/// What code is made for. Features come from CPUID: LLVM's name for the host is wrong on virtual machines.
struct Target {
  std::string features;  // LLVM's feature string
  std::string name;      // "avx512", "avx2", "sse2": for people
  bool avx512 = false, fma = false, f16c = false;
  bool arm = false;  // AArch64, else x86-64
};
/// `forced`: "" (this machine), "sse2", "avx2" or "avx512". Throws DeviceError for what this CPU lacks.
const Target& target(std::string_view forced);
/// Of another machine perhaps: "native", "x86-64", "x86-64-v3", "x86-64-v4", "aarch64". Throws DeviceError for other names.
Target object_target(std::string_view name);
EmitOptions emit_options(const CompileOptions& options, const Target& target, int width);

/// An object file and, on request, the texts it came from.
struct CompiledObject {
  std::string object;
  std::string llvm;  // IR after the passes
  std::string assembly;
};
/// Fills a fresh module by `fill`, runs the short pipeline and generates code. `texts`: also llvm and assembly.
CompiledObject compile_object(const Target& target, bool texts, const std::function<void(llvm::Module&)>& fill);

/// Code in memory; lives as long as this handle.
class Linked {
 public:
  virtual ~Linked() = default;
  /// Throws Bug when there is no such symbol.
  virtual void* symbol(const std::string& name) const = 0;
};
/// Throws DeviceError when the object does not link (a damaged or foreign one).
std::shared_ptr<Linked> link_object(std::string_view object);

}  // namespace fluxion::cpu
