// Program<R(P...)>: a time loop, a training step: C++ that launches kernels, captured once per shapes of its
// arguments and replayed as one piece of compiled code.
//
//   auto sim = fx::program("sim", [&](fx::Buffer<float> v0, fx::Float dt) {
//       auto x = fx::zeros<float>(n);
//       for (auto t : fx::range(steps)) step.over(n)(x, v0, dt);
//       return fx::sum(x);                                 // a Buffer, a Var, or a std::tuple of those
//   });
//   auto loss = sim(v0, 0.1f);
//   auto [value, gradient] = fx::value_and_grad(sim, fx::wrt<0>)(v0, 0.1f);
//
// Arrays that the lambda reaches otherwise are parameters too: the array (not the variable) that it found at
// capture, as it is at each call. Arrays that launches write are updated in place. Inside a loop or branch
// handles are not re-bound: exchange two buffers with fx::swap, or copy_from.
#pragma once
#include <functional>
#include <tuple>
#include <vector>

#include "fluxion/checkpoint.h"
#include "fluxion/differentiate.h"

namespace fluxion {
/// What a call takes.
struct ProgramUse {
  std::int64_t bytes = 0;  // arrays that the program makes for itself, tapes included; not arguments and results
  double launches = 0;
};

namespace detail {

[[noreturn]] FLUXION_API void refuse_export(Loc at);

/// A parameter or a result while it is traced.
struct ProgramValue {
  std::shared_ptr<ArrayState> array;  // null: a scalar
  std::uint32_t scalar = ~0u;         // its value
};
struct ProgramParameter {
  LayoutId element;
  int rank = 0;  // 0: a scalar
  bool has_float() const;
};

/// The function of a call, and what stands for each of its parameters.
struct BoundProgram {
  std::shared_ptr<const Function> function;  // value form
  std::vector<Argument> arguments;           // neither array nor bits: zeros
  std::vector<int> positions;                // which argument of the call it is; -1: none
};

class FLUXION_API ProgramHandle {
 public:
  using Body = std::function<std::vector<ProgramValue>(const std::vector<ProgramValue>&)>;
  ProgramHandle() = default;
  ProgramHandle(std::string name, std::vector<ProgramParameter> parameters, Body body, Loc at);

  enum class Transform : std::uint8_t { value_and_grad, vjp, jvp, vmap };
  /// `wrt`: positions of the arguments; of vmap those that have the batch axis.
  ProgramHandle transformed(Transform t, std::vector<int> wrt, const CheckpointRule& checkpoint = {}) const;
  ProgramHandle with(const CompileOptions& options) const;
  /// With derivatives of its own; an empty handle: none. `results`: the vjp takes what the program returns, after its parameters.
  /// `takes`: what a call takes; `scalars`: which of the results are.
  ProgramHandle ruled(const ProgramHandle& vjp, const ProgramHandle& jvp, bool results, std::vector<ProgramParameter> takes,
                      std::vector<char> scalars, Loc at) const;
  ProgramHandle rule(bool vjp) const;
  bool rule_takes_results() const;
  /// While a rule is captured: the program that has it, rules and all.
  static ProgramHandle subject();
  explicit operator bool() const { return state_ != nullptr; }

  /// Queues a run; gives the arrays that the program returns, scalars as arrays of one element.
  std::vector<Array> call(std::span<const Argument> arguments, Loc at) const;
  /// While another program is captured: the body, in its place.
  std::vector<ProgramValue> inlined(std::span<const Argument> arguments, Loc at) const;
  const std::string& name() const;
  Loc defined() const;  // where it was made
  const std::vector<ProgramParameter>& parameters() const;
  /// For each float value that it returns for these arguments: true where that is a scalar.
  std::vector<char> scalar_results(std::span<const Argument> arguments, Loc at) const;
  std::vector<ProgramValue> embedded(std::span<const Argument> arguments, Loc at) const;
  /// "ir" (value form, after its transforms), "lowered" (memory form), "llvm" or "asm".
  BoundProgram bound(std::span<const Argument> arguments, Loc at) const;
  std::string dump(std::string_view what, std::span<const Argument> arguments) const;
  ProgramUse use(std::span<const Argument> arguments) const;
  std::int64_t peak_bytes() const;

 private:
  struct State;
  State& made(Loc at) const;  // throws KernelError when there is none
  std::shared_ptr<State> state_;
};

/// True while a program is captured on this thread.
FLUXION_API bool tracing();
FLUXION_API Device tracing_device();
/// `index`: ~0 for the first.
FLUXION_API std::uint32_t item_traced(const Array& a, std::uint32_t index, Loc at);
/// Exchanges two arrays within a capture; false outside of one.
FLUXION_API bool swap_traced(const Array& a, const Array& b, Loc at);

// ---- what a lambda's parameter P is to the caller, and in the trace
template <class P> struct ProgramType {
  static_assert(kNever<P>, "a program takes fx::Buffer<T, N> and scalars: fx::Float, not float");
};
template <class T, int N> struct ProgramType<Buffer<T, N>> {
  using Host = const Buffer<T, N>&;
  using Result = Buffer<T, N>;
  static constexpr bool kFloat = has_float_leaf<T>();
  using Adjoint = Buffer<adjoint_t<T>, N>;    // of an argument
  using Cotangent = Buffer<adjoint_t<T>, N>;  // of a result, and a tangent
  static ProgramParameter parameter() { return {element_of<T>(), N}; }
  static Argument argument(Host b) { return {b.array().shared(), 0, ~0u}; }
  static Buffer<T, N> traced(const ProgramValue& v) { return Buffer<T, N>(Array(v.array)); }
  static ProgramValue value(const Buffer<T, N>& b, Loc) { return {b.array().shared(), ~0u}; }
};
template <class T> struct ProgramType<Var<T>> {
  using Host = ScalarArgument<T>;
  using Result = Buffer<compute_t<T>, 1>;
  static constexpr bool kFloat = is_float(dtype_of<T>);
  using Adjoint = Buffer<adjoint_t<T>, 1>;
  using Cotangent = Var<adjoint_t<T>>;
  static ProgramParameter parameter() { return {dtype_of<T>, 0}; }
  static Argument argument(const Host& s) { return s.argument; }
  static Var<T> traced(const ProgramValue& v) { return {Raw{v.scalar}, {}}; }
  static ProgramValue value(const Var<T>& v, Loc at) { return {nullptr, read(v.handle(), at)}; }
};

// ---- what a lambda returns
template <class R> struct ProgramResults {
  using List = TypeList<R>;
  static void values(const R& r, std::vector<ProgramValue>& out, Loc at) { out.push_back(ProgramType<R>::value(r, at)); }
};
template <> struct ProgramResults<void> {
  using List = TypeList<>;
};
template <class... R> struct ProgramResults<std::tuple<R...>> {
  using List = TypeList<R...>;
  static void values(const std::tuple<R...>& r, std::vector<ProgramValue>& out, Loc at) {
    std::apply([&](const R&... each) { (out.push_back(ProgramType<R>::value(each, at)), ...); }, r);
  }
};
template <class A, class B> struct ProgramResults<std::pair<A, B>> : ProgramResults<std::tuple<A, B>> {};

/// What a call gives for returned values of the Buffer types R.
template <class... R> struct Returned {
  using type = std::tuple<R...>;
  template <std::size_t... K> static type make(const std::vector<Array>& a, std::index_sequence<K...>) { return {R(a[K])...}; }
  static type make(const std::vector<Array>& a) { return make(a, std::index_sequence_for<R...>{}); }
};
template <class R> struct Returned<R> {
  using type = R;
  static type make(const std::vector<Array>& a) { return R(a[0]); }
};
template <> struct Returned<> {
  using type = void;
  static void make(const std::vector<Array>&) {}
};

template <class A, class B> struct Joined;
template <class... A, class... B> struct Joined<TypeList<A...>, TypeList<B...>> {
  using type = TypeList<A..., B...>;
};
template <bool Keep, class T> using ListIf = std::conditional_t<Keep, TypeList<T>, TypeList<>>;
template <class... L> struct JoinedAll {
  using type = TypeList<>;
};
template <class L, class... M> struct JoinedAll<L, M...> : Joined<L, typename JoinedAll<M...>::type> {};

template <int... I> constexpr bool contains(int k) { return sizeof...(I) == 0 || ((k == I) || ...); }
template <class P, class Positions, int... I> struct ProgramGradients;
template <class... P, int... K, int... I>
struct ProgramGradients<TypeList<P...>, std::integer_sequence<int, K...>, I...> {
  static constexpr bool can(int k) {
    constexpr bool kFloat[] = {ProgramType<P>::kFloat..., false};
    return k >= 0 && k < static_cast<int>(sizeof...(P)) && kFloat[k];
  }
  static_assert((can(I) && ...), "wrt<...>: each number names a parameter of floating point type");
  using List = typename JoinedAll<ListIf<ProgramType<P>::kFloat && contains<I...>(K), typename ProgramType<P>::Adjoint>...>::type;
  static std::vector<int> positions() {
    if constexpr (sizeof...(I) > 0) return {I...};
    std::vector<int> all;
    ((can(K) ? all.push_back(K) : void()), ...);
    return all;
  }
};

}  // namespace detail

/// `Results` and `Parameters` are TypeLists of Buffers and Vars, as the lambda has them.
template <class Results, class Parameters> class Program;
template <class... R, class... P>
class Program<TypeList<R...>, TypeList<P...>> {
 public:
  using Results = TypeList<R...>;
  using Parameters = TypeList<P...>;

  Program() = default;
  explicit Program(detail::ProgramHandle handle) : handle_(std::move(handle)) {}

  /// Asynchronous, like a launch. One Buffer, a tuple of them, or nothing.
  auto operator()(typename detail::ProgramType<P>::Host... args, Loc at = Loc::here()) const {
    const detail::Argument list[] = {detail::ProgramType<P>::argument(args)..., {}};
    using Out = detail::Returned<typename detail::ProgramType<R>::Result...>;
    const std::span<const detail::Argument> arguments(list, sizeof...(P));
    if (detail::tracing()) return traced(arguments, at);
    return Out::make(handle_.call(arguments, at));
  }
  Program with(const CompileOptions& options) const { return Program(handle_.with(options)); }
  /// "ir", "lowered", "llvm" or "asm", specialised for these arguments.
  std::string dump(std::string_view what, typename detail::ProgramType<P>::Host... args) const {
    const detail::Argument list[] = {detail::ProgramType<P>::argument(args)..., {}};
    return handle_.dump(what, {list, sizeof...(P)});
  }
  /// What a call with these arguments will take, without making it.
  ProgramUse use(typename detail::ProgramType<P>::Host... args) const {
    const detail::Argument list[] = {detail::ProgramType<P>::argument(args)..., {}};
    return handle_.use({list, sizeof...(P)});
  }
  /// Most bytes that a finished call has taken for arrays of its own. The memory is kept until the program is gone.
  std::int64_t peak_bytes() const { return handle_.peak_bytes(); }
  /// Throws KernelError: a program needs this library. The kernels that it launches are exported one by one.
  std::vector<std::string> export_to(const std::string&, const std::vector<std::string>& = {}, const ExportOptions& = {},
                                     Loc at = Loc::here()) const {
    detail::refuse_export(at);
  }
  const detail::ProgramHandle& handle() const { return handle_; }

 private:
  auto traced(std::span<const detail::Argument> arguments, Loc at) const {
    using Out = detail::Returned<typename detail::ProgramType<R>::Result...>;
    std::vector<Array> arrays;
    for (const detail::ProgramValue& v : handle_.inlined(arguments, at)) arrays.push_back(Array(v.array));
    return Out::make(arrays);
  }
  detail::ProgramHandle handle_;
};

/// A program of this name from a lambda of Buffers and scalars that returns nothing, a Buffer, a Var, or a tuple of those.
/// Shapes   the lambda runs once for each combination of shapes and device of the arguments; extents are constants in it
/// Throws   KernelError, with the user's line, at the first call with new shapes
/// Cost     of a call: binding the arrays; the steps run without the host
template <class L>
auto program(std::string name, const L& body, Loc at = Loc::here()) {
  using S = detail::Signature<L>;
  using R = detail::ProgramResults<typename S::Result>;
  const auto make = [&]<class... P>(TypeList<P...>) {
    auto trace = [body, at](const std::vector<detail::ProgramValue>& values) {
      std::vector<detail::ProgramValue> out;
      (void)at;  // used where something is returned
      [&]<std::size_t... K>(std::index_sequence<K...>) {
        if constexpr (std::is_void_v<typename S::Result>) body(detail::ProgramType<P>::traced(values[K])...);
        else R::values(body(detail::ProgramType<P>::traced(values[K])...), out, at);
      }(std::index_sequence_for<P...>{});
      return out;
    };
    return Program<typename R::List, TypeList<P...>>(
        detail::ProgramHandle(std::move(name), {detail::ProgramType<P>::parameter()...}, std::move(trace), at));
  };
  return make(typename S::Parameters{});
}
template <class L>
  requires(!std::is_convertible_v<L, std::string>)
auto program(const L& body, Loc at = Loc::here()) {
  return program("program", body, at);
}

/// The program and the gradient of the first value it returns, a float scalar or a buffer of one element, with
/// respect to its float parameters or to those that `wrt` numbers: what the program returns, then the gradients.
/// The forward runs once.
/// Shapes   a gradient has the shape of its parameter, of a scalar one element
/// Throws   KernelError at the first call, with the line, for what cannot be differentiated
/// Cost     two to four times `p` in time; in memory all versions of arrays that the reverse sweep needs, or what
///          `options.checkpoint` says
template <class... R, class... P, int... I>
auto value_and_grad(const Program<TypeList<R...>, TypeList<P...>>& p, WithRespectTo<I...>, const DerivativeOptions& options = {}) {
  using G = detail::ProgramGradients<TypeList<P...>, std::make_integer_sequence<int, static_cast<int>(sizeof...(P))>, I...>;
  using Results = typename detail::Joined<TypeList<R...>, typename G::List>::type;
  return Program<Results, TypeList<P...>>(
      p.handle().transformed(detail::ProgramHandle::Transform::value_and_grad, G::positions(), options.checkpoint));
}
template <class... R, class... P>
auto value_and_grad(const Program<TypeList<R...>, TypeList<P...>>& p, const DerivativeOptions& options = {}) {
  return value_and_grad(p, wrt<>, options);
}

/// Parameters, then a cotangent for each float value that `p` returns -> a gradient per member of `wrt`.
template <class... R, class... P, int... I>
auto vjp(const Program<TypeList<R...>, TypeList<P...>>& p, WithRespectTo<I...>, const DerivativeOptions& options = {}) {
  using namespace detail;
  using G = ProgramGradients<TypeList<P...>, std::make_integer_sequence<int, static_cast<int>(sizeof...(P))>, I...>;
  using Cotangents = typename JoinedAll<ListIf<ProgramType<R>::kFloat, typename ProgramType<R>::Cotangent>...>::type;
  return Program<typename G::List, typename Joined<TypeList<P...>, Cotangents>::type>(
      p.handle().transformed(ProgramHandle::Transform::vjp, G::positions(), options.checkpoint));
}
template <class... R, class... P>
auto vjp(const Program<TypeList<R...>, TypeList<P...>>& p, const DerivativeOptions& options = {}) {
  return vjp(p, wrt<>, options);
}

/// Parameters, then a tangent for each float one -> what `p` returns, then a tangent of each float value of that.
template <class... R, class... P>
auto jvp(const Program<TypeList<R...>, TypeList<P...>>& p) {
  using namespace detail;
  using Tangents = typename JoinedAll<ListIf<ProgramType<P>::kFloat, typename ProgramType<P>::Cotangent>...>::type;
  using Out = typename JoinedAll<ListIf<ProgramType<R>::kFloat, typename ProgramType<R>::Cotangent>...>::type;
  return Program<typename Joined<TypeList<R...>, Out>::type, typename Joined<TypeList<P...>, Tangents>::type>(
      p.handle().transformed(ProgramHandle::Transform::jvp, {}));
}

/// Zeros on the device of the program under capture, else on the best one.
template <class T, class... E> auto zeros(E... extents) {
  return (detail::tracing() ? detail::tracing_device() : Device::best()).template zeros<T>(extents...);
}
/// A number of an array, inside a program: what its loops and branches turn on, and an argument of its launches.
/// Differentiable  in `a`. A while loop that reads arrays cannot be checkpointed
/// Throws   KernelError outside of a program, ShapeError for a number that is no index; an index found out of range later is an
///          error in the evaluator and under FLUXION_DEBUG=bounds, and undefined otherwise
template <class T> Var<T> item(const Buffer<T, 1>& a, Arg<int> i, Loc at = Loc::here()) {
  static_assert(Scalar<T> && !is_half(dtype_of<T>), "fx::item: arrays of bool, integers, float or double");
  return {detail::Raw{detail::item_traced(a.array(), i.id, at)}, at};
}
/// The first one.
template <class T> Var<T> item(const Buffer<T, 1>& a, Loc at = Loc::here()) {
  static_assert(Scalar<T> && !is_half(dtype_of<T>), "fx::item: arrays of bool, integers, float or double");
  return {detail::Raw{detail::item_traced(a.array(), ~0u, at)}, at};
}
/// Exchanges what two handles stand for; inside a captured loop too.
template <class T, int N> void swap(Buffer<T, N>& a, Buffer<T, N>& b, Loc at = Loc::here()) {
  if (detail::swap_traced(a.array(), b.array(), at)) return;
  Buffer<T, N> old = a;
  a = b;
  b = old;
}

}  // namespace fluxion
