// Functions on captured scalars: the rows of ops.def a user may call, and what is made of them; where a kernel
// runs (index, domain); print and check. Componentwise versions for vectors are in vec.h.
#pragma once
#include "fluxion/params.h"

namespace fluxion {

namespace detail {
template <class A> struct OperandOf {
  using type = void;
};  // not captured
template <class T> struct OperandOf<Var<T>> {
  using type = compute_t<T>;
};
template <class T> struct OperandOf<Comma<T>> : OperandOf<Var<T>> {};
template <class T> struct OperandOf<Ref<T>> {
  using type = compute_t<T>;
};
template <class A> using operand_t = typename OperandOf<std::remove_cvref_t<A>>::type;
template <class A>
concept Captured = !std::is_void_v<operand_t<A>>;
template <class A>
concept CapturedFloat = Captured<A> && std::is_floating_point_v<operand_t<A>>;
template <class A>
concept ScalarOperand = Captured<A> || HostNumber<std::remove_cvref_t<A>>;

/// The type in which captured operands meet; numbers of the host adapt to it.
template <class A, class B> struct Meet {
  static_assert(kPromotes<A, B> || kPromotes<B, A>, "operands of types that need a cast to meet, as in fx::Float(i)");
  using type = std::conditional_t<kPromotes<A, B>, B, A>;
};
template <class A> struct Meet<A, void> {
  using type = A;
};
template <class B> struct Meet<void, B> {
  using type = B;
};
template <> struct Meet<void, void> {
  using type = void;
};
template <class A, class... B> struct Common : Meet<operand_t<A>, typename Common<B...>::type> {};
template <class A> struct Common<A> {
  using type = operand_t<A>;
};
template <class... A> using common_t = typename Common<A...>::type;

FLUXION_RECORDS std::uint32_t index_value(int axis, int rank, Loc at);
FLUXION_RECORDS std::uint32_t domain_extent(int axis, Loc at);
FLUXION_RECORDS void record_effect(Opcode op, const char* text, const std::uint32_t* values, int n, Loc at);

template <class T, class A> Arg<T> arg(A&& a, Loc at) { return Arg<T>(static_cast<A&&>(a), at); }
template <class T> Var<T> apply_all(Opcode op, Loc at, const Arg<T>& a) { return {Raw{apply(op, a.id, at)}, at}; }
template <class T> Var<T> apply_all(Opcode op, Loc at, const Arg<T>& a, const Arg<T>& b) { return {Raw{apply(op, a.id, b.id, at)}, at}; }
template <class T> Var<T> apply_all(Opcode op, Loc at, const Arg<T>& a, const Arg<T>& b, const Arg<T>& c) {
  return {Raw{apply(op, a.id, b.id, c.id, at)}, at};
}
}  // namespace detail

// The name, then the row's opcode: one operand, two, three.
#define FLUXION_FUNCTION1(name, row, Kind)                                                 \
  template <detail::Kind A> auto name(A&& a, Loc at = Loc::here()) {                       \
    using T = detail::operand_t<A>;                                                        \
    return detail::apply_all<T>(Opcode::row, at, detail::arg<T>(static_cast<A&&>(a), at)); \
  }
#define FLUXION_FUNCTION2(name, row)                                                                                                \
  template <detail::ScalarOperand A, detail::ScalarOperand B>                                                                       \
    requires(detail::Captured<A> || detail::Captured<B>)                                                                            \
  auto name(A&& a, B&& b, Loc at = Loc::here()) {                                                                                   \
    using T = detail::common_t<A, B>;                                                                                               \
    return detail::apply_all<T>(Opcode::row, at, detail::arg<T>(static_cast<A&&>(a), at), detail::arg<T>(static_cast<B&&>(b), at)); \
  }
FLUXION_FUNCTION1(abs, abs, Captured)
FLUXION_FUNCTION1(sign, sign, Captured)
FLUXION_FUNCTION1(stop_grad, stop_grad, Captured)
FLUXION_FUNCTION1(sqrt, sqrt, CapturedFloat)
FLUXION_FUNCTION1(rsqrt, rsqrt, CapturedFloat)
FLUXION_FUNCTION1(cbrt, cbrt, CapturedFloat)
FLUXION_FUNCTION1(exp, exp, CapturedFloat)
FLUXION_FUNCTION1(exp2, exp2, CapturedFloat)
FLUXION_FUNCTION1(expm1, expm1, CapturedFloat)
FLUXION_FUNCTION1(log, log, CapturedFloat)
FLUXION_FUNCTION1(log2, log2, CapturedFloat)
FLUXION_FUNCTION1(log10, log10, CapturedFloat)
FLUXION_FUNCTION1(log1p, log1p, CapturedFloat)
FLUXION_FUNCTION1(sin, sin, CapturedFloat)
FLUXION_FUNCTION1(cos, cos, CapturedFloat)
FLUXION_FUNCTION1(tan, tan, CapturedFloat)
FLUXION_FUNCTION1(asin, asin, CapturedFloat)
FLUXION_FUNCTION1(acos, acos, CapturedFloat)
FLUXION_FUNCTION1(atan, atan, CapturedFloat)
FLUXION_FUNCTION1(sinh, sinh, CapturedFloat)
FLUXION_FUNCTION1(cosh, cosh, CapturedFloat)
FLUXION_FUNCTION1(tanh, tanh, CapturedFloat)
FLUXION_FUNCTION1(asinh, asinh, CapturedFloat)
FLUXION_FUNCTION1(acosh, acosh, CapturedFloat)
FLUXION_FUNCTION1(atanh, atanh, CapturedFloat)
FLUXION_FUNCTION1(erf, erf, CapturedFloat)
FLUXION_FUNCTION1(floor, floor, CapturedFloat)
FLUXION_FUNCTION1(ceil, ceil, CapturedFloat)
FLUXION_FUNCTION1(round, round, CapturedFloat)
FLUXION_FUNCTION1(trunc, trunc, CapturedFloat)
FLUXION_FUNCTION2(min, min)
FLUXION_FUNCTION2(max, max)
FLUXION_FUNCTION2(atan2, atan2)
FLUXION_FUNCTION2(hypot, hypot)
FLUXION_FUNCTION2(copysign, copysign)
FLUXION_FUNCTION2(fmod, rem)
FLUXION_FUNCTION2(mulz, mulz)
FLUXION_FUNCTION2(sdiv, sdiv)
FLUXION_FUNCTION2(mulhi, mulhi)
#undef FLUXION_FUNCTION1
#undef FLUXION_FUNCTION2

/// a * b + c, rounded once.
template <detail::ScalarOperand A, detail::ScalarOperand B, detail::ScalarOperand C>
  requires(detail::Captured<A> || detail::Captured<B> || detail::Captured<C>)
auto fma(A&& a, B&& b, C&& c, Loc at = Loc::here()) {
  using T = detail::common_t<A, B, C>;
  return detail::apply_all<T>(Opcode::fma, at, detail::arg<T>(static_cast<A&&>(a), at), detail::arg<T>(static_cast<B&&>(b), at),
                              detail::arg<T>(static_cast<C&&>(c), at));
}

/// a where c holds, else b; both are evaluated. For one that is not, use the value if_(c, f, g).
template <detail::ScalarOperand A, detail::ScalarOperand B>
  requires(detail::Captured<A> || detail::Captured<B>)
auto select(Arg<bool> c, A&& a, B&& b) {
  using T = detail::common_t<A, B>;
  const Arg<T> x(static_cast<A&&>(a), c.loc), y(static_cast<B&&>(b), c.loc);
  return Var<T>(detail::Raw{detail::apply(Opcode::select, c.id, x.id, y.id, c.loc)}, c.loc);
}
template <detail::HostNumber N> Var<N> select(Arg<bool> c, N a, N b) {
  return {detail::Raw{detail::apply(Opcode::select, c.id, detail::literal<N>(a, c.loc), detail::literal<N>(b, c.loc), c.loc)}, c.loc};
}

/// x limited to [lo, hi]; at a tie the derivative is x's.
template <detail::Captured A, detail::ScalarOperand B, detail::ScalarOperand C>
auto clamp(A&& x, B&& lo, C&& hi, Loc at = Loc::here()) {
  return min(max(static_cast<A&&>(x), static_cast<B&&>(lo), at), static_cast<C&&>(hi), at);
}
/// a at t = 0, b at t = 1.
template <detail::ScalarOperand A, detail::ScalarOperand B, detail::ScalarOperand C>
  requires(detail::Captured<A> || detail::Captured<B> || detail::Captured<C>)
auto lerp(A&& a, B&& b, C&& t, Loc at = Loc::here()) {
  using T = detail::common_t<A, B, C>;
  const Arg<T> x(static_cast<A&&>(a), at), y(static_cast<B&&>(b), at), u(static_cast<C&&>(t), at);
  const auto way = detail::apply(Opcode::sub, y.id, x.id, at);
  return Var<T>(detail::Raw{detail::apply(Opcode::add, x.id, detail::apply(Opcode::mul, u.id, way, at), at)}, at);
}
/// 0 where x < edge, else 1.
template <detail::ScalarOperand A, detail::CapturedFloat B> auto step(A&& edge, B&& x, Loc at = Loc::here()) {
  using T = detail::operand_t<B>;
  return select(Arg<bool>(Var<T>(static_cast<B&&>(x), at) < Arg<T>(static_cast<A&&>(edge), at), at), Var<T>(T(0), at), Var<T>(T(1), at));
}
template <detail::Captured A> auto square(A&& a, Loc at = Loc::here()) {
  using T = detail::operand_t<A>;
  const Arg<T> x(static_cast<A&&>(a), at);
  return detail::apply_all<T>(Opcode::mul, at, x, x);
}
/// a to the power b; a whole number of the host as b becomes multiplications and takes negative a.
template <detail::ScalarOperand A, detail::ScalarOperand B>
  requires(detail::Captured<A> || detail::Captured<B>)
auto pow(A&& a, B&& b, Loc at = Loc::here()) {
  using T = detail::common_t<A, B>;
  const Arg<T> x(static_cast<A&&>(a), at);
  if constexpr (std::is_integral_v<std::remove_cvref_t<B>>) {
    const bool inverse = b < B(0);
    auto n = inverse ? 0 - static_cast<unsigned long long>(b) : static_cast<unsigned long long>(b);
    std::uint32_t r = ~0u, p = x.id;
    for (; n; n >>= 1) {
      if (n & 1) r = r == ~0u ? p : detail::apply(Opcode::mul, r, p, at);
      if (n > 1) p = detail::apply(Opcode::mul, p, p, at);
    }
    if (r == ~0u) r = detail::literal<T>(T(1), at);
    if (inverse) r = detail::apply(Opcode::div, detail::literal<T>(T(1), at), r, at);
    return Var<T>(detail::Raw{r}, at);
  } else {
    return detail::apply_all<T>(Opcode::pow, at, x, detail::arg<T>(static_cast<B&&>(b), at));
  }
}
template <detail::CapturedFloat A> Bool isnan(A&& a, Loc at = Loc::here()) {
  using T = detail::operand_t<A>;
  const Arg<T> x(static_cast<A&&>(a), at);
  return {detail::Raw{detail::apply(Opcode::ne, x.id, x.id, at)}, at};
}

// ---- where the kernel runs
/// The point's index in a launch over one axis, 0 .. domain() - 1; index<2>() and index<3>() are in vec.h.
inline Int index(Loc at = Loc::here()) { return {detail::Raw{detail::index_value(0, 1, at)}, at}; }
/// The launch's size along an axis, slowest first.
inline Int domain(int axis = 0, Loc at = Loc::here()) { return {detail::Raw{detail::domain_extent(axis, at)}, at}; }

// ---- the host's attention
/// A text with its place in the source.
struct Text {
  const char* text;
  Loc loc;
  Text(const char* t, Loc at = Loc::here()) : text(t), loc(at) {}
};
namespace detail {
template <class A> std::uint32_t value_of(A&& a, Loc at) {
  if constexpr (Captured<A>) return Arg<operand_t<A>>(static_cast<A&&>(a), at).id;
  else return literal<std::remove_cvref_t<A>>(a, at);
}
}  // namespace detail
/// A line on the host for each thread that comes by; "{}" stands for a value.
template <detail::ScalarOperand... A> void print(Text t, A&&... a) {
  const std::uint32_t ids[] = {detail::value_of(static_cast<A&&>(a), t.loc)..., 0};
  detail::record_effect(Opcode::print, t.text, ids, sizeof...(A), t.loc);
}
/// Where c does not hold, the launch fails with the text; "{}" stands for a value.
template <detail::ScalarOperand... A> void check(Arg<bool> c, const char* text, A&&... a) {
  const std::uint32_t ids[] = {c.id, detail::value_of(static_cast<A&&>(a), c.loc)...};
  detail::record_effect(Opcode::check, text, ids, 1 + sizeof...(A), c.loc);
}

}  // namespace fluxion
