// Texts one after the other in one, each after its length: what the disk cache keeps of code that has parts.
#pragma once
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

namespace fluxion::gpu {

/// "" where all parts are.
inline std::string packed(const std::vector<std::string>& parts) {
  std::string out;
  bool any = false;
  for (const std::string& p : parts) {
    const std::uint64_t n = p.size();
    out.append(reinterpret_cast<const char*>(&n), sizeof n);
    out += p;
    any |= n > 0;
  }
  return any ? out : std::string();
}
/// Takes the first part away; "" when there is nothing more, or it is cut off.
inline std::string_view next_part(std::string_view& text) {
  std::uint64_t n = 0;
  if (text.size() >= sizeof n) std::memcpy(&n, text.data(), sizeof n);
  if (text.size() < sizeof n || n > text.size() - sizeof n) {
    text = {};
    return {};
  }
  const std::string_view part = text.substr(sizeof n, n);
  text.remove_prefix(sizeof n + n);
  return part;
}

}  // namespace fluxion::gpu
