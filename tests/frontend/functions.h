// Small functions of every kind that several tests share; random ones come from tests/fuzz.
#pragma once
#include <utility>
#include <vector>

#include "fluxion/builder.h"

namespace fluxion::samples {

inline Function make(Function::Kind kind, std::string name, int rank = 0) {
  Function f;
  f.kind = kind;
  f.name = std::move(name);
  f.domain_rank = rank;
  return f;
}

/// y[i] = a * x[i] + y[i]
inline Function saxpy() {
  Function f = make(Function::Kind::kernel, "saxpy", 1);
  Builder b(f);
  const MemoryId x = b.memory_parameter(DType::f32, 1, Role::in, "x");
  const MemoryId y = b.memory_parameter(DType::f32, 1, Role::inout, "y");
  const ValueId a = b.scalar_parameter(DType::f32, "a");
  const ValueId i[] = {b.index(0)};
  const ValueId product = b.mul(a, b.load(x, i));
  b.store(y, i, b.add(product, b.load(y, i)));
  b.finish();
  return f;
}

/// Every structural op of a kernel: if, for with a seq read backwards, while, a local array, dead code.
/// y[i] = sum of squares of what a loop collected, e += it; prints nothing.
inline Function everything() {
  Function f = make(Function::Kind::kernel, "everything", 1);
  Builder b(f);
  const MemoryId x = b.memory_parameter(DType::f32, 1, Role::in, "x");
  const MemoryId y = b.memory_parameter(DType::f32, 1, Role::inout, "y");
  const MemoryId e = b.memory_parameter(DType::f64, 1, Role::accum, "e");
  const ValueId n = b.scalar_parameter(DType::i32, "n");
  const MemoryId t = b.local(DType::f32, 4, "t");
  const ValueId i[] = {b.index(0)};
  const ValueId v = b.load(x, i);
  b.mul(v, v);  // dead
  const ValueId init[] = {v, b.i32(0)};
  const auto up = b.for_(b.i32(0), n, init, [&](ValueId j, const Values& c) {
    const ValueId slot[] = {b.emit(Opcode::rem, {j, b.i32(4)})};
    b.store(t, slot, b.add(b.load(t, slot), c[0]));
    return Builder::LoopYield{{b.mul(c[0], b.constant_float(DType::f32, 0.75)), b.add(c[1], b.i32(1))}, {c[0]}};
  });
  const ValueId zero[] = {b.constant_float(DType::f32, 0)};
  const auto down = b.for_(
      b.i32(0), n, zero,
      [&](ValueId j, const Values& c) {
        const ValueId item = b.seq_get(up.seqs[0], j);
        return Builder::LoopYield{{b.add(c[0], b.mul(item, item))}, {}};
      },
      true);
  const ValueId limit = b.constant_float(DType::f32, 0.1);
  const ValueId start[] = {down.carries[0]};
  const auto shrink = b.while_(
      start, [&](const Values& c) { return std::pair{b.emit(Opcode::gt, {c[0], limit}), c}; },
      [&](const Values& c) { return Builder::LoopYield{{b.mul(c[0], b.constant_float(DType::f32, 0.5))}, {}}; });
  const ValueId cond = b.emit(Opcode::lt, {shrink.trips, b.i32(3)});
  const Values r = b.if_(
      cond, [&] { return Values{b.load(y, i)}; },
      [&] {
        const ValueId three[] = {b.i32(3)};
        return Values{b.emit(Opcode::sin, {b.load(t, three)})};
      });
  b.store(y, i, b.add(r[0], down.carries[0]));
  const ValueId first[] = {b.i32(0)};
  b.accumulate(e, first, b.convert(r[0], DType::f64));
  b.effect(Opcode::check, "n is {}, at least 0", std::vector<ValueId>{b.emit(Opcode::ge, {n, b.i32(0)}), n});
  b.finish();
  return f;
}

/// A time loop over in-place launches; returns the sum of squares by a kernel of its own.
inline Function stepping() {
  auto step = std::make_shared<Function>(saxpy());
  Function sum = make(Function::Kind::kernel, "energy", 1);
  {
    Builder b(sum);
    const MemoryId x = b.memory_parameter(DType::f32, 1, Role::in, "x");
    const MemoryId e = b.memory_parameter(DType::f32, 1, Role::accum, "e");
    const ValueId i[] = {b.index(0)};
    const ValueId first[] = {b.i32(0)};
    const ValueId v = b.load(x, i);
    b.accumulate(e, first, b.mul(v, v));
    b.finish();
  }
  Function f = make(Function::Kind::program, "stepping");
  Builder b(f);
  const std::int64_t four[] = {4}, one[] = {1};
  const ValueId x = b.array_parameter(Type::array(DType::f32, four), Role::in, "x");
  const ValueId y = b.array_parameter(Type::array(DType::f32, four), Role::inout, "y");
  const ValueId steps = b.scalar_parameter(DType::i32, "steps");
  const ValueId n[] = {b.i32(4)};
  const ValueId init[] = {y};
  const auto loop = b.for_(b.i32(0), steps, init, [&](ValueId, const Values& c) {
    const ValueId arguments[] = {x, c[0], b.constant_float(DType::f32, 0.5)};
    return Builder::LoopYield{{b.launch(step, n, arguments)[0]}, {c[0]}};
  });
  const ValueId zero = b.zero(Type::array(DType::f32, one));
  const ValueId arguments[] = {loop.carries[0], zero};
  const Values e = b.launch(std::make_shared<Function>(sum), n, arguments);
  const ValueId last = b.sub(steps, b.i32(1));
  const ValueId before = b.seq_get(loop.seqs[0], last);
  const ValueId result[] = {loop.carries[0], e[0], b.sub(loop.carries[0], before)};
  b.finish(result);
  return f;
}

}  // namespace fluxion::samples
