// What solvers say of operators that do not fit or have no inverse: with the line of the user, not one of the library.
#include <limits>

#include <catch2/catch.hpp>

#include "fluxion/fluxion.h"

namespace fx = fluxion;
using fluxion::Device;
using B = fx::Buffer<double>;

namespace {
B up(std::vector<double> v) { return Device::cpu().upload(v); }
/// What an error of this file says that `f` ends in.
template <class F> std::string refusal(const F& f) {
  try {
    f();
  } catch (const fx::Error& e) {
    CHECK_THAT(e.what(), Catch::Contains("solver_errors.cpp:"));
    return e.what();
  }
  return "not refused";
}
}  // namespace

TEST_CASE("torture: an operator that gives another shape is named with the line of the solver", "[jit][torture]") {
  const auto sums = fx::program("sums", [](B x, B d) { return fx::sum(x * d); });
  const auto a = up({1, 2}), b = up({1, 2});
  CHECK_THAT(refusal([&] { fx::cg(sums)(a, b); }), Catch::Contains("cg: the operator gives [1] for [2]"));
  CHECK_THAT(refusal([&] { fx::linear_solve(sums)(a, b); }), Catch::Contains("linear_solve: the operator gives [1] for [2]"));
  CHECK_THAT(refusal([&] { fx::newton_krylov(sums)(a, b); }), Catch::Contains("newton_krylov: the residual gives [1] for [2]"));
  CHECK_THAT(refusal([&] { fx::vjp(fx::cg(sums))(a, b, a); }), Catch::Contains("cg: the operator gives [1] for [2]"));
  CHECK_THAT(refusal([&] { fx::vjp(fx::newton_krylov(sums))(a, b, a); }), Catch::Contains("newton_krylov: the residual gives [1] for [2]"));
}

TEST_CASE("torture: root names the line of its call where it does not converge", "[jit][torture]") {
  const auto f = fx::fn("f", [](fx::Double x, fx::Double a) { return x * x + a * a; });
  const auto k = fx::kernel("k", [f](fx::In<double> a, fx::Out<double> y) {
    auto i = fx::index();
    y[i] = fx::root(f, 1.0, a[i]);
  });
  auto y = Device::cpu().zeros<double>(2);
  const auto run = [&] {
    k(up({1, 2}), y);
    y.host();
  };
  CHECK_THAT(refusal(run), Catch::Contains("root: no convergence"));
}

TEST_CASE("torture: a solver that breaks down says that the operator may be singular", "[jit][torture]") {
  const auto diagonal = fx::program("diagonal", [](B x, B d) { return B(x * d); });
  const auto nan = std::numeric_limits<double>::quiet_NaN();
  for (const double last : {0.0, nan})
    CHECK_THAT(refusal([&] { fx::cg(diagonal)(up({1, 2}), up({1, last})).host(); }), Catch::Contains("singular or not positive definite"));
  CHECK_THAT(refusal([&] { fx::linear_solve(diagonal)(up({1, 2}), up({1, 0})).host(); }), Catch::Contains("singular"));
  CHECK_THAT(refusal([&] { fx::linear_solve(diagonal)(up({1, 2}), up({1, nan})).host(); }), Catch::Contains("the operator is singular"));
}

TEST_CASE("torture: a budget of nothing is refused as 0 MB", "[jit][torture]") {
  const auto step = fx::kernel("step", [](fx::InOut<double> x) {
    auto i = fx::index();
    x[i] = fx::sin(x[i]);
  });
  const auto p = fx::program("p", [step](B x) {
    auto y = fx::copy(x);
    for ([[maybe_unused]] auto t : fx::range(7)) step.over(x.size())(y);
    return fx::sum(y);
  });
  for (const std::int64_t bytes : {0, -5})
    CHECK_THAT(refusal([&] { fx::value_and_grad(p, {.checkpoint = fx::budget(bytes)})(up({1, 2})); }),
               Catch::Contains("within its budget of 0 MB"));
}
