// Sums of all threads to one place: by warps first, with the same bits as one by one.
#include <cmath>
#include <random>

#include "fluxion/fluxion.h"
#include "fluxion/pipeline.h"
#include "ptxas.h"
#include "run_kernel.h"

using namespace fluxion;
using namespace fluxion::testing;

namespace {

std::size_t count(const std::string& text, const std::string& what) {
  std::size_t n = 0;
  for (std::size_t at = text.find(what); at != std::string::npos; at = text.find(what, at + 1)) ++n;
  return n;
}
std::string ptx_of(const Function& f, bool relaxed = false) {
  std::vector<std::string> modules;
  make_ptx(lower(f, "cuda"), {.relaxed = relaxed}, "sm_75", "k", modules);
  return modules.at(0);
}
/// Numbers whose exponents are up to `spread` apart; some are 0 or not finite.
template <class T> Data numbers(std::int64_t n, int spread, bool special) {
  std::mt19937 random(7);
  Data d(dtype_of<T>, {n});
  for (std::int64_t k = 0; k < n; ++k) {
    const auto bits = static_cast<std::int32_t>(random());
    d.as<T>()[k] = static_cast<T>(
        std::ldexp(bits % 9 == 0 ? 0.0 : bits % 4096, static_cast<int>(random() % static_cast<unsigned>(spread)) - 30 - spread / 2));
  }
  if (special) d.as<T>()[n / 2] = std::numeric_limits<T>::infinity();
  return d;
}

}  // namespace

TEST_CASE("sums of all threads to one place are the same whatever a warp adds up first", "[backends][cuda]") {
  const auto check = [](auto zero, int spread, bool special) {
    using T = decltype(zero);
    auto k = fluxion::kernel("total", [](In<T> x, Accum<T> sum, Accum<int> n, Accum<T> by_row) {
      auto i = index();
      sum[0] += x[i];
      n[1] += i;
      for (auto r : range(3)) by_row[r] += x[i] * (cast<T>(r) + T(1));
      if_(x[i] > T(0), [&] { sum[1] += x[i]; });  // some of a warp's threads
    });
    for (const std::int64_t n : {1, 31, 32, 33, 300, 1024})
      agrees(*k.function(), {{n, 1, 1}},
             {numbers<T>(n, spread, special), Data(dtype_of<T>, {2}).fill(3), Data(DType::i32, {2}), Data(dtype_of<T>, {3})});
  };
  // The evaluator adds one by one: where nothing is rounded, in any order, it gives what exact sums give.
  for (const bool special : {false, true}) {
    check(1.0, 10, special);
    check(1.0, 20, special);
  }
}

TEST_CASE("a warp adds to as many limbs as its numbers need and they are exact", "[backends][cuda]") {
  // Exponents all over: more places than a warp adds to together.
  constexpr std::int64_t kMany = 500;
  auto k = fluxion::kernel("total", [](In<float> x, Accum<float> sum) { sum[0] += x[index()]; });
  Data x = numbers<float>(kMany, 200, false), sum(DType::f32, {1});
  // Each number twice, with both signs, but for one: what is left is exact.
  for (std::int64_t i = 0; i + 1 < kMany; i += 2) x.as<float>()[i + 1] = -x.as<float>()[i];
  x.as<float>()[kMany - 1] = 0x1.8p-60f, x.as<float>()[kMany - 2] = 0;
  for (const auto& device : devices()) {
    INFO(device->name());
    std::vector<Data> data = {x, sum};
    run(*device, *device->compile(*k.function(), {}), {kMany, 1, 1}, data, {});
    CHECK(data[1].as<float>()[0] == 0x1.8p-60f);
  }
}

TEST_CASE("in PTX a warp's sum to one place is shuffles and one atomic", "[backends][cuda]") {
  auto one = fluxion::kernel("one", [](In<float> x, Accum<float> sum) { sum[0] += x[index()]; });
  const std::string exact = ptx_of(*one.function()), relaxed = ptx_of(*one.function(), true);
  CHECK(count(exact, "shfl.sync.bfly") >= 10);
  CHECK(count(exact, "vote.sync.ballot") >= 1);
  CHECK(count(relaxed, "shfl.sync.bfly") == 5);
  CHECK(count(relaxed, "atom.global.add.f32") + count(relaxed, "red.global.add.f32") == 2);
  // Not where threads add to places of their own, part, or may leave.
  auto bins = fluxion::kernel("bins", [](In<float> x, In<int> to, Accum<float> sum) { sum[to[index()]] += x[index()]; });
  auto parted = fluxion::kernel("parted", [](In<float> x, Accum<float> sum) { if_(x[index()] > 0.0f, [&] { sum[0] += x[index()]; }); });
  auto leaving = fluxion::kernel("leaving", [](In<float> x, Accum<float> sum) {
    check(x[index()] > 0.0f, "not positive");
    sum[0] += x[index()];
  });
  auto rows = fluxion::kernel("rows", [](In<float, 2> x, Accum<float> sum) {
    auto [r, c] = index<2>();
    sum[r] += x(r, c);  // a row may end within a warp
  });
  for (const Function* f : {bins.function().get(), parted.function().get(), leaving.function().get(), rows.function().get()}) {
    INFO(f->name);
    CHECK(count(ptx_of(*f), "shfl.sync") == 0);
    CHECK(count(ptx_of(*f, true), "shfl.sync") == 0);
  }
  auto plane = fluxion::kernel("plane", [](In<float, 2> x, Accum<float> sum) {
    auto [r, c] = index<2>();
    for (auto k : range(4)) sum[k] += x(r, c) * cast<float>(k);
  });
  CHECK(count(ptx_of(*plane.function()), "shfl.sync") > 0);
}
