// Values are written to standard output by the process that computes them, so that they keep their order with what the user's code
// prints; the front end gets them too.
#include "output.h"

#include <stdio_ext.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <iostream>

#include "fluxion/console/host.h"

namespace fluxion::console {
namespace {
Reply* current = nullptr;
bool to_terminal = false, silent = false;
}  // namespace

void open_output(Reply& reply, bool direct, bool quiet) { current = &reply, to_terminal = direct, silent = quiet; }
/// Output of a terminal is kept back to the end of its line: what is left has none, and what comes next is to begin one.
static void end_line() {
  if (to_terminal && !silent && isatty(STDOUT_FILENO) && __fpending(stdout) > 0) std::fputc('\n', stdout);
  std::cout.flush();
}
void close_output() {
  end_line();
  std::fflush(stdout);
  current = nullptr;
}

void emit(std::string text, std::string_view type) {
  if (!current) return;
  while (text.ends_with('\n')) text.pop_back();
  if (to_terminal && !silent) {
    end_line();
    std::fwrite(text.data(), 1, text.size(), stdout);
    std::fputc('\n', stdout);
  }
  current->shown.push_back({std::move(text), pretty_type(std::string(type))});
}
void fail(const char* kind) {
  if (current && current->failure.empty()) current->failure = kind;
}
void list_variable(const char* name, std::string value) {
  if (!current) return;
  current->names.push_back(name);
  current->names.push_back(std::move(value));
}

int terminal_width() {
  winsize size{};
  if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col >= 20) return size.ws_col;
  const char* text = std::getenv("COLUMNS");
  const int n = text ? std::atoi(text) : 0;
  return n >= 20 ? n : 80;
}

std::string pretty_type(std::string type) {
  constexpr std::pair<std::string_view, std::string_view> kNames[] = {
      {"fluxion::", "fx::"},
      {"fx::Var<float>", "fx::Float"},
      {"fx::Var<double>", "fx::Double"},
      {"fx::Var<int>", "fx::Int"},
      {"fx::Var<bool>", "fx::Bool"},
      {"fx::Var<long>", "fx::Long"},
      {"fx::Var<unsigned int>", "fx::UInt"},
      {"std::__cxx11::", "std::"},
      {"fx::detail::", "fx::"},
      {"fx::Var<fx::half>", "fx::Half"},
      {"std::basic_string<char>", "std::string"},
  };
  // The namespaces around inputs are nobody's business.
  for (std::size_t at = 0; (at = type.find("fluxion_input_", at)) != type.npos;) {
    const std::size_t end = type.find("::", at);
    type.erase(at, end == type.npos ? type.npos : end + 2 - at);
  }
  for (const auto& [from, to] : kNames)
    for (std::size_t at = 0; (at = type.find(from, at)) != type.npos; at += to.size()) type.replace(at, from.size(), to);
  // Buffer<float, 1> is written Buffer<float>.
  for (std::size_t at = 0; (at = type.find("<", at)) != type.npos; ++at) {
    const std::size_t close = type.find('>', at);
    if (close == type.npos) break;
    const std::size_t from = type.rfind("fx::", at);
    const std::string_view name = from == type.npos ? std::string_view() : std::string_view(type).substr(from + 4, at - from - 4);
    if ((name == "Buffer" || name == "In" || name == "Out" || name == "InOut" || name == "Accum") && type.compare(close - 3, 3, ", 1") == 0)
      type.erase(close - 3, 3);
  }
  return type;
}

}  // namespace fluxion::console
