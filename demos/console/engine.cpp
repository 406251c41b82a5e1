#include "engine.h"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <cxxabi.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <iostream>

#include "fluxion/backend.h"
#include "fluxion/cancel.h"
#include "fluxion/console/host.h"
#include "host/output.h"
#include "interpreter.h"
#include "memory_limit.h"

namespace fluxion::console {
namespace {

/// Standard output goes nowhere while it lives: for inputs that are run again.
class Silence {
 public:
  explicit Silence(bool on) {
    if (!on) return;
    std::fflush(stdout), std::cout.flush();
    for (int k = 0; k < 2; ++k) {
      kept_[k] = dup(k + 1);
      const int nowhere = open("/dev/null", O_WRONLY);
      dup2(nowhere, k + 1);
      close(nowhere);
    }
  }
  ~Silence() {
    if (kept_[0] < 0) return;
    std::fflush(stdout), std::cout.flush();
    for (int k = 0; k < 2; ++k) dup2(kept_[k], k + 1), close(kept_[k]);
  }

 private:
  int kept_[2] = {-1, -1};
};

/// What the code left running on the devices: its errors belong to this input.
void wait_for_devices(Reply& reply) {
  const std::string before = reply.failure;
  try {
    Device::best().wait();
  } catch (...) {
    take_exception(reply);
    if (!before.empty()) reply.failure = before;
  }
}

/// Variables with their types and values, most of it code of the session itself.
void list_variables(Interpreter& session, Reply& reply) {
  const auto all = session.names(false);
  const auto shows = [](const Interpreter::Variable& v) { return "::fluxion::console::variable(\"" + v.name + "\", " + v.name + ");\n"; };
  const auto run = [&](const std::string& code) {
    Reply one;
    open_output(one, false, true);
    session.run({kBody + code}, one);
    close_output();
    return one;
  };
  std::string code;
  for (const auto& v : all) code += shows(v);
  Reply values;
  if (!all.empty()) values = run(code);
  if (!values.failure.empty()) {  // one of them cannot be shown, such as a name that a namespace has, too: each on its own
    values = {};
    for (const auto& v : all) {
      const Reply one = run(shows(v));
      if (one.failure.empty()) values.names.insert(values.names.end(), one.names.begin(), one.names.end());
      else
        values.names.insert(values.names.end(),
                            {v.name, "cannot be shown: " + (one.messages.empty() ? one.failure : one.messages[0].text)});
    }
  }
  for (const auto& v : all) {
    std::string value;
    for (std::size_t k = 0; k + 1 < values.names.size(); k += 2)
      if (values.names[k] == v.name) value = values.names[k + 1];
    reply.names.insert(reply.names.end(), {v.name, pretty_type(v.type), value});
  }
}

/// A name of the environment, checked where the library can check it.
void set(const std::string& name, const std::string& value, Reply& reply) {
  try {
    if (name == "FLUXION_DEVICE" && !value.empty()) reply.names.push_back(text_of(Device::named(value)));
    if (name == "FLUXION_THREADS") set_cpu_threads(std::atoi(value.c_str()));
    if (value.empty()) unsetenv(name.c_str());
    else setenv(name.c_str(), value.c_str(), 1);
  } catch (const std::exception& e) {
    reply.failure = "command";
    reply.messages.push_back({"error", e.what(), {}, 0, 0, 0});
  }
}

void list_devices(Reply& reply) {
  for (const std::string& name : Device::names()) {
    std::string text;
    try {
      text = Device::named(name).description();
    } catch (const std::exception& e) {
      text = e.what();
      if (const std::string own = "device " + name + ": "; text.starts_with(own)) text.erase(0, own.size());
      text.insert(0, "not available: ");
    }
    reply.names.insert(reply.names.end(), {name, text, Device::best().name() == name ? "*" : ""});
  }
}

void answer(Interpreter& session, const Request& request, bool direct, Reply& reply) {
  switch (request.verb) {
    case Request::Verb::run: {
      const Silence silence(request.quiet);
      open_output(reply, direct, request.quiet);
      session.run(request.texts, reply);
      wait_for_devices(reply);
      close_output();
      if (reply.failure == "exception") reply.broken = !can_fork();  // memory may have run out
      return;
    }
    case Request::Verb::complete: reply.names = session.complete(request.texts.empty() ? "" : request.texts[0]); return;
    case Request::Verb::variables: list_variables(session, reply); return;
    case Request::Verb::set:
      if (request.texts.size() >= 2) set(request.texts[0], request.texts[1], reply);
      else list_devices(reply);
      return;
  }
}

}  // namespace

namespace {

/// What the code has thrown is in `reply` by then. Anything else that is thrown is the engine's own, which may not be whole any more.
void answer_safely(Interpreter& session, const Request& request, bool direct, Reply& reply) {
  const auto fails = [&](const char* kind, const std::exception* e) {
    close_output();
    reply.failure = kind;
    reply.messages = {{"error", e ? e->what() : "the engine failed", {}, 0, 0, 0}};
    reply.broken = true;
  };
  try {
    answer(session, request, direct, reply);
  } catch (const Untried& e) { fails("untried", &e); } catch (const std::exception& e) {
    fails("engine", &e);
  } catch (const abi::__forced_unwind&) { throw; } catch (...) {
    fails("engine", nullptr);
  }
}

/// To the end of the process.
void listen(int requests, int replies, const EngineOptions& options) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  const rlimit no_core{0, 0};
  setrlimit(RLIMIT_CORE, &no_core);
  if (std::FILE* f = std::fopen("/proc/self/oom_score_adj", "w")) {  // when memory runs out, this process goes first
    std::fputs("1000", f);
    std::fclose(f);
  }
  signal(SIGINT, SIG_IGN);  // the front end decides what an interrupt means
  signal(kStop, [](int) { cancel(); });
  setenv("FLUXION_INTERRUPT", "1", 0);
  signal(SIGPIPE, SIG_DFL);
  std::unique_ptr<Interpreter> session;
  Reply hello;
  try {
    session = std::make_unique<Interpreter>(options.prelude.arguments, options.prelude.library);
    // The first expression reads most of the prelude; better while the user is still typing.
    Reply first;
    open_output(first, false, true);
    session->run({std::string(1, kBody) + "(0), ::fluxion::console::Printed();"}, first);
    close_output();
    if (!first.failure.empty()) throw std::runtime_error(first.messages.empty() ? first.failure : first.messages[0].text);
    hello.names.push_back(Device::best().name() + ": " + Device::best().description());
  } catch (const std::exception& e) {
    hello.failure = "start";
    hello.messages.push_back({"error", e.what(), {}, 0, 0, 0});
  }
  if (!send(replies, pack(hello)) || !session) _exit(1);
  for (;;) {
    const auto message = receive(requests);
    if (!message) break;
    const auto request = unpack_request(*message);
    if (!request) break;
    Reply reply;
    resume();  // of an interrupt that came too late
    const auto start = std::chrono::steady_clock::now();
    const pid_t self = getpid();
    answer_safely(*session, *request, options.direct, reply);
    if (getpid() != self) {  // a process that the code has forked, and that has come back from it: not ours to go on with
      std::cout.flush();
      std::fflush(nullptr);
      _exit(0);
    }
    reply.milliseconds = std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
    if (!send(replies, pack(reply))) break;
  }
  std::cout.flush();
  std::fflush(nullptr);
  _exit(0);  // the session's destructors are of no use any more, and code that it made may still run in other threads
}

}  // namespace

void serve(int requests, int replies, const EngineOptions& options) {
  try {
    listen(requests, replies, options);
  } catch (...) {}  // no memory for the reply, say
  _exit(1);         // above this is the front end, whose part a copy of it must never take
}

}  // namespace fluxion::console
