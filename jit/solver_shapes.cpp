// What the solvers of linear_solve.h and newton_krylov.h say of operators whose arrays do not fit.
#include <fmt/format.h>

#include "fluxion/error.h"
#include "fluxion/linear_solve.h"

namespace fluxion::detail {

void check_gives(const char* solver, const char* what, const Array& gives, const Array& unknowns, Loc at) {
  const auto given = gives.shape(), wanted = unknowns.shape();
  if (given == wanted) return;
  throw ShapeError(at, fmt::format("{}: the {} gives [{}] for [{}]; it has to give an array of the shape that it is applied to", solver,
                                   what, fmt::join(given, ", "), fmt::join(wanted, ", ")));
}

}  // namespace fluxion::detail
