// check_gradient: is the derivative of this kernel or program right here? Reverse mode against forward mode against
// central differences, parameter by parameter, with a report to read.
//
//   auto report = fx::check_gradient(k.over(n), x, y, 2.0);   arguments as for a launch; arrays are not changed
//   REQUIRE(report.ok); fmt::print("{}", report.text);
#pragma once
#include <string>

#include "fluxion/differentiate.h"
#include "fluxion/program.h"

namespace fluxion {

/// What check_gradient found.
struct GradientReport {
  struct Row {
    std::string parameter;
    double reverse = 0, forward = 0, difference = 0;  // the derivative along a random direction of this parameter
    double modes = 0, error = 0;                      // relative: reverse against forward, reverse against the difference
    bool ok = true;
  };
  bool ok = true;
  std::vector<Row> rows;
  std::string text;  // a line for each parameter; where one is wrong, its worst element
};

namespace detail {
FLUXION_API GradientReport check_gradient(const KernelHandle& k, std::array<std::int64_t, 3> domain, int rank,
                                          std::span<const Argument> arguments, Loc at);
FLUXION_API GradientReport check_gradient(const ProgramHandle& p, std::span<const Argument> arguments, std::span<const int> wrt, Loc at);
}  // namespace detail

/// Kernels. Runs in the evaluator (slow, with bounds and race checks) on copies.
/// Differences are of the numbers that the kernel makes: in f32 they are good to about 1e-2, in f64 to 1e-6; where a branch flips
/// within the step they are wrong and the derivative may be right.
/// Throws   what a launch throws, and KernelError for what cannot be differentiated
template <class... P> GradientReport check_gradient(const Launcher<P...>& launcher, HostArg<P>... args) {
  detail::Argument list[detail::kArguments<P...> + 1];
  detail::Argument* end = list;
  (detail::ArgumentOf<P>::push(end, args), ...);
  return detail::check_gradient(launcher.kernel(), launcher.domain(), launcher.rank(), {list, end}, launcher.at());
}
template <class... P> GradientReport check_gradient(const Kernel<P...>& k, HostArg<P>... args) {
  detail::Argument list[detail::kArguments<P...> + 1];
  detail::Argument* end = list;
  (detail::ArgumentOf<P>::push(end, args), ...);
  return detail::check_gradient(k.handle(), {1, 1, 1}, 0, {list, end}, k.function()->loc);
}
/// Programs that return floats and write no array of their caller. Runs on the arrays' device.
template <class... R, class... P>
GradientReport check_gradient(const Program<TypeList<R...>, TypeList<P...>>& p, typename detail::ProgramType<P>::Host... args) {
  const detail::Argument list[] = {detail::ProgramType<P>::argument(args)..., {}};
  const std::vector<int> wrt =
      detail::ProgramGradients<TypeList<P...>, std::make_integer_sequence<int, static_cast<int>(sizeof...(P))>>::positions();
  return detail::check_gradient(p.handle(), {list, sizeof...(P)}, wrt, p.handle().defined());
}

}  // namespace fluxion
