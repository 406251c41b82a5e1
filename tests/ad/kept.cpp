// What a reverse sweep keeps from its forward sweep instead of computing it again.
#include <catch2/catch.hpp>

#include "build.h"
#include "fluxion/passes.h"

using namespace fluxion;
using namespace fluxion::testing;

namespace {

int count(const Function& f, Opcode code) {
  int n = 0;
  for (const Region& r : f.regions)
    for (OpId o : r.ops) n += f[o].code == code;
  return n;
}

void require_right(const Function& f) {
  for (const Function& g : {f, vjp(f)}) {  // to the second order
    CheckOptions o;
    o.domain = {6, 1, 1};
    const Errors e = check(g, arguments(g), o);
    CHECK(e.dots < 1e-11);
    CHECK(e.differences < 1e-7);
  }
}

}  // namespace

TEST_CASE("a costly value of a loop is kept and a cheap one is made again", "[ad]") {
  Kernel k("kept");
  const M x = k.in(), y = k.out();
  V t = k.index();
  V end = for_(i(0), i(9), {x[t]}, [&](V, auto a) { return std::vector<V>{exp(a[0] * a[0] * -0.5)}; })[0];
  y.set(t, end);
  const Function f = k.done(), v = dce(cse(vjp(f)));
  CHECK(count(v, Opcode::exp) == 1);  // in the forward sweep alone
  require_right(f);
}

TEST_CASE("kept values of nested loops and branches reach their iteration", "[ad]") {
  Kernel k("nested");
  const M x = k.in(), y = k.out();
  V t = k.index();
  V end = for_(i(0), i(4), {x[t]}, [&](V outer, auto a) {
    V inner = for_(i(0), outer + i(1), {a[0]}, [&](V j, auto c) {
      return if_(
          j % i(2) == i(0), [&] { return std::vector<V>{exp(c[0] * -0.25)}; }, [&] { return std::vector<V>{sin(c[0]) / (c[0] + 1.0)}; });
    })[0];
    return std::vector<V>{inner * sqrt(a[0] + 1.0)};
  })[0];
  y.set(t, end);
  const Function f = k.done();
  require_right(f);
}

TEST_CASE("the derivative of a reciprocal divides no second time", "[ad]") {
  Kernel k("reciprocal");
  const M x = k.in(), y = k.out();
  V t = k.index();
  V v = x[t];
  y.set(t, 1.0 / (v * v + 1.0));
  const Function f = k.done(), v1 = dce(cse(vjp(f)));
  CHECK(count(v1, Opcode::div) == 1);
  require_right(f);
}
