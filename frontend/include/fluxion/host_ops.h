// What each row of ops.def means on the host: HostOps<T> is the F of the rows' expressions.
// Evaluator, constant folder and the gradient check use it; it defines the language's arithmetic.
#pragma once
#include <cmath>
#include <cstdint>
#include <limits>
#include <type_traits>

namespace fluxion {

template <class T>
struct HostOps {
  static constexpr bool kFloat = std::is_floating_point_v<T>;
  static constexpr bool kBool = std::is_same_v<T, bool>;
  using U = typename std::conditional_t<kFloat || kBool, std::type_identity<T>, std::make_unsigned<T>>::type;
  static constexpr int kWidth = sizeof(T) * 8;

  static T lit(double v) { return static_cast<T>(v); }
  static T unit() { return T(1); }
  static T minus_unit() { return T(-1); }
  static T none() { return T(0); }
  static T mask(bool c) { return T(c); }

  // Narrow integers are promoted to int by C++; going through the widest unsigned type keeps them wrapping.
  template <class G> static T wrap(G g) { return static_cast<T>(static_cast<U>(g)); }
  static T add(T a, T b) {
    if constexpr (kFloat) return a + b;
    else return wrap(std::uint64_t(a) + std::uint64_t(b));
  }
  static T sub(T a, T b) {
    if constexpr (kFloat) return a - b;
    else return wrap(std::uint64_t(a) - std::uint64_t(b));
  }
  static T mul(T a, T b) {
    if constexpr (kFloat) return a * b;
    else return wrap(std::uint64_t(a) * std::uint64_t(b));
  }
  static T neg(T a) {
    if constexpr (kFloat) return -a;
    else return wrap(0 - std::uint64_t(a));
  }
  static T div(T a, T b) {
    if constexpr (kFloat) return a / b;
    else {
      if (b == 0) return 0;
      if constexpr (std::is_signed_v<T>)
        if (b == T(-1)) return neg(a);
      return static_cast<T>(a / b);
    }
  }
  static T rem(T a, T b) {
    if constexpr (kFloat) return std::fmod(a, b);
    else {
      if (b == 0) return 0;
      if constexpr (std::is_signed_v<T>)
        if (b == T(-1)) return 0;
      return static_cast<T>(a % b);
    }
  }
  static T abs(T a) {
    if constexpr (kFloat) return std::fabs(a);
    else if constexpr (std::is_signed_v<T>) return a < 0 ? neg(a) : a;
    else return a;
  }
  static T sign(T a) { return T(a > T(0)) - T(a < T(0)); }
  static T min(T a, T b) {
    if constexpr (kFloat) {
      if (a != a) return b;
      if (b != b) return a;
    }
    return b < a ? b : a;
  }
  static T max(T a, T b) {
    if constexpr (kFloat) {
      if (a != a) return b;
      if (b != b) return a;
    }
    return a < b ? b : a;
  }
  static T fma(T a, T b, T c) { return std::fma(a, b, c); }
  static T mulz(T a, T b) { return a == T(0) ? T(0) : a * b; }
  static T sdiv(T a, T b) { return b == T(0) ? T(0) : a / b; }
  static T sqrt(T a) { return std::sqrt(a); }
  static T rsqrt(T a) { return T(1) / std::sqrt(a); }
  static T cbrt(T a) { return std::cbrt(a); }
  static T exp(T a) { return std::exp(a); }
  static T exp2(T a) { return std::exp2(a); }
  static T expm1(T a) { return std::expm1(a); }
  static T log(T a) { return std::log(a); }
  static T log2(T a) { return std::log2(a); }
  static T log10(T a) { return std::log10(a); }
  static T log1p(T a) { return std::log1p(a); }
  static T sin(T a) { return std::sin(a); }
  static T cos(T a) { return std::cos(a); }
  static T tan(T a) { return std::tan(a); }
  static T asin(T a) { return std::asin(a); }
  static T acos(T a) { return std::acos(a); }
  static T atan(T a) { return std::atan(a); }
  static T atan2(T a, T b) { return std::atan2(a, b); }
  static T sinh(T a) { return std::sinh(a); }
  static T cosh(T a) { return std::cosh(a); }
  static T tanh(T a) { return std::tanh(a); }
  static T asinh(T a) { return std::asinh(a); }
  static T acosh(T a) { return std::acosh(a); }
  static T atanh(T a) { return std::atanh(a); }
  static T pow(T a, T b) { return std::pow(a, b); }
  static T hypot(T a, T b) { return std::hypot(a, b); }
  static T erf(T a) { return std::erf(a); }
  static T floor(T a) { return std::floor(a); }
  static T ceil(T a) { return std::ceil(a); }
  static T round(T a) { return std::nearbyint(a); }  // the default rounding mode: ties to even
  static T trunc(T a) { return std::trunc(a); }
  static T copysign(T a, T b) { return std::copysign(a, b); }
  static bool eq(T a, T b) { return a == b; }
  static bool ne(T a, T b) { return a != b; }
  static bool lt(T a, T b) { return a < b; }
  static bool le(T a, T b) { return a <= b; }
  static bool gt(T a, T b) { return a > b; }
  static bool ge(T a, T b) { return a >= b; }
  static T bit_and(T a, T b) {
    if constexpr (kBool) return a && b;
    else return static_cast<T>(a & b);
  }
  static T bit_or(T a, T b) {
    if constexpr (kBool) return a || b;
    else return static_cast<T>(a | b);
  }
  static T bit_xor(T a, T b) {
    if constexpr (kBool) return a != b;
    else return static_cast<T>(a ^ b);
  }
  static T bit_not(T a) {
    if constexpr (kBool) return !a;
    else return static_cast<T>(~a);
  }
  static T shl(T a, T b) { return wrap(static_cast<std::uint64_t>(static_cast<U>(a)) << (b & T(kWidth - 1))); }
  static T shr(T a, T b) { return static_cast<T>(a >> (b & T(kWidth - 1))); }
  static T mulhi(T a, T b) {
    using W = std::conditional_t<std::is_signed_v<T>, __int128, unsigned __int128>;
    return static_cast<T>((static_cast<W>(a) * static_cast<W>(b)) >> kWidth);
  }
};

}  // namespace fluxion
