// Kernels exported as SPIR-V: modules that spirv-val takes, and a signature that says how each is called.
#include <unistd.h>

#include <catch2/catch.hpp>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "fluxion/fluxion.h"

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
