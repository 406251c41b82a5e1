// Printer, verifier and parser.
#include <catch2/catch.hpp>

#include <limits>
#include <random>

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

TEST_CASE("what is printed reads back as the same text", "[text]") {
  for (const Function& f : {samples::saxpy(), samples::everything(), samples::stepping()}) {
    const std::string text = print(f);
    CAPTURE(text);
    CHECK(print(parse(text)) == text);
  }
}

TEST_CASE("constants of every type and kind read back with the same bits", "[text]") {
  Function f = samples::make(Function::Kind::fn, "f");
  Builder b(f);
  Values out;
  for (int d = 0; d < kDTypeCount; ++d) {
    const DType t = static_cast<DType>(d);
    const int width = size_of(t) * 8;
    const std::uint64_t mask = width == 64 ? ~std::uint64_t{0} : (std::uint64_t{1} << width) - 1;
    if (is_bool(t)) {
      out.push_back(b.boolean(false));
      out.push_back(b.boolean(true));
      continue;
    }
    for (std::uint64_t bits :
         {std::uint64_t{0}, std::uint64_t{1}, mask, mask >> 1, (mask >> 1) + 1, std::uint64_t{0x123456789abcdef1} & mask})
      out.push_back(b.constant(t, bits));
    if (!is_float(t)) continue;
    for (double x : {1., -1., 0.1, 1e10, -2.5e-7, 65504., 1e300, 5e-324, std::numeric_limits<double>::infinity(),
                     -std::numeric_limits<double>::infinity(), std::numeric_limits<double>::quiet_NaN()})
      out.push_back(b.constant_float(t, x));
  }
  b.finish(out);
  const std::string text = print(f);
  CAPTURE(text);
  const Function g = parse(text);
  const Values& back = g.terminator(g.body).operands;
  REQUIRE(back.size() == out.size());
  for (std::size_t i = 0; i < out.size(); ++i) {
    CHECK(g.type(back[i]) == f.type(out[i]));
    CHECK(g[back[i]].bits == f[out[i]].bits);
  }
}

TEST_CASE("layouts and comments and texts with quotes read back", "[text]") {
  const std::string text =
      "kernel @k(@p: inout {f32, i32 @12; 20}[?, ?], @q: in {f64, i32}[?]) over (%0, %1) {\n"
      "  local @t: {f32, f32}[8]\n"
      "  %2 = load @p[%0, %1].1 : i32\n"
      "  store @p[%0, %1].1, %2\n"
      "  %3 = load @t[%2].1 : f32\n"
      "  print \"a \\\"quote\\\"\\n and a \\\\ {}\" %3\n"
      "  print \"nothing\"\n"
      "  %4 = extent @p[1] : i32\n"
      "  %5 = domain [0] : i32\n"
      "  print \"{} {}\" %4, %5\n"
      "}\n";
  CHECK(print(parse("# a comment\n" + text + "  # the end")) == text);
}

TEST_CASE("a text that does not parse shows line and column and a caret", "[text]") {
  CHECK_THROWS_WITH(parse("fn @f(%x: f32) -> f32 {\n  %0 = frob %x : f32\n  yield %0\n}"),
                    Contains("line 2, column 8: there is no op 'frob'") && Contains("\n  %0 = frob %x : f32\n       ^"));
  CHECK_THROWS_WITH(parse("fn @f() {\n  yield %y\n}"), Contains("there is no value %y"));
  CHECK_THROWS_WITH(parse("fn @f() -> i8 {\n  yield 300:i8\n}"), Contains("300 does not fit i8"));
  CHECK_THROWS_WITH(parse("fn @f(%x: f32) -> f32 {\n  %0 = shl %x, %x : f32\n  yield %0\n}"), Contains("shl does not take f32"));
  CHECK_THROWS_WITH(parse("fn @f(%x: f32) -> f32 {\n  yield %x"), Contains("line 2, column 11"));
  CHECK_THROWS_WITH(parse(""), Contains("a function is expected"));
  CHECK_THROWS_AS(parse("kernel"), KernelError);
}

TEST_CASE("a damaged text is refused or read and never more than that", "[text]") {
  std::mt19937 random(7);
  const std::string alphabet = "%@{}()[]<>:,.-=#!&0123456789 abfinortwxy\n\"";
  int refused = 0;
  for (const Function& f : {samples::everything(), samples::stepping()}) {
    const std::string text = print(f);
    for (int round = 0; round < 1500; ++round) {
      std::string damaged = text;
      for (unsigned n = random() % 3 + 1; n > 0; --n) {
        const std::size_t at = random() % damaged.size();
        switch (random() % 4) {
          case 0: damaged[at] = alphabet[random() % alphabet.size()]; break;
          case 1: damaged.erase(at, random() % 8 + 1); break;
          case 2: damaged.insert(at, 1, alphabet[random() % alphabet.size()]); break;
          default: damaged.insert(at, damaged.substr(random() % damaged.size(), random() % 40)); break;
        }
      }
      try {
        print(parse(damaged));
      } catch (const KernelError&) { ++refused; }
    }
  }
  CHECK(refused > 1000);
}
