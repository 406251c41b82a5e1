// Accumulates where all lanes meet at one element: by rows of the domain, and at places that a loop goes through.
#include <limits>

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

namespace {
/// At each point two numbers w, at each row three numbers q, which the kernel reads: sums that are linear in the w.
Function linear(int rank, bool masked) {
  Function f = kernel("linear", rank);
  Builder b(f);
  const MemoryId w = b.memory_parameter(DType::f64, rank, Role::in, "w"), q = b.memory_parameter(DType::f64, rank, Role::in, "q");
  const MemoryId sum = b.memory_parameter(DType::f64, rank, Role::accum, "sum");
  Values point, row;
  for (int k = 0; k < rank; ++k) point.push_back(b.index(k));
  row.assign(point.begin(), point.end() - 1);
  const auto of_row = [&](MemoryId m, int k) {
    Values at = row;
    at.push_back(b.i32(k));
    return b.load(m, at);
  };
  const auto add = [&](int k, ValueId v) {
    Values at = row;
    at.push_back(b.i32(k));
    b.accumulate(sum, at, v);
  };
  const auto body = [&] {
    const ValueId x = b.load(w, point), y = b.emit(Opcode::sub, {b.constant_float(DType::f64, 1), x});
    const ValueId a = of_row(q, 0), c = of_row(q, 1), half = b.constant_float(DType::f64, 0.5);
    const ValueId first = b.emit(Opcode::fma, {x, a, b.emit(Opcode::mul, {c, y})});
    add(0, b.emit(Opcode::neg, {first}));
    add(1, b.emit(Opcode::sub,
                  {b.emit(Opcode::mul, {b.emit(Opcode::mul, {y, a}), half}), b.emit(Opcode::div, {x, b.constant_float(DType::f64, 4)})}));
    add(2, b.emit(Opcode::mul, {b.add(first, y), b.emit(Opcode::mul, {a, c})}));
    return Values{};
  };
  if (masked) b.if_(b.emit(Opcode::gt, {b.load(w, point), b.constant(DType::f64, 0)}), body, [] { return Values{}; });
  else body();
  b.finish();
  return f;
}
}  // namespace

// Multiples of 2^-8 below 8: all of it is exact in f64, in whatever order it is added.
TEST_CASE("sums of values that are linear in few with factors that the row shares are those of the few", "[backends][cpu]") {
  for (const bool masked : {false, true}) {
    agrees(linear(2, masked), {{1, 1, 1}, {5, 37, 1}, {4, 16, 1}, {3, 90, 1}},
           {Data(DType::f64, {7, 90}).fill(), Data(DType::f64, {7, 2}).fill(2), Data(DType::f64, {7, 3}).fill(3)}, {}, 0, kWidths);
    agrees(linear(1, masked), {{1, 1, 1}, {37, 1, 1}, {90, 1, 1}},
           {Data(DType::f64, {90}).fill(), Data(DType::f64, {2}).fill(2), Data(DType::f64, {3}).fill(3)}, {}, 0, kWidths);
  }
  const std::string text = cpu_backend()->compile(linear(2, false), {})->dump("llvm");
  CHECK(text.find("fsub <16 x double>") != std::string::npos);  // the 1 - x of each point
  CHECK(text.find("fmul <16 x double>") == std::string::npos);
  CHECK(text.find("fdiv <16 x double>") == std::string::npos);
}

TEST_CASE("a product that is added to a sum is rounded once and a masked one adds nothing", "[backends][cpu]") {
  for (const int sites : {1, 9})  // nine do not fit in registers
    for (const bool negative : {false, true}) {
      Function f = kernel("products", 1);
      Builder b(f);
      const MemoryId x = b.memory_parameter(DType::f64, 1, Role::in, "x"), sum = b.memory_parameter(DType::f64, 1, Role::accum, "sum");
      const ValueId i = b.index(0), v = b.load(x, {&i, 1});
      for (int k = 0; k < sites; ++k) {
        const ValueId at = b.i32(k);
        const ValueId product = b.emit(Opcode::mul, {v, b.add(v, b.constant_float(DType::f64, k))});
        b.accumulate(sum, {&at, 1}, negative ? b.emit(Opcode::neg, {product}) : product);
      }
      b.finish();
      // Behind the domain stands what must not be added.
      Data values = Data(DType::f64, {100}).fill();
      for (int k = 90; k < 100; ++k) values.as<double>()[k] = std::numeric_limits<double>::quiet_NaN();
      agrees(f, {{1, 1, 1}, {37, 1, 1}, {90, 1, 1}}, {values, Data(DType::f64, {sites}).fill(3)}, {}, 0, kWidths);
      if (sites == 1) CHECK(cpu_backend()->compile(f, {})->dump("llvm").find("fmul <16 x double>") == std::string::npos);
    }
}
