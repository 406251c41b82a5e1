// Curves with axes and labels, enough for a loss over iterations.
#pragma once
#include <string>
#include <vector>

#include "support/image.h"

namespace demo {

struct Curve {
  std::string name;
  std::vector<double> y;  // at x = 0, 1, 2, ...
  Color color = kBlue;
};

/// The y axis is logarithmic when all values are positive and span more than a factor of 20.
Image plot(const std::string& title, const std::string& x_label, const std::vector<Curve>& curves, int width = 860, int height = 520);

}  // namespace demo
