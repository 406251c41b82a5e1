// What only the Vulkan backend has: modules that the validator takes, memory behind a bus, reports of many threads, errors.
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "fluxion/fluxion.h"
#include "fluxion/pipeline.h"
#include "run_kernel.h"

using namespace fluxion;
using namespace fluxion::testing;

namespace {

bool absent() { return !vulkan_device(); }

/// Kernels that come by everything the emitter knows.
std::vector<Function> kernels() {
  std::vector<Function> out;
  auto loops = fluxion::kernel("loops", [](In<float> x, InOut<double> y, Accum<float> sum, Int n) {
    auto i = index();
    Local<double, 40> table;
    Double s = 0.0;
    for (auto j : range(n)) s = s + sin(Double(x[i])) * Double(j);
    for (auto _ : while_([&] { return s > 10.0; })) s = s * 0.5;
    if_(s < 1.0, [&] { table[i % 40] = s; }, [&] { print("s = {}", s); });
    check(s < 100.0, "s is {}", s);
    y[i] = s + table[3];
    sum[i % 3] += Float(s);
  });
  auto groups_of = fluxion::kernel("groups", groups(16), [](In<float> x, InOut<int> count, Out<float> y) {
    Shared<float, 16> part;
    auto i = index();
    part[thread_index()] = x[i];
    barrier();
    y[i] = part[15 - thread_index()] + subgroup_add(x[i]);
    atomic_add(count[0], 1);
  });
  auto subgroups =
      fluxion::kernel("subgroups", groups(64), [](In<float> x, In<double> a, InOut<std::int64_t> n, Out<float> y, Out<double> z) {
        Shared<float, 8> part;
        auto i = index();
        part[i % 8].atomic_add(x[i]);
        barrier();
        const Int lane = subgroup_lane();
        n[i] = subgroup_add(n[i]) + subgroup_shuffle(n[i], 31 - lane);
        z[i] = subgroup_max(a[i]) + subgroup_scan_add(a[i]);
        y[i] = select(subgroup_any(x[i] > 3.f), part[i % 8] + subgroup_scan_add(x[i]), 0.f);
        z[i] += Double(subgroup_min(lane)) + Double(subgroup_shuffle_xor(x[i], 1));
      });
  for (const auto& f :
       {subgroups.handle().function(), fluxion::vjp(subgroups).handle().function(), loops.handle().function(),
        fluxion::vjp(loops).handle().function(), groups_of.handle().function(), fluxion::vjp(groups_of).handle().function()})
    out.push_back(lower(*f, "vulkan"));
  return out;
}

}  // namespace

TEST_CASE("spirv-val takes every module of a kernel", "[backends][vulkan]") {
  if (absent()) return;
  if (std::system("spirv-val --version >/dev/null 2>&1") != 0) {
    std::printf("\nskipped: spirv-val is not installed (package spirv-tools)\n");
    return;
  }
  const auto file = std::filesystem::temp_directory_path() / ("fluxion_module_" + std::to_string(std::rand()) + ".spv");
  int modules = 0;
  for (const Function& f : kernels()) {
    for (const bool bounds : {false, true}) {
      const std::string all = vulkan_device()->compile(f, {.bounds = bounds})->dump("spirv");
      REQUIRE(all.size() > 20);
      // Each begins with the magic number.
      const std::string magic("\x03\x02\x23\x07", 4);
      for (std::size_t at = 0; at < all.size();) {
        std::size_t next = at + 4;
        while (next < all.size() && all.compare(next, 4, magic) != 0) next += 4;
        std::ofstream(file, std::ios::binary).write(all.data() + at, static_cast<std::streamsize>(next - at));
        INFO(f.name << ", module at byte " << at);
        CHECK(std::system(("spirv-val --target-env vulkan1.2 --scalar-block-layout " + file.string()).c_str()) == 0);
        ++modules;
        at = next;
      }
    }
  }
  CHECK(modules > 8);
  std::filesystem::remove(file);
}

TEST_CASE("arrays of any size come back and are filled and copied as on the host", "[backends][vulkan]") {
  if (absent()) return;
  Backend& on = *vulkan_device();
  for (const std::size_t n : {1u, 3u, 64u, 1000u, 70001u, 40000000u}) {
    const std::size_t size = (n + 63) / 64 * 64;
    std::vector<std::byte> mine(n), back(n);
    for (std::size_t k = 0; k < n; ++k) mine[k] = static_cast<std::byte>(k * 7 + k / 251);
    void *a = on.allocate(size), *b = on.allocate(size);
    REQUIRE(a);
    REQUIRE(b);
    on.write(a, mine.data(), n);
    on.copy(b, a, n);
    on.read(back.data(), b, n);
    CHECK((back == mine));
    const std::byte element[] = {std::byte{1}, std::byte{2}, std::byte{3}};
    on.fill(a, element, 3, n);
    on.read(back.data(), a, n);
    for (std::size_t k = 0; k < n; ++k) mine[k] = element[k % 3];
    CHECK((back == mine));
    on.free(a, size);
    on.free(b, size);
  }
  CHECK(on.allocate(std::size_t{1} << 50) == nullptr);
}

TEST_CASE("a failing check and prints of many threads arrive in the order of the threads", "[backends][vulkan]") {
  if (absent()) return;
  const Device dev = Device::named("vulkan");
  auto k = fluxion::kernel("reports", [](In<int> x) {
    auto i = index();
    print("thread {}", i);
    check(x[i] < 90, "x is {} at {}", x[i], i);
  });
  std::vector<int> v(100);
  for (int i = 0; i < 100; ++i) v[static_cast<std::size_t>(i)] = i;
  static std::vector<std::string> lines;
  lines.clear();
  set_print_sink([](std::string_view line, void*) { lines.emplace_back(line); }, nullptr);
  k(dev.upload(v));
  CHECK_THROWS_WITH(dev.wait(), Catch::Contains("x is 90 at 90") && Catch::Contains("vulkan.cpp:"));
  set_print_sink(nullptr, nullptr);
  REQUIRE(lines.size() == 91);
  for (int i = 0; i < 91; ++i) CHECK(lines[static_cast<std::size_t>(i)] == "thread " + std::to_string(i));
}

TEST_CASE("what the device has not is refused with its sizes and the next launch works", "[backends][vulkan]") {
  if (absent()) return;
  const Device dev = Device::named("vulkan");
  CHECK_THROWS_WITH(dev.zeros<double>(2000000000, 1000), Catch::Contains("cannot be allocated on device vulkan"));
  auto k = fluxion::kernel("twice", [](InOut<float> x) { x[index()] *= 2.f; });
  auto x = dev.upload({1.f, 2.f});
  k(x);
  CHECK(x.host() == std::vector<float>{2, 4});
  std::vector<float> mine(4);
  CHECK_THROWS_AS(Buffer<float>::wrap(mine.data(), {4}, dev), DeviceError);
}

TEST_CASE("loops of a hundred thousand rounds come to their end on every device", "[backends][vulkan]") {
  if (absent()) return;
  const Device dev = Device::named("vulkan");
  auto k = fluxion::kernel("long", [](InOut<double> x, InOut<int> rounds, Int n) {
    auto i = index();
    Double s = x[i];
    for (auto j : range(n)) s = s * 0.999 + Double(j % 3);
    Int t = 0;
    for (auto _ : while_([&] { return t < n; })) t += 2;
    x[i] = s;
    rounds[i] += t;
  });
  for (const int n : {10, 30000, 100001}) {
    auto x = dev.upload({1.0, 2.0, 3.0}), here = Device::reference().upload({1.0, 2.0, 3.0});
    auto r = dev.upload({1, 2, 3}), r_here = Device::reference().upload({1, 2, 3});
    k(x, r, n);
    k(here, r_here, n);
    CHECK(x.host() == here.host());
    CHECK(r.host() == r_here.host());
  }
}
