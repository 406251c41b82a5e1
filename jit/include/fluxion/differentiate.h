// Typed differentiation: kernels to kernels, device functions to device functions. The parameter types of the
// result follow from the roles and `wrt` alone; ad.h has the order, docs/autodiff.md the meaning.
//
//   fx::vjp(k)                     (primals, cotangents, gradients of every float In and scalar)
//   fx::vjp(k, fx::wrt<0, 2>)      gradients of parameters 0 and 2 only
//   fx::jvp(k)                     (k's parameters, a tangent per float parameter)
#pragma once
#include <utility>

#include "fluxion/kernel.h"

namespace fluxion {

namespace detail {
template <int... I> consteval bool ascending() {
  int last = -1;
  bool ok = true;
  ((ok = ok && I > last, last = I), ...);
  return ok;
}
}  // namespace detail

template <int... I> struct WithRespectTo {
  static_assert(detail::ascending<I...>(),
                "fx::wrt<...> names each parameter once, in the order of the parameters, which is the order of the gradients");
};
/// The parameters to differentiate with respect to, as the lambda of the kernel or function numbers them; ascending.
template <int... I> inline constexpr WithRespectTo<I...> wrt{};

namespace detail {

template <class... L> struct ConcatOf {
  using type = TypeList<>;
};
template <class... A> struct ConcatOf<TypeList<A...>> {
  using type = TypeList<A...>;
};
template <class... A, class... B, class... Rest>
struct ConcatOf<TypeList<A...>, TypeList<B...>, Rest...> : ConcatOf<TypeList<A..., B...>, Rest...> {};
template <class... L> using Concat = typename ConcatOf<L...>::type;

/// Whether a host type has a leaf of floating point type: then arrays of it have adjoints.
template <class T> struct HasFloat : std::true_type {};
template <Scalar T> struct HasFloat<T> : std::bool_constant<is_float(dtype_of<T>)> {};
template <template <class, int...> class V, class E, int... N> struct HasFloat<V<E, N...>> : HasFloat<E> {};
template <class... H> struct HasFloat<Tuple<H...>> : std::bool_constant<(HasFloat<H>::value || ...)> {};
template <PlainAggregate P> struct HasFloat<P> : HasFloat<host_t<values_of<P>>> {};
template <class T> struct FloatMark {
  char bytes[is_float(dtype_of<T>) ? 2 : 1];
};
template <template <template <class> class> class S>
struct HasFloat<S<Host>> : std::bool_constant<sizeof(S<FloatMark>) != static_cast<std::size_t>(kHandles<S<Var>>)> {};
template <class T> constexpr bool has_float_leaf() { return HasFloat<T>::value; }

template <class T> struct AdjointOf {
  using type = T;
};
template <> struct AdjointOf<half> {
  using type = float;
};
template <> struct AdjointOf<bfloat16> {
  using type = float;
};
template <class T> using adjoint_t = typename AdjointOf<T>::type;

template <bool Keep, class T> using ListIf = std::conditional_t<Keep, TypeList<T>, TypeList<>>;

/// What a parameter of k contributes to vjp(k) and jvp(k).
template <class P> struct Differential;
template <class P, int... K> TypeList<std::conditional_t<K >= 0, P, void>...> repeated(std::integer_sequence<int, K...>);
/// A vector, matrix or struct: a scalar parameter for each leaf, hence a gradient for each.
template <CapturedValue P> struct Differential<P> {
  using H = host_t<P>;
  static constexpr bool kFloat = has_float_leaf<H>(), kGradient = kFloat;
  static_assert(
      !kFloat || requires { typename LeafOfType<H>::type; },
      "a struct passed by value has no derivative; pass its members, or an In of it");
  template <class T> static auto gradients() -> decltype(repeated<Accum<adjoint_t<T>, 1>>(std::make_integer_sequence<int, kHandles<P>>()));
  static auto gradient() {
    if constexpr (kFloat) return decltype(gradients<LeafOf<H>>()){};
    else return TypeList<>{};
  }
  using Primal = TypeList<P>;
  using Cotangent = TypeList<>;
  using Gradient = decltype(gradient());
  using Tangent = ListIf<kFloat, P>;
};
template <class T> struct Differential<Var<T>> {
  static constexpr bool kFloat = is_float(dtype_of<T>), kGradient = kFloat;
  using Primal = TypeList<Var<T>>;
  using Cotangent = TypeList<>;
  using Gradient = ListIf<kFloat, Accum<adjoint_t<T>, 1>>;
  using Tangent = ListIf<kFloat, Var<adjoint_t<T>>>;
};
template <class T, int N> struct Differential<In<T, N>> {
  static constexpr bool kFloat = has_float_leaf<T>(), kGradient = kFloat;
  using Primal = TypeList<In<T, N>>;
  using Cotangent = TypeList<>;
  using Gradient = ListIf<kFloat, Accum<adjoint_t<T>, N>>;
  using Tangent = ListIf<kFloat, In<adjoint_t<T>, N>>;
};
template <class T, int N> struct Differential<Out<T, N>> {
  static constexpr bool kFloat = has_float_leaf<T>(), kGradient = false;
  using Primal = TypeList<>;
  using Cotangent = ListIf<kFloat, In<adjoint_t<T>, N>>;
  using Gradient = TypeList<>;
  using Tangent = ListIf<kFloat, Out<adjoint_t<T>, N>>;
};
template <class T, int N> struct Differential<InOut<T, N>> {
  static constexpr bool kFloat = has_float_leaf<T>(), kGradient = false;
  using Primal = TypeList<In<T, N>>;
  using Cotangent = ListIf<kFloat, InOut<adjoint_t<T>, N>>;
  using Gradient = TypeList<>;
  using Tangent = ListIf<kFloat, InOut<adjoint_t<T>, N>>;
};
template <class T, int N> struct Differential<Accum<T, N>> {
  static constexpr bool kFloat = has_float_leaf<T>(), kGradient = false;
  using Primal = TypeList<>;
  using Cotangent = ListIf<kFloat, In<adjoint_t<T>, N>>;
  using Gradient = TypeList<>;
  using Tangent = ListIf<kFloat, Accum<adjoint_t<T>, N>>;
};

template <int Position, class Gradient, int... I>
using GradientIf = std::conditional_t<sizeof...(I) == 0 || ((Position == I) || ...), Gradient, TypeList<>>;

template <class P, class Positions, int... I> struct VjpParameters;
template <class... P, int... K, int... I>
struct VjpParameters<TypeList<P...>, std::integer_sequence<int, K...>, I...> {
  static constexpr bool wanted(int k) {
    constexpr bool kCan[] = {Differential<P>::kGradient..., false};
    return k >= 0 && k < static_cast<int>(sizeof...(P)) && kCan[k];
  }
  static_assert((wanted(I) && ...), "wrt<...>: each number names an In or scalar parameter of floating point type");
  using type = Concat<typename Differential<P>::Primal..., typename Differential<P>::Cotangent...,
                      GradientIf<K, typename Differential<P>::Gradient, I...>...>;
};
/// Positions of typed parameters as positions of the Function's, where parameter k is count[k] scalars.
template <int... I> std::vector<int> leaf_positions(const int* count, WithRespectTo<I...>) {
  std::vector<int> out;
  for (const int i : std::initializer_list<int>{I...}) {
    int first = 0;
    for (int k = 0; k < i; ++k) first += count[k];
    for (int k = 0; k < count[i]; ++k) out.push_back(first + k);
  }
  return out;
}
template <class... P, int... I> std::vector<int> positions(WithRespectTo<I...> w) {
  constexpr int kCount[] = {ArgumentOf<P>::kCount..., 0};
  return leaf_positions(kCount, w);
}

}  // namespace detail

/// The reverse-mode derivative of `k`: primals (Out and Accum dropped, InOut as In: the old version), a cotangent
/// per float Out (In), InOut (InOut: on return that of the old version) and Accum (In), then a gradient (Accum)
/// per float In and scalar of `wrt`.
/// Shapes   a cotangent or gradient has the shape of the array it belongs to, of a scalar one element; of f16 and bf16
///          it is f32
/// Adds     gradients are added to what their arrays hold; what `k` writes is not written
/// Throws   KernelError, with the line, for what cannot be differentiated
/// Cost     about two to four times `k` in time; loops keep what they cannot compute again, for each thread
/// Source   Griewank & Walther, Evaluating Derivatives, 2008; docs/autodiff.md has the rules
template <class... P, int... I>
auto vjp(const Kernel<P...>& k, WithRespectTo<I...> w = {}) {
  static_assert((detail::Differential<P>::kFloat || ...),
                "no parameter of this kernel is floating point: there is nothing to differentiate");
  using V = detail::VjpParameters<TypeList<P...>, std::make_integer_sequence<int, static_cast<int>(sizeof...(P))>, I...>;
  return typename detail::KernelOf<typename V::type>::type(k.handle().vjp(detail::positions<P...>(w)));
}

/// The forward-mode derivative of `k`: its parameters, then a tangent per float parameter, with the same role.
/// Shapes   a tangent has the shape of its parameter
/// Throws   KernelError, with the line, for what cannot be differentiated
/// Cost     about twice `k` in time; keeps nothing
template <class... P>
auto jvp(const Kernel<P...>& k) {
  static_assert((detail::Differential<P>::kFloat || ...),
                "no parameter of this kernel is floating point: there is nothing to differentiate");
  using T = detail::Concat<TypeList<P...>, typename detail::Differential<P>::Tangent...>;
  return typename detail::KernelOf<T>::type(k.handle().jvp());
}

// ---- device functions

namespace detail {

/// The adjoint or tangent of a value: of the same kind; none where nothing is floating point.
template <class V> struct AdjointValue {
  using H = host_t<V>;
  static constexpr bool kFloat = has_float_leaf<H>();
  using List = ListIf<kFloat, V>;
};
template <class T> struct AdjointValue<Var<T>> {
  static constexpr bool kFloat = is_float(dtype_of<T>);
  using List = ListIf<kFloat, Var<adjoint_t<T>>>;
};
template <class V> using adjoint_list = typename AdjointValue<V>::List;
template <class... V> struct AdjointValue<Tuple<V...>> {
  static constexpr bool kFloat = (AdjointValue<V>::kFloat || ...);
  template <class L> struct Pack;
  template <class... W> struct Pack<TypeList<W...>> {
    using type = Tuple<W...>;
  };
  using List = TypeList<typename Pack<Concat<adjoint_list<V>...>>::type>;
};

/// The result type for a list of results. No specialisation for none: a function of integers has no gradient.
template <class L> struct ResultOf;
template <class V> struct ResultOf<TypeList<V>> {
  using type = V;
};
template <class V, class W, class... Rest> struct ResultOf<TypeList<V, W, Rest...>> {
  using type = Tuple<V, W, Rest...>;
};
template <class L, class A> using FnWith = typename FnOf<typename ResultOf<L>::type, A>::type;

template <class A, class Positions, int... I> struct Gradients;
template <class... A, int... K, int... I>
struct Gradients<TypeList<A...>, std::integer_sequence<int, K...>, I...> {
  static constexpr bool wanted(int k) {
    constexpr bool kCan[] = {AdjointValue<A>::kFloat..., false};
    return k >= 0 && k < static_cast<int>(sizeof...(A)) && kCan[k];
  }
  static_assert((wanted(I) && ...), "wrt<...>: each number names a parameter of floating point type");
  using List = Concat<GradientIf<K, adjoint_list<A>, I...>...>;
};
template <class A, int... I> using gradients_t = typename Gradients<A, std::make_integer_sequence<int, A::kSize>, I...>::List;

using FunctionPointer = std::shared_ptr<const Function>;
FLUXION_API FunctionPointer fn_jvp(const FunctionPointer& f);
FLUXION_API FunctionPointer fn_jvp(const FunctionPointer& f, int n);
FLUXION_API FunctionPointer fn_jacobian(const FunctionPointer& f);
FLUXION_API FunctionPointer fn_hvp(const FunctionPointer& f);
FLUXION_API FunctionPointer fn_vjp(const FunctionPointer& f, const std::vector<int>& wrt);
FLUXION_API FunctionPointer fn_grad(const FunctionPointer& f, const std::vector<int>& wrt);
FLUXION_API FunctionPointer fn_value_and_grad(const FunctionPointer& f, const std::vector<int>& wrt);

template <class... A, int... I> std::vector<int> value_positions(TypeList<A...>, WithRespectTo<I...> w) {
  constexpr int kCount[] = {kHandles<A>..., 0};
  return leaf_positions(kCount, w);
}

}  // namespace detail

/// (x..., dx...) -> (f(x), its change along dx). With one result and one parameter: (x, dx) -> (y, dy).
template <class R, class... A> auto jvp(const Fn<R(A...)>& f) {
  using L = detail::Concat<TypeList<R>, detail::adjoint_list<R>>;
  return detail::FnWith<L, detail::Concat<TypeList<A...>, detail::adjoint_list<A>...>>(detail::fn_jvp(f.function()));
}
/// (x..., the cotangent of f(x)) -> the gradient of each parameter in `w`; several come as a Tuple.
template <class R, class... A, int... I> auto vjp(const Fn<R(A...)>& f, WithRespectTo<I...> w = {}) {
  using L = detail::gradients_t<TypeList<A...>, I...>;
  return detail::FnWith<L, detail::Concat<TypeList<A...>, detail::adjoint_list<R>>>(
      detail::fn_vjp(f.function(), detail::value_positions(TypeList<A...>{}, w)));
}
/// x... -> the gradient of the one number f(x) with respect to each parameter in `w`; several come as a Tuple.
/// Shapes   a gradient is of the type of its parameter: of a Mat a Mat
/// Throws   KernelError, with the line, for what cannot be differentiated
/// Cost     two to four times `f`
template <class T, class... A, int... I> auto grad(const Fn<Var<T>(A...)>& f, WithRespectTo<I...> w = {}) {
  using L = detail::gradients_t<TypeList<A...>, I...>;
  return detail::FnWith<L, TypeList<A...>>(detail::fn_grad(f.function(), detail::value_positions(TypeList<A...>{}, w)));
}
/// A kernel has no value: fx::vjp(kernel), or fx::grad of an fx::fn.
template <class... P, int... I> void grad(const Kernel<P...>&, WithRespectTo<I...> = {}) {
  static_assert(sizeof...(P) == ~0u,
                "a kernel has no one value to take the gradient of: use fx::vjp(kernel), fx::grad of an fx::fn, or fx::value_and_grad of "
                "an fx::program");
}
/// x... -> (f(x), gradient...).
template <class T, class... A, int... I> auto value_and_grad(const Fn<Var<T>(A...)>& f, WithRespectTo<I...> w = {}) {
  using L = detail::Concat<TypeList<Var<T>>, detail::gradients_t<TypeList<A...>, I...>>;
  return detail::FnWith<L, TypeList<A...>>(detail::fn_value_and_grad(f.function(), detail::value_positions(TypeList<A...>{}, w)));
}

}  // namespace fluxion
