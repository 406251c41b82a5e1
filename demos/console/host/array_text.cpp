// An array as text: element, shape and device, statistics over all numbers in it, and its first and last elements.
#include <fmt/format.h>

#include <cmath>
#include <cstring>
#include <limits>

#include "fluxion/console/host.h"
#include "numbers.h"
#include "output.h"

namespace fluxion::console {
namespace {

std::string element_text(const Layout& layout, const char* element) {
  if (layout.leaves.size() == 1) return leaf_text(layout.leaves[0].dtype, element + layout.leaves[0].offset);
  std::string out = "{";
  for (std::size_t k = 0; k < layout.leaves.size(); ++k)
    out += (k ? ", " : "") + leaf_text(layout.leaves[k].dtype, element + layout.leaves[k].offset);
  return out + "}";
}

std::string statistics(const Layout& layout, const std::vector<char>& bytes, std::int64_t count) {
  double low = std::numeric_limits<double>::infinity(), high = -low, sum = 0, squares = 0;
  std::int64_t nans = 0, infinities = 0, numbers = 0;
  for (std::int64_t k = 0; k < count; ++k)
    for (const Leaf& leaf : layout.leaves) {
      const double v = leaf_number(leaf.dtype, bytes.data() + static_cast<std::size_t>(k) * layout.size + leaf.offset);
      if (std::isnan(v)) {
        ++nans;
      } else if (std::isinf(v)) {
        ++infinities;
      } else {
        low = std::min(low, v), high = std::max(high, v), sum += v, squares += v * v;
        ++numbers;
      }
    }
  std::string out;
  if (numbers > 0) {
    const double n = static_cast<double>(numbers), mean = sum / n;
    out = fmt::format("min {:.6g}  max {:.6g}  mean {:.6g}  std {:.6g}", low, high, mean,
                      std::sqrt(std::max(0.0, squares / n - mean * mean)));
  }
  if (nans > 0) out += fmt::format("  {} NaN", nans);
  if (infinities > 0) out += fmt::format("  {} inf", infinities);
  return out;
}

/// The elements from `first` on, along the last axis.
std::string row(const Layout& layout, const char* data, std::int64_t n, std::int64_t shown) {
  std::vector<std::string> parts;
  for (std::int64_t k = 0; k < n; ++k) {
    if (n > shown && k >= shown / 2 && k < n - shown / 2) continue;
    parts.push_back(element_text(layout, data + static_cast<std::size_t>(k) * layout.size));
  }
  std::string text = listed(parts, static_cast<std::size_t>(n));
  if (const std::size_t tail = text.rfind(" ("); tail != text.npos && text.ends_with("elements)")) text.erase(tail);
  return text;
}

}  // namespace

std::string text_of(const Array& a) {
  if (!a) return "an empty array: no memory yet";
  const Layout& layout = layout_of(a.element());
  std::string shape;
  for (int k = 0; k < a.rank(); ++k) shape += fmt::format("{}{}", k ? ", " : "", a.extent(k));
  std::string head = fmt::format("{}[{}]", to_string(a.element()), shape);
  if (!a.state().storage) return head + " of a program that is being captured";
  head += " on " + a.device().name();
  const std::int64_t count = a.size();
  if (count == 0) return head + "  no elements";
  std::vector<char> bytes(static_cast<std::size_t>(count) * layout.size);
  a.read(bytes.data());
  if (count == 1) return head + "  " + element_text(layout, bytes.data());
  std::string out = head + "  " + statistics(layout, bytes, count) + "\n";
  const std::int64_t last = a.extent(a.rank() - 1);
  const std::int64_t rows = count / last;
  if (rows == 1) return out + row(layout, bytes.data(), last, kShown);
  constexpr std::int64_t kHead = 4, kTail = 2, kShownOfRow = 10;
  for (std::int64_t r = 0; r < rows; ++r) {
    if (rows > kHead + kTail + 1 && r >= kHead && r < rows - kTail) {
      if (r == kHead) out += "...\n";
      continue;
    }
    std::string where;
    if (a.rank() == 3) where = fmt::format("({}, {}) ", r / a.extent(1), r % a.extent(1));
    else where = fmt::format("({}) ", r);
    out += where + row(layout, bytes.data() + static_cast<std::size_t>(r * last) * layout.size, last, kShownOfRow) + "\n";
  }
  return out;
}

}  // namespace fluxion::console
