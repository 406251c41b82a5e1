// The CPU backend: kernels to explicit SIMD code through LLVM. Programs are in program.cpp.
#include <llvm/Config/llvm-config.h>

#include <fmt/format.h>
#include <unistd.h>

#include <mutex>

#include "common/atomics.h"
#include "common/nan_check.h"
#include "fluxion/gather_sums.h"
#include "fluxion/passes.h"
#include "orc.h"
#include "pool.h"
#include "program.h"

namespace fluxion::cpu {
namespace {

std::string symbol(std::size_t phase) { return fmt::format("kernel{}", phase); }

}  // namespace

std::vector<Function> phases_of(const Function& f, const CompileOptions& options) {
  Function g = options.race ? f : atomic_sums(f);
  // What is reported is to be what the user wrote.
  std::vector<Function> phases;
  if (!reports(options))
    for (Gathered& k : gather_sums(g)) phases.push_back(std::move(k.kernel));
  if (phases.empty()) phases.push_back(std::move(g));
  return phases;
}

namespace {

class KernelCode final : public Executable {
 public:
  KernelCode(const Function& f, const CompileOptions& options, std::string_view object)
      : phases_(phases_of(f, options)),
        f_(phases_[0]),
        options_(options),
        plans_(plans()),
        plan_(plans_[0]),
        object_(object.empty() ? make(false, false).object : std::string(object)) {
    code_ = link_object(object_);
    kernels_ = linked(*code_);
    for (const Parameter& p : f.parameters) scalars_ += p.kind == Parameter::Kind::scalar;
  }

  void run(const Launch& launch, FailureSlot& failure) override {
    if (launch.arrays.size() != plan_.elements.size() || launch.scalars.size() != scalars_)
      return failure.set(FailureSlot::Kind::shape, f_.loc,
                         fmt::format("kernel \"{}\" takes {} arrays and {} scalars; it was given {} and {}", f_.name, plan_.elements.size(),
                                     scalars_, launch.arrays.size(), launch.scalars.size()));
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
    std::optional<NanCheck> check;
    if (options_.nan || options_.inf) check.emplace(f_, launch.arrays, options_.inf);
    run(launch, arrays, failure);
    if (check && failure.empty()) check->passes(launch.domain, launch.scalars, failure, "", {});
  }
  void run(const Launch& launch, const KernelArray* arrays, FailureSlot& failure) {
    const RunScope scope(failure);
    const std::vector<KernelFn>& kernels = needs_wide(plan_, arrays) ? wide() : kernels_;
    for (std::size_t k = 0; k < kernels.size(); ++k)
      if (!cpu::launch(scope.context(), plans_[k], kernels[k], launch.domain.data(), arrays, launch.scalars.data())) return;
  }
  std::string object() const override { return object_; }
  std::string dump(std::string_view what) const override {
    if (what == "llvm") return make(false, true).llvm;
    if (what == "asm") return make(false, true).assembly;
    std::string text;
    for (const Function& f : phases_) text += what == "ir" ? print(f) : std::string();
    return text;
  }

 private:
  const std::vector<Function> phases_;
  const Function& f_;  // the first one
  const CompileOptions options_;
  const std::vector<KernelPlan> plans_;  // by phase
  const KernelPlan& plan_;
  const std::string object_;
  std::shared_ptr<Linked> code_, wide_code_;
  std::vector<KernelFn> kernels_, wide_;  // by phase
  std::size_t scalars_ = 0;
  std::mutex mutex_;

  std::vector<KernelPlan> plans() const {
    std::vector<KernelPlan> list;
    for (const Function& f : phases_) list.push_back(make_plan(f, options_, choose_width(f, options_)));
    return list;
  }
  std::vector<KernelFn> linked(Linked& code) const {
    std::vector<KernelFn> list;
    for (std::size_t k = 0; k < phases_.size(); ++k) list.push_back(reinterpret_cast<KernelFn>(code.symbol(symbol(k))));
    return list;
  }
  CompiledObject make(bool wide, bool texts) const {
    const Target& t = target(options_.features);
    return compile_object(t, texts, [&](llvm::Module& module) {
      for (std::size_t k = 0; k < phases_.size(); ++k) {
        EmitOptions e = emit_options(options_, t, plans_[k].width);
        e.wide = wide;
        emit_kernel(module, math_lowering(phases_[k]), symbol(k), e);
      }
    });
  }
  /// Few launches need 64-bit offsets: that version is made on first use.
  const std::vector<KernelFn>& wide() {
    std::lock_guard lock(mutex_);
    if (wide_.empty()) {
      wide_code_ = link_object(make(true, false).object);
      wide_ = linked(*wide_code_);
    }
    return wide_;
  }
};

/// A kernel that stands for a host function.
class HostCode final : public Executable {
 public:
  explicit HostCode(const Function& f) : f_(f) {}
  void run(const Launch& launch, FailureSlot& failure) override {
    std::vector<KernelArray> arrays;
    for (const ArrayArgument& a : launch.arrays) arrays.push_back({a.data, {a.extent[0], a.extent[1], a.extent[2]}});
    launch_host(f_, arrays.data(), launch.scalars.data(), failure);
  }

 private:
  const Function f_;
};

class CpuBackend final : public Backend {
 public:
  std::string name() const override { return "cpu"; }
  std::string description() const override { return fmt::format("{} cores {}", cpu_threads(), target("").name); }
  std::uint64_t memory() const override {
    return static_cast<std::uint64_t>(sysconf(_SC_PHYS_PAGES)) * static_cast<std::uint64_t>(sysconf(_SC_PAGE_SIZE));
  }
  std::vector<std::string> features() const override {
    std::vector<std::string> list;
    const std::string& all = target("").features;  // "+avx,+avx2"
    for (std::size_t at = 0; at < all.size();) {
      const std::size_t end = std::min(all.find(',', at), all.size());
      list.push_back(all.substr(at + 1, end - at - 1));
      at = end + 1;
    }
    return list;
  }
  std::string fingerprint(const CompileOptions& o) const override {
    const Target& t = target(o.features);
    return fmt::format("cpu llvm {} {} width {}{}{}{}{}{}", LLVM_VERSION_STRING, t.features, o.width, o.bounds ? " bounds" : "",
                       o.fast ? " fast" : "", o.nan || o.inf ? " nan" : "", o.relaxed ? " relaxed" : "", o.race ? " race" : "");
  }
  std::shared_ptr<Executable> compile(const Function& f, const CompileOptions& options) override {
    switch (f.kind) {
      case Function::Kind::kernel:
        if (f.external) return std::make_shared<HostCode>(f);
        return std::make_shared<KernelCode>(f, options, std::string_view());
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
const char* llvm_version() { return LLVM_VERSION_STRING; }
std::shared_ptr<Backend> cpu_backend() {
  static const auto backend = std::make_shared<cpu::CpuBackend>();
  return backend;
}
}  // namespace fluxion
