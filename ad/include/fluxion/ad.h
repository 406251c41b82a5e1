// Differentiation: Function -> Function, closed under composition. docs/autodiff.md has the semantics.
#pragma once
#include <cstdint>
#include <vector>

#include "fluxion/ir.h"

namespace fluxion {

/// Which parameters to differentiate with respect to, by index in Function::parameters.
/// Empty: all that are floating point and In or scalar.
using Wrt = std::vector<int>;

/// What the reverse sweep of a program keeps of its outermost loops that launch kernels. Gradients do not depend on it.
struct Checkpoint {
  enum class Mode : std::uint8_t {
    all,       // everything that the reverse needs: the forward runs once
    strips,    // `levels` nested loops in the place of one: memory levels * T^(1/levels) for T iterations, levels - 1 sweeps more
    revolve,   // `states` states of the loop, placed where the fewest iterations run again (Griewank & Walther 2000)
    settings,  // as many states of as long strips as two parameters of each loop say: i32, appended to f's parameters
  };
  Mode mode = Mode::all;
  int levels = 2;
  int states = 0;
  int depth = 1;  // settings: loops in this many loops too
};

/// Forward mode. fn: parameters, then a tangent per float parameter -> results, then a tangent per float result.
/// kernel and program: parameters, then a tangent per float parameter with the same role (program: returned
/// values, then a tangent per float one).
/// Throws KernelError with the user's line for what cannot be differentiated.
FLUXION_API Function jvp(const Function& f);
/// The same with `n` tangents at once; the primal work is done once. A scalar has n tangents, one after the other (fn
/// results too); a tangent array has a leading axis of n. Refuses arrays of three axes, and programs.
FLUXION_API Function jvp(const Function& f, int n);

/// Reverse mode. The parameters are, in this order:
///   1. the primals of f, without Out and Accum; an InOut becomes In (the old version);
///   2. a cotangent per float Out (In), InOut (InOut: on return that of the old version), Accum (In);
///      programs: then one per float value that f returns (In array, or scalar);
///   3. a gradient per float In and scalar of `wrt`: Accum (of a scalar: one element).
/// fn: primals, then a cotangent per float result -> a gradient per member of `wrt`.
FLUXION_API Function vjp(const Function& f, const Wrt& wrt = {}, const Checkpoint& checkpoint = {});

/// fn with one float result: primals -> a gradient per member of `wrt`.
FLUXION_API Function grad(const Function& f, const Wrt& wrt = {});
/// fn: primals -> the result, then the gradients.
/// program whose first returned value is a float scalar or one-element array: the parameters of f -> what f
/// returns, then a gradient per member of `wrt` (an In or InOut array: of its old version). The forward runs once.
FLUXION_API Function value_and_grad(const Function& f, const Wrt& wrt = {}, const Checkpoint& checkpoint = {});

/// fn: primals -> d result_i / d parameter_k of the float ones, i slowest. Forward or reverse, whichever needs fewer sweeps.
FLUXION_API Function jacobian(const Function& f);
/// fn with one float result: primals, then a tangent per float parameter -> the second derivative times that tangent.
FLUXION_API Function hvp(const Function& f);

}  // namespace fluxion
