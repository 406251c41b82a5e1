// One pass over the characters. What is inside of brackets, strings and comments is never looked at, so that `;` in a lambda or a
// `//` in a string mean nothing here.
#include "scan.h"

#include "guess.h"
#include "words.h"

namespace fluxion::console {
namespace {

class Scanner {
 public:
  Scanner(std::string_view text, int line) : text_(text), line_(line) {}

  Scan run() {
    while (skip_blank()) {
      begin();
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
  /// Steps over a string, a character or a comment; false where there is none.
  enum class What : char { nothing, literal, comment };
  What step_over() {
    const Skipped s = skip(text_, at_);
    if (s.end == at_) return What::nothing;
    while (at_ < s.end) next();
    if (!s.open.empty()) out_.open = s.open;
    return s.comment ? What::comment : What::literal;
  }
  bool skip_blank() {
    while (!done()) {
      if (is_space(peek()) || peek() == ';') next();
      else if (!skip(text_, at_).comment) return true;
      else step_over();
    }
    return false;
  }

  void begin() {
    begin_ = at_;
    item_ = {};
    item_.line = line_;
    item_.column = static_cast<int>(at_ - line_start_) + 1;
  }
  std::string_view so_far() const {
    std::string_view t = text_.substr(begin_, at_ - begin_);
    while (!t.empty() && is_space(t.back())) t.remove_suffix(1);
    return t;
  }
  void finish(Item::Kind kind, bool closed) {
    const std::string_view t = so_far();
    if (kind != Item::Kind::command && kind != Item::Kind::directive) {
      if (looks_outermost(t)) kind = Item::Kind::outermost;
      else if (looks_like_declaration(t)) kind = Item::Kind::declaration;
    }
    item_.text = std::string(t);
    item_.kind = kind;
    item_.closed = closed;
    out_.items.push_back(std::move(item_));
  }
  void directive() {
    while (!done() && peek() != '\n') {
      if (peek() == '\\' && peek(1) == '\n') next();
      if (!skip(text_, at_).comment) next();
      else step_over();
    }
    if (text_.substr(begin_, at_ - begin_).ends_with('\\')) out_.open = "\\";
    finish(Item::Kind::directive, true);
  }
  /// To the end of the line, or as far as brackets are open.
  void command() {
    for (int depth = 0; !done();) {
      if (!skip(text_, at_).comment && step_over() != What::nothing) continue;
      const char c = peek();
      if (c == '\n' && depth <= 0) break;
      if (c == '(' || c == '{' || c == '[') ++depth;
      if (c == ')' || c == '}' || c == ']') --depth;
      next();
      if (done() && depth > 0) out_.open = "(";
    }
    finish(Item::Kind::command, true);
  }

  /// What has been read of a statement, outside of brackets.
  struct Seen {
    std::string first, last;  // the first word or bracket; the last word, bracket, or character of an operator
    bool assigned = false, called = false, of_class = false;
    bool tries = false, catches = false;  // a try block, which needs a catch
    bool lambda = false;                  // a lambda whose body has not begun
    bool no_more = false;                 // the text ends with an empty line
  };

  void statement() {
    Seen s;
    std::string brackets;
    while (!done()) {
      if (peek() == '\n' && brackets.empty() && !s.first.empty() && line_ends(s)) {
        finish(begins_statement(s.first) ? Item::Kind::statement : Item::Kind::expression, false);
        return;
      }
      if (is_space(peek())) {
        next();
        continue;
      }
      if (const What what = step_over(); what != What::nothing) {
        if (what == What::literal && brackets.empty()) {
          s.last = "\"";
          if (s.first.empty()) s.first = s.last;
        }
        continue;
      }
      const char c = peek();
      if (is_word(c)) {
        word(s, brackets.empty());
        continue;
      }
      next();
      const std::string mark(1, c);
      if (c == '(' || c == '[' || c == '{') {
        if (brackets.empty()) {
          const char before = s.last.empty() ? '=' : s.last.back();
          const bool value = is_word(before) || before == ')' || before == ']' || before == '"';
          if (c == '[') s.lambda = !value && peek() != '[';
          if (c == '{') s.lambda = false;
          if (c == '(') s.called = true;
          if (s.first.empty()) s.first = c == '[' && peek() == '[' ? "[[" : mark;
          s.last = mark;
        }
        brackets += c;
        continue;
      }
      if (c == ')' || c == ']' || c == '}') {
        if (!brackets.empty()) brackets.pop_back();
        if (!brackets.empty()) continue;
        s.last = mark;
        if (c == '}' && !s.of_class && !s.assigned && ends_block(s)) {
          // A function without a type in front is a constructor, outside of its class.
          finish(begins_statement(s.first) || s.first == "{" ? Item::Kind::statement : Item::Kind::outermost, true);
          return;
        }
        continue;
      }
      if (!brackets.empty()) continue;
      if (c == ';') {
        if (goes_on_with(s.first)) continue;
        finish(Item::Kind::statement, true);
        return;
      }
      if (s.first.empty()) s.first = mark;
      const bool compares = peek() == '=' || s.last == "=" || s.last == "!" || s.last == "<" || s.last == ">";
      if (c == '=' && s.last != "operator" && !compares) s.assigned = true;
      s.last = (c == '+' && s.last == "+") ? "++" : (c == '-' && s.last == "-") ? "--" : mark;
    }
    if (!brackets.empty()) out_.open = brackets.back();
    else if (out_.open.empty() && (waits(s) || (!s.no_more && waits_for_body(s)))) out_.open = "...";
    finish(begins_statement(s.first) ? Item::Kind::statement : Item::Kind::expression, false);
  }
  void word(Seen& s, bool outside) {
    const std::size_t from = at_;
    const bool number = is_digit(peek());
    while (!done() && (is_word(peek()) || (number && peek() == '.'))) next();
    const std::string word(text_.substr(from, at_ - from));
    if (!outside || (peek() == '"' && word.ends_with('R'))) return;  // a raw string comes
    if (names_class(word) && (s.first.empty() || s.last == ">" || s.last == "]" || begins_declaration(s.last))) s.of_class = true;
    if (word == "try") s.tries = true;
    if (word == "catch") s.catches = true;
    if (s.first.empty() || s.first == "[[") s.first = word;  // [[attribute]] word
    s.last = word;
  }

  /// Whether the end of this line ends the statement, which has no semicolon.
  bool line_ends(Seen& s) {
    if (waits(s)) return false;
    std::size_t k = at_ + 1;
    while (k < text_.size() && is_space(text_[k]) && text_[k] != '\n') ++k;
    if (k >= text_.size()) {  // the text ends with its last line, or an empty one
      s.no_more = true;
      return false;
    }
    if (text_[k] == '\n') return true;
    if (s.of_class || begins_statement(s.first) || begins_declaration(s.first) || names_builtin_type(s.first) || waits_for_body(s))
      return false;
    Scanner ahead(text_, line_);
    ahead.at_ = at_;
    while (!ahead.done() && (is_space(ahead.peek()) || skip(text_, ahead.at_).comment))
      if (is_space(ahead.peek())) ahead.next();
      else ahead.step_over();
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
    return word_at(text_, k);
  }
  /// Whether what follows belongs to a statement that starts with this word.
  bool goes_on_with(const std::string& first) const {
    const std::string_view word = following_word();
    return ((first == "if" || first == "else") && word == "else") || (first == "do" && word == "while");
  }

  /// Whether the `}` that was just read outside of brackets ends the statement.
  bool ends_block(const Seen& s) const {
    if (s.tries) return s.catches && following_word() != "catch";
    if (goes_on_with(s.first)) return false;
    if (begins_statement(s.first) || s.first == "{" || s.first == "namespace" || s.first == "extern") return s.first != "do";
    if (s.first == "inline" && so_far().find("namespace") != std::string_view::npos && !s.called) return true;
    // A function: `f() {`. What follows a value in braces goes on with it: P{1, 2}.x, [] { ... }().
    if (!s.called || s.first == "[") return false;
    std::size_t k = at_;
    while (k < text_.size() && (text_[k] == ' ' || text_[k] == '\t')) ++k;
    return k >= text_.size() || std::string_view(".(,[+-*/<>=?&|)").find(text_[k]) == std::string_view::npos;
  }
  /// Whether more has to come for a reason other than brackets.
  static bool waits(const Seen& s) {
    if (s.last.empty() || s.last == "++" || s.last == "--") return false;
    if (s.last.size() == 1 && std::string_view("=,+-*/%&|^<?:!~.").find(s.last[0]) != std::string_view::npos) return true;
    if ((s.first == "if" || s.first == "for" || s.first == "while" || s.first == "switch" || s.first == "template" || s.first == "else") &&
        (s.last == ")" || s.last == ">" || s.last == "else"))
      return true;
    return (s.first == "do" && (s.last == "do" || s.last == "}")) || s.last == "try";
  }
  /// The same for what an empty line ends: a head without a body, a `try` without a `catch`.
  bool waits_for_body(const Seen& s) const {
    if (s.tries && !s.catches && s.last == "}") return true;
    if (s.lambda && (s.last == "]" || s.last == ")" || s.last == "mutable" || s.last == "noexcept")) return true;
    return !s.assigned && is_head(so_far());
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
    if (const Skipped s = skip(expression, k); s.end != k) {
      k = s.end - 1;
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
