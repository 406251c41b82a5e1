// A leading axis over which a kernel, program or function runs: a batch.
//
//   auto many = fx::vmap(k);                      // every parameter of kernel k gets a leading axis, a scalar becomes an array
//   auto many = fx::vmap(k, fx::unbatched<1>);    // all of the batch share parameter 1
//   many.over(batch, n)(x, w, y);
//   auto g = fx::vmap(fx::grad(f));               // a function becomes a kernel over arrays of its parameters and results
//
// Derivatives compose with it both ways: vmap(vjp(k)) and vjp(vmap(k)), in which what is shared gathers the gradients of all.
#pragma once
#include "fluxion/batch.h"
#include "fluxion/program.h"

namespace fluxion {

template <int... I> struct UnbatchedParameters {};
/// The parameters that all of a batch share, as the lambda of the kernel, function or program numbers them.
template <int... I> inline constexpr UnbatchedParameters<I...> unbatched{};

namespace detail {

template <int... S> constexpr bool is_batched(int k, UnbatchedParameters<S...>) { return !((k == S) || ...); }
template <int N> constexpr int one_more() {
  static_assert(N < 3, "vmap: an array of three axes has no room for the axis of the batch; share it with fx::unbatched");
  return N + 1;
}
template <class P> struct BatchedParameter {
  using type = In<host_t<P>, 1>;
};
template <class T, int N> struct BatchedParameter<In<T, N>> {
  using type = In<T, one_more<N>()>;
};
template <class T, int N> struct BatchedParameter<Out<T, N>> {
  using type = Out<T, one_more<N>()>;
};
template <class T, int N> struct BatchedParameter<InOut<T, N>> {
  using type = InOut<T, one_more<N>()>;
};
template <class T, int N> struct BatchedParameter<Accum<T, N>> {
  using type = Accum<T, one_more<N>()>;
};
template <class T, int N> struct BatchedParameter<Buffer<T, N>> {
  using type = Buffer<T, one_more<N>()>;
};
template <bool Yes, class P> struct BatchedIf {
  using type = P;
};
template <class P> struct BatchedIf<true, P> {
  using type = typename BatchedParameter<P>::type;
};

template <class P> void push_axes(bool batched, std::vector<BatchAxis>& axes, std::vector<BatchedScalars>& scalars) {
  const BatchAxis axis = batched ? BatchAxis::leading : BatchAxis::shared;
  BatchedScalars group{1, {}};
  if constexpr (!ArrayParameter<P>) group = {kHandles<P>, element_of<host_t<P>>()};
  for (int k = 0; k < ArgumentOf<P>::kCount; ++k) {
    axes.push_back(axis);
    scalars.push_back(group);
  }
}
/// The parameter of a program: a scalar becomes a buffer.
template <bool Yes, class P> struct BatchedArgument {
  using type = P;
};
template <class T, int N> struct BatchedArgument<true, Buffer<T, N>> {
  using type = Buffer<T, one_more<N>()>;
};
template <class T> struct BatchedArgument<true, Var<T>> {
  using type = Buffer<T, 1>;
};
template <class R> struct BatchedResult;
template <class T, int N> struct BatchedResult<Buffer<T, N>> {
  using type = Buffer<T, one_more<N>()>;
};
template <class T> struct BatchedResult<Var<T>> {
  using type = Buffer<compute_t<T>, 1>;
};

/// What a function gets for one of the batch.
template <class A> A element_at(const In<host_t<A>, 1>& all, const Int& i) { return all[i]; }
template <class A> const A& element_at(const A& shared, const Int&) { return shared; }

template <class R> struct MappedResults {
  using List = TypeList<Out<host_t<R>, 1>>;
};
template <class... R> struct MappedResults<Tuple<R...>> {
  using List = TypeList<Out<host_t<R>, 1>...>;
};
template <class R, class O> void put_results(const R& r, const Int& i, const O& out) { out[i] = r; }
template <class... R, class... O> void put_results(const Tuple<R...>& r, const Int& i, const O&... out) {
  [&]<std::size_t... K>(std::index_sequence<K...>) { ((out[i] = r.template get<K>()), ...); }(std::index_sequence_for<R...>{});
}

}  // namespace detail

/// Kernel `k` with a batch axis in front of its domain and of the parameters that are not in `unbatched`.
/// Shapes   the batch is the first extent of the launch domain, and of each batched array, or a ShapeError
/// Throws   KernelError, with the line, where the domain has three axes already, or where all of the batch would write one array
template <class... P, int... S> auto vmap(const Kernel<P...>& k, UnbatchedParameters<S...> shared = {}) {
  static_assert(((S >= 0 && S < static_cast<int>(sizeof...(P))) && ...), "unbatched<...>: each number names a parameter");
  std::vector<BatchAxis> axes;
  std::vector<BatchedScalars> scalars;
  return [&]<int... K>(std::integer_sequence<int, K...>) {
    (detail::push_axes<P>(detail::is_batched(K, shared), axes, scalars), ...);
    return Kernel<typename detail::BatchedIf<detail::is_batched(K, UnbatchedParameters<S...>{}), P>::type...>(
        k.handle().batched(axes, scalars));
  }(std::make_integer_sequence<int, static_cast<int>(sizeof...(P))>{});
}

/// Function `f` as a kernel over arrays: an In for each parameter (those in `unbatched` stay numbers), then an Out for the result, or
/// one for each of a Tuple.
/// Shapes   all arrays have one axis, of the same length, or a ShapeError
/// Cost     that of the kernel: one launch, vectorised
template <class R, class... A, int... S> auto vmap(const Fn<R(A...)>& f, UnbatchedParameters<S...> = {}, Loc at = Loc::here()) {
  static_assert(((S >= 0 && S < static_cast<int>(sizeof...(A))) && ...), "unbatched<...>: each number names a parameter");
  return [&]<int... K, class... O>(std::integer_sequence<int, K...>, TypeList<O...>) {
    const auto body = [f](typename detail::BatchedIf<detail::is_batched(K, UnbatchedParameters<S...>{}), A>::type... p, O... out) {
      const auto i = index();
      detail::put_results(f(detail::element_at<A>(p, i)...), i, out...);
    };
    const auto k = kernel(f.function()->name.c_str(), body, at);
    return std::remove_const_t<decltype(k)>(k.handle().same_leading());
  }(std::make_integer_sequence<int, static_cast<int>(sizeof...(A))>{}, typename detail::MappedResults<R>::List{});
}

/// Program `p` for a batch: parameters that are not in `unbatched` have a leading axis (a scalar becomes a buffer), and so has all that it
/// returns. Trip counts, branches and domains must not differ within the batch; arrays that it captures are shared.
/// Throws   ShapeError where batches differ; KernelError at the first call, with the line, for what cannot be batched
template <class... R, class... P, int... S> auto vmap(const Program<TypeList<R...>, TypeList<P...>>& p, UnbatchedParameters<S...> = {}) {
  static_assert(((S >= 0 && S < static_cast<int>(sizeof...(P))) && ...), "unbatched<...>: each number names a parameter");
  return [&]<int... K>(std::integer_sequence<int, K...>) {
    using None = UnbatchedParameters<S...>;
    std::vector<int> batched;
    ((detail::is_batched(K, None{}) ? batched.push_back(K) : void()), ...);
    using Parameters = TypeList<typename detail::BatchedArgument<detail::is_batched(K, None{}), P>::type...>;
    return Program<TypeList<typename detail::BatchedResult<R>::type...>, Parameters>(
        p.handle().transformed(detail::ProgramHandle::Transform::vmap, batched));
  }(std::make_integer_sequence<int, static_cast<int>(sizeof...(P))>{});
}

}  // namespace fluxion
