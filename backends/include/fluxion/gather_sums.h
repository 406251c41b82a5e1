// Adjoints of stencils as gathers: what backends/common/gather.h describes, as a transformation of kernels and programs.
#pragma once
#include <array>
#include <vector>

#include "fluxion/ir.h"

namespace fluxion {

/// What additions of several threads to one element cost: little where a row of points is a vector, much where each is a
/// thread of the hardware; more than anything is for tests.
enum class AddCost { of_rows, of_threads, endless };

struct Gathered {
  Function kernel;
  std::array<int, 3> beyond{};  // by how many points each axis of its domain is longer than that of the launch
};

/// `kernel` as kernels with the same parameters that run one after the other: none where nothing is turned around, one where all else
/// is sums, otherwise first the sums, which read what the second one writes. At the border of the domain, elements that no thread owns
/// are added to by whom they always were; of_threads, they have threads of their own, in a longer domain.
FLUXION_API std::vector<Gathered> gather_sums(const Function& kernel, AddCost cost = AddCost::of_rows);

/// The same for each `run` of a program in memory form.
FLUXION_API Function gather_sums_of_runs(const Function& program);

}  // namespace fluxion
