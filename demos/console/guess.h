// What a piece of C++ looks like, by its words. Nothing depends on these guesses but what is asked first: clang decides what a text is
// (forms.h), and a wrong guess costs a few milliseconds. The one exception is where an input goes on, which has to be known before.
#pragma once
#include <string_view>

namespace fluxion::console {

/// Looks like a declaration: `auto`, `int x`, `fx::Buffer<float> x`, `P f(int a) {`.
bool looks_like_declaration(std::string_view text);
/// A declaration by its first word, whatever follows: `struct`, `using`, `template`.
bool is_declaration(std::string_view text);
/// Looks like a declaration that cannot stand inside of a namespace that is made for it: namespaces, using directives, specialisations,
/// members of classes from before.
bool looks_outermost(std::string_view text);
/// A declaration whose body may follow on the next line: `int f(int a)`, `struct P`, `namespace a`.
bool is_head(std::string_view text);

/// `int main(...) {...}`, which is a function like any other here, but for its `return 0;`.
bool defines_main(std::string_view text);

/// `if`, `for`, and the like.
bool begins_statement(std::string_view word);
bool names_class(std::string_view word);
/// `const`, `static`: words after which a declaration goes on.
bool begins_declaration(std::string_view word);
bool names_builtin_type(std::string_view word);

}  // namespace fluxion::console
