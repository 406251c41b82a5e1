// Values print themselves: `(expression), Printed()` is what an expression without a semicolon becomes. A comma, since the operand may
// be void, which no function could take.
#pragma once
#include <array>
#include <chrono>
#include <compare>
#include <complex>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <ostream>
#include <sstream>
#include <tuple>
#include <utility>
#include <variant>

#include "fluxion/console/host.h"

namespace fluxion::console {

template <class T> std::string text(const T& v);
template <class T, std::size_t N> std::string text(const T (&v)[N]);

/// The text of a class or an enumeration by the names of what is in it, which C++ cannot tell and clang can: when one is printed, the
/// session specialises this, with a function text() (describe.cpp).
template <class T> struct Described {};

/// The type between the brackets of "... type_of() [T = X]".
template <class T> constexpr std::string_view type_of() {
  constexpr std::string_view all = __PRETTY_FUNCTION__;
  return all.substr(all.find("T = ") + 4, all.size() - all.find("T = ") - 5);
}

template <class T>
concept Streamed = requires(std::ostream& o, const T& v) { o << v; };
template <class T>
concept Range = requires(const T& v) {
  v.begin();
  v.end();
  v.size();
};
template <class T>
concept TupleLike = requires { std::tuple_size<T>::value; };

inline std::string quoted_utf8(std::u8string_view v) { return console::quoted({reinterpret_cast<const char*>(v.data()), v.size()}); }
template <class... P> std::string text_of(const Kernel<P...>& k) { return signature(*k.function()); }
template <class... P> std::string text_of(const Launcher<P...>& l) {
  std::string domain;
  for (int k = 0; k < l.rank(); ++k) domain += (k ? " x " : "") + std::to_string(l.domain()[static_cast<std::size_t>(k)]);
  return signature(*l.kernel().function()) + " over " + domain + "; call it with its arrays";
}
template <class S> std::string text_of(const Fn<S>& f) { return signature(*f.function()); }
template <class... R, class... P> std::string text_of(const Program<TypeList<R...>, TypeList<P...>>& p) {
  const std::vector<detail::ProgramParameter> parameters = {detail::ProgramType<P>::parameter()...};
  return signature(p.handle(), parameters);
}
template <class T, int N> std::string text_of(const Buffer<T, N>& b) {
  return b ? text_of(b.array()) : std::string("an empty buffer: no memory yet");
}
inline std::string text_of(const GradientReport& r) {
  if (r.text.find("nothing to check") != r.text.npos) return r.text;
  return r.text + (r.ok ? "the derivatives agree" : "the derivatives do NOT agree");
}
inline std::string text_of(half v) { return text_of(static_cast<float>(v)); }
inline std::string text_of(bfloat16 v) { return text_of(static_cast<float>(v)); }
inline std::string text_of(DType t) { return name_of(t); }
inline std::string text_of(const ProgramUse& u) {
  return text_of(static_cast<long long>(u.bytes)) + " bytes, " + text_of(u.launches) + " launches";
}
template <class T> std::string text_of(const Csr<T>& a) {
  return std::to_string(a.rows) + " x " + std::to_string(a.cols) + " sparse, " + std::to_string(a.values.size()) + " entries";
}
template <class T> std::string text_of(const Complex<T>& z) {
  return text(z.re) + (z.im < 0 ? " - " : " + ") + text(z.im < 0 ? -z.im : z.im) + " i";
}
template <class T, int N>
  requires Scalar<T>
std::string text_of(const Vec<T, N>& v) {
  std::string out = "{";
  for (int k = 0; k < N; ++k) out += (k ? ", " : "") + text(v[k]);
  return out + "}";
}
template <class T, int R, int C>
  requires Scalar<T>
std::string text_of(const Mat<T, R, C>& m) {
  std::string out = "{";
  for (int r = 0; r < R; ++r) {
    out += r ? ", {" : "{";
    for (int c = 0; c < C; ++c) out += (c ? ", " : "") + text(m(r, c));
    out += "}";
  }
  return out + "}";
}
template <class T> std::string text_of(const Var<T>&) {
  return "a captured value: it has a number inside of kernels, functions and programs only";
}
template <class... T> std::string text_of(const std::variant<T...>& v) {
  return std::visit([](const auto& each) { return text(each); }, v);
}
template <class T> std::string text_of(const std::optional<T>& v) { return v ? text(*v) : std::string("nothing"); }

template <class T, class D> std::string text_of(const std::unique_ptr<T, D>& p) {
  if constexpr (std::is_array_v<T>) return text_of_pointer(p.get());
  else return p ? text(*p) : std::string("nullptr");
}
template <class T> std::string text_of(const std::shared_ptr<T>& p) {
  if constexpr (std::is_array_v<T> || std::is_void_v<T>) return text_of_pointer(p.get());
  else return p ? text(*p) : std::string("nullptr");
}
template <class S> std::string text_of(const std::function<S>& f) { return f ? "a function" : "an empty function"; }
inline std::string text_of(std::partial_ordering o) { return o < 0 ? "less" : o > 0 ? "greater" : o == 0 ? "equal" : "unordered"; }
inline std::string text_of(std::weak_ordering o) { return text_of(std::partial_ordering(o)); }
inline std::string text_of(std::strong_ordering o) { return text_of(std::partial_ordering(o)); }
template <class R, class P> std::string text_of(const std::chrono::duration<R, P>& d) {
  using namespace std::chrono;
  using D = duration<R, P>;
  const std::string n = text(d.count());
  if constexpr (std::is_same_v<typename D::period, std::nano>) return n + " ns";
  else if constexpr (std::is_same_v<typename D::period, std::micro>) return n + " us";
  else if constexpr (std::is_same_v<typename D::period, std::milli>) return n + " ms";
  else if constexpr (std::is_same_v<typename D::period, std::ratio<1>>) return n + " s";
  else if constexpr (std::is_same_v<typename D::period, std::ratio<60>>) return n + " min";
  else if constexpr (std::is_same_v<typename D::period, std::ratio<3600>>) return n + " h";
  else return text(duration<double>(d).count()) + " s";
}
template <class C, class D> std::string text_of(const std::chrono::time_point<C, D>& t) {
  return text(std::chrono::duration<double>(t.time_since_epoch()).count()) + " s since the beginning of its clock";
}

template <class T> std::string joined_members(const T& v) {
  std::vector<std::string> parts;
  if constexpr (TupleLike<T>)
    [&]<std::size_t... K>(std::index_sequence<K...>) {
      if constexpr (requires { v.template get<0>(); }) (parts.push_back(text(v.template get<K>())), ...);
      else (parts.push_back(text(std::get<K>(v))), ...);
    }(std::make_index_sequence<std::tuple_size<T>::value>{});
  else detail::with_members(v, [&](const auto&... m) { (parts.push_back(text(m)), ...); });
  return listed(parts, parts.size());
}

template <class T> std::string text(const T& v) {
  if constexpr (std::is_same_v<T, char>) return text_of(v);
  else if constexpr (std::is_same_v<T, bool>) return text_of(v);
  else if constexpr (std::is_null_pointer_v<T>) return "nullptr";
  else if constexpr (std::is_same_v<T, const char*> || std::is_same_v<T, char*>) return v ? console::quoted(v) : std::string("nullptr");
  else if constexpr (std::is_convertible_v<const T&, std::string_view>) return console::quoted(v);
  else if constexpr (std::is_convertible_v<const T&, std::u8string_view>) return quoted_utf8(v);
  else if constexpr (std::is_enum_v<T> && !requires { text_of(v); }) {
    if constexpr (requires { Described<T>::text(v); }) return Described<T>::text(v);
    else return text_of_enum(type_of<T>(), static_cast<long long>(v));
  } else if constexpr (std::is_pointer_v<T> && std::is_function_v<std::remove_pointer_t<T>>) return v ? "a function" : "nullptr";
  else if constexpr (std::is_pointer_v<T>) return text_of_pointer(v);
  else if constexpr (std::is_integral_v<T> && std::is_signed_v<T>) return text_of(static_cast<long long>(v));
  else if constexpr (std::is_integral_v<T>) return text_of(static_cast<unsigned long long>(v));
  else if constexpr (requires { text_of(v); }) return text_of(v);
  else if constexpr (TupleLike<T>) return joined_members(v);
  else if constexpr (Range<T>) {
    std::vector<std::string> parts;
    const std::size_t n = v.size();
    std::size_t k = 0;
    for (const auto& e : v) {
      if (n <= kShown || k < kShown / 2 || k >= n - kShown / 2) parts.push_back(text(e));
      ++k;
    }
    return listed(parts, n);
  } else if constexpr (std::is_base_of_v<std::exception, T>) {
    return v.what();
  } else if constexpr (Streamed<T> && !requires { &T::operator(); }) {
    std::ostringstream out;
    out << v;
    return out.str();
  } else if constexpr (detail::PlainAggregate<T> && detail::members<T>() >= 1) {
    return joined_members(v);
  } else if constexpr (requires { Described<T>::text(v); }) {
    return Described<T>::text(v);
  } else {
    return text_of_other(type_of<T>());
  }
}
template <class T, std::size_t N> std::string text(const T (&v)[N]) {
  if constexpr (std::is_same_v<T, char>) return console::quoted(v);
  else if constexpr (std::is_same_v<T, char8_t>) return quoted_utf8(v);
  else return text(std::span<const T>(v, N));
}

struct Printed {};
template <class T> void operator,(T&& v, Printed) { emit(text(v), type_of<std::remove_cvref_t<T>>()); }
// What a statement-like expression gives is not news: std::cout << x, and what a launch gives.
inline void operator,(std::ostream&, Printed) {}

template <class T> void variable(const char* name, const T& v) { list_variable(name, text(v)); }

}  // namespace fluxion::console
