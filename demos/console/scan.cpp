// One pass over the characters. What is inside of brackets, strings and comments is never looked at, so that `;` in a lambda or a
// `//` in a string mean nothing here.
#include "scan.h"

#include <algorithm>
#include <array>
#include <cctype>

namespace fluxion::console {
namespace {

bool is_word(char c) { return std::isalnum(static_cast<unsigned char>(c)) || c == '_'; }
bool is_space(char c) { return std::isspace(static_cast<unsigned char>(c)) != 0; }
template <std::size_t N> bool one_of(std::string_view word, const std::array<std::string_view, N>& list) {
  return std::find(list.begin(), list.end(), word) != list.end();
}

constexpr std::array<std::string_view, 9> kBlockWords = {"if", "for", "while", "do", "switch", "try", "namespace", "else", "extern"};
constexpr std::array<std::string_view, 4> kClassWords = {"struct", "class", "union", "enum"};
constexpr std::array<std::string_view, 12> kDeclarationWords = {"using",     "typedef", "template", "namespace", "static", "inline",
                                                                "constexpr", "const",   "extern",   "constinit", "return", "auto"};
constexpr std::array<std::string_view, 13> kValueWords = {"throw",    "new",  "delete", "sizeof",  "not",       "break",   "continue",
                                                          "co_yield", "goto", "typeid", "alignof", "co_return", "co_await"};
constexpr std::array<std::string_view, 10> kTypeWords = {"bool",  "char",   "short",    "int",    "long",
                                                         "float", "double", "unsigned", "signed", "void"};

class Scanner {
 public:
  Scanner(std::string_view text, int line) : text_(text), line_(line) {}

  Scan run() {
    while (skip_blank()) {
      start();
      if (peek() == '#') directive();
      else if (peek() == ':' && peek(1) != ':') command();
      else statement();
    }
    return std::move(out_);
  }

 private:
  char peek(std::size_t ahead = 0) const { return at_ + ahead < text_.size() ? text_[at_ + ahead] : '\0'; }
  bool done() const { return at_ >= text_.size(); }
  void next() {
    if (text_[at_] == '\n') ++line_, line_start_ = at_ + 1;
    ++at_;
  }

  /// Steps over a comment; true when there was one.
  bool comment() {
    if (peek() != '/' || (peek(1) != '/' && peek(1) != '*')) return false;
    if (peek(1) == '/') {
      while (!done() && peek() != '\n') next();
      return true;
    }
    next(), next();
    while (!done() && !(peek() == '*' && peek(1) == '/')) next();
    if (done()) out_.open = "/*";
    else next(), next();
    return true;
  }
  bool skip_blank() {
    while (!done()) {
      if (is_space(peek()) || peek() == ';') next();
      else if (!comment()) return true;
    }
    return false;
  }
  /// A string, a raw string or a character; true when there was one.
  bool literal() {
    const char quote = peek();
    if (quote != '"' && quote != '\'') return false;
    const std::size_t begin = at_;
    if (quote == '\'' && begin > 0 && is_word(text_[begin - 1]) && is_word(peek(1))) {  // 1'000
      next();
      return true;
    }
    next();
    if (quote == '"' && begin > 0 && text_[begin - 1] == 'R') {
      std::string end = ")";
      while (!done() && peek() != '(') end += peek(), next();
      end += '"';
      const std::size_t found = text_.find(end, at_);
      if (found == text_.npos) out_.open = "R\"";
      while (!done() && at_ < (found == text_.npos ? text_.size() : found + end.size())) next();
      return true;
    }
    while (!done() && peek() != quote && peek() != '\n') {
      if (peek() == '\\' && at_ + 1 < text_.size()) next();
      next();
    }
    if (!done() && peek() == quote) next();  // else: the compiler says that a quote is missing
    return true;
  }

  void start() {
    begin_ = at_;
    item_ = {};
    item_.line = line_;
    item_.column = static_cast<int>(at_ - line_start_) + 1;
  }
  void finish(Item::Kind kind) {
    std::string_view t = text_.substr(begin_, at_ - begin_);
    while (!t.empty() && is_space(t.back())) t.remove_suffix(1);
    item_.text = std::string(t);
    if (kind != Item::Kind::command && !t.starts_with('#') && declares(t)) {
      // A declaration whose `;` was forgotten is one all the same; a function's body needs none.
      if (kind == Item::Kind::expression) item_.text += "\n;";
      kind = outermost(t) ? Item::Kind::outermost : Item::Kind::declaration;
    }
    item_.kind = kind;
    out_.items.push_back(std::move(item_));
  }
  void directive() {
    while (!done() && peek() != '\n') {
      if (peek() == '\\' && peek(1) == '\n') next();
      if (!comment()) next();
    }
    if (text_.substr(begin_, at_ - begin_).ends_with('\\')) out_.open = "\\";
    finish(Item::Kind::outermost);
  }
  /// To the end of the line, or as far as brackets are open.
  void command() {
    for (int depth = 0; !done();) {
      if (literal()) continue;
      const char c = peek();
      if (c == '\n' && depth <= 0) break;
      if (c == '(' || c == '{' || c == '[') ++depth;
      if (c == ')' || c == '}' || c == ']') --depth;
      next();
      if (done() && depth > 0) out_.open = "(";
    }
    finish(Item::Kind::command);
  }

  void statement() {
    std::string first, last;  // at depth 0: the first word or bracket; the last word, bracket, or character of an operator
    std::string brackets;
    bool assigned = false, called = false, is_class = false;
    while (!done()) {
      if (peek() == '\n' && brackets.empty() && line_ends(first, last) && !is_class) {
        finish(Item::Kind::expression);
        return;
      }
      if (is_space(peek())) {
        next();
        continue;
      }
      if (comment()) continue;
      if (literal()) {
        if (brackets.empty()) last = "\"";
        if (first.empty()) first = last;
        continue;
      }
      const char c = peek();
      if (is_word(c)) {
        std::string word;
        const bool number = std::isdigit(static_cast<unsigned char>(c)) != 0;
        while (!done() && (is_word(peek()) || (number && peek() == '.'))) word += peek(), next();
        if (peek() == '"' && word.ends_with('R')) continue;  // a raw string comes
        if (!brackets.empty()) continue;
        if (one_of(word, kClassWords) && (first.empty() || last == ">" || one_of(last, kDeclarationWords))) is_class = true;
        if (first.empty()) first = word;
        last = word;
        continue;
      }
      next();
      const std::string mark(1, c);
      if (c == '(' || c == '[' || c == '{') {
        if (brackets.empty()) {
          if (first.empty()) first = mark;
          if (c == '(') called = true;
          last = mark;
        }
        brackets += c;
        continue;
      }
      if (c == ')' || c == ']' || c == '}') {
        if (!brackets.empty()) brackets.pop_back();
        if (!brackets.empty()) continue;
        last = mark;
        if (c == '}' && !is_class && !assigned && ends_block(first, called)) {
          // A function without a type in front is a constructor, outside of its class.
          finish(one_of(first, kBlockWords) || first == "{" ? Item::Kind::statement : Item::Kind::outermost);
          return;
        }
        continue;
      }
      if (!brackets.empty()) continue;
      if (c == ';') {
        if (goes_on_with(first)) continue;
        finish(Item::Kind::statement);
        return;
      }
      if (first.empty()) first = mark;
      const bool compares = peek() == '=' || last == "=" || last == "!" || last == "<" || last == ">";
      if (c == '=' && last != "operator" && !compares) assigned = true;
      last = (c == '+' && last == "+") ? "++" : (c == '-' && last == "-") ? "--" : mark;
    }
    if (!brackets.empty()) out_.open = brackets.back();
    else if (out_.open.empty() && waits(first, last)) out_.open = "...";
    finish(one_of(first, kBlockWords) ? Item::Kind::statement : Item::Kind::expression);
  }

  /// Whether a declaration cannot stand inside of a namespace that is made for it.
  static bool outermost(std::string_view t) {
    // `int P::f() {`: a member of a class from before; a qualified name right before the first bracket, with a type in front.
    const std::size_t bracket = t.find('('), qualified = t.substr(0, bracket).rfind("::");
    if (bracket != t.npos && qualified != t.npos && t.substr(0, bracket).find_first_of("=<{") == t.npos &&
        t.substr(0, qualified).find(' ') != t.npos && t.substr(qualified, bracket - qualified).find(' ') == t.npos)
      return true;
    if (t.starts_with("inline namespace") || t.starts_with("namespace") || t.starts_with("extern")) return true;
    if (t.starts_with("using")) return t.find('=') == t.npos;
    if (!t.starts_with("template")) return false;
    t.remove_prefix(8);  // template <> struct A<int>: a specialisation; template struct A<int>: an instantiation
    while (!t.empty() && is_space(t.front())) t.remove_prefix(1);
    if (!t.starts_with('<')) return true;
    t.remove_prefix(1);
    while (!t.empty() && is_space(t.front())) t.remove_prefix(1);
    return t.starts_with('>');
  }

  /// Whether a statement declares something, by its first words: `auto`, `int x`, `fx::Buffer<float> x`, `P f(int a) {`.
  static bool declares(std::string_view t) {
    std::size_t at = 0;
    const auto blanks = [&] {
      while (at < t.size() && is_space(t[at])) ++at;
    };
    const auto word = [&] {
      const std::size_t begin = at;
      while (at < t.size() && is_word(t[at])) ++at;
      return t.substr(begin, at - begin);
    };
    const std::string_view first = word();
    if (one_of(first, kValueWords)) return false;
    if (one_of(first, kDeclarationWords) || one_of(first, kClassWords) || first == "namespace") return first != "return";
    if (first.empty() ? !t.starts_with("::")
                      : one_of(first, kBlockWords) || first == "extern" || std::isdigit(static_cast<unsigned char>(first[0])))
      return first == "extern";
    std::size_t named = at;  // the end of the type's name and arguments
    for (std::string_view last = first;; named = at) {
      blanks();
      if (t.substr(at).starts_with("::")) {
        at += 2;
        last = word();
        continue;
      }
      if (at < t.size() && t[at] == '<' && last != "operator") {  // arguments of a template, unless they do not end
        int depth = 0;
        std::size_t k = at;
        for (; k < t.size() && t[k] != ';'; ++k) {
          if (t[k] == '<') ++depth;
          if (t[k] == '>' && --depth == 0) break;
        }
        if (k >= t.size() || t[k] != '>') return false;
        at = k + 1;
        continue;
      }
      while (at < t.size() && (t[at] == '*' || t[at] == '&' || is_space(t[at]))) ++at;
      const std::string_view name = word();
      if (name.empty() || one_of(name, kBlockWords)) return false;
      if (one_of(first, kTypeWords)) return true;
      blanks();
      // `a * b` and `a & b` are values where nothing is made of them
      const auto begin = static_cast<std::size_t>(name.data() - t.data());
      const bool pointer = t.substr(named, begin - named).find_first_of("*&") != std::string_view::npos;
      return !pointer || (at < t.size() && (t[at] == '=' || t[at] == '(' || t[at] == '{') && !t.substr(at).starts_with("=="));
    }
  }

  /// Whether the end of this line ends the statement: an expression without a semicolon, which the next line does not go on with.
  bool line_ends(const std::string& first, const std::string& last) const {
    if (first.empty() || waits(first, last) || one_of(first, kDeclarationWords) || one_of(first, kClassWords) ||
        one_of(first, kBlockWords) || one_of(first, kTypeWords))
      return false;
    Scanner ahead(text_, line_);
    ahead.at_ = at_;
    while (!ahead.done() && (is_space(ahead.peek()) || ahead.comment()))
      if (is_space(ahead.peek())) ahead.next();
    const char c = ahead.peek(), d = ahead.peek(1);
    if (c == '\0') return true;
    if (c == ':') return d == ':' || std::isalpha(static_cast<unsigned char>(d));
    if (c == '!') return d != '=';
    if ((c == '+' || c == '-') && d == c) return true;
    // What may begin an input of its own goes on with this one where it is indented.
    if (std::string_view("+-*&").find(c) != std::string_view::npos && d != '=' &&
        static_cast<int>(ahead.at_ - ahead.line_start_) + 1 <= item_.column)
      return !(c == '&' && d == '&');
    return std::string_view("+-*/%&|^<>=?.,;{)]}").find(c) == std::string_view::npos;
  }
  std::string_view following_word() const {
    std::size_t k = at_;
    while (k < text_.size() && is_space(text_[k])) ++k;
    std::size_t end = k;
    while (end < text_.size() && is_word(text_[end])) ++end;
    return text_.substr(k, end - k);
  }
  /// Whether what follows belongs to a statement that starts with this word.
  bool goes_on_with(const std::string& first) const {
    const std::string_view word = following_word();
    return ((first == "if" || first == "else") && word == "else") || (first == "try" && word == "catch") ||
           (first == "do" && word == "while");
  }

  /// Whether the `}` that was just read at depth 0 ends the statement.
  bool ends_block(const std::string& first, bool called) const {
    if (goes_on_with(first)) return false;
    if (one_of(first, kBlockWords) || first == "{") return first != "do";
    // A function: `f() {`. What follows a value in braces goes on with it: P{1, 2}.x, [] { ... }().
    if (!called || first == "[") return false;
    std::size_t k = at_;
    while (k < text_.size() && (text_[k] == ' ' || text_[k] == '\t')) ++k;
    return k >= text_.size() || std::string_view(".(,[+-*/<>=?&|)").find(text_[k]) == std::string_view::npos;
  }
  /// Whether more has to come for a reason other than brackets.
  static bool waits(const std::string& first, const std::string& last) {
    if (last.empty()) return false;
    if (last == "++" || last == "--") return false;
    if (last.size() == 1 && std::string_view("=,+-*/%&|^<?:!~.").find(last[0]) != std::string_view::npos) return true;
    if ((first == "if" || first == "for" || first == "while" || first == "switch" || first == "template" || first == "else") &&
        (last == ")" || last == ">" || last == "else"))
      return true;
    return (first == "do" || first == "try") && (last == "do" || last == "try");
  }

  std::string_view text_;
  int line_;
  std::size_t at_ = 0, line_start_ = 0, begin_ = 0;
  Item item_;
  Scan out_;
};

}  // namespace

Scan scan(std::string_view text, int line) { return Scanner(text, line).run(); }

std::optional<std::pair<std::string, std::string>> split_call(std::string_view expression) {
  while (!expression.empty() && is_space(expression.back())) expression.remove_suffix(1);
  if (!expression.ends_with(')')) return {};
  // Brackets that are open where the last one closes: found from the front, because of strings.
  std::vector<std::size_t> open;
  std::size_t match = expression.npos;
  for (std::size_t k = 0; k < expression.size(); ++k) {
    const char c = expression[k];
    if (c == '"' || (c == '\'' && (k == 0 || !is_word(expression[k - 1])))) {
      for (++k; k < expression.size() && expression[k] != c; ++k)
        if (expression[k] == '\\') ++k;
    } else if (c == '(' || c == '[' || c == '{') {
      open.push_back(k);
    } else if (c == ')' || c == ']' || c == '}') {
      if (open.empty()) return {};
      match = open.back();
      open.pop_back();
    }
  }
  if (!open.empty() || match == expression.npos || match == 0) return {};
  std::string callee(expression.substr(0, match));
  while (!callee.empty() && is_space(callee.back())) callee.pop_back();
  const char end = callee.empty() ? '+' : callee.back();
  if (!is_word(end) && end != ')' && end != ']' && end != '>' && end != '}') return {};  // (a + b)
  return std::pair{callee, std::string(expression.substr(match + 1, expression.size() - match - 2))};
}

}  // namespace fluxion::console
