// A value of the IR that can be written in formulas: the notation of the math lowerings.
// Every operator appends one op to the Builder; a plain number becomes a constant of the other operand's type.
// Also the tables of which functions each math_*.cpp lowers.
#pragma once
#include <initializer_list>
#include <limits>
#include <span>
#include <type_traits>

#include "fluxion/builder.h"

namespace fluxion::math {

struct Expr {
  Builder* b = nullptr;
  ValueId v;

  DType type() const { return b->function().type(v).dtype(); }
  bool is_f32() const { return type() == DType::f32; }
  Expr emit(Opcode op, std::initializer_list<ValueId> operands) const { return {b, b->emit(op, operands)}; }
  Expr to(DType t) const { return {b, b->convert(v, t)}; }
  Expr as(DType t) const { return {b, b->bitcast(v, t)}; }
};

template <class N>
concept Number = std::is_arithmetic_v<N>;

template <Number N>
Expr lit(Expr like, N n) {
  const DType t = like.type();
  if (is_float(t)) return {like.b, like.b->constant_float(t, static_cast<double>(n))};
  return {like.b, like.b->constant_int(t, static_cast<std::int64_t>(n))};
}
inline Expr inf(Expr like) { return lit(like, std::numeric_limits<double>::infinity()); }
inline Expr nan(Expr like) { return lit(like, std::numeric_limits<double>::quiet_NaN()); }

#define FLUXION_EXPR_OPERATOR(symbol, op)                                                \
  inline Expr operator symbol(Expr a, Expr b) { return a.emit(Opcode::op, {a.v, b.v}); } \
  template <Number N> Expr operator symbol(Expr a, N b) { return a symbol lit(a, b); }   \
  template <Number N> Expr operator symbol(N a, Expr b) { return lit(b, a) symbol b; }
FLUXION_EXPR_OPERATOR(+, add)
FLUXION_EXPR_OPERATOR(-, sub)
FLUXION_EXPR_OPERATOR(*, mul)
FLUXION_EXPR_OPERATOR(/, div)
FLUXION_EXPR_OPERATOR(&, bit_and)
FLUXION_EXPR_OPERATOR(|, bit_or)
FLUXION_EXPR_OPERATOR(^, bit_xor)
FLUXION_EXPR_OPERATOR(<<, shl)
FLUXION_EXPR_OPERATOR(>>, shr)
FLUXION_EXPR_OPERATOR(<, lt)
FLUXION_EXPR_OPERATOR(<=, le)
FLUXION_EXPR_OPERATOR(>, gt)
FLUXION_EXPR_OPERATOR(>=, ge)
FLUXION_EXPR_OPERATOR(==, eq)
FLUXION_EXPR_OPERATOR(!=, ne)
#undef FLUXION_EXPR_OPERATOR

inline Expr operator-(Expr a) { return a.emit(Opcode::neg, {a.v}); }
inline Expr abs(Expr a) { return a.emit(Opcode::abs, {a.v}); }
inline Expr sqrt(Expr a) { return a.emit(Opcode::sqrt, {a.v}); }
inline Expr trunc(Expr a) { return a.emit(Opcode::trunc, {a.v}); }
inline Expr round(Expr a) { return a.emit(Opcode::round, {a.v}); }
inline Expr copysign(Expr magnitude, Expr sign) { return sign.emit(Opcode::copysign, {magnitude.v, sign.v}); }
inline Expr mulhi(Expr a, Expr b) { return a.emit(Opcode::mulhi, {a.v, b.v}); }

inline Expr as_expr(Expr e, Expr) { return e; }
template <Number N> Expr as_expr(N n, Expr like) { return lit(like, n); }
template <class... T> Expr first_expr(Expr e, T...) { return e; }
template <Number N, class... T> Expr first_expr(N, T... rest) { return first_expr(rest...); }

/// a * b + c, rounded once.
template <class A, class B, class C>
Expr fma(A a, B b, C c) {
  const Expr like = first_expr(a, b, c);
  return like.emit(Opcode::fma, {as_expr(a, like).v, as_expr(b, like).v, as_expr(c, like).v});
}
template <class A, class B>
Expr select(Expr condition, A a, B b) {
  const Expr like = first_expr(a, b);
  return condition.emit(Opcode::select, {condition.v, as_expr(a, like).v, as_expr(b, like).v});
}

using Coefficients = std::span<const double>;
/// c[0] + c[1] z + ..., by Horner's rule.
inline Expr polynomial(Expr z, Coefficients c) {
  Expr p = lit(z, c.back());
  for (std::size_t i = c.size() - 1; i-- > 0;) p = fma(p, z, c[i]);
  return p;
}

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
