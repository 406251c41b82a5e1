// docs/torture.md links each row of the torture list to its tests; this keeps the two together.
#include <catch2/catch.hpp>

#include <filesystem>
#include <fstream>
#include <regex>
#include <set>
#include <sstream>
#include <string>

namespace {

std::string contents(const std::filesystem::path& file) {
  std::ifstream in(file);
  std::stringstream s;
  s << in.rdbuf();
  return s.str();
}

}  // namespace

TEST_CASE("every row of the torture list has tests that are there, and every torture test is in the list", "[errors][torture]") {
  const std::filesystem::path root = FLUXION_SOURCE_DIR;
  std::set<std::string> tests, listed;
  const std::regex name(R"re(TEST_CASE\("(torture [0-9][^"]*)", *"[^"]*\[torture\])re");
  for (const auto& entry : std::filesystem::recursive_directory_iterator(root / "tests")) {
    if (entry.path().extension() != ".cpp") continue;
    const std::string text = contents(entry.path());
    for (std::sregex_iterator it(text.begin(), text.end(), name), end; it != end; ++it) tests.insert((*it)[1]);
  }
  const std::string table = contents(root / "docs" / "torture.md");
  const std::regex quoted("`(torture [0-9][^`]*)`");
  for (std::sregex_iterator it(table.begin(), table.end(), quoted), end; it != end; ++it) listed.insert((*it)[1]);
  CHECK(listed == tests);
  for (int row = 1; row <= 30; ++row) {
    // The names begin with the numbers of their rows: "torture 2 and 3: ..." counts for both.
    const std::regex numbered("torture ([0-9]+, )*([0-9]+ and )*" + std::to_string(row) + "( and [0-9]+)*:.*");
    bool found = false;
    for (const std::string& t : tests) found |= std::regex_match(t, numbered);
    INFO("row " << row);
    CHECK(found);
  }
}
