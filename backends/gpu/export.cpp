// What each stage of a plan is given, in terms of the parameters of the exported function.
#include "export.h"

#include <fmt/format.h>

#include "fluxion/error.h"

namespace fluxion::gpu {

ExportedGpuCode export_stages(const ExportItem& item, const Plan& plan, const char* language,
                              const std::function<ExportedStage(const Function&)>& emit) {
  const ExportSignature& s = item.signature;
  const auto refuse = [&](const std::string& why) {
    throw KernelError(s.loc,
                      fmt::format("export: kernel \"{}\" {}, and is not exported as {}; export it as an object", s.kernel, why, language));
  };
  if (!plan.host.empty()) refuse("runs on the host (" + plan.host + ")");
  if (item.kernel.parameters.size() != s.parameters.size()) refuse("needs working memory of its own");
  if (!item.kernel.before.stages.empty()) refuse("needs kernels that run before it");
  std::vector<int> arrays, scalars;  // parameters of the function
  for (int p = 0; p < static_cast<int>(s.parameters.size()); ++p)
    (s.parameters[static_cast<std::size_t>(p)].array ? arrays : scalars).push_back(p);
  ExportedGpuCode out;
  for (const Plan::Limbs& l : plan.limbs) out.work.push_back({arrays[static_cast<std::size_t>(l.array)], l.limbs});
  for (const Stage& stage : plan.stages) {
    if (stage.tapes) refuse("keeps what its loops need on tapes, whose length is found out by a launch");
    ExportedStage made = emit(stage.kernel);
    std::size_t array = 0, scalar = 0;
    for (const Parameter& p : stage.kernel.parameters) {
      using Kind = ExportedStage::Argument::Kind;
      if (p.kind == Parameter::Kind::scalar) {
        made.arguments.push_back({Kind::scalar, scalars[scalar++], 0});
        continue;
      }
      const int a = stage.arrays[array++], rank = stage.kernel[p.memory].rank;
      if (a >= 0) made.arguments.push_back({Kind::array, arrays[static_cast<std::size_t>(a)], rank});
      else made.arguments.push_back({Kind::work, -1 - a, rank});
    }
    if (stage.elements_of >= 0) made.elements_of = arrays[static_cast<std::size_t>(stage.elements_of)];
    if (stage.beyond != std::array<int, 3>{}) made.beyond.assign(stage.beyond.begin(), stage.beyond.begin() + stage.kernel.domain_rank);
    out.stages.push_back(std::move(made));
  }
  return out;
}

}  // namespace fluxion::gpu
