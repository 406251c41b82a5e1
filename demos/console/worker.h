// The front end's hold on the engine: starts it, asks it, notices when it dies, ends it when it does not come back.
#pragma once
#include <sys/types.h>

#include <optional>
#include <string>

#include "engine.h"
#include "wire.h"

namespace fluxion::console {

struct WorkerOptions {
  EngineOptions engine;
  bool capture = false;   // the code's standard output and error are gathered instead of printed
  bool own_input = true;  // the code may read standard input
};

/// How a question ended.
struct Answer {
  enum class End : unsigned char { replied, crashed, exited, interrupted };
  End end = End::replied;
  Reply reply;
  int status = 0;          // crashed: the signal; exited: the status
  std::string out, error;  // with `capture`: what the code printed
};

class Worker {
 public:
  explicit Worker(WorkerOptions options);
  ~Worker();
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  /// The engine's first words; waits for them.
  const Answer& hello();
  /// How the engine ended while nobody asked it anything; nothing while it lives. It is gone then.
  std::optional<Answer> ended_meanwhile();
  /// Whatever the end: unless `replied`, the engine is gone and start() makes a new one.
  Answer ask(const Request& request);
  void start();
  WorkerOptions& options() { return options_; }

 private:
  void stop();
  Answer wait_for_reply();
  Answer end_of(int status);

  WorkerOptions options_;
  pid_t child_ = -1;
  int to_ = -1, from_ = -1, out_ = -1, error_ = -1;
  std::optional<Answer> hello_;
};

/// True once after each Ctrl-C (SIGINT). The handler is installed by the first call.
bool interrupted();

}  // namespace fluxion::console
