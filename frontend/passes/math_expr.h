// What the math lowerings share beside the notation of fluxion/expr.h: the two formats, and the tables of which functions each
// math_*.cpp lowers.
#pragma once
#include "fluxion/expr.h"

namespace fluxion::math {

/// What differs between the two floating-point types.
struct Format {
  DType real, bits, signed_bits;
  int mantissa;  // stored bits
  std::int64_t bias;
  std::uint64_t sign, infinity, one;
  double magic;  // adding it rounds to a whole number, which then stands in the low bits
  double least;  // smallest normal number
};
inline constexpr Format kF32 = {DType::f32, DType::u32, DType::i32, 23, 127, 0x80000000u, 0x7f800000u, 0x3f800000u, 0x1.8p23, 0x1p-126};
inline constexpr Format kF64 = {DType::f64,          DType::u64,          DType::i64, 52,       1023, std::uint64_t{1} << 63,
                                0x7ff0000000000000u, 0x3ff0000000000000u, 0x1.8p52,   0x1p-1022};
inline const Format& format_of(Expr x) { return x.is_f32() ? kF32 : kF64; }
inline Expr bits_of(Expr x) { return x.as(format_of(x).bits); }
inline Expr real_of(Expr u) { return u.as(u.type() == DType::u32 ? DType::f32 : DType::f64); }

// ---- shared between the files
/// exp(x) = scale * (1 + p): p = exp(r) - 1 for |r| <= ln2 / 2, and the bits of magic + n where scale = 2^n.
struct ExpParts {
  Expr p, n;
};
ExpParts exp_parts(Expr x);
/// 2^(n + offset) from the bits of magic + n.
Expr power_of_two(Expr n, int offset);
/// |x| = n pi/2 + r; the low bits of count are those of n.
struct Reduced {
  Expr r, count;
};
Reduced reduce(Expr x);
/// log(1 + x) + extra_twos * log(2): the inverse hyperbolics add a factor 2 without overflow.
/// With an empty `extra_twos` there are none.
Expr log1p_plus(Expr x, Expr extra_twos);

Expr exp(Expr x);
Expr exp2(Expr x);
Expr expm1(Expr x);
Expr log(Expr x);
Expr log2(Expr x);
Expr log10(Expr x);
Expr log1p(Expr x);
Expr sin(Expr x, const Reduced& a);  // a = reduce(x)
Expr cos(Expr x, const Reduced& a);
Expr tan(Expr x, const Reduced& a);
Expr asin(Expr x);
Expr acos(Expr x);
Expr atan(Expr x);
Expr atan2(Expr y, Expr x);
Expr sinh(Expr x);
Expr cosh(Expr x);
Expr tanh(Expr x);
Expr asinh(Expr x);
Expr acosh(Expr x);
Expr atanh(Expr x);
Expr rsqrt(Expr x);
Expr cbrt(Expr x);
Expr hypot(Expr x, Expr y);
Expr pow(Expr x, Expr y);
Expr erf(Expr x);

}  // namespace fluxion::math
