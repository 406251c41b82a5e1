// Accumulates of neighbouring points at neighbouring elements: sites a few places apart are added up in registers.
#include "run_kernel.h"

using namespace fluxion;
using namespace fluxion::testing;

namespace {
const std::vector<Variant> kWidths = {{16, ""}, {32, ""}, {4, ""}, {2, ""}, {1, ""}, {8, "sse2"}, {8, "", true}};
}  // namespace

// Values are small multiples of a power of two, so that any order of additions gives the same sum.
TEST_CASE("sites of a stencil reach their elements wherever a row begins and ends", "[backends][cpu]") {
  for (const DType t : {DType::f32, DType::f64, DType::i32, DType::i16})
    for (const std::vector<int>& places : {std::vector<int>{0, 1}, {3, 0, 2, 1}, {2, 2, 0}, {5, 40, 0, 41}, {0, 31, 15}}) {
      Function f = kernel("sites");
      Builder b(f);
      const MemoryId x = b.memory_parameter(t, 1, Role::in, "x"), sum = b.memory_parameter(t, 1, Role::accum, "sum");
      const ValueId i = b.index(0), at[] = {i};
      ValueId v = b.load(x, at);
      for (int p : places) {
        const ValueId there[] = {b.add(i, b.i32(p))};
        b.accumulate(sum, there, v);
        v = b.add(v, b.constant(t, 0));
        v = b.add(v, b.load(x, at));
      }
      b.finish();
      agrees(f, {{1, 1, 1}, {3, 1, 1}, {15, 1, 1}, {16, 1, 1}, {33, 1, 1}, {64, 1, 1}, {500, 1, 1}},
             {Data(t, {500}).fill(), Data(t, {541}).fill(2)}, {}, 0, kWidths);
    }
}

TEST_CASE("sites of a stencil in two axes and behind conditions reach their elements", "[backends][cpu]") {
  const DType t = DType::f64;
  Function f = kernel("cross", 2);
  Builder b(f);
  const MemoryId x = b.memory_parameter(t, 2, Role::in, "x"), sum = b.memory_parameter(t, 2, Role::accum, "sum");
  const ValueId r = b.index(0), c = b.index(1), here[] = {r, c};
  const ValueId v = b.load(x, here);
  for (const auto& [down, right] : {std::pair{0, 1}, {1, 0}, {1, 1}, {1, 2}, {2, 1}, {1, 9}}) {
    const ValueId there[] = {b.add(r, b.i32(down)), b.add(c, b.i32(right))};
    b.accumulate(sum, there, v);
  }
  b.if_(
      b.emit(Opcode::gt, {v, b.constant(t, 0)}),
      [&] {
        const ValueId there[] = {b.add(r, b.i32(1)), b.add(c, b.i32(3))};
        b.accumulate(sum, there, v);
        return Values{};
      },
      [] { return Values{}; });
  b.finish();
  agrees(f, {{1, 1, 1}, {5, 37, 1}, {2, 16, 1}, {90, 100, 1}}, {Data(t, {90, 100}).fill(), Data(t, {92, 110}).fill(3)}, {}, 0, kWidths);
}
