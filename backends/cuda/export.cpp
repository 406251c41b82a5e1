// Kernels as PTX files. Nothing is known of the arrays that they will be called with, so indices have 64 bits.
#include <algorithm>

#include "common/uniformity.h"
#include "fluxion/error.h"
#include "gpu/export.h"
#include "ptx.h"

namespace fluxion {
namespace cuda {
namespace {

ExportedStage emit_stage(const Function& kernel, const std::string& arch, bool fast) {
  ExportedStage out;
  out.code = ptx(kernel, {.arch = arch, .entry = "main", .compact = false, .fast = fast});
  out.threads = kernel.has_groups() ? group_threads(kernel) : kMostThreads;
  for (const auto& site : sites(kernel, out.values))
    out.sites.push_back({site.text, to_string(site.loc), site.types, site.code == Opcode::print});
  for (const Memory& m : kernel.memories)
    if (m.space == Memory::Space::shared)
      for (const Leaf& leaf : layout_of(m.element).leaves)
        out.shared_bytes += (std::max<std::int64_t>(1, m.length) * size_of(leaf.dtype) + 15) / 16 * 16;
  return out;
}

}  // namespace
}  // namespace cuda

ExportedGpuCode export_ptx(const ExportItem& item, std::string_view target) {
  const std::string arch = target == "ptx" ? "sm_75" : std::string(target.substr(std::min(target.size(), target.find('-') + 1)));
  return gpu::export_stages(item, cuda::plan(item.kernel, item.options, /*many=*/true), "PTX",
                            [&](const Function& f) { return cuda::emit_stage(f, arch, item.options.fast); });
}

}  // namespace fluxion
