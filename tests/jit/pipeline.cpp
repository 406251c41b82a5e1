// The list of passes, and what contraction leaves alone after differentiation.
#include <catch2/catch.hpp>

#include "fluxion/builder.h"
#include "fluxion/pipeline.h"

using namespace fluxion;

namespace {

int count(const Function& f, Opcode op) {
  int n = 0;
  for (const Region& r : f.regions)
    for (OpId o : r.ops) n += f[o].code == op;
  return n;
}

// y[i] = a * b + c for three pairs of factors; the sum number `decider` says whether z[i] is written.
Function sums(int decider, bool through_memory) {
  Function f;
  f.kind = Function::Kind::kernel;
  f.name = "sums";
  f.domain_rank = 1;
  Builder b(f);
  const MemoryId x = b.memory_parameter(DType::f32, 1, Role::in, "x"), y = b.memory_parameter(DType::f32, 1, Role::inout, "y");
  const MemoryId z = b.memory_parameter(DType::f32, 1, Role::out, "z");
  const Values i = {b.index(0)};
  const ValueId v = b.load(x, i);
  for (int k = 0; k < 3; ++k) {
    const Values at = {b.add(i[0], b.i32(k))};
    const ValueId sum = b.add(b.mul(v, b.load(x, at)), b.constant_float(DType::f32, k));
    b.store(k == decider && through_memory ? y : z, at, sum);
    const ValueId seen = k == decider && through_memory ? b.load(y, i) : sum;
    if (k == decider)
      b.if_(
          b.emit(Opcode::gt, {seen, v}),
          [&] {
            b.store(z, i, v);
            return Values{};
          },
          [] { return Values{}; });
  }
  b.finish();
  verify(f);
  return f;
}

}  // namespace

TEST_CASE("sums that a branch depends on keep their rounding after differentiation", "[jit]") {
  CHECK(count(contract(sums(-1, false)), Opcode::fma) == 3);
  CHECK(count(contract(sums(1, false)), Opcode::fma) == 3);
  CHECK(count(contract_rest(sums(-1, false)), Opcode::fma) == 3);
  CHECK(count(contract_rest(sums(1, false)), Opcode::fma) == 2);
  CHECK(count(contract_rest(sums(1, true)), Opcode::fma) == 2);
}

TEST_CASE("sums in a loop that decide its next trip keep their rounding", "[jit]") {
  Function f;
  f.kind = Function::Kind::fn;
  Builder b(f);
  const ValueId x = b.scalar_parameter(DType::f64, "x");
  const Values init = {x, x};
  const auto half = [&] { return b.constant_float(DType::f64, 0.5); };
  const auto loop = b.while_(
      init, [&](const Values& c) { return std::pair(b.emit(Opcode::gt, {c[0], half()}), c); },
      [&](const Values& c) -> Builder::LoopYield { return {{b.sub(b.mul(c[0], half()), x), b.add(b.mul(c[1], c[1]), x)}, {}}; });
  const ValueId out[] = {loop.carries[1]};
  b.finish(out);
  verify(f);
  CHECK(count(contract(f), Opcode::fma) == 2);
  CHECK(count(contract_rest(f), Opcode::fma) == 1);
}

TEST_CASE("the names of passes in a pipeline can be asked for in FLUXION_DUMP", "[jit]") {
  for (const auto list : {capture_pipeline(), derived_pipeline(), native_pipeline()})
    for (const Pass& pass : list) {
      CHECK(std::string_view(pass.name).find(',') == std::string_view::npos);
      CHECK(pass.run != nullptr);
      CHECK(std::string_view(pass.what).size() > 8);
    }
}
