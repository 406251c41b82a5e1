// sinh, cosh, tanh, asinh, acosh, atanh in exact ops, built on the parts of exp and log.
//
// Odd functions work on |x| and take the sign back at the end, which also keeps -0. exp(x) / 4 stands in for
// exp(x) where the function is finite a little beyond exp's overflow.
#include "math_expr.h"

namespace fluxion::math {
namespace {

// (tanh(x) - x) / x^3 in x^2, |x| <= .6; a Remez fit, as in math_exp_log.cpp
constexpr double kTanh32[] = {-0x1.55553ep-2, 0x1.1109bep-3, -0x1.b89abap-5, 0x1.54c3c2p-6, -0x1.828776p-8};

// Just above where sinh and cosh overflow by themselves.
double overflow(Expr x) { return x.is_f32() ? 89.45 : 710.5; }

}  // namespace

Expr sinh(Expr x) {
  const Expr a = abs(x);
  const auto [p, n] = exp_parts(a);
  const Expr quarter = power_of_two(n, -2);
  const Expr q = fma(quarter, p, quarter - 0.25);  // expm1(a) / 4
  const Expr y = 2.0 * (q + q / fma(q, 4.0, 1.0));
  return copysign(select(a <= overflow(x), y, a + inf(a)), x);
}

Expr cosh(Expr x) {
  const Expr a = abs(x);
  const auto [p, n] = exp_parts(a);
  const Expr quarter = power_of_two(n, -2);
  const Expr q = fma(quarter, p, quarter);  // exp(a) / 4
  const Expr y = 2.0 * (q + 0.0625 / q);
  return select(a <= overflow(x), y, a + inf(a));
}

Expr tanh(Expr x) {
  const Expr a = abs(x);
  const double one_from = x.is_f32() ? 10 : 22;  // tanh rounds to 1
  const Expr bounded = select(a > one_from, one_from, a);
  const auto [p, n] = exp_parts(bounded + bounded);
  if (x.is_f32()) {
    const Expr scale = power_of_two(n, 0);
    const Expr large = 1.0 - 2.0 / (fma(scale, p, scale) + 1.0);
    const Expr z = a * a, small = fma(a * z, polynomial(z, kTanh32), a);
    return copysign(select(a < 0.6, small, large), x);
  }
  const Expr half = power_of_two(n, -1), m = 2.0 * fma(half, p, half - 0.5);  // expm1(2a)
  return copysign(m / (m + 2.0), x);
}

Expr asinh(Expr x) {
  const Expr a = abs(x), square = a * a;
  const Expr huge = a > (x.is_f32() ? 0x1p28 : 0x1p60);  // asinh(a) = log(2a) in all digits, and a^2 may overflow
  const Expr z = a + square / (sqrt(square + 1.0) + 1.0);
  return copysign(log1p_plus(select(huge, a, z), select(huge, lit(a, 1), lit(a, 0))), x);
}

Expr acosh(Expr x) {
  const Expr t = x - 1.0;
  const Expr huge = x > (x.is_f32() ? 0x1p28 : 0x1p60);
  const Expr z = t + sqrt(t * (t + 2.0));
  const Expr y = log1p_plus(select(huge, x, z), select(huge, lit(x, 1), lit(x, 0)));
  return select(x < 1.0, nan(x), y);
}

Expr atanh(Expr x) {
  const Expr a = abs(x);
  return copysign(0.5 * log1p_plus((a + a) / (1.0 - a), {}), x);
}

}  // namespace fluxion::math
