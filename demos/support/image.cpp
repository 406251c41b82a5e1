// Drawing by coverage: a pixel takes a colour in proportion to how far its centre is inside the shape.
#include "support/image.h"

#include <png.h>

#include <algorithm>
#include <cctype>
#include <cmath>
#include <cstdio>
#include <memory>
#include <stdexcept>

#include "support/font.h"

namespace demo {
namespace {

template <std::size_t N>
Color ramp(const std::array<Color, N>& stops, float t) {
  const float at = std::clamp(t, 0.0f, 1.0f) * static_cast<float>(N - 1);
  const auto low = std::min(static_cast<std::size_t>(at), N - 2);
  return mix(stops[low], stops[low + 1], at - static_cast<float>(low));
}

float segment_distance(float px, float py, float x0, float y0, float x1, float y1) {
  const float dx = x1 - x0, dy = y1 - y0, length2 = dx * dx + dy * dy;
  const float t = length2 > 0 ? std::clamp(((px - x0) * dx + (py - y0) * dy) / length2, 0.0f, 1.0f) : 0.0f;
  return std::hypot(px - x0 - t * dx, py - y0 - t * dy);
}

// How wide a character is, in units of the capital height.
float advance(char c) { return std::islower(static_cast<unsigned char>(c)) ? 0.78f : c == ' ' ? 0.6f : 0.95f; }

}  // namespace

Color diverging(float t) {
  static constexpr std::array<Color, 7> kStops{{{0.10f, 0.20f, 0.45f},
                                                {0.20f, 0.48f, 0.76f},
                                                {0.62f, 0.80f, 0.91f},
                                                {0.97f, 0.965f, 0.95f},
                                                {0.97f, 0.72f, 0.56f},
                                                {0.83f, 0.33f, 0.26f},
                                                {0.45f, 0.05f, 0.16f}}};
  return ramp(kStops, 0.5f + 0.5f * t);
}

Color sequential(float t) {
  static constexpr std::array<Color, 6> kStops{{{0.10f, 0.05f, 0.22f},
                                                {0.29f, 0.17f, 0.48f},
                                                {0.18f, 0.41f, 0.56f},
                                                {0.13f, 0.62f, 0.53f},
                                                {0.53f, 0.82f, 0.32f},
                                                {0.99f, 0.91f, 0.34f}}};
  return ramp(kStops, t);
}

Color hue(float t) {
  constexpr float kTurn = 6.2831853f;
  auto channel = [t](float shift) { return 0.62f + 0.33f * std::cos(kTurn * (t - shift)); };
  return {channel(0.02f), channel(0.36f), channel(0.66f)};
}

Image::Image(int width, int height, Color background)
    : width_(width), height_(height), pixels_(static_cast<std::size_t>(width) * height * 3) {
  rectangle(0, 0, static_cast<float>(width), static_cast<float>(height), background);
}

void Image::blend(int x, int y, Color c, float alpha) {
  if (x < 0 || y < 0 || x >= width_ || y >= height_ || alpha <= 0) return;
  std::uint8_t* p = &pixels_[(static_cast<std::size_t>(y) * width_ + x) * 3];
  const float a = std::min(alpha, 1.0f);
  const float rgb[3] = {c.r, c.g, c.b};
  for (int i = 0; i < 3; ++i) {
    const float value = static_cast<float>(p[i]) * (1 - a) + std::clamp(rgb[i], 0.0f, 1.0f) * 255 * a;
    p[i] = static_cast<std::uint8_t>(value + 0.5f);
  }
}

void Image::disc(float x, float y, float radius, Color c, float alpha) { line(x, y, x, y, 2 * radius, c, alpha); }

void Image::line(float x0, float y0, float x1, float y1, float width, Color c, float alpha) {
  const float reach = width / 2 + 1;
  if (!std::isfinite(x0 + x1 + y0 + y1)) return;
  auto bound = [](float v, int limit) { return static_cast<int>(std::clamp(v, -1.0f, static_cast<float>(limit))); };
  const int left = bound(std::min(x0, x1) - reach, width_), right = bound(std::max(x0, x1) + reach, width_);
  const int top = bound(std::min(y0, y1) - reach, height_), bottom = bound(std::max(y0, y1) + reach, height_);
  for (int py = top; py <= bottom; ++py)
    for (int px = left; px <= right; ++px) {
      const float d = segment_distance(static_cast<float>(px) + 0.5f, static_cast<float>(py) + 0.5f, x0, y0, x1, y1);
      blend(px, py, c, alpha * std::clamp(width / 2 + 0.5f - d, 0.0f, 1.0f));
    }
}

void Image::polyline(std::span<const std::array<float, 2>> points, float width, Color c, float alpha) {
  for (std::size_t i = 1; i < points.size(); ++i) line(points[i - 1][0], points[i - 1][1], points[i][0], points[i][1], width, c, alpha);
}

void Image::rectangle(float x0, float y0, float x1, float y1, Color c, float alpha) {
  for (int y = std::max(0, static_cast<int>(y0)); y < std::min(height_, static_cast<int>(y1)); ++y)
    for (int x = std::max(0, static_cast<int>(x0)); x < std::min(width_, static_cast<int>(x1)); ++x) blend(x, y, c, alpha);
}

void Image::polygon(std::span<const std::array<float, 2>> points, Color c, float alpha) {
  // Even-odd over 4 by 4 samples a pixel.
  for (int y = 0; y < height_; ++y)
    for (int x = 0; x < width_; ++x) {
      int inside = 0;
      for (int s = 0; s < 16; ++s) {
        const float px = static_cast<float>(x) + (static_cast<float>(s % 4) + 0.5f) / 4;
        const float py = static_cast<float>(y) + (static_cast<float>(s / 4) + 0.5f) / 4;
        bool in = false;
        for (std::size_t i = 0, j = points.size() - 1; i < points.size(); j = i++) {
          const auto &a = points[i], &b = points[j];
          if ((a[1] > py) != (b[1] > py) && px < (b[0] - a[0]) * (py - a[1]) / (b[1] - a[1]) + a[0]) in = !in;
        }
        inside += in;
      }
      blend(x, y, c, alpha * static_cast<float>(inside) / 16);
    }
}

void Image::text(float x, float y, float size, std::string_view text, Color c, float weight) {
  const float width = std::max(1.0f, size * weight);
  for (char ch : text) {
    const bool small = std::islower(static_cast<unsigned char>(ch));
    const float unit = size / 6 * (small ? 0.78f : 1.0f), top = y + (small ? size * 0.22f : 0);
    const std::string_view strokes = glyph(small ? static_cast<char>(std::toupper(ch)) : ch);
    for (std::size_t i = 0; i + 4 <= strokes.size();) {
      if (strokes[i] == ' ') {
        ++i;
      } else if (strokes[i + 2] == ' ') {
        i += 3;
      } else {
        auto at = [&](std::size_t k) { return static_cast<float>(strokes[i + k] - '0') * unit; };
        line(x + at(0), top + at(1), x + at(2), top + at(3), width, c);
        i += 2;
      }
    }
    x += size * advance(ch);
  }
}

float Image::text_width(float size, std::string_view text) {
  float width = 0;
  for (char c : text) width += size * advance(c);
  return width;
}

void Image::heat_map(std::span<const float> values, int nx, int ny, int x, int y, int width, int height, float scale) {
  for (int py = 0; py < height; ++py)
    for (int px = 0; px < width; ++px) {
      const auto cell = static_cast<std::size_t>(py * ny / height) * nx + px * nx / width;
      blend(x + px, y + py, diverging(values[cell] / scale), 1);
    }
}

void Image::paste(const Image& other, int x, int y) {
  for (int py = 0; py < other.height_; ++py)
    for (int px = 0; px < other.width_; ++px) {
      if (x + px < 0 || y + py < 0 || x + px >= width_ || y + py >= height_) continue;
      std::copy_n(&other.pixels_[(static_cast<std::size_t>(py) * other.width_ + px) * 3], 3,
                  &pixels_[(static_cast<std::size_t>(y + py) * width_ + x + px) * 3]);
    }
}

void Image::write_png(const std::string& path) const {
  std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(path.c_str(), "wb"), std::fclose);
  if (!file) throw std::runtime_error("cannot write " + path);
  png_image head{};
  head.version = PNG_IMAGE_VERSION;
  head.width = static_cast<png_uint_32>(width_);
  head.height = static_cast<png_uint_32>(height_);
  head.format = PNG_FORMAT_RGB;
  if (!png_image_write_to_stdio(&head, file.get(), 0, pixels_.data(), 0, nullptr))
    throw std::runtime_error("cannot write " + path + ": " + head.message);
}

std::vector<float> text_mask(int width, int height, std::string_view text) {
  // As large as fits in four fifths of the picture.
  const float size = std::min(0.5f * static_cast<float>(height), 0.8f * static_cast<float>(width) / Image::text_width(1, text));
  Image image(width, height, {0, 0, 0});
  const float drawn = Image::text_width(size, text) - size * 0.28f;
  image.text((static_cast<float>(width) - drawn) / 2, (static_cast<float>(height) - size) / 2, size, text, {1, 1, 1}, 0.22f);
  std::vector<float> mask(static_cast<std::size_t>(width) * height);
  for (std::size_t i = 0; i < mask.size(); ++i) mask[i] = static_cast<float>(image.rgb()[i * 3]) / 255;
  return mask;
}

}  // namespace demo
