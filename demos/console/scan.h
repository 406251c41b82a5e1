// Reading C++ as far as a prompt needs it: is an input finished, and where do its statements and declarations end. No parsing: brackets,
// strings, comments and words. What each of them is, clang decides (forms.h).
#pragma once
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace fluxion::console {

/// A part of an input that runs by itself, without what surrounds it.
struct Item {
  /// What it looks like (guess.h).
  enum class Kind : unsigned char {
    declaration,
    outermost,  // namespaces, directives, specialisations: what cannot stand inside of a namespace
    statement,
    expression,  // without a semicolon
    directive,   // #include
    command
  };
  Kind kind = Kind::statement;
  std::string text;
  bool closed = false;       // it has its semicolon, or ends with the brace of a body
  int line = 1, column = 1;  // where it starts
};

struct Scan {
  std::vector<Item> items;
  /// What is still open, "" when the input is finished: "(", "{", "[", "\"", "/*", "..." (an operator, or a head without a
  /// body; an empty line ends what has a head alone)
  std::string open;
};

/// `line`: the number of the first line.
Scan scan(std::string_view text, int line = 1);

/// "k.over(n)(x, y)" as {"k.over(n)", "x, y"}; nothing where the expression does not end with a call.
std::optional<std::pair<std::string, std::string>> split_call(std::string_view expression);

}  // namespace fluxion::console
