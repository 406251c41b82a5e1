// A value of the IR that can be written in formulas: the notation in which ops are lowered to others.
// Every operator appends one op to the Builder; a plain number becomes a constant of the other operand's type.
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

}  // namespace fluxion::math
