// Printer, verifier and parser.
#include <catch2/catch.hpp>

#include <limits>

#include "fluxion/error.h"
#include "functions.h"

using namespace fluxion;
using Catch::Contains;

TEST_CASE("a kernel prints as its text form", "[text]") {
  CHECK(print(samples::saxpy()) ==
        "kernel @saxpy(@x: in f32[?], @y: inout f32[?], %a: f32) over (%0) {\n"
        "  %1 = load @x[%0] : f32\n"
        "  %2 = mul %a, %1 : f32\n"
        "  %3 = load @y[%0] : f32\n"
        "  %4 = add %2, %3 : f32\n"
        "  store @y[%0], %4\n"
        "}\n");
}

TEST_CASE("the samples keep the rules of the IR", "[text]") {
  CHECK_NOTHROW(verify(samples::saxpy()));
  CHECK_NOTHROW(verify(samples::everything()));
  CHECK_NOTHROW(verify(samples::stepping()));
}

TEST_CASE("names that clash or that no parser takes are made fit", "[text]") {
  Function f = samples::make(Function::Kind::fn, "my function");
  Builder b(f);
  const ValueId p = b.scalar_parameter(DType::f32, "x"), q = b.scalar_parameter(DType::f32, "x"), r = b.scalar_parameter(DType::i32, "");
  const ValueId out[] = {b.sub(p, q), r};
  b.finish(out);
  CHECK(print(f) == "fn @my_function(%x: f32, %x_1: f32, %p: i32) -> f32, i32 {\n  %0 = sub %x, %x_1 : f32\n  yield %0, %p\n}\n");
}

TEST_CASE("the verifier shows the op that breaks a rule", "[text]") {
  Function f = samples::saxpy();
  SECTION("a wrong type") {
    f[f[f.body].arguments[0]].type = DType::i64;
    CHECK_THROWS_WITH(verify(f), Contains("a launch index is i32"));
  }
  SECTION("a use before the definition") {
    std::swap(f[f.body].ops[0], f[f.body].ops[1]);
    CHECK_THROWS_WITH(verify(f), Contains("mul %a, %?") && Contains("\n  ^^^^^") && Contains("does not reach"));
  }
  SECTION("a store to an in memory") {
    f.ops[f[f.body].ops[4].index].memory = MemoryId{0};
    CHECK_THROWS_WITH(verify(f), Contains("an in memory is not written"));
  }
  SECTION("operands of two types") {
    Builder b(f);
    f.ops[f[f.body].ops[1].index].operands[1] = b.constant_float(DType::f64, 1);
    CHECK_THROWS_WITH(verify(f), Contains("an operand has type f64, expected f32"));
  }
  SECTION("no yield") {
    f[f.body].ops.pop_back();
    CHECK_THROWS_WITH(verify(f), Contains("a region ends with a yield"));
  }
  CHECK_THROWS_AS(verify(f), Bug);
}

TEST_CASE("the verifier knows scopes and loop shapes", "[text]") {
  Function f = samples::everything();
  for (Op& op : f.ops)
    if (op.code == Opcode::while_) op.results.pop_back();
  CHECK_THROWS_WITH(verify(f), Contains("trip count"));
  f = samples::everything();
  for (Op& op : f.ops)
    if (op.code == Opcode::seq_get) op.operands[0] = op.operands[1];
  CHECK_THROWS_WITH(verify(f), Contains("seq_get takes a seq"));
}
