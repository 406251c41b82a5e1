#include "driver.h"

#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <stdexcept>

namespace console_test {
namespace {

using Clock = std::chrono::steady_clock;

std::vector<char*> pointers(std::vector<std::string>& all) {
  std::vector<char*> out;
  for (std::string& s : all) out.push_back(s.data());
  out.push_back(nullptr);
  return out;
}

std::string contents(const std::string& file) {
  std::ifstream in(file, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

/// Without colours, cursor movements and carriage returns.
std::string plain(const std::string& text) {
  std::string out;
  for (std::size_t k = 0; k < text.size(); ++k) {
    if (text[k] == '\033' && k + 1 < text.size() && text[k + 1] == '[') {
      for (k += 2; k < text.size() && (text[k] < '@' || text[k] > '~');) ++k;
    } else if (text[k] != '\r' && text[k] != '\a') {
      out += text[k];
    }
  }
  return out;
}

}  // namespace

void set_environment(const std::string& name, const std::string& value) { setenv(name.c_str(), value.c_str(), 1); }

Outcome run(const std::vector<std::string>& arguments, const std::string& input) {
  const Folder folder;
  const std::string in = folder / "in", out = folder / "out", error = folder / "error";
  std::ofstream(in, std::ios::binary) << input;
  std::vector<std::string> all{FLUXION_CONSOLE};
  all.insert(all.end(), arguments.begin(), arguments.end());
  const auto list = pointers(all);
  const pid_t child = fork();
  if (child == 0) {
    dup2(open(in.c_str(), O_RDONLY), 0);
    dup2(open(out.c_str(), O_CREAT | O_WRONLY, 0600), 1);
    dup2(open(error.c_str(), O_CREAT | O_WRONLY, 0600), 2);
    execv(list[0], list.data());
    _exit(127);
  }
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {}
  return {WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status), contents(out), contents(error)};
}

Typed::Typed(const std::vector<std::string>& arguments) {
  std::vector<std::string> all{FLUXION_CONSOLE};
  all.insert(all.end(), arguments.begin(), arguments.end());
  const auto list = pointers(all);
  winsize size{40, 100, 0, 0};
  child_ = forkpty(&terminal_, nullptr, nullptr, &size);
  if (child_ < 0) throw std::runtime_error("no pseudo-terminal");
  if (child_ == 0) {
    setenv("TERM", "xterm-256color", 1);
    setenv("LC_ALL", "C.UTF-8", 1);
    execv(list[0], list.data());
    _exit(127);
  }
}

Typed::~Typed() {
  if (child_ > 0) {
    kill(child_, SIGKILL);
    waitpid(child_, nullptr, 0);
  }
  close(terminal_);
}

void Typed::type(const std::string& text) {
  for (std::size_t at = 0; at < text.size();) {
    const ssize_t n = write(terminal_, text.data() + at, text.size() - at);
    if (n <= 0) return;
    at += static_cast<std::size_t>(n);
  }
}

bool Typed::read_some(double seconds) {
  pollfd p{terminal_, POLLIN, 0};
  if (poll(&p, 1, static_cast<int>(seconds * 1000)) <= 0) return false;
  std::array<char, 4096> part;
  const ssize_t n = read(terminal_, part.data(), part.size());
  if (n <= 0) return false;
  raw_.append(part.data(), static_cast<std::size_t>(n));
  seen_ = plain(raw_);
  return true;
}

bool Typed::wait_for(const std::string& text, double seconds) {
  const auto end = Clock::now() + std::chrono::duration<double>(seconds);
  while (seen_.find(text) == seen_.npos) {
    const double left = std::chrono::duration<double>(end - Clock::now()).count();
    if (left <= 0) return false;
    if (!read_some(std::min(left, 0.5))) {
      int status = 0;
      if (waitpid(child_, &status, WNOHANG) == child_) {
        child_ = -1;
        return seen_.find(text) != seen_.npos;
      }
    }
  }
  return true;
}

std::string Typed::line(const std::string& text) {
  clear();
  type(text + "\n");
  // The echo of the line ends with a line break; the prompt comes after the answer.
  const auto end = Clock::now() + std::chrono::seconds(60);
  while (Clock::now() < end) {
    const std::size_t echo = seen_.find('\n');
    if (echo != seen_.npos) {
      const std::string_view after = std::string_view(seen_).substr(echo + 1);
      if (after.ends_with(">>> ") || after.ends_with("... ")) return std::string(after.substr(0, after.size() - 4));
    }
    if (!read_some(0.5)) {
      int status = 0;
      if (waitpid(child_, &status, WNOHANG) == child_) {
        child_ = -1;
        break;
      }
    }
  }
  return "NO PROMPT AFTER: " + seen_;
}

int Typed::end() {
  const auto until = Clock::now() + std::chrono::seconds(20);
  while (child_ > 0 && Clock::now() < until) {
    read_some(0.05);
    int status = 0;
    if (waitpid(child_, &status, WNOHANG) == child_) {
      child_ = -1;
      return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    }
  }
  return -1;
}

Folder::Folder() {
  std::string name = (std::filesystem::temp_directory_path() / "fluxion-console-XXXXXX").string();
  if (!mkdtemp(name.data())) throw std::runtime_error("no folder");
  path_ = name;
}
Folder::~Folder() {
  std::error_code none;
  std::filesystem::remove_all(path_, none);
}

}  // namespace console_test
