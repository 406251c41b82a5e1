// Scattered stores that lie side by side.
#include "run_kernel.h"

using namespace fluxion;
using namespace fluxion::testing;

TEST_CASE("rows of scattered stores reach their elements in order", "[backends][cpu]") {
  for (const DType t : {DType::f32, DType::f64, DType::i32, DType::u8, DType::boolean}) {
    Function f = kernel("rows");
    Builder b(f);
    const MemoryId x = b.memory_parameter(t, 1, Role::in, "x"), where = b.memory_parameter(DType::i32, 1, Role::in, "where");
    const MemoryId y = b.memory_parameter(t, 1, Role::inout, "y"), z = b.memory_parameter(t, 2, Role::inout, "z");
    const ValueId i = b.index(0), at[] = {i};
    const ValueId v = b.load(x, at), base = b.mul(b.load(where, at), b.i32(7));
    const auto store = [&](MemoryId m, int offset, ValueId value) {
      const ValueId to[] = {b.add(base, b.i32(offset))};
      b.store(m, to, value);
    };
    const ValueId next[] = {b.add(i, b.i32(1))}, w = b.load(x, next);
    store(y, 3, v);
    store(y, 1, w);
    store(y, 5, v);
    store(y, 1, v);  // the later one counts
    const ValueId read[] = {b.add(base, b.i32(5))};
    store(y, 2, b.load(y, read));  // sees what was stored
    b.if_(
        b.emit(Opcode::ne, {v, w}),
        [&] {
          store(y, 6, w);
          store(y, 4, v);
          return Values{};
        },
        [] { return Values{}; });
    for (int k = 0; k < 4; ++k) {  // along the slow axis, and across it
      const ValueId to[] = {b.load(where, at), b.add(b.i32(k), b.emit(Opcode::rem, {i, b.i32(1)}))};
      b.store(z, to, k % 2 ? v : w);
    }
    b.finish();
    std::vector<Data> data = {Data(t, {61}).fill(), Data(DType::i32, {60}), Data(t, {420}).fill(3), Data(t, {60, 4}).fill(4)};
    for (int k = 0; k < 60; ++k) data[1].as<std::int32_t>()[k] = (k * 17 + 5) % 60;  // all different
    agrees(f, {{1, 1, 1}, {19, 1, 1}, {60, 1, 1}}, data, {}, 0, {{16, ""}, {32, ""}, {4, ""}, {1, ""}, {8, "sse2"}});
  }
}
