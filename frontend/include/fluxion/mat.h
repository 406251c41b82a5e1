// Mat<E, R, C>: small matrices, row-major. Mat<float, 2, 2> is plain data, Mat<Float, 2, 2> (Mat2) its value in a
// kernel. a * b is the matrix product, of matrices and of a matrix and a vector; mul(a, b) is componentwise.
#pragma once
#include "fluxion/structs.h"
#include "fluxion/vec.h"

namespace fluxion {

/// Plain data: what lies in memory.
template <class E, int R, int C>
struct Mat {
  E e[R * C];
  constexpr E& operator()(int i, int j) { return e[i * C + j]; }
  constexpr const E& operator()(int i, int j) const { return e[i * C + j]; }
};
template <Scalar T, int R, int C> constexpr bool operator==(const Mat<T, R, C>& a, const Mat<T, R, C>& b) {
  for (int k = 0; k < R * C; ++k)
    if (!(a.e[k] == b.e[k])) return false;
  return true;
}

template <class T, int R, int C>
struct MatArg : detail::Ids<R * C> {
  MatArg(const Mat<Var<T>, R, C>& m, Loc at = Loc::here()) {
    take([&](int k) { return Arg<T>(m.e[k], at).id; }, at);
  }
  MatArg(Mat<Ref<T>, R, C>&& m, Loc at = Loc::here()) {
    take([&](int k) { return Arg<T>(Ref<T>(m.e[k]), at).id; }, at);
  }
  MatArg(const Mat<T, R, C>& m, Loc at = Loc::here()) {
    take([&](int k) { return detail::literal<T>(m.e[k], at); }, at);
  }
  MatArg(const detail::Ids<R * C>& ids) : detail::Ids<R * C>(ids) {}

 private:
  template <class F> void take(const F& f, Loc at) {
    this->loc = at;
    for (int k = 0; k < R * C; ++k) this->id[k] = f(k);
  }
};

namespace detail {
template <class T, int R, int K, int C> Ids<R * C> product(const MatArg<T, R, K>& a, const MatArg<T, K, C>& b) {
  Ids<R * C> r{{}, a.loc};
  for (int i = 0; i < R; ++i)
    for (int j = 0; j < C; ++j) r.id[i * C + j] = inner(a.id + i * K, 1, b.id + j, C, K, a.loc);
  return r;
}
template <class T, int R, int C>
struct MatOperators {
  using M = Mat<Var<T>, R, C>;
  using A = MatArg<T, R, C>;
  using S = Arg<T>;
  static constexpr int kSize = R * C;
  friend M operator-(A a) { return M(map(Opcode::neg, a)); }
  friend M operator+(A a, A b) { return M(zip(Opcode::add, a, b)); }
  friend M operator-(A a, A b) { return M(zip(Opcode::sub, a, b)); }
  friend M operator*(A a, S b) { return M(zip(Opcode::mul, a, splat<kSize>(b.id, a.loc))); }
  friend M operator*(S a, A b) { return M(zip(Opcode::mul, splat<kSize>(a.id, a.loc), b)); }
  friend M operator/(A a, S b) { return M(zip(Opcode::div, a, splat<kSize>(b.id, a.loc))); }
  friend Mat<Var<T>, R, 2> operator*(A a, MatArg<T, C, 2> b) { return Mat<Var<T>, R, 2>(product<T, R, C, 2>(a, b)); }
  friend Mat<Var<T>, R, 3> operator*(A a, MatArg<T, C, 3> b) { return Mat<Var<T>, R, 3>(product<T, R, C, 3>(a, b)); }
  friend Mat<Var<T>, R, 4> operator*(A a, MatArg<T, C, 4> b) { return Mat<Var<T>, R, 4>(product<T, R, C, 4>(a, b)); }
  friend Vec<Var<T>, R> operator*(A a, VecArg<T, C> v) {
    Ids<R> r{{}, a.loc};
    for (int i = 0; i < R; ++i) r.id[i] = inner(a.id + i * C, 1, v.id, 1, C, a.loc);
    return Vec<Var<T>, R>(r);
  }
};
}  // namespace detail

/// A matrix inside a kernel.
template <class T, int R, int C>
struct [[maybe_unused]] Mat<Var<T>, R, C> : detail::MatOperators<T, R, C> {
  static_assert(std::is_same_v<T, detail::compute_t<T>>, "matrices of half precision are for memory only");
  using A = MatArg<T, R, C>;
  Var<T> e[R * C];

  Mat(detail::Here at = Loc::here()) : Mat(detail::Generate(), [&](int) { return Var<T>(at.loc); }) {}
  Mat(const Mat& o, Loc at = Loc::here()) : Mat(detail::Generate(), [&](int k) { return Var<T>(o.e[k], at); }) {}
  Mat(Mat<Ref<T>, R, C>&& m, Loc at = Loc::here()) : Mat(A(std::move(m), at)) {}
  Mat(const Mat<T, R, C>& m, Loc at = Loc::here()) : Mat(A(m, at)) {}
  explicit Mat(const detail::Ids<R * C>& v) : Mat(detail::Generate(), [&](int k) { return Var<T>(detail::Raw{v.id[k]}, v.loc); }) {}
  template <class G> Mat(detail::Generate, const G& g) : Mat(g, std::make_integer_sequence<int, R * C>()) {}
  // Row by row.
  Mat(Arg<T> a, Arg<T> b, Arg<T> c, Arg<T> d)
    requires(R* C == 4)
      : Mat(detail::Ids<4>{{a.id, b.id, c.id, d.id}, a.loc}) {}
  Mat(Arg<T> a, Arg<T> b, Arg<T> c, Arg<T> d, Arg<T> x, Arg<T> f, Arg<T> g, Arg<T> h, Arg<T> i)
    requires(R* C == 9)
      : Mat(detail::Ids<9>{{a.id, b.id, c.id, d.id, x.id, f.id, g.id, h.id, i.id}, a.loc}) {}

  static Mat zero(Loc at = Loc::here()) { return Mat(detail::splat<R * C>(detail::literal<T>(T(0), at), at)); }
  static Mat identity(Loc at = Loc::here())
    requires(R == C)
  {
    return Mat(detail::Generate(), [&](int k) { return Var<T>(T(k / C == k % C), at); });
  }

  Mat& operator=(Mat o) & {
    for (int k = 0; k < R * C; ++k) detail::assign_from(e[k].handle(), o.e[k].handle());
    return *this;
  }
  Mat& operator+=(A b) & { return set(detail::zip(Opcode::add, A(*this, b.loc), b)); }
  Mat& operator-=(A b) & { return set(detail::zip(Opcode::sub, A(*this, b.loc), b)); }
  Mat& operator*=(Arg<T> b) & { return set(detail::zip(Opcode::mul, A(*this, b.loc), detail::splat<R * C>(b.id, b.loc))); }
  Var<T>& operator()(int i, int j) & { return e[i * C + j]; }
  const Var<T>& operator()(int i, int j) const& { return e[i * C + j]; }
  Var<T> operator()(int i, int j) && { return e[i * C + j]; }
  Vec<Var<T>, C> row(int i, Loc at = Loc::here()) const {
    return Vec<Var<T>, C>(pick<C>([&](int k) { return i * C + k; }, at));
  }
  Vec<Var<T>, R> col(int j, Loc at = Loc::here()) const {
    return Vec<Var<T>, R>(pick<R>([&](int k) { return k * C + j; }, at));
  }

 private:
  template <class G, int... K> Mat(const G& g, std::integer_sequence<int, K...>) : e{g(K)...} {}
  template <int N, class F> detail::Ids<N> pick(const F& which, Loc at) const {
    detail::Ids<N> r{{}, at};
    for (int k = 0; k < N; ++k) r.id[k] = Arg<T>(e[which(k)], at).id;
    return r;
  }
  Mat& set(const detail::Ids<R * C>& v) {
    for (int k = 0; k < R * C; ++k) detail::assign(e[k].handle(), v.id[k], v.loc);
    return *this;
  }
};

/// The place of a matrix in an array.
template <class T, int R, int C>
struct Mat<Ref<T>, R, C> : detail::MatOperators<T, R, C> {
  using A = MatArg<T, R, C>;
  Ref<T> e[R * C];
  Mat() = default;
  Mat(const Mat&) = default;
  void operator=(A v) && { set(v); }
  void operator=(Mat&& v) && { set(A(std::move(v), {})); }
  void operator+=(A v) && { set(detail::zip(Opcode::add, A(Mat(*this), v.loc), v)); }
  void operator-=(A v) && { set(detail::zip(Opcode::sub, A(Mat(*this), v.loc), v)); }
  Ref<T> operator()(int i, int j) && { return e[i * C + j]; }

 private:
  void set(const detail::Ids<R * C>& v) {
    for (int k = 0; k < R * C; ++k) detail::store(e[k].element_, e[k].leaf_, v.id[k], v.loc);
  }
};

namespace detail {
template <class T, int R, int C> struct HostOf<Mat<Var<T>, R, C>> {
  using type = Mat<T, R, C>;
};
template <Scalar T, int R, int C> struct Element<Mat<T, R, C>> {
  using Value = Mat<Var<T>, R, C>;
  using Place = Mat<Ref<T>, R, C>;
  static constexpr int kLeaves = R * C;
  static constexpr std::uint32_t kSize = sizeof(Mat<T, R, C>);
  static void leaves(LeafSpec* out) {
    for (int k = 0; k < kLeaves; ++k) out[k] = {dtype_of<T>, static_cast<std::uint32_t>(k * static_cast<int>(sizeof(T)))};
  }
  static Value get(std::uint32_t element, Loc at) {
    Ids<kLeaves> v{{}, at};
    for (int k = 0; k < kLeaves; ++k) v.id[k] = load(element, static_cast<std::uint32_t>(k), at);
    return Value(v);
  }
  static Place place(std::uint32_t element) {
    Place p;
    for (int k = 0; k < kLeaves; ++k) p.e[k].element_ = element, p.e[k].leaf_ = static_cast<std::uint32_t>(k);
    return p;
  }
};
}  // namespace detail

/// The matrix product.
template <class T, int R, int K, int C>
Mat<Var<T>, R, C> matmul(const Mat<Var<T>, R, K>& a, const Mat<Var<T>, K, C>& b, Loc at = Loc::here()) {
  return Mat<Var<T>, R, C>(detail::product<T, R, K, C>(MatArg<T, R, K>(a, at), MatArg<T, K, C>(b, at)));
}
template <class T, int R, int C> Mat<Var<T>, C, R> transpose(const Mat<Var<T>, R, C>& a, Loc at = Loc::here()) {
  return Mat<Var<T>, C, R>(detail::Generate(), [&](int k) { return Var<T>(a(k % R, k / R), at); });
}
/// The product component by component.
template <class T, int R, int C> Mat<Var<T>, R, C> mul(const Mat<Var<T>, R, C>& a, const Mat<Var<T>, R, C>& b, Loc at = Loc::here()) {
  return Mat<Var<T>, R, C>(detail::zip(Opcode::mul, MatArg<T, R, C>(a, at), MatArg<T, R, C>(b, at)));
}
template <class T, int N> Var<T> trace(const Mat<Var<T>, N, N>& a, Loc at = Loc::here()) {
  const detail::At here(at);
  Var<T> s = a(0, 0);
  for (int i = 1; i < N; ++i) s += a(i, i);
  return s;
}
template <class T> Var<T> det(const Mat<Var<T>, 2, 2>& a, Loc at = Loc::here()) {
  const detail::At here(at);
  return a(0, 0) * a(1, 1) - a(0, 1) * a(1, 0);
}
template <class T> Var<T> det(const Mat<Var<T>, 3, 3>& a, Loc at = Loc::here()) {
  const detail::At here(at);
  return a(0, 0) * (a(1, 1) * a(2, 2) - a(1, 2) * a(2, 1)) - a(0, 1) * (a(1, 0) * a(2, 2) - a(1, 2) * a(2, 0)) +
         a(0, 2) * (a(1, 0) * a(2, 1) - a(1, 1) * a(2, 0));
}
template <class T> Mat<Var<T>, 2, 2> inverse(const Mat<Var<T>, 2, 2>& a, Loc at = Loc::here()) {
  const detail::At here(at);
  const Var<T> s = T(1) / det(a, at);
  return {a(1, 1) * s, -a(0, 1) * s, -a(1, 0) * s, a(0, 0) * s};
}
template <class T> Mat<Var<T>, 3, 3> inverse(const Mat<Var<T>, 3, 3>& a, Loc at = Loc::here()) {
  const detail::At here(at);
  const Var<T> s = T(1) / det(a, at);
  // The transposed matrix of cofactors; indices modulo 3 supply the signs.
  return Mat<Var<T>, 3, 3>(detail::Generate(), [&](int k) {
    const int i = k % 3, j = k / 3, i1 = (i + 1) % 3, i2 = (i + 2) % 3, j1 = (j + 1) % 3, j2 = (j + 2) % 3;
    return (a(i1, j1) * a(i2, j2) - a(i1, j2) * a(i2, j1)) * s;
  });
}
/// The matrix of the products a_i b_j.
template <class T, int R, int C> Mat<Var<T>, R, C> outer(const Vec<Var<T>, R>& a, const Vec<Var<T>, C>& b, Loc at = Loc::here()) {
  const detail::At here(at);
  return Mat<Var<T>, R, C>(detail::Generate(), [&](int k) { return a.at(k / C) * b.at(k % C); });
}
/// The sum of the squares of the components.
template <class T, int R, int C> Var<T> norm2(const Mat<Var<T>, R, C>& a, Loc at = Loc::here()) {
  const MatArg<T, R, C> x(a, at);
  return {detail::Raw{detail::inner(x.id, 1, x.id, 1, R * C, at)}, at};
}
template <class T, int N> Mat<Var<T>, N, N> diagonal(const Vec<Var<T>, N>& d, Loc at = Loc::here()) {
  return Mat<Var<T>, N, N>(detail::Generate(), [&](int k) { return k / N == k % N ? Var<T>(d.at(k / N), at) : Var<T>(T(0), at); });
}

/// A = rotation * symmetric.
template <class T> struct Polar {
  Mat<Var<T>, 2, 2> rotation, symmetric;
};
/// The polar decomposition; needs a matrix that is no reflection (det >= 0) and not 0.
template <class T> Polar<T> polar(const Mat<Var<T>, 2, 2>& a, Loc at = Loc::here()) {
  const detail::At here(at);
  const Var<T> x = a(0, 0) + a(1, 1), y = a(1, 0) - a(0, 1), r = hypot(x, y, at);
  const Var<T> c = x / r, s = y / r;
  const Mat<Var<T>, 2, 2> rotation(c, -s, s, c);
  return {rotation, matmul(transpose(rotation, at), a, at)};
}

template <class T, int R, int C> using mat = Mat<T, R, C>;
using Mat2 = Mat<Float, 2, 2>;
using Mat3 = Mat<Float, 3, 3>;
using Mat2d = Mat<Double, 2, 2>;
using Mat3d = Mat<Double, 3, 3>;
using float2x2 = Mat<float, 2, 2>;
using float3x3 = Mat<float, 3, 3>;
using double2x2 = Mat<double, 2, 2>;
using double3x3 = Mat<double, 3, 3>;

}  // namespace fluxion
