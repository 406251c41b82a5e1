#include "captures.h"

#include "words.h"

namespace fluxion::console {

namespace {

/// `copies`: set where a capture that is blanked copies.
std::string blanked(std::string t, bool& copies) {
  int braces = 0;
  char before = '\0';
  for (std::size_t k = 0; k < t.size();) {
    if (const Skipped s = skip(t, k); s.end != k) {
      if (!s.comment) before = '"';
      k = s.end;
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
            copies |= last > begin ? t.substr(begin, last - begin).find('&') == std::string::npos : t.find('=', begin) < end;
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

}  // namespace

std::string without_captures(std::string text) {
  bool copies = false;
  return blanked(std::move(text), copies);
}
bool captures_copies(const std::string& text) {
  bool copies = false;
  blanked(text, copies);
  return copies;
}

}  // namespace fluxion::console
