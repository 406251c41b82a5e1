// A Backend out of a Device.
#pragma once
#include "device.h"

namespace fluxion::gpu {

std::shared_ptr<Backend> make_backend(std::shared_ptr<Device> device);

}  // namespace fluxion::gpu
