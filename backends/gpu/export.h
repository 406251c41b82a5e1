// Kernels as files of GPU code: the stages of a plan, described for who launches them without this library.
#pragma once
#include <functional>

#include "fluxion/export.h"
#include "plan.h"

namespace fluxion::gpu {

/// `emit` makes the code of a stage's kernel, and what it knows of it. `language`: for messages.
ExportedGpuCode export_stages(const ExportItem& item, const Plan& plan, const char* language,
                              const std::function<ExportedStage(const Function&)>& emit);

}  // namespace fluxion::gpu
