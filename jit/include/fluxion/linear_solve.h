// Large linear systems in programs: A x = b with A given as what it does to an array, apply(x, p...) -> A(p) x, a program or a
// kernel. fx::cg for symmetric positive definite operators, fx::linear_solve for any. The iteration stops when the residual is
// small enough, and nobody differentiates through it: the derivative is one more solve, with the transpose,
//   b_ = l,  p_ = the vjp of apply in p at x with cotangent -l,  where A^T l = x_,
// so that its memory does not depend on the number of iterations; second derivatives solve again.
//
//   auto poisson = fx::cg(fx::program([=](fx::Buffer<double, 2> u, fx::Buffer<double, 2> k) { ...; return Au; }));
//   auto u = poisson(f, k);                                 // on the host, or inside a program
#pragma once
#include <limits>

#include "fluxion/program_rule.h"

namespace fluxion {

/// When the iteration ends.
struct SolverOptions {
  double tolerance = 0;       // of |b - A x| relative to |b|, in 2-norms; 0: 1e-10 in double, 1e-5 in float
  int max_iterations = 1000;  // products with A; reaching it is an error
};

namespace detail {

template <class T> constexpr double solver_tolerance(const SolverOptions& o) {
  return o.tolerance > 0 ? o.tolerance : sizeof(T) == 8 ? 1e-10 : 1e-5;
}

/// f(place of the thread) for a kernel over N axes; the place is given to parameters as at(x).
template <int N, class F> void at_each(const F& f) {
  if constexpr (N == 1) {
    auto i = index();
    f([&](auto& a) -> decltype(auto) { return a[i]; });
  } else if constexpr (N == 2) {
    auto [i, j] = index<2>();
    f([&, i = i, j = j](auto& a) -> decltype(auto) { return a(i, j); });
  } else {
    auto [i, j, k] = index<3>();
    f([&, i = i, j = j, k = k](auto& a) -> decltype(auto) { return a(i, j, k); });
  }
}
/// y = a x + b y.
template <class T, int N> auto axpby_kernel() {
  return kernel("axpby",
                [](In<T, N> x, InOut<T, N> y, Var<T> a, Var<T> b) { at_each<N>([&](const auto& at) { at(y) = a * at(x) + b * at(y); }); });
}
template <class T, int N> void axpby(const Kernel<In<T, N>, InOut<T, N>, Var<T>, Var<T>>& k, const Var<T>& a, const Buffer<T, N>& x,
                                     const Var<T>& b, const Buffer<T, N>& y) {
  const auto s = y.shape();
  if constexpr (N == 1) k.over(s[0])(x, y, a, b);
  else if constexpr (N == 2) k.over(s[0], s[1])(x, y, a, b);
  else k.over(s[0], s[1], s[2])(x, y, a, b);
}

/// Throws ShapeError where an operator or residual gives an array of another shape than that of the unknowns.
FLUXION_API void check_gives(const char* solver, const char* what, const Array& gives, const Array& unknowns, Loc at);

/// What an operator is given: one that writes it in place has a copy, which costs nothing for one that does not.
template <class P> P own(const P& p) {
  if constexpr (requires { p.array(); }) return copy(p);
  else return p;
}

/// The iterations, for products with A as a function of an array. All are restarted from b - A x itself when the residual that
/// they carry along is small enough, until that of x is.
template <class T, int N> struct Krylov {
  using Array_ = Buffer<T, N>;
  Kernel<In<T, N>, InOut<T, N>, Var<T>, Var<T>> combine = axpby_kernel<T, N>();
  Kernel<InOut<T, N>, Var<T>, Var<T>> rescale =
      kernel("rescale", [](InOut<T, N> x, Var<T> a, Var<T> b) { at_each<N>([&](const auto& at) { at(x) = at(x) * a / b; }); });
  double tolerance;
  int most;
  const char* name;
  Loc at;
  bool linear = false;    // known to be: nobody needs to look
  bool positive = false;  // has to be positive definite

  /// What an operator gives for `x`.
  Array_ like(const Array_& x, const Array_& gives) const {
    check_gives(name, "operator", gives.array(), x.array(), at);
    return gives;
  }
  static Var<T> product(const Array_& a, const Array_& b) { return item(dot(a, b)); }
  void add(const Var<T>& a, const Array_& x, const Var<T>& b, const Array_& y) const { axpby(combine, a, x, b, y); }  // y = a x + b y

  void times(const Array_& x, const Var<T>& a, const Var<T>& b) const {  // x *= a / b
    const auto s = x.shape();
    if constexpr (N == 1) rescale.over(s[0])(x, a, b);
    else if constexpr (N == 2) rescale.over(s[0], s[1])(x, a, b);
    else rescale.over(s[0], s[1], s[2])(x, a, b);
  }

  template <class Multiply, class Sweep> Array_ restarted(const Array_& right, const Multiply& multiply, const Sweep& sweep) const {
    const std::string who(name);
    const Var<T> sum_abs = item(sum(abs(right)));
    check(sum_abs <= std::numeric_limits<T>::max(), (who + ": the right side is not finite: its numbers add up to {}").c_str(), sum_abs);
    // Of size 1, so that no product of small numbers is 0 and none of large ones is infinite.
    const Var<T> size = select(sum_abs > T(0), sum_abs, T(1));
    const Array_ b = copy(right);
    times(b, T(1), size);
    const Array_ x = zeros_like(b), r = copy(b);
    const Var<T> bb = product(b, b), limit = bb * T(tolerance * tolerance);
    Var<T> rr = bb;
    Int n = 0;
    for ([[maybe_unused]] auto restart : while_([&] { return rr > limit && n < most; })) {
      sweep(x, r, rr, limit, n);
      r.copy_from(multiply(x));
      add(T(1), b, T(-1), r);
      rr = product(r, r);
    }
    const std::string broken = who + ": after {} iterations the residual is not finite: the operator is singular" +
                               (positive ? " or not positive definite" : "") + ", or gives numbers that are not finite";
    check(rr <= std::numeric_limits<T>::max(), broken.c_str(), n);
    const std::string text = who +
                             ": no convergence: after {} iterations the residual is {} times the right side, {} is asked for; "
                             "raise max_iterations, or loosen the tolerance; of a singular operator no number is enough";
    check(rr <= limit, text.c_str(), n, sqrt(rr / bb), Var<T>(T(tolerance)));
    times(x, size, T(1));
    if (!linear) {
      const Array_ opposite = copy(x);
      times(opposite, T(-0.75), T(1));
      const Array_ off = multiply(opposite);
      times(off, T(1) / T(0.75), size);
      add(T(1), b, T(1), off);
      check(product(off, off) <= limit * T(1e4),
            (who + ": the operator is not linear in the array that it is applied to; for equations that "
                   "are not linear there is fx::newton_krylov")
                .c_str());
    }
    return x;
  }

  /// The same for slopes, in rules: the transpose of a linear operator does not depend on where it is taken. (x, w) -> J(x)^T w.
  template <class Transposed> void check_slopes(const Array_& x, const Transposed& transposed) const {
    const Array_ here = transposed(x, x), off = transposed(x * x, x);
    add(T(-1), here, T(1), off);
    check(product(off, off) <= product(here, here) * T(1e4 * tolerance * tolerance),
          (std::string(name) +
           ": the slope of the operator depends on the array that it is applied to; for equations that are not linear there "
           "is fx::newton_krylov")
              .c_str());
  }

  // Hestenes & Stiefel 1952.
  template <class Multiply> Array_ conjugate_gradients(const Array_& b, const Multiply& multiply) const {
    return restarted(b, multiply, [&](const Array_& x, const Array_& r, Var<T>& rr, const Var<T>& limit, Int& n) {
      const Array_ d = copy(r);
      for ([[maybe_unused]] auto step : while_([&] { return rr > limit && n < most; })) {
        const Array_ q = multiply(d);
        const Var<T> curvature = product(d, q);
        check(!(curvature <= T(0)), "cg: the operator is not positive definite: x.Ax is {} for some x; use fx::linear_solve", curvature);
        const Var<T> alpha = rr / curvature;
        add(alpha, d, T(1), x);
        add(-alpha, q, T(1), r);
        const Var<T> next = product(r, r);
        add(T(1), r, next / rr, d);
        rr = next;
        n += 1;
      }
    });
  }

  // BiCGSTAB: van der Vorst 1992. A sweep ends early where a product that it divides by is lost to rounding.
  template <class Multiply> Array_ bicgstab(const Array_& b, const Multiply& multiply) const {
    return restarted(b, multiply, [&](const Array_& x, const Array_& r, Var<T>& rr, const Var<T>& limit, Int& n) {
      constexpr T kLost = sizeof(T) == 8 ? T(1e-14) : T(1e-6);
      const Array_ shadow = copy(r), p = zeros_like(r), v = zeros_like(r);
      const Var<T> size = rr;
      Var<T> rho = T(1), alpha = T(1), omega = T(1);
      Bool lost = false;
      for ([[maybe_unused]] auto step : while_([&] { return rr > limit && n < most && !lost; })) {
        const Var<T> next = product(shadow, r), beta = next / rho * (alpha / omega);
        add(-omega, v, T(1), p);
        add(T(1), r, beta, p);
        v.copy_from(multiply(p));
        const Var<T> along = product(shadow, v);
        lost = abs(along) <= kLost * sqrt(size * product(v, v));
        alpha = select(lost, T(0), next / along);
        add(-alpha, v, T(1), r);
        const Array_ t = multiply(r);
        const Var<T> tt = product(t, t);
        omega = select(tt > T(0), product(t, r) / tt, T(0));
        add(alpha, p, T(1), x);
        add(omega, r, T(1), x);
        add(-omega, t, T(1), r);
        lost = lost || omega == T(0) || abs(next) <= kLost * kLost * size;
        rho = next;
        rr = product(r, r);
        n += 2;
      }
    });
  }
};

template <class First, class... Rest> auto with_first(const First& first, const std::tuple<First, Rest...>& all) {
  return std::apply([&](const First&, const Rest&... rest) { return std::tuple(first, rest...); }, all);
}
template <class First> First with_first(const First& first, const First&) { return first; }

template <class T, int N, class... P> using Operator = Program<TypeList<Buffer<T, N>>, TypeList<Buffer<T, N>, P...>>;

template <class T, int N> Krylov<T, N> krylov(const SolverOptions& o, const char* name, Loc at, bool linear = false) {
  static_assert(std::is_same_v<T, float> || std::is_same_v<T, double>, "the unknowns of a linear system are float or double");
  return {.tolerance = solver_tolerance<T>(o), .most = o.max_iterations, .name = name, .at = at, .linear = linear};
}

/// apply as a program, from a kernel that is given x first and fills an Out last.
template <class T, int N, class... P, class K> Operator<T, N, P...> as_operator(const K& k) {
  return program("apply", [k](Buffer<T, N> x, P... p) {
    const Buffer<T, N> y = empty_like(x);
    const auto s = x.shape();
    if constexpr (N == 1) k.over(s[0])(x, p..., y);
    else if constexpr (N == 2) k.over(s[0], s[1])(x, p..., y);
    else k.over(s[0], s[1], s[2])(x, p..., y);
    return y;
  });
}
template <class In_, class Done, class... Left> struct KernelOperator;
template <class T, int N, class... P> struct KernelOperator<In<T, N>, TypeList<P...>, Out<T, N>> {
  template <class K> static auto make(const K& k) { return as_operator<T, N, P...>(k); }
};
template <class I, class... P, class T, int N, class Next, class... Left>
struct KernelOperator<I, TypeList<P...>, In<T, N>, Next, Left...> : KernelOperator<I, TypeList<P..., Buffer<T, N>>, Next, Left...> {};
template <class I, class... P, class T, class Next, class... Left>
struct KernelOperator<I, TypeList<P...>, Var<T>, Next, Left...> : KernelOperator<I, TypeList<P..., Var<T>>, Next, Left...> {};

}  // namespace detail

/// The solver x = A(p)^-1 b of a symmetric positive definite operator: a program (b, p...) -> x, by conjugate gradients from 0.
/// Differentiable  in b and p..., any order, both modes; by solves, not through the iterations
/// Throws   KernelError at the next wait: without convergence, with residual and iterations; where A is found not to be linear, not
///          positive definite, or (in derivatives) not symmetric
/// Cost     of an iteration: one product and three passes over arrays; of a derivative: one more solve and two products
/// Source   Hestenes & Stiefel, Methods of conjugate gradients for solving linear systems, 1952
template <class T, int N, class... P>
auto cg(const detail::Operator<T, N, P...>& apply, const SolverOptions& options = {}, Loc at = Loc::here()) {
  using B = Buffer<T, N>;
  auto krylov = detail::krylov<T, N>(options, "cg", at);
  krylov.positive = true;
  const auto backward = vjp(apply);
  const auto transposed = vjp(apply, wrt<0>);
  const auto solver = program(
      "cg",
      [=](B b, P... p) {
        const detail::At here(at);
        return krylov.conjugate_gradients(b, [&](const B& x) { return krylov.like(x, apply(detail::own(x), detail::own(p)...)); });
      },
      at);
  return rule(solver).vjp(
      [=](B, P... p, B x, B w) {
        const detail::At here(at);
        const detail::Operator<T, N, P...> self(detail::ProgramHandle::subject());
        const B l = self(w, p...);
        // Where A is not its own transpose, l is no adjoint: look.
        const B off = transposed(l, p..., l);
        krylov.add(T(-1), w, T(1), off);
        check(krylov.product(off, off) <= krylov.product(w, w) * T(1e4 * krylov.tolerance * krylov.tolerance),
              "cg: the operator is not symmetric, so that its derivative would be wrong; use fx::linear_solve");
        krylov.check_slopes(x, [&](const B& here, const B& v) { return transposed(here, p..., v); });
        return detail::with_first(l, backward(x, p..., -l));
      },
      at);
}

namespace detail {
/// (b, p..., turned) -> x: with the transpose where `turned` is not 0. The derivative of one is made of the other.
template <class T, int N, class... P>
auto turning_solver(const Operator<T, N, P...>& apply, const SolverOptions& options, Loc at, bool linear = false) {
  using B = Buffer<T, N>;
  const auto krylov = detail::krylov<T, N>(options, "linear_solve", at, linear);
  const auto backward = vjp(apply);
  const auto transposed = vjp(apply, wrt<0>);
  const auto solver = program(
      "linear_solve",
      [=](B b, P... p, Int turned) {
        const At here(at);
        return krylov.bicgstab(b, [&](const B& x) {
          const B y = empty_like(x);
          if_(turned == 0, [&] { y.copy_from(krylov.like(x, apply(own(x), own(p)...))); }).else_([&] {
            y.copy_from(transposed(x, p..., x));
          });
          return y;
        });
      },
      at);
  return rule(solver).vjp(
      [=](B, P... p, Int turned, B x, B w) {
        const At here(at);
        const Program<TypeList<B>, TypeList<B, P..., Int>> self(ProgramHandle::subject());
        const B l = self(w, p..., 1 - turned);
        // l^T A x in p, and x^T A l when turned.
        const B left = copy(l), right = copy(x);
        if_(turned != 0, [&] {
          left.copy_from(x);
          right.copy_from(l);
        });
        if (!linear) krylov.check_slopes(x, [&](const B& here, const B& v) { return transposed(here, p..., v); });
        return with_first(l, backward(right, p..., -left));
      },
      at);
}
}  // namespace detail

/// The same for any operator that has an inverse, by BiCGSTAB; the transpose is the vjp of apply, which is linear in x.
/// Cost     of an iteration: two products; of a derivative: a solve with the transpose and two products
/// Source   van der Vorst, Bi-CGSTAB, 1992
template <class T, int N, class... P>
auto linear_solve(const detail::Operator<T, N, P...>& apply, const SolverOptions& options = {}, Loc at = Loc::here()) {
  return program(
      "linear_solve",
      [solver = detail::turning_solver<T, N, P...>(apply, options, at)](Buffer<T, N> b, P... p) { return solver(b, p..., 0); }, at);
}

/// `apply` as a kernel: x first (In), then parameters (In, scalars), A x last (Out), launched over the points of x.
template <class T, int N, class... P>
auto cg(const Kernel<In<T, N>, P...>& apply, const SolverOptions& options = {}, Loc at = Loc::here()) {
  return cg(detail::KernelOperator<In<T, N>, TypeList<>, P...>::make(apply), options, at);
}
template <class T, int N, class... P>
auto linear_solve(const Kernel<In<T, N>, P...>& apply, const SolverOptions& options = {}, Loc at = Loc::here()) {
  return linear_solve(detail::KernelOperator<In<T, N>, TypeList<>, P...>::make(apply), options, at);
}

}  // namespace fluxion
