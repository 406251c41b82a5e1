#include "forms.h"

#include "captures.h"
#include "guess.h"

namespace fluxion::console {

std::vector<std::string> forms(const Item& item, const Session::Place& at) {
  if (item.kind == Item::Kind::directive) return {around("", item.text, at, "")};
  // A semicolon that was forgotten stands on a line of its own: a comment may be the end of the text.
  const std::string end = item.closed ? "" : ";";
  std::string global = without_captures(item.text);
  if (defines_main(item.text)) global.insert(global.size() - 1, "return 0; ");
  const auto declaration = [&] { return kDeclaration + around("", global, at, end); };
  const auto outermost = [&] { return kOutermost + around("", global, at, end); };
  const auto value = [&] { return kBody + around("(", global, at, "), ::fluxion::console::Printed();"); };
  std::vector<std::string> out;
  const auto statement = [&] {
    out.push_back(kStatement + around("", item.text, at, end));
    if (global != item.text) out.push_back(kStatement + around("", global, at, end));
  };
  switch (item.kind) {
    case Item::Kind::outermost:
      out = {outermost(), declaration()};
      if (!is_declaration(item.text)) statement();
      break;
    case Item::Kind::declaration:
      out = {declaration(), outermost()};
      if (is_declaration(item.text)) break;
      if (item.closed) statement();
      else out.push_back(value());
      break;
    case Item::Kind::statement:
      statement();
      out.push_back(declaration()), out.push_back(outermost());
      break;
    default: out = {value(), declaration(), outermost(), kType + around("", global, at, end)};
  }
  return out;
}

}  // namespace fluxion::console
