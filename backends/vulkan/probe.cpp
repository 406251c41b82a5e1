// Whether fma, division and square root are correctly rounded: the specification allows less, so the device is asked. Where it is not
// exact, gpu::lower_ops computes the operation from others.
#include <cmath>
#include <cstring>
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
  const auto number = [&] {  // mantissas of all kinds, exponents near each other
    const auto bits = random();
    return static_cast<T>(std::ldexp(static_cast<double>(static_cast<std::int64_t>(bits) | 1), static_cast<int>(bits % 9) - 66));
  };
  for (int k = 0; k < kCases; ++k) {
    in[0].push_back(number());
    in[1].push_back(number());
    // Half of the sums cancel.
    in[2].push_back(k % 2 ? number() : static_cast<T>(-in[0].back() * in[1].back()));
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
  for (std::size_t i = 0; i < kCases; ++i) {
    exact[0] &= out[0][i] == std::fma(in[0][i], in[1][i], in[2][i]);
    exact[1] &= out[1][i] == in[0][i] / in[1][i];
    exact[2] &= out[2][i] == std::sqrt(std::fabs(in[0][i]));
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
  gpu.set_traits(t);
}

}  // namespace fluxion::vulkan
