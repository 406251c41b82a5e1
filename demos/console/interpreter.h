// A C++ session: text in, effects out. Wraps clang's Interpreter, whose headers are seen by interpreter.cpp and symbols.cpp alone.
#pragma once
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "wire.h"

namespace fluxion::console {

struct Trial;

/// No copy of the process can be made to try an input in: the session is as before.
struct Untried : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// What is being thrown becomes the failure of `reply`; to be called in a handler.
void take_exception(Reply& reply);

class Interpreter {
 public:
  /// `arguments`: of the compiler, as the prelude was compiled with; `library`: what the precompiled prelude has as code.
  /// Throws std::runtime_error where a session cannot be made.
  Interpreter(const std::vector<std::string>& arguments, const std::string& library);
  ~Interpreter();

  /// Runs the first of `codes` that compiles. A name that was defined before is defined anew: what was compiled with the old one
  /// keeps it. After a failure no name of this input is left.
  void run(const std::vector<std::string>& codes, Reply& reply);

  struct Variable {
    std::string name, type;
  };
  /// What the user has defined and can still name, in order: variables, and with `all` functions and types.
  std::vector<Variable> names(bool all) const;
  /// How the last word of `text` may go on, as whole words.
  std::vector<std::string> complete(const std::string& text);

  struct State;  // interpreter_state.h

 private:
  /// Compiles and links this in a copy of the process.
  Trial try_out(const std::string& code);
  /// The same, after making what it needs: provide(), promise().
  Trial try_linked(const std::string& code);
  /// Which of `codes` is to be run; codes.size() where none can be, with the reason in `reply`.
  std::size_t choose(const std::vector<std::string>& codes, Reply& reply);
  /// Makes inline variables of headers with these symbols; false where they are something else.
  bool provide(const std::vector<std::string>& symbols);
  /// Makes texts of types that are to be printed (describe.cpp), by types and code in turns; false where that was tried before.
  bool describe(const std::vector<std::string>& wanted);
  /// Lets code that uses functions of the session be linked before these are defined; false where it is something else that misses.
  bool promise(const std::vector<std::string>& symbols);
  std::unique_ptr<State> state_;
};

}  // namespace fluxion::console
