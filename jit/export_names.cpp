// Which names exported functions and their parameters may have: identifiers that mean nothing else where they are used, in C, in C++, in
// the libraries of C, and in the Python module.
#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <set>
#include <sstream>

#include "export.h"
#include "fluxion/error.h"

namespace fluxion::detail {
namespace {

using Words = std::set<std::string, std::less<>>;
Words words_of(const char* text) {
  std::istringstream in(text);
  return {std::istream_iterator<std::string>(in), {}};
}

bool is_identifier(std::string_view name) {
  const auto letter = [](char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; };
  return !name.empty() && letter(name[0]) &&
         std::all_of(name.begin(), name.end(), [&](char c) { return letter(c) || (c >= '0' && c <= '9'); });
}

/// Keywords of C and C++, and macros of their usual headers.
bool is_keyword(std::string_view name) {
  static const Words words = words_of(
      "alignas alignof and and_eq asm auto bitand bitor bool break case catch char char8_t char16_t char32_t class co_await "
      "co_return co_yield compl concept const const_cast consteval constexpr constinit continue decltype default delete do "
      "double dynamic_cast else enum explicit export extern false float for friend goto if inline int long mutable namespace "
      "new noexcept not not_eq nullptr operator or or_eq private protected public register reinterpret_cast requires restrict "
      "return short signed sizeof static static_assert static_cast struct switch template this thread_local throw true try "
      "typedef typeid typename typeof typeof_unqual union unsigned using virtual void volatile wchar_t while xor xor_eq NULL "
      "linux unix int8_t int16_t int32_t int64_t uint8_t uint16_t uint32_t uint64_t size_t");
  return words.contains(name);
}

/// What the objects call, the functions of <math.h>, and where programs begin.
bool is_library(std::string_view name) {
  static const Words words = words_of("main snprintf printf setjmp _setjmp longjmp mmap munmap malloc free memcpy memmove memset abs div");
  static const Words math = words_of(
      "acos acosh asin asinh atan atan2 atanh cbrt ceil copysign cos cosh erf erfc exp exp2 expm1 fabs fdim floor fma fmax "
      "fmin fmod frexp hypot ldexp lgamma log log10 log1p log2 logb modf nan pow rint round roundeven sin sinh sqrt tan tanh "
      "tgamma trunc");
  return words.contains(name) || math.contains(name) || (name.ends_with('f') && math.contains(name.substr(0, name.size() - 1)));
}

/// Keywords of Python, and what the module itself uses (export_python.cpp).
bool is_python(std::string_view name) {
  static const Words words = words_of(
      "False None True and as assert async await class def del elif except finally from global import in is lambda nonlocal "
      "not or pass raise with yield Error Function SIGNATURE FileNotFoundError ImportError OSError OverflowError RuntimeError "
      "TypeError _FOLDER _SCALARS _TYPES _Torch __all__ __file__ _all _array _dtype _features _first _float_of _functions "
      "_is_float _jax_made _library _load _number _object any bool ctypes dict enumerate getattr globals hasattr int "
      "isinstance jax jax_call json len list np numpy open operator os platform range set setattr staticmethod subprocess "
      "super tempfile torch torch_call tuple type zip");
  return words.contains(name);
}

}  // namespace

std::string identifier(std::string_view name) {
  std::string out;
  for (const char c : name) out += is_identifier(std::string("_") + c) ? c : '_';
  return is_identifier(out) ? out : "_" + out;
}

void check_function_name(const std::string& name, bool python, Loc at) {
  if (!is_identifier(name)) throw KernelError(at, fmt::format("export: the name \"{}\" is no identifier of C", name));
  const bool taken = is_keyword(name) || is_library(name);
  if (taken || (python && is_python(name)))
    throw KernelError(at, fmt::format("export: no function of {} can be called \"{}\"; give it another name: {{.name = \"{}_kernel\"}}",
                                      taken ? "C" : "the Python module", name, name));
}

void check_parameter_name(const std::string& name, Loc at) {
  if (!is_identifier(name)) throw KernelError(at, fmt::format("export: the parameter name \"{}\" is no identifier of C", name));
  if (is_keyword(name) || name == "domain" || name.ends_with("_extent"))
    throw KernelError(at, fmt::format("export: no parameter can be called \"{}\"", name));
}

}  // namespace fluxion::detail
