// What commands become: ":ir k" is `look("ir", "", k)`. Overloads for kernels, functions and programs; heavy parts are the host's.
#pragma once
#include <cmath>
#include <concepts>

#include "fluxion/console/show.h"

namespace fluxion::console {

// ---- :ir :llvm :asm :ptx :spirv :explain :grad
template <class... P> void show_code(const char* what, const char* stage, const Kernel<P...>& k) {
  emit(look(what, stage, k.handle()), "text");
}
template <class S> void show_code(const char* what, const char* stage, const Fn<S>& f) { emit(look(what, stage, *f.function()), "text"); }
template <class... P> void show_explanation(const Kernel<P...>& k) { emit(explain(*k.function()), "text"); }
template <class S> void show_explanation(const Fn<S>& f) { emit(explain(*f.function()), "text"); }

template <class... P> auto derivative(const Kernel<P...>& k) { return vjp(k); }
template <class S> auto derivative(const Fn<S>& f) {
  if constexpr (requires { grad(f); }) return grad(f);
  else return vjp(f);
}
template <class R, class P> auto derivative(const Program<R, P>& p) { return value_and_grad(p); }

/// A program has text for the shapes of arguments only: ":ir p(x)".
template <class R, class P> struct ShownProgram;
template <class... R, class... P> struct ShownProgram<TypeList<R...>, TypeList<P...>> {
  const char* what;
  Program<TypeList<R...>, TypeList<P...>> program;
  void operator()(typename detail::ProgramType<P>::Host... args) const {
    const detail::Argument list[] = {detail::ProgramType<P>::argument(args)..., {}};
    emit(look(what, program.handle(), {list, sizeof...(P)}), "text");
  }
};
template <class R, class P> ShownProgram<R, P> show_program(const char* what, const Program<R, P>& p) { return {what, p}; }

// ---- :time
template <class... P> struct TimedKernel {
  Launcher<P...> launcher;
  void operator()(HostArg<P>... args) const {
    detail::Argument list[detail::kArguments<P...> + 1];
    detail::Argument* end = list;
    (detail::ArgumentOf<P>::push(end, args), ...);
    time_kernel(launcher.kernel(), launcher.domain(), launcher.rank(), {list, end}, launcher.at());
  }
};
template <class... P> TimedKernel<P...> timed(const Launcher<P...>& l) { return {l}; }
template <class... P> TimedKernel<P...> timed(const Kernel<P...>& k) {
  return {Launcher<P...>(k.handle(), {1, 1, 1}, 0, k.function()->loc)};
}
template <class R, class P> struct TimedProgram;
template <class... R, class... P> struct TimedProgram<TypeList<R...>, TypeList<P...>> {
  Program<TypeList<R...>, TypeList<P...>> program;
  void operator()(typename detail::ProgramType<P>::Host... args) const {
    const detail::Argument list[] = {detail::ProgramType<P>::argument(args)..., {}};
    time_program(program.handle(), {list, sizeof...(P)}, program.handle().defined());
  }
};
template <class R, class P> TimedProgram<R, P> timed(const Program<R, P>& p) { return {p}; }

template <class... P> void wants_call(const Kernel<P...>&);
template <class... P> void wants_call(const Launcher<P...>&);
template <class S> void wants_call(const Fn<S>&);
template <class R, class P> void wants_call(const Program<R, P>&);
/// Any expression, but not the naming of what is to be called.
template <class F> void time_expression(const F& code) {
  if constexpr (requires { wants_call(code()); })
    throw Error({}, ":time needs a call with all arguments: :time k(x, y); the name alone shows what these are");
  else time_code([&] { (void)code(); });
}

// ---- :check
inline void report(const GradientReport& r) {
  emit(text_of(r), "fx::GradientReport");
  if (!r.ok) fail("check");
}

// ---- :plot
template <class T, int N> void plot(const char* name, const char* out, const Buffer<T, N>& b) { plot_array(b.array(), name, out); }
template <class C>
  requires(Range<C> && std::is_arithmetic_v<typename C::value_type>)
void plot(const char* name, const char* out, const C& numbers) {
  plot_numbers(std::vector<double>(numbers.begin(), numbers.end()), 0, static_cast<double>(numbers.size()) - 1, name, out);
}
template <class F>
concept Curve = requires(const F& f) {
  { f(1.0f) } -> std::convertible_to<double>;
} || requires(const F& f) {
  { f(1.0) } -> std::convertible_to<double>;
};
/// A function of one number, on [low, high].
template <Curve F>
void plot(const char* name, const char* out, const F& f, double low = -1, double high = 1) {
  std::vector<double> y(512);
  for (std::size_t k = 0; k < y.size(); ++k) {
    const double x = low + (high - low) * static_cast<double>(k) / static_cast<double>(y.size() - 1);
    if constexpr (requires { static_cast<double>(f(static_cast<float>(x))); }) y[k] = static_cast<double>(f(static_cast<float>(x)));
    else y[k] = static_cast<double>(f(x));
  }
  plot_numbers(y, low, high, name, out);
}

}  // namespace fluxion::console
