// The front end's side of a session: takes inputs, has the engine run them, remembers what ran so that it can be run again, and tells
// what went wrong. The engine may die at any time; a session does not.
#pragma once
#include <string>
#include <vector>

#include "report.h"
#include "scan.h"
#include "source_text.h"
#include "worker.h"

namespace fluxion::console {

struct SessionOptions {
  bool interactive = false;  // a person types: crashes are survived, and told about on the terminal
  bool colours = false;
  bool collect = false;  // nothing is printed: Record has it
};

/// What one input came to, for those who drive the console by a program.
struct Record {
  std::vector<Shown> values;
  std::string out, error;                // what the code printed
  std::string failure, message, report;  // of the first failure: its kind, its text, and as a person would see it
  Message place;                         // in the input
  std::string warnings;                  // of the compiler, as a person would see them
  int replayed = 0;                      // inputs that were run again in the course of it
  double milliseconds = 0;
};

class Session {
 public:
  Session(WorkerOptions worker, SessionOptions options);

  /// Runs all items of `text`, which starts at this line of `file`, up to the first that fails. False where one did.
  bool input(const std::string& text, const std::string& file, int line);
  bool done() const { return done_; }
  int status() const { return status_; }
  const std::string& device() const { return device_; }
  std::vector<std::string> complete(const std::string& before);
  const Record& record() const { return record_; }

  // ---- for commands
  struct Place {
    std::string file;
    int line = 1, column = 1;
  };
  /// The answer of a command.
  void say(const std::string& text);
  /// The failure of a command.
  bool refuse(const std::string& why, const Place& at);
  /// Asks the engine; what ran is run again after a crash if it is to be remembered.
  /// `hint`: what a command takes, said at `at` where the argument is nothing of the kind.
  bool run(Request request, bool remembered, const std::string& hint, const Place& at);
  bool run(Request request, bool remembered) { return run(std::move(request), remembered, {}, {}); }
  /// An answer of the engine that is no code's; empty names where it failed.
  std::vector<std::string> query(const Request& request);
  bool load(const std::string& path, const Place& at);
  /// As if somebody typed it: shown with a prompt, then run.
  bool type(const std::string& text, const std::string& name);
  /// Calls main(), where a script that was loaded has defined it.
  bool run_main();
  bool save(const std::string& path, const Place& at);
  bool undo(int count, const Place& at);
  void reset();
  void quit(int status) { done_ = true, status_ = status; }
  SessionOptions& options() { return options_; }
  bool show_time = false;
  int tour_step = 0;                                          // the next one
  std::vector<std::pair<std::string, std::string>> settings;  // of the environment, in order
  void note_setting(const std::string& name, const std::string& value);

 private:
  struct Entry {
    std::string source;  // the items that ran
    std::vector<Request> steps;
    bool echo = false;  // it has shown a value and changed nothing
  };
  void begin();
  bool item(const Item& item, const std::string& file);
  void failed(const std::string& kind, const std::vector<Message>& messages);
  bool lost(const Answer& answer, const Place& at);
  bool lost(const Answer& answer) { return lost(answer, Place()); }
  /// Asks the engine. Where it could not try the input, another one is started and asked once more.
  Answer ask(const Request& request);
  /// Another engine takes the place of one that cannot go on, where somebody wants to.
  bool renew();
  void replay();
  void print(const std::string& text, bool error);

  Worker worker_;
  SessionOptions options_;
  std::string device_;
  SourceText sources_;
  std::vector<Entry> entries_;
  Entry current_;
  Record record_;
  bool done_ = false, has_main_ = false;
  bool told_of_copies_ = false;
  int status_ = 0, loading_ = 0;
};

/// C++ around a text of the user's, which keeps its place: "#line" before and after.
std::string around(const std::string& before, const std::string& text, const Session::Place& at, const std::string& after);

}  // namespace fluxion::console
