// An input is split into items, which the engine runs one by one: so each expression prints, and what ran before a failure stays.
// Replaying runs every remembered item once more, quietly. It repeats effects on files; values of clocks and of random devices differ.
#include "session.h"

#include <fmt/format.h>

#include <chrono>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "captures.h"
#include "commands.h"
#include "forms.h"
#include "guess.h"
#include "words.h"

namespace fluxion::console {
namespace {
constexpr int kInterrupted = 130;  // the status of what Ctrl-C has ended
}

std::string around(const std::string& before, const std::string& text, const Session::Place& at, const std::string& after) {
  // Blanks keep the columns: what stands before on the line is not part of the text.
  return fmt::format("{}\n#line {} \"{}\"\n{}{}\n#line 1 \"<console>\"\n{}", before, at.line, at.file,
                     std::string(static_cast<std::size_t>(std::max(0, at.column - 1)), ' '), text, after);
}

Session::Session(WorkerOptions worker, SessionOptions options) : worker_(std::move(worker)), options_(options) { begin(); }

void Session::begin() {
  for (int attempt = 0;; ++attempt) {
    const Answer& hello = worker_.hello();
    if (hello.end == Answer::End::replied && hello.reply.failure.empty()) {
      device_ = hello.reply.names.empty() ? "" : hello.reply.names[0];
      return;
    }
    if (hello.end == Answer::End::interrupted) throw std::runtime_error("interrupted");
    if (attempt == 1)
      throw std::runtime_error(hello.reply.messages.empty() ? "the engine does not start"
                                                            : "the engine does not start: " + hello.reply.messages[0].text);
    // A prelude that this compiler does not take: system headers have changed, say.
    worker_.options().engine.prelude = prepare_prelude(true, [](std::string_view) {});
    worker_.start();
  }
}

void Session::print(const std::string& text, bool error) {
  if (options_.collect || text.empty()) return;
  std::FILE* to = error ? stderr : stdout;
  std::fflush(error ? stdout : stderr);
  std::fwrite(text.data(), 1, text.size(), to);
  if (!text.ends_with('\n')) std::fputc('\n', to);
  std::fflush(to);
}

void Session::say(const std::string& text) {
  record_.values.push_back({text, "text"});
  print(text, false);
}

void Session::failed(const std::string& kind, const std::vector<Message>& messages) {
  const std::string text = report(messages, sources_, style(options_.colours));
  if (record_.failure.empty()) {
    record_.failure = kind;
    for (const Message& m : messages)
      if (m.level == "error" && record_.message.empty()) record_.message = m.text;
    record_.place = place_of(messages, sources_);
    record_.report = text;
  }
  print(text, true);
  if (status_ == 0) status_ = 1;
}

bool Session::refuse(const std::string& why, const Place& at) {
  failed("command", {{"error", why, at.file, at.line, at.column, 1}});
  return false;
}

bool Session::input(const std::string& text, const std::string& file, int line) {
  if (loading_ == 0) {
    record_ = {};
    current_ = {};
  }
  // Threads and timers of earlier inputs may end the process at any time; that is not this input's fault, which runs afterwards.
  if (loading_ == 0)
    if (const auto end = worker_.ended_meanwhile()) {
      lost(*end);
      if (done_) return false;
      record_ = {};
    }
  const auto start = std::chrono::steady_clock::now();
  sources_.add(file, line, text);
  bool good = true;
  for (const Item& each : scan(text, line).items) {
    good = item(each, file);
    if (!good || done_) break;
  }
  if (loading_ > 0) return good;
  if (!current_.steps.empty()) entries_.push_back(std::move(current_));
  current_ = {};
  record_.milliseconds = std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
  if (show_time) print(fmt::format("({:.1f} ms)", record_.milliseconds), false);
  return good;
}

bool Session::item(const Item& item, const std::string& file) {
  const Place at{file, item.line, item.column};
  if (item.kind == Item::Kind::command) {
    const std::size_t before = current_.steps.size();
    const bool good = run_command(*this, item.text, at);
    if (good && current_.steps.size() > before && !item.text.starts_with(":load") && !item.text.starts_with(":tour"))
      current_.source += item.text + "\n";
    return good;
  }
  for (const char* word : {"else", "catch"})
    if (word_at(item.text, 0) == word)
      return refuse(
          fmt::format("nothing is open that this \"{0}\" could belong to: what stands before it has run already; write `}} {0}`", word),
          at);
  Request request;
  request.texts = forms(item, at);
  const bool good = run(std::move(request), true, {}, at);
  if (good && !told_of_copies_ && captures_copies(item.text)) {
    told_of_copies_ = true;
    const std::string note =
        "note: variables of a session are global, so this lambda sees what they hold when it runs; for a copy write [x = x]\n";
    record_.warnings += note;
    print(note, true);
  }
  // An empty line ends what has no semicolon, whatever comes next.
  if (good) current_.source += item.text + (item.closed ? "\n" : "\n\n");
  if (good && item.closed && defines_main(item.text)) has_main_ = true;
  return good;
}

bool Session::run_main() {
  if (!has_main_) return true;
  Request request;
  request.texts = {
      kBody + std::string("if (const int status = main()) std::exit(status);"),
      kBody + std::string("char name[] = \"fluxion-console\"; char* all[] = {name, nullptr}; if (const int status = main(1, all)) "
                          "std::exit(status);")};
  const Answer answer = worker_.ask(request);
  if (answer.end == Answer::End::exited) {
    quit(answer.status);
    return answer.status == 0;
  }
  if (answer.end != Answer::End::replied) return lost(answer);
  if (!answer.reply.failure.empty()) failed(answer.reply.failure, answer.reply.messages);
  return answer.reply.failure.empty();
}

bool Session::renew() {
  if (!options_.interactive && !options_.collect) {
    done_ = true;
    return false;
  }
  replay();
  return true;
}

Answer Session::ask(const Request& request) {
  Answer answer = worker_.ask(request);
  if (answer.reply.failure != "untried" || !renew()) return answer;
  return worker_.ask(request);
}

bool Session::run(Request request, bool remembered, const std::string& hint, const Place& at) {
  Answer answer = ask(request);
  record_.out += answer.out, record_.error += answer.error;
  if (answer.end != Answer::End::replied) return lost(answer, at);
  record_.values.insert(record_.values.end(), answer.reply.shown.begin(), answer.reply.shown.end());
  if (answer.reply.failure.empty()) {
    const std::string warnings = report(answer.reply.messages, sources_, style(options_.colours));
    record_.warnings += warnings;
    print(warnings, true);
    if (remembered) {
      if (request.texts.size() > 1 && request.verb == Request::Verb::run)
        request.texts = {request.texts[static_cast<std::size_t>(answer.reply.form)]};  // what it was it will be again
      current_.echo = (current_.echo || current_.steps.empty()) && answer.reply.echo;
      current_.steps.push_back(std::move(request));
    }
    return true;
  }
  // What a command made of an argument that it cannot take is of no interest; what it takes is.
  if (!hint.empty() && answer.reply.failure == "compile" && !answer.reply.messages.empty() &&
      answer.reply.messages[0].text.starts_with("no matching function for call to ")) {
    answer.reply.messages = {{"error", hint, at.file, at.line, at.column, 1}};
  }
  if ((answer.reply.failure == "compile" || answer.reply.failure == "link") && !at.file.empty() &&
      place_of(answer.reply.messages, sources_).file.empty() && !answer.reply.messages.empty()) {
    Message& m = answer.reply.messages[0];
    if (m.column == 0 || is_wrapping(m)) m.file = at.file, m.line = at.line, m.column = at.column, m.width = 1;
  }
  // Nothing else tells where: the input's own place.
  if (remembered && request.verb == Request::Verb::run)
    for (std::size_t k = 0; k < answer.reply.messages.size(); ++k)
      if (answer.reply.messages[k].level == "error" && origin_of(answer.reply.messages, k, sources_).file.empty())
        answer.reply.messages.insert(answer.reply.messages.begin() + static_cast<std::ptrdiff_t>(k) + 1,
                                     Message{"note", "in this input", at.file, at.line, at.column, 1});
  failed(answer.reply.failure, answer.reply.messages);
  if (answer.reply.failure == "Cancelled") status_ = kInterrupted;
  if (answer.reply.broken) renew();
  return false;
}

std::vector<std::string> Session::query(const Request& request) {
  const Answer answer = ask(request);
  if (answer.end != Answer::End::replied) {
    lost(answer);
    return {};
  }
  if (!answer.reply.failure.empty()) failed(answer.reply.failure, answer.reply.messages);
  return answer.reply.names;
}

/// The engine is gone: tells why, starts another and brings it to where the session was.
bool Session::lost(const Answer& answer, const Place& at) {
  std::string why, kind = "crash";
  switch (answer.end) {
    case Answer::End::crashed:
      why = fmt::format("the code crashed: {} (signal {})", strsignal(answer.status), answer.status);
      if (answer.status == SIGKILL) why += "; most likely the machine is out of memory";
      break;
    case Answer::End::exited: why = fmt::format("the code ended the process with status {}", answer.status), kind = "exit"; break;
    default: why = "interrupted: the code did not stop, so its process was ended", kind = "interrupt"; break;
  }
  failed(kind, {{"error", why, at.file, at.line, at.file.empty() ? 0 : at.column, 1}});
  status_ = answer.end == Answer::End::crashed ? 128 + answer.status : answer.end == Answer::End::exited ? answer.status : kInterrupted;
  renew();
  return false;
}

void Session::replay() {
  // What has run of the input that failed is part of the state.
  if (!current_.steps.empty()) entries_.push_back(current_);
  const bool kept = !current_.steps.empty();
  const auto start = std::chrono::steady_clock::now();
  const auto inputs = [](std::size_t n) { return fmt::format("{} input{}", n, n == 1 ? "" : "s"); };
  // Said before it happens: whoever does not want it twice may press Ctrl-C.
  if (!entries_.empty()) print(fmt::format("running {} again, with what that does to files", inputs(entries_.size())), true);
  for (bool again = true; again;) {
    again = false;
    worker_.start();
    begin();
    for (std::size_t k = 0; k < entries_.size() && !again; ++k)
      for (Request step : entries_[k].steps) {
        step.quiet = true;
        const Answer answer = worker_.ask(step);
        if (answer.end == Answer::End::replied && answer.reply.failure.empty()) continue;
        print(fmt::format("this input does not run again and is dropped:\n{}", entries_[k].source), true);
        const bool alive = answer.end == Answer::End::replied && !answer.reply.broken;
        entries_.erase(entries_.begin() + static_cast<std::ptrdiff_t>(k));
        if (alive) --k;
        else again = true;
        break;
      }
  }
  if (kept && !entries_.empty()) {
    current_ = std::move(entries_.back());
    entries_.pop_back();
  }
  const double s = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  const std::size_t n = entries_.size() + (current_.steps.empty() ? 0 : 1);
  record_.replayed += static_cast<int>(n);
  print(n > 0 ? fmt::format("the session goes on ({:.1f} s)", s) : "the session goes on", true);
}

bool Session::load(const std::string& path, const Place& at) {
  std::error_code none;
  if (std::filesystem::is_directory(path, none)) return refuse(fmt::format("cannot read {}: it is a folder", path), at);
  std::ifstream in(path, std::ios::binary);
  if (!in) return refuse(fmt::format("cannot read {}: {}", path, std::strerror(errno)), at);
  if (loading_ >= 16) return refuse(fmt::format("{} loads itself", path), at);
  std::string text{std::istreambuf_iterator<char>(in), {}};
  if (text.starts_with("#!")) text.insert(0, "//");
  ++loading_;
  const bool good = input(text, path, 1);
  --loading_;
  return good;
}

bool Session::type(const std::string& text, const std::string& name) {
  // Item by item, so that each answer stands below what asked for it.
  sources_.add(name, 1, text);
  std::vector<std::string> lines;
  for (std::size_t at = 0; at < text.size(); at = text.find('\n', at) + 1) lines.push_back(text.substr(at, text.find('\n', at) - at));
  std::size_t shown = 0;
  const std::vector<Item> items = scan(text).items;
  const Style s = style(options_.colours);
  for (std::size_t k = 0; k < items.size(); ++k) {
    const std::size_t until = k + 1 < items.size() ? static_cast<std::size_t>(items[k + 1].line) - 1 : lines.size();
    for (bool first = true; shown < until; ++shown, first = false)
      print((first ? s.green + ">>> " : s.yellow + "... ") + s.off + lines[shown], false);
    if (!item(items[k], name)) return false;
  }
  return true;
}

bool Session::save(const std::string& path, const Place& at) {
  std::ofstream out(path, std::ios::binary);
  for (const Entry& e : entries_) out << e.source;
  out << current_.source;
  out.flush();
  if (!out) return refuse(fmt::format("cannot write {}: {}", path, std::strerror(errno)), at);
  say(fmt::format("wrote {} inputs to {}", entries_.size() + (current_.steps.empty() ? 0 : 1), path));
  return true;
}

bool Session::undo(int count, const Place& at) {
  // Values that were looked at are no steps of the way back.
  const auto skip_echoes = [&] {
    while (!entries_.empty() && entries_.back().echo) entries_.pop_back();
  };
  skip_echoes();
  if (entries_.empty()) return refuse("there is nothing to undo", at);
  std::string gone;
  for (; count > 0 && !entries_.empty(); --count) {
    gone = entries_.back().source + gone;
    entries_.pop_back();
    skip_echoes();
  }
  // What :set has set is forgotten with the inputs that did.
  settings.clear();
  for (const Entry& e : entries_)
    for (const Request& step : e.steps)
      if (step.verb == Request::Verb::set && step.texts.size() >= 2) note_setting(step.texts[0], step.texts[1]);
  replay();
  const auto trimmed = [](std::string t) {
    while (t.ends_with('\n')) t.pop_back();
    return t;
  };
  say("undone: " + trimmed(gone) + (entries_.empty() ? "" : "\nthe next :undo takes back: " + trimmed(entries_.back().source)));
  return true;
}

void Session::note_setting(const std::string& name, const std::string& value) {
  std::erase_if(settings, [&](const auto& each) { return each.first == name; });
  if (!value.empty()) settings.push_back({name, value});
}

void Session::reset() {
  entries_.clear();
  current_ = {};
  settings.clear();
  worker_.start();
  begin();
}

std::vector<std::string> Session::complete(const std::string& before) {
  if (before.starts_with(':'))
    if (const auto names = complete_command(before)) return *names;
  Request request;
  request.verb = Request::Verb::complete;
  request.texts = {before};
  const Answer answer = worker_.ask(request);
  return answer.end == Answer::End::replied ? answer.reply.names : std::vector<std::string>();
}

}  // namespace fluxion::console
