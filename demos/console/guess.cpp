#include "guess.h"

#include "words.h"

namespace fluxion::console {
namespace {

using namespace std::string_view_literals;

constexpr std::array kBlockWords = {"if"sv, "for"sv, "while"sv, "do"sv, "switch"sv, "try"sv, "else"sv, "catch"sv};
constexpr std::array kClassWords = {"struct"sv, "class"sv, "union"sv, "enum"sv};
constexpr std::array kDeclarationWords = {"using"sv,     "typedef"sv,      "template"sv,  "namespace"sv,    "static"sv,
                                          "inline"sv,    "constexpr"sv,    "consteval"sv, "const"sv,        "extern"sv,
                                          "constinit"sv, "thread_local"sv, "auto"sv,      "volatile"sv,     "mutable"sv,
                                          "concept"sv,   "register"sv,     "explicit"sv,  "static_assert"sv};
constexpr std::array kTypeWords = {"bool"sv,    "char"sv,     "short"sv,  "int"sv,  "long"sv,    "float"sv,    "double"sv,
                                   "wchar_t"sv, "unsigned"sv, "signed"sv, "void"sv, "char8_t"sv, "char16_t"sv, "char32_t"sv};
/// Words that begin or join expressions and statements, hence are neither a type nor a name.
constexpr std::array kExpressionWords = {
    "throw"sv,    "new"sv,      "delete"sv, "sizeof"sv, "alignof"sv,     "typeid"sv,           "not"sv,      "compl"sv,
    "and"sv,      "or"sv,       "xor"sv,    "bitand"sv, "bitor"sv,       "not_eq"sv,           "and_eq"sv,   "or_eq"sv,
    "this"sv,     "nullptr"sv,  "true"sv,   "false"sv,  "static_cast"sv, "const_cast"sv,       "co_await"sv, "co_yield"sv,
    "requires"sv, "goto"sv,     "return"sv, "break"sv,  "continue"sv,    "reinterpret_cast"sv, "case"sv,     "default"sv,
    "noexcept"sv, "operator"sv, "asm"sv,    "xor_eq"sv, "co_return"sv,   "dynamic_cast"sv};

std::size_t blanks(std::string_view t, std::size_t k) {
  while (k < t.size() && is_space(t[k])) ++k;
  return k;
}

/// Behind the bracket that closes the one at `k`; npos where it stays open.
std::size_t close_of(std::string_view t, std::size_t k) {
  int depth = 0;
  while (k < t.size()) {
    if (const Skipped s = skip(t, k); s.end != k) {
      k = s.end;
      continue;
    }
    const char c = t[k++];
    if (c == '(' || c == '[' || c == '{') ++depth;
    if ((c == ')' || c == ']' || c == '}') && --depth == 0) return k;
  }
  return t.npos;
}
/// Behind the `>` of template arguments that begin at `k`; npos where this is a comparison.
std::size_t arguments_end(std::string_view t, std::size_t k) {
  int depth = 0;
  for (; k < t.size() && t[k] != ';'; ++k) {
    if (t[k] == '(' || t[k] == '[' || t[k] == '{') {
      k = close_of(t, k);
      if (k == t.npos) return k;
      --k;
      continue;
    }
    if (t.substr(k).starts_with("||") || t.substr(k).starts_with("==")) return t.npos;
    if (is_word(t[k])) {
      const std::string_view word = word_at(t, k);
      if (one_of(word, kExpressionWords) && word != "sizeof" && word != "true" && word != "false" && word != "nullptr") return t.npos;
      k += word.size() - 1;
      continue;
    }
    if (t[k] == '<') ++depth;
    if (t[k] == '>' && --depth == 0) return k + 1;
  }
  return t.npos;
}

/// Without attributes and comments in front.
std::string_view core(std::string_view t) {
  for (std::size_t k = 0;;) {
    k = blanks(t, k);
    const Skipped s = k < t.size() ? skip(t, k) : Skipped{k};
    if (s.comment) k = s.end;
    else if (t.substr(std::min(k, t.size())).starts_with("[[")) k = std::min(close_of(t, k), t.size());
    else return t.substr(std::min(k, t.size()));
  }
}

/// The brackets of a function's parameters, "" where the text does not end like the head of one: `f(int a) const`, `f() -> int`.
std::string_view parameters(std::string_view t) {
  for (std::size_t k = 0; k < t.size();) {
    if (const Skipped s = skip(t, k); s.end != k) {
      k = s.end;
      continue;
    }
    if (t[k] == '=' || t[k] == '{' || t[k] == '[') return {};
    if (t[k] != '(') {
      ++k;
      continue;
    }
    const std::size_t end = close_of(t, k);
    if (end == t.npos) return {};
    std::size_t after = blanks(t, end);
    for (std::string_view word = word_at(t, after); word == "const" || word == "noexcept"; word = word_at(t, after))
      after = blanks(t, after + word.size());
    const std::string_view rest = t.substr(after);
    if (rest.empty() || rest.starts_with("//") || (rest.starts_with("->") && blanks(rest, 2) < rest.size())) return t.substr(k, end - k);
    k = end;
  }
  return {};
}

}  // namespace

bool begins_statement(std::string_view word) { return one_of(word, kBlockWords); }
bool names_class(std::string_view word) { return one_of(word, kClassWords); }
bool begins_declaration(std::string_view word) { return one_of(word, kDeclarationWords); }
bool names_builtin_type(std::string_view word) { return one_of(word, kTypeWords); }

bool is_declaration(std::string_view text) {
  const std::string_view first = word_at(core(text), 0);
  return one_of(first, kDeclarationWords) || one_of(first, kClassWords);
}

bool looks_outermost(std::string_view text) {
  std::string_view t = core(text);
  // `int P::f() {`: a member of a class from before; a qualified name right before the first bracket, with a type in front.
  const std::size_t bracket = t.find('('), qualified = t.substr(0, bracket).rfind("::");
  if (bracket != t.npos && qualified != t.npos && t.substr(0, bracket).find_first_of("=<{") == t.npos &&
      t.substr(0, qualified).find(' ') != t.npos && t.substr(qualified, bracket - qualified).find(' ') == t.npos)
    return true;
  if (t.starts_with("inline namespace")) return true;
  if (word_at(t, 0) == "namespace") {
    const std::size_t k = blanks(t, 9);
    return k >= t.size() || t[k] != '{';  // an unnamed one may stand anywhere
  }
  if (word_at(t, 0) == "using") return word_at(t, blanks(t, 5)) == "namespace";
  if (word_at(t, 0) != "template") return false;
  std::size_t k = blanks(t, 8);  // template <> struct A<int>: a specialisation; template struct A<int>: an instantiation
  if (k >= t.size() || t[k] != '<') return true;
  k = blanks(t, k + 1);
  return k < t.size() && t[k] == '>';
}

bool looks_like_declaration(std::string_view text) {
  const std::string_view t = core(text);
  std::string_view first = word_at(t, 0);
  if (one_of(first, kDeclarationWords) || one_of(first, kClassWords)) return true;
  if (first.empty() ? !t.starts_with("::") : one_of(first, kBlockWords) || one_of(first, kExpressionWords) || is_digit(first[0]))
    return false;
  std::size_t at = first.size();
  if (first == "decltype" || first == "typename" || first == "alignas") {
    at = blanks(t, at);
    if (first == "typename") return true;
    at = at < t.size() && t[at] == '(' ? close_of(t, at) : t.npos;
    if (at == t.npos) return false;
  }
  for (std::string_view last = first;;) {
    at = blanks(t, at);
    if (t.substr(at).starts_with("::")) {
      at = blanks(t, at + 2);
      last = word_at(t, at);
      at += last.size();
      continue;
    }
    if (at < t.size() && t[at] == '<' && last != "operator") {
      at = arguments_end(t, at);
      if (at == t.npos) return false;
      continue;
    }
    bool pointer = false;
    while (at < t.size() && (t[at] == '*' || t[at] == '&' || is_space(t[at]))) pointer |= !is_space(t[at++]);
    std::string_view name = word_at(t, at);
    if (name == "const" || name == "volatile") {
      at += name.size();
      continue;
    }
    if (t.substr(at).starts_with("(*") || t.substr(at).starts_with("(&")) return one_of(first, kTypeWords);  // int (*f)(int)
    if (name == "operator") return true;
    if (name.empty() || is_digit(name[0]) || one_of(name, kBlockWords) || one_of(name, kExpressionWords)) return false;
    if (one_of(first, kTypeWords)) return true;
    at = blanks(t, at + name.size());
    // `a * b` and `a & b` are values where nothing is made of them
    return !pointer || (at < t.size() && (t[at] == '=' || t[at] == '(' || t[at] == '{') && !t.substr(at).starts_with("=="));
  }
}

bool defines_main(std::string_view text) {
  const std::string_view t = core(text);
  const std::size_t name = blanks(t, 3), bracket = blanks(t, name + 4);
  return t.ends_with('}') && word_at(t, 0) == "int" && word_at(t, name) == "main" && bracket < t.size() && t[bracket] == '(';
}

bool is_head(std::string_view text) {
  std::string_view t = core(text);
  while (!t.empty() && is_space(t.back())) t.remove_suffix(1);
  if (t.empty() || t.find(';') != t.npos) return false;
  for (const char* word : {"inline", "typedef"})
    if (word_at(t, 0) == word) t = core(t.substr(word_at(t, 0).size()));
  std::string_view first = word_at(t, 0);
  if (first == "template") {
    const std::size_t k = blanks(t, 8), end = k < t.size() && t[k] == '<' ? arguments_end(t, k) : t.npos;
    if (end == t.npos) return false;
    t = core(t.substr(end));
    first = word_at(t, 0);
  }
  if (one_of(first, kClassWords) || first == "namespace") {
    if (t.find_first_of("={(") != t.npos) return false;
    // NAME, final, : bases; a second name is a variable's
    std::size_t at = blanks(t, first.size());
    if (word_at(t, at) == "class" || word_at(t, at) == "struct") at = blanks(t, at + word_at(t, at).size());
    const std::string_view name = word_at(t, at);
    at = blanks(t, at + name.size());
    if (at < t.size() && t[at] == '<') at = blanks(t, std::min(arguments_end(t, at), t.size()));
    return at >= t.size() || t[at] == ':' || t.substr(at).starts_with("//") || word_at(t, at) == "final";
  }
  if (first == "extern" && t.ends_with('"')) return true;
  std::string_view in = parameters(t);
  if (in.empty()) return false;
  in = in.substr(1, in.size() - 2);
  in = in.substr(blanks(in, 0));
  const std::string_view type = word_at(in, 0);
  const bool declared = looks_like_declaration(t) || one_of(first, kDeclarationWords);
  if (in.empty() || type.size() == in.size()) {
    // `int f()`; `P::~P()`; but `a::f()` and `P p(x)` are complete
    const bool nothing = in.empty() || type == "void";
    return (nothing || one_of(type, kTypeWords)) && (declared || t.find("::~") != t.npos);
  }
  if (!declared && t.substr(0, t.find('(')).find("::") == t.npos) return false;
  return (one_of(type, kTypeWords) && type.size() < in.size() && in[type.size()] != '(') || looks_like_declaration(in);
}

}  // namespace fluxion::console
