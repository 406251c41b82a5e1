// How far a lowered function may be from the exact result, in units in the last place of its type.
// docs/math.md holds the same table for people, the tests hold math_lowering to it.
#pragma once
#include "fluxion/op.h"

namespace fluxion {

/// The largest error of `op` on type `t` over all arguments whose result is a normal number. 0 for exact ops.
constexpr double ulp_bound(Opcode op, DType t) {
  const bool f = t == DType::f32;
  switch (op) {
    case Opcode::rsqrt: return 1.25;
    case Opcode::cbrt: return 1;
    case Opcode::exp: return 1.25;
    case Opcode::exp2: return 1;
    case Opcode::expm1: return f ? 1.75 : 2.25;
    case Opcode::log: return 1;
    case Opcode::log2: return 1.25;
    case Opcode::log10: return 1.25;
    case Opcode::log1p: return 1.75;
    case Opcode::sin: return 1.6;
    case Opcode::cos: return 1.6;
    case Opcode::tan: return 3.5;
    case Opcode::asin: return 2.5;
    case Opcode::acos: return 1.5;
    case Opcode::atan: return 2.5;
    case Opcode::atan2: return 2.5;
    case Opcode::sinh: return 2.75;
    case Opcode::cosh: return 1.75;
    case Opcode::tanh: return f ? 1.5 : 2.75;
    case Opcode::asinh: return 2.5;
    case Opcode::acosh: return 3;
    case Opcode::atanh: return 2.5;
    case Opcode::pow: return f ? 0.6 : 1;
    case Opcode::hypot: return 1.25;
    case Opcode::erf: return 1.25;
    default: return 0;
  }
}

}  // namespace fluxion
