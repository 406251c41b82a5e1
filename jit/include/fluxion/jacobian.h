// Derivatives of more than one direction: several tangents at once, Jacobians, Hessians, Hessian-vector products.
//
//   fx::jvp<4>(k)       the parameters of kernel k, then four tangents of each float one: arrays with a leading axis of 4
//   fx::jacobian(f)     a function of a Vec<M> that gives a Vec<R> becomes one that gives a Mat<R, M>
//   fx::hessian(f)      a function of a Vec<M> that gives a number becomes one that gives a Mat<M, M>
//   fx::hvp(f)          (x, v) -> the Hessian at x times v
#pragma once
#include "fluxion/differentiate.h"
#include "fluxion/mat.h"

namespace fluxion {
namespace detail {

/// N tangents of a parameter or result.
template <class P, int N> struct ManyOf {
  static_assert(kNever<P>,
                "several tangents at once are for arrays, scalars and vectors; pass the members of a matrix or struct one by one");
};
template <class T, int N> struct ManyOf<Var<T>, N> {
  using type = Vec<Var<T>, N>;
};
template <class T, int M, int N> struct ManyOf<Vec<Var<T>, M>, N> {
  using type = Mat<Var<T>, M, N>;
};
template <class T, int R, int N> struct ManyOf<In<T, R>, N> {
  using type = In<T, R + 1>;
};
template <class T, int R, int N> struct ManyOf<Out<T, R>, N> {
  using type = Out<T, R + 1>;
};
template <class T, int R, int N> struct ManyOf<InOut<T, R>, N> {
  using type = InOut<T, R + 1>;
};
template <class T, int R, int N> struct ManyOf<Accum<T, R>, N> {
  using type = Accum<T, R + 1>;
};
template <class L, int N> struct ManyList;
template <class... P, int N> struct ManyList<TypeList<P...>, N> {
  using type = TypeList<typename ManyOf<P, N>::type...>;
};

/// How many numbers a value is, and of which type.
template <class V> struct NumbersOf;
template <class T> struct NumbersOf<Var<T>> {
  using Scalar = T;
  static constexpr int kCount = 1;
};
template <class T, int M> struct NumbersOf<Vec<Var<T>, M>> {
  using Scalar = T;
  static constexpr int kCount = M;
};
template <class T, int R, int M> struct JacobianOf {
  using type = Mat<Var<T>, R, M>;
};
template <class T, int M> struct JacobianOf<T, 1, M> {
  using type = Vec<Var<T>, M>;
};
template <class T, int R> struct JacobianOf<T, R, 1> {
  using type = Vec<Var<T>, R>;
};
template <class T> struct JacobianOf<T, 1, 1> {
  using type = Var<T>;
};

}  // namespace detail

/// The forward-mode derivative of `k` with N tangents at once: its parameters, then N tangents per float parameter.
/// Shapes   a tangent array has a leading axis of N, a scalar's tangents are a Vec<N>, those of a Vec<M> a Mat<M, N>
/// Throws   KernelError, with the line, for arrays of three axes and what cannot be differentiated
/// Cost     `k` once, and about once more for each tangent
template <int N, class... P>
auto jvp(const Kernel<P...>& k) {
  static_assert(N >= 1, "at least one tangent");
  using Tangents = typename detail::ManyList<detail::Concat<typename detail::Differential<P>::Tangent...>, N>::type;
  return typename detail::KernelOf<detail::Concat<TypeList<P...>, Tangents>>::type(k.handle().jvp(N));
}
/// (x..., N tangents of each) -> (f(x), N tangents of it).
template <int N, class R, class... A>
auto jvp(const Fn<R(A...)>& f) {
  static_assert(N >= 1, "at least one tangent");
  using Results = detail::Concat<TypeList<R>, typename detail::ManyList<detail::adjoint_list<R>, N>::type>;
  using Tangents = typename detail::ManyList<detail::Concat<detail::adjoint_list<A>...>, N>::type;
  return detail::FnWith<Results, detail::Concat<TypeList<A...>, Tangents>>(detail::fn_jvp(f.function(), N));
}

/// x -> d f_i / d x_j, for a function of one number or Vec that gives one number or Vec.
/// Shapes   Mat<R, M> for Vec<M> -> Vec<R>; Vec<M> for Vec<M> -> a number; Vec<R> for a number -> Vec<R>
/// Cost     min(R, M) sweeps that share the primal work; forward or reverse, whichever needs fewer
template <class R, class A>
auto jacobian(const Fn<R(A)>& f) {
  using X = detail::NumbersOf<A>;
  using Y = detail::NumbersOf<R>;
  using J = typename detail::JacobianOf<detail::adjoint_t<typename X::Scalar>, Y::kCount, X::kCount>::type;
  return typename detail::FnOf<J, TypeList<A>>::type(detail::fn_jacobian(f.function()));
}
/// x -> the matrix of second derivatives of a function of one number or Vec that gives one number.
template <class T, class A>
auto hessian(const Fn<Var<T>(A)>& f) {
  return jacobian(grad(f));
}
/// (x..., v...) -> the Hessian of `f` at x times v: forward over reverse.
/// Cost     about twice that of the gradient, whatever the size of x
template <class T, class... A>
auto hvp(const Fn<Var<T>(A...)>& f) {
  using V = detail::Concat<detail::adjoint_list<A>...>;
  return detail::FnWith<V, detail::Concat<TypeList<A...>, V>>(detail::fn_hvp(f.function()));
}

}  // namespace fluxion
