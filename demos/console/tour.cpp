#include "tour.h"

namespace fluxion::console {

std::vector<TourStep> tour_steps(std::string_view text) {
  std::vector<TourStep> steps;
  enum class In : unsigned char { words, code, expected } in = In::words;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    const std::string line(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
    if (in == In::words && line.starts_with("## ")) {
      steps.push_back({line.substr(3), {}, {}, {}});
    } else if (steps.empty()) {
      continue;  // the head of the page
    } else if (line.starts_with("```")) {
      in = line == "```cpp" ? In::code : line == "```text" ? In::expected : In::words;
    } else if (in == In::code) {
      steps.back().code += line + "\n";
    } else if (in == In::expected) {
      steps.back().expected.push_back(line);
    } else if (!line.empty()) {
      steps.back().text += line + "\n";
    }
  }
  return steps;
}

}  // namespace fluxion::console
