// The characters of C++ as far as the console reads them itself: words, and what is to be stepped over as a whole.
#pragma once
#include <algorithm>
#include <array>
#include <cctype>
#include <string_view>

namespace fluxion::console {

inline bool is_word(char c) { return std::isalnum(static_cast<unsigned char>(c)) || c == '_'; }
inline bool is_space(char c) { return std::isspace(static_cast<unsigned char>(c)) != 0; }
inline bool is_digit(char c) { return std::isdigit(static_cast<unsigned char>(c)) != 0; }
template <std::size_t N> bool one_of(std::string_view word, const std::array<std::string_view, N>& list) {
  return std::find(list.begin(), list.end(), word) != list.end();
}
/// The word that begins at `k`, "" where none does.
inline std::string_view word_at(std::string_view t, std::size_t k) {
  std::size_t end = std::min(k, t.size());
  while (end < t.size() && is_word(t[end])) ++end;
  return t.substr(std::min(k, t.size()), end - std::min(k, t.size()));
}

/// A string, a raw string, a character or a comment.
struct Skipped {
  std::size_t end = 0;  // where it ends; where it begins if there is none
  bool comment = false;
  std::string_view open = {};  // how it began, where its end is missing: "R\"" or "/*"
};
/// What begins at `k`. A string or character whose end is missing ends with its line: the compiler says so.
Skipped skip(std::string_view t, std::size_t k);

}  // namespace fluxion::console
