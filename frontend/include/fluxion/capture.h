// From C++ lambdas to Functions: capture_kernel, capture_fn, and Fn, a captured function with its C++ signature.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "fluxion/complex.h"
#include "fluxion/control.h"
#include "fluxion/groups.h"
#include "fluxion/mat.h"
#include "fluxion/recorder.h"
#include "fluxion/vec.h"

namespace fluxion {

template <class... T> struct TypeList {
  static constexpr int kSize = sizeof...(T);
};

namespace detail {

template <class P>
concept ArrayParameter = requires {
  P::kRole;
  typename P::element_type;
};

// ---- what a lambda takes and gives
template <class M> struct CallOf;
template <class C, class R, class... A> struct CallOf<R (C::*)(A...) const> {
  using Parameters = TypeList<A...>;
  using Result = R;
  static constexpr bool kMutable = false;
};
template <class C, class R, class... A> struct CallOf<R (C::*)(A...)> : CallOf<R (C::*)(A...) const> {
  static constexpr bool kMutable = true;
};
template <class R, class... A> struct CallOf<R (*)(A...)> {
  using Parameters = TypeList<A...>;
  using Result = R;
  static constexpr bool kMutable = false;
};
template <class L>
concept HasOneCall = requires { &L::operator(); };
template <class L> struct CallType {
  using type = CallOf<L>;
};
template <HasOneCall L> struct CallType<L> {
  using type = CallOf<decltype(&L::operator())>;
};

/// The parameters and the result of a lambda (or plain function) to capture.
template <class L>
struct Signature {
  static_assert(HasOneCall<L> || std::is_pointer_v<L>,
                "the parameters of a captured lambda need types: write `fx::In<float> x`, not `auto x`");
  using Call = typename CallType<L>::type;
  static_assert(!Call::kMutable, "a captured lambda must not be `mutable`: it runs once, at capture");
  using Parameters = typename Call::Parameters;
  using Result = typename Call::Result;
};

template <class T> LayoutId layout_for() {
  LeafSpec leaves[Element<T>::kLeaves];
  Element<T>::leaves(leaves);
  Layout l;
  for (const LeafSpec& leaf : leaves) l.leaves.push_back({leaf.dtype, leaf.offset});
  l.size = Element<T>::kSize;
  return intern(l);
}

/// Makes the parameters of the open recording, one after the other.
struct ParameterMaker {
  Recording& recording;
  int next = 0;

  template <class P> P make() {
    static_assert(!std::is_reference_v<P>, "parameters of a captured lambda are taken by value");
    static_assert(ArrayParameter<P> || CapturedValue<P>,
                  "a captured lambda takes fx::In, Out, InOut, Accum, and captured values: fx::Float, not float");
    const std::string name = "p" + std::to_string(next++);
    if constexpr (ArrayParameter<P>) {
      return P(recording.memory_parameter(layout_for<typename P::element_type>(), P::kRank, P::kRole, name));
    } else {
      using E = Element<host_t<P>>;
      LeafSpec leaves[E::kLeaves];
      E::leaves(leaves);
      P value;
      for (int k = 0; k < E::kLeaves; ++k)
        assign(handles(value)[k], recording.scalar_parameter(leaves[k].dtype, E::kLeaves == 1 ? name : name + "_" + std::to_string(k)), {});
      return value;
    }
  }
};
template <class... P, class F> void with_parameters(ParameterMaker& maker, TypeList<P...>, const F& f) {
  struct InOrder {
    InOrder(const F& f, P... p) { f(static_cast<P&&>(p)...); }
  };
  InOrder{f, maker.make<P>()...};  // braces: left to right
}

/// The Function of a kernel. Throws KernelError for misuse, with the user's line.
template <class L> std::shared_ptr<const Function> capture_kernel(std::string name, const L& lambda, Loc at,
                                                                  const Groups* groups = nullptr) {
  using S = Signature<L>;
  static_assert(std::is_void_v<typename S::Result>, "a kernel returns nothing: it writes Out, InOut and Accum parameters");
  Recording recording(Function::Kind::kernel, std::move(name), at);
  if (groups) set_groups(*groups);
  ParameterMaker maker{recording};
  with_parameters(maker, typename S::Parameters{}, lambda);
  return recording.finish();
}

/// Half precision is for memory: throws where a function would return it.
FLUXION_API void refuse_half(DType t, Loc at);
template <class R> void refuse_halves(Loc at) {
  LeafSpec leaves[Element<host_t<R>>::kLeaves];
  Element<host_t<R>>::leaves(leaves);
  for (const LeafSpec& leaf : leaves) refuse_half(leaf.dtype, at);
}

/// The Function of a device function: scalars to scalars.
template <class L> std::shared_ptr<const Function> capture_fn(std::string name, const L& lambda, Loc at) {
  using S = Signature<L>;
  using R = typename Named<std::remove_cvref_t<typename S::Result>>::type;
  static_assert(CapturedValue<R>, "a captured function returns a captured value: fx::Float, a Vec, a struct of them");
  refuse_halves<R>(at);
  Recording recording(Function::Kind::fn, std::move(name), at);
  ParameterMaker maker{recording};
  std::vector<std::uint32_t> yields;
  with_parameters(maker, typename S::Parameters{}, [&](auto&&... p) {
    const R result = lambda(static_cast<decltype(p)&&>(p)...);
    for (int k = 0; k < kHandles<R>; ++k) yields.push_back(read(handles(result)[k], at));
  });
  return recording.finish(yields);
}

/// The text form of a function.
FLUXION_API std::string ir_of(const Function& f);
/// Evaluates a function on the host: bits in, bits out.
FLUXION_API void call_on_host(const Function& f, const std::uint64_t* arguments, int n, std::uint64_t* results, int m);

template <class H> void to_bits(const H& host, std::uint64_t*& out) {
  LeafSpec leaves[Element<H>::kLeaves];
  Element<H>::leaves(leaves);
  for (const LeafSpec& leaf : leaves) {
    *out = 0;
    __builtin_memcpy(out++, reinterpret_cast<const char*>(&host) + leaf.offset, static_cast<std::size_t>(size_of(leaf.dtype)));
  }
}
template <class H> H from_bits(const std::uint64_t* in) {
  LeafSpec leaves[Element<H>::kLeaves];
  Element<H>::leaves(leaves);
  H host{};
  for (const LeafSpec& leaf : leaves)
    __builtin_memcpy(reinterpret_cast<char*>(&host) + leaf.offset, in++, static_cast<std::size_t>(size_of(leaf.dtype)));
  return host;
}

template <class X, class A>
concept HostArgument = std::is_convertible_v<X, host_t<A>> && !CapturedValue<std::remove_cvref_t<X>> && !Captured<X>;
}  // namespace detail

template <class Sig> class Fn;

/// A captured function. Inside a kernel it is called (small ones become part of the kernel); outside, with numbers, it is evaluated.
template <class R, class... A>
class Fn<R(A...)> {
 public:
  using Result = R;
  using Parameters = TypeList<A...>;

  explicit Fn(std::shared_ptr<const Function> f) : f_(std::move(f)) {}
  const std::shared_ptr<const Function>& function() const { return f_; }
  /// The text form.
  std::string ir() const { return detail::ir_of(*f_); }

  template <class... X>
    requires(sizeof...(X) == sizeof...(A))
  auto operator()(X&&... x) const {
    if constexpr ((detail::HostArgument<X, A> && ...)) return on_host(static_cast<detail::host_t<A>>(x)...);
    else return captured(static_cast<X&&>(x)...);
  }

 private:
  std::shared_ptr<const Function> f_;

  R captured(const A&... a) const {
    const Loc at = f_ ? f_->loc : Loc{};
    std::vector<std::uint32_t> ids;
    ids.reserve((detail::kHandles<A> + ... + 0));
    (void)((void)[&] { for (int k = 0; k < detail::kHandles<A>; ++k) ids.push_back(detail::read(detail::handles(a)[k], at)); }(), ...);
    const auto results = detail::record_call(f_, ids, at);
    R r;
    for (int k = 0; k < detail::kHandles<R>; ++k) detail::assign(detail::handles(r)[k], results[static_cast<std::size_t>(k)], at);
    return r;
  }
  detail::host_t<R> on_host(const detail::host_t<A>&... a) const {
    std::uint64_t in[(detail::kHandles<A> + ... + 1)], out[detail::kHandles<R>];
    std::uint64_t* p = in;
    (detail::to_bits(a, p), ...);
    detail::call_on_host(*f_, in, static_cast<int>(p - in), out, detail::kHandles<R>);
    return detail::from_bits<detail::host_t<R>>(out);
  }
};

namespace detail {
template <class R, class P> struct FnOf;
template <class R, class... A> struct FnOf<R, TypeList<A...>> {
  using type = Fn<R(A...)>;
};
template <class L>
using fn_t =
    typename FnOf<typename Named<std::remove_cvref_t<typename Signature<L>::Result>>::type, typename Signature<L>::Parameters>::type;
}  // namespace detail

/// Captures a function of scalars, vectors and structs, for use inside kernels and on the host.
/// Throws   KernelError, with the user's line, for what cannot be captured; a function has no memory, so it is pure
/// Cost     small functions and those called once are inlined, others compiled once; a call on the host runs it in the evaluator, some microseconds
template <class L> detail::fn_t<L> fn(std::string name, const L& lambda, Loc at = Loc::here()) {
  return detail::fn_t<L>(detail::capture_fn(std::move(name), lambda, at));
}
template <class L>
  requires(!std::is_convertible_v<L, std::string>)
detail::fn_t<L> fn(const L& lambda, Loc at = Loc::here()) {
  return fn("fn", lambda, at);
}

}  // namespace fluxion
