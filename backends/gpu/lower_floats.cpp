// Formulas for floats in exact ops: a fused multiply-add from sums and products, the remainder, half numbers.
#include "lower_ops.h"

namespace fluxion::gpu {
using math::Expr;
using math::lit;
using math::select;

namespace {

struct Sum {
  Expr value, error;
};
// Knuth: value + error = a + b exactly.
Sum two_sum(Expr a, Expr b) {
  const Expr s = a + b, bb = s - a;
  return {s, (a - (s - bb)) + (b - bb)};
}

// s + e as a number whose last bit says that something is missing: rounding it again is rounding once.
Expr to_odd(const Sum& s) {
  const Expr bits = s.value.as(DType::u64);
  const Expr even = (bits & 1) == 0;
  const Expr up = (s.error > 0.0).to(DType::i32) == (s.value > 0.0).to(DType::i32);
  const Expr some = {s.error.b, s.error.b->emit(Opcode::bit_or, {(s.error > 0.0).v, (s.error < 0.0).v})};  // false for NaN
  const Expr odd = select(up, bits + 1, bits - 1);
  const Expr change = {s.error.b, s.error.b->emit(Opcode::bit_and, {some.v, even.v})};
  return select(change, odd, bits).as(DType::f64);
}

// f32: the product is exact in f64, and the sum is rounded to odd there.
Expr fused32(Expr a, Expr b, Expr c) { return to_odd(two_sum(a.to(DType::f64) * b.to(DType::f64), c.to(DType::f64))).to(DType::f32); }

struct Split {
  Expr high, low;
};
Split split(Expr x) {  // Veltkamp, 26 bits each
  const Expr t = x * 134217729.0, high = t - (t - x);
  return {high, x - high};
}

// f64 (Boldo and Melquiond, Emulation of a FMA and correctly rounded sums, 2008) of operands whose exponents are taken out first, so
// that nothing overflows on the way.
Expr fused64(Expr a, Expr b, Expr c) {
  constexpr std::int64_t kMantissa = (std::int64_t{1} << 52) - 1, kOne = std::int64_t{1023} << 52;
  constexpr std::uint64_t kSign = std::uint64_t{1} << 63;
  constexpr int kFar = 110;
  const auto exponent = [](Expr x) { return ((x.as(DType::u64) >> 52) & 0x7ff).to(DType::i32); };
  const auto scaled = [&](Expr x) {  // in [1, 2), with its sign
    return ((x.as(DType::u64) & static_cast<std::int64_t>(kSign | static_cast<std::uint64_t>(kMantissa))) | kOne).as(DType::f64);
  };
  const Expr ea = exponent(a), eb = exponent(b), ec = exponent(c);
  const Expr e = ea + eb - 2046;  // of the product
  const Expr distance = ec - 1023 - e;
  const Expr x = scaled(a), y = scaled(b);
  const Expr above = select(distance < -kFar, lit(distance, -kFar), distance), near = select(above > kFar, lit(above, kFar), above);
  Expr z =
      ((c.as(DType::u64) & static_cast<std::int64_t>(kSign | static_cast<std::uint64_t>(kMantissa))) | ((near + 1023).to(DType::u64) << 52))
          .as(DType::f64);
  z = select(ec == 0, lit(z, 0.0), z);
  const Split p = split(x), q = split(y);
  const Expr uh = x * y;
  const Expr ul = ((p.high * q.high - uh) + p.high * q.low + p.low * q.high) + p.low * q.low;
  const Sum t = two_sum(z, ul), v = two_sum(uh, t.value);
  const Expr sum = v.value + to_odd(two_sum(t.error, v.error));
  // Back in two steps: 2^e alone may be no number.
  const Expr half = e >> 1;
  const Expr r = sum * power_of_two(half, DType::f64) * power_of_two(e - half, DType::f64);
  const Expr plain = a * b + c;  // zeros, infinities, NaN
  const auto special = [&](Expr k) { return Expr{a.b, a.b->emit(Opcode::bit_or, {(k == 0).v, (k == 0x7ff).v})}; };
  const auto either = [&](Expr m, Expr n) { return Expr{a.b, a.b->emit(Opcode::bit_or, {m.v, n.v})}; };
  const Expr odd = either(either(special(ea), special(eb)), ec == 0x7ff);
  const auto finite = [&](Expr k) { return k != 0x7ff; };
  const Expr both = {a.b, a.b->emit(Opcode::bit_and, {finite(ea).v, finite(eb).v})};
  const Expr takes_c = {a.b, a.b->emit(Opcode::bit_and, {both.v, (ec == 0x7ff).v})};  // the product alone may overflow
  return select(takes_c, c, select(odd, plain, select(distance > kFar, c, r)));
}

}  // namespace

Expr power_of_two(Expr k, DType type) {
  if (type == DType::f32) return ((k + 127) << 23).as(DType::f32);
  return ((k + 1023).to(DType::i64) << 52).as(DType::f64);
}

Expr fused(Expr a, Expr b, Expr c) { return a.is_f32() ? fused32(a, b, c) : fused64(a, b, c); }

// Long division of the mantissas, as many bits at a time as 64 hold.
Expr fmod(Expr a, Expr b) {
  const bool f32 = a.is_f32();
  const DType real = a.type(), bits = f32 ? DType::u32 : DType::u64;
  const int mantissa = f32 ? 23 : 52, most = f32 ? 40 : 11;
  const std::int64_t field = f32 ? 0xff : 0x7ff, sign_bit = f32 ? std::int64_t{1} << 31 : std::numeric_limits<std::int64_t>::min();
  Builder& build = *a.b;
  const Expr ua = a.as(bits), ub = b.as(bits), sign = ua & sign_bit;
  const auto parts = [&](Expr u) {
    const Expr e = ((u >> mantissa) & field).to(DType::i32), m = (u & ((std::int64_t{1} << mantissa) - 1)).to(DType::u64);
    return std::pair(select(e == 0, lit(e, 1), e), select(e == 0, m, m | (std::int64_t{1} << mantissa)));
  };
  const auto [ea, ma] = parts(ua);
  const auto [eb, mb] = parts(ub);
  const Expr magnitude_a = math::abs(a), magnitude_b = math::abs(b);
  const auto both = [&](Expr x, Expr y) { return Expr{&build, build.emit(Opcode::bit_and, {x.v, y.v})}; };
  const Expr proper = both(both(magnitude_a < math::inf(a), magnitude_b > 0.0), b == b);
  const Expr smaller = both(proper, magnitude_a < magnitude_b);
  const Expr divide = both(proper, both(magnitude_a >= magnitude_b, magnitude_b < math::inf(b)));
  const Expr by = select(divide, mb, lit(mb, 1));
  const ValueId init[] = {select(divide, ea - eb, lit(ea, 0)).v, (select(divide, ma, lit(ma, 0))).v};
  auto rem = [&](Expr x) { return Expr{&build, build.emit(Opcode::rem, {x.v, by.v})}; };
  const auto loop = build.while_(
      init, [&](const Values& c) { return std::pair(build.emit(Opcode::gt, {c[0], build.i32(0)}), Values{c[0], c[1]}); },
      [&](const Values& c) {
        const Expr n = {&build, c[0]}, r = {&build, c[1]};
        const Expr step = select(n < most, n, lit(n, most));
        return Builder::LoopYield{{(n - step).v, rem(rem(r) << step.to(DType::u64)).v}, {}};
      });
  const Expr r = rem(Expr{&build, loop.carries[1]});
  Expr y = {};
  if (f32) {
    y = (r.to(DType::f64) * power_of_two(eb - (127 + 23), DType::f64)).to(DType::f32);
  } else {
    const Expr k = eb - (1023 + 52), half = k >> 1;
    y = r.to(DType::f64) * power_of_two(half, DType::f64) * power_of_two(k - half, DType::f64);
  }
  y = (y.as(bits) | sign).as(real);
  y = select(divide, y, math::nan(a));
  const Expr keeps = both(both(proper, magnitude_b == math::inf(b)), magnitude_a < math::inf(a));
  return select(Expr{&build, build.emit(Opcode::bit_or, {smaller.v, keeps.v})}, a, y);
}

// Exponents are re-biased in the integer part, subnormals normalised by one subtraction.
Expr from_half(Expr bits, DType half) {
  const Expr h = bits.as(DType::u16).to(DType::u32);
  if (half == DType::bf16) return (h << 16).as(DType::f32);
  const Expr body = (h & 0x7fff) << 13, exponent = body & (0x7c00 << 13);
  const Expr normal = body + ((127 - 15) << 23), special = normal + ((128 - 16) << 23);
  const Expr small = ((normal + (1 << 23)).as(DType::f32) - lit(h, 113 << 23).as(DType::f32)).as(DType::u32);
  const Expr magnitude = select(exponent == 0, small, select(exponent == (0x7c00 << 13), special, normal));
  return (magnitude | ((h & 0x8000) << 16)).as(DType::f32);
}

// Round to nearest even; a subnormal result comes from one addition that shifts the bits into place.
Expr to_half(Expr x, DType half) {
  const Expr all = x.as(DType::u32);
  if (half == DType::bf16) {
    const Expr rounded = all + (((all >> 16) & 1) + 0x7fff);
    return (select(x != x, all | 0x400000, rounded) >> 16).to(DType::u16).as(half);
  }
  const Expr sign = all & std::int64_t{0x80000000}, bits = all ^ sign;
  const Expr special = select(bits > (std::int64_t{255} << 23), lit(bits, 0x7e00), lit(bits, 0x7c00));
  const std::int64_t magic = ((127 - 15) + (23 - 10) + 1) << 23;
  const Expr small = (bits.as(DType::f32) + lit(bits, magic).as(DType::f32)).as(DType::u32) - magic;
  const Expr odd = (bits >> 13) & 1;
  const Expr normal = (bits - (((127 - 15) << 23) - 0xfff) + odd) >> 13;
  Expr r = select(bits < (113 << 23), small, normal);
  r = select(bits >= (std::int64_t{127 + 16} << 23), special, r);
  return (r | (sign >> 16)).to(DType::u16).as(half);
}

}  // namespace fluxion::gpu
