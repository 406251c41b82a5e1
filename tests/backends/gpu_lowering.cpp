// The lowerings that GPU backends share, each against the evaluator: what it makes of a kernel computes the same.
#include <algorithm>
#include <numeric>
#include <random>

#include "fluxion/fluxion.h"
#include "fluxion/gather_sums.h"
#include "fluxion/passes.h"
#include "gpu/lower_ops.h"
#include "gpu/meets.h"
#include "gpu/sums.h"
#include "gpu/tapes.h"
#include "run_kernel.h"

using namespace fluxion;
using namespace fluxion::testing;

namespace {

/// Numbers with all kinds of mantissas, exponents up to `spread` apart, and some special ones.
template <class T> std::vector<T> numbers(std::size_t n, int spread, unsigned seed) {
  std::mt19937_64 random(seed);
  std::vector<T> out;
  for (const double v : {0.0, -0.0, 1.0, -1.5, 3.0, HUGE_VAL, -HUGE_VAL, std::nan("")}) out.push_back(static_cast<T>(v));
  while (out.size() < n) {
    const auto bits = random();
    out.push_back(static_cast<T>(
        std::ldexp(static_cast<double>(static_cast<std::int64_t>(bits) | 1), static_cast<int>(bits % spread) - 62 - spread / 2)));
  }
  return out;
}

template <class T> void exact_ops() {
  const DType t = dtype_of<T>;
  constexpr int kMany = 4000;
  Function f = testing::kernel(std::string("exact_") + name_of(t));
  Builder b(f);
  MemoryId in[3];
  for (MemoryId& m : in) m = b.memory_parameter(t, 1, Role::in, "x");
  const ValueId at[] = {b.index(0)};
  const ValueId x[] = {b.load(in[0], at), b.load(in[1], at), b.load(in[2], at)};
  std::vector<Data> data;
  for (unsigned k = 0; k < 3; ++k) {
    data.emplace_back(LayoutId(t), std::initializer_list<std::int64_t>{kMany});
    const auto v = numbers<T>(kMany, k == 2 ? 60 : 20, k + 1);
    std::copy(v.begin(), v.end(), data.back().as<T>());
  }
  for (int k = 1000; k < kMany; k += 2)  // sums that cancel
    data[2].as<T>()[k] = -data[0].as<T>()[k] * data[1].as<T>()[k];
  for (const Opcode op :
       {Opcode::fma, Opcode::rem, Opcode::div, Opcode::sqrt, Opcode::min, Opcode::max, Opcode::copysign, Opcode::mulz, Opcode::sdiv}) {
    data.emplace_back(LayoutId(t), std::initializer_list<std::int64_t>{kMany});
    b.store(b.memory_parameter(t, 1, Role::out, name_of(op)), at, b.emit(op, std::span(x, info(op).arity)));
  }
  b.finish();
  const Function lowered = gpu::lower_ops(f, {});
  verify(lowered);
  for (const Region& r : lowered.regions)
    for (OpId o : r.ops) CHECK(lowered[o].code != Opcode::fma);
  const auto expected = evaluated(f, {kMany, 1, 1}, data, {}), mine = evaluated(lowered, {kMany, 1, 1}, data, {});
  for (std::size_t k = 3; k < data.size(); ++k) {
    INFO(name_of(t) << ", output " << k - 3);
    CHECK(difference(expected[k], mine[k]) == 0);
  }
}

}  // namespace

TEST_CASE("fma, remainder, division and square root made of other ops are correctly rounded", "[backends][gpu]") {
  exact_ops<float>();
  exact_ops<double>();
}

namespace {

Function scatter(DType t, std::int64_t bins) {
  Function f = testing::kernel("scatter");
  Builder b(f);
  const MemoryId x = b.memory_parameter(t, 1, Role::in, "x"), to = b.memory_parameter(DType::i32, 1, Role::in, "to");
  const MemoryId y = b.memory_parameter(t, 1, Role::accum, "y");
  const ValueId i[] = {b.index(0)}, at[] = {b.load(to, i)};
  b.accumulate(y, at, b.load(x, i));
  b.finish();
  (void)bins;
  return f;
}

/// The sums as a GPU computes them, its threads in the order `order`.
std::vector<Data> summed(const gpu::Sums& s, std::vector<Data> data, std::int64_t threads, std::int64_t bins,
                         const std::vector<std::uint32_t>& order) {
  data.emplace_back(LayoutId(DType::i64), std::initializer_list<std::int64_t>{s.targets[0].limbs, bins});
  std::vector<EvalMemory> memories;
  for (Data& d : data) memories.push_back({d.bytes.data(), d.extent});
  EvalOptions options;
  options.thread_order = order;
  evaluate_kernel(s.kernel, {threads, 1, 1}, memories, {}, options);
  evaluate_kernel(s.targets[0].finish, {bins, 1, 1}, std::vector<EvalMemory>{memories[2], memories[3]}, {});
  return data;
}

template <class T> void exact_sums(bool many) {
  constexpr int kMany = 600, kBins = 7;
  const gpu::Sums s = gpu::lower_sums(scatter(dtype_of<T>, kBins), {.many = many});
  verify(s.kernel);
  REQUIRE(s.targets.size() == 1);
  verify(s.targets[0].finish);
  Data x(dtype_of<T>, {kMany}), to(DType::i32, {kMany}), y(dtype_of<T>, {kBins});
  std::mt19937 random(3);
  for (int k = 0; k < kMany; ++k) {
    // Multiples of 2^-40 below 2^20: their sum is exact in long double.
    x.as<T>()[k] = static_cast<T>(
        std::ldexp(static_cast<double>(static_cast<std::int32_t>(random()) >> (random() % 24)), static_cast<int>(random() % 20) - 25));
    to.as<int>()[k] = static_cast<int>(random() % (kBins - 2));
  }
  // A huge number comes and goes; what is not finite.
  const T huge = std::ldexp(T(1), sizeof(T) == 4 ? 120 : 1000), tiny = std::ldexp(T(1), sizeof(T) == 4 ? -120 : -1000);
  const T special[] = {huge, tiny, -huge};
  for (int k = 0; k < 3; ++k) x.as<T>()[k * 190] = special[k], to.as<int>()[k * 190] = kBins - 2;
  x.as<T>()[5] = std::numeric_limits<T>::infinity(), to.as<int>()[5] = kBins - 1;
  std::vector<long double> exact(kBins);
  for (int k = 0; k < kMany; ++k)
    if (to.as<int>()[k] < kBins - 2) exact[static_cast<std::size_t>(to.as<int>()[k])] += static_cast<long double>(x.as<T>()[k]);
  std::vector<std::uint32_t> order(kMany);
  std::iota(order.begin(), order.end(), 0u);
  for (int round = 0; round < 3; ++round) {
    const auto out = summed(s, {x, to, y}, kMany, kBins, order);
    for (int k = 0; k < kBins - 2; ++k) CHECK(out[2].as<T>()[k] == static_cast<T>(exact[static_cast<std::size_t>(k)]));
    CHECK(out[2].as<T>()[kBins - 2] == tiny);
    CHECK(out[2].as<T>()[kBins - 1] == std::numeric_limits<T>::infinity());
    std::shuffle(order.begin(), order.end(), random);
  }
}

}  // namespace

TEST_CASE("sums of floats by many threads are exact and rounded once in any order", "[backends][gpu]") {
  for (const bool many : {false, true}) {
    exact_sums<float>(many);
    exact_sums<double>(many);
  }
}

TEST_CASE("limbs that many threads fill carry on before they overflow", "[backends][gpu]") {
  constexpr int kMany = 500;
  std::mt19937 random(5);
  std::vector<std::uint32_t> order(kMany);
  std::iota(order.begin(), order.end(), 0u);
  std::shuffle(order.begin(), order.end(), random);
  Data x(DType::f32, {kMany}), to(DType::i32, {kMany}), y(DType::f32, {1});
  double sum = 0;
  for (int k = 0; k < kMany; ++k) {
    // The largest part of a limb, and, at an order of threads that is random, some of the other sign.
    x.as<float>()[k] = std::ldexp(std::nextafter(2.0f, 0.0f), 105 - 127) * (k % 7 == 0 ? -1.0f : 1.0f);
    sum += static_cast<double>(x.as<float>()[k]);
  }
  // As if 2^31 adds had been there before: a limb at its brim, and as much less in the one above. Together they are nothing.
  const int limb = (105 - 1) / 32;
  for (const std::int64_t brim : {std::int64_t{1} << 60, std::numeric_limits<std::int64_t>::max() - 0xfffffffe}) {
    const auto with = [&](bool many) {
      const gpu::Sums s = gpu::lower_sums(scatter(DType::f32, 1), {.many = many});
      Data limbs(DType::i64, {s.targets[0].limbs, 1});
      const std::int64_t full = brim & ~std::int64_t{0xffffffff};
      limbs.as<std::int64_t>()[limb] = full;
      limbs.as<std::int64_t>()[limb + 1] = -(full >> 32);
      std::vector<Data> data = {x, to, y, limbs};
      std::vector<EvalMemory> memories;
      for (Data& d : data) memories.push_back({d.bytes.data(), d.extent});
      EvalOptions options;
      options.thread_order = order;
      evaluate_kernel(s.kernel, {kMany, 1, 1}, memories, {}, options);
      evaluate_kernel(s.targets[0].finish, {1, 1, 1}, std::vector<EvalMemory>{memories[2], memories[3]}, {});
      return data[2].as<float>()[0];
    };
    CHECK(with(true) == static_cast<float>(sum));
    CHECK((with(false) == static_cast<float>(sum)) == (brim == std::int64_t{1} << 60));  // the other one overflows
  }
}

TEST_CASE("limbs that change sign again and again carry on to the right sum", "[backends][gpu]") {
  // -2^-30, 2^10, 2^-30, -2^10: the limb of the small ones gives to the one above and takes back, which its own numbers cross, too.
  auto k = fluxion::kernel("turns", [](In<float> x, In<int> n, Accum<float> sum) {
    for (auto j : range(n[0])) sum[0] += x[j];
  });
  std::mt19937 random(11);
  for (const bool mixed : {false, true}) {
    constexpr int kMany = 400;
    Data x(DType::f32, {kMany}), n(DType::i32, {1}), sum(DType::f32, {1});
    n.as<int>()[0] = kMany;
    double exact = 0;
    for (int j = 0; j < kMany; ++j) {
      const float v = mixed ? std::ldexp(random() % 2 ? 1.0f : -1.0f, static_cast<int>(random() % 100) - 50) : j % 2 ? 0x1p10f : 0x1p-30f;
      x.as<float>()[j] = mixed || j % 4 == 1 || j % 4 == 2 ? v : -v;
      exact += static_cast<double>(x.as<float>()[j]);
    }
    if (mixed) {  // powers of two up to 2^100 apart: their sum is what is left when each has come twice
      for (int j = 0; j + 1 < kMany; j += 2) x.as<float>()[j + 1] = -x.as<float>()[j];
      x.as<float>()[17] = 0x1p-49f, exact = static_cast<double>(x.as<float>()[16]) + 0x1p-49;
    }
    for (const auto& device : devices()) {
      INFO(device->name());
      std::vector<Data> data = {x, n, sum};
      run(*device, *device->compile(*k.function(), {}), {1, 1, 1}, data, {});
      CHECK(data[2].as<float>()[0] == static_cast<float>(exact));
    }
  }
}

TEST_CASE("sums of unknown length and launches of many threads use limbs that carry on", "[backends][gpu]") {
  CHECK(gpu::lower_sums(scatter(DType::f32, 1), {}).adds == 1);
  CHECK(gpu::lower_sums(scatter(DType::f32, 1), {.many = true}).adds == 0);
  const auto loop = [](auto rounds) {
    return fluxion::kernel("rounds", [=](fluxion::In<int> n, fluxion::Accum<float> sum) {
      for ([[maybe_unused]] auto r : fluxion::range(rounds(n))) sum[n[fluxion::index()]] += 1.0f;
    });
  };
  CHECK(gpu::lower_sums(*loop([](auto&) { return 5; }).function(), {}).adds == 5);
  CHECK(gpu::lower_sums(*loop([](auto& n) -> fluxion::Int { return n[0]; }).function(), {}).adds == 0);
  CHECK(gpu::lower_sums(*loop([](auto&) { return 1 << 21; }).function(), {}).adds == 0);
}

TEST_CASE("a launch of more adds than limbs hold gives the same", "[backends][gpu]") {
  constexpr int kMany = 300, kBins = 3;
  Data x(DType::f32, {kMany}), to(DType::i32, {kMany}), y(DType::f32, {kBins});
  x.fill();
  for (int k = 0; k < kMany; ++k) to.as<int>()[k] = k % kBins;
  for (const auto& device : devices()) {
    INFO(device->name());
    const auto code = device->compile(scatter(DType::f32, kBins), {});
    std::vector<Data> plain = {x, to, y}, many = {x, to, y};
    run(*device, *code, {kMany, 1, 1}, plain, {});
    const std::int64_t before = gpu::most_adds();
    gpu::most_adds() = kMany - 1;
    run(*device, *code, {kMany, 1, 1}, many, {});
    gpu::most_adds() = before;
    CHECK(plain[2].bytes == many[2].bytes);
    CHECK(many[2].as<float>()[0] != 0);
  }
}

TEST_CASE("the border of a stencil's adjoint has threads of its own and no element meets two", "[backends][gpu]") {
  auto near = fluxion::kernel("near", [](fluxion::In<double, 2> x, fluxion::Out<double, 2> y) {
    auto [r, q] = fluxion::index<2>();
    y(r, q) = x(r, q + 1) * x(r + 3, q + 1) + x(r + 1, q - 2);
  });
  const std::vector<Gathered> phases = gather_sums(*fluxion::vjp(near).function(), AddCost::of_threads);
  REQUIRE(phases.size() == 1);
  CHECK(phases[0].beyond == std::array<int, 3>{3, 3, 0});
  CHECK(gpu::lower_sums(phases[0].kernel, {}).targets.empty());
  // So far away, the border would be more than the domain: limbs.
  auto far = fluxion::kernel("far", [](fluxion::In<double> x, fluxion::Out<double> y) {
    auto i = fluxion::index();
    y[i] = x[i] * x[i + 100];
  });
  const std::vector<Gathered> wide = gather_sums(*fluxion::vjp(far).function(), AddCost::of_threads);
  REQUIRE(wide.size() == 1);
  CHECK(wide[0].beyond == std::array<int, 3>{});
  CHECK(gpu::lower_sums(wide[0].kernel, {}).targets.size() == 1);
}

TEST_CASE("sequences on tapes hold what they held, and what they need is counted before", "[backends][gpu]") {
  auto k = fluxion::kernel("history", [](In<float> x, InOut<double> y, Int n) {
    auto i = index();
    Float s = x[i];
    for (auto j : range(n)) s = s * 0.5f + sin(s + Float(j));
    for (auto _ : while_([&] { return s < 40.f; })) s = s * 1.5f + 1.f;
    y[i] += Double(s * s);
  });
  for (const bool second : {false, true}) {
    auto derivative = fluxion::vjp(k);
    const Function& f = second ? *fluxion::vjp(derivative).handle().function() : *derivative.handle().function();
    const Function lowered = dce(f);
    REQUIRE(gpu::has_sequences(lowered));
    const gpu::Tapes tapes = gpu::lower_sequences(lowered);
    verify(tapes.kernel);
    REQUIRE(tapes.count);
    verify(*tapes.count);
    CHECK_FALSE(gpu::has_sequences(tapes.kernel));
    constexpr int kThreads = 5, kColumns = 8;
    std::vector<Data> data;
    std::vector<std::uint64_t> scalars;
    for (const Parameter& p : f.parameters) {
      if (p.kind == Parameter::Kind::scalar) scalars.push_back(6);
      else data.push_back(Data(f[p.memory].element, {kThreads}).fill(static_cast<std::uint32_t>(data.size() + 1)));
    }
    Data peaks(DType::i32, {2});
    std::vector<Data> counted = data;
    counted.emplace_back(LayoutId(DType::u32), std::initializer_list<std::int64_t>{1, kColumns});
    counted.emplace_back(LayoutId(DType::u64), std::initializer_list<std::int64_t>{1, kColumns});
    counted.push_back(peaks);
    counted = evaluated(*tapes.count, {kThreads, 1, 1}, counted, scalars);
    const int slots[] = {std::max(1, counted.back().as<int>()[0]), std::max(1, counted.back().as<int>()[1])};
    CHECK(slots[0] >= 6);
    std::vector<Data> on_tape = data;
    on_tape.emplace_back(LayoutId(DType::u32), std::initializer_list<std::int64_t>{slots[0], kColumns});
    on_tape.emplace_back(LayoutId(DType::u64), std::initializer_list<std::int64_t>{slots[1], kColumns});
    on_tape = evaluated(tapes.kernel, {kThreads, 1, 1}, on_tape, scalars);
    const auto expected = evaluated(lowered, {kThreads, 1, 1}, data, scalars);
    for (std::size_t d = 0; d < data.size(); ++d) CHECK(difference(expected[d], on_tape[d]) == 0);
    on_tape = data;  // one item less is too little
    on_tape.emplace_back(LayoutId(DType::u32), std::initializer_list<std::int64_t>{slots[0] - 1, kColumns});
    on_tape.emplace_back(LayoutId(DType::u64), std::initializer_list<std::int64_t>{slots[1], kColumns});
    CHECK_THROWS_WITH(evaluated(tapes.kernel, {kThreads, 1, 1}, on_tape, scalars), Catch::Contains("tape of a thread is full"));
  }
}

TEST_CASE("threads that meet in branches and loops see those that the language says", "[backends][gpu]") {
  auto k = fluxion::kernel("meet", groups(48), [](In<float> x, In<int> n, Out<float> y, Out<int> z) {
    auto i = index();
    Float s = 0.f;
    Int seen = 0;
    if_(x[i] > 0.f, [&] { s = subgroup_add(x[i]); }, [&] { s = subgroup_max(x[i]) - 1.f; });
    for (auto j : range(n[i])) {
      s = s + subgroup_scan_add(Float(j) + 0.25f);
      if_(n[i] > 2, [&] { seen = seen + subgroup_add(j); });
    }
    for (auto _ : while_([&] { return seen < n[i] * 3; })) seen = seen + 1 + subgroup_broadcast(n[i], 3);
    y[i] = s;
    z[i] = seen;
  });
  const Function& f = *k.handle().function();
  const Function lowered = gpu::lower_meets(f);
  verify(lowered);
  for (const Region& r : lowered.regions)
    for (OpId o : r.ops) CHECK(lowered[o].code != Opcode::subgroup);
  Data n(DType::i32, {96});
  for (int t = 0; t < 96; ++t) n.as<int>()[t] = t * 7 % 5;
  const std::vector<Data> data{Data(DType::f32, {96}).fill(3), n, Data(DType::f32, {96}), Data(DType::i32, {96})};
  const auto expected = evaluated(f, {96, 1, 1}, data, {}), mine = evaluated(lowered, {96, 1, 1}, data, {});
  for (std::size_t d = 0; d < data.size(); ++d) CHECK(difference(expected[d], mine[d]) == 0);
}
