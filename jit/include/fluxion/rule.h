// Rules: derivatives of your own in place of those made from the body. A rule is as differentiable as any function or
// kernel, so higher orders follow from its body.
//
//   auto f = fx::rule(body).vjp([](fx::Float x, fx::Float w) { return w * 2.f * x; });
//
// The signatures are those that fx::vjp(body) and fx::jvp(body) would have; another one does not compile. A vjp of a function may
// also take the result, between the parameters and its cotangent, and need not compute it again.
#pragma once
#include "fluxion/differentiate.h"

namespace fluxion {
namespace detail {

/// `f` with these rules; throws KernelError where their signatures are not those of ad.h. Null: none.
FLUXION_API FunctionPointer with_rules(const FunctionPointer& f, FunctionPointer vjp, FunctionPointer jvp, Loc at);
/// How far the rules of `f` are from each other and from differences of `f`, at these arguments.
FLUXION_API void check_rules(const Function& f, const std::uint64_t* arguments, int n, Loc at);

/// `g`, a lambda or a function captured before, if it is one of the function types `Wanted`.
template <class... Wanted, class G> FunctionPointer rule_function(const char* name, const G& g, Loc at) {
  if constexpr ((std::is_base_of_v<Wanted, G> || ...)) {
    return g.function();
  } else {
    static_assert(!requires { g.function(); }, "this rule has another signature than fx::vjp or fx::jvp of the function has");
    static_assert((std::is_same_v<fn_t<G>, Wanted> || ...), "this rule has another signature than fx::vjp or fx::jvp of the function has");
    return fn(name, g, at).function();
  }
}
/// The vjp `V` with the result R after the parameters A.
template <class V, class R, class A> struct WithResult;
template <class G, class... All, class R, class... A> struct WithResult<Fn<G(All...)>, R, TypeList<A...>> {
  using type = typename FnOf<G, Concat<TypeList<A...>, TypeList<R>, adjoint_list<R>>>::type;
};
template <class Wanted, class G> Wanted rule_kernel(const char* name, const G& g, Loc at) {
  if constexpr (std::is_base_of_v<Wanted, G>) {
    return g;
  } else {
    static_assert(std::is_same_v<typename KernelOf<typename Signature<G>::Parameters>::type, Wanted>,
                  "this rule has another signature than fx::vjp or fx::jvp of the kernel has");
    return kernel(name, g, at);
  }
}
}  // namespace detail

/// A function or kernel and its rules; called and differentiated like any other.
template <class F> class Rule;

template <class R, class... A>
class Rule<Fn<R(A...)>> : public Fn<R(A...)> {
  using Base = Fn<R(A...)>;

 public:
  using Vjp = decltype(fluxion::vjp(std::declval<const Base&>()));
  using VjpWithResult = typename detail::WithResult<Vjp, R, TypeList<A...>>::type;
  using Jvp = decltype(fluxion::jvp(std::declval<const Base&>()));
  explicit Rule(std::shared_ptr<const Function> f) : Base(std::move(f)) {}

  /// (x..., [f(x),] cotangent of the result) -> the gradients of all float parameters; linear in the cotangent.
  template <class G> Rule vjp(const G& g, Loc at = Loc::here()) const {
    return Rule(detail::with_rules(this->function(), detail::rule_function<Vjp, VjpWithResult>("vjp rule", g, at),
                                   this->function()->rules.jvp, at));
  }
  /// (x..., tangents of the float parameters) -> (f(x), its tangent); linear in the tangents.
  template <class G> Rule jvp(const G& g, Loc at = Loc::here()) const {
    return Rule(detail::with_rules(this->function(), this->function()->rules.vjp, detail::rule_function<Jvp>("jvp rule", g, at), at));
  }
};

template <class... P>
class Rule<Kernel<P...>> : public Kernel<P...> {
  using Base = Kernel<P...>;

 public:
  using Vjp = decltype(fluxion::vjp(std::declval<const Base&>()));
  using Jvp = decltype(fluxion::jvp(std::declval<const Base&>()));
  explicit Rule(detail::FunctionPointer f) : Base(detail::KernelHandle(std::move(f))) {}

  /// As fx::vjp of the kernel with respect to all of its inputs. What only jvp or only vjp has a rule for is refused in the other mode.
  template <class G> Rule vjp(const G& g, Loc at = Loc::here()) const {
    return Rule(
        detail::with_rules(this->function(), detail::rule_kernel<Vjp>("vjp rule", g, at).function(), this->function()->rules.jvp, at));
  }
  /// As fx::jvp of the kernel.
  template <class G> Rule jvp(const G& g, Loc at = Loc::here()) const {
    return Rule(
        detail::with_rules(this->function(), this->function()->rules.vjp, detail::rule_kernel<Jvp>("jvp rule", g, at).function(), at));
  }
};

/// The value, a constant to differentiation: inside a kernel or function a number, in programs and on the host an array (a copy).
template <detail::Captured A> auto stop_gradient(A&& a, Loc at = Loc::here()) { return stop_grad(static_cast<A&&>(a), at); }
template <class T, int N> Buffer<T, N> stop_gradient(const Buffer<T, N>& a, Loc at = Loc::here()) {
  return detail::map(Opcode::stop_grad, a.array(), at);
}

/// The beginning of a rule: `fx::rule(f).vjp(g)`, `.jvp(h)`, or both. Of a function one of them is enough.
template <class R, class... A> Rule<Fn<R(A...)>> rule(const Fn<R(A...)>& f) { return Rule<Fn<R(A...)>>(f.function()); }
template <class... P> Rule<Kernel<P...>> rule(const Kernel<P...>& k) { return Rule<Kernel<P...>>(k.function()); }

/// Compares, at these arguments, jvp with vjp (dot products) and jvp with differences of `f`.
/// Throws   KernelError, with the numbers, where they do not agree
/// Cost     some evaluations on the host
template <class R, class... A>
void check_rules(const Fn<R(A...)>& f, const std::type_identity_t<detail::host_t<A>>&... a) {
  std::uint64_t in[(detail::kHandles<A> + ... + 1)], *p = in;
  (detail::to_bits(a, p), ...);
  detail::check_rules(*f.function(), in, static_cast<int>(p - in), f.function()->loc);
}

}  // namespace fluxion
