// rsqrt, cbrt, hypot, pow in exact ops.
//
// rsqrt and cbrt start from the halved or divided exponent bits and polish by Householder's iteration, which costs
// less than a division and a square root. pow is 2^(y log2 |x|) with the logarithm in f64 for f32, and in two
// f64 words (about 66 bits) for f64; then C's table of special cases. Fits as in math_exp_log.cpp.
#include "math_expr.h"

namespace fluxion::math {
namespace {

// log2(1 + f) / f on [sqrt(1/2) - 1, sqrt 2 - 1], and (2^r - 1) / r on |r| <= .501, both good to f32 times 128
constexpr double kLog2[] = {0x1.71547652a1e39p+0, -0x1.71547656606a2p-1, 0x1.ec709ebba8e9fp-2, -0x1.71547092ed93fp-2,
                            0x1.277651f43fd76p-2, -0x1.ec72b77cbe7f0p-3, 0x1.a63f47766adbbp-3, -0x1.7141495dbdf96p-3,
                            0x1.4528d3ac8184cp-3, -0x1.2530958559271p-3, 0x1.287484c6961cbp-3, -0x1.2484c5ebdee72p-3,
                            0x1.3cd7917a16d4fp-4};
constexpr double kExp2Short[] = {0x1.62e42ff0e6acap-1,  0x1.ebfbe079185c1p-3,  0x1.c6b08ab80db86p-5, 0x1.3b29f207a2507p-7,
                                 0x1.5d8a8b8eca5a7p-10, 0x1.445de273e7b4ap-13, 0x1.fde3574ddfbb8p-17};
// (2^r - 1) / r in full; the tail of log2((1 + s) / (1 - s)) = c1 s + c3 s^3 + s^5 tail(s^2)
constexpr double kExp2[] = {0x1.62e42fefa39efp-1,  0x1.ebfbdff82c59dp-3,  0x1.c6b08d704a0d2p-5,  0x1.3b2ab6fba0f66p-7,
                            0x1.5d87fe78b3e9cp-10, 0x1.4309130c8441dp-13, 0x1.ffcbfbf912947p-17, 0x1.62bfcc9291516p-20,
                            0x1.b5260a92c842ep-24, 0x1.e613e359abc57p-28, 0x1.e816ef66172dcp-32};
constexpr double kTail[] = {0x1.2776c50ef9d24p-1, 0x1.a61762a7597dfp-2, 0x1.484b1421a0915p-2, 0x1.0c9a63d353188p-2,
                            0x1.c69f8d93dbc41p-3, 0x1.87b09a10bc544p-3, 0x1.85eab5c9f40e6p-3};

// 1 + f = |x| / 2^e in [sqrt(1/2), sqrt 2]; e is infinite or NaN where log |x| is.
struct Log2Parts {
  Expr f, e;
};
Log2Parts split(Expr a) {
  const Format& F = format_of(a);
  const std::uint64_t root = a.is_f32() ? 0x3f3504f3u : 0x3fe6a09e667f3bcdu;
  const std::uint64_t mantissa = (std::uint64_t{1} << F.mantissa) - 1;
  const Expr above = bits_of(a) - root;
  const Expr m = real_of((above & mantissa) + root);
  Expr e =
      a.is_f32() ? (above.as(DType::i32) >> 23).to(DType::f32) : real_of(((above + F.one) >> 52) | 0x4330000000000000) - (0x1p52 + 1023);
  e = select(a < inf(a), e, a);
  return {m - 1.0, select(a < F.least, -inf(a), e)};
}

// A sum of two floats, the second below the first's last place.
struct Pair {
  Expr high, low;
};
Pair fast_sum(Expr a, Expr b, Expr low) {  // |a| >= |b|
  const Expr s = a + b;
  return {s, ((a - s) + b) + low};
}
Pair product(Pair a, Pair b) {
  const Expr p = a.high * b.high;
  return {p, fma(a.high, b.high, -p) + fma(a.high, b.low, a.low * b.high)};
}

Pair log2_pair(Log2Parts l) {
  const Expr f = l.f, d = f + 2.0, d_low = f - (d - 2.0), r = 1.0 / d;
  const Expr s_high = f * r, s_low = fma(-s_high, d_low, fma(-s_high, d, f)) * r;
  const Pair s = {s_high, s_low};
  const Expr z_high = s_high * s_high;
  const Pair z = {z_high, fma(s_high, s_high, -z_high) + (s_high + s_high) * s_low};
  const auto plus = [&](double high, double low, Expr b, Expr b_low) { return fast_sum(lit(b, high), b, b_low + low); };
  const Expr zero = lit(f, 0.0);
  const Pair third = product(z, plus(0x1.ec709dc3a03fdp-1, 0x1.d27f05548af0cp-55, z.high * polynomial(z.high, kTail), zero));
  const Pair w = product(s, plus(0x1.71547652b82fep+1, 0x1.777d0ffda0d24p-55, third.high, third.low));
  return fast_sum(l.e, w.high, w.low);
}

// |x|^y
Expr magnitude(Expr a, Expr y) {
  const Log2Parts l = split(a);
  if (a.is_f32()) {
    const Expr f = l.f.to(DType::f64);
    const Expr t = y.to(DType::f64) * fma(f, polynomial(f, kLog2), l.e.to(DType::f64));
    const Expr whole = t + 0x1.8p52, r = t - (whole - 0x1.8p52);
    const Expr p = fma(r, polynomial(r, kExp2Short), 1.0).to(DType::f32);
    const Expr n = whole.as(DType::u64).to(DType::u32);
    const Expr v = real_of(bits_of(p) + (n << 23));
    return select(t < -126.0, 0.0, select(t < 128.0, v, (t + inf(t)).to(DType::f32)));
  }
  const Pair log = log2_pair(l);
  const Expr t = y * log.high, t_low = fma(y, log.high, -t) + y * log.low;
  const Expr whole = t + 0x1.8p52, r = (t - (whole - 0x1.8p52)) + t_low;
  const Expr p = fma(r, polynomial(r, kExp2), 1.0);
  const Expr v = real_of(bits_of(p) + (bits_of(whole) << 52));
  return select(t < -1022.0, 0.0, select((t - 1024.0) + t_low < 0.0, v, t + inf(t)));
}

}  // namespace

Expr pow(Expr x, Expr y) {
  const Expr a = abs(x), m = magnitude(a, y);
  const Expr whole = trunc(y) == y, half = y * 0.5, odd = whole & (trunc(half) != half);
  const Expr r = select(odd, copysign(m, x), m);
  const Expr undefined = (x <= -format_of(x).least) & (a < inf(a)) & (trunc(y) != y);
  // 1 whatever the other operand is, and where infinity times log 1 was NaN
  const Expr unity = (y == 0.0) | (x == 1.0) | ((a == 1.0) & (abs(y) == inf(y)));
  return select(unity, 1.0, select(undefined, nan(x), r));
}

Expr rsqrt(Expr x) {
  const Format& F = format_of(x);
  const Expr bits = bits_of(x);
  Expr y = real_of((x.is_f32() ? 0x5f374000u : 0x5fe6e7d400000000u) - (bits >> 1));
  // e = 1 - x y^2; y (1 + e/2 + 3/8 e^2): the error goes from 7e-2 by 1e-4 and 3e-12 to below the last place
  const auto polish = [&] {
    const Expr e = fma(-(x * y), y, 1.0);
    y = fma(y * e, fma(e, 0.375, 0.5), y);
  };
  polish();
  polish();
  if (!x.is_f32()) polish();
  // One unsigned comparison tells positive normal numbers from all others.
  const std::uint64_t least = std::uint64_t{1} << F.mantissa;
  const Expr regular = bits - least < F.infinity - least;
  const Expr special = select(abs(x) < F.least, copysign(inf(x), x), select(x == inf(x), lit(x, 0), nan(x)));
  return select(regular, y, special);
}

Expr cbrt(Expr x) {
  const Expr a = abs(x), bits = bits_of(a);
  // y = a^(-1/3) to 4 %, then h = 1 - a y^3 and y (1 - h)^(-1/3) as a series
  Expr y =
      a.is_f32() ? real_of(0x54a20000u - mulhi(bits, lit(bits, 0x55555556u))) : real_of(0x553eeaab00000000u - (bits >> 32) * 0x55555556u);
  const auto residual = [&] { return fma(-(a * y * y), y, 1.0); };
  Expr h = residual();
  y = fma(y * h, fma(h, fma(h, 14.0 / 81, 2.0 / 9), 1.0 / 3), y);
  if (!a.is_f32()) {
    h = residual();
    y = fma(y * h, fma(h, 2.0 / 9, 1.0 / 3), y);
  }
  const Expr c = a * y * y;
  const Expr r = fma(fma(-(c * c), c, a), y * y * (1.0 / 3), c);  // Newton: c - (c^3 - a) / (3 c^2)
  return copysign(select(a < inf(a), select(a < format_of(a).least, 0.0, r), a), x);
}

Expr hypot(Expr x, Expr y) {
  const Expr ax = abs(x), ay = abs(y), swapped = ay > ax;
  const Expr a = select(swapped, ay, ax), b = select(swapped, ax, ay);
  const bool f = x.is_f32();
  const Expr big = a > (f ? 0x1p63 : 0x1p500), small = a < (f ? 0x1p-40 : 0x1p-450);
  const double down = f ? 0x1p-70 : 0x1p-600, up = f ? 0x1p80 : 0x1p600;
  const Expr scale = select(big, lit(a, down), select(small, lit(a, up), lit(a, 1)));
  const Expr back = select(big, lit(a, 1 / down), select(small, lit(a, 1 / up), lit(a, 1)));
  const Expr p = a * scale, q = b * scale;
  const Expr r = sqrt(fma(p, p, q * q)) * back;
  return select((ax == inf(ax)) | (ay == inf(ay)), inf(r), r);
}

}  // namespace fluxion::math
