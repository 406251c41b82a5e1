// A program in memory form on a device: memory_form.h for a backend.
#pragma once
#include "fluxion/backend.h"
#include "fluxion/memory_form.h"

namespace fluxion::gpu {

/// Gives the most bytes that it had for arrays of its own. Errors go to `failure`, in which `machine` leaves those of launches.
std::int64_t run_program(const Function& f, const Launch& launch, ProgramMachine& machine, FailureSlot& failure);

}  // namespace fluxion::gpu
