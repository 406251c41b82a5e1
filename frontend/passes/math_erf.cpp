// erf in exact ops: x (1 + polynomial in x^2) up to 1, beyond it 1 - exp(g(|x|)) with g a fit of log(erfc).
// Remez fits as in math_exp_log.cpp, g weighted by erfc / erf, since that is how its error counts.
#include "math_expr.h"

namespace fluxion::math {
namespace {

// erf(x) / x - 1 in x^2 <= 1
constexpr double kSmall32[] = {0x1.06eba8p-3, -0x1.81273ep-2,  0x1.ce2cecp-4, -0x1.b7f7f0p-6,
                               0x1.53fbd8p-8, -0x1.a3ac5ep-11, 0x1.489c72p-14};
constexpr double kSmall64[] = {0x1.06eba8214db68p-3,  -0x1.812746b0379a3p-2,  0x1.ce2f21a03ffb7p-4,  -0x1.b82ce311cd1dbp-6,
                               0x1.565bccf40c5b5p-8,  -0x1.c02daf8dc0e64p-11, 0x1.f9a2abaf60b3cp-14, -0x1.f4c979b13d332p-17,
                               0x1.b978402bc16ecp-20, -0x1.5bdbc4af700e8p-23, 0x1.d600d338007afp-27, -0x1.a8920aa3ba3bfp-31};
// log(erfc(x)) in x - kCentre, up to 4 (f32) and 6 (f64)
constexpr double kCentre32 = 1, kCentre64 = 1.5;
constexpr double kLarge32[] = {-0x1.d97fc0p+0, -0x1.51c984p+1,  -0x1.afb6a0p-1,  -0x1.50b57cp-5,
                               0x1.23e434p-7,  -0x1.589e4ap-11, -0x1.e7a4bcp-12, 0x1.1b15acp-13};
constexpr double kLarge64[] = {-0x1.b137096b18e96p+1,  -0x1.c1206279e92bdp+1,  -0x1.c90827462a193p-1,  -0x1.a71a4bde02f17p-6,
                               0x1.89a87b4901defp-8,   -0x1.4992623418ddep-10, 0x1.c4e86aac14327p-13,  -0x1.790bc8d176b8dp-16,
                               -0x1.6340932175de1p-19, 0x1.3e368ac2efd98p-19,  -0x1.b794ca58e00b0p-21, 0x1.9d743dfe34ae4p-23,
                               -0x1.dcbb629cd98eep-26, -0x1.2a88bdf03c4e3p-30, 0x1.35ab9b017c2e4p-29,  -0x1.bb95a10c30d1bp-31,
                               0x1.712a7729b6e77p-33,  -0x1.649f5f942bb39p-36, 0x1.34477c726bc58p-40};

}  // namespace

Expr erf(Expr x) {
  const bool f = x.is_f32();
  const Expr a = abs(x), z = x * x;
  const Expr small = fma(x, polynomial(z, f ? Coefficients(kSmall32) : Coefficients(kSmall64)), x);
  const double one_from = f ? 4 : 6;  // erf rounds to 1
  const Expr u = select(a > one_from, one_from, a) - (f ? kCentre32 : kCentre64);
  const auto [p, n] = exp_parts(polynomial(u, f ? Coefficients(kLarge32) : Coefficients(kLarge64)));
  const Expr scale = power_of_two(n, 0);
  return select(a < 1.0, small, copysign(1.0 - fma(scale, p, scale), x));
}

}  // namespace fluxion::math
