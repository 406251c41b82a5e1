#include "report.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>

namespace fluxion::console {
namespace {

std::string excerpt(const Message& m, const SourceText& sources, const Style& s) {
  const std::string* line = sources.line(m.file, m.line);
  if (!line) return {};
  std::string out = fmt::format("{}{:>5} | {}{}\n", s.dim, m.line, s.off, *line);
  if (m.column <= 0 || static_cast<std::size_t>(m.column) > line->size() + 1) return out;
  std::string under;
  for (int k = 0; k + 1 < m.column; ++k) under += (*line)[static_cast<std::size_t>(k)] == '\t' ? '\t' : ' ';
  const int room = static_cast<int>(line->size()) - m.column + 1;
  out += fmt::format("{}      | {}{}{}^{}{}\n", s.dim, s.off, under, s.green,
                     std::string(static_cast<std::size_t>(std::max(0, std::min(m.width, room) - 1)), '~'), s.off);
  return out;
}

std::string place(const Message& m) {
  if (m.file.empty()) return {};
  return m.column > 0 ? fmt::format("{}:{}:{}: ", m.file, m.line, m.column) : std::string();
}

/// What was instantiated late has no note about where: but clang names a lambda by its place, "(lambda at FILE:LINE:COLUMN)".
Message named_lambda(const std::string& text) {
  constexpr std::string_view kMark = "(lambda at ";
  const std::size_t at = text.rfind(kMark), end = text.find(')', std::min(at, text.size()));
  if (at == text.npos || end == text.npos) return {};
  const std::string place = text.substr(at + kMark.size(), end - at - kMark.size());
  const std::size_t column = place.rfind(':'), line = column == place.npos || column == 0 ? place.npos : place.rfind(':', column - 1);
  if (line == place.npos) return {};
  return {"note", {}, place.substr(0, line), std::atoi(place.c_str() + line + 1), std::atoi(place.c_str() + column + 1), 1};
}

/// The end of a path, as one would include it.
std::string short_path(const std::string& file) {
  const std::size_t at = file.rfind("/include/");
  return at == file.npos ? file : file.substr(at + 9);
}

}  // namespace

Style style(bool colours) {
  if (!colours) return {};
  return {"\033[1m", "\033[1;31m", "\033[1;33m", "\033[1;32m", "\033[2m", "\033[0m"};
}

bool is_wrapping(const Message& m) { return m.file == "<console>" || m.file.starts_with("input_line_"); }

Message origin_of(const std::vector<Message>& messages, std::size_t k, const SourceText& sources) {
  if (sources.line(messages[k].file, messages[k].line)) return messages[k];
  std::size_t end = k + 1;
  while (end < messages.size() && messages[end].level == "note") ++end;
  for (std::size_t n = end; n-- > k + 1;)
    if (sources.line(messages[n].file, messages[n].line)) return messages[n];
  for (std::size_t n = k; n < end; ++n) {
    const Message lambda = named_lambda(messages[n].text);
    if (sources.line(lambda.file, lambda.line)) return lambda;
  }
  return {};
}

Message place_of(const std::vector<Message>& messages, const SourceText& sources) {
  for (std::size_t k = 0; k < messages.size(); ++k) {
    if (messages[k].level != "error") continue;
    if (const Message m = origin_of(messages, k, sources); !m.file.empty()) return m;
  }
  return {};
}

std::string report(const std::vector<Message>& messages, const SourceText& sources, const Style& s) {
  std::string out;
  int errors = 0;
  for (std::size_t k = 0; k < messages.size(); ++k) {
    const Message& m = messages[k];
    if (m.level == "note") continue;
    // About what stands around the input: it follows from the first error.
    if (k > 0 && is_wrapping(m)) continue;
    const bool mine = sources.line(m.file, m.line) != nullptr;
    if (m.level == "warning" && !mine) continue;
    if (m.level == "error" && ++errors > 5) continue;
    const std::string& colour = m.level == "error" ? s.red : s.yellow;
    // An error inside of a header is about the line of the user that led there, which one of its notes has.
    const Message shown = origin_of(messages, k, sources);
    std::string inside;
    if (!mine && !is_wrapping(m) && !m.file.empty() && m.column > 0)
      inside = fmt::format(" {}({}:{}){}", s.dim, short_path(m.file), m.line, s.off);
    out += fmt::format("{}{}{}:{} {}{}\n", place(shown), colour, m.level, s.off, m.text, inside);
    out += excerpt(shown, sources, s);
    // Other notes that name lines of the user: where the first definition is, which candidate was meant.
    int notes = 0;
    for (std::size_t n = k + 1; mine && n < messages.size() && messages[n].level == "note" && notes < 3; ++n) {
      if (!sources.line(messages[n].file, messages[n].line)) continue;
      out += fmt::format("{}note: {}\n{}", place(messages[n]), messages[n].text, excerpt(messages[n], sources, s));
      ++notes;
    }
  }
  if (errors > 5) out += fmt::format("and {} more errors\n", errors - 5);
  return out;
}

}  // namespace fluxion::console
