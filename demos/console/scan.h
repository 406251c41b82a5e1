// Reading C++ as far as a prompt needs it: is an input finished, which statements does it consist of, and which of those are
// expressions whose value is to be printed. No parsing: brackets, strings, comments and the first words of a statement.
#pragma once
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace fluxion::console {

/// A part of an input that runs by itself, without what surrounds it.
struct Item {
  enum class Kind : unsigned char {
    declaration,
    outermost,  // namespaces, directives, specialisations: what cannot stand inside of a namespace
    statement,
    expression,
    command
  };
  Kind kind = Kind::statement;
  std::string text;
  int line = 1, column = 1;  // where it starts
};

struct Scan {
  std::vector<Item> items;
  /// What is still open, "" when the input is finished: "(", "{", "[", "\"", "/*", "..." (an operator, or a header without a body)
  std::string open;
};

/// `line`: the number of the first line.
Scan scan(std::string_view text, int line = 1);

/// "k.over(n)(x, y)" as {"k.over(n)", "x, y"}; nothing where the expression does not end with a call.
std::optional<std::pair<std::string, std::string>> split_call(std::string_view expression);

}  // namespace fluxion::console
