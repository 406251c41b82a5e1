// The checks see mistakes: each planted one makes some case of cases.h fail.
#include <catch2/catch.hpp>

#include "fluxion/mutants.h"
#include "cases.h"
#include "fluxion/error.h"

using namespace fluxion;
using namespace fluxion::testing;

namespace {

int wrong_cases() {
  int wrong = 0;
  for (const Case& k : all_cases()) {
    CheckOptions o;
    o.domain = k.domain;
    o.differences = false;
    try {
      const Errors e = check(k.f, arguments(k.f, k.fill), o);
      wrong += !(e.dots < 1e-5);
    } catch (const Error&) {
      ++wrong;  // caught another way: a bound, a race
    }
  }
  return wrong;
}

struct Planted {
  explicit Planted(Mutant m) { plant(m); }
  ~Planted() { plant(Mutant::none); }
};

}  // namespace

TEST_CASE("the gradient checks catch each of the four planted mistakes", "[ad][mutants]") {
  REQUIRE(wrong_cases() == 0);
  SECTION("a store that does not clear the cotangent") {
    const Planted p(Mutant::no_zeroing);
    CHECK(wrong_cases() > 0);
  }
  SECTION("loads of changed memory repeated instead of recorded") {
    const Planted p(Mutant::stale_loads);
    CHECK(wrong_cases() > 0);
  }
  SECTION("an accumulate that clears the cotangent") {
    const Planted p(Mutant::zero_after_accumulate);
    CHECK(wrong_cases() > 0);
  }
  SECTION("a replayed while without its trip count") {
    const Planted p(Mutant::no_trip_count);
    CHECK(wrong_cases() > 0);
  }
}
