// Sparse Jacobians and Hessians: the pattern is found by a run over sets of inputs (dependencies.h), columns or rows that do not
// meet share a sweep, and the result is a Csr matrix.
//
//   auto j = fx::sparse_jacobian(residual);              // of a kernel, a program or a function
//   fx::Csr<double> m = j.over(n)(x, r);                 // the arguments of the kernel; they are not written
//   auto h = fx::sparse_hessian(energy, fx::wrt<0>);     // of what gives one number
//
// Columns are the float numbers of the parameters of `wrt` (or of all), rows those of what is written or returned: parameter
// after parameter, element after element.
#pragma once
#include <memory>

#include "fluxion/csr.h"
#include "fluxion/program.h"

namespace fluxion {
namespace detail {

class FLUXION_API SparseHandle {
 public:
  static SparseHandle jacobian(const KernelHandle& k, std::vector<int> wrt);
  static SparseHandle hessian(const KernelHandle& k, std::vector<int> wrt);
  static SparseHandle jacobian(const ProgramHandle& p, std::vector<int> wrt, std::vector<int> float_arguments);
  static SparseHandle hessian(const ProgramHandle& value_and_grad, std::vector<int> wrt, std::vector<int> float_arguments);
  static SparseHandle jacobian(const FunctionPointer& f, std::vector<int> wrt);
  static SparseHandle hessian(const FunctionPointer& f, std::vector<int> wrt);

  /// rank 0: the implicit domain. Only kernels have one.
  Csr<double> evaluate(std::array<std::int64_t, 3> domain, int rank, std::span<const Argument> arguments, Loc at) const;
  int colors() const;
  bool reverse() const;
  int patterns() const;

  class Problem;

 private:
  explicit SparseHandle(std::shared_ptr<Problem> p) : problem_(std::move(p)) {}
  std::shared_ptr<Problem> problem_;
};

template <class T> struct IsSingle : std::false_type {};  // structs count as double
template <Scalar T> struct IsSingle<T> : std::bool_constant<!std::is_same_v<T, double>> {};
template <template <class, int...> class V, class E, int... N> struct IsSingle<V<E, N...>> : IsSingle<E> {};
template <class P> struct NumberOf : IsSingle<host_t<P>> {};
template <ArrayParameter P> struct NumberOf<P> : IsSingle<typename P::element_type> {};
template <class T, int N> struct NumberOf<Buffer<T, N>> : IsSingle<T> {};
template <class... P> struct CsrNumberOf {
  using type = std::conditional_t<std::conjunction_v<NumberOf<P>...>, float, double>;
};
template <class... P> using CsrNumber = typename CsrNumberOf<P...>::type;

template <class T> Csr<T> typed(Csr<double> m) {
  if constexpr (std::is_same_v<T, double>) return m;
  else return {m.rows, m.cols, std::move(m.row_offsets), std::move(m.col_indices), {m.values.begin(), m.values.end()}};
}

}  // namespace detail

/// What all sparse derivatives tell about themselves.
class SparseInfo {
 public:
  /// Sweeps of the latest call: colours of the columns, of the rows in reverse.
  int colors() const { return handle_.colors(); }
  bool reverse() const { return handle_.reverse(); }
  /// How many patterns have been found: one for each change of shapes or integers.
  int patterns() const { return handle_.patterns(); }

 protected:
  explicit SparseInfo(detail::SparseHandle h) : handle_(std::move(h)) {}
  detail::SparseHandle handle_;
};

template <class... P>
class SparseKernel : public SparseInfo {
 public:
  using Number = detail::CsrNumber<P...>;
  explicit SparseKernel(detail::SparseHandle h) : SparseInfo(std::move(h)) {}

  class Launcher {
   public:
    Csr<Number> operator()(HostArg<P>... args) const {
      detail::Argument list[detail::kArguments<P...> + 1];
      detail::Argument* end = list;
      (detail::ArgumentOf<P>::push(end, args), ...);
      return detail::typed<Number>(handle_.evaluate(domain_, rank_, {list, end}, at_));
    }

   private:
    friend SparseKernel;
    Launcher(detail::SparseHandle h, std::array<std::int64_t, 3> domain, int rank, Loc at)
        : handle_(std::move(h)), domain_(domain), rank_(rank), at_(at) {}
    detail::SparseHandle handle_;
    std::array<std::int64_t, 3> domain_;
    int rank_;
    Loc at_;
  };
  /// The domain that the kernel would be launched over. The arguments are read, not written; waits for the result.
  Launcher over(std::int64_t n, Loc at = Loc::here()) const { return {handle_, {n, 1, 1}, 1, at}; }
  Launcher over(std::int64_t n, std::int64_t m, Loc at = Loc::here()) const { return {handle_, {n, m, 1}, 2, at}; }
  Launcher over(std::int64_t n, std::int64_t m, std::int64_t k, Loc at = Loc::here()) const { return {handle_, {n, m, k}, 3, at}; }
  Csr<Number> operator()(HostArg<P>... args, Loc at = Loc::here()) const { return Launcher(handle_, {1, 1, 1}, 0, at)(args...); }
};

template <class T, class... P>
class SparseProgram : public SparseInfo {
 public:
  explicit SparseProgram(detail::SparseHandle h) : SparseInfo(std::move(h)) {}
  /// The arguments are read, not written; waits for the result.
  Csr<T> operator()(typename detail::ProgramType<P>::Host... args, Loc at = Loc::here()) const {
    const detail::Argument list[] = {detail::ProgramType<P>::argument(args)..., {}};
    return detail::typed<T>(handle_.evaluate({1, 1, 1}, 0, {list, sizeof...(P)}, at));
  }
};

template <class... A>
class SparseFn : public SparseInfo {
 public:
  using Number = detail::CsrNumber<A...>;
  explicit SparseFn(detail::SparseHandle h) : SparseInfo(std::move(h)) {}
  /// The numbers at which the derivative is taken, as the function takes them; runs on the host.
  Csr<Number> operator()(const detail::host_t<A>&... a, Loc at = Loc::here()) const {
    std::uint64_t bits[(detail::kHandles<A> + ... + 1)], *end = bits;
    (detail::to_bits(a, end), ...);
    std::vector<detail::Argument> list(static_cast<std::size_t>(end - bits));
    for (std::size_t k = 0; k < list.size(); ++k) list[k].bits = bits[k];
    return detail::typed<Number>(handle_.evaluate({1, 1, 1}, 0, list, at));
  }
};

/// The Jacobian of what `k` writes (its float Out, InOut and Accum, an Accum from zero) with respect to its float In, InOut and
/// scalars, or to those of `w`.
/// Pattern  found once; again when the shapes, the domain, or the bytes of integer arguments change. It is a superset of
///          what any floats could give: where a float decides a branch or an index, all that may follow counts
/// Throws   KernelError, with the line, for what cannot be differentiated
/// Cost     a sweep for each colour: forward, up to eight at once, or reverse where that takes less than half as many
/// Source   Curtis, Powell, Reid, On the estimation of sparse Jacobian matrices, 1974
template <class... P, int... I> auto sparse_jacobian(const Kernel<P...>& k, WithRespectTo<I...> w = {}) {
  return SparseKernel<P...>(detail::SparseHandle::jacobian(k.handle(), detail::positions<P...>(w)));
}
/// The Hessian of the one number that `k` writes, with respect to float In and scalars. Both triangles are stored.
/// Cost     a Hessian-vector product for each colour of a star colouring
template <class... P, int... I> auto sparse_hessian(const Kernel<P...>& k, WithRespectTo<I...> w = {}) {
  return SparseKernel<P...>(detail::SparseHandle::hessian(k.handle(), detail::positions<P...>(w)));
}

namespace detail {
template <class... P, int... K> std::vector<int> float_arguments(TypeList<P...>, std::integer_sequence<int, K...>) {
  std::vector<int> out;
  ((ProgramType<P>::kFloat ? out.push_back(K) : void()), ...);
  return out;
}
}  // namespace detail

/// The Jacobian of the float values that `p` returns. What `p` writes in place must be an argument.
template <class... R, class... P, int... I> auto sparse_jacobian(const Program<TypeList<R...>, TypeList<P...>>& p,
                                                                 WithRespectTo<I...> = {}) {
  using K = std::make_integer_sequence<int, static_cast<int>(sizeof...(P))>;
  using G = detail::ProgramGradients<TypeList<P...>, K, I...>;
  return SparseProgram<detail::CsrNumber<R..., P...>, P...>(
      detail::SparseHandle::jacobian(p.handle(), G::positions(), detail::float_arguments(TypeList<P...>{}, K{})));
}
/// The Hessian of the first value that `p` returns, one number.
template <class... R, class... P, int... I> auto sparse_hessian(const Program<TypeList<R...>, TypeList<P...>>& p,
                                                                WithRespectTo<I...> = {}) {
  using K = std::make_integer_sequence<int, static_cast<int>(sizeof...(P))>;
  using G = detail::ProgramGradients<TypeList<P...>, K, I...>;
  return SparseProgram<detail::CsrNumber<R..., P...>, P...>(
      detail::SparseHandle::hessian(p.handle().transformed(detail::ProgramHandle::Transform::value_and_grad, G::positions()),
                                    G::positions(), detail::float_arguments(TypeList<P...>{}, K{})));
}

/// The Jacobian of a function of numbers, vectors and structs, on the host: a row for each number of its result, a column for each of
/// its parameters (or of those of `w`). Throws, costs: as of a kernel.
template <class R, class... A, int... I> auto sparse_jacobian(const Fn<R(A...)>& f, WithRespectTo<I...> w = {}) {
  return SparseFn<A...>(detail::SparseHandle::jacobian(f.function(), detail::value_positions(TypeList<A...>{}, w)));
}
/// The Hessian of a function that returns one number.
template <class T, class... A, int... I> auto sparse_hessian(const Fn<Var<T>(A...)>& f, WithRespectTo<I...> w = {}) {
  return SparseFn<A...>(detail::SparseHandle::hessian(f.function(), detail::value_positions(TypeList<A...>{}, w)));
}

}  // namespace fluxion
