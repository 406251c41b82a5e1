// Complex<E>: a pair. Complex<float> is plain data, Complex<Float> its value in a kernel. The gradient of a real
// loss is dL/dRe + i dL/dIm, which is what differentiating the pair gives.
#pragma once
#include "fluxion/structs.h"
#include "fluxion/functions.h"

namespace fluxion {

template <class E> struct Complex {
  E re, im;
};

namespace detail {
/// An operand: a captured complex number, a real one, or one of the host; by its parts.
template <class T> struct ComplexArg {
  std::uint32_t re, im;
  Loc loc;
  ComplexArg(const Complex<Var<T>>& z, Loc at = Loc::here()) : re(read(z.re.handle(), at)), im(read(z.im.handle(), at)), loc(at) {}
  ComplexArg(const Complex<T>& z, Loc at = Loc::here()) : re(literal<T>(z.re, at)), im(literal<T>(z.im, at)), loc(at) {}
  template <ScalarOperand A> ComplexArg(A&& a, Loc at = Loc::here())
      : re(Arg<T>(static_cast<A&&>(a), at).id), im(literal<T>(T(0), at)), loc(at) {}
};
template <class T> struct ComplexOperators {
  using Z = Complex<Var<T>>;
  using A = ComplexArg<T>;
  friend Z operator-(A a) { return Z(apply(Opcode::neg, a.re, a.loc), apply(Opcode::neg, a.im, a.loc), a.loc); }
  friend Z operator+(A a, A b) { return parts(Opcode::add, a, b); }
  friend Z operator-(A a, A b) { return parts(Opcode::sub, a, b); }
  friend Z operator*(A a, A b) { return times(a, b); }
  friend Z operator/(A a, A b) { return over(a, b); }

  static Z parts(Opcode op, const A& a, const A& b) { return Z(apply(op, a.re, b.re, a.loc), apply(op, a.im, b.im, a.loc), a.loc); }
  static Z times(const A& a, const A& b) {
    const auto mul = [&](std::uint32_t x, std::uint32_t y) { return apply(Opcode::mul, x, y, a.loc); };
    return Z(apply(Opcode::sub, mul(a.re, b.re), mul(a.im, b.im), a.loc), apply(Opcode::add, mul(a.re, b.im), mul(a.im, b.re), a.loc),
             a.loc);
  }
  static Z over(const A& a, const A& b) {
    // a conj(b) / |b|^2
    const auto mul = [&](std::uint32_t x, std::uint32_t y) { return apply(Opcode::mul, x, y, a.loc); };
    const auto size = apply(Opcode::add, mul(b.re, b.re), mul(b.im, b.im), a.loc);
    const auto part = [&](std::uint32_t x, std::uint32_t y, Opcode op) {
      return apply(Opcode::div, apply(op, mul(x, b.re), mul(y, b.im), a.loc), size, a.loc);
    };
    const auto re = part(a.re, a.im, Opcode::add), im = part(a.im, a.re, Opcode::sub);
    return Z(re, im, a.loc);
  }
};
}  // namespace detail

template <class T>
struct [[maybe_unused]] Complex<Var<T>> : detail::ComplexOperators<T> {
  using A = detail::ComplexArg<T>;
  Var<T> re, im;
  Complex(detail::Here at = Loc::here()) : re(at.loc), im(at.loc) {}
  Complex(const Complex& o, Loc at = Loc::here()) : re(o.re, at), im(o.im, at) {}
  Complex(const Complex<T>& z, Loc at = Loc::here()) : re(z.re, at), im(z.im, at) {}
  Complex(Arg<T> re, Arg<T> im) : re(detail::Raw{re.id}, re.loc), im(detail::Raw{im.id}, re.loc) {}
  Complex(std::uint32_t re, std::uint32_t im, Loc at) : re(detail::Raw{re}, at), im(detail::Raw{im}, at) {}
  template <detail::ScalarOperand V> Complex(V&& v, Loc at = Loc::here()) : re(static_cast<V&&>(v), at), im(T(0), at) {}
  Complex& operator=(Complex o) & {
    detail::assign_from(re.handle(), o.re.handle());
    detail::assign_from(im.handle(), o.im.handle());
    return *this;
  }
  Complex& operator+=(A b) & { return *this = this->parts(Opcode::add, A(*this, b.loc), b); }
  Complex& operator-=(A b) & { return *this = this->parts(Opcode::sub, A(*this, b.loc), b); }
  Complex& operator*=(A b) & { return *this = this->times(A(*this, b.loc), b); }
  Complex& operator/=(A b) & { return *this = this->over(A(*this, b.loc), b); }
};

namespace detail {
template <class T> struct ComplexPlace : Complex<Ref<T>> {
  ComplexPlace() = default;
  ComplexPlace(const ComplexPlace&) = default;
  operator Complex<Var<T>>() && { return Complex<Var<T>>(load(this->re.element_, 0, {}), load(this->re.element_, 1, {}), {}); }
  void operator=(ComplexArg<T> v) && {
    store(this->re.element_, 0, v.re, v.loc);
    store(this->re.element_, 1, v.im, v.loc);
  }
  void operator=(ComplexPlace&& o) && { static_cast<ComplexPlace&&>(*this) = Complex<Var<T>>(static_cast<ComplexPlace&&>(o)); }
};
template <class T> struct HostOf<Complex<Var<T>>> {
  using type = Complex<T>;
};
template <Scalar T> struct Element<Complex<T>> {
  using Value = Complex<Var<T>>;
  using Place = ComplexPlace<T>;
  static constexpr int kLeaves = 2;
  static constexpr std::uint32_t kSize = sizeof(Complex<T>);
  static void leaves(LeafSpec* out) {
    out[0] = {dtype_of<T>, 0};
    out[1] = {dtype_of<T>, sizeof(T)};
  }
  static Value get(std::uint32_t element, Loc at) { return Value(load(element, 0, at), load(element, 1, at), at); }
  static Place place(std::uint32_t element) {
    Place p;
    p.re.element_ = p.im.element_ = element;
    p.im.leaf_ = 1;
    return p;
  }
};
}  // namespace detail

template <class T> Complex<Var<T>> conj(const Complex<Var<T>>& z, Loc at = Loc::here()) {
  const detail::At here(at);
  return {z.re, -z.im};
}
/// The square of the absolute value.
template <class T> Var<T> norm2(const Complex<Var<T>>& z, Loc at = Loc::here()) {
  const detail::At here(at);
  return z.re * z.re + z.im * z.im;
}
template <class T> Var<T> abs(const Complex<Var<T>>& z, Loc at = Loc::here()) { return hypot(z.re, z.im, at); }
template <class T> Var<T> arg(const Complex<Var<T>>& z, Loc at = Loc::here()) { return atan2(z.im, z.re, at); }
template <class T> Complex<Var<T>> exp(const Complex<Var<T>>& z, Loc at = Loc::here()) {
  const detail::At here(at);
  const Var<T> r = exp(z.re);
  return {r * cos(z.im), r * sin(z.im)};
}

/// The branch with an imaginary part in [-pi, pi]. At 0 the value is -infinity and the derivative NaN.
template <class T> Complex<Var<T>> log(const Complex<Var<T>>& z, Loc at = Loc::here()) {
  const detail::At here(at);
  const Var<T> size = log(abs(z)), angle = arg(z);
  return {size, angle};
}
/// The root in the right half plane. At 0 the derivative is NaN.
template <class T> Complex<Var<T>> sqrt(const Complex<Var<T>>& z, Loc at = Loc::here()) {
  const detail::At here(at);
  const Var<T> size = sqrt(abs(z)), angle = arg(z) * T(0.5);
  return {size * cos(angle), size * sin(angle)};
}
/// exp(w log(z)), of real `w` too: at z = 0 its derivative is NaN, and with a complex `w` its value.
template <class T> Complex<Var<T>> pow(const Complex<Var<T>>& z, std::type_identity_t<detail::ComplexArg<T>> w, Loc at = Loc::here()) {
  const detail::At here(at);
  const Complex<Var<T>> l = log(z);
  return exp(detail::ComplexOperators<T>::times(w, detail::ComplexArg<T>(l, at)));
}
/// A whole number of the host: by products, so at 0 too it is what it should be.
template <class T, std::same_as<int> N> Complex<Var<T>> pow(const Complex<Var<T>>& z, N n, Loc at = Loc::here()) {
  const detail::At here(at);
  using A = detail::ComplexArg<T>;
  Complex<Var<T>> power(Complex<T>{T(1), T(0)}, at), square(z, at);
  bool one = true;
  for (unsigned left = n < 0 ? 0u - static_cast<unsigned>(n) : static_cast<unsigned>(n); left; left >>= 1) {
    if (left & 1) power = one ? square : power * A(square, at);
    one &= !(left & 1);
    if (left > 1) square *= A(square, at);
  }
  if (n < 0) return detail::ComplexOperators<T>::over(A(Complex<T>{T(1), T(0)}, at), A(power, at));
  return power;
}

}  // namespace fluxion
