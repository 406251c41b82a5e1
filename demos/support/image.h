// A picture in memory and what the demos draw into it: discs, lines, text, heat maps; written as PNG.
// Coordinates are pixels, x to the right and y down, with the centre of the first pixel at (0.5, 0.5); all edges
// are smoothed by coverage.
#pragma once
#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace demo {

struct Color {
  float r = 0, g = 0, b = 0;  // 0..1, as displayed (no gamma is applied)
};
constexpr Color mix(Color a, Color b, float t) { return {a.r + (b.r - a.r) * t, a.g + (b.g - a.g) * t, a.b + (b.b - a.b) * t}; }

inline constexpr Color kPaper{0.985f, 0.98f, 0.965f};
inline constexpr Color kNight{0.055f, 0.065f, 0.105f};
inline constexpr Color kInk{0.13f, 0.14f, 0.18f};
inline constexpr Color kGrid{0.86f, 0.86f, 0.85f};
inline constexpr Color kBlue{0.16f, 0.42f, 0.72f};
inline constexpr Color kRed{0.86f, 0.25f, 0.22f};
inline constexpr Color kGold{0.95f, 0.72f, 0.24f};
inline constexpr Color kGreen{0.18f, 0.60f, 0.42f};

/// Blue over white to red; t in -1..1, clamped.
Color diverging(float t);
/// Dark violet over teal to yellow; t in 0..1, clamped.
Color sequential(float t);
/// A cyclic set of hues of equal lightness; t in 0..1.
Color hue(float t);

class Image {
 public:
  Image(int width, int height, Color background = kPaper);
  int width() const { return width_; }
  int height() const { return height_; }
  std::span<const std::uint8_t> rgb() const { return pixels_; }

  void blend(int x, int y, Color c, float alpha);
  void disc(float x, float y, float radius, Color c, float alpha = 1);
  void line(float x0, float y0, float x1, float y1, float width, Color c, float alpha = 1);
  void polyline(std::span<const std::array<float, 2>> points, float width, Color c, float alpha = 1);
  void rectangle(float x0, float y0, float x1, float y1, Color c, float alpha = 1);
  void polygon(std::span<const std::array<float, 2>> points, Color c, float alpha = 1);
  /// `size` is the height of a capital letter in pixels; (x, y) its upper left corner. Lower case is drawn as
  /// small capitals; what the font lacks is left blank.
  /// `weight`: the width of a stroke in capital heights.
  void text(float x, float y, float size, std::string_view text, Color c, float weight = 0.14f);
  static float text_width(float size, std::string_view text);
  /// Values row by row, nx a row, stretched over the rectangle with its upper left corner at (x, y).
  void heat_map(std::span<const float> values, int nx, int ny, int x, int y, int width, int height, float scale);
  void paste(const Image& other, int x, int y);

  /// Throws std::runtime_error when the file cannot be written.
  void write_png(const std::string& path) const;

 private:
  int width_, height_;
  std::vector<std::uint8_t> pixels_;
};

/// Coverage of text drawn white on black, 0..1, row by row: a target made of letters.
std::vector<float> text_mask(int width, int height, std::string_view text);

}  // namespace demo
