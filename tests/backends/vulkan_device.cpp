// How work comes to a Vulkan device: submissions in flight, copies that nobody waits for, what the driver keeps of pipelines, and the
// device's own subgroups and atomics.
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "run_kernel.h"
#include "vulkan/probe.h"

using namespace fluxion;
using namespace fluxion::testing;

namespace {

bool has(Backend& device, const char* feature) {
  for (const std::string& f : device.features())
    if (f == feature) return true;
  return false;
}
bool uses(Backend& device, const Function& f, spv::Capability c) {
  const std::string text = device.compile(f, {})->dump("spirv");
  for (std::size_t at = 0; at + 8 <= text.size(); at += 4) {
    std::uint32_t words[2];
    std::memcpy(words, text.data() + at, 8);
    if (words[0] == (2u << 16 | static_cast<std::uint32_t>(spv::Op::OpCapability)) && words[1] == static_cast<std::uint32_t>(c))
      return true;
  }
  return false;
}

/// A device of its own; never closed, as a process has it.
vulkan::Gpu* gpu_alone() {
  if (!vulkan_device()) return nullptr;
  static auto& gpu = *new vulkan::Gpu;
  static bool probed = false;
  if (!probed) vulkan::probe(gpu);
  probed = true;
  return &gpu;
}

/// y[i] after `rounds` rounds; the device ends no loop of fewer than 60000.
struct Slow {
  static constexpr std::uint32_t kThreads = 1 << 16;
  vulkan::Gpu& gpu;
  vulkan::EmittedKernel code;
  vulkan::Pipeline pipeline;
  vulkan::Address y;
  std::uint32_t rounds;

  Slow(vulkan::Gpu& on, std::uint32_t n) : gpu(on), rounds(n) {
    Function f = kernel("slow");
    Builder b(f);
    const MemoryId m = b.memory_parameter(DType::u32, 1, Role::inout, "y");
    const ValueId at[] = {b.index(0)}, start[] = {b.load(m, at)};
    const Values end = b.for_(b.i32(0), b.i32(static_cast<std::int32_t>(n)), start, [&](ValueId, const Values& c) {
                          const ValueId x = b.mul(c[0], b.constant(DType::u32, 1664525));
                          return Builder::LoopYield{{b.add(x, b.constant(DType::u32, 1013904223))}, {}};
                        }).carries;
    b.store(m, at, end[0]);
    b.finish();
    code = vulkan::emit(f, gpu.traits(), false);
    pipeline = gpu.pipeline(code.words, "");
    y = gpu.allocate(kThreads * 4);
    const std::vector<std::uint32_t> ones(kThreads, 1);
    gpu.write(y, ones.data(), kThreads * 4);
  }
  void launch() {
    const std::uint64_t words[] = {kThreads | std::uint64_t{1} << 32, 1, kThreads, 0, y, kThreads | std::uint64_t{1} << 32};
    gpu.dispatch(pipeline, words, code.push, kThreads / static_cast<unsigned>(code.threads));
  }
  std::uint32_t after(int launches) const {
    std::uint32_t v = 1;
    for (std::uint64_t k = 0; k < std::uint64_t{rounds} * static_cast<unsigned>(launches); ++k) v = v * 1664525 + 1013904223;
    return v;
  }
  ~Slow() {
    gpu.free(y, kThreads * 4);
    gpu.destroy(pipeline);
  }
};

}  // namespace

TEST_CASE("launches are submitted while earlier ones run and few submissions carry many", "[backends][vulkan]") {
  vulkan::Gpu* gpu = gpu_alone();
  if (!gpu) return;
  Slow slow(*gpu, 500);
  slow.launch();
  gpu->wait();  // from here on the device knows how long one takes
  REQUIRE(gpu->counts().in_flight == 0);
  const std::uint64_t before = gpu->counts().submissions;
  slow.launch();
  CHECK(gpu->counts().submissions == before + 1);  // at once
  for (int k = 1; k < 7; ++k) slow.launch();
  CHECK(gpu->counts().submissions == before + 3);  // 1, 2, 4
  CHECK(gpu->counts().most_in_flight >= 2);
  for (int k = 7; k < 20; ++k) slow.launch();
  std::vector<std::uint32_t> got(Slow::kThreads);
  gpu->read(got.data(), slow.y, got.size() * 4);
  CHECK(gpu->counts().submissions <= before + 6);
  CHECK((got == std::vector<std::uint32_t>(Slow::kThreads, slow.after(21))));
}

TEST_CASE("arrays are written while the device is at work and nobody waits", "[backends][vulkan]") {
  vulkan::Gpu* gpu = gpu_alone();
  if (!gpu) return;
  Slow slow(*gpu, 50000);
  gpu->wait();
  constexpr std::size_t kBytes = 20 << 20;  // in several pieces
  std::vector<std::uint32_t> mine(kBytes / 4), back(kBytes / 4);
  for (std::size_t k = 0; k < mine.size(); ++k) mine[k] = static_cast<std::uint32_t>(k * 2654435761u);
  const vulkan::Address to = gpu->allocate(kBytes);
  slow.launch();
  const std::vector<std::uint32_t> copy = mine;
  gpu->write(to, mine.data(), kBytes);
  std::fill(mine.begin(), mine.end(), 0u);  // the host's array is free again
  CHECK(gpu->counts().in_flight >= 2);      // the launch still runs, and the copies come after it
  CHECK(gpu->counts().staged >= kBytes);
  gpu->read(back.data(), to, kBytes);
  CHECK((back == copy));
  CHECK(gpu->counts().in_flight == 0);
  CHECK(gpu->counts().staged == 0);
  gpu->free(to, kBytes);
}

TEST_CASE("a long way of copies does not take more staging memory than there is room for", "[backends][vulkan]") {
  vulkan::Gpu* gpu = gpu_alone();
  if (!gpu) return;
  Slow slow(*gpu, 2000);
  constexpr std::size_t kBytes = 24 << 20;
  const std::vector<std::uint32_t> mine(kBytes / 4, 7);
  std::vector<std::uint32_t> back(kBytes / 4);
  const vulkan::Address to = gpu->allocate(kBytes);
  for (int k = 0; k < 8; ++k) {
    slow.launch();
    gpu->write(to, mine.data(), kBytes);
    CHECK(gpu->counts().staged <= std::size_t{64} << 20);
  }
  gpu->read(back.data(), to, kBytes);
  CHECK((back == mine));
  gpu->free(to, kBytes);
}

TEST_CASE("memory that is freed serves arrays of any other size", "[backends][vulkan]") {
  vulkan::Gpu* gpu = gpu_alone();
  if (!gpu) return;
  constexpr std::size_t kMega = std::size_t{1} << 20;
  gpu->wait();
  const std::size_t before = gpu->counts().held;
  for (std::size_t size = 2; size < 15; ++size) {
    std::vector<vulkan::Address> lot;
    for (int k = 0; k < 8; ++k) lot.push_back(gpu->allocate(size * kMega));
    CHECK(gpu->counts().held - before <= 8 * 32 * kMega);
    // In another order than they came.
    for (const std::size_t k : {3, 0, 7, 1, 2, 6, 5, 4}) gpu->free(lot[k], size * kMega);
  }
  std::vector<std::pair<vulkan::Address, std::size_t>> all;  // of many sizes, none over another
  std::uint32_t s = 1;
  for (int k = 0; k < 2000; ++k) {
    s = s * 1664525 + 1013904223;
    if (k % 3 == 2) {
      const std::size_t which = s / 7 % all.size();
      gpu->free(all[which].first, all[which].second);
      all.erase(all.begin() + static_cast<std::ptrdiff_t>(which));
    } else {
      const std::size_t bytes = 64 + s / 64 % (k % 50 ? 100000 : 20 * kMega);
      all.emplace_back(gpu->allocate(bytes), bytes);
      REQUIRE(all.back().first);
    }
  }
  std::sort(all.begin(), all.end());
  for (std::size_t k = 1; k < all.size(); ++k) CHECK(all[k - 1].first + all[k - 1].second <= all[k].first);
  for (const auto& [at, bytes] : all) gpu->free(at, bytes);
  gpu->wait();
  CHECK(gpu->counts().held <= before + 64 * kMega);
}

TEST_CASE("a kernel with f64 is not given to a device that has none", "[backends][vulkan]") {
  if (!vulkan_device()) return;
  for (const DType t : {DType::f32, DType::f64}) {
    Function f = kernel("sum");
    Builder b(f);
    const MemoryId x = b.memory_parameter(t, 1, Role::inout, "x");
    const ValueId i[] = {b.index(0)}, v = b.load(x, i);
    b.store(x, i, b.add(v, v));
    b.finish();
    vulkan::Traits traits;
    CHECK(vulkan::lacks(f, traits).empty());
    traits.f64 = false;
    CHECK(vulkan::lacks(f, traits).empty() == (t == DType::f32));
  }
}

TEST_CASE("what a driver keeps of pipelines comes back and damage to it costs nothing but time", "[backends][vulkan]") {
  Backend* device = vulkan_device();
  if (!device) return;
  Function f = kernel("kept");
  Builder b(f);
  const MemoryId x = b.memory_parameter(DType::f32, 1, Role::in, "x"), y = b.memory_parameter(DType::f32, 1, Role::out, "y");
  const ValueId i[] = {b.index(0)};
  b.store(y, i, b.mul(b.load(x, i), b.constant_float(DType::f32, 3)));
  b.finish();
  const std::vector<Data> data = {Data(DType::f32, {100}).fill(), Data(DType::f32, {100})};
  const auto expected = evaluated(f, {100, 1, 1}, data, {});
  const std::string object = device->compile(f, {})->object();
  // A length, then the header that Vulkan prescribes: its length, its version.
  REQUIRE(object.size() >= 8 + 32);
  std::uint32_t header[2];
  std::memcpy(header, object.data() + 8, sizeof header);
  CHECK(header[0] == 32);
  CHECK(header[1] == 1);
  std::vector<std::string> variants = {object, "", object.substr(0, 5), object.substr(0, object.size() - 1), object.substr(0, 20)};
  for (const std::size_t at : {std::size_t{0}, std::size_t{7}, std::size_t{9}, std::size_t{13}, std::size_t{17}, std::size_t{30}}) {
    std::string wrong = object;
    wrong[at] = static_cast<char>(wrong[at] ^ 0x41);
    variants.push_back(wrong);
  }
  for (const std::string& v : variants) {
    std::vector<Data> mine = data;
    const auto code = device->load(f, {}, v);
    REQUIRE(code);
    run(*device, *code, {100, 1, 1}, mine, {});
    CHECK(difference(expected[1], mine[1]) == 0);
  }
}

namespace {

/// Every subgroup op that the type has, each to an array of its own; `group` threads.
Function subgroup_ops(DType t, std::array<int, 3> group, int rank) {
  Function f = kernel(std::string("subgroups_") + name_of(t), rank);
  f.group = group;
  Builder b(f);
  const MemoryId x = b.memory_parameter(t, rank, Role::in, "x"), lanes = b.memory_parameter(DType::i32, rank, Role::in, "lane");
  std::vector<ValueId> i;
  for (int a = 0; a < rank; ++a) i.push_back(b.index(a));
  const ValueId v = b.load(x, i), lane = b.load(lanes, i);
  const ValueId mine = b.emit(Opcode::bit_and, {lane, b.i32(kSubgroupSize - 1)});
  const auto out = [&](Subgroup kind, ValueId r) { b.store(b.memory_parameter(t, rank, Role::out, name_of(kind)), i, r); };
  for (const Subgroup kind : {Subgroup::add, Subgroup::min, Subgroup::max, Subgroup::scan_add, Subgroup::scan_add_back})
    if (!is_bool(t)) out(kind, b.subgroup(kind, v));
  for (const Subgroup kind : {Subgroup::bit_and, Subgroup::bit_or, Subgroup::bit_xor})
    if (!is_float(t)) out(kind, b.subgroup(kind, v));
  out(Subgroup::shuffle, b.subgroup(Subgroup::shuffle, v, lane));
  if (!is_bool(t)) out(Subgroup::scatter_add, b.subgroup(Subgroup::scatter_add, v, mine));
  b.finish();
  return f;
}

std::vector<Data> operands_of(const Function& f, std::initializer_list<std::int64_t> shape) {
  std::vector<Data> data;
  for (const Parameter& p : f.parameters) data.emplace_back(f[p.memory].element, shape);
  data[0].fill(3);
  const DType t = data[0].element.scalar();
  std::int32_t* lane = data[1].as<std::int32_t>();
  for (std::int64_t k = 0; k < data[1].count(); ++k) lane[k] = static_cast<std::int32_t>(k * 13 % 37) - 3;  // some are not there
  // What min and max make of special numbers.
  if (t == DType::f32) data[0].as<float>()[40] = std::nanf(""), data[0].as<float>()[70] = -0.f, data[0].as<float>()[71] = 0.f;
  if (t == DType::f64) data[0].as<double>()[40] = std::nan("");
  return data;
}

}  // namespace

// Each backend as it is, then what is emitted for devices whose subgroups are the language's: on one whose subgroups have `kLanes`
// threads, as the evaluator has them in groups of so many.
TEST_CASE("subgroup ops of every type are those of the evaluator by shared memory and by the device's own", "[backends][vulkan]") {
  vulkan::Gpu* gpu = gpu_alone();
  if (!gpu) return;
  constexpr int kLanes = 8;
  const bool same = gpu->software();  // Mesa's has 8 lanes unless LP_NATIVE_VECTOR_WIDTH says otherwise
  if (!same || std::getenv("LP_NATIVE_VECTOR_WIDTH")) std::printf("\nskipped: subgroups of 8 threads; this device may have others\n");
  int native = 0;
  for (int type = 0; type < kDTypeCount; ++type) {
    const auto t = static_cast<DType>(type);
    if (is_half(t)) continue;
    INFO(name_of(t));
    const Function whole = subgroup_ops(t, {64, 0, 0}, 1), part = subgroup_ops(t, {48, 0, 0}, 1), plane = subgroup_ops(t, {4, 16, 0}, 2);
    agrees(whole, {{192, 1, 1}}, operands_of(whole, {192}), {}, 0, {{16, ""}});
    agrees(part, {{144, 1, 1}}, operands_of(part, {144}), {}, 0, {{16, ""}});
    agrees(plane, {{8, 32, 1}}, operands_of(plane, {8, 32}), {}, 0, {{16, ""}});
    if (!same || std::getenv("LP_NATIVE_VECTOR_WIDTH")) continue;

    const Function few = subgroup_ops(t, {kLanes, 0, 0}, 1);
    std::vector<Data> data = operands_of(whole, {192});
    for (std::int64_t k = 0; k < 192; ++k) {  // scatter_add takes those of the first lanes
      std::int32_t& lane = data[1].as<std::int32_t>()[k];
      lane = lane < 0 ? lane : lane % (kLanes + 2);
    }
    const auto expected = evaluated(few, {192, 1, 1}, data, {});
    vulkan::Traits traits = gpu->traits();
    traits.subgroup = kLanes;
    const vulkan::EmittedKernel code = vulkan::emit(whole, traits, false);
    REQUIRE(code.subgroup == kLanes);
    const vulkan::Pipeline pipeline = gpu->pipeline(code.words, "", code.subgroup);
    std::vector<std::uint64_t> words = {192 | std::uint64_t{1} << 32, 1, 3, 0};
    std::vector<vulkan::Address> at;
    for (const Data& d : data) {
      at.push_back(gpu->allocate(d.bytes.size()));
      gpu->write(at.back(), d.bytes.data(), d.bytes.size());
      words.push_back(at.back());
      words.push_back(192 | std::uint64_t{1} << 32);
    }
    gpu->dispatch(pipeline, words, code.push, 3);
    for (std::size_t k = 0; k < data.size(); ++k) {
      INFO("array " << whole.parameters[k].name);
      gpu->read(data[k].bytes.data(), at[k], data[k].bytes.size());
      gpu->free(at[k], data[k].bytes.size());
      CHECK(difference(expected[k], data[k]) == 0);
      ++native;
    }
    gpu->destroy(pipeline);
  }
  if (same && !std::getenv("LP_NATIVE_VECTOR_WIDTH")) CHECK(native > 80);
}

TEST_CASE("spirv-val takes the subgroup ops of a device with subgroups of 32 threads", "[backends][vulkan]") {
  vulkan::Gpu* gpu = gpu_alone();
  if (!gpu) return;
  if (std::system("spirv-val --version >/dev/null 2>&1") != 0) {
    std::printf("\nskipped: spirv-val is not installed (package spirv-tools)\n");
    return;
  }
  const auto file = std::filesystem::temp_directory_path() / ("fluxion_subgroups_" + std::to_string(::getpid()) + ".spv");
  vulkan::Traits traits = gpu->traits();
  traits.subgroup = kSubgroupSize;
  for (int type = 0; type < kDTypeCount; ++type) {
    const auto t = static_cast<DType>(type);
    if (is_half(t)) continue;
    const vulkan::EmittedKernel code = vulkan::emit(subgroup_ops(t, {64, 0, 0}, 1), traits, false);
    CHECK(code.subgroup == kSubgroupSize);
    std::ofstream(file, std::ios::binary)
        .write(reinterpret_cast<const char*>(code.words.data()), static_cast<std::streamsize>(code.words.size() * 4));
    INFO(name_of(t));
    CHECK(std::system(("spirv-val --target-env vulkan1.2 --scalar-block-layout " + file.string()).c_str()) == 0);
  }
  std::filesystem::remove(file);
}

TEST_CASE("subgroup ops where threads part keep to shared memory beside those that do not", "[backends][vulkan]") {
  if (!vulkan_device()) return;
  const char* text = R"(kernel @parting(@x: in i32[?], @y: out i32[?], @z: out i32[?]) over (%0) in groups (64) {
  %1 = load @x[%0] : i32
  %2 = gt %1, 0 : bool
  %3 = if %2 {
    %4 = subgroup add %1 : i32
    yield %4
  } else {
    %5 = subgroup min %1 : i32
    yield %5
  } : i32
  %6 = subgroup max %3 : i32
  store @y[%0], %3
  store @z[%0], %6
}
)";
  const Function f = parse(text);
  agrees(f, {{128, 1, 1}}, {Data(DType::i32, {128}).fill(5), Data(DType::i32, {128}), Data(DType::i32, {128})}, {}, 0, {{16, ""}});
}

TEST_CASE("floats in shared memory are added to by the device where it can and exchanged where something else comes there",
          "[backends][vulkan]") {
  Backend* device = vulkan_device();
  if (!device) return;
  for (const bool more : {false, true}) {
    Function f = kernel(more ? "sums_and_extremes" : "sums");
    f.group = {64, 0, 0};
    Builder b(f);
    const MemoryId x = b.memory_parameter(DType::f32, 1, Role::in, "x"), y = b.memory_parameter(DType::f32, 1, Role::out, "y");
    const MemoryId s = b.shared(DType::f32, 4, "s");
    const ValueId i = b.index(0), at[] = {i};
    const ValueId v[] = {b.load(x, at)}, place[] = {b.emit(Opcode::bit_and, {i, b.i32(3)})};
    b.atomic(Atomic::add, s, place, v);
    b.barrier();
    if (more) {
      b.atomic(Atomic::max, s, place, v);
      b.barrier();
    }
    b.store(y, at, b.load(s, place));
    b.finish();
    CHECK(uses(*device, f, spv::Capability::AtomicFloat32AddEXT) == (has(*device, "atomic f32 add in shared memory") && !more));
    // Multiples of 1/256: their sums are exact.
    agrees(f, {{192, 1, 1}}, {Data(DType::f32, {192}).fill(), Data(DType::f32, {192})}, {}, 0, {{16, ""}});
  }
}
