// Host functions that kernels, functions and programs call: plain C++ on plain numbers.
//
//   auto bessel = fx::external("bessel", [](double x) { return std::cyl_bessel_j(0.0, x); })
//                     .vjp([](fx::Double x, fx::Double w) { return -w * bessel1(x); });    // bessel1: another external
//
// It takes and gives what arrays hold: numbers, fx::Vec, structs, fx::Tuple. Launches call it from several threads at once, for
// active threads only. What it throws is thrown by the call that waits for the launch.
//
// With arrays, it is a kernel that is called once for a launch, on the host or in a program:
//
//   auto fft = fx::external("fft", [](fx::HostIn<Z> x, fx::HostOut<Z> y) { ... }).vjp([](fx::HostIn<Z> x, fx::HostIn<Z> wy, fx::HostAccum<Z> gx) { ... });
//   fft(x, y);
#pragma once
#include <functional>

#include "fluxion/host_kernel.h"
#include "fluxion/rule.h"

namespace fluxion {

/// fx::external(name, f, fx::impure): each call counts. Without it a function must give the same for the same arguments, and calls
/// may be left out, repeated or merged.
struct Impure {};
inline constexpr Impure impure{};

namespace detail {
using ExternalCall = std::function<void(const std::uint64_t* in, std::uint64_t* out)>;
FLUXION_API FunctionPointer make_external(std::string name, std::vector<DType> takes, std::vector<DType> gives, bool impure,
                                          ExternalCall call, Loc at);

template <class H> void add_leaves(std::vector<DType>& to) {
  LeafSpec leaves[Element<H>::kLeaves];
  Element<H>::leaves(leaves);
  for (const LeafSpec& leaf : leaves) to.push_back(leaf.dtype);
}
template <class H> using captured_t = typename Element<H>::Value;
/// `captured`, a function of captured values, in place of one of host values.
template <class F> struct ExternalOf {
  static_assert(kNever<F>, "fx::external takes a function whose parameters have types: [](double x) { ... }, not [](auto x)");
};
}  // namespace detail

/// A host function: called like an Fn, in kernels with the line of the call. Only rules give it derivatives.
template <class Sig> class HostFn;

template <class R, class... A>
class HostFn<R(A...)> : public Fn<R(A...)> {
  using Base = Fn<R(A...)>;

 public:
  explicit HostFn(detail::FunctionPointer f) : Base(std::move(f)) {}

  R operator()(const A&... a, Loc at = Loc::here()) const {
    std::vector<std::uint32_t> ids;
    (void)((void)[&] { for (int k = 0; k < detail::kHandles<A>; ++k) ids.push_back(detail::read(detail::handles(a)[k], at)); }(), ...);
    const auto results = detail::record_call(this->function(), ids, at);
    R r;
    for (int k = 0; k < detail::kHandles<R>; ++k) detail::assign(detail::handles(r)[k], results[static_cast<std::size_t>(k)], at);
    return r;
  }
  detail::host_t<R> operator()(const detail::host_t<A>&... a) const
    requires(sizeof...(A) > 0)
  {
    std::uint64_t in[(detail::kHandles<A> + ... + 1)], out[detail::kHandles<R>];
    std::uint64_t* p = in;
    (detail::to_bits(a, p), ...);
    detail::call_on_host(*this->function(), in, static_cast<int>(p - in), out, detail::kHandles<R>);
    return detail::from_bits<detail::host_t<R>>(out);
  }

  /// As of fx::rule. The rule may call other externals.
  template <class G> HostFn vjp(const G& g, Loc at = Loc::here()) const {
    return HostFn(rule(static_cast<const Base&>(*this)).vjp(g, at).function());
  }
  template <class G> HostFn jvp(const G& g, Loc at = Loc::here()) const {
    return HostFn(rule(static_cast<const Base&>(*this)).jvp(g, at).function());
  }
};

/// One that gives nothing: it is called for what it does.
template <class... A>
class HostFn<void(A...)> {
 public:
  explicit HostFn(detail::FunctionPointer f) : f_(std::move(f)) {}
  const detail::FunctionPointer& function() const { return f_; }
  void operator()(const A&... a, Loc at = Loc::here()) const {
    std::vector<std::uint32_t> ids;
    (void)((void)[&] { for (int k = 0; k < detail::kHandles<A>; ++k) ids.push_back(detail::read(detail::handles(a)[k], at)); }(), ...);
    detail::record_call(f_, ids, at);
  }

 private:
  detail::FunctionPointer f_;
};

namespace detail {
template <class R> struct ExternalResult {
  using type = captured_t<R>;
  static void add(std::vector<DType>& gives) { add_leaves<R>(gives); }
};
template <> struct ExternalResult<void> {
  using type = void;
  static void add(std::vector<DType>&) {}
};
template <class R, class... A>
  requires(!HostArrayParameter<A> && ...)
struct ExternalOf<std::function<R(A...)>> {
  static constexpr bool kNothing = std::is_void_v<R>;
  static_assert(((!std::is_lvalue_reference_v<A> || std::is_const_v<std::remove_reference_t<A>>) && ...),
                "a host function takes its arguments by value");
  using Result = ExternalResult<std::remove_cvref_t<R>>;
  using type = HostFn<typename Result::type(captured_t<std::remove_cvref_t<A>>...)>;

  template <class F> static type make(std::string name, F f, bool impure, Loc at) {
    static_assert(std::is_invocable_v<const F&, std::remove_cvref_t<A>...>,
                  "a host function is called from several threads at once, where a `mutable` lambda would race; keep what it changes in a "
                  "std::atomic");
    std::vector<DType> takes, gives;
    (add_leaves<std::remove_cvref_t<A>>(takes), ...);
    Result::add(gives);
    ExternalCall call = [f = std::move(f)](const std::uint64_t* in, std::uint64_t* out) {
      [[maybe_unused]] const auto next = [&]<class H>(std::type_identity<H>) {
        const std::uint64_t* mine = in;
        in += Element<H>::kLeaves;
        return from_bits<H>(mine);
      };
      struct Run {  // braces: left to right
        Run(const F& f, std::uint64_t* out, std::remove_cvref_t<A>... a) {
          if constexpr (std::is_void_v<R>) f(std::move(a)...);
          else to_bits<std::remove_cvref_t<R>>(f(std::move(a)...), out);
        }
      };
      Run{f, out, next(std::type_identity<std::remove_cvref_t<A>>())...};
    };
    return type(make_external(std::move(name), std::move(takes), std::move(gives), impure, std::move(call), at));
  }
};
template <class R, class... A>
  requires(HostArrayParameter<A> || ...)
struct ExternalOf<std::function<R(A...)>> {
  static_assert(std::is_void_v<R>,
                "a host function that works on arrays returns nothing: it writes HostOut, HostInOut and HostAccum parameters");
  static_assert(!(std::is_lvalue_reference_v<A> || ...), "a host function that works on arrays takes them and its numbers by value");
  static constexpr bool kNothing = false;
  using type = HostKernel<typename HostParameter<A>::type...>;

  template <class F> static type make(std::string name, F f, bool impure, Loc at) {
    if (impure) refuse_impure_kernel(name, at);
    std::vector<ExternalParameter> parameters;
    (HostParameter<A>::add(parameters), ...);
    auto launch = [f = std::move(f)](const ExternalArray* arrays, const std::uint64_t* scalars) {
      struct Run {  // braces: left to right
        Run(const F& f, A... a) { f(a...); }
      };
      Run{f, HostParameter<A>::take(arrays, scalars)...};
    };
    return type(make_external_kernel(std::move(name), parameters, std::move(launch), at));
  }
};
template <class F>
concept PlainFunction = requires(const F& f) { std::function(f); };
template <class F, bool = PlainFunction<F>> struct ExternalFor : ExternalOf<F> {};
template <class F> struct ExternalFor<F, true> : ExternalOf<decltype(std::function(std::declval<const F&>()))> {};
}  // namespace detail

/// A host function of numbers, for use inside kernels, functions and programs.
/// Throws   KernelError where it gives half precision. A derivative of what calls it is refused, with the line, unless it has a rule
/// Cost     some tens of nanoseconds a call beside its own; lanes call it one after the other
template <class F> auto external(std::string name, F f, Loc at = Loc::here()) {
  using Made = detail::ExternalFor<F>;
  static_assert(!Made::kNothing, "a host function that gives nothing is called for what it does: fx::external(name, f, fx::impure)");
  return Made::make(std::move(name), std::move(f), false, at);
}
template <class F> auto external(std::string name, F f, Impure, Loc at = Loc::here()) {
  return detail::ExternalFor<F>::make(std::move(name), std::move(f), true, at);
}

namespace detail {
template <class F> auto host_rule(std::string name, F f, Loc at) { return ExternalFor<F>::make(std::move(name), std::move(f), false, at); }
}  // namespace detail

}  // namespace fluxion
