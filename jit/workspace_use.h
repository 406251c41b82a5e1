// How much memory a program in memory form takes for itself, and how many kernels it runs, found without running any:
// scalars of a program never depend on arrays, so its loops can be followed with the kernels left out.
#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "fluxion/ir.h"

namespace fluxion {

struct WorkspaceUse {
  double bytes = 0;             // buffers, and stacks of records when they are highest
  double runs = 0;              // of kernels
  std::vector<double> trips{};  // of the loops that revolve, by number: in strips
};
/// `scalars`: bits of the scalar parameters, in order. The result is a walk of the loops: what does not depend on the turn
/// is counted once.
WorkspaceUse workspace_use(const Function& memory_form, std::span<const std::uint64_t> scalars);

}  // namespace fluxion
