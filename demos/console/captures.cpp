#include "captures.h"

#include <algorithm>
#include <cctype>

namespace fluxion::console {
namespace {

bool is_word(char c) { return std::isalnum(static_cast<unsigned char>(c)) || c == '_'; }
bool is_space(char c) { return std::isspace(static_cast<unsigned char>(c)) != 0; }

/// Where a string, a character or a comment that starts at `k` ends; `k` where none does.
std::size_t skip(const std::string& t, std::size_t k) {
  if (t.compare(k, 2, "//") == 0) return std::min(t.find('\n', k), t.size());
  if (t.compare(k, 2, "/*") == 0) {
    const std::size_t end = t.find("*/", k + 2);
    return end == t.npos ? t.size() : end + 2;
  }
  if (t[k] == '"' && k > 0 && t[k - 1] == 'R') {
    const std::size_t open = t.find('(', k);
    if (open == t.npos) return t.size();
    const std::string close = ")" + t.substr(k + 1, open - k - 1) + "\"";
    const std::size_t end = t.find(close, open);
    return end == t.npos ? t.size() : end + close.size();
  }
  if (t[k] != '"' && (t[k] != '\'' || (k > 0 && is_word(t[k - 1])))) return k;
  std::size_t end = k + 1;
  while (end < t.size() && t[end] != t[k]) end += t[end] == '\\' ? 2 : 1;
  return std::min(end + 1, t.size());
}

}  // namespace

std::string without_static(std::string t) {
  for (std::size_t k = 0; k < t.size();) {
    if (is_space(t[k])) {
      ++k;
      continue;
    }
    std::size_t end = k;
    while (end < t.size() && is_word(t[end])) ++end;
    const std::string word = t.substr(k, end - k);
    if (word == "static") t.replace(k, word.size(), word.size(), ' ');
    else if (word != "inline" && word != "constexpr" && word != "const" && word != "constinit") break;
    k = end;
  }
  return t;
}

bool defines_main(const std::string& t) {
  if (!t.ends_with('}')) return false;
  std::size_t k = 0;
  const auto word = [&] {
    while (k < t.size() && is_space(t[k])) ++k;
    const std::size_t begin = k;
    while (k < t.size() && is_word(t[k])) ++k;
    return t.substr(begin, k - begin);
  };
  if (word() != "int" || word() != "main") return false;
  while (k < t.size() && is_space(t[k])) ++k;
  return k < t.size() && t[k] == '(';
}

bool names_lambda(const std::string& t) {
  std::size_t k = 0;
  const auto blanks = [&] {
    while (k < t.size() && is_space(t[k])) ++k;
  };
  const auto word = [&] {
    blanks();
    const std::size_t begin = k;
    while (k < t.size() && is_word(t[k])) ++k;
    return t.substr(begin, k - begin);
  };
  bool deduced = false;
  std::string last;
  while (!(last = word()).empty() && (last == "auto" || last == "const" || last == "constexpr")) deduced |= last == "auto";
  blanks();
  if (!deduced || last.empty() || k >= t.size() || t[k] != '=') return false;
  ++k;
  blanks();
  return k < t.size() && t[k] == '[';
}

std::string without_captures(std::string t) {
  int braces = 0;
  char before = '\0';
  for (std::size_t k = 0; k < t.size();) {
    if (const std::size_t end = skip(t, k); end != k) {
      before = '"';
      k = end;
      continue;
    }
    const char c = t[k];
    if (c == '{') ++braces;
    if (c == '}') --braces;
    if (c == '[' && braces == 0 && !is_word(before) && before != ')' && before != ']' && before != '"') {
      std::size_t close = k + 1;
      for (int depth = 1; close < t.size(); ++close) {
        if (t[close] == '[' || t[close] == '(' || t[close] == '{') ++depth;
        if ((t[close] == ']' || t[close] == ')' || t[close] == '}') && --depth == 0) break;
      }
      std::size_t next = close + 1;
      while (next < t.size() && is_space(t[next])) ++next;
      if (close < t.size() && next < t.size() && (t[next] == '(' || t[next] == '{' || t[next] == '<')) {
        for (std::size_t begin = k + 1; begin < close;) {
          std::size_t end = begin, last = begin;
          bool keeps = false;
          for (int depth = 0; end < close && (t[end] != ',' || depth > 0); ++end) {
            if (t[end] == '(' || t[end] == '{' || t[end] == '[') ++depth;
            if (t[end] == ')' || t[end] == '}' || t[end] == ']') --depth;
            if (t[end] == '=' && last > begin) keeps = true;  // x = 1
            if (is_word(t[end])) last = end + 1;
          }
          if (!keeps) {
            for (std::size_t at = begin; at < std::min(end + 1, close); ++at) t[at] = ' ';
            if (end >= close && t[begin - 1] == ',') t[begin - 1] = ' ';  // the comma before the last one
          }
          begin = end + 1;
        }
        k = close + 1;
        before = ']';
        continue;
      }
    }
    if (!is_space(c)) before = c;
    ++k;
  }
  return t;
}

}  // namespace fluxion::console
