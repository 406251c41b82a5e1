// Host functions that work on arrays: their parameters, and the kernels that they are. Made by fx::external.
#pragma once
#include <functional>

#include "fluxion/external_code.h"
#include "fluxion/rule.h"

namespace fluxion {
namespace detail {

/// An array as a host function sees it: row-major, in the host's memory, for the length of the call.
template <class E, int N, Role R>
struct HostArray {
  using element_type = std::remove_const_t<E>;
  static constexpr int kRank = N;
  static constexpr Role kHostRole = R;

  E* data = nullptr;
  std::array<std::int64_t, 3> extents{1, 1, 1};

  std::int64_t extent(int axis) const { return extents[static_cast<std::size_t>(axis)]; }
  std::int64_t size() const { return extents[0] * extents[1] * extents[2]; }
  E& operator[](std::int64_t i) const
    requires(N == 1)
  {
    return data[i];
  }
  E& operator()(std::int64_t i, std::int64_t j) const
    requires(N == 2)
  {
    return data[i * extents[1] + j];
  }
  E& operator()(std::int64_t i, std::int64_t j, std::int64_t k) const
    requires(N == 3)
  {
    return data[(i * extents[1] + j) * extents[2] + k];
  }
  E* begin() const { return data; }
  E* end() const { return data + size(); }
};
template <class A>
concept HostArrayParameter = requires { A::kHostRole; };

FLUXION_API FunctionPointer make_external_kernel(std::string name, const std::vector<ExternalParameter>& parameters,
                                                 std::function<void(const ExternalArray*, const std::uint64_t*)> launch, Loc at);
[[noreturn]] FLUXION_API void refuse_impure_kernel(const std::string& name, Loc at);

template <class A> struct HostParameter {  // a number
  static_assert(Scalar<A>, "a host function that works on arrays takes numbers and fx::HostIn, HostOut, HostInOut, HostAccum");
  using type = Var<A>;
  static void add(std::vector<ExternalParameter>& to) { to.push_back({dtype_of<A>, 0, Role::in}); }
  static A take(const ExternalArray*&, const std::uint64_t*& scalars) { return from_bits<A>(scalars++); }
};
template <Role R, class T, int N> struct ParameterOfRole;
template <class T, int N> struct ParameterOfRole<Role::in, T, N> {
  using type = In<T, N>;
};
template <class T, int N> struct ParameterOfRole<Role::out, T, N> {
  using type = Out<T, N>;
};
template <class T, int N> struct ParameterOfRole<Role::inout, T, N> {
  using type = InOut<T, N>;
};
template <class T, int N> struct ParameterOfRole<Role::accum, T, N> {
  using type = Accum<T, N>;
};
template <HostArrayParameter A> struct HostParameter<A> {
  using T = typename A::element_type;
  using type = typename ParameterOfRole<A::kHostRole, T, A::kRank>::type;
  static void add(std::vector<ExternalParameter>& to) { to.push_back({element_of<T>(), A::kRank, A::kHostRole}); }
  static A take(const ExternalArray*& arrays, const std::uint64_t*&) {
    A a;
    a.data = reinterpret_cast<T*>(arrays->data);
    a.extents = (arrays++)->extent;
    return a;
  }
};
}  // namespace detail

/// Arrays of a host function, with the roles that those of a kernel have.
template <class T, int N = 1> struct HostIn : detail::HostArray<const T, N, Role::in> {};
template <class T, int N = 1> struct HostOut : detail::HostArray<T, N, Role::out> {};
template <class T, int N = 1> struct HostInOut : detail::HostArray<T, N, Role::inout> {};
template <class T, int N = 1> struct HostAccum : detail::HostArray<T, N, Role::accum> {};  // to be added to

namespace detail {
/// external.h: the HostKernel that `f` is.
template <class F> auto host_rule(std::string name, F f, Loc at);
}  // namespace detail

/// A host function on arrays: a kernel that runs once for each launch. Its rules are host functions too.
template <class... P>
class HostKernel : public Kernel<P...> {
  using Base = Kernel<P...>;

 public:
  explicit HostKernel(detail::FunctionPointer f) : Base(detail::KernelHandle(std::move(f))) {}

  void operator()(HostArg<P>... args, Loc at = Loc::here()) const { Launcher<P...>(this->handle(), {1, 1, 1}, 1, at)(args...); }

  /// The parameters are those of fx::vjp(kernel): HostIn for In, and so on. A function or an external made before.
  template <class G> HostKernel vjp(const G& g, Loc at = Loc::here()) const {
    return HostKernel(detail::with_rules(this->function(), rule<decltype(fluxion::vjp(std::declval<const Base&>()))>(g, "vjp", at),
                                         this->function()->rules.jvp, at));
  }
  template <class G> HostKernel jvp(const G& g, Loc at = Loc::here()) const {
    return HostKernel(detail::with_rules(this->function(), this->function()->rules.vjp,
                                         rule<decltype(fluxion::jvp(std::declval<const Base&>()))>(g, "jvp", at), at));
  }

 private:
  template <class Wanted, class G> detail::FunctionPointer rule(const G& g, const char* mode, Loc at) const {
    if constexpr (requires { g.function(); }) {
      static_assert(std::is_base_of_v<Wanted, G>, "this rule has another signature than fx::vjp or fx::jvp of the host function has");
      static_assert(!std::is_same_v<Wanted, G>,
                    "the rule of a host function on arrays is a host function too, since it runs once for a launch");
      return g.function();
    } else {
      const auto made = detail::host_rule(this->function()->name + "." + mode, g, at);
      static_assert(std::is_base_of_v<Wanted, std::remove_const_t<decltype(made)>>,
                    "this rule has another signature than fx::vjp or fx::jvp of the host function has");
      return made.function();
    }
  }
};

}  // namespace fluxion
