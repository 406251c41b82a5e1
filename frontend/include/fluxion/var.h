// Var<T>: a mutable name over values of the kernel that is being captured, and its operators.
//
// A Var holds a slot of the recorder and nothing else: assigning re-binds the name, copying makes a fresh one,
// capturing by reference in a lambda just works. Operators take Arg<T> by value, because its converting
// constructors are what notes the user's source line. Light on purpose: everything that records is out of line.
#pragma once
#include <cstdint>
#include <type_traits>

#include "fluxion/op.h"

namespace fluxion {

template <class T> class Var;
template <class T> class Ref;  // an element's leaf that can be written; params.h
template <class T> struct Arg;

// Functions that record: cold, so that the compiler spends no time on optimising a user's kernel around them.
#define FLUXION_RECORDS FLUXION_API __attribute__((cold))

namespace detail {
/// What every Var is made of. Values of structs and vectors are arrays of handles in memory.
struct Handle {
  std::uint32_t slot = ~0u;
  std::uint32_t epoch = 0;  // which recording the slot belongs to
};
/// A position in what was recorded: after this op of this region.
struct Mark {
  std::uint32_t region, last_op;
};

// ---- the recorder, frontend/dsl/record*.cpp. Values and slots are named by their ids.
FLUXION_RECORDS Handle declare(DType t, Loc at);                 // a name without a value
FLUXION_RECORDS Handle declare_as(std::uint32_t value, Loc at);  // a name for a value
FLUXION_RECORDS Handle copy_of(Handle h, Loc at);
FLUXION_RECORDS Loc declared_at(Handle h);
FLUXION_RECORDS std::uint32_t read(Handle h, Loc at);
FLUXION_RECORDS void assign(Handle h, std::uint32_t value, Loc at);
FLUXION_RECORDS void assign_from(Handle to, Handle from);  // at the place where `from` was declared
FLUXION_RECORDS std::uint32_t constant(DType t, std::uint64_t bits, Loc at);
FLUXION_RECORDS std::uint32_t apply(Opcode op, std::uint32_t a, Loc at);
FLUXION_RECORDS std::uint32_t apply(Opcode op, std::uint32_t a, std::uint32_t b, Loc at);
FLUXION_RECORDS std::uint32_t apply(Opcode op, std::uint32_t a, std::uint32_t b, std::uint32_t c, Loc at);
FLUXION_RECORDS Handle declare_result(Opcode op, std::uint32_t a, std::uint32_t b, Loc at);  // a name for apply's value
FLUXION_RECORDS std::uint32_t convert(std::uint32_t value, DType to, Loc at);
FLUXION_RECORDS std::uint32_t bitcast(std::uint32_t value, DType to, Loc at);
FLUXION_RECORDS std::uint32_t round_to(std::uint32_t value, DType half_type, Loc at);  // f32 -> half -> f32
FLUXION_RECORDS std::uint32_t load(std::uint32_t element, std::uint32_t leaf, Loc at);
FLUXION_RECORDS Mark mark();
FLUXION_RECORDS std::uint32_t short_circuit(bool is_or, std::uint32_t lhs, Mark after_lhs, Handle rhs, Loc at);
[[noreturn]] FLUXION_RECORDS void literal_does_not_fit(std::int64_t value, DType t, Loc at);

/// While it lives, all that is recorded has its place: for functions of the library that are written in the language.
class FLUXION_API At {
 public:
  explicit At(Loc at);
  ~At();
  At(const At&) = delete;

 private:
  Loc before_;
};

// ---- which types go together
template <class T> struct Compute {
  using type = T;
};
template <> struct Compute<half> {
  using type = float;
};
template <> struct Compute<bfloat16> {
  using type = float;
};
/// The type that arithmetic on T is done in, which is also what a slot of a Var<T> holds.
template <class T> using compute_t = typename Compute<T>::type;

/// Conversions that need no cast: to a wider type of the kind, of integers to floats, into and out of storage.
constexpr bool promotes(DType from, DType to) {
  if (from == to) return true;
  if (is_bool(from) || is_bool(to)) return false;
  if (is_half(to)) return from == DType::f32;
  if (is_half(from)) return is_float(to);
  if (is_float(from)) return from == DType::f32 && to == DType::f64;
  if (is_float(to)) return true;
  return size_of(to) > size_of(from) && (is_signed(to) || is_unsigned(from));
}
template <class U, class T> inline constexpr bool kPromotes = promotes(dtype_of<U>, dtype_of<T>);

/// A plain C++ number or bool.
template <class N>
concept HostNumber = Scalar<N> || std::is_arithmetic_v<N>;
/// A number of the host that may stand where a T is wanted: any into floats, integers into integers.
template <class N, class T>
concept LiteralFor =
    HostNumber<N> && (std::is_same_v<T, bool> == std::is_same_v<N, bool>) && (is_float(dtype_of<T>) || std::is_integral_v<N>);

/// What may not fit in a T and so needs a conversion that can be seen.
template <class V, class T> inline constexpr bool kNarrows = HostNumber<V> && !LiteralFor<V, T>;
template <class U, class T> inline constexpr bool kNarrows<Var<U>, T> = !kPromotes<U, T>;
template <class U, class T> inline constexpr bool kNarrows<Ref<U>, T> = !kPromotes<U, T>;
template <class V, class T>
concept Narrows = kNarrows<std::remove_cvref_t<V>, T>;

template <class T> std::uint64_t bits_of(T v) {
  if constexpr (std::is_same_v<T, float>) return __builtin_bit_cast(std::uint32_t, v);
  else if constexpr (std::is_same_v<T, double>) return __builtin_bit_cast(std::uint64_t, v);
  else if constexpr (std::is_same_v<T, bool>) return v ? 1 : 0;
  else if constexpr (std::is_same_v<T, half> || std::is_same_v<T, bfloat16>) return v.bits;
  else return static_cast<std::make_unsigned_t<T>>(v);
}
template <class T, class N> std::uint32_t literal(N n, Loc at) {
  using C = compute_t<T>;
  if constexpr (is_int(dtype_of<C>) && sizeof(N) >= sizeof(C)) {
    // Lenient about the sign: 0xFFFFFFFF is a fine Int and -1 a fine UInt.
    if (n != static_cast<N>(static_cast<C>(n)) && n != static_cast<N>(static_cast<std::make_unsigned_t<C>>(n)))
      literal_does_not_fit(static_cast<std::int64_t>(n), dtype_of<C>, at);
  }
  return constant(dtype_of<C>, bits_of<C>(static_cast<C>(n)), at);
}
template <class T> inline constexpr bool kNever = false;
template <class V> void refuse_narrowing() {
  static_assert(kNever<V>,
                "this value may not fit there: convert it where one can see it, as in `y[i] = fx::Float(d)` or `n = fx::Int(x)`");
}
/// A place that is no operand: a Loc itself must not convert to a Var.
struct Here {
  Loc loc;
  Here(Loc at) : loc(at) {}
};
struct Raw {
  std::uint32_t value;
};  // a value's id, to be given a name
template <class T> struct Operators;

/// What a value is called when it gets a name: numbers and places become Vars, the rest is itself.
template <class T> struct Named {
  using type = T;
};
template <HostNumber T> struct Named<T> {
  using type = Var<T>;
};
template <class T> struct Named<Ref<T>> {
  using type = Var<T>;
};
}  // namespace detail

/// An operand: what was written and where.
template <class T>
struct Arg {
  [[no_unique_address]] Loc loc;  // shares its padding with the id: an Arg is two words, passed in registers
  std::uint32_t id;

  template <class U>
    requires detail::kPromotes<U, T>
  Arg(const Var<U>& v, Loc at = Loc::here()) : loc(at), id(adapt<U>(detail::read(v.handle(), at), at)) {}
  template <class U>
    requires detail::kPromotes<U, T>
  Arg(Ref<U>&& r, Loc at = Loc::here()) : loc(at), id(adapt<U>(detail::load(r.element_, r.leaf_, at), at)) {}
  template <class U>
    requires detail::kPromotes<U, T>
  Arg(const Ref<U>&, Loc = Loc::here()) : id(0) {
    static_assert(detail::kNever<U>, "`auto v = y[i]` names the element, not its value; write `fx::Float v = y[i]` or `auto v = +y[i]`");
  }
  template <detail::LiteralFor<T> N>
  Arg(N n, Loc at = Loc::here()) : loc(at), id(detail::literal<T>(n, at)) {}
  Arg(detail::Raw v, Loc at) : loc(at), id(v.value) {}

 private:
  template <class U> static std::uint32_t adapt(std::uint32_t value, Loc at) {
    if constexpr (std::is_same_v<detail::compute_t<U>, T>) return value;
    else return detail::convert(value, dtype_of<T>, at);
  }
};

/// The left side of && and ||: its conversion is sequenced before the right side is recorded.
struct ShortCircuit {
  std::uint32_t id;
  Loc loc;
  detail::Mark end;
  inline ShortCircuit(const Var<bool>& v, Loc at = Loc::here());
  ShortCircuit(Ref<bool>&& r, Loc at = Loc::here());  // params.h
};

namespace detail {
/// The operators of Var<T>, found through this empty base by argument-dependent lookup only.
template <class T>
struct Operators {
  static constexpr DType kType = dtype_of<T>;
  static constexpr bool kNum = !is_bool(kType), kInt = is_int(kType), kBits = !is_float(kType);
  using A = Arg<T>;
  using Truth = Var<std::conditional_t<sizeof(T) != 0, bool, T>>;  // Var<bool>, but only looked at when used
  static Var<T> make(Opcode op, A a) { return {Raw{apply(op, a.id, a.loc)}, a.loc}; }
  static Var<T> make(Opcode op, A a, A b) { return Var<T>(declare_result(op, a.id, b.id, a.loc)); }
  static Truth test(Opcode op, A a, A b) { return Truth(declare_result(op, a.id, b.id, a.loc)); }

  friend Var<T> operator+(A a) { return {Raw{a.id}, a.loc}; }
  friend Var<T> operator-(A a)
    requires kNum
  {
    return make(Opcode::neg, a);
  }
  friend Var<T> operator~(A a)
    requires kBits
  {
    return make(Opcode::bit_not, a);
  }
  friend Var<T> operator+(A a, A b)
    requires kNum
  {
    return make(Opcode::add, a, b);
  }
  friend Var<T> operator-(A a, A b)
    requires kNum
  {
    return make(Opcode::sub, a, b);
  }
  friend Var<T> operator*(A a, A b)
    requires kNum
  {
    return make(Opcode::mul, a, b);
  }
  friend Var<T> operator/(A a, A b)
    requires kNum
  {
    return make(Opcode::div, a, b);
  }
  friend Var<T> operator%(A a, A b)
    requires kNum
  {
    return make(Opcode::rem, a, b);
  }
  friend Var<T> operator&(A a, A b)
    requires kBits
  {
    return make(Opcode::bit_and, a, b);
  }
  friend Var<T> operator|(A a, A b)
    requires kBits
  {
    return make(Opcode::bit_or, a, b);
  }
  friend Var<T> operator^(A a, A b)
    requires kBits
  {
    return make(Opcode::bit_xor, a, b);
  }
  friend Var<T> operator<<(A a, A b)
    requires kInt
  {
    return make(Opcode::shl, a, b);
  }
  friend Var<T> operator>>(A a, A b)
    requires kInt
  {
    return make(Opcode::shr, a, b);
  }
  friend Truth operator==(A a, A b) { return test(Opcode::eq, a, b); }
  friend Truth operator!=(A a, A b) { return test(Opcode::ne, a, b); }
  friend Truth operator<(A a, A b)
    requires kNum
  {
    return test(Opcode::lt, a, b);
  }
  friend Truth operator<=(A a, A b)
    requires kNum
  {
    return test(Opcode::le, a, b);
  }
  friend Truth operator>(A a, A b)
    requires kNum
  {
    return test(Opcode::gt, a, b);
  }
  friend Truth operator>=(A a, A b)
    requires kNum
  {
    return test(Opcode::ge, a, b);
  }
};
}  // namespace detail

template <class T>
class [[maybe_unused]] Var : public detail::Operators<detail::compute_t<T>> {
  using C = detail::compute_t<T>;
  static constexpr DType kType = dtype_of<C>;

 public:
  using value_type = T;

  /// A name without a value yet; reading it before it is assigned is an error at the end of capture.
  Var(detail::Here at = Loc::here()) : handle_(detail::declare(kType, at.loc)) {}
  Var(const Var& o, Loc at = Loc::here()) : handle_(detail::copy_of(o.handle_, at)) {}
  template <class U>
    requires(!std::is_same_v<U, T>)
  explicit(!detail::kPromotes<U, T>) Var(const Var<U>& o, Loc at = Loc::here())
      : handle_(detail::declare_as(cast<U>(detail::read(o.handle(), at), at), at)) {}
  template <class U>
  explicit(!detail::kPromotes<U, T>) Var(Ref<U>&& r, Loc at = Loc::here())
      : handle_(detail::declare_as(cast<U>(detail::load(r.element_, r.leaf_, at), at), at)) {}
  template <class U>
  explicit(!detail::kPromotes<U, T>) Var(const Ref<U>& r, Loc at = Loc::here()) : Var(Arg<C>(r, at)) {}
  template <detail::HostNumber N>
  explicit(!detail::LiteralFor<N, T>) Var(N n, Loc at = Loc::here())
      : handle_(
            detail::declare_as(fit(detail::literal<T>(static_cast<std::conditional_t<detail::LiteralFor<N, T>, N, T>>(n), at), at), at)) {}
  Var(detail::Raw v, Loc at) : handle_(detail::declare_as(v.value, at)) {}
  explicit Var(detail::Handle h) : handle_(h) {}

  // By value: the copy is what knows the line of an assignment.
  Var& operator=(Var o) & {
    detail::assign_from(handle_, o.handle_);
    return *this;
  }
  template <class A>
  void operator=(const A&) && {
    static_assert(detail::kNever<A>,
                  "this is a value, not a place: an element of an In cannot be assigned; "
                  "declare the parameter Out or InOut");
  }
  Var& operator+=(Arg<C> b) & { return update(Opcode::add, b); }
  Var& operator-=(Arg<C> b) & { return update(Opcode::sub, b); }
  Var& operator*=(Arg<C> b) & { return update(Opcode::mul, b); }
  Var& operator/=(Arg<C> b) & { return update(Opcode::div, b); }
  Var& operator%=(Arg<C> b) & { return update(Opcode::rem, b); }
  // clang-format off: it joins members that end in a clause
  Var& operator&=(Arg<C> b) & requires(!is_float(kType)) { return update(Opcode::bit_and, b); }
  Var& operator|=(Arg<C> b) & requires(!is_float(kType)) { return update(Opcode::bit_or, b); }
  Var& operator^=(Arg<C> b) & requires(!is_float(kType)) { return update(Opcode::bit_xor, b); }
  Var& operator<<=(Arg<C> b) & requires(is_int(kType)) { return update(Opcode::shl, b); }
  Var& operator>>=(Arg<C> b) & requires(is_int(kType)) { return update(Opcode::shr, b); }
      // clang-format on
      template <detail::Narrows<T> V> void operator=(const V&) & {
    detail::refuse_narrowing<V>();
  }
  template <detail::Narrows<C> V> void operator+=(const V&) & { detail::refuse_narrowing<V>(); }
  template <detail::Narrows<C> V> void operator-=(const V&) & { detail::refuse_narrowing<V>(); }
  template <detail::Narrows<C> V> void operator*=(const V&) & { detail::refuse_narrowing<V>(); }
  template <detail::Narrows<C> V> void operator/=(const V&) & { detail::refuse_narrowing<V>(); }

  explicit operator bool() const {
    static_assert(detail::kNever<T>,
                  "a captured value is not known while the kernel is captured: instead of `if (c)` "
                  "write fx::if_(c, [&]{ ... }), instead of `c ? a : b` fx::select(c, a, b), "
                  "instead of `while (c)` for (auto _ : fx::while_([&]{ return c; }))");
    return false;
  }

  detail::Handle handle() const { return handle_; }

 private:
  detail::Handle handle_;

  static std::uint32_t fit(std::uint32_t value, Loc at) {
    if constexpr (is_half(dtype_of<T>)) return detail::round_to(value, dtype_of<T>, at);
    else return value;
  }
  template <class U> static std::uint32_t cast(std::uint32_t value, Loc at) {
    using V = detail::compute_t<U>;
    if constexpr (std::is_same_v<T, U>) return value;
    else if constexpr (std::is_same_v<C, bool>) return detail::apply(Opcode::ne, value, detail::literal<V>(V(0), at), at);
    else return fit(detail::convert(value, kType, at), at);
  }
  Var& update(Opcode op, Arg<C> b) {
    detail::assign(handle_, fit(detail::apply(op, detail::read(handle_, b.loc), b.id, b.loc), b.loc), b.loc);
    return *this;
  }
};

inline ShortCircuit::ShortCircuit(const Var<bool>& v, Loc at) : id(detail::read(v.handle(), at)), loc(at), end(detail::mark()) {}

/// The right side is evaluated only where the left one does not decide: `i < n && x[i] > 0` stays in bounds.
inline Var<bool> operator&&(ShortCircuit a, const Var<bool>& b) {
  return {detail::Raw{detail::short_circuit(false, a.id, a.end, b.handle(), a.loc)}, a.loc};
}
inline Var<bool> operator||(ShortCircuit a, const Var<bool>& b) {
  return {detail::Raw{detail::short_circuit(true, a.id, a.end, b.handle(), a.loc)}, a.loc};
}
inline Var<bool> operator&&(bool a, const Var<bool>& b) { return a ? Var<bool>(b) : Var<bool>(false); }
inline Var<bool> operator||(bool a, const Var<bool>& b) { return a ? Var<bool>(true) : Var<bool>(b); }
inline Var<bool> operator!(const Var<bool>& a) { return ~a; }

/// The result of `i, j`: an index made of it would silently mean x[j].
template <class T>
struct Comma : Var<T> {
  explicit Comma(const Var<T>& v) : Var<T>(v) {}
};
template <class A, class B> Comma<B> operator,(const Var<A>&, const Var<B>& b) { return Comma<B>(b); }
template <class B> Comma<B> operator,(int, const Var<B>& b) { return Comma<B>(b); }
template <class A> Comma<int> operator,(const Var<A>&, int b) { return Comma<int>(Var<int>(b)); }

/// The number in another type: floats to integers saturate, NaN becomes 0.
template <Scalar T, class A> Var<T> cast(const A& a, Loc at = Loc::here()) { return Var<T>(a, at); }
template <Scalar T, class U> Var<T> cast(Ref<U>&& a, Loc at = Loc::here()) { return Var<T>(static_cast<Ref<U>&&>(a), at); }
/// The same bits as a type of the same size.
template <Scalar T, class U> Var<T> bitcast(const Var<U>& v, Loc at = Loc::here()) {
  static_assert(sizeof(T) == sizeof(U) && sizeof(T) >= 4, "bitcast: 32- and 64-bit types of one size");
  return {detail::Raw{detail::bitcast(detail::read(v.handle(), at), dtype_of<T>, at)}, at};
}

using Bool = Var<bool>;
using Int8 = Var<std::int8_t>;
using Int16 = Var<std::int16_t>;
using Int = Var<std::int32_t>;
using Long = Var<std::int64_t>;
using UInt8 = Var<std::uint8_t>;
using UInt16 = Var<std::uint16_t>;
using UInt = Var<std::uint32_t>;
using ULong = Var<std::uint64_t>;
using Half = Var<half>;
using BFloat = Var<bfloat16>;
using Float = Var<float>;
using Double = Var<double>;

}  // namespace fluxion
