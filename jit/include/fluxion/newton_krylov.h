// Large nonlinear systems in programs: residual(x, p...) = 0 by Newton's method, each step a linear solve with the Jacobian as
// an operator (its jvp), so that no matrix is made. The derivative is that of the implicit function: one solve with the transposed
// Jacobian at the root, however many steps it took to get there.
//
//   auto steady = fx::newton_krylov(fx::program([=](fx::Buffer<double> u, fx::Buffer<double> k) { ...; return r; }));
//   auto u = steady(start, k);
#pragma once
#include "fluxion/linear_solve.h"

namespace fluxion {

/// When Newton's method ends.
struct NewtonOptions {
  double tolerance = 0;       // of the last step, relative to 1 + |x|, in 2-norms; 0: 1e-9 in double, 1e-4 in float
  int max_steps = 50;         // reaching it is an error
  SolverOptions linear = {};  // of the system that gives a step, and of the derivative's
};

namespace detail {

/// A zero tangent for each float parameter of a program.
template <class P> auto zero_tangent(const P& p) {
  using Type = ProgramType<P>;
  if constexpr (!Type::kFloat) {
    (void)p;
    return std::tuple<>();
  } else if constexpr (requires { p.array(); }) {
    using Tangent = typename Type::Cotangent;
    return std::tuple<Tangent>(Array::make(p.device(), element_of<typename Tangent::value_type>(), p.array().shape(), Array::Fill::zeros));
  } else {
    return std::tuple<typename Type::Cotangent>(typename Type::Cotangent(0.0f));
  }
}

}  // namespace detail

/// The solver x of residual(x, p...) = 0, from a start x0: a program (x0, p...) -> x.
/// Differentiable  in p..., any order, both modes, by the implicit function theorem; in x0 the derivative is 0
/// Throws   KernelError at the next wait: without convergence, with the last step; where a linear solve does not converge
/// Cost     of a step: the residual and a linear solve with its jvp; of a derivative: a linear solve and two vjps
/// Source   Knoll & Keyes, Jacobian-free Newton-Krylov methods, 2004
template <class T, int N, class... P>
auto newton_krylov(const detail::Operator<T, N, P...>& residual, const NewtonOptions& options = {}, Loc at = Loc::here()) {
  using B = Buffer<T, N>;
  const T near = T(options.tolerance > 0 ? options.tolerance : sizeof(T) == 8 ? 1e-9 : 1e-4);
  const int most = options.max_steps;
  const auto krylov = detail::krylov<T, N>(options.linear, "newton_krylov", at, true);
  const auto forward = jvp(residual);
  const auto backward = vjp(residual);
  const auto jacobian = program(
      "jacobian",
      [=](B v, B x, P... p) {
        const detail::At here(at);
        return std::apply(
            [&](const auto&... zeros) { return std::get<1>(forward(detail::own(x), detail::own(p)..., detail::own(v), zeros...)); },
            std::tuple_cat(detail::zero_tangent(p)...));
      },
      at);
  const auto solver = detail::turning_solver<T, N, B, P...>(jacobian, options.linear, at, true);
  const auto newton = program(
      "newton_krylov",
      [=](B x0, P... p) {
        const detail::At here(at);
        const B x = copy(x0);
        Var<T> change = T(1) + near;
        Int steps = 0;
        for ([[maybe_unused]] auto step : while_([&] { return change > near && steps < most; })) {
          const B r = residual(detail::own(x), detail::own(p)...);
          detail::check_gives("newton_krylov", "residual", r.array(), x.array(), at);
          const B d = krylov.bicgstab(r, [&](const B& v) { return jacobian(v, x, p...); });
          krylov.add(T(-1), d, T(1), x);
          change = sqrt(krylov.product(d, d)) / (T(1) + sqrt(krylov.product(x, x)));
          steps += 1;
        }
        check(change <= near,
              "newton_krylov: no convergence: after {} steps the last one was {} of x; start closer, or scale the equations", steps,
              change);
        return x;
      },
      at);
  return rule(newton).vjp(
      [=](B x0, P... p, B x, B w) {
        const detail::At here(at);
        const B l = solver(w, x, p..., 1);
        return detail::with_first(zeros_like(x0), backward(x, p..., -l));  // where the search starts does not matter
      },
      at);
}

}  // namespace fluxion
