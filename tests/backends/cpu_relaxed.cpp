// Sums to where an array says: in a fixed order by default, whatever the number of threads, and in any order where that is allowed.
#include "run_kernel.h"

using namespace fluxion;
using namespace fluxion::testing;

namespace {

constexpr std::int64_t kPoints = 200000;

Function scatter(DType t) {
  Function f = kernel("scatter");
  Builder b(f);
  const MemoryId at = b.memory_parameter(DType::i32, 1, Role::in, "at"), v = b.memory_parameter(t, 1, Role::in, "v");
  const MemoryId sum = b.memory_parameter(t, 1, Role::accum, "sum");
  const ValueId i[] = {b.index(0)}, j[] = {b.load(at, i)};
  b.accumulate(sum, j, b.load(v, i));
  b.finish();
  verify(f);
  return f;
}

std::vector<Data> inputs(DType t, int bins) {
  std::vector<Data> data{Data(DType::i32, {kPoints}), Data(t, {kPoints}).fill(3), Data(t, {bins}).fill(5)};
  unsigned s = 1;
  for (std::int64_t k = 0; k < kPoints; ++k)
    data[0].as<std::int32_t>()[k] = static_cast<int>(((s = s * 1664525u + 1013904223u) >> 8) % static_cast<unsigned>(bins));
  return data;
}

}  // namespace

TEST_CASE("relaxed sums lose nothing on any number of threads", "[backends][cpu][sums]") {
  const int before = cpu_threads();
  for (int bins : {1, 7, 5000, 150000}) {
    for (DType t : {DType::f64, DType::i32}) {  // the numbers of fill() add up exactly in both
      const Function f = scatter(t);
      const auto expected = evaluated(f, {kPoints, 1, 1}, inputs(t, bins), {});
      for (int threads : {1, 2, 4}) {
        set_cpu_threads(threads);
        auto data = inputs(t, bins);
        run(*cpu_backend()->compile(f, {.relaxed = true}), {kPoints, 1, 1}, data, {});
        INFO(bins << " places, " << threads << " threads, " << name_of(t));
        CHECK(difference(expected[2], data[2]) == 0);
      }
    }
  }
  set_cpu_threads(before);
}

TEST_CASE("sums that are not relaxed have the same bits on any number of threads", "[backends][cpu][sums]") {
  const int before = cpu_threads();
  const Function f = scatter(DType::f32);
  for (int bins : {1, 7, 5000, 150000}) {
    std::vector<std::byte> first;
    for (int threads : {1, 2, 4, 3}) {
      set_cpu_threads(threads);
      auto data = inputs(DType::f32, bins);
      for (std::int64_t k = 0; k < kPoints; ++k) data[1].as<float>()[k] *= 0.1f;  // now the order of sums shows
      run(*cpu_backend()->compile(f, {}), {kPoints, 1, 1}, data, {});
      if (first.empty()) first = data[2].bytes;
      CHECK(first == data[2].bytes);
    }
  }
  set_cpu_threads(before);
}
