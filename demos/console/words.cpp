#include "words.h"

#include <string>

namespace fluxion::console {
namespace {

/// Whether the ' at `k` stands within a number: 1'000.
bool separates_digits(std::string_view t, std::size_t k) {
  std::size_t begin = k;
  while (begin > 0 && (is_word(t[begin - 1]) || t[begin - 1] == '\'' || t[begin - 1] == '.')) --begin;
  return begin < k && is_digit(t[begin]) && k + 1 < t.size() && is_word(t[k + 1]);
}

}  // namespace

Skipped skip(std::string_view t, std::size_t k) {
  const std::string_view rest = t.substr(k);
  if (rest.starts_with("//")) return {std::min(t.find('\n', k), t.size()), true};
  if (rest.starts_with("/*")) {
    const std::size_t end = t.find("*/", k + 2);
    return end == t.npos ? Skipped{t.size(), true, "/*"} : Skipped{end + 2, true};
  }
  const char quote = rest.empty() ? '\0' : rest[0];
  if (quote == '\'' && separates_digits(t, k)) return {k + 1};
  if (quote != '"' && quote != '\'') return {k};
  if (quote == '"' && k > 0 && t[k - 1] == 'R') {
    const std::size_t open = t.find('(', k);
    if (open == t.npos) return {t.size(), false, "R\""};
    const std::string close = ")" + std::string(t.substr(k + 1, open - k - 1)) + "\"";
    const std::size_t end = t.find(close, open);
    return end == t.npos ? Skipped{t.size(), false, "R\""} : Skipped{end + close.size()};
  }
  std::size_t end = k + 1;
  while (end < t.size() && t[end] != quote && t[end] != '\n') end += t[end] == '\\' && end + 1 < t.size() ? 2 : 1;
  return {end < t.size() && t[end] == quote ? end + 1 : end};
}

}  // namespace fluxion::console
