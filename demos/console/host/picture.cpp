#include "picture.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "support/plot.h"

namespace fluxion::console {

void write_curve(const std::vector<double>& y, const std::string& name, const std::string& file) {
  demo::plot(name, "", {demo::Curve{name, y, demo::kBlue}}).write_png(file);
}

void write_picture(const std::vector<double>& values, int rows, int columns, const std::string& name, const std::string& file) {
  double low = std::numeric_limits<double>::infinity(), high = -low;
  bool odd = false;
  for (const double v : values) {
    if (std::isfinite(v)) low = std::min(low, v), high = std::max(high, v);
    else odd = true;
  }
  if (!(low <= high)) low = high = 0;
  const double span = high > low ? high - low : 1;
  const auto number = [](double v) { return fmt::format("{:.4g}", v); };
  const int zoom = std::clamp(512 / std::max(rows, columns), 1, 16);
  const int w = columns * zoom, h = rows * zoom;
  constexpr int kTop = 46, kBottom = 34, kBar = 14, kLabel = 10;
  const std::string first = "0", last_row = fmt::format("{}", rows - 1), last_column = fmt::format("{}", columns - 1);
  const auto wide = [](const std::string& text) { return static_cast<int>(demo::Image::text_width(kLabel, text)) + 1; };
  const int left = wide(last_row) + 18, bar = left + w + 18;
  const std::string range = fmt::format("{}: {} x {}{}", name, rows, columns, odd ? "  (red: not finite)" : "");
  const int width = std::max(bar + kBar + 10 + std::max(wide(number(low)), wide(number(high))) + 12, left + wide(range) * 13 / kLabel + 12);
  const int height = kTop + std::max(h, 40) + kBottom;
  demo::Image image(width, height, demo::kPaper);
  const auto at = [](int v) { return static_cast<float>(v); };
  image.text(at(left), 16, 13, range, demo::kInk);
  for (int y = 0; y < h; ++y)
    for (int x = 0; x < w; ++x) {
      const double v = values[static_cast<std::size_t>(y / zoom) * static_cast<std::size_t>(columns) + static_cast<std::size_t>(x / zoom)];
      image.blend(left + x, kTop + y, std::isfinite(v) ? demo::sequential(static_cast<float>((v - low) / span)) : demo::kRed, 1);
    }
  image.text(at(left - 8 - wide(first)), kTop, kLabel, first, demo::kInk);
  if (h >= 30) image.text(at(left - 8 - wide(last_row)), at(kTop + h - kLabel), kLabel, last_row, demo::kInk);
  image.text(at(left), at(kTop + h + 8), kLabel, first, demo::kInk);
  if (w >= 40) image.text(at(left + w - wide(last_column)), at(kTop + h + 8), kLabel, last_column, demo::kInk);
  const int tall = std::max(h, 40);
  for (int y = 0; y < tall; ++y)
    for (int x = 0; x < kBar; ++x) image.blend(bar + x, kTop + y, demo::sequential(1 - at(y) / at(std::max(tall - 1, 1))), 1);
  image.text(at(bar + kBar + 8), kTop, kLabel, number(high), demo::kInk);
  image.text(at(bar + kBar + 8), at(kTop + tall - kLabel), kLabel, number(low), demo::kInk);
  image.write_png(file);
}

}  // namespace fluxion::console
