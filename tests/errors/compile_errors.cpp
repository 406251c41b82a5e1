// What must not compile, and what the compiler must say: tests/errors/compile/*.cpp, each with the expected message in
// its first line, the wrong text under WRONG, and the right one beside it, which must compile.
#include <array>
#include <catch2/catch.hpp>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

namespace {
#ifdef __clang__
const std::string kCompiler = "clang++-19";
#else
const std::string kCompiler = "g++";
#endif

struct Compiled {
  bool ok;
  std::string output;
};
Compiled compile(const std::filesystem::path& file, const std::string& options) {
  const std::string root = FLUXION_SOURCE_DIR;
  std::string command = kCompiler + " -std=c++20 -fsyntax-only " + options;
  for (const char* folder : {"frontend", "ad", "backends", "jit"}) command += " -I'" + root + "/" + folder + "/include'";
  command += " '" + file.string() + "' 2>&1";
  Compiled c{false, {}};
  FILE* pipe = popen(command.c_str(), "r");
  REQUIRE(pipe != nullptr);
  std::array<char, 4096> room;
  while (std::fgets(room.data(), room.size(), pipe)) c.output += room.data();
  c.ok = pclose(pipe) == 0;
  return c;
}
std::vector<std::filesystem::path> snippets() {
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::directory_iterator(std::string(FLUXION_SOURCE_DIR) + "/tests/errors/compile"))
    files.push_back(entry.path());
  return files;
}
}  // namespace

TEST_CASE("what cannot be captured does not compile and says what to write", "[errors][dsl]") {
  if (std::system((kCompiler + " --version > /dev/null 2>&1").c_str()) != 0) {
    WARN("skipped: no " << kCompiler);
    return;
  }
  REQUIRE(snippets().size() >= 20);
  for (const auto& file : snippets()) {
    INFO(file.filename().string());
    std::string first;
    std::getline(std::ifstream(file) >> std::ws, first);
    const std::string mark = "// expect: ";
    REQUIRE(first.substr(0, mark.size()) == mark);
    const Compiled wrong = compile(file, "-DWRONG"), right = compile(file, "");
    CHECK_FALSE(wrong.ok);
    CHECK_THAT(wrong.output, Catch::Contains(first.substr(mark.size())));
    CHECK(right.ok);
    if (!right.ok) UNSCOPED_INFO(right.output);
  }
}
