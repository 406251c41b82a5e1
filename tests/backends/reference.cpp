// The reference backend: kernels and programs through the interface of backend.h, errors and print.
#include <catch2/catch.hpp>

#include <bit>
#include <string>
#include <vector>

#include "fluxion/backend.h"
#include "fluxion/builder.h"

using namespace fluxion;

namespace {
ArrayArgument argument(std::vector<float>& v) { return {v.data(), {static_cast<std::int64_t>(v.size()), 1, 1}}; }
Function scale() {
  Function f;
  f.kind = Function::Kind::kernel;
  f.name = "scale";
  f.domain_rank = 1;
  Builder b(f);
  const MemoryId x = b.memory_parameter(DType::f32, 1, Role::in, "x"), y = b.memory_parameter(DType::f32, 1, Role::out, "y");
  const ValueId a = b.scalar_parameter(DType::f32, "a"), i[] = {b.index(0)};
  b.loc = {"user.cpp", 3};
  b.store(y, i, b.mul(a, b.load(x, i)));
  b.finish();
  return f;
}
}  // namespace

TEST_CASE("the reference backend runs a kernel and reports its errors in the slot", "[backends]") {
  const auto code = reference_backend()->compile(scale(), {});
  std::vector<float> x{1, 2, 3}, y(3);
  const ArrayArgument arrays[] = {argument(x), argument(y)};
  const std::uint64_t scalars[] = {std::bit_cast<std::uint32_t>(2.f)};
  FailureSlot failure;
  code->run({{3, 1, 1}, arrays, scalars}, failure);
  failure.rethrow();
  CHECK(y == std::vector<float>{2, 4, 6});
  code->run({{4, 1, 1}, arrays, scalars}, failure);
  REQUIRE_FALSE(failure.empty());
  CHECK_THROWS_WITH(failure.rethrow(), "user.cpp:3: kernel \"scale\": x[3] is outside x, which has 3 elements");
  CHECK(failure.empty());
}

TEST_CASE("the reference backend writes a program's results to the arrays of the launch", "[backends]") {
  Function f;
  f.kind = Function::Kind::program;
  f.name = "twice";
  Builder b(f);
  const std::int64_t shape[] = {3};
  const Type t = Type::array(DType::f32, shape);
  const ValueId x = b.array_parameter(t, Role::in, "x");
  b.array_parameter(t, Role::out, "y");
  const ValueId a = b.scalar_parameter(DType::f32, "a");
  const auto k = std::make_shared<Function>(scale());
  const ValueId n[] = {b.i32(3)}, first[] = {x, a};
  const Values once = b.launch(k, n, first, {&t, 1});
  const ValueId second[] = {once[0], a};
  const ValueId out[] = {b.launch(k, n, second, {&t, 1})[0], b.add(a, a)};
  b.finish(out);
  verify(f);
  std::vector<float> vx{1, 2, 3}, vy(3), sum(1);
  const ArrayArgument arrays[] = {argument(vx), argument(vy), argument(sum)};
  const std::uint64_t scalars[] = {std::bit_cast<std::uint32_t>(2.f)};
  FailureSlot failure;
  reference_backend()->compile(f, {})->run({{1, 1, 1}, arrays, scalars}, failure);
  failure.rethrow();
  CHECK(vy == std::vector<float>{4, 8, 12});
  CHECK(sum[0] == 4);
}

TEST_CASE("only the first failure is kept and print goes to the sink", "[backends]") {
  FailureSlot slot;
  slot.set(FailureSlot::Kind::device, {}, "first");
  slot.set(FailureSlot::Kind::kernel, {}, "second");
  CHECK_THROWS_AS(slot.rethrow(), DeviceError);
  CHECK_NOTHROW(slot.rethrow());
  std::string seen;
  set_print_sink([](std::string_view line, void* user) { *static_cast<std::string*>(user) += line; }, &seen);
  print_line("a line");
  set_print_sink(nullptr, nullptr);
  CHECK(seen == "a line");
}
