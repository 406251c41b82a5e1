// What comes before and after a transform.
#pragma once
#include "fluxion/ad.h"

namespace fluxion::ad {

/// The function with the shapes of ops that the reverse driver expects, and without needless loads.
Function prepare(const Function& f);
/// With atomic_min and atomic_max of floats in an order that does not depend on the threads.
Function ordered(const Function& f);
/// Drops what the transform emitted for nobody.
Function tidy(const Function& f);
/// By parameter: true where a gradient is wanted. Throws KernelError for a bad `wrt`. `inout`: may name those too.
std::vector<char> wrt_mask(const Function& f, const Wrt& wrt, bool inout);
/// For a function that has parameter p of another one at `at[p]`.
Before moved(Before before, const std::vector<int>& at);
bool float_parameter(const Function& f, const Parameter& p);
void check_one_result(const Function& f, const char* what);

}  // namespace fluxion::ad
