// Plain values as text: numbers by the shortest digits that read back as the same number, strings as they are written in C++.
#include <fmt/format.h>

#include "fluxion/console/host.h"
#include "output.h"

namespace fluxion::console {

std::string text_of_bool(bool v) { return v ? "true" : "false"; }
std::string text_of(char v) {
  std::string inner = quoted(std::string_view(&v, 1));
  inner = inner.substr(1, inner.size() - 2);
  if (v == '"') inner = "\"";
  if (v == '\'') inner = "\\'";
  return "'" + inner + "'";
}
std::string text_of(float v) { return fmt::format("{}", v); }
std::string text_of(double v) { return fmt::format("{}", v); }
std::string text_of(long double v) { return fmt::format("{}", v); }
std::string text_of(long long v) { return fmt::format("{}", v); }
std::string text_of(unsigned long long v) { return fmt::format("{}", v); }

std::string quoted(std::string_view v) {
  std::string out = "\"";
  for (const char c : v) {
    if (c == '"' || c == '\\') out += '\\', out += c;
    else if (c == '\n') out += "\\n";
    else if (c == '\t') out += "\\t";
    else if (static_cast<unsigned char>(c) < 32) out += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
    else out += c;
  }
  return out + "\"";
}

std::string text_of_enum(std::string_view type, long long v) { return fmt::format("{}({})", pretty_type(std::string(type)), v); }
std::string text_of_pointer(const volatile void* p) {
  return p ? fmt::format("{}", fmt::ptr(const_cast<const void*>(p))) : std::string("nullptr");
}
std::string text_of_other(std::string_view type) {
  if (type.find("(lambda at") != type.npos) return "a lambda";
  return fmt::format("a {}, which has no text: give it an operator<<", pretty_type(std::string(type)));
}

std::string text_of(const Device& d) { return d ? d.name() + ": " + d.description() : std::string("no device"); }

std::string listed(const std::vector<std::string>& parts, std::size_t total) {
  const auto width = static_cast<std::size_t>(terminal_width());
  std::string out = "{";
  std::size_t line = 1;
  for (std::size_t k = 0; k < parts.size(); ++k) {
    std::string part = parts[k] + (k + 1 < parts.size() ? "," : "");
    if (total > parts.size() && k == parts.size() / 2) part = "... " + part;
    if (k > 0) {
      const bool wraps = line + part.size() + 1 > width;
      out += wraps ? "\n " : " ";
      line = wraps ? 1 : line + 1;
    }
    out += part;
    line += part.size();
  }
  out += "}";
  if (total > parts.size()) out += fmt::format(" ({} elements)", total);
  return out;
}

}  // namespace fluxion::console
