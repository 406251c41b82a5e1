// Program loops made ready for a reverse sweep that keeps less than everything: IR to IR, before the sweep.
#pragma once
#include <map>

#include "fluxion/ad.h"

namespace fluxion::ad {

struct Checkpointed {
  Function f;
  std::map<OpId, ValueId> states;  // loops of f that revolve: how many states they keep
};
/// `f`: a program, prepared. Throws KernelError for loops that belong to a derivative already.
Checkpointed checkpoint(const Function& f, const Checkpoint& how);

}  // namespace fluxion::ad
