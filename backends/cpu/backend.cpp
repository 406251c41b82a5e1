// The CPU backend: kernels to explicit SIMD code through LLVM. Programs are in program.cpp.
#include <llvm/Config/llvm-config.h>

#include <fmt/format.h>

#include <mutex>

#include "common/atomics.h"
#include "fluxion/passes.h"
#include "orc.h"
#include "pool.h"
#include "program.h"

namespace fluxion::cpu {
namespace {

constexpr const char* kSymbol = "kernel";

class KernelCode final : public Executable {
 public:
  KernelCode(const Function& f, const CompileOptions& options, std::string_view object)
      : f_(atomic_sums(f)), options_(options), width_(choose_width(f_, options)), plan_(make_plan(f_, options, width_)),
        object_(object.empty() ? make(false, false).object : std::string(object)) {
    code_ = link_object(object_);
    kernel_ = reinterpret_cast<KernelFn>(code_->symbol(kSymbol));
    for (const Parameter& p : f.parameters) scalars_ += p.kind == Parameter::Kind::scalar;
  }

  void run(const Launch& launch, FailureSlot& failure) override {
    if (launch.arrays.size() != plan_.elements.size() || launch.scalars.size() != scalars_)
      return failure.set(FailureSlot::Kind::shape, f_.loc,
                         fmt::format("kernel \"{}\" takes {} arrays and {} scalars; it was given {} and {}", f_.name,
                                     plan_.elements.size(), scalars_, launch.arrays.size(), launch.scalars.size()));
    for (int k = 0; k < plan_.rank; ++k)
      if (launch.domain[k] > 0x7fffffff)
        return failure.set(FailureSlot::Kind::shape, f_.loc,
                           fmt::format("kernel \"{}\": {} points along axis {} are more than 2^31 - 1", f_.name, launch.domain[k], k));
    constexpr std::size_t kFew = 32;
    KernelArray few[kFew];
    std::vector<KernelArray> many(launch.arrays.size() > kFew ? launch.arrays.size() : 0);
    KernelArray* arrays = many.empty() ? few : many.data();
    for (std::size_t k = 0; k < launch.arrays.size(); ++k) {
      arrays[k].data = launch.arrays[k].data;
      for (int a = 0; a < 3; ++a) arrays[k].extent[a] = launch.arrays[k].extent[a];
    }
    const RunScope scope(failure);
    cpu::launch(scope.context(), plan_, needs_wide(plan_, arrays) ? wide() : kernel_, launch.domain.data(), arrays,
                launch.scalars.data());
  }
  std::string object() const override { return object_; }
  std::string dump(std::string_view what) const override {
    if (what == "llvm") return make(false, true).llvm;
    if (what == "asm") return make(false, true).assembly;
    return what == "ir" ? print(f_) : std::string();
  }

 private:
  const Function f_;
  const CompileOptions options_;
  const int width_;
  const KernelPlan plan_;
  const std::string object_;
  std::shared_ptr<Linked> code_, wide_code_;
  KernelFn kernel_ = nullptr, wide_ = nullptr;
  std::size_t scalars_ = 0;
  std::mutex mutex_;

  CompiledObject make(bool wide, bool texts) const {
    const Target& t = target(options_.features);
    EmitOptions e = emit_options(options_, t, width_);
    e.wide = wide;
    const Function lowered = math_lowering(f_);
    return compile_object(t, texts, [&](llvm::Module& module) { emit_kernel(module, lowered, kSymbol, e); });
  }
  /// Few launches need 64-bit offsets: that version is made on first use.
  KernelFn wide() {
    std::lock_guard lock(mutex_);
    if (!wide_) {
      wide_code_ = link_object(make(true, false).object);
      wide_ = reinterpret_cast<KernelFn>(wide_code_->symbol(kSymbol));
    }
    return wide_;
  }
};

class CpuBackend final : public Backend {
 public:
  std::string name() const override { return "cpu"; }
  std::string description() const override { return fmt::format("{} cores {}", cpu_threads(), target("").name); }
  std::string fingerprint(const CompileOptions& o) const override {
    const Target& t = target(o.features);
    return fmt::format("cpu llvm {} {} width {}{}{}{}{}", LLVM_VERSION_STRING, t.features, o.width, o.bounds ? " bounds" : "",
                       o.fast ? " fast" : "", o.nan ? " nan" : "", o.relaxed ? " relaxed" : "");
  }
  std::shared_ptr<Executable> compile(const Function& f, const CompileOptions& options) override {
    switch (f.kind) {
      case Function::Kind::kernel: return std::make_shared<KernelCode>(f, options, std::string_view());
      case Function::Kind::program: return compile_program(f, options);
      case Function::Kind::fn: break;
    }
    throw KernelError(f.loc, "\"" + f.name + "\" is a fn; call it from a kernel");
  }
  std::shared_ptr<Executable> load(const Function& f, const CompileOptions& options, std::string_view object) override {
    if (object.empty()) return nullptr;
    try {
      if (f.kind == Function::Kind::kernel) return std::make_shared<KernelCode>(f, options, object);
      if (f.kind == Function::Kind::program) return load_program(f, options, object);
    } catch (const DeviceError&) {  // a damaged or foreign object: the caller compiles
    }
    return nullptr;
  }
};

}  // namespace
}  // namespace fluxion::cpu

namespace fluxion {
std::shared_ptr<Backend> cpu_backend() {
  static const auto backend = std::make_shared<cpu::CpuBackend>();
  return backend;
}
}  // namespace fluxion
