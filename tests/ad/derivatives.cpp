// Every case of cases.h, first and second order.
#include <catch2/catch.hpp>

#include "cases.h"
#include "fluxion/error.h"

using namespace fluxion;
using namespace fluxion::testing;

namespace {

bool half_precision(const Function& f) {
  for (const Memory& m : f.memories)
    for (const Leaf& l : layout_of(m.element).leaves)
      if (is_half(l.dtype) || l.dtype == DType::f32) return true;
  return false;
}
bool has_scratch(const Function& f) {
  for (const Memory& m : f.memories)
    if (m.scratch) return true;
  return false;
}

void require_right(const Function& f, const Arguments& a, std::array<std::int64_t, 3> domain, bool differences, double dots = 1e-11) {
  CheckOptions o;
  o.domain = domain;
  o.differences = differences;
  const Errors e = check(f, a, o);
  INFO(f.name << ": differences " << e.differences << " dots " << e.dots << " order " << e.order << " jvp " << e.jvp_dot << " vjp "
              << e.vjp_dot << " fd " << e.difference_dot);
  CHECK(e.dots < dots);
  CHECK(e.order < dots);
  if (differences) CHECK(e.differences < 1e-8);
}

}  // namespace

TEST_CASE("jvp is right against central differences and vjp against jvp", "[ad]") {
  const std::vector<Case> cases = all_cases();
  for (const Case& k : cases) {
    DYNAMIC_SECTION(k.name) {
      const bool half = half_precision(k.f);
      verify(jvp(k.f));
      const Function v = vjp(k.f);
      INFO(print(v));
      verify(v);
      require_right(k.f, arguments(k.f, k.fill), k.domain, !half, half ? 1e-6 : 1e-11);
    }
  }
}

TEST_CASE("the derivatives of derivatives are right", "[ad]") {
  const std::vector<Case> cases = all_cases();
  for (const Case& k : cases) {
    if (half_precision(k.f)) continue;
    DYNAMIC_SECTION(k.name) {
      const Arguments a = arguments(k.f, k.fill);
      SECTION("jvp and vjp of the jvp") {
        const Function d = jvp(k.f);
        require_right(d, jvp_arguments(k.f, a, 3), k.domain, true);
      }
      SECTION("jvp and vjp of the vjp") {
        const Function d = vjp(k.f);
        require_right(d, vjp_arguments(k.f, a, k.domain, 3), k.domain, true);
        if (has_scratch(d)) {  // programs pass scratch like other arrays
          const Function p = program_of(k.f, a, k.domain);
          const Function dp = vjp(p);
          verify(dp);
          require_right(dp, vjp_arguments(p, a, k.domain, 3), k.domain, true);
        }
      }
    }
  }
}

TEST_CASE("third derivatives agree in forward and reverse mode", "[ad]") {
  const std::vector<Case> cases = all_cases();
  for (const Case& k : cases) {
    if (half_precision(k.f)) continue;
    DYNAMIC_SECTION(k.name) {
      const Arguments a = arguments(k.f, k.fill);
      const Function p = program_of(k.f, a, k.domain), v = vjp(p), j = jvp(p);
      const Arguments va = vjp_arguments(p, a, k.domain, 3), ja = jvp_arguments(p, a, 3);
      require_right(vjp(v), vjp_arguments(v, va, k.domain, 4), k.domain, false, 1e-10);
      require_right(jvp(v), jvp_arguments(v, va, 4), k.domain, false, 1e-10);
      require_right(vjp(j), vjp_arguments(j, ja, k.domain, 4), k.domain, false, 1e-10);
    }
  }
}

TEST_CASE("torture 5 and 21: reverse over reverse over reverse of a kernel that works on a copy", "[ad][torture]") {
  Kernel again("again");
  M w = again.inout();
  V at = again.index();
  for_(i(0), i(3), {}, [&](V, auto) {
    w.set(at, sin(w[at]) * w[at]);
    return std::vector<V>{};
  });
  const Function f = again.done(), d = vjp(f), dd = vjp(d);
  const std::array<std::int64_t, 3> domain{3, 1, 1};
  const Arguments a = arguments(f, {3, 0.5, 1.5, 3}), da = vjp_arguments(f, a, domain, 3), dda = vjp_arguments(d, da, domain, 4);
  verify(dd);
  CHECK(print(parse(print(dd))) == print(dd));
  require_right(d, da, domain, true);
  require_right(dd, dda, domain, true);
}
