// See the header. Each op is lowered where it stands; the formulas use nothing that would have to be lowered again.
#include "lower_ops.h"

#include <cmath>
#include <limits>

#include "fluxion/rewrite.h"

namespace fluxion::gpu {
namespace {
using math::Expr;
using math::lit;
using math::select;

class Lowering {
 public:
  explicit Lowering(const Exact& exact) : exact_(exact) {}

  bool operator()(Rewriter& r, OpId id) const {
    const Op& op = r.from[id];
    const bool scalar = !op.results.empty() && r.from.type(op.results[0]).is_scalar();
    if (!scalar || (!is_elementwise(op.code) && op.code != Opcode::convert)) return false;
    const Values in = r(op.operands);
    const Expr y = op.code == Opcode::convert ? convert({&r.to, in[0]}, r.from.type(op.results[0]).dtype())
                                              : made(op.code, {&r.to, in[0]}, {&r.to, in.size() > 1 ? in[1] : ValueId{}},
                                                     {&r.to, in.size() > 2 ? in[2] : ValueId{}});
    if (!y.v.valid()) return false;
    r.map(op.results[0], y.v);
    return true;
  }

 private:
  const Exact exact_;

  static bool known(Expr x) { return x.b->function().is_constant(x.v); }
  static Expr both(Expr a, Expr b) { return a.emit(Opcode::bit_and, {a.v, b.v}); }

  /// Invalid: the op stays.
  Expr made(Opcode code, Expr a, Expr b, Expr c) const {
    const DType t = a.type();
    switch (code) {
      case Opcode::div: return is_float(t) ? quotient(a, b) : integer_divide(code, a, b);
      // Drivers take 0 * x, 0 / x and x - x for 0, which NaN and infinity are not; of -0 and a sum they say nothing.
      case Opcode::mul:
        if (is_plus_zero(b)) return -(a * -0.0);
        if (is_plus_zero(a)) return -(b * -0.0);
        return {};
      case Opcode::sub: return is_float(t) && a.v == b.v ? a + -b : Expr{};
      case Opcode::rem: return is_float(t) ? fmod(a, b) : integer_divide(code, a, b);
      case Opcode::abs: return is_signed(t) ? select(a < 0, -a, a) : Expr{};
      case Opcode::sign:
        if (is_unsigned(t)) return select(a != 0, lit(a, 1), lit(a, 0));
        return select(a > 0, lit(a, 1), select(a < 0, lit(a, -1), lit(a, 0)));
      case Opcode::min: {
        const Expr r = select(b < a, b, a);
        return is_float(t) ? select(a != a, b, r) : r;
      }
      case Opcode::max: {
        const Expr r = select(a < b, b, a);
        return is_float(t) ? select(a != a, b, r) : r;
      }
      case Opcode::fma: return (t == DType::f32 ? exact_.fma32 : exact_.fma64) ? Expr{} : fused(a, b, c);
      case Opcode::mulz: return select(a == 0, lit(a, 0), a * b);
      case Opcode::sdiv: {
        const Expr q = quotient(a, b);
        return select(b == 0, lit(a, 0), q.v.valid() ? q : a / b);
      }
      case Opcode::sqrt: return root(a);
      case Opcode::copysign: {
        const DType u = t == DType::f32 ? DType::u32 : DType::u64;
        const std::int64_t sign = t == DType::f32 ? std::int64_t{1} << 31 : std::numeric_limits<std::int64_t>::min();
        return ((a.as(u) & ~sign) | (b.as(u) & sign)).as(t);
      }
      case Opcode::shl:
      case Opcode::shr: {
        const int last = size_of(t) * 8 - 1;
        if (known(b) && b.b->function()[b.v].bits <= static_cast<std::uint64_t>(last)) return {};
        return a.emit(code, {a.v, (b & last).v});
      }
      case Opcode::mulhi: return upper_half(a, b);
      case Opcode::stop_grad: return a;
      default: return {};
    }
  }
  static bool is_plus_zero(Expr x) { return is_float(x.type()) && known(x) && x.b->function()[x.v].bits == 0; }

  Expr quotient(Expr a, Expr b) const {
    const bool f32 = a.is_f32();
    if (is_plus_zero(a)) return -(lit(a, -0.0) / b);
    if (f32 ? exact_.div32 : exact_.div64) return {};
    // A quotient of two f32 is no tie of f32 and at least 2^-49 away from one: f64 need not be exact.
    if (f32) return (a.to(DType::f64) / b.to(DType::f64)).to(DType::f32);
    // Markstein: a quotient within a bit, corrected by its remainder. Where that is no number, the first one stays.
    const Expr q = a / b;
    const Expr rest = fused_or(-q, b, a);
    const Expr better = fused_or(rest, lit(a, 1.0) / b, q);
    const Expr fine = math::abs(better) < math::inf(a);
    return select(both(fine, math::abs(b) < math::inf(a)), better, q);
  }
  Expr root(Expr a) const {
    const bool f32 = a.is_f32();
    if (f32 ? exact_.sqrt32 : exact_.sqrt64) return {};
    if (f32) return math::sqrt(a.to(DType::f64)).to(DType::f32);
    const Expr s = math::sqrt(a), rest = fused_or(-s, s, a);
    const Expr better = s + rest / (s + s);
    return select(both(s > 0.0, s < math::inf(a)), better, s);
  }
  Expr fused_or(Expr a, Expr b, Expr c) const { return exact_.fma64 ? math::fma(a, b, c) : fused(a, b, c); }

  Expr integer_divide(Opcode code, Expr a, Expr b) const {
    const DType t = a.type();
    if (size_of(t) < 4) {  // in 32 bits, where -128 / -1 is a number
      const DType w = is_signed(t) ? DType::i32 : DType::u32;
      const Expr x = a.to(w), y = b.to(w), zero = y == 0;
      const Expr by = select(zero, lit(y, 1), y);
      return select(zero, lit(x, 0), Expr{a.b, a.b->emit(code, {x.v, by.v})}).to(t);
    }
    if (known(b)) {
      const std::uint64_t k = b.b->function()[b.v].bits, minus = size_of(t) == 8 ? ~std::uint64_t{0} : 0xffffffffu;
      if (k != 0 && (k != minus || !is_signed(t))) return {};
    }
    const Expr zero = b == 0;
    if (!is_signed(t)) {
      const Expr by = select(zero, lit(b, 1), b);
      return select(zero, lit(a, 0), Expr{a.b, a.b->emit(code, {a.v, by.v})});
    }
    const Expr minus = b == -1;
    const Expr by = select(a.emit(Opcode::bit_or, {zero.v, minus.v}), lit(b, 1), b);
    const Expr q = {a.b, a.b->emit(code, {a.v, by.v})};
    const Expr special = code == Opcode::div ? -a : lit(a, 0);
    return select(zero, lit(a, 0), select(minus, special, q));
  }

  Expr upper_half(Expr a, Expr b) const {
    const DType t = a.type();
    const int bits = size_of(t) * 8;
    if (bits < 64) {
      const DType w = is_signed(t) ? DType::i64 : DType::u64;
      return ((a.to(w) * b.to(w)) >> bits).to(t);
    }
    const Expr x = a.as(DType::u64), y = b.as(DType::u64);
    const std::int64_t mask = 0xffffffff;
    const Expr xl = x & mask, xh = x >> 32, yl = y & mask, yh = y >> 32;
    const Expr low = xl * yl, m1 = xh * yl + (low >> 32), m2 = xl * yh + (m1 & mask);
    Expr high = xh * yh + (m1 >> 32) + (m2 >> 32);
    if (t == DType::u64) return high;
    high = high - select(a < 0, y, lit(y, 0)) - select(b < 0, x, lit(x, 0));
    return high.as(DType::i64);
  }

  Expr convert(Expr a, DType to) const {
    const DType from = a.type();
    if (from == to) return a;
    if (is_half(from)) {
      const Expr wide = from_half(a, from);
      const Expr y = convert(wide, to);
      return y.v.valid() ? y : wide.to(to);
    }
    if (is_half(to)) {
      const Expr narrow = convert(a, DType::f32);
      return to_half(narrow.v.valid() ? narrow : a.to(DType::f32), to);
    }
    if (!is_float(from) || !is_int(to)) return {};
    // Both bounds are powers of two (or 0), so that they are exact.
    const int digits = size_of(to) * 8 - (is_signed(to) ? 1 : 0);
    const double above = std::ldexp(1.0, digits), lowest = is_signed(to) ? -above : 0;
    const Expr inside = both(a > lowest, a < above), safe = select(inside, a, lit(a, 0));
    Expr y = {};
    if (to == DType::u64) {  // by way of i64
      const double half = 0x1p63;
      const Expr big = safe >= half, rest = select(big, safe - half, safe);
      y = rest.to(DType::i64).as(DType::u64);
      y = select(big, y ^ std::numeric_limits<std::int64_t>::min(), y);
    } else if (to == DType::i64) {
      y = safe.to(to);
    } else {
      y = safe.to(to == DType::u32 ? DType::i64 : DType::i32).to(to);
    }
    const std::int64_t most = digits == 64 ? -1 : (std::int64_t{1} << (digits - 1)) - 1 + (std::int64_t{1} << (digits - 1));
    const std::int64_t least = is_signed(to) ? -most - 1 : 0;
    return select(a >= above, lit(y, most), select(a <= lowest, lit(y, least), y));
  }
};

}  // namespace

Function lower_ops(const Function& f, const Exact& exact) { return rewrite(f, Lowering(exact)); }

}  // namespace fluxion::gpu
