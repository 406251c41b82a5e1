// What the console's own program offers to code that is typed into it. Everything heavy is behind these, so that an input compiles fast.
#pragma once
#include <concepts>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "fluxion/fluxion.h"

namespace fluxion::console {

/// The answer to an input: prints itself, and goes to who drives the console by a program.
FLUXION_API void emit(std::string text, std::string_view type);
/// A failure of a command that has answered: "check".
FLUXION_API void fail(const char* kind);
/// A line of :vars.
FLUXION_API void list_variable(const char* name, std::string value);

// ---- values as text
FLUXION_API std::string text_of_bool(bool v);
/// Nothing but a bool: pointers and lambdas become bools by themselves.
template <std::same_as<bool> B> std::string text_of(B v) { return text_of_bool(v); }
FLUXION_API std::string text_of(char v);
FLUXION_API std::string text_of(float v);
FLUXION_API std::string text_of(double v);
FLUXION_API std::string text_of(long double v);
FLUXION_API std::string text_of(long long v);
FLUXION_API std::string text_of(unsigned long long v);
FLUXION_API std::string quoted(std::string_view v);
/// "Colour(2)".
FLUXION_API std::string text_of_enum(std::string_view type, long long v);
FLUXION_API std::string text_of_pointer(const volatile void* p);
/// What cannot be printed, by its type.
FLUXION_API std::string text_of_other(std::string_view type);
/// Shape, element, device, statistics, first and last elements.
FLUXION_API std::string text_of(const Array& a);
FLUXION_API std::string text_of(const Device& d);
/// "kernel saxpy(in f32[] p0, ...)": what it is called with.
FLUXION_API std::string signature(const Function& f);
FLUXION_API std::string signature(const detail::ProgramHandle& p, std::span<const detail::ProgramParameter> parameters);
/// "{a, b, ...}", in lines of a terminal's width where that is long.
FLUXION_API std::string listed(const std::vector<std::string>& parts, std::size_t total);
/// How many elements of a range are shown.
inline constexpr std::size_t kShown = 24;

// ---- looking at kernels, functions and programs; `what`: "ir", "lowered", "llvm", "asm", "ptx", "spirv", "stages"
FLUXION_API std::string look(std::string_view what, std::string_view stage, const detail::KernelHandle& k);
FLUXION_API std::string look(std::string_view what, std::string_view stage, const Function& f);
FLUXION_API std::string look(std::string_view what, const detail::ProgramHandle& p, std::span<const detail::Argument> arguments);
FLUXION_API std::string explain(const Function& f);

// ---- time
FLUXION_API void time_kernel(const detail::KernelHandle& k, std::array<std::int64_t, 3> domain, int rank,
                             std::span<const detail::Argument> arguments, Loc at);
FLUXION_API void time_program(const detail::ProgramHandle& p, std::span<const detail::Argument> arguments, Loc at);
FLUXION_API void time_code(const std::function<void()>& code);

// ---- plots. `out`: a PNG, or "" for the terminal
FLUXION_API void plot_array(const Array& a, std::string_view name, std::string_view out);
FLUXION_API void plot_numbers(const std::vector<double>& y, double low, double high, std::string_view name, std::string_view out);

}  // namespace fluxion::console
