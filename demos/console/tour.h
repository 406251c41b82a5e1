// The guided tour: the steps of docs/tour.md, which the build puts into the program.
#pragma once
#include <string>
#include <string_view>
#include <vector>

namespace fluxion::console {

struct TourStep {
  std::string title, text;  // as written, without the code
  std::string code;
  std::vector<std::string> expected;  // each of them appears in what the code prints
};
/// The steps of a text of that form: "## title", words, ```cpp what is typed, ```text what is to be seen.
std::vector<TourStep> tour_steps(std::string_view text);
/// docs/tour.md.
extern const std::string_view kTour;

}  // namespace fluxion::console
