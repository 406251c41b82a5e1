// Whether fma, division and square root are correctly rounded: the specification allows less, so the device is asked. Where it is not
// exact, gpu::lower_ops computes the operation from others. Likewise whether the lanes of a subgroup are threads in their order.
#include <cmath>
#include <cstring>
#include <limits>
#include <random>

#include "fluxion/builder.h"
#include "probe.h"

namespace fluxion::vulkan {
namespace {

constexpr int kCases = 2048;

template <class T>
std::array<bool, 3> rounds(Gpu& gpu, DType t) {
  Function f;
  f.kind = Function::Kind::kernel;
  f.name = "probe";
  f.domain_rank = 1;
  Builder b(f);
  MemoryId x[3], y[3];
  for (int k = 0; k < 3; ++k) x[k] = b.memory_parameter(t, 1, Role::in, "x");
  for (int k = 0; k < 3; ++k) y[k] = b.memory_parameter(t, 1, Role::out, "y");
  const ValueId at[] = {b.index(0)};
  const ValueId a = b.load(x[0], at), c = b.load(x[1], at), d = b.load(x[2], at);
  b.store(y[0], at, b.emit(Opcode::fma, {a, c, d}));
  b.store(y[1], at, b.emit(Opcode::div, {a, c}));
  b.store(y[2], at, b.emit(Opcode::sqrt, {b.emit(Opcode::abs, {a})}));
  b.finish();
  std::mt19937_64 random(7);
  std::vector<T> in[3], out[3];
  // Mantissas of all kinds; exponents near each other, and in a third of the cases any.
  constexpr int kLowest = std::numeric_limits<T>::min_exponent - 1, kAll = std::numeric_limits<T>::max_exponent - kLowest;
  const auto number = [&](bool any) {
    const auto bits = random();
    const T mantissa = static_cast<T>(static_cast<std::int64_t>(bits) | 1) * static_cast<T>(0x1p-63);
    return std::ldexp(mantissa, any ? kLowest + 3 + static_cast<int>(random() % (kAll - 3)) : static_cast<int>(bits % 9) - 3);
  };
  for (int k = 0; k < kCases; ++k) {
    const bool any = k % 3 == 0;
    in[0].push_back(number(any));
    in[1].push_back(number(any));
    // Half of the sums cancel.
    in[2].push_back(k % 2 ? number(any) : static_cast<T>(-in[0].back() * in[1].back()));
    if (!std::isfinite(in[2].back())) in[2].back() = number(any);
  }
  const EmittedKernel code = emit(f, gpu.traits(), false);
  const Pipeline pipeline = gpu.pipeline(code.words, "");
  const std::size_t bytes = kCases * sizeof(T);
  std::vector<std::uint64_t> words = {kCases | std::uint64_t{1} << 32, 1, kCases, 0};
  std::vector<Address> memory;
  for (int k = 0; k < 6; ++k) {
    memory.push_back(gpu.allocate(bytes));
    if (k < 3) gpu.write(memory.back(), in[k].data(), bytes);
    words.push_back(memory.back());
    words.push_back(kCases | std::uint64_t{1} << 32);
  }
  gpu.dispatch(pipeline, words, code.push,
               (kCases + static_cast<std::uint64_t>(code.threads) - 1) / static_cast<std::uint64_t>(code.threads));
  std::array<bool, 3> exact{true, true, true};
  for (int k = 0; k < 3; ++k) {
    out[k].resize(kCases);
    gpu.read(out[k].data(), memory[static_cast<std::size_t>(3 + k)], bytes);
  }
  // Numbers below the smallest normal one may count as 0, on the way in too.
  const auto same = [](T got, T wanted) { return got == wanted || (std::fabs(wanted) < 2 * std::numeric_limits<T>::min()); };
  for (std::size_t i = 0; i < kCases; ++i) {
    const T a = in[0][i], c = in[1][i], d = in[2][i];
    const bool normal = std::isnormal(a) && std::isnormal(c), sum = d == 0 || std::isnormal(d);
    if (normal && sum) exact[0] &= same(out[0][i], std::fma(a, c, d));
    if (normal) exact[1] &= same(out[1][i], a / c);
    if (normal) exact[2] &= same(out[2][i], std::sqrt(std::fabs(a)));
  }
  for (const Address a : memory) gpu.free(a, bytes);
  gpu.destroy(pipeline);
  return exact;
}

/// Whether a loop of many rounds comes to its end.
bool ends_loops(Gpu& gpu) {
  constexpr std::uint32_t kRounds = 70000;
  Function f;
  f.kind = Function::Kind::kernel;
  f.name = "probe_loop";
  f.domain_rank = 1;
  Builder b(f);
  const MemoryId y = b.memory_parameter(DType::u32, 1, Role::inout, "y");
  const ValueId at[] = {b.index(0)}, start[] = {b.load(y, at)};
  const Values end = b.for_(b.i32(0), b.i32(kRounds), start, [&](ValueId, const Values& c) {
                        const ValueId x = b.mul(c[0], b.constant(DType::u32, 1664525));
                        return Builder::LoopYield{{b.add(x, b.constant(DType::u32, 1013904223))}, {}};
                      }).carries;
  b.store(y, at, end[0]);
  b.finish();
  std::uint32_t expected = 1, value = 1;
  for (std::uint32_t k = 0; k < kRounds; ++k) expected = expected * 1664525 + 1013904223;
  const EmittedKernel code = emit(f, gpu.traits(), false);
  const Pipeline pipeline = gpu.pipeline(code.words, "");
  const Address at_device = gpu.allocate(64);
  gpu.write(at_device, &value, sizeof value);
  const std::uint64_t words[] = {1 | std::uint64_t{1} << 32, 1, 1, 0, at_device, 1 | std::uint64_t{1} << 32};
  gpu.dispatch(pipeline, words, code.push, 1);
  gpu.read(&value, at_device, sizeof value);
  gpu.free(at_device, 64);
  gpu.destroy(pipeline);
  return value != expected;
}

/// Whether 32 threads in a row are a subgroup, each at its place. (Mesa's software device may promise 32 and have 16.)
bool has_lanes(Gpu& gpu) {
  constexpr std::uint32_t kThreads = 128, kTurn = 5;
  Function f;
  f.kind = Function::Kind::kernel;
  f.name = "probe_lanes";
  f.domain_rank = 1;
  f.group[0] = kThreads / 2;
  Builder b(f);
  MemoryId y[3];
  for (MemoryId& m : y) m = b.memory_parameter(DType::i32, 1, Role::out, "y");
  const ValueId i = b.index(0), at[] = {i};
  const ValueId lane = b.emit(Opcode::bit_and, {b.add(i, b.i32(kTurn)), b.i32(kSubgroupSize - 1)});
  b.store(y[0], at, b.subgroup(Subgroup::shuffle, i, lane));
  b.store(y[1], at, b.subgroup(Subgroup::add, i));
  b.store(y[2], at, b.subgroup(Subgroup::scan_add, i));
  b.finish();
  const EmittedKernel code = emit(f, gpu.traits(), false);
  const Pipeline pipeline = gpu.pipeline(code.words, "", code.subgroup);
  std::vector<std::uint64_t> words = {kThreads | std::uint64_t{1} << 32, 1, 2, 0};
  Address memory[3];
  for (Address& m : memory) {
    m = gpu.allocate(kThreads * 4);
    words.push_back(m);
    words.push_back(kThreads | std::uint64_t{1} << 32);
  }
  gpu.dispatch(pipeline, words, code.push, 2);
  std::vector<std::int32_t> got[3];
  for (int k = 0; k < 3; ++k) {
    got[k].resize(kThreads);
    gpu.read(got[k].data(), memory[k], kThreads * 4);
    gpu.free(memory[k], kThreads * 4);
  }
  gpu.destroy(pipeline);
  bool fine = true;
  for (int k = 0; k < static_cast<int>(kThreads); ++k) {
    const int own = k % kSubgroupSize, first = k - own;
    fine &= got[0][static_cast<std::size_t>(k)] == first + (own + static_cast<int>(kTurn)) % kSubgroupSize;
    fine &= got[1][static_cast<std::size_t>(k)] == kSubgroupSize * first + kSubgroupSize * (kSubgroupSize - 1) / 2;
    fine &= got[2][static_cast<std::size_t>(k)] == (own + 1) * first + own * (own + 1) / 2;
  }
  return fine;
}

}  // namespace

void probe(Gpu& gpu) {
  Traits t = gpu.traits();
  const auto single = rounds<float>(gpu, DType::f32);
  t.fma32 = single[0], t.div32 = single[1], t.sqrt32 = single[2];
  if (t.f64) {
    const auto wide = rounds<double>(gpu, DType::f64);
    t.fma64 = wide[0], t.div64 = wide[1], t.sqrt64 = wide[2];
  }
  t.ends_loops = ends_loops(gpu);
  if (t.subgroup && !has_lanes(gpu)) t.subgroup = 0;
  gpu.set_traits(t);
}

}  // namespace fluxion::vulkan
