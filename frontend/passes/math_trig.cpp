// sin, cos, tan in exact ops, for arguments of any size.
//
// |x| = n pi/2 + r with |r| <= pi/4. Up to a limit by Cody and Waite's subtraction of pi/2 in three parts; beyond it
// as Payne and Hanek (1983): the bits of 2/pi that matter for the argument's exponent times its mantissa, in
// integers. That arm is an `if_` which backends skip when no lane needs it. The functions of one argument share
// its reduction (math_lowering.cpp); which of sin r and cos r they take, and its sign, follows from n modulo 4.
// Coefficients: Remez fits as in math_exp_log.cpp; the bits of 2/pi computed to 2400 bits.
#include "math_expr.h"

namespace fluxion::math {
namespace {

// (sin r - r) / r^3 and (cos r - 1 + r^2/2) / r^4 in r^2, r <= .79
constexpr double kSin32[] = {-0x1.555544p-3, 0x1.1106c6p-7, -0x1.991c28p-13};
constexpr double kSin64[] = {-0x1.5555555555548p-3, 0x1.111111110f730p-7,   -0x1.a01a019be921bp-13,
                             0x1.71de35552ba7dp-19, -0x1.ae5e4b8432c62p-26, 0x1.5d8b55ad76653p-33};
constexpr double kCos32[] = {0x1.55554ap-5, -0x1.6c0c1ep-10, 0x1.99e336p-16};
constexpr double kCos64[] = {0x1.555555555554bp-5,   -0x1.6c16c16c15011p-10, 0x1.a01a019c8e7b1p-16,
                             -0x1.27e4f7f0eff80p-22, 0x1.1ee9db4c7cd78p-29,  -0x1.8fa637fcdd3c8p-37};

// pi/2 in parts of 24 and 53 bits. Products of a part with n are exact in fma.
constexpr double kHalfPi32[] = {0x1.921fb4p+0, 0x1.4442dp-24, 0x1.846988p-48};
constexpr double kHalfPi64[] = {0x1.921fb54442d18p+0, 0x1.1a62633145c06p-54, 0x1.c1cd129024e08p-107};

// Where the rounding of x * 2/pi could choose a neighbouring n so far off that r leaves the polynomial's interval.
constexpr double kLimit32 = 0x1p16, kLimit64 = 0x1p30;

constexpr std::uint64_t kTwoOverPi[] = {0xa2f9836e4e441529, 0xfc2757d1f534ddc0, 0xdb6295993c439041, 0xfe5163abdebbc561, 0xb7246e3a424dd2e0,
                                        0x06492eea09d1921c, 0xfe1deb1cb129a73e, 0xe88235f52ebb4484, 0xe99c7026b45f7e41, 0x3991d639835339f4,
                                        0x9c845f8bbdf9283b, 0x1ff897ffde05980f, 0xef2f118b5a0a6d1f, 0x6d367ecf27cb09b7, 0x4f463f669e5fea2d,
                                        0x7527bac7ebe5f17b, 0x3d0739f78a5292ea, 0x6bfb5fb11f8d5d08, 0x56033046fc7b6bab};

// x * 2/pi modulo 4 for finite x >= 0, in units of 2^-126: two words, the lower one 0 for f32.
struct Angle {
  Expr high, low;
};

Expr word(Expr like, int i) {  // 64 zero bits, then those of 2/pi
  return lit(like, i == 0 ? std::uint64_t{0} : kTwoOverPi[i - 1]);
}

Angle angle_f32(Expr x) {
  const Expr bits = bits_of(x);
  const Expr m = ((bits & 0x7fffff) | 0x800000).to(DType::u64);
  // x = m 2^(E - 23). The first bit that counts is bit E + 39 of the table of 64 zeros and 2/pi.
  const Expr start = (bits >> 23) - (127 - 39);  // 55 .. 166 for E >= 16
  const Expr shift = (start & 63).to(DType::u64), index = start >> 6;
  const Expr w0 = select(index == 0, word(shift, 0), select(index == 1, word(shift, 1), word(shift, 2)));
  const Expr w1 = select(index == 0, word(shift, 1), select(index == 1, word(shift, 2), word(shift, 3)));
  const Expr w2 = select(index == 0, word(shift, 2), select(index == 1, word(shift, 3), word(shift, 4)));
  const Expr v0 = (w0 << shift) | ((w1 >> 1) >> (63 - shift));
  const Expr v1 = (w1 << shift) | ((w2 >> 1) >> (63 - shift));
  return {m * v0 + ((m * (v1 >> 32)) >> 32), lit(shift, 0)};
}

// The upper half of a * b, in products of 32 bits: vector units have no other.
Expr upper_product(Expr a, Expr b) {
  const Expr al = a & 0xffffffffu, ah = a >> 32, bl = b & 0xffffffffu, bh = b >> 32;
  const Expr m1 = ah * bl + ((al * bl) >> 32), m2 = al * bh + (m1 & 0xffffffffu);
  return ah * bh + (m1 >> 32) + (m2 >> 32);
}

Angle angle_f64(Expr x) {
  const Expr bits = bits_of(x);
  const Expr m = (bits & 0x000fffffffffffff) | 0x0010000000000000;
  const Expr start = (bits >> 52) - (1023 - 10);  // as above: x = m 2^(E - 52), bit E + 10
  const Expr shift = start & 63, index = start >> 6;
  // Shift the table left by `index` words, one binary digit of it at a time; four words remain.
  Expr w[20];
  for (int i = 0; i < 20; ++i) w[i] = word(x.as(DType::u64), i);
  int needed = 19;
  for (int step = 16; step >= 1; step /= 2) {
    const Expr digit = (index & step) != 0;
    needed = step == 16 ? 19 : 3 + step;
    for (int i = 0; i < needed; ++i)
      if (i + step < 20) w[i] = select(digit, w[i + step], w[i]);
  }
  const Expr back = 63 - shift;
  Expr v[3];
  for (int i = 0; i < 3; ++i) v[i] = (w[i] << shift) | ((w[i + 1] >> 1) >> back);
  const Expr middle = m * v[1], low = middle + upper_product(m, v[2]);
  const Expr carry = select(low < middle, lit(low, 1), lit(low, 0));
  return {m * v[0] + upper_product(m, v[1]) + carry, low};
}

// For large x; the nearest quarter turn is taken off in integers.
Reduced reduce_large(Expr x) {
  const Angle a = x.is_f32() ? angle_f32(x) : angle_f64(x);
  const Expr count = (a.high + (std::uint64_t{1} << 61)) >> 62;
  const double unit = 0x1p-64;  // of pi/2, for the upper word shifted by 2
  Expr r;
  if (x.is_f32()) {
    r = ((a.high << 2).as(DType::i64).to(DType::f64) * (0x1.921fb54442d18p+0 * unit)).to(DType::f32);
  } else {
    const Expr high = ((a.high << 2) | (a.low >> 62)).as(DType::i64), low = a.low << 2;
    // 53 bits, then 64 more: the first part may be all zeros when x is close to a multiple of pi/2.
    const Expr top = (high >> 11).to(DType::f64);
    const Expr rest = ((high.as(DType::u64) << 53) | (low >> 11)).to(DType::f64) * 0x1p-64;
    const double half_pi = 0x1.921fb54442d18p+0 * unit * 0x1p11, half_pi_low = 0x1.1a62633145c07p-54 * unit * 0x1p11;
    const Expr product = top * half_pi;
    r = product + fma(top, half_pi_low, fma(rest, half_pi, fma(top, half_pi, -product)));
  }
  return {select(x < inf(x), r, nan(x)), count.to(format_of(x).bits)};
}

// In f64 it is 400 ops that hardly ever run: a function, which a kernel holds once however often it needs it.
const std::shared_ptr<const Function>& large_f64() {
  static const auto made = [] {
    auto f = std::make_shared<Function>();
    f->kind = Function::Kind::fn;
    f->name = "reduce_large";
    Builder b(*f);
    const Reduced r = reduce_large({&b, b.scalar_parameter(DType::f64, "x")});
    b.finish(Values{r.r.v, r.count.v});
    return std::shared_ptr<const Function>(std::move(f));
  }();
  return made;
}

Expr flip(Expr y, Expr sign_word) { return real_of(bits_of(y) ^ (sign_word & format_of(y).sign)); }

Expr sin_r(Expr r, Expr z) { return fma(r * z, polynomial(z, r.is_f32() ? Coefficients(kSin32) : Coefficients(kSin64)), r); }
Expr cos_r(Expr z) { return fma(z, fma(z, polynomial(z, z.is_f32() ? Coefficients(kCos32) : Coefficients(kCos64)), -0.5), 1.0); }

}  // namespace

Reduced reduce(Expr any) {
  const Expr x = abs(any);
  const Format& F = format_of(x);
  const double* part = x.is_f32() ? kHalfPi32 : kHalfPi64;
  const Expr t = fma(x, 0.63661977236758134308, F.magic), n = t - F.magic;
  const Expr r = fma(n, -part[2], fma(n, -part[1], fma(n, -part[0], x)));
  const Expr large = x > (x.is_f32() ? kLimit32 : kLimit64);
  Builder& b = *x.b;
  const Values both = b.if_(
      large.v,
      [&] {
        if (!x.is_f32()) return b.call(large_f64(), {&x.v, 1});
        const Reduced slow = reduce_large(x);
        return Values{slow.r.v, slow.count.v};
      },
      [&] { return Values{r.v, bits_of(t).v}; });
  return {{&b, both[0]}, {&b, both[1]}};
}

Expr sin(Expr x, const Reduced& a) {
  const int top = format_of(x).mantissa == 23 ? 31 : 63;
  const Expr z = a.r * a.r, odd = (a.count & 1) != 0;
  return flip(select(odd, cos_r(z), sin_r(a.r, z)), (a.count << (top - 1)) ^ bits_of(x));
}

Expr cos(Expr x, const Reduced& a) {
  const int top = format_of(x).mantissa == 23 ? 31 : 63;
  const Expr z = a.r * a.r, odd = (a.count & 1) != 0;
  return flip(select(odd, sin_r(a.r, z), cos_r(z)), (a.count + 1) << (top - 1));
}

Expr tan(Expr x, const Reduced& a) {
  const int top = format_of(x).mantissa == 23 ? 31 : 63;
  const Expr z = a.r * a.r, s = sin_r(a.r, z), c = cos_r(z);
  // tan(pi/2 + r) = -cos r / sin r
  const Expr odd = (a.count & 1) != 0;
  return flip(select(odd, c, s) / select(odd, s, c), (a.count << top) ^ bits_of(x));
}

}  // namespace fluxion::math
