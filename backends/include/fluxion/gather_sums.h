// Adjoints of stencils as gathers: what backends/common/gather.h describes, as a transformation of kernels and programs.
#pragma once
#include <vector>

#include "fluxion/ir.h"

namespace fluxion {

/// What additions of several threads to one element cost: little where a row of points is a vector, much where each is a
/// thread of the hardware; more than anything is for tests.
enum class AddCost { of_rows, of_threads, endless };

/// `kernel` as kernels with the same parameters that run one after the other over the same domain: none where nothing is turned
/// around, one where all else is sums, otherwise first the sums, which read what the second one writes.
FLUXION_API std::vector<Function> gather_sums(const Function& kernel, AddCost cost = AddCost::of_rows);

/// The same for each `run` of a program in memory form.
FLUXION_API Function gather_sums_of_runs(const Function& program);

}  // namespace fluxion
