// Programs on a Vulkan device.
#pragma once
#include "gpu.h"

namespace fluxion::vulkan {

std::shared_ptr<Executable> make_program(std::shared_ptr<Gpu> gpu, const Function& f, const CompileOptions& options,
                                         std::string_view object);

}  // namespace fluxion::vulkan
