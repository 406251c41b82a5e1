// Accumulates where all lanes meet at one element: by rows of the domain, and at places that a loop goes through.
#include "run_kernel.h"

using namespace fluxion;
using namespace fluxion::testing;

namespace {
const std::vector<Variant> kWidths = {{16, ""}, {32, ""}, {4, ""}, {2, ""}, {8, "sse2"}};
LayoutId pair_of(DType t) {
  Layout l;
  l.leaves = {{t, 0}, {t, static_cast<std::uint32_t>(size_of(t))}};
  l.size = 2 * static_cast<std::uint32_t>(size_of(t));
  return intern(l);
}
}  // namespace

// Values are small multiples of a power of two, so that any order of additions gives the same sum.
TEST_CASE("sums that belong to a row of the domain reach their element", "[backends][cpu]") {
  for (const DType t : {DType::f32, DType::f64, DType::i32}) {
    Function f = kernel("rows", 2);
    Builder b(f);
    const MemoryId x = b.memory_parameter(t, 2, Role::in, "x");
    const MemoryId own = b.memory_parameter(t, 1, Role::accum, "own"), met = b.memory_parameter(t, 1, Role::accum, "met");
    const MemoryId wide = b.memory_parameter(t, 2, Role::accum, "wide");
    const ValueId row = b.index(0), column = b.index(1), at[] = {row, column};
    const ValueId v = b.load(x, at);
    const ValueId mine[] = {row}, next[] = {b.add(row, b.i32(1))}, half[] = {b.emit(Opcode::div, {row, b.i32(2)})};
    const ValueId cell[] = {row, b.i32(2)};
    b.accumulate(own, mine, v);
    b.accumulate(own, next, b.add(v, v));  // two sites at elements that rows share
    b.accumulate(met, half, v);
    b.if_(
        b.emit(Opcode::gt, {v, b.constant(t, 0)}),
        [&] {
          b.accumulate(wide, cell, v);
          return Values{};
        },
        [] { return Values{}; });
    b.finish();
    agrees(f, {{1, 1, 1}, {7, 37, 1}, {6, 16, 1}, {3, 90, 1}},
           {Data(t, {7, 90}).fill(), Data(t, {8}).fill(2), Data(t, {4}).fill(3), Data(t, {7, 3}).fill(4)}, {}, 0, kWidths);
  }
}

TEST_CASE("sums at places that a loop goes through reach their element in small and in large memories", "[backends][cpu]") {
  for (const LayoutId e : {LayoutId(DType::f32), LayoutId(DType::f64), pair_of(DType::f64), LayoutId(DType::i32)})
    for (const std::int64_t size : {3, 9, 70000}) {
      const DType t = layout_of(e).leaves[0].dtype;
      const int leaves = static_cast<int>(layout_of(e).leaves.size());
      Function f = kernel("places");
      Builder b(f);
      const MemoryId x = b.memory_parameter(t, 1, Role::in, "x"), sum = b.memory_parameter(e, 1, Role::accum, "sum");
      const ValueId at[] = {b.index(0)};
      const ValueId v = b.load(x, at);
      b.for_(b.i32(0), b.i32(3), {}, [&](ValueId j, const Values&) {
        const ValueId here[] = {j}, first[] = {b.i32(1)};
        b.accumulate(sum, here, v, leaves - 1);
        b.accumulate(sum, first, v);
        b.if_(
            b.emit(Opcode::gt, {v, b.constant(t, 0)}),
            [&] {
              b.accumulate(sum, here, b.add(v, v));
              return Values{};
            },
            [] { return Values{}; });
        return Builder::LoopYield{};
      });
      b.finish();
      agrees(f, {{1, 1, 1}, {37, 1, 1}, {500, 1, 1}}, {Data(t, {500}).fill(), Data(e, {size}).fill(2)}, {}, 0, kWidths);
    }
}
