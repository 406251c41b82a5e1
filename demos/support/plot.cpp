// Ticks at 1, 2, 5 times a power of ten; on a logarithmic axis at the powers.
#include "support/plot.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>

namespace demo {
namespace {

std::string number(double v) {
  char text[32];
  std::snprintf(text, sizeof text, "%.4g", v);
  return text;
}

double tick_step(double span, int wanted) {
  const double raw = std::max(span, 1e-300) / wanted, power = std::pow(10, std::floor(std::log10(raw)));
  for (double m : {1.0, 2.0, 5.0})
    if (raw <= m * power) return m * power;
  return 10 * power;
}

}  // namespace

Image plot(const std::string& title, const std::string& x_label, const std::vector<Curve>& curves, int width, int height) {
  double low = std::numeric_limits<double>::infinity(), high = -low;
  std::size_t count = 2;
  for (const Curve& c : curves) {
    count = std::max(count, c.y.size());
    for (double v : c.y)
      if (std::isfinite(v)) low = std::min(low, v), high = std::max(high, v);
  }
  if (!(low <= high)) low = 0, high = 1;
  const bool logarithmic = low > 0 && high > 20 * low;
  auto warp = [logarithmic](double v) { return logarithmic ? std::log10(std::max(v, 1e-300)) : v; };
  double bottom = logarithmic ? std::floor(warp(low)) : low < 0 ? low - 0.05 * (std::max(high, 0.0) - low) : 0.0;
  double top = logarithmic ? std::ceil(warp(high)) : high + 0.05 * (high - bottom);
  if (!(top > bottom)) top = bottom + 1;

  Image image(width, height, kPaper);
  const auto w = static_cast<float>(width), h = static_cast<float>(height);
  const float left = 96, right = w - 30, upper = 58, lower = h - 62;
  auto px = [&](double x) { return left + (right - left) * static_cast<float>(x / static_cast<double>(count - 1)); };
  auto py = [&](double v) { return lower - (lower - upper) * static_cast<float>((warp(v) - bottom) / (top - bottom)); };
  image.text(left, 22, 15, title, kInk);

  auto y_tick = [&](double v) {
    const float y = py(v);
    image.line(left, y, right, y, 1, kGrid);
    const std::string label = number(v);
    image.text(left - 10 - Image::text_width(10, label), y - 5, 10, label, kInk);
  };
  if (logarithmic) {
    for (double e = bottom; e <= top + 1e-9; e += 1) y_tick(std::pow(10, e));
  } else {
    const double step = tick_step(top - bottom, 6);
    for (double v = std::ceil(bottom / step) * step; v <= top + 1e-9 * step; v += step) y_tick(std::abs(v) < 1e-9 * step ? 0 : v);
  }
  const double step = std::max(1.0, tick_step(static_cast<double>(count - 1), 8));
  for (double x = 0; x <= static_cast<double>(count - 1) + 1e-9; x += step) {
    image.line(px(x), lower, px(x), lower + 5, 1, kInk);
    image.text(px(x) - Image::text_width(10, number(x)) / 2, lower + 12, 10, number(x), kInk);
  }
  image.line(left, lower, right, lower, 1.5f, kInk);
  image.line(left, upper, left, lower, 1.5f, kInk);
  image.text((left + right - Image::text_width(11, x_label)) / 2, h - 24, 11, x_label, kInk);

  float legend = right - 20;
  for (const Curve& c : curves) {
    std::vector<std::array<float, 2>> points;
    for (std::size_t i = 0; i < c.y.size(); ++i)
      if (std::isfinite(c.y[i])) points.push_back({px(static_cast<double>(i)), py(c.y[i])});
    image.polyline(points, 2.2f, c.color);
    if (points.size() <= 60)
      for (const auto& p : points) image.disc(p[0], p[1], 3.2f, c.color);
    if (curves.size() > 1) {
      legend -= Image::text_width(11, c.name) + 34;
      image.disc(legend, upper + 12, 5, c.color);
      image.text(legend + 10, upper + 7, 11, c.name, kInk);
    }
  }
  return image;
}

}  // namespace demo
