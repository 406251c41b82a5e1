// The engine is a fork without exec: the libraries are mapped and bound already, so that a new one after a crash costs its session alone.
// The front end has no threads, which a fork would lose.
#include "worker.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <stdexcept>

namespace fluxion::console {
namespace {

volatile std::sig_atomic_t interrupt_seen = 0;
void on_interrupt(int) { interrupt_seen = 1; }

/// After Ctrl-C the engine stops launches in place; host code that has not returned by then is ended with the process.
constexpr auto kGrace = std::chrono::milliseconds(1000);

struct Pipe {
  int read = -1, write = -1;
  Pipe() {
    std::array<int, 2> ends;
    if (pipe2(ends.data(), O_CLOEXEC) != 0) throw std::runtime_error("no pipe to the engine");
    read = ends[0], write = ends[1];
  }
};

}  // namespace

bool interrupted() {
  static const bool installed = [] {
    struct sigaction action{};
    action.sa_handler = on_interrupt;  // no SA_RESTART: poll() has to return
    sigaction(SIGINT, &action, nullptr);
    return true;
  }();
  (void)installed;
  const bool seen = interrupt_seen != 0;
  interrupt_seen = 0;
  return seen;
}

Worker::Worker(WorkerOptions options) : options_(std::move(options)) {
  interrupted();
  signal(SIGPIPE, SIG_IGN);
  signal(kStop, SIG_IGN);  // until an engine that has just been started listens
  start();
}
Worker::~Worker() { stop(); }

void Worker::start() {
  stop();
  hello_.reset();
  const Pipe requests, replies;
  std::optional<Pipe> out, error;
  if (options_.capture) out.emplace(), error.emplace();
  child_ = fork();
  if (child_ < 0) throw std::runtime_error("the engine cannot be started: fork failed");
  if (child_ == 0) {
    close(requests.write), close(replies.read);
    if (out) {
      dup2(out->write, STDOUT_FILENO), dup2(error->write, STDERR_FILENO);
      for (const int d : {out->read, out->write, error->read, error->write}) close(d);
    }
    if (!options_.own_input) {
      const int nothing = open("/dev/null", O_RDONLY);
      dup2(nothing, STDIN_FILENO);
      close(nothing);
    }
    serve(requests.read, replies.write, options_.engine);
  }
  close(requests.read), close(replies.write);
  to_ = requests.write, from_ = replies.read;
  if (out) {
    close(out->write), close(error->write);
    out_ = out->read, error_ = error->read;
  }
}

void Worker::stop() {
  if (child_ > 0) {
    kill(child_, SIGKILL);
    while (waitpid(child_, nullptr, 0) < 0 && errno == EINTR) {}
  }
  for (int* d : {&to_, &from_, &out_, &error_}) {
    if (*d >= 0) close(*d);
    *d = -1;
  }
  child_ = -1;
}

const Answer& Worker::hello() {
  if (!hello_) hello_ = wait_for_reply();
  return *hello_;
}

Answer Worker::end_of(int status) {
  child_ = -1;
  stop();
  Answer answer;
  answer.end = WIFSIGNALED(status) ? Answer::End::crashed : Answer::End::exited;
  answer.status = WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status);
  return answer;
}

std::optional<Answer> Worker::ended_meanwhile() {
  int status = 0;
  if (child_ <= 0 || waitpid(child_, &status, WNOHANG) != child_) return {};
  return end_of(status);
}

Answer Worker::ask(const Request& request) {
  if (child_ < 0) start();
  if (hello().end != Answer::End::replied) return *hello_;
  send(to_, pack(request));
  return wait_for_reply();
}

Answer Worker::wait_for_reply() {
  Answer answer;
  std::optional<std::chrono::steady_clock::time_point> deadline;
  const auto drain = [&](int d, std::string& to) {
    std::array<char, 4096> part;
    const ssize_t n = read(d, part.data(), part.size());
    if (n > 0) to.append(part.data(), static_cast<std::size_t>(n));
    return n > 0;
  };
  for (;;) {
    std::array<pollfd, 3> watched{{{from_, POLLIN, 0}, {out_, POLLIN, 0}, {error_, POLLIN, 0}}};
    const int ready = poll(watched.data(), options_.capture ? 3 : 1, deadline ? 20 : 1000);
    const auto now = std::chrono::steady_clock::now();
    const bool again = interrupted();
    if (again && !deadline) {
      if (isatty(STDIN_FILENO) && isatty(STDERR_FILENO)) (void)!write(STDERR_FILENO, "\n", 1);  // after the ^C
      deadline = now + kGrace;
      kill(child_, kStop);
    } else if (deadline && (again || now > *deadline)) {
      stop();
      answer.end = Answer::End::interrupted;
      return answer;
    }
    if (ready <= 0) continue;
    if (options_.capture) {
      if (watched[1].revents & POLLIN) drain(out_, answer.out);
      if (watched[2].revents & POLLIN) drain(error_, answer.error);
    }
    if (!(watched[0].revents & (POLLIN | POLLHUP))) continue;
    const auto message = receive(from_);
    const auto reply = message ? unpack_reply(*message) : std::nullopt;
    if (options_.capture)  // what is left in the pipes came before the reply
      for (const auto& [d, to] : {std::pair{out_, &answer.out}, std::pair{error_, &answer.error}}) {
        pollfd more{d, POLLIN, 0};
        while (poll(&more, 1, 0) > 0 && (more.revents & POLLIN) && drain(d, *to)) {}
      }
    if (reply) {
      answer.reply = *reply;
      return answer;
    }
    int status = 0;
    while (waitpid(child_, &status, 0) < 0 && errno == EINTR) {}
    const Answer end = end_of(status);
    answer.end = end.end, answer.status = end.status;
    return answer;
  }
}

}  // namespace fluxion::console
