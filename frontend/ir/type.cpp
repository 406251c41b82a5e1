// Half precision conversions, error texts, and the few words a Type says of itself.
#include <fmt/format.h>

#include <bit>
#include <cstring>

#include "fluxion/error.h"
#include "fluxion/ir.h"

namespace fluxion {

half::half(float value) {
  const _Float16 h = static_cast<_Float16>(value);
  std::memcpy(&bits, &h, 2);
}
half::operator float() const {
  _Float16 h;
  std::memcpy(&h, &bits, 2);
  return static_cast<float>(h);
}

bfloat16::bfloat16(float value) {
  std::uint32_t u = std::bit_cast<std::uint32_t>(value);
  if (value != value) u |= 0x400000u;    // rounding must not turn a NaN into an infinity
  else u += 0x7fffu + ((u >> 16) & 1u);  // round to nearest, ties to even
  bits = static_cast<std::uint16_t>(u >> 16);
}
bfloat16::operator float() const { return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16); }

std::string to_string(Loc at) {
  if (!at) return "";
  const char* slash = std::strrchr(at.file, '/');
  return fmt::format("{}:{}", slash ? slash + 1 : at.file, at.line);
}

Error::Error(Loc at, const std::string& what) : std::runtime_error(at ? fmt::format("{}: {}", to_string(at), what) : what), at_(at) {}

Type Type::array(LayoutId element, std::span<const std::int64_t> shape) {
  Type t;
  t.element = element;
  t.rank = static_cast<std::int8_t>(shape.size());
  for (std::size_t i = 0; i < shape.size(); ++i) t.shape[i] = shape[i];
  return t;
}

std::int64_t Type::count() const {
  std::int64_t n = 1;
  for (int i = 0; i < rank; ++i) n *= shape[i];
  return n;
}

std::string to_string(const Type& t) {
  std::string out = to_string(t.element);
  if (t.rank > 0) {
    out += '[';
    for (int i = 0; i < t.rank; ++i) out += fmt::format("{}{}", i ? ", " : "", t.shape[i]);
    out += ']';
  }
  for (int i = 0; i < t.seq; ++i) out = fmt::format("seq<{}>", out);
  return out;
}

bool has_float(const Type& t) {
  for (const Leaf& l : layout_of(t.element).leaves)
    if (is_float(l.dtype)) return true;
  return false;
}

}  // namespace fluxion
