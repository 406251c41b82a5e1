// The CPU backend is not in every build yet: weak, so that its absence is found where it is used.
#pragma once
#include "fluxion/backend.h"

namespace fluxion {
[[gnu::weak]] std::shared_ptr<Backend> cpu_backend();
}  // namespace fluxion
