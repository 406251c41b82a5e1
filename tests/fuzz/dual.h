// Numbers with a derivative, nested for higher orders: the truth that derivatives are held to.
//
// The slopes below are written down a second time, by hand and in other forms than the partials of ops.def, so
// that a wrong row there is seen. Dual<Dual<double>> carries the mixed second derivative along two directions.
#pragma once
#include <stdexcept>

#include "fluxion/host_ops.h"
#include "fluxion/op.h"

namespace fluxion::fuzz {

template <class T>
struct Dual {
  T v{}, d{};
  Dual() = default;
  Dual(double x) : v(x) {}
  Dual(T v, T d) : v(v), d(d) {}
  friend Dual operator+(Dual a, Dual b) { return {a.v + b.v, a.d + b.d}; }
  friend Dual operator-(Dual a, Dual b) { return {a.v - b.v, a.d - b.d}; }
  friend Dual operator-(Dual a) { return {-a.v, -a.d}; }
  friend Dual operator*(Dual a, Dual b) { return {a.v * b.v, a.d * b.v + a.v * b.d}; }
  friend Dual operator/(Dual a, Dual b) { return {a.v / b.v, (a.d - a.v / b.v * b.d) / b.v}; }
};

inline double value_of(double v) { return v; }
inline float value_of(float v) { return v; }
template <class T> double value_of(const Dual<T>& x) { return value_of(x.v); }
/// The value of `v` with the derivatives of `d`.
template <class T>
  requires std::is_floating_point_v<T>
T with_slope_of(T v, T) {
  return v;
}
template <class T> Dual<T> with_slope_of(const Dual<T>& v, const Dual<T>& d) { return {with_slope_of(v.v, d.v), d.d}; }
inline bool is_zero(double v) { return v == 0; }
template <class T> bool is_zero(const Dual<T>& x) { return is_zero(x.v) && is_zero(x.d); }

/// A row of ops.def on plain numbers.
template <class T>
  requires std::is_floating_point_v<T>
T float_op(Opcode op, T a, T b, T c) {
  using F = HostOps<T>;
  switch (op) {
#define FLUXION_FLOAT(name, dtypes, meaning)                                              \
  case Opcode::name:                                                                      \
    if constexpr (accepts(Operands::dtypes, dtype_of<T>)) return static_cast<T>(meaning); \
    else break;
#define OP1(name, dtypes, flags, meaning, ...) FLUXION_FLOAT(name, dtypes, meaning)
#define OP2(name, dtypes, flags, meaning, ...) FLUXION_FLOAT(name, dtypes, meaning)
#define OP3(name, dtypes, flags, meaning, ...) FLUXION_FLOAT(name, dtypes, meaning)
#include "fluxion/ops.def"
#undef FLUXION_FLOAT
    default: break;
  }
  (void)b, (void)c;
  throw std::logic_error("fuzz: not an op on floats");
}

template <class T> Dual<T> float_op(Opcode op, Dual<T> x, Dual<T> y, Dual<T> z);

template <class T>
struct Slopes {
  T a{0.0}, b{0.0}, c{0.0};
};

/// The derivative of `op` in each operand. At ties and corners: what docs/autodiff.md says.
template <class T>
Slopes<T> slopes(Opcode op, T a, T b) {
  const T one(1.0), two(2.0), zero(0.0);
  const auto f = [](Opcode code, T x) { return float_op(code, x, T(0.0), T(0.0)); };
  const auto square = [](T x) { return x * x; };
  const double va = value_of(a), vb = value_of(b);
  switch (op) {
    case Opcode::add: return {one, one, zero};
    case Opcode::sub: return {one, -one, zero};
    case Opcode::mul: return {b, a, zero};
    case Opcode::div: return {one / b, -(a / (b * b)), zero};
    case Opcode::rem: return {one, T(-std::trunc(va / vb)), zero};
    case Opcode::neg: return {-one, zero, zero};
    case Opcode::abs: return {T(va > 0 ? 1.0 : va < 0 ? -1.0 : 0.0), zero, zero};
    case Opcode::min: return va <= vb ? Slopes<T>{one, zero, zero} : Slopes<T>{zero, one, zero};
    case Opcode::max: return va >= vb ? Slopes<T>{one, zero, zero} : Slopes<T>{zero, one, zero};
    case Opcode::fma: return {b, a, one};
    case Opcode::mulz: return {b, a, zero};
    case Opcode::sdiv: return vb == 0 ? Slopes<T>{} : Slopes<T>{one / b, -(a / (b * b)), zero};
    case Opcode::sqrt: return {one / (two * f(Opcode::sqrt, a)), zero, zero};
    case Opcode::rsqrt: return {-(one / (two * a * f(Opcode::sqrt, a))), zero, zero};
    case Opcode::cbrt: return {one / (T(3.0) * square(f(Opcode::cbrt, a))), zero, zero};
    case Opcode::exp:
    case Opcode::expm1: return {f(Opcode::exp, a), zero, zero};
    case Opcode::exp2: return {T(std::log(2.0)) * f(Opcode::exp, T(std::log(2.0)) * a), zero, zero};
    case Opcode::log: return {one / a, zero, zero};
    case Opcode::log2: return {one / (T(std::log(2.0)) * a), zero, zero};
    case Opcode::log10: return {one / (T(std::log(10.0)) * a), zero, zero};
    case Opcode::log1p: return {one / (one + a), zero, zero};
    case Opcode::sin: return {f(Opcode::cos, a), zero, zero};
    case Opcode::cos: return {-f(Opcode::sin, a), zero, zero};
    case Opcode::tan: return {one / square(f(Opcode::cos, a)), zero, zero};
    case Opcode::asin: return {one / f(Opcode::sqrt, (one - a) * (one + a)), zero, zero};
    case Opcode::acos: return {-(one / f(Opcode::sqrt, (one - a) * (one + a))), zero, zero};
    case Opcode::atan: return {one / (one + square(a)), zero, zero};
    case Opcode::atan2: {
      const T s = square(a) + square(b);
      return is_zero(value_of(s)) ? Slopes<T>{} : Slopes<T>{b / s, -(a / s), zero};
    }
    case Opcode::sinh: return {f(Opcode::cosh, a), zero, zero};
    case Opcode::cosh: return {f(Opcode::sinh, a), zero, zero};
    case Opcode::tanh: return {one / square(f(Opcode::cosh, a)), zero, zero};
    case Opcode::asinh: return {one / f(Opcode::sqrt, one + square(a)), zero, zero};
    case Opcode::acosh: return {one / f(Opcode::sqrt, (a - one) * (a + one)), zero, zero};
    case Opcode::atanh: return {one / ((one - a) * (one + a)), zero, zero};
    case Opcode::pow: {
      const T l = f(Opcode::log, a);
      return {b * f(Opcode::exp, (b - one) * l), l * f(Opcode::exp, b * l), zero};
    }
    case Opcode::hypot: {
      if (va == 0 && vb == 0) return {};
      const T r = f(Opcode::sqrt, square(a) + square(b));
      return {a / r, b / r, zero};
    }
    case Opcode::erf: return {T(2 / std::sqrt(std::acos(-1.0))) * f(Opcode::exp, -square(a)), zero, zero};
    case Opcode::copysign: return {T(std::signbit(va) == std::signbit(vb) ? 1.0 : -1.0), zero, zero};
    case Opcode::sign:
    case Opcode::floor:
    case Opcode::ceil:
    case Opcode::round:
    case Opcode::trunc:
    case Opcode::stop_grad: return {};
    default: throw std::logic_error("fuzz: no slope is known of this op");
  }
}

template <class T>
Dual<T> float_op(Opcode op, Dual<T> x, Dual<T> y, Dual<T> z) {
  Dual<T> r(float_op(op, x.v, y.v, z.v), T(0.0));
  if (is_zero(x.d) && is_zero(y.d) && is_zero(z.d)) return r;
  const Slopes<T> s = slopes(op, x.v, y.v);
  // A zero direction wins against an infinite slope, as a masked one does.
  if (!is_zero(x.d)) r.d = r.d + s.a * x.d;
  if (!is_zero(y.d)) r.d = r.d + s.b * y.d;
  if (!is_zero(z.d)) r.d = r.d + s.c * z.d;
  return r;
}

}  // namespace fluxion::fuzz
