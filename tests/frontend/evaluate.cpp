// The evaluator: programs by hand with known answers, bounds, races, print and check.
#include <catch2/catch.hpp>

#include <bit>
#include <cmath>
#include <cstring>

#include "fluxion/error.h"
#include "fluxion/evaluate.h"
#include "functions.h"

using namespace fluxion;
using Catch::Contains;

namespace {
template <class T> EvalMemory memory(std::vector<T>& v) {
  return {reinterpret_cast<std::byte*>(v.data()), {static_cast<std::int64_t>(v.size()), 1, 1}};
}
std::uint64_t bits(float v) { return std::bit_cast<std::uint32_t>(v); }
EvalValue array(std::vector<float> v) {
  EvalValue out;
  out.array = std::make_shared<std::vector<std::byte>>(v.size() * 4);
  std::memcpy(out.array->data(), v.data(), v.size() * 4);
  return out;
}
std::vector<float> floats(const EvalValue& v) {
  std::vector<float> out(v.array->size() / 4);
  std::memcpy(out.data(), v.array->data(), v.array->size());
  return out;
}
/// x[i] = x[i + shift] by n threads
Function shifted(int shift, Opcode write = Opcode::store) {
  Function f = samples::make(Function::Kind::kernel, "shifted", 1);
  Builder b(f);
  const MemoryId x = b.memory_parameter(DType::f32, 1, Role::inout, "x");
  const ValueId i[] = {b.index(0)}, j[] = {b.add(i[0], b.i32(shift))};
  b.loc = {"user.cpp", 7};
  const ValueId v = b.load(x, j);
  b.loc = {"user.cpp", 8};
  if (write == Opcode::store) b.store(x, i, v);
  else b.accumulate(x, i, v);
  b.finish();
  return f;
}
}  // namespace

TEST_CASE("a kernel runs once for each point of its domain", "[evaluate]") {
  std::vector<float> x{1, 2, 3}, y{10, 20, 30};
  const EvalMemory m[] = {memory(x), memory(y)};
  const std::uint64_t a[] = {bits(2.f)};
  evaluate_kernel(samples::saxpy(), {3, 1, 1}, m, a);
  CHECK(y == std::vector<float>{12, 24, 36});
}

TEST_CASE("loops carry and collect and run backwards and locals start at zero", "[evaluate]") {
  std::vector<float> x{1, 2}, y{5, 5};
  std::vector<double> e{0};
  const EvalMemory m[] = {memory(x), memory(y), memory(e)};
  const std::uint64_t n[] = {4};
  evaluate_kernel(samples::everything(), {2, 1, 1}, m, n);
  for (int i = 0; i < 2; ++i) {
    // The same by hand.
    float v = x[i], sum = 0, t[4] = {}, c[4];
    for (int j = 0; j < 4; ++j) t[j % 4] += v, c[j] = v, v *= 0.75f;
    for (int j = 3; j >= 0; --j) sum += c[j] * c[j];
    int trips = 0;
    for (float s = sum; s > 0.1f; s *= 0.5f) ++trips;
    const float r = trips < 3 ? 5.f : std::sin(t[3]);
    CHECK(y[i] == r + sum);
  }
  CHECK(e[0] != 0);
  const std::uint64_t none[] = {std::uint64_t(std::uint32_t(-1))};
  CHECK_THROWS_WITH(evaluate_kernel(samples::everything(), {1, 1, 1}, m, none), Contains("n is -1, at least 0"));
}

TEST_CASE("a program keeps old versions of what it updates in place", "[evaluate]") {
  EvalValue steps;
  steps.bits = 3;
  const EvalValue y = array({0, 0, 0, 1});
  const auto out = evaluate_program(samples::stepping(), {array({2, 4, 6, 8}), y, steps});
  REQUIRE(out.size() == 3);
  CHECK(floats(out[0]) == std::vector<float>{3, 6, 9, 13});
  CHECK(floats(out[1]) == std::vector<float>{9 + 36 + 81 + 169});
  CHECK(floats(out[2]) == std::vector<float>{1, 2, 3, 4});
  CHECK(floats(y) == std::vector<float>{0, 0, 0, 1});
}

TEST_CASE("an index outside its memory is an error with line and values", "[evaluate]") {
  std::vector<float> x{1, 2, 3};
  const EvalMemory m[] = {memory(x)};
  CHECK_THROWS_WITH(evaluate_kernel(shifted(1), {3, 1, 1}, m, {}, {.races = false}),
                    Contains("user.cpp:7") && Contains("x[3] is outside x, which has 3 elements"));
}

TEST_CASE("an element touched by two threads is an error unless all read or all accumulate", "[evaluate]") {
  std::vector<float> x{1, 2, 3, 4};
  const EvalMemory m[] = {memory(x)};
  CHECK_THROWS_WITH(evaluate_kernel(shifted(1), {3, 1, 1}, m, {}), Contains("user.cpp:8") && Contains("the other access: user.cpp:7"));
  CHECK_NOTHROW(evaluate_kernel(shifted(0), {4, 1, 1}, m, {}));
  CHECK_NOTHROW(evaluate_kernel(shifted(0, Opcode::accumulate), {4, 1, 1}, m, {}));
  CHECK_THROWS_AS(evaluate_kernel(shifted(1, Opcode::accumulate), {3, 1, 1}, m, {}), KernelError);
  CHECK_THROWS_AS(evaluate_kernel(shifted(1), {3, 1, 1}, m, {}, {.thread_order = {2, 1, 0}}), KernelError);
}

TEST_CASE("an Out that is read before it is stored is an error", "[evaluate]") {
  Function f = shifted(0);
  f.memories[0].role = f.parameters[0].role = Role::out;
  std::vector<float> x{1};
  const EvalMemory m[] = {memory(x)};
  CHECK_THROWS_WITH(evaluate_kernel(f, {1, 1, 1}, m, {}), Contains("x[0] is Out and is read before it is stored"));
}

TEST_CASE("print writes its values into the text", "[evaluate]") {
  Function f = samples::make(Function::Kind::fn, "f");
  Builder b(f);
  const ValueId a = b.scalar_parameter(DType::i8, "a");
  const ValueId values[] = {a, b.constant_float(DType::f64, 0.1), b.boolean(true)};
  b.effect(Opcode::print, "a = {}, {} and", values);
  b.finish();
  Function k = samples::make(Function::Kind::kernel, "k", 1);
  Builder c(k);
  const ValueId i[] = {c.index(0)};
  c.effect(Opcode::print, "thread {}", i);
  c.finish();
  std::string seen;
  evaluate_kernel(k, {3, 1, 1}, {}, {}, {.thread_order = {2, 0, 1}, .print = [&](std::string_view s) { seen += s; }});
  CHECK(seen == "thread 2thread 0thread 1");
  const DType types[] = {DType::i8, DType::f64, DType::boolean};
  const std::uint64_t raw[] = {0xff, std::bit_cast<std::uint64_t>(0.1), 1};
  CHECK(format_text("a = {}, {} and", types, raw) == "a = -1, 0.1 and true");
}

TEST_CASE("a swap of two carries and a sequence updated in a loop", "[evaluate]") {
  Function f = samples::make(Function::Kind::fn, "f");
  Builder b(f);
  const ValueId n = b.scalar_parameter(DType::i32, "n");
  const ValueId zeros = b.zeros(Type(DType::i32).as_seq(), b.i32(4));
  const ValueId init[] = {b.i32(1), b.i32(2), zeros};
  const auto loop = b.for_(b.i32(0), n, init, [&](ValueId i, const Values& c) {
    return Builder::LoopYield{{c[1], c[0], b.seq_add_at(c[2], b.emit(Opcode::rem, {i, b.i32(4)}), c[0])}, {}};
  });
  const ValueId out[] = {loop.carries[0], loop.carries[1], b.seq_get(loop.carries[2], b.i32(0)), b.seq_get(zeros, b.i32(0)),
                         b.seq_len(zeros)};
  b.finish(out);
  verify(f);
  const std::uint64_t five[] = {5}, none[] = {std::uint32_t(-7)};
  CHECK(evaluate_fn(f, five) == std::vector<std::uint64_t>{2, 1, 2, 0, 4});
  CHECK(evaluate_fn(f, none) == std::vector<std::uint64_t>{1, 2, 0, 0, 4});
}
