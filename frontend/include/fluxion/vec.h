// Vec<E, N>: N components of E. Vec<float, 3> (float3) is plain data in memory, Vec<Float, 3> (Float3) its value in a
// kernel, Vec<Ref<float>, 3> a place, as in `y[i].x = 1`. Two to four components are called x, y, z, w.
#pragma once
#include <utility>

#include "fluxion/functions.h"

namespace fluxion {
namespace detail {

struct Generate {};  // tag: components are what a function of their number gives

template <class E, int N> struct VecData {
  E e[N];
  VecData() = default;
  template <class G> VecData(Generate, const G& g) : VecData(g, std::make_integer_sequence<int, N>()) {}
  constexpr E& at(int k) { return e[k]; }
  constexpr const E& at(int k) const { return e[k]; }

 private:
  template <class G, int... K> VecData(const G& g, std::integer_sequence<int, K...>) : e{g(K)...} {}
};
template <class E> struct VecData<E, 2> {
  E x, y;
  VecData() = default;
  template <class G> constexpr VecData(Generate, const G& g) : x(g(0)), y(g(1)) {}
  constexpr E& at(int k) { return k == 0 ? x : y; }
  constexpr const E& at(int k) const { return k == 0 ? x : y; }
};
template <class E> struct VecData<E, 3> {
  E x, y, z;
  VecData() = default;
  template <class G> constexpr VecData(Generate, const G& g) : x(g(0)), y(g(1)), z(g(2)) {}
  constexpr E& at(int k) { return k == 0 ? x : k == 1 ? y : z; }
  constexpr const E& at(int k) const { return k == 0 ? x : k == 1 ? y : z; }
};
template <class E> struct VecData<E, 4> {
  E x, y, z, w;
  VecData() = default;
  template <class G> constexpr VecData(Generate, const G& g) : x(g(0)), y(g(1)), z(g(2)), w(g(3)) {}
  constexpr E& at(int k) { return k == 0 ? x : k == 1 ? y : k == 2 ? z : w; }
  constexpr const E& at(int k) const { return k == 0 ? x : k == 1 ? y : k == 2 ? z : w; }
};

/// Ids of the components of an operand, and where it was written.
template <int N> struct Ids {
  std::uint32_t id[N];
  Loc loc;
};
template <int N> Ids<N> map(Opcode op, const Ids<N>& a) {
  Ids<N> r{{}, a.loc};
  for (int k = 0; k < N; ++k) r.id[k] = apply(op, a.id[k], a.loc);
  return r;
}
template <int N> Ids<N> zip(Opcode op, const Ids<N>& a, const Ids<N>& b) {
  Ids<N> r{{}, a.loc};
  for (int k = 0; k < N; ++k) r.id[k] = apply(op, a.id[k], b.id[k], a.loc);
  return r;
}
template <int N> Ids<N> splat(std::uint32_t a, Loc at) {
  Ids<N> r{{}, at};
  for (int k = 0; k < N; ++k) r.id[k] = a;
  return r;
}
inline std::uint32_t inner(const std::uint32_t* a, int da, const std::uint32_t* b, int db, int n, Loc at) {
  std::uint32_t sum = apply(Opcode::mul, a[0], b[0], at);
  for (int k = 1; k < n; ++k) sum = apply(Opcode::add, sum, apply(Opcode::mul, a[k * da], b[k * db], at), at);
  return sum;
}
}  // namespace detail

/// Plain data: what lies in memory.
template <class E, int N>
struct Vec : detail::VecData<E, N> {
  static_assert(N >= 2, "a Vec has two components or more");
  Vec() = default;
  template <class... A>
    requires(sizeof...(A) == N && (std::is_convertible_v<A, E> && ...))
  constexpr Vec(A... a) : Vec(std::integral_constant<int, 0>(), static_cast<E>(a)...) {}
  constexpr explicit Vec(E a) : detail::VecData<E, N>(detail::Generate(), [&](int) { return a; }) {}
  constexpr E& operator[](int k) { return this->at(k); }
  constexpr const E& operator[](int k) const { return this->at(k); }

 private:
  template <class... A> constexpr Vec(std::integral_constant<int, 0>, A... a)
      : detail::VecData<E, N>(detail::Generate(), [&](int k) {
          const E all[] = {a...};
          return all[k];
        }) {}
};
template <Scalar T, int N> constexpr Vec<T, N> operator+(Vec<T, N> a, Vec<T, N> b) {
  for (int k = 0; k < N; ++k) a[k] += b[k];
  return a;
}
template <Scalar T, int N> constexpr Vec<T, N> operator-(Vec<T, N> a, Vec<T, N> b) {
  for (int k = 0; k < N; ++k) a[k] -= b[k];
  return a;
}
template <Scalar T, int N> constexpr Vec<T, N> operator*(Vec<T, N> a, T s) {
  for (int k = 0; k < N; ++k) a[k] *= s;
  return a;
}
template <Scalar T, int N> constexpr Vec<T, N> operator*(T s, Vec<T, N> a) { return a * s; }
template <Scalar T, int N> constexpr Vec<T, N> operator/(Vec<T, N> a, T s) {
  for (int k = 0; k < N; ++k) a[k] /= s;
  return a;
}
template <Scalar T, int N> constexpr bool operator==(const Vec<T, N>& a, const Vec<T, N>& b) {
  for (int k = 0; k < N; ++k)
    if (!(a[k] == b[k])) return false;
  return true;
}

/// An operand of N components: a captured vector, a place, or a vector of the host.
template <class T, int N>
struct VecArg : detail::Ids<N> {
  VecArg(const detail::Ids<N>& ids) : detail::Ids<N>(ids) {}
  template <class U>
    requires detail::kPromotes<U, T>
  VecArg(const Vec<Var<U>, N>& v, Loc at = Loc::here()) {
    take([&](int k) { return Arg<T>(v.at(k), at).id; }, at);
  }
  template <class U>
    requires detail::kPromotes<U, T>
  VecArg(Vec<Ref<U>, N>&& v, Loc at = Loc::here()) {
    take([&](int k) { return Arg<T>(Ref<U>(v.at(k)), at).id; }, at);
  }
  template <detail::LiteralFor<T> U>
  VecArg(const Vec<U, N>& v, Loc at = Loc::here()) {
    take([&](int k) { return detail::literal<T>(v[k], at); }, at);
  }
  VecArg(Arg<T> x, Arg<T> y)
    requires(N == 2)
      : detail::Ids<N>{{x.id, y.id}, x.loc} {}
  VecArg(Arg<T> x, Arg<T> y, Arg<T> z)
    requires(N == 3)
      : detail::Ids<N>{{x.id, y.id, z.id}, x.loc} {}
  VecArg(Arg<T> x, Arg<T> y, Arg<T> z, Arg<T> w)
    requires(N == 4)
      : detail::Ids<N>{{x.id, y.id, z.id, w.id}, x.loc} {}

 private:
  template <class F> void take(const F& f, Loc at) {
    this->loc = at;
    for (int k = 0; k < N; ++k) this->id[k] = f(k);
  }
};

namespace detail {
/// The operators of captured vectors and of places.
template <class T, int N>
struct VecOperators {
  using V = Vec<Var<T>, N>;
  using A = VecArg<T, N>;
  using S = Arg<T>;
  friend V operator+(A a) { return V(a); }
  friend V operator-(A a) { return V(map(Opcode::neg, a)); }
  friend V operator+(A a, A b) { return V(zip(Opcode::add, a, b)); }
  friend V operator-(A a, A b) { return V(zip(Opcode::sub, a, b)); }
  friend V operator*(A a, A b) { return V(zip(Opcode::mul, a, b)); }
  friend V operator/(A a, A b) { return V(zip(Opcode::div, a, b)); }
  friend V operator+(A a, S b) { return V(zip(Opcode::add, a, splat<N>(b.id, a.loc))); }
  friend V operator-(A a, S b) { return V(zip(Opcode::sub, a, splat<N>(b.id, a.loc))); }
  friend V operator*(A a, S b) { return V(zip(Opcode::mul, a, splat<N>(b.id, a.loc))); }
  friend V operator/(A a, S b) { return V(zip(Opcode::div, a, splat<N>(b.id, a.loc))); }
  friend V operator+(S a, A b) { return V(zip(Opcode::add, splat<N>(a.id, a.loc), b)); }
  friend V operator-(S a, A b) { return V(zip(Opcode::sub, splat<N>(a.id, a.loc), b)); }
  friend V operator*(S a, A b) { return V(zip(Opcode::mul, splat<N>(a.id, a.loc), b)); }
  friend V operator/(S a, A b) { return V(zip(Opcode::div, splat<N>(a.id, a.loc), b)); }
};
}  // namespace detail

/// A vector inside a kernel: N names.
template <class T, int N>
struct [[maybe_unused]] Vec<Var<T>, N> : detail::VecData<Var<T>, N>, detail::VecOperators<detail::compute_t<T>, N> {
  using Data = detail::VecData<Var<T>, N>;
  using C = detail::compute_t<T>;
  using A = VecArg<C, N>;
  using S = Arg<C>;

  Vec(detail::Here at = Loc::here()) : Data(detail::Generate(), [&](int) { return Var<T>(at.loc); }) {}
  Vec(const Vec& o, Loc at = Loc::here()) : Data(detail::Generate(), [&](int k) { return Var<T>(o.at(k), at); }) {}
  explicit Vec(const detail::Ids<N>& v)
      : Data(detail::Generate(), [&](int k) { return Var<T>(detail::Raw{fit(v.id[k], v.loc)}, v.loc); }) {}
  template <class U>
    requires detail::kPromotes<U, T>
  Vec(Vec<Ref<U>, N>&& v, Loc at = Loc::here()) : Vec(A(std::move(v), at)) {}
  template <detail::LiteralFor<T> U> Vec(const Vec<U, N>& v, Loc at = Loc::here()) : Vec(A(v, at)) {}
  template <class U>
    requires(!std::is_same_v<U, T>)
  explicit(!detail::kPromotes<U, T>) Vec(const Vec<Var<U>, N>& v, Loc at = Loc::here())
      : Data(detail::Generate(), [&](int k) { return Var<T>(v.at(k), at); }) {}
  explicit Vec(S a) : Vec(detail::splat<N>(a.id, a.loc)) {}
  Vec(S x, S y)
    requires(N == 2)
      : Vec(detail::Ids<N>{{x.id, y.id}, x.loc}) {}
  Vec(S x, S y, S z)
    requires(N == 3)
      : Vec(detail::Ids<N>{{x.id, y.id, z.id}, x.loc}) {}
  Vec(S x, S y, S z, S w)
    requires(N == 4)
      : Vec(detail::Ids<N>{{x.id, y.id, z.id, w.id}, x.loc}) {}

  Vec& operator=(Vec o) & {
    for (int k = 0; k < N; ++k) detail::assign_from(this->at(k).handle(), o.at(k).handle());
    return *this;
  }
  template <class B> void operator=(const B& b) && { Var<T>(detail::Raw{0}, {}).operator=(b); }  // the message is Var's
  Vec& operator+=(A b) & { return set(detail::zip(Opcode::add, A(*this, b.loc), b)); }
  Vec& operator-=(A b) & { return set(detail::zip(Opcode::sub, A(*this, b.loc), b)); }
  Vec& operator*=(A b) & { return set(detail::zip(Opcode::mul, A(*this, b.loc), b)); }
  Vec& operator*=(S b) & { return set(detail::zip(Opcode::mul, A(*this, b.loc), detail::splat<N>(b.id, b.loc))); }
  Vec& operator/=(S b) & { return set(detail::zip(Opcode::div, A(*this, b.loc), detail::splat<N>(b.id, b.loc))); }
  Var<T>& operator[](int k) & { return this->at(k); }
  const Var<T>& operator[](int k) const& { return this->at(k); }
  Var<T> operator[](int k) && { return this->at(k); }

 private:
  Vec& set(const detail::Ids<N>& v) {
    for (int k = 0; k < N; ++k) detail::assign(this->at(k).handle(), fit(v.id[k], v.loc), v.loc);
    return *this;
  }
  static std::uint32_t fit(std::uint32_t value, Loc at) {
    if constexpr (is_half(dtype_of<T>)) return detail::round_to(value, dtype_of<T>, at);
    else return value;
  }
};

/// The place of a vector in an array.
template <class T, int N>
struct Vec<Ref<T>, N> : detail::VecData<Ref<T>, N>, detail::VecOperators<detail::compute_t<T>, N> {
  using C = detail::compute_t<T>;
  using A = VecArg<C, N>;
  using S = Arg<C>;
  Vec() = default;
  Vec(const Vec&) = default;
  template <class G> Vec(detail::Generate g, const G& f) : detail::VecData<Ref<T>, N>(g, f) {}
  void operator=(A v) && { set(v); }
  void operator=(Vec&& v) && { set(A(std::move(v), {})); }
  void operator+=(A v) && { set(detail::zip(Opcode::add, old(v.loc), v)); }
  void operator-=(A v) && { set(detail::zip(Opcode::sub, old(v.loc), v)); }
  void operator*=(S v) && { set(detail::zip(Opcode::mul, old(v.loc), detail::splat<N>(v.id, v.loc))); }
  void operator/=(S v) && { set(detail::zip(Opcode::div, old(v.loc), detail::splat<N>(v.id, v.loc))); }
  void accumulate(A v) && {
    for (int k = 0; k < N; ++k) detail::accumulate(this->at(k).element_, this->at(k).leaf_, v.id[k], v.loc);
  }
  Ref<T> operator[](int k) && { return this->at(k); }

 private:
  A old(Loc at) { return A(Vec(*this), at); }
  void set(const detail::Ids<N>& v) {
    for (int k = 0; k < N; ++k) detail::store(this->at(k).element_, this->at(k).leaf_, v.id[k], v.loc);
  }
};

namespace detail {
template <class T, int N> struct HostOf<Vec<Var<T>, N>> {
  using type = Vec<T, N>;
};
template <Scalar T, int N> struct Element<Vec<T, N>> {
  using Value = Vec<Var<T>, N>;
  using Place = Vec<Ref<T>, N>;
  static constexpr int kLeaves = N;
  static constexpr std::uint32_t kSize = sizeof(Vec<T, N>);
  static void leaves(LeafSpec* out) {
    for (int k = 0; k < N; ++k) out[k] = {dtype_of<T>, static_cast<std::uint32_t>(k * static_cast<int>(sizeof(T)))};
  }
  static Value get(std::uint32_t element, Loc at) {
    Ids<N> v{{}, at};
    for (int k = 0; k < N; ++k) v.id[k] = load(element, static_cast<std::uint32_t>(k), at);
    return Value(v);
  }
  static Place place(std::uint32_t element) {
    return Place(Generate(), [&](int k) { return Ref<T>(element, static_cast<std::uint32_t>(k)); });
  }
};

template <class V> struct VecOf {};
template <class T, int N> struct VecOf<Vec<Var<T>, N>> {
  using type = compute_t<T>;
  static constexpr int kSize = N;
};
template <class T, int N> struct VecOf<Vec<Ref<T>, N>> {
  using type = compute_t<T>;
  static constexpr int kSize = N;
};
template <class V>
concept CapturedVec = requires { typename VecOf<std::remove_cvref_t<V>>::type; };
template <CapturedVec V> using vec_element_t = typename VecOf<std::remove_cvref_t<V>>::type;
template <CapturedVec V> inline constexpr int kVecSize = VecOf<std::remove_cvref_t<V>>::kSize;
template <CapturedVec V> using vec_arg_t = VecArg<vec_element_t<V>, kVecSize<V>>;
template <CapturedVec V> using vec_t = Vec<Var<vec_element_t<V>>, kVecSize<V>>;
template <CapturedVec V> using vec_scalar_t = Var<vec_element_t<V>>;
template <int N> std::uint32_t fold(Opcode op, const Ids<N>& v) {
  std::uint32_t r = v.id[0];
  for (int k = 1; k < N; ++k) r = apply(op, r, v.id[k], v.loc);
  return r;
}
/// An operand of a componentwise function beside the vector V: another one, or a scalar for all components.
template <CapturedVec V, class W> Ids<kVecSize<V>> beside(W&& w, Loc at) {
  if constexpr (ScalarOperand<W>) return splat<kVecSize<V>>(Arg<vec_element_t<V>>(static_cast<W&&>(w), at).id, at);
  else return vec_arg_t<V>(static_cast<W&&>(w), at);
}
}  // namespace detail

#define FLUXION_VEC_FUNCTION1(name)                                                                    \
  template <detail::CapturedVec V> auto name(V&& v, Loc at = Loc::here()) {                            \
    return detail::vec_t<V>(detail::map(Opcode::name, detail::vec_arg_t<V>(static_cast<V&&>(v), at))); \
  }
FLUXION_VEC_FUNCTION1(abs)
FLUXION_VEC_FUNCTION1(sign)
FLUXION_VEC_FUNCTION1(floor)
FLUXION_VEC_FUNCTION1(ceil)
FLUXION_VEC_FUNCTION1(round)
FLUXION_VEC_FUNCTION1(trunc)
FLUXION_VEC_FUNCTION1(sqrt)
FLUXION_VEC_FUNCTION1(exp)
FLUXION_VEC_FUNCTION1(log)
FLUXION_VEC_FUNCTION1(sin)
FLUXION_VEC_FUNCTION1(cos)
FLUXION_VEC_FUNCTION1(tanh)
FLUXION_VEC_FUNCTION1(stop_grad)
#undef FLUXION_VEC_FUNCTION1

/// Componentwise; the second operand may be a scalar.
template <detail::CapturedVec V, class W> detail::vec_t<V> min(V&& v, W&& w, Loc at = Loc::here()) {
  const detail::vec_arg_t<V> a(static_cast<V&&>(v), at);
  return detail::vec_t<V>(detail::zip(Opcode::min, a, detail::beside<V>(static_cast<W&&>(w), at)));
}
template <detail::CapturedVec V, class W> detail::vec_t<V> max(V&& v, W&& w, Loc at = Loc::here()) {
  const detail::vec_arg_t<V> a(static_cast<V&&>(v), at);
  return detail::vec_t<V>(detail::zip(Opcode::max, a, detail::beside<V>(static_cast<W&&>(w), at)));
}
template <detail::CapturedVec V, class L, class H> auto clamp(V&& v, L&& lo, H&& hi, Loc at = Loc::here()) {
  return min(max(static_cast<V&&>(v), static_cast<L&&>(lo), at), static_cast<H&&>(hi), at);
}
template <detail::CapturedVec V> detail::vec_t<V> square(V&& v, Loc at = Loc::here()) {
  const detail::vec_arg_t<V> a(static_cast<V&&>(v), at);
  return detail::vec_t<V>(detail::zip(Opcode::mul, a, a));
}

/// Sum of the products of the components.
template <detail::CapturedVec V> auto dot(V&& a, detail::vec_arg_t<V> b, Loc at = Loc::here()) {
  const detail::vec_arg_t<V> x(static_cast<V&&>(a), at);
  return detail::vec_scalar_t<V>(detail::Raw{detail::inner(x.id, 1, b.id, 1, detail::kVecSize<V>, at)}, at);
}
template <detail::CapturedVec V> auto sum(V&& a, Loc at = Loc::here()) {
  const detail::vec_arg_t<V> x(static_cast<V&&>(a), at);
  return detail::vec_scalar_t<V>(detail::Raw{detail::fold(Opcode::add, x)}, at);
}
/// The square of the length.
template <detail::CapturedVec V> auto norm2(V&& a, Loc at = Loc::here()) {
  const detail::vec_arg_t<V> x(static_cast<V&&>(a), at);
  return detail::vec_scalar_t<V>(detail::Raw{detail::inner(x.id, 1, x.id, 1, detail::kVecSize<V>, at)}, at);
}
/// The length; its derivative at 0 is 0.
template <detail::CapturedVec V> auto length(V&& a, Loc at = Loc::here()) {
  const detail::vec_arg_t<V> x(static_cast<V&&>(a), at);
  return detail::vec_scalar_t<V>(detail::Raw{detail::fold(Opcode::hypot, x)}, at);
}
template <detail::CapturedVec V> auto distance(V&& a, detail::vec_arg_t<V> b, Loc at = Loc::here()) {
  const detail::vec_arg_t<V> x(static_cast<V&&>(a), at);
  return detail::vec_scalar_t<V>(detail::Raw{detail::fold(Opcode::hypot, detail::zip(Opcode::sub, x, b))}, at);
}
/// The vector of length 1 in the direction of a; 0 for 0.
template <detail::CapturedVec V> detail::vec_t<V> normalize(V&& a, Loc at = Loc::here()) {
  const detail::vec_arg_t<V> x(static_cast<V&&>(a), at);
  const auto r = detail::fold(Opcode::hypot, x);
  return detail::vec_t<V>(detail::zip(Opcode::sdiv, x, detail::splat<detail::kVecSize<V>>(r, at)));
}
/// The vector product; of two components the z component of it.
template <detail::CapturedVec V> auto cross(V&& a, detail::vec_arg_t<V> b, Loc at = Loc::here()) {
  static_assert(detail::kVecSize<V> == 2 || detail::kVecSize<V> == 3, "cross is for two and three components");
  const detail::vec_arg_t<V> x(static_cast<V&&>(a), at);
  const auto minor = [&](int i, int j) {
    return detail::apply(Opcode::sub, detail::apply(Opcode::mul, x.id[i], b.id[j], at), detail::apply(Opcode::mul, x.id[j], b.id[i], at),
                         at);
  };
  if constexpr (detail::kVecSize<V> == 2) return detail::vec_scalar_t<V>(detail::Raw{minor(0, 1)}, at);
  else return detail::vec_t<V>(detail::Ids<3>{{minor(1, 2), minor(2, 0), minor(0, 1)}, at});
}
template <detail::CapturedVec V> detail::vec_t<V> select(Arg<bool> c, V&& a, detail::vec_arg_t<V> b) {
  const detail::vec_arg_t<V> x(static_cast<V&&>(a), c.loc);
  detail::Ids<detail::kVecSize<V>> r{{}, c.loc};
  for (int k = 0; k < detail::kVecSize<V>; ++k) r.id[k] = detail::apply(Opcode::select, c.id, x.id[k], b.id[k], c.loc);
  return detail::vec_t<V>(r);
}
template <detail::CapturedVec V>
detail::vec_t<V> lerp(V&& a, detail::vec_arg_t<V> b, Arg<detail::vec_element_t<V>> t, Loc at = Loc::here()) {
  const detail::vec_arg_t<V> x(static_cast<V&&>(a), at);
  const auto way = detail::zip(Opcode::mul, detail::splat<detail::kVecSize<V>>(t.id, at), detail::zip(Opcode::sub, b, x));
  return detail::vec_t<V>(detail::zip(Opcode::add, x, way));
}

/// The point's indices in a launch over N axes, slowest first: auto [i, j] = fx::index<2>().
template <int N> Vec<Int, N> index(Loc at = Loc::here()) {
  static_assert(N == 2 || N == 3, "launches have one to three axes; for one, fx::index()");
  detail::Ids<N> v{{}, at};
  for (int k = 0; k < N; ++k) v.id[k] = detail::index_value(k, N, at);
  return Vec<Int, N>(v);
}

template <class T, int N> using vec = Vec<T, N>;
using float2 = Vec<float, 2>;
using float3 = Vec<float, 3>;
using float4 = Vec<float, 4>;
using double2 = Vec<double, 2>;
using double3 = Vec<double, 3>;
using double4 = Vec<double, 4>;
using int2 = Vec<std::int32_t, 2>;
using int3 = Vec<std::int32_t, 3>;
using int4 = Vec<std::int32_t, 4>;
using uint2 = Vec<std::uint32_t, 2>;
using uint4 = Vec<std::uint32_t, 4>;
using Float2 = Vec<Float, 2>;
using Float3 = Vec<Float, 3>;
using Float4 = Vec<Float, 4>;
using Double2 = Vec<Double, 2>;
using Double3 = Vec<Double, 3>;
using Double4 = Vec<Double, 4>;
using Int2 = Vec<Int, 2>;
using Int3 = Vec<Int, 3>;
using Int4 = Vec<Int, 4>;
using UInt2 = Vec<UInt, 2>;
using UInt4 = Vec<UInt, 4>;

}  // namespace fluxion
