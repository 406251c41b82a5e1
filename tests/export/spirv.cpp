// Kernels exported as SPIR-V: modules that spirv-val takes, and a signature that says how each is called.
#include <unistd.h>

#include <catch2/catch.hpp>
#include <bit>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "fluxion/fluxion.h"
#include "vulkan_host.h"

namespace fx = fluxion;
namespace fs = std::filesystem;
using Catch::Matchers::Contains;
using nlohmann::json;

namespace {

struct Folder {
  fs::path path = fs::temp_directory_path() / ("fluxion_spirv_" + std::to_string(::getpid()));
  Folder() { fs::remove_all(path), fs::create_directories(path); }
  ~Folder() { fs::remove_all(path); }
};

void validate(const std::string& file) {
  static const bool found = std::system("command -v spirv-val >/dev/null 2>&1") == 0;
  if (!found) {
    std::printf("skipped: spirv-val on exported modules (needs spirv-tools)\n");
    return;
  }
  INFO(file);
  CHECK(std::system(("spirv-val --target-env vulkan1.2 --scalar-block-layout '" + file + "'").c_str()) == 0);
}

}  // namespace

TEST_CASE("a kernel and its derivative are exported as SPIR-V with a signature", "[export]") {
  auto k = fx::kernel("wave", [](fx::In<float, 2> u, fx::Float c, fx::InOut<double> e, fx::Accum<float> sum, fx::Int n) {
    auto [i, j] = fx::index<2>();
    fx::check(c > 0.f, "c is {}, not positive", c);
    sum[0] += c * fx::sin(u(i, j));
    fx::if_(i == 0, [&] { e[j] = e[j] + fx::Double(u(i, j)) * fx::Double(n); });
  });
  const Folder folder;
  const auto files = k.export_to(folder.path.string(), {"spirv"}, {.parameters = {"u", "c", "e", "sum", "n"}, .vjp = true});
  const json about = json::parse(std::ifstream(folder.path / "wave.json"));
  INFO(about.dump(1));
  CHECK(about["functions"].size() == 2);
  REQUIRE(about["files"].size() == 2);
  std::size_t modules = 0;
  for (const json& file : about["files"])
    for (const json& stage : file["stages"]) {
      ++modules;
      const fs::path module = folder.path / stage["file"].get<std::string>();
      CHECK(std::find(files.begin(), files.end(), module.string()) != files.end());
      validate(module.string());
      int words = 4;
      for (const json& a : stage["arguments"]) words += a.contains("scalar") ? 1 : 1 + (a["rank"].get<int>() > 2 ? 2 : 1);
      CHECK(stage["words"] == words);
      CHECK(stage["push"] == (words <= 16));
    }
  CHECK(files.size() == modules + 1);
  const json& forward = about["files"][0];
  CHECK(forward["function"] == "wave");
  // The sum is exact: limbs of its own, added up by a stage that runs over the array.
  REQUIRE(forward["work"].size() == 1);
  CHECK(forward["work"][0]["like"] == 3);
  REQUIRE(forward["stages"].size() == 2);
  CHECK(forward["stages"][0]["over"] == "domain");
  CHECK(forward["stages"][0]["arguments"][1] == json{{"scalar", 1}});
  CHECK(forward["stages"][0]["arguments"].back() == json{{"work", 0}, {"rank", 2}});
  CHECK(forward["stages"][1]["over"] == json{{"elements_of", 3}});
  CHECK(forward["stages"][0]["sites"][0]["text"] == "c is {}, not positive");
  CHECK_THAT(forward["stages"][0]["sites"][0]["at"].get<std::string>(), Contains("spirv.cpp:"));
  const auto capabilities = forward["stages"][0]["capabilities"].get<std::vector<int>>();
  CHECK(std::find(capabilities.begin(), capabilities.end(), 10) != capabilities.end());  // Float64
}

namespace {

/// An array of the host that calls: where it is, its extents, bytes of an element.
struct HostArray {
  VulkanHost::Place place;
  std::vector<std::uint64_t> extent;
  std::uint64_t count() const {
    std::uint64_t n = 1;
    for (const auto e : extent) n *= e;
    return n;
  }
};
struct HostArgument {
  HostArray array;
  std::uint64_t bits = 0;  // of a scalar
};

/// Runs a function of the signature as docs/backends.md says; gives the report of its last stage that has one.
std::vector<std::uint32_t> call(VulkanHost& host, const Folder& folder, const json& file, const std::vector<HostArgument>& arguments,
                                const std::vector<std::uint64_t>& domain) {
  std::vector<HostArray> work;
  for (const json& w : file["work"]) {
    const std::uint64_t words = w["i64s"], n = arguments[w["like"].get<std::size_t>()].array.count();
    work.push_back({host.allocate(8 * words * n), {words, n}});
  }
  std::vector<std::uint32_t> said;
  for (const json& stage : file["stages"]) {
    std::vector<std::uint64_t> over = domain;
    if (stage["over"].contains("elements_of")) over = {arguments[stage["over"]["elements_of"].get<std::size_t>()].array.count()};
    if (stage["over"].contains("domain_plus"))
      for (std::size_t a = 0; a < domain.size(); ++a) over[a] += stage["over"]["domain_plus"][a].get<std::uint64_t>();
    std::uint64_t points = 1;
    for (const auto n : over) points *= n;
    over.resize(3, 1);
    constexpr std::uint32_t kRoom = 16;
    const VulkanHost::Place report = host.allocate(16 + kRoom * (8 + 8 * stage["record_values"].get<std::size_t>()));
    const std::uint32_t header[4] = {0, kRoom, 0, 0};
    std::memcpy(report.host, header, sizeof header);
    std::vector<std::uint64_t> words = {over[0] | over[1] << 32, over[2], points, report.address};
    for (const json& a : stage["arguments"]) {
      if (a.contains("scalar")) {
        words.push_back(arguments[a["scalar"].get<std::size_t>()].bits);
        continue;
      }
      const HostArray& array = a.contains("work") ? work[a["work"].get<std::size_t>()] : arguments[a["array"].get<std::size_t>()].array;
      words.push_back(array.place.address);
      words.push_back(array.extent[0] | (array.extent.size() > 1 ? array.extent[1] << 32 : std::uint64_t{1} << 32));
      if (a["rank"] > 2) words.push_back(array.extent[2]);
    }
    CHECK(stage["words"] == words.size());
    std::ifstream in(folder.path / stage["file"].get<std::string>(), std::ios::binary);
    const std::string code((std::istreambuf_iterator<char>(in)), {});
    const std::uint64_t threads = stage["threads"];
    const auto workgroups = static_cast<std::uint32_t>((points + threads - 1) / threads);
    if (stage["push"]) {
      host.run(code, words.data(), static_cast<std::uint32_t>(8 * words.size()), workgroups);
    } else {
      const VulkanHost::Place block = host.allocate(8 * words.size());
      std::memcpy(block.host, words.data(), 8 * words.size());
      host.run(code, &block.address, 8, workgroups);
    }
    if (stage["sites"].empty()) continue;
    said.resize(6 + 2 * stage["record_values"].get<std::size_t>());
    std::memcpy(said.data(), report.host, 4 * said.size());
  }
  return said;
}

}  // namespace

TEST_CASE("exported SPIR-V runs on a Vulkan host that has its signature alone", "[export]") {
  std::unique_ptr<VulkanHost> host;
  try {
    host = std::make_unique<VulkanHost>();
  } catch (const std::exception& e) {
    std::printf("skipped: exported SPIR-V on a Vulkan device (%s)\n", e.what());
    return;
  }
  auto k = fx::kernel("wave", [](fx::In<float, 2> u, fx::Float c, fx::InOut<double> e, fx::Accum<float> sum, fx::Int n) {
    auto [i, j] = fx::index<2>();
    fx::check(c > 0.f, "c is {}, not positive", c);
    sum[0] += c * fx::sin(u(i, j));
    fx::if_(i == 0, [&] { e[j] = e[j] + fx::Double(u(i, j)) * fx::Double(n); });
  });
  const Folder folder;
  k.export_to(folder.path.string(), {"spirv"}, {.vjp = true});
  const json about = json::parse(std::ifstream(folder.path / "wave.json"));
  constexpr int kRows = 9, kColumns = 30;
  std::vector<float> u;
  std::vector<double> e;
  for (int i = 0; i < kRows * kColumns; ++i) u.push_back(0.03125f * static_cast<float>(i));
  for (int j = 0; j < kColumns; ++j) e.push_back(0.5 * j);
  const fx::Device dev = fx::Device::cpu();
  auto du = dev.upload(u, kRows, kColumns);
  auto de = dev.upload(e);
  auto sum = dev.full(1.f, 1);
  k.over(kRows, kColumns)(du, 0.75f, de, sum, 3);
  auto ebar = dev.upload(e);
  auto gu = dev.zeros<float>(kRows, kColumns);
  auto gc = dev.zeros<float>(1);
  fx::vjp(k).over(kRows, kColumns)(du, 0.75f, dev.upload(e), 3, ebar, dev.full(2.f, 1), gu, gc);

  const auto put = [&](const auto& v, std::vector<std::uint64_t> extent) {
    HostArgument a{{host->allocate(v.size() * sizeof v[0]), std::move(extent)}};
    std::memcpy(a.array.place.host, v.data(), v.size() * sizeof v[0]);
    return a;
  };
  const auto floats = [](const HostArgument& a, std::size_t n) {
    const auto* p = static_cast<const float*>(a.array.place.host);
    return std::vector<float>(p, p + n);
  };
  const auto doubles = [](const HostArgument& a, std::size_t n) {
    const auto* p = static_cast<const double*>(a.array.place.host);
    return std::vector<double>(p, p + n);
  };
  const std::vector<std::uint64_t> plane = {kRows, kColumns};
  const auto close = [](const std::vector<float>& a, const std::vector<float>& b) {
    REQUIRE(a.size() == b.size());
    for (std::size_t i = 0; i < a.size(); ++i) CHECK(a[i] == Approx(b[i]).epsilon(1e-6).margin(1e-6));
  };
  const HostArgument c{{}, std::bit_cast<std::uint32_t>(0.75f)}, three{{}, 3};
  std::vector<HostArgument> forward = {put(u, plane), c, put(e, {kColumns}), put(std::vector<float>{1.f}, {1}), three};
  auto said = call(*host, folder, about["files"][0], forward, plane);
  CHECK(said[0] == 0);
  CHECK(doubles(forward[2], e.size()) == de.host());
  close(floats(forward[3], 1), sum.host());
  std::vector<HostArgument> reverse = {put(u, plane),
                                       c,
                                       put(e, {kColumns}),
                                       three,
                                       put(e, {kColumns}),
                                       put(std::vector<float>{2.f}, {1}),
                                       put(std::vector<float>(u.size()), plane),
                                       put(std::vector<float>(1), {1})};
  call(*host, folder, about["files"][1], reverse, plane);
  CHECK(doubles(reverse[4], e.size()) == ebar.host());
  close(floats(reverse[6], u.size()), gu.host());
  close(floats(reverse[7], 1), gc.host());

  forward[1].bits = std::bit_cast<std::uint32_t>(-1.5f);
  said = call(*host, folder, about["files"][0], forward, plane);
  CHECK(said[0] == kRows * kColumns);  // every thread has something to say
  CHECK(said[4] == 0);                 // the site
  CHECK(said[6] == std::bit_cast<std::uint32_t>(-1.5f));
}

TEST_CASE("what GPU code alone cannot do is refused by the export", "[export]") {
  const Folder folder;
  auto k = fx::kernel("loop", [](fx::In<float> x, fx::In<int> n, fx::Out<float> y) {
    auto i = fx::index();
    fx::Float v = x[i];
    for ([[maybe_unused]] auto t : fx::range(n[i])) v = fx::sin(v);
    y[i] = v;
  });
  k.export_to(folder.path.string(), {"spirv"});
  validate((folder.path / "loop.0.spv").string());
  CHECK_THROWS_WITH(fx::vjp(k).export_to(folder.path.string(), {"spirv"}),
                    Contains("spirv.cpp:") && Contains("tapes") && Contains("export it as an object"));
}
