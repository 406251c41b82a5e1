// Calls: what is inlined and what is not, and that the passes know a call for what it is.
#include <catch2/catch.hpp>

#include "fluxion/builder.h"
#include "fluxion/capture.h"
#include "fluxion/evaluate.h"
#include "fluxion/functions.h"
#include "fluxion/passes.h"

using namespace fluxion;
namespace fx = fluxion;

namespace {

std::size_t calls(const Function& f) {
  std::size_t n = 0;
  for (const Region& r : f.regions)
    for (OpId o : r.ops) n += f[o].code == Opcode::call;
  return n;
}
std::size_t ops(const Function& f) {
  std::size_t n = 0;
  for (const Region& r : f.regions) n += r.ops.size();
  return n;
}
struct Kept {
  Kept() { testing::keep_calls(true); }
  ~Kept() { testing::keep_calls(false); }
};

}  // namespace

TEST_CASE("small functions are inlined and a doubling nest stays linear", "[frontend]") {
  auto f = fx::fn("level", [](fx::Double x) { return fx::sin(x) + x; });
  const auto once = fx::fn("once", [f](fx::Double x) { return f(x) * f(2.0 * x); });
  CHECK(calls(*once.function()) == 0);
  for (int k = 0; k < 60; ++k) f = fx::fn("level", [f](fx::Double x) { return fx::sin(f(x)) + f(x * 0.5); });
  CHECK(calls(*f.function()) > 0);
  CHECK(ops(*f.function()) < 6000);
}

TEST_CASE("equal calls are made once and those whose results nobody needs never", "[frontend]") {
  const Kept kept;
  const auto f = fx::fn("f", [](fx::Double x) { return fx::sin(x); });
  const auto g = fx::fn("g", [f](fx::Double x) {
    [[maybe_unused]] fx::Double unused = f(x + 1.0);
    return f(x) + f(x) * f(2.0 * x);
  });
  CHECK(calls(*g.function()) == 3);  // capture drops the dead one
  CHECK(calls(cse(*g.function())) == 2);
  CHECK(g(0.3) == Approx(std::sin(0.3) + std::sin(0.3) * std::sin(0.6)));
  const auto loud = fx::fn("loud", [](fx::Double x) {
    fx::check(x > 0.0, "x is {}", x);
    return x;
  });
  const auto h = fx::fn("h", [loud](fx::Double x) {
    [[maybe_unused]] fx::Double unused = loud(x);
    return x;
  });
  CHECK(calls(dce(*h.function())) == 1);
  CHECK_THROWS_WITH(h(-1.0), Catch::Contains("x is -1"));
}

TEST_CASE("a call that does not change in a loop moves before it when the loop surely runs", "[frontend]") {
  const Kept kept;
  const auto f = fx::fn("f", [](fx::Double x) { return fx::sin(x); });
  const auto g = fx::fn("g", [f](fx::Double x, fx::Int n) {
    fx::Double s = 0.0;
    for (auto i : fx::range(4)) s += f(x) * fx::cast<double>(i);
    for (auto i : fx::range(n)) s += f(x + 1.0) * fx::cast<double>(i);
    return s;
  });
  const Function moved = licm(*g.function());
  std::size_t outside = 0;
  for (OpId o : moved[moved.body].ops) outside += moved[o].code == Opcode::call;
  CHECK(outside == 1);
}

TEST_CASE("the text of a function that calls is read back to the same", "[frontend]") {
  const Kept kept;
  const auto f = fx::fn("f", [](fx::Double x) { return fx::sin(x); });
  const auto g = fx::fn("g", [f](fx::Double x) { return f(f(x)); });
  CHECK(print(parse(print(*g.function()))) == print(*g.function()));
}
