// Kernels as SPIR-V files: code for a device that nobody has asked yet. It is taken to round sums, products, quotients, roots and fused
// multiply-adds to nearest, and to keep infinities and NaNs; what else the code needs stands in its capabilities.
#include "emit.h"
#include "fluxion/error.h"
#include "gpu/export.h"

namespace fluxion {
namespace vulkan {
namespace {

ExportedStage emit_stage(const Function& kernel, bool fast) {
  Traits traits;
  traits.keeps_zero_inf_nan32 = traits.nearest32 = true;
  traits.keeps_zero_inf_nan64 = traits.nearest64 = uses_f64(kernel);
  traits.atomics_i64 = traits.atomics_i64_shared = true;
  EmittedKernel made = emit(kernel, traits, fast);
  ExportedStage out;
  out.code.assign(reinterpret_cast<const char*>(made.words.data()), made.words.size() * sizeof(Word));
  out.threads = made.threads;
  out.shared_bytes = made.shared_bytes;
  out.words = made.argument_words;
  out.push = made.push;
  out.values = made.values;
  for (const auto& site : made.sites) out.sites.push_back({site.text, to_string(site.loc), site.types, site.code == Opcode::print});
  // After the header of five words: instructions whose first word has their length and opcode.
  for (std::size_t at = 5; at < made.words.size() && made.words[at] >> 16 > 0; at += made.words[at] >> 16)
    if ((made.words[at] & 0xffff) == static_cast<Word>(spv::Op::OpCapability)) out.capabilities.push_back(made.words[at + 1]);
  return out;
}

}  // namespace
}  // namespace vulkan

ExportedGpuCode export_spirv(const ExportItem& item) {
  constexpr gpu::Exact kExact{true, true, true, true, true, true};
  return gpu::export_stages(item, gpu::make_plan(item.kernel, item.options, kExact, {.many = true}), "SPIR-V",
                            [&](const Function& f) { return vulkan::emit_stage(f, item.options.fast); });
}

}  // namespace fluxion
