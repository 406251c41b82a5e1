// Programs: launches on versions of arrays, loops over them, elementwise ops, scalars.
#include <catch2/catch.hpp>

#include "build.h"
#include "fluxion/error.h"

using namespace fluxion;
using namespace fluxion::testing;

namespace {

std::shared_ptr<const Function> shared(Function f) { return std::make_shared<Function>(std::move(f)); }
Type array(std::int64_t n, LayoutId t = DType::f64) { return Type::array(t, {&n, 1}); }
constexpr int kN = 5;

// y[t] = sin(x[t]) * a + x[other]
std::shared_ptr<const Function> map_kernel() {
  Kernel k("map");
  M x = k.in(), y = k.out();
  V a = k.scalar(), t = k.index();
  y.set(t, sin(x[t]) * a + x[op(Opcode::max, t - 1.0, i(0))] * x[t]);
  return shared(k.done());
}
// In place, reads back what it wrote: its vjp needs scratch.
std::shared_ptr<const Function> step_kernel() {
  Kernel k("step");
  M x = k.inout(), v = k.inout(), w = k.in();
  V dt = k.scalar(), t = k.index();
  v.set(t, v[t] - dt * sin(x[t]) * w[t]);
  x.set(t, x[t] + dt * v[t] * v[t]);
  return shared(k.done());
}
std::shared_ptr<const Function> sum_kernel() {
  Kernel k("sum");
  M x = k.in(), e = k.accum();
  V t = k.index(), v = x[t];
  e.add(i(0), 0.5 * v * v * v);
  return shared(k.done());
}
std::shared_ptr<const Function> loud_kernel() {
  Kernel k("loud");
  M x = k.inout();
  V t = k.index(), v = x[t];
  when(t == 0.0, [&] { k.b.effect(Opcode::print, "ran", {}); });
  x.set(t, sin(v) * v);
  return shared(k.done());
}

struct Program {
  Function f;
  Builder b{f};
  Values n;
  explicit Program(const char* name) {
    f.kind = Function::Kind::program;
    f.name = name;
    current = &b;
    n = {b.i32(kN)};
  }
  ValueId launch(std::shared_ptr<const Function> k, Values x) { return b.launch(k, n, x)[0]; }
  Values launches(std::shared_ptr<const Function> k, Values x) { return b.launch(k, n, x); }
  Function done(Values yields) {
    b.finish(yields);
    current = nullptr;
    verify(f);
    return f;
  }
};

Function chain() {
  Program p("chain");
  const Type t = array(kN);
  const ValueId x = p.b.array_parameter(t, Role::in, "x"), a = p.b.scalar_parameter(DType::f64, "a");
  const ValueId y = p.b.launch(map_kernel(), p.n, Values{x, a}, {&t, 1})[0];
  const ValueId z = p.b.launch(map_kernel(), p.n, Values{y, p.b.mul(a, a)}, {&t, 1})[0];
  return p.done({p.launch(sum_kernel(), {z, p.b.zero(array(1))})});
}
Function time_loop() {
  Program p("time_loop");
  const Type t = array(kN);
  const ValueId x = p.b.array_parameter(t, Role::in, "x"), v = p.b.array_parameter(t, Role::in, "v"),
                w = p.b.array_parameter(t, Role::in, "w");
  const ValueId dt = p.b.scalar_parameter(DType::f64, "dt");
  const Values init = {x, v, p.b.zero(array(1))};
  const auto step = step_kernel();
  const auto r = p.b.for_(p.b.i32(0), p.b.i32(6), init, [&](ValueId, const Values& c) {
    const Values now = p.launches(step, {c[0], c[1], w, dt});
    return Builder::LoopYield{{now[0], now[1], p.launch(sum_kernel(), {now[1], c[2]})}, {}};
  });
  return p.done({p.launch(sum_kernel(), {r.carries[0], r.carries[2]})});
}
Function nested_loops() {
  Program p("nested_loops");
  const Type t = array(kN);
  const ValueId x = p.b.array_parameter(t, Role::in, "x"), v = p.b.array_parameter(t, Role::in, "v"),
                w = p.b.array_parameter(t, Role::in, "w");
  const ValueId dt = p.b.scalar_parameter(DType::f64, "dt");
  const auto step = step_kernel();
  const Values init = {x, v};
  const auto r = p.b.for_(p.b.i32(0), p.b.i32(3), init, [&](ValueId k, const Values& c) {
    const auto inner = p.b.for_(p.b.i32(0), p.b.add(k, p.b.i32(1)), c,
                                [&](ValueId, const Values& d) { return Builder::LoopYield{p.launches(step, {d[0], d[1], c[0], dt}), {}}; });
    const ValueId u = p.b.launch(map_kernel(), p.n, Values{inner.carries[0], dt}, {&t, 1})[0];
    return Builder::LoopYield{{u, inner.carries[1]}, {}};
  });
  (void)w;
  return p.done({p.launch(sum_kernel(), {r.carries[0], p.b.zero(array(1))})});
}
Function elementwise() {
  Program p("elementwise");
  const Type t = array(kN);
  const ValueId x = p.b.array_parameter(t, Role::in, "x"), y = p.b.array_parameter(t, Role::in, "y");
  const ValueId a = p.b.mul(p.b.emit(Opcode::sin, {x}), y), d = p.b.sub(p.b.add(a, x), p.b.mul(y, y));
  return p.done({p.launch(sum_kernel(), {d, p.b.zero(array(1))}), d});
}
Function roles() {
  Program p("roles");
  const Type t = array(kN);
  const ValueId x = p.b.array_parameter(t, Role::in, "x"), y = p.b.array_parameter(t, Role::inout, "y");
  p.b.array_parameter(t, Role::out, "z");
  const ValueId e = p.b.array_parameter(array(1), Role::accum, "e"), a = p.b.scalar_parameter(DType::f64, "a");
  const Values s = p.launches(step_kernel(), {y, x, x, a});
  const ValueId z = p.b.launch(map_kernel(), p.n, Values{s[0], a}, {&t, 1})[0];
  return p.done({s[0], z, p.launch(sum_kernel(), {s[1], e}), s[1]});
}
Function branch() {
  Program p("branch");
  const Type t = array(kN);
  const ValueId x = p.b.array_parameter(t, Role::in, "x"), a = p.b.scalar_parameter(DType::f64, "a");
  const auto r = p.b.for_(p.b.i32(0), p.b.i32(4), Values{x}, [&](ValueId k, const Values& c) {
    const ValueId even = p.b.emit(Opcode::eq, {p.b.emit(Opcode::rem, {k, p.b.i32(2)}), p.b.i32(0)});
    return Builder::LoopYield{p.b.if_(
                                  even, [&] { return Values{p.b.launch(map_kernel(), p.n, Values{c[0], a}, {&t, 1})[0]}; },
                                  [&] { return Values{p.b.add(c[0], x)}; }),
                              {}};
  });
  return p.done({p.launch(sum_kernel(), {r.carries[0], p.b.zero(array(1))})});
}
Function until() {
  Program p("until");
  const Type t = array(kN);
  const ValueId x = p.b.array_parameter(t, Role::in, "x"), a = p.b.scalar_parameter(DType::f64, "a");
  const auto r = p.b.while_(
      Values{x, p.b.i32(0)}, [&](const Values& c) { return std::pair(p.b.emit(Opcode::lt, {c[1], p.b.i32(3)}), c); },
      [&](const Values& c) {
        return Builder::LoopYield{{p.b.launch(map_kernel(), p.n, Values{c[0], a}, {&t, 1})[0], p.b.add(c[1], p.b.i32(1))}, {}};
      });
  return p.done({p.launch(sum_kernel(), {r.carries[0], p.b.zero(array(1))})});
}
Function loud() {
  Program p("loud");
  const ValueId x = p.b.array_parameter(array(kN), Role::in, "x");
  const auto k = loud_kernel();
  const auto r = p.b.for_(p.b.i32(0), p.b.i32(3), Values{x}, [&](ValueId, const Values& c) {
    const auto inner =
        p.b.for_(p.b.i32(0), p.b.i32(2), c, [&](ValueId, const Values& d) { return Builder::LoopYield{p.launches(k, d), {}}; });
    return Builder::LoopYield{inner.carries, {}};
  });
  return p.done({p.launch(sum_kernel(), {r.carries[0], p.b.zero(array(1))})});
}

void require_right(const Function& f, const Arguments& a) {
  verify(jvp(f));
  const Function v = vjp(f);
  INFO(print(v));
  verify(v);
  const Errors e = check(f, a);
  INFO(f.name << ": differences " << e.differences << " dots " << e.dots << " jvp " << e.jvp_dot << " vjp " << e.vjp_dot << " fd "
              << e.difference_dot);
  CHECK(e.dots < 1e-11);
  CHECK(e.differences < 1e-8);
}

// Small numbers: the steps square them.
Arguments tame(const Function& f) { return arguments(f, {6, 0.1, 0.4}); }

std::vector<Function> programs() { return {chain(), time_loop(), nested_loops(), elementwise(), roles(), branch(), until(), loud()}; }

}  // namespace

TEST_CASE("the derivatives of programs are right", "[ad][program]") {
  for (const Function& f : programs()) DYNAMIC_SECTION(f.name) {
      require_right(f, tame(f));
    }
}

TEST_CASE("the second derivatives of programs are right", "[ad][program]") {
  for (const Function& f : programs()) DYNAMIC_SECTION(f.name) {
      const Arguments a = tame(f);
      SECTION("of the vjp") { require_right(vjp(f), vjp_arguments(f, a, {}, 5)); }
      SECTION("of the jvp") { require_right(jvp(f), jvp_arguments(f, a, 5)); }
    }
}

TEST_CASE("value_and_grad gives the value and the gradients that vjp gives", "[ad][program]") {
  for (const Function& f : programs()) {
    if (f.name == "roles") continue;  // its first result is not one number
    DYNAMIC_SECTION(f.name) {
      const Arguments a = arguments(f);
      const Function g = value_and_grad(f);
      verify(g);
      const Arguments value = run(f, a), both = run(g, a);
      for (std::size_t k = 0; k < value.size(); ++k) CHECK(both.at(k).bytes == value[k].bytes);
      Arguments backward = a;
      for (std::size_t k = 0; k < value.size(); ++k) {
        backward.push_back(zero_like(value[k]));
        if (k == 0) backward.back().each_float([&](DType t, std::size_t at) { backward.back().set(t, at, 1); });
      }
      for (const Data& x : a) {
        backward.push_back(zero_like(x));
        backward.back().scalar = false;
      }
      const Arguments gradients = run(vjp(f), backward);
      REQUIRE(both.size() == value.size() + gradients.size());
      for (std::size_t k = 0; k < gradients.size(); ++k) {
        const Data difference = moved(both[value.size() + k], gradients[k], -1);
        CHECK(dot(difference, difference) <= 1e-24 * dot(gradients[k], gradients[k]));
      }
    }
  }
}

TEST_CASE("value_and_grad runs each launch of the primal once", "[ad][program]") {
  const Function f = loud(), g = value_and_grad(f);
  const auto prints = [](const Function& p) {
    int n = 0;
    EvalOptions o;
    o.print = [&](std::string_view) { ++n; };
    std::vector<EvalValue> x(1);
    x[0].array = std::make_shared<std::vector<std::byte>>(kN * sizeof(double));
    evaluate_program(p, x, o);
    return n;
  };
  CHECK(prints(f) == 6);
  CHECK(prints(g) == 6);
}

TEST_CASE("the gradient of an InOut program parameter is that of its old version", "[ad][program]") {
  Program p("inout");
  const ValueId x = p.b.array_parameter(array(kN), Role::inout, "x");
  const ValueId y = p.launch(loud_kernel(), {x});
  const Function f = p.done({y, p.launch(sum_kernel(), {y, p.b.zero(array(1))})});
  const Function g = value_and_grad(f, {0});
  const Arguments a = arguments(f), r = run(g, a);
  REQUIRE(r.size() == 3);
  for (int k = 0; k < kN; ++k) {
    const double v = a[0].as<double>()[k], s = std::sin(v) * v;
    CHECK(r[2].as<double>()[k] == Approx(1.5 * s * s * (std::sin(v) + v * std::cos(v))).epsilon(1e-12));
  }
}

TEST_CASE("arrays of elements with float and integer leaves are added leaf by leaf", "[ad][program]") {
  const LayoutId particle = intern(Layout{{{DType::f64, 0}, {DType::f64, 8}, {DType::i32, 16}}, 24});
  Program p("leaves");
  const Type t = array(kN, particle);
  const ValueId x = p.b.array_parameter(t, Role::in, "x"), y = p.b.array_parameter(t, Role::in, "y");
  const ValueId r = p.b.mul(p.b.add(x, y), x);
  const Function f = p.done({p.b.sub(r, p.b.emit(Opcode::neg, {y})), r});
  require_right(f, tame(f));
  require_right(vjp(f), vjp_arguments(f, tame(f), {}, 3));
}

TEST_CASE("every way to keep states gives the gradients that keeping everything gives", "[ad][program][checkpoint]") {
  std::vector<Checkpoint> ways;
  for (int n : {1, 2, 3, 4}) {
    ways.push_back({.mode = Checkpoint::Mode::strips, .levels = n});
    ways.push_back({.mode = Checkpoint::Mode::revolve, .states = n});
  }
  for (const Function& f : programs()) {
    if (f.name == "roles") continue;  // its first result is not one number
    DYNAMIC_SECTION(f.name) {
      const Arguments a = tame(f);
      const Arguments all = run(value_and_grad(f), a);
      for (const Checkpoint& how : ways) {
        const Function g = value_and_grad(f, {}, how);
        INFO(static_cast<int>(how.mode) << ' ' << how.levels << ' ' << how.states << '\n' << print(g));
        verify(g);
        CHECK(print(parse(print(g))) == print(g));
        const Arguments mine = run(g, a);
        REQUIRE(mine.size() == all.size());
        for (std::size_t k = 0; k < all.size(); ++k) CHECK(mine[k].bytes == all[k].bytes);
      }
      for (int depth : {1, 2})
        for (std::pair<int, int> s : {std::pair(1, 1), {2, 1}, {1, 2}, {3, 2}, {100, 1}}) {
          const Function g = value_and_grad(f, {}, {.mode = Checkpoint::Mode::settings, .depth = depth});
          verify(g);
          Arguments b = a;
          while (b.size() < g.parameters.size()) {
            Data d;
            d.element = DType::i32;
            d.rank = 1;
            d.resize();
            d.scalar = true;
            *d.as<int>() = (b.size() - a.size()) % 2 ? s.second : s.first;
            b.push_back(d);
          }
          const Arguments mine = run(g, b);
          for (std::size_t k = 0; k < all.size(); ++k) CHECK(mine[k].bytes == all[k].bytes);
        }
    }
  }
}

TEST_CASE("derivatives of strip-mined programs have derivatives", "[ad][program][checkpoint]") {
  for (const Function& f : {time_loop(), nested_loops(), branch(), until()}) DYNAMIC_SECTION(f.name) {
      const Arguments a = tame(f);
      const Checkpoint how{.mode = Checkpoint::Mode::strips, .levels = 2};
      const Function v = vjp(f, {}, how);
      require_right(v, vjp_arguments(f, a, {}, 5));
      require_right(jvp(v), jvp_arguments(v, vjp_arguments(f, a, {}, 5), 5));
      const Function once = vjp(f, {}, {.mode = Checkpoint::Mode::revolve, .states = 2});
      verify(jvp(once));
      CHECK_THROWS_WITH(vjp(once), Catch::Contains("give the first one strips"));
      CHECK_THROWS_WITH(vjp(v, {}, how), Catch::Contains("give the checkpoint option to the first"));
    }
}
