// Variables of a session are global, so that lambdas need not, and may not, capture them: `[=]`, `[&]` and `[x]` are right in a function
// and errors at the outermost level. What is typed should be what stands in a program, hence they are taken out.
#pragma once
#include <string>

namespace fluxion::console {

/// `text` with the captures of its outermost lambdas blanked, `[x = 1]` kept. Nothing moves.
std::string without_captures(std::string text);

/// Blanks the `static` in front of a declaration: to the compiler the inputs of a session are files of their own, and it would make
/// another variable in each.
std::string without_static(std::string text);

/// Whether a declaration is `int main(...) {...}`.
bool defines_main(const std::string& text);

/// Whether a declaration is `auto name = [...`: a lambda with a name.
bool names_lambda(const std::string& text);

}  // namespace fluxion::console
