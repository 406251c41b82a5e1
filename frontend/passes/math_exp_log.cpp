// exp, exp2, expm1, log, log2, log10, log1p in exact ops.
//
// exp: x = n ln2 + r with |r| <= ln2/2, exp(x) = 2^n (1 + p(r)). log: x = 2^e (1 + f) with 1 + f in
// [sqrt(1/2), sqrt 2), log(x) = e ln2 + log(1 + f). Coefficients: minimax in relative error of the result by the
// Remez exchange in 260-bit arithmetic, each rounded to the type in turn (lowest first) and the rest fitted
// again. The shape of the f64 logarithm, f - (f^2/2 - s (f^2/2 + R(s^2))) with s = f / (2 + f), is fdlibm's.
// Results below the smallest normal number become 0; arguments below it count as 0.
#include "math_expr.h"

namespace fluxion::math {
namespace {

// (exp(r) - 1 - r) / r^2 on |r| <= .3475
constexpr double kExp32[] = {0x1p-1, 0x1.5554aep-3, 0x1.5554e2p-5, 0x1.122936p-7, 0x1.6d5478p-10};
constexpr double kExp64[] = {0x1.0000000000005p-1,  0x1.555555555555cp-3,  0x1.5555555552081p-5,  0x1.111111110e7f1p-7,
                             0x1.6c16c17f63e7fp-10, 0x1.a01a01b580cd7p-13, 0x1.a019a5e23e5ddp-16, 0x1.71ddeab6e3118p-19,
                             0x1.28a3646675a30p-22, 0x1.af75ac53a7b69p-26};
// (2^r - 1) / r on |r| <= .501
constexpr double kExp2_32[] = {0x1.62e430p-1, 0x1.ebfbdcp-3, 0x1.c6af78p-5, 0x1.3b2dd2p-7, 0x1.5f0abep-10, 0x1.417c1cp-13};
constexpr double kExp2_64[] = {0x1.62e42fefa39efp-1,  0x1.ebfbdff82c59dp-3,  0x1.c6b08d704a0d2p-5,  0x1.3b2ab6fba0f66p-7,
                               0x1.5d87fe78b3e9cp-10, 0x1.4309130c8441dp-13, 0x1.ffcbfbf912947p-17, 0x1.62bfcc9291516p-20,
                               0x1.b5260a92c842ep-24, 0x1.e613e359abc57p-28, 0x1.e816ef66172dcp-32};
// (log(1 + f) - f) / f^2 on [sqrt(1/2) - 1, sqrt 2 - 1]
constexpr double kLog32[] = {-0.5,          0x1.555554p-2,  -0x1.000228p-2, 0x1.99a022p-3, -0x1.547214p-3,
                             0x1.22d880p-3, -0x1.0d85cap-3, 0x1.0563f0p-3,  -0x1.38c354p-4};
// (log((1 + s) / (1 - s)) - 2 s) / s^3 in s^2 <= .02945
constexpr double kLog64[] = {0x1.5555555555593p-1, 0x1.999999997fabdp-2, 0x1.2492494217796p-2, 0x1.c71c51ec14c03p-3,
                             0x1.746644af59d04p-3, 0x1.39a1292419994p-3, 0x1.2f0b0b8ae7eaap-3};

// A constant in two parts, the first rounded to nearest (f64) or towards 0 (f32); products go through fma.
struct Split {
  double high, low;
};
constexpr Split kLn2_32 = {0x1.62e42ep-1, 0x1.efa39ep-25}, kLn2_64 = {0x1.62e42fefa39efp-1, 0x1.abc9e3b39803fp-56};
constexpr Split kLog2e32 = {0x1.715476p0, 0x1.4ae0cp-26}, kLog2e64 = {0x1.71547652b82fep0, 0x1.777d0ffda0d24p-56};
constexpr Split kLog10e32 = {0x1.bcb7b2p-2, -0x1.5b235ep-27}, kLog10e64 = {0x1.bcb7b1526e50ep-2, 0x1.95355baaafad3p-57};
constexpr Split kLog10of2_32 = {0x1.344136p-2, -0x1.ec10cp-27}, kLog10of2_64 = {0x1.34413509f79ffp-2, -0x1.9dc1da994fd21p-59};

Split ln2(Expr x) { return x.is_f32() ? kLn2_32 : kLn2_64; }

// 1 + f = x / 2^e, log(1 + f) = f + q.
struct LogParts {
  Expr f, q, e;
};

// The exponent's field of x / sqrt(1/2), and m = x / 2^e.
struct Scaled {
  Expr m, e, e_field;
};
Scaled split_exponent(Expr x) {
  const Format& F = format_of(x);
  const std::uint64_t root = x.is_f32() ? 0x3f3504f3u : 0x3fe6a09e667f3bcdu;  // the bits of sqrt(1/2)
  const std::uint64_t mantissa = (std::uint64_t{1} << F.mantissa) - 1;
  const Expr above = bits_of(x) - root;
  const Expr m = real_of((above & mantissa) + root);
  const Expr field = above & ~mantissa;
  if (x.is_f32()) return {m, (above.as(DType::i32) >> F.mantissa).to(DType::f32), field};
  // 64-bit integers convert slowly; biased by the exponent's own bias they fit a mantissa instead.
  const Expr biased = (above + F.one) >> F.mantissa;
  return {m, real_of(biased | 0x4330000000000000) - (0x1p52 + 1023), field};
}

LogParts log_of(Expr f, Expr e) {
  const Expr f2 = f * f;
  if (f.is_f32()) return {f, f2 * polynomial(f, kLog32), e};
  const Expr half = 0.5 * f2, s = f / (f + 2.0), z = s * s;
  return {f, fma(s, fma(z, polynomial(z, kLog64), half), -half), e};
}

Expr natural(const LogParts& l) {
  const auto [high, low] = ln2(l.f);
  return fma(l.e, high, l.f + fma(l.e, low, l.q));
}

// What every logarithm does with arguments that are not positive, finite and normal.
Expr log_special(Expr x, Expr y) {
  const double least = format_of(x).least;
  y = select(x < inf(x), y, x);
  return select(x < least, select(x <= -least, nan(x), -inf(x)), y);
}

LogParts log_parts(Expr x) {
  const auto s = split_exponent(x);
  return log_of(s.m - 1.0, s.e);
}

}  // namespace

ExpParts exp_parts(Expr x) {
  const double magic = format_of(x).magic;
  const auto [high, low] = ln2(x);
  const Expr t = fma(x, 0x1.71547652b82fep0, magic), n = t - magic;
  const Expr r = fma(n, -low, fma(n, -high, x));
  const Expr q = polynomial(r, x.is_f32() ? Coefficients(kExp32) : Coefficients(kExp64));
  return {fma(r * r, q, r), bits_of(t)};
}

Expr power_of_two(Expr n, int offset) {
  const Format& F = n.type() == DType::u32 ? kF32 : kF64;
  return real_of((n << F.mantissa) + (static_cast<std::uint64_t>(F.bias + offset) << F.mantissa));
}

namespace {
// y with 2^n folded into its exponent; y must be within [1/2, 2).
Expr scaled(Expr y, Expr n) { return real_of(bits_of(y) + (n << format_of(y).mantissa)); }
// Overflow and NaN (x + inf is both), and what is too small.
Expr exp_special(Expr x, Expr y, double low, double high) {
  y = select(x <= high, y, x + inf(x));
  return select(x < low, 0.0, y);
}
}  // namespace

Expr exp(Expr x) {
  const auto [p, n] = exp_parts(x);
  const Expr y = scaled(p + 1.0, n);
  return x.is_f32() ? exp_special(x, y, -0x1.5d589ep6, 0x1.62e42ep6) : exp_special(x, y, -0x1.6232bdd7abcd2p9, 0x1.62e42fefa39efp9);
}

Expr exp2(Expr x) {
  const double magic = format_of(x).magic;
  const Expr t = x + magic, r = x - (t - magic);
  const Expr p = polynomial(r, x.is_f32() ? Coefficients(kExp2_32) : Coefficients(kExp2_64));
  const Expr y = scaled(fma(r, p, 1.0), bits_of(t));
  // The largest argument below 128 or 1024.
  return x.is_f32() ? exp_special(x, y, -126, 0x1.fffffep6) : exp_special(x, y, -1022, 0x1.fffffffffffffp9);
}

Expr expm1(Expr x) {
  const auto [p, n] = exp_parts(x);
  const Expr half = power_of_two(n, -1);  // 2^n itself overflows at the top
  Expr y = 2.0 * fma(half, p, half - 0.5);
  y = select(x <= (x.is_f32() ? 0x1.62e42ep6 : 0x1.62e42fefa39efp9), y, x + inf(x));
  y = select(x < (x.is_f32() ? -20.0 : -40.0), -1.0, y);
  return select(x == 0.0, x, y);  // keeps -0
}

Expr log(Expr x) { return log_special(x, natural(log_parts(x))); }

Expr log2(Expr x) {
  const auto [high, low] = x.is_f32() ? kLog2e32 : kLog2e64;
  const auto [f, q, e] = log_parts(x);
  return log_special(x, e + fma(f, high, fma(f, low, q * high)));
}

Expr log10(Expr x) {
  const auto [high, low] = x.is_f32() ? kLog10e32 : kLog10e64;
  const auto [high2, low2] = x.is_f32() ? kLog10of2_32 : kLog10of2_64;
  const auto [f, q, e] = log_parts(x);
  return log_special(x, fma(e, high2, fma(f, high, fma(f, low, fma(e, low2, q * high)))));
}

Expr log1p_plus(Expr x, Expr extra_twos) {
  const Format& F = format_of(x);
  const Expr u = x + 1.0;
  const auto s = split_exponent(u);
  // 2^-e (1 + x) - 1 without the rounding of 1 + x. From 2^32 on that rounding does not count, and 2^-e would
  // end up too small to represent.
  const Expr scale = real_of(F.one - s.e_field);
  const Expr f = select(x < 0x1p32, fma(scale, x, scale - 1.0), s.m - 1.0);
  const Expr y = natural(log_of(f, extra_twos.b ? s.e + extra_twos : s.e));
  return log_special(u, y);
}

Expr log1p(Expr x) { return select(x == 0.0, x, log1p_plus(x, {})); }

}  // namespace fluxion::math
