// A kernel as an object file that stands alone: its phases, narrow and wide, as for a launch, and the functions around them.
#include <fmt/format.h>

#include "export_driver.h"
#include "fluxion/error.h"
#include "fluxion/external_code.h"
#include "fluxion/passes.h"
#include "orc.h"

namespace fluxion {

std::vector<std::string> object_targets() { return {"native", "x86-64", "x86-64-v3", "x86-64-v4", "aarch64"}; }

namespace cpu {
namespace {

struct Prepared {
  const ExportItem& item;
  std::vector<Function> phases;
  std::vector<KernelPlan> plans;
  ExportedFunction function;
};

Prepared prepare(const ExportItem& item) {
  const Function& kernel = item.kernel;
  const CompileOptions& options = item.options;
  const ExportSignature& s = item.signature;
  const auto refuse = [&](Loc at, const std::string& why) {
    throw KernelError(at, fmt::format("export: kernel \"{}\" {}", s.kernel, why));
  };
  if (kernel.kind != Function::Kind::kernel) refuse(kernel.loc, "is no kernel");
  if (kernel.external) refuse(kernel.loc, "stands for a host function, which an object cannot hold");
  if (!kernel.before.stages.empty())
    refuse(kernel.loc, "needs kernels that run before it (the derivative of atomic extremes); write the extremes without atomics");
  if (options.race || options.nan || options.inf)
    refuse(kernel.loc, "is checked (FLUXION_DEBUG=race, nan, inf); such code needs the library");
  Prepared out{item, phases_of(kernel, options), {}, {}};
  out.function.phases = static_cast<int>(out.phases.size());
  out.function.ranges = s.parameters.size() == kernel.parameters.size();  // scratch belongs to a whole run
  std::vector<char> added(s.parameters.size());
  for (const Function& phase : out.phases) {
    out.plans.push_back(make_plan(phase, options, choose_width(phase, options)));
    const KernelPlan& plan = out.plans.back();
    for (const Site& site : plan.sites)
      if (site.external) refuse(site.loc, fmt::format("calls a host function, \"{}\", which an object cannot hold", site.external->name));
    out.function.ordered |= plan.ordered;
    std::size_t array = 0;
    for (std::size_t p = 0; p < added.size(); ++p)
      if (s.parameters[p].array) added[p] |= plan.sharing[array++] != Sharing::none;
  }
  for (std::size_t p = 0; p < added.size(); ++p)
    if (added[p]) out.function.added.push_back(static_cast<int>(p));
  return out;
}

void emit_item(llvm::Module& module, const Prepared& prepared, const Target& target, std::int64_t tape_bytes) {
  std::vector<llvm::Function*> kernels, wide;
  for (const bool far : {false, true})
    for (std::size_t k = 0; k < prepared.phases.size(); ++k) {
      EmitOptions e = emit_options(prepared.item.options, target, prepared.plans[k].width);
      e.wide = far;
      auto& list = far ? wide : kernels;
      list.push_back(emit_kernel(module, math_lowering(prepared.phases[k]),
                                 fmt::format("{}.{}{}", prepared.item.signature.name, far ? "wide" : "kernel", k), e));
      list.back()->setLinkage(llvm::Function::InternalLinkage);
    }
  Driver driver(module, prepared.item.signature, prepared.item.kernel, prepared.plans, target.arm, tape_bytes);
  driver.define_runtime();
  driver.define_entries(kernels, wide, prepared.function.ranges);
}

/// What a program should look for in the processor before it runs the code.
std::vector<std::string> needs(const Target& t) {
  std::vector<std::string> out;
  if (!t.arm && t.name != "sse2") out = {"avx2", "fma", "f16c", "bmi1", "bmi2", "movbe"};
  if (t.avx512) out.insert(out.end(), {"avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512cd"});
  return out;
}

}  // namespace
}  // namespace cpu

ExportedObject export_object(const std::vector<ExportItem>& items, std::string_view target_name, std::int64_t tape_bytes) {
  const cpu::Target target = cpu::object_target(target_name);
  std::vector<cpu::Prepared> prepared;
  ExportedObject out;
  for (const ExportItem& item : items) {
    prepared.push_back(cpu::prepare(item));
    out.functions.push_back(prepared.back().function);
  }
  out.machine = target.arm ? "aarch64" : "x86_64";
  out.needs = cpu::needs(target);
  out.object = cpu::compile_object(target, false, [&](llvm::Module& module) {
                 for (const cpu::Prepared& p : prepared) cpu::emit_item(module, p, target, tape_bytes);
               }).object;
  return out;
}

}  // namespace fluxion
