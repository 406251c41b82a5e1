// The prompt: editing, history, completion, and its state in colour.
#pragma once
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace fluxion::console {

/// What reading a line came to.
struct Line {
  enum class Kind : unsigned char { text, end, cancelled };
  Kind kind = Kind::text;
  std::string text;
};

class Terminal {
 public:
  /// The state of the prompt: ready, ready after an error, in the middle of an input.
  enum class State : unsigned char { ready, failed, open };
  using Complete = std::function<std::vector<std::string>(const std::string& before)>;

  /// `history`: the file it is kept in, or "".
  Terminal(std::string history, bool colours, Complete complete);
  ~Terminal();
  Line read(State state);
  /// Puts a whole input, which may have several lines, into the history and its file.
  void remember(const std::string& input);

 private:
  struct Editor;
  std::unique_ptr<Editor> editor_;  // null: plain reading
  std::string history_;
  bool colours_;
};

/// $FLUXION_HISTORY ("off": none), else a file in the user's state folder.
std::string history_file();

}  // namespace fluxion::console
