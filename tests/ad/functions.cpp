// Device functions: grad, higher orders, singular points, and what is refused.
#include <catch2/catch.hpp>

#include "build.h"
#include "fluxion/error.h"

using namespace fluxion;
using namespace fluxion::testing;

namespace {

struct Fn {
  Function f;
  Builder b{f};
  explicit Fn(const char* name) {
    f.kind = Function::Kind::fn;
    f.name = name;
    current = &b;
  }
  V x(DType t = DType::f64) { return b.scalar_parameter(t, std::string(1, static_cast<char>('x' + f.parameters.size()))); }
  Function done(std::vector<V> results) {
    b.finish(ids(results));
    current = nullptr;
    verify(f);
    return f;
  }
};

std::vector<double> call(const Function& f, std::initializer_list<double> x) {
  std::vector<std::uint64_t> bits;
  for (double v : x) bits.push_back(std::bit_cast<std::uint64_t>(v));
  std::vector<double> out;
  for (std::uint64_t v : evaluate_fn(f, bits)) out.push_back(std::bit_cast<double>(v));
  return out;
}
double value(const Function& f, double x) { return call(f, {x}).at(0); }

Function wave() {
  Fn f("wave");
  V x = f.x();
  return f.done({sin(x) * x});
}
Function tower() {  // x ** n by a loop, n = 5
  Fn f("tower");
  V x = f.x();
  return f.done({for_(i(0), i(5), {c(1)}, [&](V, auto a) { return std::vector<V>{a[0] * x}; })[0]});
}

void require_error(const std::function<void()>& what, const std::string& part) {
  try {
    what();
  } catch (const KernelError& e) {
    CHECK_THAT(e.what(), Catch::Contains(part));
    return;
  }
  FAIL("no error; expected one with: " << part);
}

}  // namespace

TEST_CASE("grad of a function is its derivative to the third order", "[ad][fn]") {
  const Function g = grad(wave()), h = grad(g), t = grad(h);
  for (const double x : {-1.3, 0.0, 0.7, 2.0}) {
    CHECK(value(g, x) == Approx(std::sin(x) + x * std::cos(x)).margin(1e-14));
    CHECK(value(h, x) == Approx(2 * std::cos(x) - x * std::sin(x)).margin(1e-14));
    CHECK(value(t, x) == Approx(-3 * std::sin(x) - x * std::cos(x)).margin(1e-14));
  }
}

TEST_CASE("a repeated product has the derivatives of a power", "[ad][fn]") {
  const Function g = grad(tower()), h = grad(g);
  for (const double x : {0.0, 1.5}) {
    CHECK(value(g, x) == Approx(5 * std::pow(x, 4)));
    CHECK(value(h, x) == Approx(20 * std::pow(x, 3)));
    CHECK(call(jvp(g), {x, 2.0}).at(1) == Approx(2 * 20 * std::pow(x, 3)));
    CHECK(call(vjp(g), {x, 2.0}).at(0) == Approx(2 * 20 * std::pow(x, 3)));
  }
}

TEST_CASE("all orders and mixtures of modes agree on functions of several numbers", "[ad][fn]") {
  Fn f("several");
  V x = f.x(), y = f.x(), z = f.x();
  V r = if_(x > y, [&] { return std::vector<V>{sin(x) * y + z}; }, [&] { return std::vector<V>{exp(y * z)}; })[0];
  V s = while_(
      {r, i(0)}, [&](auto a) { return a[1] < 3.0; }, [&](auto a) { return std::vector<V>{a[0] * 0.3 + cos(a[0] * x), a[1] + 1.0}; })[0];
  const Function g = f.done({r * s, s * y});
  const auto right = [](const Function& k, const Arguments& a) {
    const Errors e = check(k, a);
    INFO(print(k) << " differences " << e.differences << " dots " << e.dots);
    CHECK(e.differences < 1e-9);
    CHECK(e.dots < 1e-12);
  };
  const Arguments a = arguments(g);
  right(g, a);
  const Arguments va = vjp_arguments(g, a, {}, 1), ja = jvp_arguments(g, a, 1);
  right(vjp(g), va);
  right(jvp(g), ja);
  right(vjp(vjp(g)), vjp_arguments(vjp(g), va, {}, 2));
  right(jvp(vjp(g)), jvp_arguments(vjp(g), va, 2));
  right(vjp(jvp(g)), vjp_arguments(jvp(g), ja, {}, 2));
}

TEST_CASE("wrt of some inputs gives what wrt of all gives for them", "[ad][fn]") {
  Fn f("three");
  V x = f.x(), y = f.x(), z = f.x();
  const Function g = f.done({x * y * sin(z) + exp(x)});
  const auto all = call(grad(g), {0.3, 0.4, 0.5}), some = call(grad(g, {2, 0}), {0.3, 0.4, 0.5});
  REQUIRE(some.size() == 2);
  CHECK(some[0] == all[0]);
  CHECK(some[1] == all[2]);
  const auto both = call(value_and_grad(g, {1}), {0.3, 0.4, 0.5});
  CHECK(both == std::vector<double>{call(g, {0.3, 0.4, 0.5})[0], all[1]});
}

TEST_CASE("a masked singularity has derivative 0 to the second order", "[ad][fn][masks]") {
  for (const char* how : {"select", "if"}) {
    for (const double x : {0.0, -1.0}) {
      INFO(how << " at " << x);
      Fn f("masked");
      V a = f.x(), inside = log(sqrt(a)) + sqrt(a), positive = a > 0.0;
      const Function g = f.done({std::string(how) == "select"
                                     ? select(positive, inside, c(0))
                                     : if_(positive, [&] { return std::vector<V>{inside}; }, [&] { return std::vector<V>{c(0)}; })[0]});
      CHECK(value(grad(g), x) == 0);
      CHECK(value(grad(grad(g)), x) == 0);
      CHECK(call(jvp(g), {x, 1.0}).at(1) == 0);
      CHECK(call(jvp(grad(g)), {x, 1.0}).at(1) == 0);
      CHECK(value(grad(g), 4.0) == Approx(1 / 8.0 + 1 / 4.0));
    }
  }
}

TEST_CASE("a maximum hides a singularity in the operand that loses", "[ad][fn][masks]") {
  Fn f("hidden");
  V x = f.x();
  const Function g = f.done({op(Opcode::max, c(1), sqrt(x)) + x});
  CHECK(value(grad(g), 0.0) == 1);
}

TEST_CASE("a singularity that is not masked stays one", "[ad][fn][masks]") {
  Fn f("unmasked");
  V x = f.x();
  const Function g = f.done({sqrt(x) * sqrt(x)});
  CHECK(std::isnan(value(grad(g), 0.0)));
}

TEST_CASE("subgradients are the documented ones", "[ad][fn][masks]") {
  const auto at = [](Opcode o, double x, double y) {
    Fn f("two");
    V a = f.x(), b = f.x();
    return call(grad(f.done({op(o, a, b)})), {x, y});
  };
  CHECK(at(Opcode::min, 2, 2) == std::vector<double>{1, 0});
  CHECK(at(Opcode::max, 2, 2) == std::vector<double>{1, 0});
  CHECK(at(Opcode::hypot, 0, 0) == std::vector<double>{0, 0});
  CHECK(at(Opcode::atan2, 0, 0) == std::vector<double>{0, 0});
  CHECK(at(Opcode::sdiv, 3, 0) == std::vector<double>{0, 0});
  CHECK(at(Opcode::pow, 0, 2) == std::vector<double>{0, 0});
  CHECK(at(Opcode::pow, 0, 1) == std::vector<double>{1, 0});
  Fn f("magnitude");
  V x = f.x();
  CHECK(value(grad(f.done({op(Opcode::abs, x)})), 0.0) == 0);
  Fn h("steps");
  V y = h.x();
  CHECK(value(grad(h.done({op(Opcode::floor, y) + op(Opcode::sign, y) + y})), 0.5) == 1);
  Fn s("stopped");
  V z = s.x();
  CHECK(value(grad(s.done({op(Opcode::stop_grad, z) * z})), 3.0) == 3);
}

TEST_CASE("a long recurrence has the gradient that forward mode gives", "[ad][fn]") {
  Fn f("long");
  V x = f.x();
  V r = for_(i(0), i(10000), {x, c(0.1)}, [&](V, auto a) { return std::vector<V>{a[0] + 0.001 * a[1], a[1] - 0.001 * sin(a[0]) * x}; })[0];
  const Function g = f.done({r});
  const double forward = call(jvp(g), {0.8, 1.0}).at(1);
  CHECK(value(grad(g), 0.8) == Approx(forward).epsilon(1e-10));
}

TEST_CASE("the size of a derivative does not grow with the trip count", "[ad][fn]") {
  const auto size = [](int trips) {
    Fn f("trips");
    V x = f.x();
    return grad(f.done({for_(i(0), i(trips), {x}, [&](V, auto a) { return std::vector<V>{sin(a[0]) * x}; })[0]})).ops.size();
  };
  CHECK(size(20) == size(2000));
}

TEST_CASE("a linear loop keeps no state", "[ad][fn]") {
  Fn f("linear");
  V x = f.x();
  const Function g = grad(f.done({for_(i(0), i(9), {x}, [&](V, auto a) { return std::vector<V>{a[0] * 0.5 + x}; })[0]}));
  CHECK_THAT(print(g), !Catch::Contains("seq"));
}

TEST_CASE("a linear change in place needs no scratch", "[ad]") {
  Kernel k("linear");
  M x = k.inout(), w = k.in();
  V t = k.index();
  for_(i(0), i(4), {}, [&](V j, auto) {
    x.set(t, x[t] * 0.5 + w[j]);
    return std::vector<V>{};
  });
  const Function f = k.done(), v = vjp(f);
  CHECK_THAT(print(v), !Catch::Contains("like"));
  CHECK(check(f, arguments(f), {{6, 1, 1}}).dots < 1e-12);
}

TEST_CASE("a stored integer that is known without a load is not read from the old version", "[ad]") {
  Kernel k("known");
  M q = k.inout(DType::i32), z = k.inout(), w = k.in();
  V t = k.index(), at = t + op(Opcode::bit_and, op(Opcode::neg, i(1)), i(0));
  q.set(at, i(0));
  z.set(t, select((q[t + op(Opcode::bit_and, i(2), i(1))]) == 0.0, w[t], c(0)) * z[t]);
  const Function f = k.done();
  CHECK_THAT(print(vjp(f)), !Catch::Contains("like"));
  CHECK(check(f, arguments(f), {{6, 1, 1}}).dots < 1e-12);
}

TEST_CASE("what cannot be differentiated is refused with the reason", "[ad][errors]") {
  Fn f("bits");
  V x = f.x();
  V y = f.b.bitcast(x.id, DType::i64);
  const Function g = f.done({to(y, DType::f64) * x});
  require_error([&] { grad(g); }, "bitcast of a value that depends on what is differentiated has no derivative");
  require_error([&] { jvp(g); }, "use stop_grad");

  Fn two("two");
  V a = two.x();
  const Function pair = two.done({a, a * a});
  require_error([&] { grad(pair); }, "must return one floating point number; use vjp");

  Fn mixed("mixed");
  V n = mixed.x(DType::i32), b = mixed.x();
  const Function h = mixed.done({to(n, DType::f64) * b});
  require_error([&] { grad(h, {0}); }, "wrt names parameter 0 (x), which is not floating point");
  require_error([&] { grad(h, {2}); }, "wrt names parameter 2, but there are 2");

  Kernel k("roles");
  M in = k.in(), out = k.out();
  out.set(k.index(), in[k.index()]);
  const Function roles = k.done();
  require_error([&] { vjp(roles, {1}); }, "wrt names parameter 1 (b), which is out; name an In or a scalar");
  require_error([&] { grad(roles); }, "is not a device function; a kernel has a vjp");

  Kernel s("halves");
  M p = s.in(intern(Layout{{{DType::f32, 0}, {DType::f16, 4}}, 8})), q = s.out(DType::f32);
  q.set(s.index(), p.at({s.index()}, 0));
  const Function halves = s.done();
  require_error([&] { vjp(halves); }, "half-precision members cannot be differentiated");

  Kernel r("readback");
  M u = r.in(), count = r.out(DType::i32), v = r.out();
  V t = r.index();
  count.set(t, to(u[t], DType::i32));
  for_(i(0), i(2), {}, [&](V, auto) {
    count.set(t, count[t] + 1.0);
    return std::vector<V>{};
  });
  v.set(t, u[t] * to(count[t], DType::f64));
  const Function readback = r.done();
  require_error([&] { vjp(readback); }, "the integer Out parameter b is read back, which its derivative cannot repeat; declare it InOut");
}
