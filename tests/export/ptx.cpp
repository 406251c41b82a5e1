// Kernels exported as PTX: entries that ptxas takes, with the parameters that the signature says.
#include <sys/types.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "fluxion/fluxion.h"

namespace fx = fluxion;
namespace fs = std::filesystem;
using Catch::Matchers::Contains;
using nlohmann::json;

namespace {

std::string text_of(const fs::path& path) {
  std::ifstream in(path);
  std::stringstream out;
  out << in.rdbuf();
  return out.str();
}
std::size_t count(const std::string& text, const std::string& what) {
  std::size_t n = 0;
  for (std::size_t at = text.find(what); at != std::string::npos; at = text.find(what, at + 1)) ++n;
  return n;
}

}  // namespace

TEST_CASE("a kernel and its derivative are exported as PTX with a signature", "[export][cuda]") {
  auto k = fx::kernel("wave", [](fx::In<float, 2> u, fx::Float c, fx::InOut<double> e, fx::Accum<float> sum, fx::Int n) {
    auto [i, j] = fx::index<2>();
    fx::check(c > 0.f, "c is {}, not positive", c);
    sum[0] += c * fx::sin(u(i, j));
    fx::if_(i == 0, [&] { e[j] = e[j] + fx::Double(u(i, j)) * fx::Double(n); });
  });
  const fs::path folder = fs::temp_directory_path() / ("fluxion_ptx_export_" + std::to_string(::getpid()));
  const auto files = k.export_to(folder.string(), {"ptx", "ptx-sm_90"}, {.parameters = {"u", "c", "e", "sum", "n"}, .vjp = true});
  const json about = json::parse(text_of(folder / "wave.json"));
  INFO(about.dump(1));
  REQUIRE(about["files"].size() == 4);
  std::size_t modules = 0;
  for (const json& file : about["files"])
    for (const json& stage : file["stages"]) {
      ++modules;
      const fs::path module = folder / stage["file"].get<std::string>();
      CHECK(std::find(files.begin(), files.end(), module.string()) != files.end());
      const std::string text = text_of(module);
      CHECK_THAT(text, Contains(".visible .entry main(") && Contains(file["target"] == "ptx" ? ".target sm_75" : ".target sm_90"));
      std::size_t parameters = 6;
      for (const json& a : stage["arguments"]) parameters += a.contains("scalar") ? 1 : 1 + a["rank"].get<std::size_t>();
      CHECK(count(text.substr(0, text.find('{')), ".param ") == parameters);
      CHECK(stage["threads"] == 256);
      if (fs::exists("/usr/local/cuda/bin/ptxas")) {
        const std::string arch = file["target"] == "ptx" ? "sm_75" : "sm_90";
        CHECK(std::system(("/usr/local/cuda/bin/ptxas -arch " + arch + " -o /dev/null '" + module.string() + "'").c_str()) == 0);
      }
    }
  CHECK(files.size() == modules + 1);
  CHECK_THROWS_WITH(k.export_to(folder.string(), {"ptx-sm_20"}), Contains("\"sm_20\"") && Contains("sm_90"));
  fs::remove_all(folder);
}
