// What printer, parser and verifier share of the text form.
#pragma once
#include <string>
#include <string_view>
#include <vector>

#include "fluxion/ir.h"

namespace fluxion {

/// `print`, and for each op of `f` the offset of its line in the text (npos when it is in no region).
std::string print_mapped(const Function& f, PrintOptions options, std::vector<std::size_t>& op_at);
/// A constant as the text form writes it: exact, "2.5" is f32 and "7" is i32, others carry ":dtype".
std::string literal(DType t, std::uint64_t bits);

constexpr bool is_name_start(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }
constexpr bool is_digit(char c) { return c >= '0' && c <= '9'; }
constexpr bool is_name_char(char c) { return is_name_start(c) || is_digit(c) || c == '.'; }

}  // namespace fluxion
