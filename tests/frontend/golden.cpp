// Runs tests/golden/*.flx: a "# pass: a, b" line, a function, "----", and the text that the passes give.
// FLUXION_UPDATE_GOLDEN=1 rewrites what is below the line; review the difference.
#include <catch2/catch.hpp>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "fluxion/ad.h"
#include "fluxion/error.h"
#include "fluxion/passes.h"

using namespace fluxion;

namespace {
constexpr Pass kPasses[] = {
    {"canonical", "", canonical},
    {"contract", "", contract},
    {"cse", "", cse},
    {"dce", "", dce},
    {"fold", "", fold},
    {"forward_stores", "", forward_stores},
    {"licm", "", licm},
    {"math_lowering", "", math_lowering},
    {"promote_locals", "", promote_locals},
    {"jvp", "", jvp},
    {"vjp", "", [](const Function& f) { return vjp(f); }},
    {"grad", "", [](const Function& f) { return grad(f); }},
    {"value_and_grad", "", [](const Function& f) { return value_and_grad(f); }},
};

std::string transform(const std::string& head, const std::string& source) {
  try {
    Function f = parse(source);
    std::size_t at = head.find("# pass:");
    if (at == std::string::npos) throw KernelError({}, "a golden test starts with \"# pass: name, name\"");
    at += 7;
    const std::size_t end = head.find('\n', at);
    while (at < end) {
      const std::size_t comma = std::min(head.find(',', at), end);
      std::string name = head.substr(at, comma - at);
      std::erase(name, ' ');
      at = comma + 1;
      if (name.empty()) continue;
      const auto pass = std::find_if(std::begin(kPasses), std::end(kPasses), [&](const Pass& p) { return name == p.name; });
      if (pass == std::end(kPasses)) throw KernelError({}, "there is no pass \"" + name + "\"");
      f = pass->run(f);
      verify(f);
    }
    return print(f);
  } catch (const KernelError& e) { return std::string("error: ") + e.what() + "\n"; }
}
}  // namespace

TEST_CASE("the golden files say what the passes do", "[golden]") {
  const std::filesystem::path folder = std::filesystem::path(FLUXION_SOURCE_DIR) / "tests/golden";
  const char* update = std::getenv("FLUXION_UPDATE_GOLDEN");
  std::size_t files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    if (entry.path().extension() != ".flx") continue;
    ++files;
    std::ifstream in(entry.path());
    const std::string text{std::istreambuf_iterator<char>(in), {}};
    const std::size_t line = text.find("\n----\n");
    std::string source = text.substr(0, line);
    while (source.ends_with('\n')) source.pop_back();
    const std::string now = transform(source, source);
    if (update && *update == '1') {
      std::ofstream(entry.path()) << source << "\n----\n" << now;
      continue;
    }
    INFO(entry.path().filename().string());
    REQUIRE(line != std::string::npos);
    CHECK(text.substr(line + 6) == now);
  }
  CHECK(files > 0);
}
