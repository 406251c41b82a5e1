// Ctrl-C is a key here, not a signal: libedit loses signals that come while it reads. In the history file an entry is a line, in which
// a backslash stands before what would end it.
#include "terminal.h"

#include <dlfcn.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <clocale>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>

#include "keys.h"
#include "libedit.h"

namespace fluxion::console {
namespace libedit {

const Functions* functions() {
  static const Functions* const loaded = []() -> const Functions* {
    void* library = dlopen("libedit.so.2", RTLD_NOW);
    if (!library) return nullptr;
    static Functions f;
    const auto load = [&](auto& to, const char* name) {
      to = reinterpret_cast<std::remove_reference_t<decltype(to)>>(dlsym(library, name));
      return to != nullptr;
    };
    const bool all = load(f.init, "el_init") && load(f.end, "el_end") && load(f.set, "el_set") && load(f.get, "el_get") &&
                     load(f.gets, "el_gets") && load(f.resize, "el_resize") && load(f.line, "el_line") && load(f.insert, "el_insertstr") &&
                     load(f.erase, "el_deletestr") && load(f.history_init, "history_init") && load(f.history_end, "history_end") &&
                     load(f.history, "history");
    return all ? &f : nullptr;
  }();
  return loaded;
}

}  // namespace libedit

namespace {

std::string escaped(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (c == '\\') out += "\\\\";
    else if (c == '\n') out += "\\n";
    else out += c;
  }
  return out;
}
std::string unescaped(const std::string& text) {
  std::string out;
  for (std::size_t k = 0; k < text.size(); ++k) {
    if (text[k] != '\\' || k + 1 == text.size()) out += text[k];
    else out += text[++k] == 'n' ? '\n' : text[k];
  }
  return out;
}

const char* prompt_of(Terminal::State state, bool colours) {
  // What stands between the bytes 1 has no width.
  switch (state) {
    case Terminal::State::ready: return colours ? "\1\033[1;32m\1>>> \1\033[0m\1" : ">>> ";
    case Terminal::State::failed: return colours ? "\1\033[1;31m\1>>> \1\033[0m\1" : ">>> ";
    case Terminal::State::open: return colours ? "\1\033[1;33m\1... \1\033[0m\1" : "... ";
  }
  return ">>> ";
}

}  // namespace

std::string history_file() {
  if (const char* v = std::getenv("FLUXION_HISTORY")) return std::string(v) == "off" ? "" : v;
  if (const char* v = std::getenv("XDG_STATE_HOME"); v && *v) return std::string(v) + "/fluxion/history";
  if (const char* v = std::getenv("HOME"); v && *v) return std::string(v) + "/.local/state/fluxion/history";
  return {};
}

struct Terminal::Editor {
  const libedit::Functions& f;
  libedit::EditLine* line = nullptr;
  libedit::History* history = nullptr;
  std::string prompt;
  Complete complete;
  bool cancelled = false;

  static Editor& of(libedit::EditLine* e) {
    void* p = nullptr;
    libedit::functions()->get(e, libedit::kClientData, &p);
    return *static_cast<Editor*>(p);
  }
  static unsigned char cancel(libedit::EditLine* e, int) {
    of(e).cancelled = true;
    std::fputs("^C", stdout);
    return libedit::kNewLine;
  }
  static unsigned char tab(libedit::EditLine* e, int) { return of(e).tab_pressed(); }

  /// Completes the word before the cursor as far as it is clear; else lists what it may become.
  unsigned char tab_pressed() {
    const libedit::LineInfo* info = f.line(line);
    const std::string before(info->buffer, info->cursor);
    if (before.find_first_not_of(" \t") == before.npos) return f.insert(line, "    ") == 0 ? libedit::kRefresh : libedit::kError;
    const std::vector<std::string> names = complete(before);
    if (names.empty()) return libedit::kError;
    std::size_t word = before.size();
    const auto is_word = [](char c) { return std::isalnum(static_cast<unsigned char>(c)) || c == '_' || c == ':'; };
    const bool command = names[0].starts_with(':');
    while (word > 0 && is_word(before[word - 1]) && (command || before[word - 1] != ':')) --word;
    const std::size_t typed = before.size() - word;
    std::string common = names[0];
    for (const std::string& n : names)
      common.resize(static_cast<std::size_t>(std::mismatch(common.begin(), common.end(), n.begin(), n.end()).first - common.begin()));
    if (common.size() > typed) return f.insert(line, common.c_str() + typed) == 0 ? libedit::kRefresh : libedit::kError;
    if (names.size() == 1) return libedit::kRefresh;
    std::string out = "\n";
    std::size_t width = 0, longest = 0;
    for (const std::string& n : names) longest = std::max(longest, n.size() + 2);
    for (std::size_t k = 0; k < std::min<std::size_t>(names.size(), 120); ++k) {
      if (width + longest > 100 && width > 0) out += "\n", width = 0;
      out += names[k] + std::string(longest - names[k].size(), ' ');
      width += longest;
    }
    if (names.size() > 120) out += "\n... and " + std::to_string(names.size() - 120) + " more";
    std::fputs((out + "\n").c_str(), stdout);
    std::fflush(stdout);
    return libedit::kRedisplay;
  }
};

Terminal::Terminal(std::string history, bool colours, Complete complete) : history_(std::move(history)), colours_(colours) {
  std::setlocale(LC_CTYPE, "");
  const libedit::Functions* f = libedit::functions();
  const char* kind = std::getenv("TERM");
  if (!f || !kind || std::string(kind) == "dumb") return;
  editor_ = std::make_unique<Editor>(Editor{*f, nullptr, nullptr, {}, std::move(complete), false});
  Editor& e = *editor_;
  e.line = f->init("fluxion-console", stdin, stdout, stderr);
  if (!e.line) {
    editor_.reset();
    return;
  }
  e.history = f->history_init();
  libedit::HistEvent event{};
  f->history(e.history, &event, libedit::kSetSize, 5000);
  f->history(e.history, &event, libedit::kSetUnique, 1);
  f->set(e.line, libedit::kClientData, &e);
  f->set(e.line, libedit::kPromptEscaped,
         static_cast<libedit::PromptFunction>([](libedit::EditLine* l) { return Editor::of(l).prompt.data(); }), '\1');
  f->set(e.line, libedit::kEditor, "emacs");
  f->set(e.line, libedit::kSignal, 0);
  f->set(e.line, libedit::kHistory, f->history, e.history);
  f->set(e.line, libedit::kTty, "-d", "-isig", nullptr);
  f->set(e.line, libedit::kReadFunction, static_cast<libedit::ReadFunction>(Keys::read));
  f->set(e.line, libedit::kAddFunction, "fluxion-cancel", "drop this input", static_cast<libedit::KeyFunction>(Editor::cancel));
  f->set(e.line, libedit::kAddFunction, "fluxion-complete", "complete the word", static_cast<libedit::KeyFunction>(Editor::tab));
  for (const auto& [key, what] :
       {std::pair{"^C", "fluxion-cancel"}, std::pair{"^I", "fluxion-complete"}, std::pair{"^R", "em-inc-search-prev"}})
    f->set(e.line, libedit::kBind, key, what, nullptr);
  if (history_.empty()) return;
  std::ifstream in(history_);
  for (std::string entry; std::getline(in, entry);)
    if (!entry.empty()) f->history(e.history, &event, libedit::kEnter, unescaped(entry).c_str());
}

Terminal::~Terminal() {
  if (!editor_) return;
  editor_->f.end(editor_->line);
  editor_->f.history_end(editor_->history);
}

Line Terminal::read(State state) {
  if (!editor_) {
    std::cout << prompt_of(state, false) << std::flush;
    Line out;
    errno = 0;
    if (!std::getline(std::cin, out.text)) {
      // Ctrl-C ends the reading as the end of input does.
      out.kind = errno == EINTR ? Line::Kind::cancelled : Line::Kind::end;
      if (errno == EINTR) std::cin.clear(), std::clearerr(stdin);
    }
    return out;
  }
  Editor& e = *editor_;
  e.prompt = prompt_of(state, colours_);
  e.cancelled = false;
  e.f.set(e.line, libedit::kPrepare, 1);  // no echo from before the prompt on: libedit itself waits for the first key
  int count = 0;
  Keys::begin();
  const char* text = e.f.gets(e.line, &count);
  Keys::end();
  if (e.cancelled) return {Line::Kind::cancelled, {}};
  if (!text || count <= 0) return {Line::Kind::end, {}};
  std::string line(text, static_cast<std::size_t>(count));
  while (line.ends_with('\n') || line.ends_with('\r')) line.pop_back();
  return {Line::Kind::text, line};
}

void Terminal::remember(const std::string& input) {
  if (!editor_ || input.find_first_not_of(" \t\n") == input.npos) return;
  libedit::HistEvent event{};
  editor_->f.history(editor_->history, &event, libedit::kEnter, input.c_str());
  if (history_.empty()) return;
  std::error_code none;
  std::filesystem::create_directories(std::filesystem::path(history_).parent_path(), none);
  std::ofstream(history_, std::ios::app) << escaped(input) << '\n';
  chmod(history_.c_str(), 0600);
}

}  // namespace fluxion::console
