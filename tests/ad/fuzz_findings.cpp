// What random programs found (tests/fuzz), one test each.
#include <catch2/catch.hpp>

#include "build.h"

using namespace fluxion;
using namespace fluxion::testing;

TEST_CASE("a launch whose Out nobody uses may ask for its extent in the derivative", "[ad][regression]") {
  Kernel k("both");
  M x = k.in(), y = k.out(), g = k.accum();
  V t = k.index(), n = k.b.extent(y.id, 0);
  y.set(t, sin(x[t]));
  g.add(i(0), x[t] * x[(t + 1.0) % n] * to(n, DType::f64));
  const auto kernel = std::make_shared<Function>(k.done());

  Function f;
  f.kind = Function::Kind::program;
  f.name = "unused";
  Builder b(f);
  const std::int64_t five = 5, one = 1;
  const Type array = Type::array(DType::f64, {&five, 1}), sum = Type::array(DType::f64, {&one, 1});
  const ValueId in = b.array_parameter(array, Role::in, "x"), domain = b.i32(5);
  const Values r = b.launch(kernel, {&domain, 1}, Values{in, b.zero(sum)}, {&array, 1});
  b.finish(Values{r[1]});
  verify(f);
  const Errors e = check(f, arguments(f));
  CHECK(e.differences < 1e-7);
  CHECK(e.dots < 1e-12);
}
