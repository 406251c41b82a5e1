// Sums of values that are linear in fewer values. Where a launch adds up q0 * w0 + q1 * w1 and q2 * w0 + q3 * w1, and all of its
// points share the q, it is enough to add up w0 and w1: the rest is done once, with the two sums. The adjoint of an affine
// map by its offset is of this kind.
#pragma once
#include <functional>
#include <vector>

#include "sequences.h"

namespace fluxion {

struct LinearSum {
  std::vector<OpId> sites;      // accumulates of one memory in one region, in their order
  std::vector<ValueId> leaves;  // what is added up instead of their values
};

/// `sites`: accumulates whose element all points share. `shared`: a value that all points share, and that can be had after
/// the last of them. Only what saves at least two operations a site, and needs no more sums than before.
std::vector<LinearSum> linear_sums(const Function& f, const Nesting& nesting, const std::vector<OpId>& sites,
                                   const std::function<bool(ValueId)>& shared);

}  // namespace fluxion
