// Kernel<P...>: the typed face of a captured kernel. P are the parameters as the lambda wrote them; a call takes
// exactly the host types that belong to them.
//
//   auto k = fx::kernel("saxpy", [](fx::In<float> x, fx::InOut<float> y, fx::Float a) { ... });
//   k.over(n)(x, y, 2.f);     launches over n points; returns at once, see Device
//   k(x, y, 2.f);             over the extents of the first array with as many axes as the kernel has indices
#pragma once
#include "fluxion/buffer.h"
#include "fluxion/capture.h"
#include "fluxion/kernel_handle.h"

namespace fluxion {
namespace detail {

/// A scalar argument: a number of the host or, while a program is captured, a value of that program.
template <class T>
struct ScalarArgument {
  Argument argument;
  template <LiteralFor<T> N> ScalarArgument(N n) { argument.bits = bits_of<T>(static_cast<T>(n)); }
  template <class U>
    requires kPromotes<U, T>
  ScalarArgument(const Var<U>& v, Loc at = Loc::here()) {
    argument.traced = convert(read(v.handle(), at), dtype_of<T>, at);
  }
};

// What the host passes for a parameter P, and how many parameters of the Function it stands for.
template <class P> struct ArgumentOf {  // no parameter at all: capture says so
  using type = const P&;
  static constexpr int kCount = 0;
  static void push(Argument*&, type) {}
};
template <CapturedValue P> struct ArgumentOf<P> {  // a vector or struct: a parameter for each of its leaves
  using type = const host_t<P>&;
  static constexpr int kCount = kHandles<P>;
  static void push(Argument*& to, type a) {
    std::uint64_t bits[kCount], *end = bits;
    to_bits(a, end);
    for (const std::uint64_t b : bits) (to++)->bits = b;
  }
};
template <class T> struct ArgumentOf<Var<T>> {
  using type = ScalarArgument<T>;
  static constexpr int kCount = 1;
  static void push(Argument*& to, const type& a) { *to++ = a.argument; }
};
template <ArrayParameter P>
struct ArgumentOf<P> {
  using type = const Buffer<typename P::element_type, P::kRank>&;
  static constexpr int kCount = 1;
  static void push(Argument*& to, type a) { (to++)->array = a.array().shared(); }
};

template <class... P> inline constexpr int kArguments = (0 + ... + ArgumentOf<P>::kCount);

template <class Arguments, class... P> inline constexpr bool kFits = false;
template <class... A, class... P>
  requires(sizeof...(A) == sizeof...(P))
inline constexpr bool kFits<TypeList<A...>, P...> = (std::is_convertible_v<A, typename ArgumentOf<P>::type> && ...);
/// Arguments that a call does not take: an overload for them says so in words.
template <class Arguments, class... P> inline constexpr bool kUnfit = false;
template <class... A, class... P>
inline constexpr bool kUnfit<TypeList<A...>, P...> = !kFits<TypeList<A...>, P...> && !(std::is_same_v<std::remove_cvref_t<A>, Loc> || ...);
template <class Arguments, class... P> struct RefuseArguments;
template <class... A, class... P> struct RefuseArguments<TypeList<A...>, P...> {
  static_assert(sizeof...(A) == sizeof...(P),
                "a launch takes one argument for each parameter of the kernel, in their order, after the domain: k.over(n)(x, y, 2.f)");
  static_assert(sizeof...(A) != sizeof...(P) || kFits<TypeList<A...>, P...>,
                "an argument does not fit its parameter: In, Out, InOut and Accum take a buffer of their element type and rank, "
                "fx::Float and the like a number");
};

}  // namespace detail

/// What a call with these parameters takes.
template <class P> using HostArg = typename detail::ArgumentOf<P>::type;

/// A kernel and the domain it is to run over.
template <class... P>
class Launcher {
 public:
  Launcher(detail::KernelHandle kernel, std::array<std::int64_t, 3> domain, int rank, Loc at)
      : kernel_(std::move(kernel)), domain_(domain), rank_(rank), at_(at) {}
  void operator()(HostArg<P>... args) const {
    detail::Argument list[detail::kArguments<P...> + 1];
    detail::Argument* end = list;
    (detail::ArgumentOf<P>::push(end, args), ...);
    kernel_.launch(domain_, rank_, {list, end}, at_);
  }
  template <class... A>
    requires detail::kUnfit<TypeList<A...>, P...>
  void operator()(A&&...) const {
    (void)sizeof(detail::RefuseArguments<TypeList<A...>, P...>);
  }
  const detail::KernelHandle& kernel() const { return kernel_; }
  std::array<std::int64_t, 3> domain() const { return domain_; }
  int rank() const { return rank_; }
  Loc at() const { return at_; }

 private:
  detail::KernelHandle kernel_;
  std::array<std::int64_t, 3> domain_;
  int rank_;
  Loc at_;
};

template <class... P>
class Kernel {
 public:
  Kernel() = default;
  explicit Kernel(detail::KernelHandle handle) : handle_(std::move(handle)) {}

  // ---- the domain, slowest axis first; 0 points run nothing. A launch is asynchronous and in order with all others of
  // its device. Throws ShapeError and DeviceError for arguments that do not fit, KernelError where one array that is
  // written comes twice; what goes wrong on the device is thrown by the next call that waits.
  Launcher<P...> over(std::int64_t n, Loc at = Loc::here()) const { return {handle_, {n, 1, 1}, 1, at}; }
  Launcher<P...> over(std::int64_t n, std::int64_t m, Loc at = Loc::here()) const { return {handle_, {n, m, 1}, 2, at}; }
  Launcher<P...> over(std::int64_t n, std::int64_t m, std::int64_t k, Loc at = Loc::here()) const { return {handle_, {n, m, k}, 3, at}; }
  void operator()(HostArg<P>... args, Loc at = Loc::here()) const { Launcher<P...>(handle_, {1, 1, 1}, 0, at)(args...); }
  template <class... A>
    requires detail::kUnfit<TypeList<A...>, P...>
  void operator()(A&&...) const {
    (void)sizeof(detail::RefuseArguments<TypeList<A...>, P...>);
  }

  /// Runs in the evaluator on the calling thread, with bounds and race checks; errors are thrown by the launch.
  Kernel eager() const { return Kernel(handle_.eager()); }
  /// Permits results that depend on the order of threads.
  Kernel relaxed() const { return Kernel(handle_.relaxed()); }
  /// Permits algebra that is true of reals only.
  Kernel fast() const { return Kernel(handle_.fast()); }
  Kernel with(const CompileOptions& options) const { return Kernel(handle_.with(options)); }

  /// Writes the kernel as files that are used without this library, and gives their names (docs/guide.md, "Export").
  /// Targets  "native" "x86-64" "x86-64-v3" "x86-64-v4" "aarch64": NAME.TARGET.o and NAME.h for C; "spirv", "ptx": code for GPUs;
  ///          "python": NAME.py; always NAME.json, which describes them
  /// Throws   KernelError for a kernel that needs the library (host functions, ...), DeviceError for an unknown target, IoError
  std::vector<std::string> export_to(const std::string& directory, const std::vector<std::string>& targets = {"native"},
                                     const ExportOptions& options = {}, Loc at = Loc::here()) const {
    return handle_.export_to(directory, targets, options, at);
  }

  /// The text form.
  std::string ir() const { return handle_.ir(); }
  /// "ir", "lowered", "llvm" or "asm", as far as the device has it.
  std::string dump(std::string_view what, const Device& device = Device::best()) const { return handle_.dump(what, device); }
  const std::shared_ptr<const Function>& function() const { return handle_.function(); }
  const detail::KernelHandle& handle() const { return handle_; }

 private:
  detail::KernelHandle handle_;
};

namespace detail {
template <class S> struct KernelOf;
template <class... P> struct KernelOf<TypeList<P...>> {
  using type = Kernel<P...>;
};
}  // namespace detail

/// Captures `body`, now and once: host variables that it reads become constants.
/// Throws   KernelError, with the user's line, for what cannot be captured
/// Cost     some microseconds an op; code is made at the first launch on a device, and kept in memory and on disk
template <class L>
auto kernel(const char* name, const L& body, Loc at = Loc::here()) {
  using K = typename detail::KernelOf<typename detail::Signature<L>::Parameters>::type;
  return K(detail::KernelHandle(detail::capture_kernel(name, body, at)));
}
template <class L>
auto kernel(const L& body, Loc at = Loc::here()) {
  return kernel("kernel", body, at);
}
/// A kernel whose threads work in groups (groups.h): fx::kernel("sum", fx::groups(64), [](...) { ... }). It is launched over
/// extents that are multiples of the group's.
template <class L>
auto kernel(const char* name, const Groups& groups, const L& body, Loc at = Loc::here()) {
  using K = typename detail::KernelOf<typename detail::Signature<L>::Parameters>::type;
  return K(detail::KernelHandle(detail::capture_kernel(name, body, at, &groups)));
}

}  // namespace fluxion
