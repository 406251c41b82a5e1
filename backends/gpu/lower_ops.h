// What GPUs have no instruction for, or one of another meaning, as other ops: integer division by 0, shifts by more than the width,
// saturating conversions, half numbers, remainders, and where the device is not exact fma, division and square root. What is left
// means what the hardware does with it. Needs: math_lowering; Function to Function.
#pragma once
#include "fluxion/expr.h"
#include "fluxion/ir.h"

namespace fluxion::gpu {

/// What the device rounds correctly.
struct Exact {
  bool fma32 = false, fma64 = false, div32 = false, div64 = false, sqrt32 = false, sqrt64 = false;
};

FLUXION_API Function lower_ops(const Function& f, const Exact& exact);

// ---- lower_floats.cpp: formulas
/// a * b + c, rounded once, of sums and products that round to nearest. Numbers below the smallest normal one count as 0.
math::Expr fused(math::Expr a, math::Expr b, math::Expr c);
math::Expr fmod(math::Expr a, math::Expr b);
/// Between f32 and the bits of a half number.
math::Expr from_half(math::Expr bits, DType half);
math::Expr to_half(math::Expr x, DType half);
/// 2^k as `type`, where that is a normal number; k is an i32.
math::Expr power_of_two(math::Expr k, DType type);

}  // namespace fluxion::gpu
