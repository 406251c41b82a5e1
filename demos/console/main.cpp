// fluxion-console: C++ kernels typed, differentiated, run, timed and looked at. docs/console.md.
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <iterator>

#include "commands.h"
#include "json.h"
#include "session.h"
#include "terminal.h"

namespace {

using namespace fluxion::console;

constexpr const char* kUsage = R"(fluxion-console                  a prompt for C++ with Fluxion; :help lists its commands
fluxion-console FILE.cpp         runs the inputs of a file; ends at the first error, with status 1
fluxion-console -e CODE          runs this; may be given several times
fluxion-console -                runs standard input
  -i        the prompt after that
  --json    reads {"code": "..."} or {"complete": "..."} line by line and answers each with an object on a line
  --prelude compiles the prelude, if that has not been done, and leaves
)";

struct Options {
  std::vector<std::string> code;
  std::string file;
  bool json = false, prompt = false, prelude = false;
};

int usage(const char* why, const std::string& what) {
  fmt::print(stderr, "fluxion-console: {}{}\n{}", why, what, kUsage);
  return 2;
}

void progress(std::string_view text) {
  static bool told = false;
  if (!text.empty()) fmt::print(stderr, "{}", text), told = true;
  else if (told) fmt::print(stderr, " done\n");
  std::fflush(stderr);
}

/// What goes wrong on this side (no process, no memory) is told, and ends no session.
template <class F> bool guarded(const F& input) {
  try {
    return input();
  } catch (const std::exception& e) {
    fmt::print(stderr, "fluxion-console: {}\n", e.what());
    return false;
  }
}

/// Inputs from the terminal until its end.
void talk(Session& session, bool colours) {
  std::string before;  // lines of an unfinished input
  Terminal terminal(history_file(), colours,
                    [&](const std::string& line) { return session.complete(before.empty() ? line : before + line); });
  int line = 1;
  bool failed = false;
  while (!session.done()) {
    const Line read = terminal.read(!before.empty() ? Terminal::State::open : failed ? Terminal::State::failed : Terminal::State::ready);
    if (read.kind == Line::Kind::cancelled || (read.kind == Line::Kind::end && !before.empty())) {
      before.clear();
      std::fputc('\n', stdout);
      continue;
    }
    if (read.kind == Line::Kind::end) {
      std::fputc('\n', stdout);
      break;
    }
    const std::string text = before + read.text;
    if (!scan(text).open.empty()) {
      before = text + "\n";
      continue;
    }
    before.clear();
    terminal.remember(text);
    interrupted();
    failed = !guarded([&] { return session.input(text, "console", line); });
    line += static_cast<int>(std::count(text.begin(), text.end(), '\n')) + 1;
  }
}

/// A line in, a line out.
void answer(Session& session) {
  int line = 1;
  for (std::string text; !session.done();) {
    errno = 0;
    if (!std::getline(std::cin, text)) {
      // An interrupt while nothing runs is of no interest.
      if (errno != EINTR) return;
      interrupted();
      std::cin.clear();
      std::clearerr(stdin);
      continue;
    }
    if (text.find_first_not_of(" \t\r") == text.npos) continue;
    const JsonRequest r = from_json(text);
    if (!r.good) {
      Record bad;
      bad.failure = "request";
      bad.message = "no JSON object with \"code\" or \"complete\"";
      std::cout << to_json(bad, r.id, "", 1) << std::endl;
    } else if (r.completes) {
      std::cout << names_to_json(session.complete(r.text), r.id) << std::endl;
    } else {
      guarded([&] { return session.input(r.text, "input", line); });
      std::cout << to_json(session.record(), r.id, "input", line) << std::endl;
      line += static_cast<int>(std::count(r.text.begin(), r.text.end(), '\n')) + 1;
    }
  }
}

int run(const Options& options) {
  const bool script = !options.code.empty() || !options.file.empty();
  const bool reads_input = options.file == "-" || options.json;
  const bool talks = options.prompt || (!script && !options.json && isatty(STDIN_FILENO) != 0);
  const bool piped = !script && !options.json && !talks;

  WorkerOptions worker;
  worker.engine.prelude = prepare_prelude(false, progress);
  if (options.prelude) return 0;
  worker.engine.direct = !options.json;
  worker.capture = options.json;
  worker.own_input = !reads_input && !piped;
  SessionOptions style;
  style.interactive = talks && isatty(STDIN_FILENO) != 0;
  style.collect = options.json;
  const char* kind = std::getenv("TERM");
  style.colours = talks && isatty(STDOUT_FILENO) != 0 && !std::getenv("NO_COLOR") && kind && std::strcmp(kind, "dumb") != 0;
  Session session(worker, style);

  bool good = true;
  const auto one = [&](const std::string& text, const std::string& file) {
    if (!good || session.done()) return;
    good = session.input(text, file, 1);
    if (options.json) std::cout << to_json(session.record(), "null", file, 1) << std::endl;
  };
  for (const std::string& code : options.code) one(code, "-e");
  if (!options.file.empty() || piped) {
    if (options.file == "-" || piped) {
      one(std::string(std::istreambuf_iterator<char>(std::cin), {}), "stdin");
    } else if (good && !session.done()) {
      good = session.load(options.file, {"", 0, 0}) && (options.json || options.prompt || session.run_main());
      if (options.json) std::cout << to_json(session.record(), "null", options.file, 1) << std::endl;
    }
  }
  if (talks && !session.done()) {
    fmt::print("{}fluxion 0.1{}  {} | :help\n", fluxion::console::style(style.colours).bold, fluxion::console::style(style.colours).off,
               session.device());
    std::fflush(stdout);
    talk(session, style.colours);
    return session.done() ? session.status() : 0;
  }
  if (options.json && !script) answer(session);
  if (options.json) return script && !good ? 1 : 0;
  return session.done() || !good ? session.status() : 0;
}

}  // namespace

int main(int count, char** arguments) {
  Options options;
  for (int k = 1; k < count; ++k) {
    const std::string a = arguments[k];
    if (a == "-h" || a == "--help") {
      fmt::print("{}", kUsage);
      return 0;
    }
    if (a == "--json") options.json = true;
    else if (a == "--prelude") options.prelude = true;
    else if (a == "-i") options.prompt = true;
    else if (a == "-e" && k + 1 < count) options.code.push_back(arguments[++k]);
    else if (a == "-e") return usage("-e needs code", "");
    else if (a.size() > 1 && a[0] == '-') return usage("unknown option ", a);
    else if (!options.file.empty()) return usage("one file at a time; a second one is ", a);
    else options.file = a;
  }
  try {
    return run(options);
  } catch (const std::exception& e) {
    fmt::print(stderr, "fluxion-console: {}\n", e.what());
    return 2;
  }
}
