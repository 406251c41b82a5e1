// Plots in the terminal: each character is a cell of 2 x 4 dots of braille. Curves are drawn dot by dot; arrays of two axes are dithered.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "fluxion/console/host.h"
#include "numbers.h"
#include "output.h"
#include "picture.h"

namespace fluxion::console {
namespace {

class Canvas {
 public:
  Canvas(int columns, int rows) : columns_(columns), rows_(rows), cells_(static_cast<std::size_t>(columns * rows)) {}
  int width() const { return columns_ * 2; }
  int height() const { return rows_ * 4; }
  void dot(int x, int y) {
    if (x < 0 || y < 0 || x >= width() || y >= height()) return;
    // The dots of a cell, column by column: 1 2 3 7, then 4 5 6 8.
    constexpr int kBits[2][4] = {{0x01, 0x02, 0x04, 0x40}, {0x08, 0x10, 0x20, 0x80}};
    cells_[static_cast<std::size_t>((y / 4) * columns_ + x / 2)] |= static_cast<unsigned char>(kBits[x % 2][y % 4]);
  }
  void line(int x0, int y0, int x1, int y1) {
    const int steps = std::max({std::abs(x1 - x0), std::abs(y1 - y0), 1});
    for (int k = 0; k <= steps; ++k) dot(x0 + (x1 - x0) * k / steps, y0 + (y1 - y0) * k / steps);
  }
  std::string row(int r) const {
    std::string out;
    for (int c = 0; c < columns_; ++c) {
      const unsigned code = 0x2800u + cells_[static_cast<std::size_t>(r * columns_ + c)];
      out += static_cast<char>(0xE0 | (code >> 12));
      out += static_cast<char>(0x80 | ((code >> 6) & 0x3F));
      out += static_cast<char>(0x80 | (code & 0x3F));
    }
    return out;
  }
  int rows() const { return rows_; }

 private:
  int columns_, rows_;
  std::vector<unsigned char> cells_;
};

std::string label(double v) { return fmt::format("{:.4g}", v); }

void curve_in_terminal(const std::vector<double>& y, double low_x, double high_x, std::string_view name) {
  double low = std::numeric_limits<double>::infinity(), high = -low;
  for (const double v : y)
    if (std::isfinite(v)) low = std::min(low, v), high = std::max(high, v);
  if (!(low <= high)) throw IoError({}, ":plot: there is no finite number in it");
  if (low == high) low -= 1, high += 1;  // a line in the middle
  const std::string top = label(high), bottom = label(low);
  const int margin = static_cast<int>(std::max(top.size(), bottom.size())) + 1;
  Canvas canvas(std::clamp(terminal_width() - margin - 2, 20, 100), 12);
  const double span = high > low ? high - low : 1;
  const auto row_of = [&](double v) { return static_cast<int>(std::lround((high - v) / span * (canvas.height() - 1))); };
  if (low < 0 && high > 0)
    for (int x = 0; x < canvas.width(); x += 4) canvas.dot(x, row_of(0));
  const double n = static_cast<double>(y.size());
  int before_x = -1, before_y = 0;
  for (std::size_t k = 0; k < y.size(); ++k) {
    if (!std::isfinite(y[k])) {
      before_x = -1;
      continue;
    }
    const int x = y.size() == 1 ? 0 : static_cast<int>(std::lround(static_cast<double>(k) / (n - 1) * (canvas.width() - 1))),
              v = row_of(y[k]);
    if (before_x < 0) canvas.dot(x, v);
    else canvas.line(before_x, before_y, x, v);
    before_x = x, before_y = v;
  }
  std::string out = fmt::format("{}\n", name);
  for (int r = 0; r < canvas.rows(); ++r)
    out += fmt::format("{:>{}} {}\n", r == 0 ? top : r + 1 == canvas.rows() ? bottom : "", margin, canvas.row(r));
  const std::string left = label(low_x), right = label(high_x);
  const int gap = canvas.width() / 2 - static_cast<int>(left.size() + right.size());
  out += fmt::format("{:>{}} {}{:>{}}{}", "", margin, left, "", std::max(gap, 1), right);
  emit(out, "plot");
}

void picture_in_terminal(const std::vector<double>& values, int rows, int columns, std::string_view name) {
  double low = std::numeric_limits<double>::infinity(), high = -low;
  for (const double v : values)
    if (std::isfinite(v)) low = std::min(low, v), high = std::max(high, v);
  if (!(low <= high)) throw IoError({}, ":plot: there is no finite number in it");
  const double span = high > low ? high - low : 1;
  const int width = std::clamp(terminal_width() - 2, 20, 100);
  const double scale = std::min({2.0 * width / columns, 96.0 / rows, 8.0});
  Canvas canvas(std::max(1, static_cast<int>(std::ceil(columns * scale / 2))), std::max(1, static_cast<int>(std::ceil(rows * scale / 4))));
  const int w = canvas.width(), h = canvas.height();
  // Floyd and Steinberg: what rounding to a dot loses goes to the neighbours that are still to come.
  std::vector<double> grey(static_cast<std::size_t>(w * h));
  for (int y = 0; y < h; ++y)
    for (int x = 0; x < w; ++x) {
      const int r = std::min(rows - 1, static_cast<int>(y / scale)), c = std::min(columns - 1, static_cast<int>(x / scale));
      const double v = values[static_cast<std::size_t>(r) * static_cast<std::size_t>(columns) + static_cast<std::size_t>(c)];
      grey[static_cast<std::size_t>(y * w + x)] = std::isfinite(v) ? (v - low) / span : 0;
    }
  for (int y = 0; y < h; ++y)
    for (int x = 0; x < w; ++x) {
      const double v = grey[static_cast<std::size_t>(y * w + x)];
      const bool on = v >= 0.5;
      if (on) canvas.dot(x, y);
      const double rest = v - (on ? 1 : 0);
      const auto pass = [&](int dx, int dy, double share) {
        if (x + dx >= 0 && x + dx < w && y + dy < h) grey[static_cast<std::size_t>((y + dy) * w + x + dx)] += rest * share;
      };
      pass(1, 0, 7.0 / 16), pass(-1, 1, 3.0 / 16), pass(0, 1, 5.0 / 16), pass(1, 1, 1.0 / 16);
    }
  std::string out = fmt::format("{}: {} x {}, from {} (blank) to {} (full)\n", name, rows, columns, label(low), label(high));
  for (int r = 0; r < canvas.rows(); ++r) out += canvas.row(r) + "\n";
  emit(out, "plot");
}

}  // namespace

void plot_numbers(const std::vector<double>& y, double low, double high, std::string_view name, std::string_view out) {
  if (y.empty()) throw ShapeError({}, ":plot: there are no elements");
  if (out.empty()) {
    curve_in_terminal(y, low, high, name);
  } else {
    write_curve(y, std::string(name), std::string(out));
    emit(fmt::format("wrote {}", out), "text");
  }
}

void plot_array(const Array& a, std::string_view name, std::string_view out) {
  const Layout& layout = layout_of(a.element());
  std::vector<char> bytes(static_cast<std::size_t>(a.size()) * layout.size);
  if (bytes.empty()) throw ShapeError({}, ":plot: there are no elements");
  a.read(bytes.data());
  std::vector<double> values;
  for (std::int64_t k = 0; k < a.size(); ++k)
    values.push_back(
        leaf_number(layout.leaves[0].dtype, bytes.data() + static_cast<std::size_t>(k) * layout.size + layout.leaves[0].offset));
  std::string label = std::string(name) + (layout.leaves.size() > 1 ? " (the first number of each element)" : "");
  if (a.rank() == 1) return plot_numbers(values, 0, static_cast<double>(values.size()) - 1, label, out);
  if (a.rank() == 3) label += fmt::format(" (the first of {} slices)", a.extent(0));
  const auto rows = static_cast<int>(a.extent(a.rank() - 2)), columns = static_cast<int>(a.extent(a.rank() - 1));
  values.resize(static_cast<std::size_t>(rows) * static_cast<std::size_t>(columns));
  if (out.empty()) {
    picture_in_terminal(values, rows, columns, label);
  } else {
    write_picture(values, rows, columns, label, std::string(out));
    emit(fmt::format("wrote {}", out), "text");
  }
}

}  // namespace fluxion::console
