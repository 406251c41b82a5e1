// Which parameters of a derivative have the shape of another one: a gradient that of what it is the gradient of, a tangent, a
// cotangent too where both are passed. The launch compares; a gradient that is too short would be written past its end.
#pragma once
#include <span>
#include <vector>

#include "fluxion/ir.h"

namespace fluxion::detail {

struct Like {
  int parameter = -1;  // -1: of no other
  int tangents = 0;    // jvp(k, n): n of them along a leading axis
};
/// By parameter. `f` is what is differentiated, `likes` its own; `passed`: without the scratch at its end.
std::vector<Like> likes_of_vjp(const Function& f, std::span<const Like> likes, const std::vector<int>& wrt, std::size_t passed);
std::vector<Like> likes_of_jvp(const Function& f, std::span<const Like> likes, int tangents, std::size_t passed);

}  // namespace fluxion::detail
