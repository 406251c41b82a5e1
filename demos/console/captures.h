// Variables of a session are global, so that lambdas need not, and may not, capture them: `[=]`, `[&]` and `[x]` are right in a function
// and errors at the outermost level. What is typed should be what stands in a program, hence they are taken out.
#pragma once
#include <string>

namespace fluxion::console {

/// `text` with the captures of its outermost lambdas blanked, `[x = 1]` kept. Nothing moves.
std::string without_captures(std::string text);
/// One of them was to copy: `[=]` or `[x]`, not `[&]`.
bool captures_copies(const std::string& text);

}  // namespace fluxion::console
