// docs/torture.md links each row of the torture list to its tests. Its first two columns are written by hand; the third is made
// here from the names of the tests, which begin with the numbers of their rows ("torture 2 and 3: ..." counts for both).
// FLUXION_UPDATE_GOLDEN=1 rewrites it.
#include <catch2/catch.hpp>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <regex>
#include <sstream>
#include <string>
#include <vector>

namespace {

using std::filesystem::path;

std::string contents(const path& file) {
  std::ifstream in(file);
  std::stringstream s;
  s << in.rdbuf();
  return s.str();
}

/// By row: the links to its tests, in the order of files and lines.
std::map<int, std::string> links(const path& root) {
  std::vector<path> files;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(root / "tests"))
    if (entry.path().extension() == ".cpp") files.push_back(entry.path());
  std::sort(files.begin(), files.end());
  const std::regex name(R"re(TEST_CASE\("(torture ([0-9][^":]*):[^"]*)",\s*"[^"]*\[torture\])re"), number("[0-9]+");
  std::map<int, std::string> out;
  for (const path& file : files) {
    const std::string text = contents(file);
    for (std::sregex_iterator it(text.begin(), text.end(), name), end; it != end; ++it) {
      const std::string rows = (*it)[2];
      const std::string link =
          "`" + (*it)[1].str() + "` ([" + file.filename().string() + "](../" + file.lexically_relative(root).string() + "))";
      for (std::sregex_iterator n(rows.begin(), rows.end(), number); n != end; ++n) {
        std::string& cell = out[std::stoi(n->str())];
        cell += (cell.empty() ? "" : "<br>") + link;
      }
    }
  }
  return out;
}

}  // namespace

TEST_CASE("every row of the torture list has tests that are there, and every torture test is in the list", "[errors][torture]") {
  const path root = FLUXION_SOURCE_DIR, document = root / "docs" / "torture.md";
  const auto tests = links(root);
  for (int row = 1; row <= 30; ++row) {
    INFO("row " << row);
    CHECK(tests.count(row) == 1);
  }
  const std::string table = contents(document);
  const std::regex entry(R"re(\| ([0-9]+) \| (.*) \| .*)re");
  std::istringstream lines(table);
  std::string expected;
  std::size_t rows = 0;
  for (std::string line; std::getline(lines, line); expected += line + "\n") {
    std::smatch m;
    if (!std::regex_match(line, m, entry)) continue;
    const auto found = tests.find(std::stoi(m[1]));
    line = "| " + m[1].str() + " | " + m[2].str() + " | " + (found == tests.end() ? "" : found->second) + " |";
    ++rows;
  }
  CHECK(rows == tests.size());  // a test of a row that the table does not have
  if (const char* update = std::getenv("FLUXION_UPDATE_GOLDEN"); update && *update == '1') std::ofstream(document) << expected;
  else CHECK(table == expected);
}
