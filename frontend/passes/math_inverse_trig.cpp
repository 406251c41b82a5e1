// asin, acos, atan, atan2 in exact ops.
//
// asin: one polynomial on [0, 1/2]; above by asin(a) = pi/2 - 2 asin(sqrt((1 - a) / 2)).
// atan(b / a), 0 <= b <= a: for b > tan(pi/8) a as pi/4 + atan((b - a) / (b + a)), so that one division and one
// polynomial on |t| <= tan(pi/8) do; the octants then follow from which of |x|, |y| is larger and x's sign.
// Coefficients: Remez fits as in math_exp_log.cpp.
#include "math_expr.h"

namespace fluxion::math {
namespace {

// (asin(s) - s) / s^3 in s^2 <= 1/4
constexpr double kAsin32[] = {0x1.5555c8p-3, 0x1.330204p-4, 0x1.747bb8p-5, 0x1.8c3e50p-6, 0x1.595c60p-5};
constexpr double kAsin64[] = {0x1.5555555555390p-3, 0x1.333333336e837p-4, 0x1.6db6db4277cb5p-5,  0x1.f1c72c3a004c1p-6,
                              0x1.6e89f423c0c28p-6, 0x1.1c6be38147247p-6, 0x1.c6fd9a04eb0d2p-7,  0x1.8ec4119c0a7b6p-7,
                              0x1.abc5861106565p-8, 0x1.3ffbadd9af465p-6, -0x1.09de8f8ae5b25p-6, 0x1.057173a51ee06p-5};
// (atan(t) - t) / t^3 in t^2, |t| <= tan(pi/8)
constexpr double kAtan32[] = {-0x1.55554ap-2, 0x1.9991e2p-3, -0x1.23b9a2p-3, 0x1.b22456p-4, -0x1.f2e5a8p-5};
constexpr double kAtan64[] = {-0x1.555555555553dp-2, 0x1.9999999995867p-3, -0x1.24924922ad3d5p-3, 0x1.c71c70e5fe87bp-4,
                              -0x1.745cf8da543c5p-4, 0x1.3b1118f661983p-4, -0x1.10ebb6a3407c5p-4, 0x1.df0f34a3b8f3bp-5,
                              -0x1.9cd25e6065ebap-5, 0x1.37d4c7ec3d901p-5, -0x1.2568a162cf789p-6};

struct Split {
  double high, low;
};
Split quarter_pi(Expr x) { return x.is_f32() ? Split{0x1.921fb6p-1, -0x1.777a5cp-26} : Split{0x1.921fb54442d18p-1, 0x1.1a62633145c07p-55}; }
constexpr double kTanPi8 = 0.41421356237309504880;

// asin of a for a <= 1/2, else of sqrt((1 - a) / 2); a >= 0.
Expr asin_part(Expr a, Expr small) {
  const Expr z = select(small, a * a, fma(a, -0.5, 0.5));
  const Expr s = select(small, a, sqrt(z));
  return fma(s * z, polynomial(z, a.is_f32() ? Coefficients(kAsin32) : Coefficients(kAsin64)), s);
}

// m quarters of pi plus or minus (negate) the angle of t.
Expr angle(Expr t, Expr negate, Expr m) {
  const Expr z = t * t;
  const Expr p = fma(t * z, polynomial(z, t.is_f32() ? Coefficients(kAtan32) : Coefficients(kAtan64)), t);
  const auto [high, low] = quarter_pi(t);
  return fma(m, high, fma(m, low, select(negate, -p, p)));
}

}  // namespace

Expr asin(Expr x) {
  const Expr a = abs(x), small = a <= 0.5, p = asin_part(a, small);
  const auto [high, low] = quarter_pi(x);
  return copysign(select(small, p, fma(p, -2.0, 2 * low) + 2 * high), x);
}

Expr acos(Expr x) {
  const Expr a = abs(x), small = a <= 0.5, p = asin_part(a, small);
  const auto [high, low] = quarter_pi(x);
  const Expr quarters = select(small, lit(x, 2), select(x > 0.0, lit(x, 0), lit(x, 4)));
  // pi/2 - asin(x); 2 asin(sqrt((1 - x) / 2)); pi - 2 asin(sqrt((1 + x) / 2))
  return fma(quarters, high, fma(copysign(p, x), select(small, lit(x, -1), lit(x, 2)), quarters * low));
}

Expr atan(Expr x) {
  const Expr y = abs(x), swapped = y > 1.0;
  const Expr a = select(swapped, y, 1.0), b = select(swapped, 1.0, y);
  const Expr middle = b > a * kTanPi8;
  const Expr t = select(middle, b - a, b) / select(middle, b + a, a);
  const Expr one = lit(x, 1), zero = lit(x, 0);
  const Expr m = select(swapped, select(middle, one, lit(x, 2)), select(middle, one, zero));
  return copysign(angle(t, swapped, m), x);
}

Expr atan2(Expr y, Expr x) {
  const Expr ay = abs(y), ax = abs(x), swapped = ay > ax;
  Expr a = select(swapped, ay, ax), b = select(swapped, ax, ay);
  // Infinite sides: the diagonal or an axis. Huge sides: their sum must not overflow. NaN stays in a or b.
  const Expr infinite = a == inf(a), diagonal = b == inf(b);
  const Expr scale = select(a > (x.is_f32() ? 0x1p120 : 0x1p1000), lit(a, 0.25), lit(a, 1));
  b = select(infinite, select(diagonal, lit(b, 1), b * 0.0), b * scale);
  a = select(infinite, lit(a, 1), a * scale);
  const Expr middle = b > a * kTanPi8;
  Expr t = select(middle, b - a, b) / select(middle, b + a, a);
  t = select(a == 0.0, b, t);  // the origin
  const Expr zero = lit(x, 0), one = lit(x, 1);
  const Expr m = select(middle, one, zero);
  const Expr left = (bits_of(x) & format_of(x).sign) != 0;
  // pi/2 - angle when swapped, then pi - that on the left
  const Expr turned = select(swapped, 2.0 - m, m);
  const Expr quarters = select(left, 4.0 - turned, turned);
  return copysign(angle(t, swapped != left, quarters), y);
}

}  // namespace fluxion::math
