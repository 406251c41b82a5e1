// Small equations inside kernels and functions, with derivatives by the implicit function theorem instead of through the
// steps of the solver: solve(A, b) for linear systems, root(f, x0, p...) for f(x, p...) = 0.
#pragma once
#include "fluxion/rule.h"

namespace fluxion {
namespace detail {

/// Gaussian elimination with partial pivoting, unrolled.
template <class T, int N> Vec<Var<T>, N> eliminate(Mat<Var<T>, N, N> a, Vec<Var<T>, N> b) {
  const auto exchange = [](const Bool& c, Var<T>& x, Var<T>& y) {
    Var<T> first = select(c, y, x), second = select(c, x, y);
    x = first;
    y = second;
  };
  for (int k = 0; k < N; ++k) {
    for (int r = k + 1; r < N; ++r) {
      const Bool larger = abs(a(r, k)) > abs(a(k, k));
      for (int c = k; c < N; ++c) exchange(larger, a(k, c), a(r, c));
      exchange(larger, b[k], b[r]);
    }
    for (int r = k + 1; r < N; ++r) {
      Var<T> factor = a(r, k) / a(k, k);
      for (int c = k + 1; c < N; ++c) a(r, c) -= factor * a(k, c);
      b[r] -= factor * b[k];
    }
  }
  Vec<Var<T>, N> x;
  for (int k = N - 1; k >= 0; --k) {
    Var<T> rest = b[k];
    for (int c = k + 1; c < N; ++c) rest -= a(k, c) * x[c];
    x[k] = rest / a(k, k);
  }
  return x;
}

template <class T, int N> auto make_solver() {
  using M = Mat<Var<T>, N, N>;
  using V = Vec<Var<T>, N>;
  const auto raw = fn("solve", [](M a, V b) { return eliminate<T, N>(a, b); });
  return rule(raw)
      .vjp([raw](M a, V b, V w) {
        V x = raw(a, b);
        M t;
        for (int i = 0; i < N; ++i)
          for (int j = 0; j < N; ++j) t(i, j) = a(j, i);
        V l = raw(t, w);
        M g;
        for (int i = 0; i < N; ++i)
          for (int j = 0; j < N; ++j) g(i, j) = -(l[i] * x[j]);
        return Tuple<M, V>(g, l);
      })
      .jvp([raw](M a, V b, M da, V db) {
        V x = raw(a, b);
        for (int i = 0; i < N; ++i)
          for (int j = 0; j < N; ++j) db[i] -= da(i, j) * x[j];
        return Tuple<V, V>(x, raw(a, db));
      });
}

template <class T> struct Unknowns;
template <class T> struct Unknowns<Var<T>> {
  static constexpr int kCount = 1;
  using Scalar = T;
  static Var<T>& at(Var<T>& x, int) { return x; }
};
template <class T, int N> struct Unknowns<Vec<Var<T>, N>> {
  static constexpr int kCount = N;
  using Scalar = T;
  static Var<T>& at(Vec<Var<T>, N>& x, int k) { return x[k]; }
};

/// The Jacobian of f in x, from rows: vjp(f, wrt<0>) with unit cotangents. `row(w)` gives w^T J.
template <class X, class Row> auto jacobian_of(const Row& row) {
  using U = Unknowns<X>;
  constexpr int n = U::kCount;
  if constexpr (n == 1) {
    return row(X(typename U::Scalar(1)));
  } else {
    Mat<Var<typename U::Scalar>, n, n> j;
    for (int i = 0; i < n; ++i) {
      X unit;
      for (int k = 0; k < n; ++k) U::at(unit, k) = k == i ? 1.0f : 0.0f;
      X r = row(unit);
      for (int k = 0; k < n; ++k) j(i, k) = U::at(r, k);
    }
    return j;
  }
}
/// J y = b, or its transpose.
template <class X, class M> X solve_for(const M& j, X b, bool transposed) {
  using U = Unknowns<X>;
  constexpr int n = U::kCount;
  if constexpr (n == 1) {
    return b / j;
  } else {
    M m;
    for (int i = 0; i < n; ++i)
      for (int k = 0; k < n; ++k) m(i, k) = transposed ? j(k, i) : j(i, k);
    return eliminate<typename U::Scalar, n>(m, b);
  }
}
template <class T> T& first_of(T& g) { return g; }
template <class T, class... Rest> T& first_of(Tuple<T, Rest...>& g) { return g.head; }

/// Where a search starts; notes the user's line.
template <class X> struct RootStart {
  X value;
  Loc at;
  template <class A>
    requires std::is_convertible_v<const A&, X>
  RootStart(const A& value, Loc at = Loc::here()) : value(value), at(at) {}
};

template <class X, class... P> auto make_root(const Fn<X(X, P...)>& f) {
  using U = Unknowns<X>;
  using T = typename U::Scalar;
  constexpr int n = U::kCount;
  static constexpr int kSteps = 60;
  static constexpr T kNear = sizeof(T) == 8 ? T(1e-9) : T(1e-4);  // one more step from here is as good as the type
  const auto df = fluxion::vjp(f, wrt<0>);
  const auto step = [f, df](X x, P... p) {
    const auto j = jacobian_of<X>([&](X w) { return df(x, p..., w); });
    return solve_for<X>(j, f(x, p...), false);
  };
  const auto newton = fn("root", [step](X x0, P... p) {
    X x = x0;
    Var<T> change = T(1);
    Int steps = 0;
    for ([[maybe_unused]] auto s : while_([&] { return change > kNear && steps < kSteps; })) {
      X d = step(x, p...);
      change = T(0);
      for (int k = 0; k < n; ++k) {
        U::at(x, k) -= U::at(d, k);
        change += abs(U::at(d, k)) / (T(1) + abs(U::at(x, k)));  // a sum, since max would lose a NaN
      }
      steps += 1;
    }
    check(change <= kNear, "root: no convergence, the last step was {} of x; start closer, or scale the equations", change);
    X d = step(x, p...);
    for (int k = 0; k < n; ++k) U::at(x, k) -= U::at(d, k);
    return x;
  });
  const auto g = fluxion::vjp(f);
  // The root is an argument of its own rule: who differentiates that again comes back to the rule through it.
  return rule(newton).vjp([g, df](X, P... p, X x, X w) {
    const auto j = jacobian_of<X>([&](X u) { return df(x, p..., u); });
    X l = solve_for<X>(j, w, true);
    for (int k = 0; k < n; ++k) U::at(l, k) = -U::at(l, k);
    auto out = g(x, p..., l);
    for (int k = 0; k < n; ++k) U::at(first_of(out), k) = T(0);  // where the search starts does not matter
    return out;
  });
}

}  // namespace detail

/// x with a x = b, for small systems inside kernels and functions: elimination with partial pivoting.
/// Shapes   a: N x N, b: N; unrolled, so N up to about 8
/// Differentiable  in a and b, any order: the reverse is one solve with the transpose
/// Cost     about N^3 / 3 multiplications
template <class T, int N> Vec<Var<T>, N> solve(const Mat<Var<T>, N, N>& a, const Vec<Var<T>, N>& b) {
  static const auto solver = detail::make_solver<T, N>();
  return solver(a, b);
}

/// x with f(x, p...) = 0, by Newton's method from x0. `f` is an fx::fn of an unknown (a Float, a Double or a Vec of those, and as
/// many equations) and of parameters.
/// Differentiable  in p..., any order, by the implicit function theorem; in x0 the derivative is 0
/// Throws   KernelError when 60 steps do not converge
/// Cost     of a step: f and its Jacobian; of a derivative: a Jacobian and a solve with the transpose
template <class X, class... P>
X root(const Fn<X(X, P...)>& f, const std::type_identity_t<detail::RootStart<X>>& x0, const std::type_identity_t<P>&... p) {
  const detail::At here(x0.at);
  return detail::make_root<X, P...>(f)(x0.value, p...);
}

}  // namespace fluxion
