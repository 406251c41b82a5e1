#include "keys.h"

#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cwchar>
#include <deque>
#include <string>

namespace fluxion::console {
namespace {

constexpr std::string_view kPaste = "\033[200~", kPasted = "\033[201~";

volatile std::sig_atomic_t resized = 0;
std::deque<char> waiting;  // read ahead
bool pasting = false;

/// A byte within so many milliseconds (-1: for ever); 0 at the end of input, -1 where none came.
int next_byte(char& byte, int milliseconds) {
  pollfd p{STDIN_FILENO, POLLIN, 0};
  const int ready = poll(&p, 1, milliseconds);
  if (ready <= 0) return -1;
  return static_cast<int>(::read(STDIN_FILENO, &byte, 1));
}

/// After an escape: the marks around what is pasted are taken out, everything else is kept.
void look_ahead() {
  std::string seen = "\033";
  char byte = 0;
  while ((kPaste.starts_with(seen) || kPasted.starts_with(seen)) && seen.size() < kPaste.size()) {
    if (next_byte(byte, 30) != 1) break;
    seen += byte;
  }
  if (seen == kPaste) pasting = true;
  else if (seen == kPasted) pasting = false;
  else waiting.insert(waiting.end(), seen.begin(), seen.end());
}

}  // namespace

int Keys::read(libedit::EditLine* line, wchar_t* out) {
  std::mbstate_t state{};
  for (;;) {
    char byte = 0;
    if (!waiting.empty()) {
      byte = waiting.front();
      waiting.pop_front();
    } else {
      const int got = next_byte(byte, -1);
      if (got < 0 && errno == EINTR) {
        if (resized) {
          resized = 0;
          libedit::functions()->resize(line);
          libedit::functions()->set(line, libedit::kDraw);
        }
        continue;
      }
      if (got <= 0) return got;
      if (byte == '\033') {
        look_ahead();
        continue;
      }
      if (byte == '\t' && pasting) {
        waiting.insert(waiting.end(), 4, ' ');
        continue;
      }
    }
    const std::size_t n = std::mbrtowc(out, &byte, 1, &state);
    if (n == static_cast<std::size_t>(-2)) continue;  // more bytes of this character come
    if (n == static_cast<std::size_t>(-1)) *out = L'?';
    return 1;
  }
}

void Keys::begin() {
  static const bool installed = [] {
    struct sigaction action{};
    action.sa_handler = [](int) { resized = 1; };  // no SA_RESTART: poll() has to return
    return sigaction(SIGWINCH, &action, nullptr) == 0;
  }();
  (void)installed;
  pollfd more{STDIN_FILENO, POLLIN, 0};
  if (poll(&more, 1, 0) <= 0) pasting = false;  // else it goes on: a line for each
  std::fputs("\033[?2004h", stdout);
  std::fflush(stdout);
}

void Keys::end() {
  std::fputs("\033[?2004l", stdout);
  std::fflush(stdout);
}

}  // namespace fluxion::console
