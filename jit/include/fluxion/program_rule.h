// Rules of whole programs, and check_rules for kernels and programs: rule.h for programs.
//
//   auto p = fx::rule(solver).vjp([=](fx::Buffer<double> a, fx::Buffer<double> y, fx::Buffer<double> w) { ... return gradient_of_a; });
//
// A rule has the signature of fx::vjp(solver) or fx::jvp(solver); a vjp may take what the program returned, before the cotangents.
#pragma once
#include "fluxion/check_gradient.h"
#include "fluxion/rule.h"

namespace fluxion {
namespace detail {

/// `g`, a program or a lambda for one, if its type is one of `Wanted`: its handle, and which type it is.
struct ProgramRule {
  ProgramHandle handle;
  int which = 0;
};
template <class... Wanted, class G> ProgramRule program_rule(const char* name, const G& g, Loc at) {
  const auto pick = [](const auto& p) {
    using T = std::remove_cvref_t<decltype(p)>;
    static_assert((std::is_base_of_v<Wanted, T> || ...), "this rule has another signature than fx::vjp or fx::jvp of the program has");
    int which = 0, k = 0;
    ((which = std::is_base_of_v<Wanted, T> ? k : which, ++k), ...);
    return ProgramRule{p.handle(), which};
  };
  if constexpr (requires { g.handle(); }) return pick(g);
  else return pick(program(name, g, at));
}

[[noreturn]] FLUXION_API void rules_do_not_fit(const std::string& report, Loc at);

}  // namespace detail

/// A program and its rules; called, transformed and used in other programs like any program.
/// Refused  programs and rules that write their parameters or reach arrays outside of them
template <class... R, class... P>
class Rule<Program<TypeList<R...>, TypeList<P...>>> : public Program<TypeList<R...>, TypeList<P...>> {
  using Base = Program<TypeList<R...>, TypeList<P...>>;
  using Cotangents =
      typename detail::JoinedAll<detail::ListIf<detail::ProgramType<R>::kFloat, typename detail::ProgramType<R>::Cotangent>...>::type;

 public:
  using Vjp = decltype(fluxion::vjp(std::declval<const Base&>()));
  using VjpWithResults = Program<typename Vjp::Results, typename detail::JoinedAll<TypeList<P...>, TypeList<R...>, Cotangents>::type>;
  using Jvp = decltype(fluxion::jvp(std::declval<const Base&>()));
  explicit Rule(detail::ProgramHandle h) : Base(std::move(h)) {}

  /// (x..., [what it returns,] a cotangent for each float value that it returns) -> a gradient for each float parameter, of a
  /// scalar a buffer of one element; linear in the cotangents.
  template <class G> Rule vjp(const G& g, Loc at = Loc::here()) const {
    const detail::ProgramRule r = detail::program_rule<Vjp, VjpWithResults>("vjp rule", g, at);
    return with(r.handle, this->handle().rule(false), r.which == 1, at);
  }
  /// (x..., a tangent for each float parameter) -> what it returns, then a tangent for each float value of that; linear in the tangents.
  template <class G> Rule jvp(const G& g, Loc at = Loc::here()) const {
    const detail::ProgramRule r = detail::program_rule<Jvp>("jvp rule", g, at);
    return with(this->handle().rule(true), r.handle, this->handle().rule_takes_results(), at);
  }

 private:
  Rule with(const detail::ProgramHandle& vjp, const detail::ProgramHandle& jvp, bool results, Loc at) const {
    return Rule(this->handle().ruled(vjp, jvp, results, {detail::ProgramType<P>::parameter()...},
                                     {static_cast<char>(detail::ProgramType<R>::parameter().rank == 0)...}, at));
  }
};

/// As for functions: one of the rules is enough, the other mode is made from it.
template <class R, class P> Rule<Program<R, P>> rule(const Program<R, P>& p) { return Rule<Program<R, P>>(p.handle()); }

/// Compares the modes that a kernel with rules has, and differences, at these arguments: see check_gradient.
/// Throws   KernelError, with the report, where they do not agree
template <class... P> void check_rules(const Launcher<P...>& launcher, HostArg<P>... args) {
  const GradientReport report = check_gradient(launcher, args...);
  if (!report.ok) detail::rules_do_not_fit(report.text, launcher.at());
}
/// The same for programs.
template <class... R, class... P>
void check_rules(const Program<TypeList<R...>, TypeList<P...>>& p, typename detail::ProgramType<P>::Host... args) {
  const GradientReport report = check_gradient(p, args...);
  if (!report.ok) detail::rules_do_not_fit(report.text, p.handle().defined());
}

}  // namespace fluxion
