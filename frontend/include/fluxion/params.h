// Memories inside a kernel: the parameters In, Out, InOut, Accum, the array Local, and their elements.
//
//   x[i], x(i, j), x(i, j, k)   an element; of an In its value, else a place to read, assign and update
//   x.extent(k)                 size along axis k, slowest axis first
//
// What an element type means (its leaves, the type of its value) is Element<T>: scalars here, vectors in vec.h,
// structs in structs.h.
#pragma once
#include "fluxion/var.h"

namespace fluxion {

template <class E, int N> struct Vec;

namespace detail {
struct MemoryHandle {
  std::uint32_t memory = ~0u;
  std::uint32_t epoch = 0;
};
struct LeafSpec {
  DType dtype;
  std::uint32_t offset;  // bytes from the start of the element
};

FLUXION_RECORDS std::uint32_t element(MemoryHandle m, const std::uint32_t* index, int rank, Loc at);
FLUXION_RECORDS void store(std::uint32_t element, std::uint32_t leaf, std::uint32_t value, Loc at);
FLUXION_RECORDS void accumulate(std::uint32_t element, std::uint32_t leaf, std::uint32_t value, Loc at);
FLUXION_RECORDS void load_into(std::uint32_t element, std::uint32_t leaf, const Handle* out, int n, Loc at);
FLUXION_RECORDS void store_from(std::uint32_t element, std::uint32_t leaf, const Handle* values, int n, Loc at);
FLUXION_RECORDS void accumulate_from(std::uint32_t element, std::uint32_t leaf, const Handle* values, int n, Loc at);
/// The old number; `expected`: of compare_exchange, else ~0u.
FLUXION_RECORDS std::uint32_t record_atomic(Atomic kind, std::uint32_t element, std::uint32_t leaf, std::uint32_t value,
                                            std::uint32_t expected, Loc at);
FLUXION_RECORDS std::uint32_t extent(MemoryHandle m, int axis, Loc at);
FLUXION_RECORDS MemoryHandle new_local(const LeafSpec* leaves, int n, std::uint32_t size, std::int64_t length, Loc at);

template <class V> inline constexpr int kHandles = static_cast<int>(sizeof(V) / sizeof(Handle));
template <class V> const Handle* handles(const V& v) { return reinterpret_cast<const Handle*>(&v); }

/// The type that a captured value has on the host.
template <class V> struct HostOf {};
template <class T> struct HostOf<Var<T>> {
  using type = T;
};
template <class V> using host_t = typename HostOf<V>::type;
/// Var<T>, Vec, Mat, Complex and structs of them.
template <class V>
concept CapturedValue = requires { typename HostOf<V>::type; };

/// How a host type T lies in memory and what it is called inside a kernel.
template <class T> struct Element {
  static_assert(kNever<T>, "not an element type: use a scalar, fx::Vec, fx::Mat, fx::Complex or a struct of those");
};
template <Scalar T> struct Element<T> {
  using Value = Var<T>;
  using Place = Ref<T>;
  static constexpr int kLeaves = 1;
  static constexpr std::uint32_t kSize = sizeof(T);
  static void leaves(LeafSpec* out) { *out = {dtype_of<T>, 0}; }
  static Value get(std::uint32_t element, Loc at) { return {Raw{load(element, 0, at)}, at}; }
  static Place place(std::uint32_t element) { return {element, 0}; }
};
}  // namespace detail

/// A position in an array: fx::Int, or a whole number of the host.
struct Index {
  [[no_unique_address]] Loc loc;
  std::uint32_t id;

  template <class A>
  Index(const A& a, Loc at = Loc::here()) : loc(at), id(0) {
    if constexpr (detail::HostNumber<A>) {
      static_assert(std::is_integral_v<A> && !std::is_same_v<A, bool>, "an index is a whole number");
      if constexpr (std::is_integral_v<A>) id = detail::literal<int>(a, at);
    } else {
      take(a, at);
    }
  }
  template <class U> Index(Ref<U>&& r, Loc at = Loc::here()) : Index(Var<U>(static_cast<Ref<U>&&>(r), at), at) {}

 private:
  template <class U> void take(const Var<U>& v, Loc at) {
    static_assert(detail::kPromotes<U, std::int32_t>, "an index is fx::Int; convert it: x[fx::Int(i)]");
    if constexpr (detail::kPromotes<U, std::int32_t>) id = detail::convert(detail::read(v.handle(), at), DType::i32, at);
  }
  template <class U> void take(const Comma<U>&, Loc) { static_assert(detail::kNever<U>, "x[i, j] would be x[j]; write x(i, j)"); }
};

/// An element's leaf: reading loads, assigning stores. Lives as long as the expression it appears in.
template <class T>
class Ref : public detail::Operators<detail::compute_t<T>> {
  using C = detail::compute_t<T>;
  using A = Arg<C>;

 public:
  std::uint32_t element_ = ~0u, leaf_ = 0;
  Ref() = default;
  Ref(std::uint32_t element, std::uint32_t leaf) : element_(element), leaf_(leaf) {}
  Ref(const Ref&) = default;

  void operator=(A v) && { detail::store(element_, leaf_, v.id, v.loc); }
  void operator=(Ref&& o) && { detail::store(element_, leaf_, detail::load(o.element_, o.leaf_, {}), {}); }
  template <class V> void operator=(V&&) & { not_a_name<V>(); }
  void operator+=(A v) && { update(Opcode::add, v); }
  void operator-=(A v) && { update(Opcode::sub, v); }
  void operator*=(A v) && { update(Opcode::mul, v); }
  void operator/=(A v) && { update(Opcode::div, v); }
  void operator%=(A v) && { update(Opcode::rem, v); }
  // clang-format off: it joins members that end in a clause
  void operator&=(A v) && requires(!is_float(dtype_of<C>)) { update(Opcode::bit_and, v); }
  void operator|=(A v) && requires(!is_float(dtype_of<C>)) { update(Opcode::bit_or, v); }
  void operator^=(A v) && requires(!is_float(dtype_of<C>)) { update(Opcode::bit_xor, v); }
      // clang-format on
      template <detail::Narrows<C> V> void operator=(V&&) && {
    detail::refuse_narrowing<V>();
  }
  template <detail::Narrows<C> V> void operator+=(V&&) && { detail::refuse_narrowing<V>(); }
  template <detail::Narrows<C> V> void operator-=(V&&) && { detail::refuse_narrowing<V>(); }
  template <detail::Narrows<C> V> void operator*=(V&&) && { detail::refuse_narrowing<V>(); }
  template <detail::Narrows<C> V> void operator/=(V&&) && { detail::refuse_narrowing<V>(); }
  template <class V> void operator+=(V&&) & { not_a_name<V>(); }
  template <class V> void operator-=(V&&) & { not_a_name<V>(); }
  template <class V> void operator*=(V&&) & { not_a_name<V>(); }
  /// Adds in an order that is not specified when several threads add to the element.
  void accumulate(A v) && { detail::accumulate(element_, leaf_, v.id, v.loc); }
  // Atomics, of InOut and Shared: the element becomes what the name says of it and v at once; the old number is returned.
  Var<C> atomic_add(A v) && { return atomic(Atomic::add, v); }
  Var<C> atomic_min(A v) && { return atomic(Atomic::min, v); }
  Var<C> atomic_max(A v) && { return atomic(Atomic::max, v); }
  // clang-format off
  Var<C> atomic_and(A v) && requires(is_int(dtype_of<C>)) { return atomic(Atomic::bit_and, v); }
  Var<C> atomic_or(A v) && requires(is_int(dtype_of<C>)) { return atomic(Atomic::bit_or, v); }
  Var<C> atomic_xor(A v) && requires(is_int(dtype_of<C>)) { return atomic(Atomic::bit_xor, v); }
      // clang-format on
      Var<C> atomic_exchange(A v) && {
    return atomic(Atomic::exchange, v);
  }
  Var<C> atomic_compare_exchange(A expected, A v) && { return atomic(Atomic::compare_exchange, v, expected.id); }
  explicit operator bool() const {
    return static_cast<bool>(Var<T>(detail::Raw{0}, {}));  // the message is Var's
  }

 private:
  void update(Opcode op, const A& v) {
    const auto old = detail::load(element_, leaf_, v.loc);
    detail::store(element_, leaf_, detail::apply(op, old, v.id, v.loc), v.loc);
  }
  Var<C> atomic(Atomic kind, const A& v, std::uint32_t expected = ~0u) {
    static_assert(!is_half(dtype_of<T>) && !std::is_same_v<T, bool>, "atomics work on numbers of 8 to 64 bits");
    return {detail::Raw{detail::record_atomic(kind, element_, leaf_, v.id, expected, v.loc)}, v.loc};
  }
  template <class V> static void not_a_name() {
    static_assert(detail::kNever<V>,
                  "`auto v = y[i]` names the element, not its value; write `fx::Float v = y[i]` "
                  "or `auto v = +y[i]`, and `y[i] = v` to store");
  }
};

inline ShortCircuit::ShortCircuit(Ref<bool>&& r, Loc at) : ShortCircuit(Var<bool>(static_cast<Ref<bool>&&>(r), at), at) {}
template <class B> Var<bool> operator&&(ShortCircuit a, Ref<B>&& b)
  requires std::is_same_v<B, bool>
{
  return a && Var<bool>(static_cast<Ref<bool>&&>(b), a.loc);
}
inline Var<bool> operator!(Ref<bool>&& a) { return ~static_cast<Ref<bool>&&>(a); }

/// An element of an Accum: it can only be added to.
template <class T>
class Sum {
  using Value = typename detail::Element<T>::Value;
  std::uint32_t element_;

 public:
  explicit Sum(std::uint32_t element) : element_(element) {}
  void operator+=(Value v) && { add(v); }
  void operator-=(Value v) && { add(-v); }
  template <class V> void operator=(V&&) {
    static_assert(detail::kNever<V>, "an Accum can only be added to with += and -=; declare the parameter InOut");
  }

 private:
  void add(const Value& v) { detail::accumulate_from(element_, 0, detail::handles(v), detail::kHandles<Value>, {}); }
};

namespace detail {
template <class T, int N>
class ArrayBase {
  static_assert(N >= 1 && N <= 3, "arrays have one to three axes");

 public:
  using element_type = T;
  static constexpr int kRank = N;
  ArrayBase() = default;
  explicit ArrayBase(MemoryHandle m) : memory_(m) {}
  /// Size along an axis, slowest first.
  Var<int> extent(int axis, Loc at = Loc::here()) const { return {Raw{detail::extent(memory_, axis, at)}, at}; }
  Var<int> size(Loc at = Loc::here()) const {
    static_assert(N == 1, "size() is for one axis; use extent(k)");
    return extent(0, at);
  }
  MemoryHandle handle() const { return memory_; }

 protected:
  std::uint32_t at(const Index& i) const {
    static_assert(N == 1, "this array has more than one axis: x(i, j) or x(i, j, k)");
    return element(memory_, &i.id, 1, i.loc);
  }
  template <class... I> std::uint32_t at_all(const I&... i) const {
    static_assert(sizeof...(I) == N, "as many indices as the array has axes");
    const std::uint32_t ids[] = {i.id...};
    const Loc locs[] = {i.loc...};
    return element(memory_, ids, N, locs[0]);
  }
  std::uint32_t at_point(const Vec<Var<int>, N>& p) const {
    std::uint32_t ids[N];
    const Loc where = declared_at(p.at(0).handle());
    for (int k = 0; k < N; ++k) ids[k] = read(p.at(k).handle(), where);
    return element(memory_, ids, N, where);
  }
  MemoryHandle memory_;
};

/// Shared by Out, InOut and Local: elements are places.
template <class T, int N>
class WritableArray : public ArrayBase<T, N> {
  using E = Element<T>;

 public:
  using ArrayBase<T, N>::ArrayBase;
  typename E::Place operator[](Index i) const { return E::place(this->at(i)); }
  template <int M>
    requires(M == N)
  typename E::Place operator[](const Vec<Var<int>, M>& p) const {
    return E::place(this->at_point(p));
  }
  typename E::Place operator()(Index i) const { return E::place(this->at_all(i)); }
  typename E::Place operator()(Index i, Index j) const { return E::place(this->at_all(i, j)); }
  typename E::Place operator()(Index i, Index j, Index k) const { return E::place(this->at_all(i, j, k)); }
};
}  // namespace detail

/// A parameter that the kernel only reads.
template <class T, int N = 1>
class In : public detail::ArrayBase<T, N> {
  using E = detail::Element<T>;

 public:
  static constexpr Role kRole = Role::in;
  using detail::ArrayBase<T, N>::ArrayBase;
  typename E::Value operator[](Index i) const { return E::get(this->at(i), i.loc); }
  template <int M>
    requires(M == N)
  typename E::Value operator[](const Vec<Var<int>, M>& p) const {
    return E::get(this->at_point(p), {});
  }
  typename E::Value operator()(Index i) const { return E::get(this->at_all(i), i.loc); }
  typename E::Value operator()(Index i, Index j) const { return E::get(this->at_all(i, j), i.loc); }
  typename E::Value operator()(Index i, Index j, Index k) const { return E::get(this->at_all(i, j, k), i.loc); }
};

/// A parameter whose old content does not matter; each element is written by at most one thread.
template <class T, int N = 1>
class Out : public detail::WritableArray<T, N> {
 public:
  static constexpr Role kRole = Role::out;
  using detail::WritableArray<T, N>::WritableArray;
};

/// A parameter that is read and written.
template <class T, int N = 1>
class InOut : public detail::WritableArray<T, N> {
 public:
  static constexpr Role kRole = Role::inout;
  using detail::WritableArray<T, N>::WritableArray;
};

/// A parameter that any thread may add to, at any element; nothing else.
template <class T, int N = 1>
class Accum : public detail::ArrayBase<T, N> {
 public:
  static constexpr Role kRole = Role::accum;
  using detail::ArrayBase<T, N>::ArrayBase;
  Sum<T> operator[](Index i) const { return Sum<T>(this->at(i)); }
  template <int M>
    requires(M == N)
  Sum<T> operator[](const Vec<Var<int>, M>& p) const {
    return Sum<T>(this->at_point(p));
  }
  Sum<T> operator()(Index i) const { return Sum<T>(this->at_all(i)); }
  Sum<T> operator()(Index i, Index j) const { return Sum<T>(this->at_all(i, j)); }
  Sum<T> operator()(Index i, Index j, Index k) const { return Sum<T>(this->at_all(i, j, k)); }
};

/// N elements of this thread's own, zero where it is declared.
template <class T, int N>
class Local : public detail::WritableArray<T, 1> {
  using E = detail::Element<T>;

 public:
  explicit Local(Loc at = Loc::here()) {
    detail::LeafSpec leaves[E::kLeaves];
    E::leaves(leaves);
    this->memory_ = detail::new_local(leaves, E::kLeaves, E::kSize, N, at);
  }
  Local(const Local&) = delete;
};

}  // namespace fluxion
