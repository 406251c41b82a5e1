#include "picture.h"

#include <algorithm>
#include <cmath>

#include "support/plot.h"

namespace fluxion::console {

void write_curve(const std::vector<double>& y, const std::string& name, const std::string& file) {
  demo::plot(name, "", {demo::Curve{name, y, demo::kBlue}}).write_png(file);
}

void write_picture(const std::vector<double>& values, int rows, int columns, const std::string& file) {
  const auto [low, high] = std::minmax_element(values.begin(), values.end());
  const double span = *high > *low ? *high - *low : 1;
  const int zoom = std::clamp(512 / std::max(rows, columns), 1, 16);
  demo::Image image(columns * zoom, rows * zoom);
  for (int y = 0; y < rows * zoom; ++y)
    for (int x = 0; x < columns * zoom; ++x) {
      const double v = values[static_cast<std::size_t>(y / zoom) * static_cast<std::size_t>(columns) + static_cast<std::size_t>(x / zoom)];
      image.blend(x, y, std::isfinite(v) ? demo::sequential(static_cast<float>((v - *low) / span)) : demo::kRed, 1);
    }
  image.write_png(file);
}

}  // namespace fluxion::console
