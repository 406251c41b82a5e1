// What the elementwise ops, convert and bitcast do to bits, and how numbers are written in messages.
// Values travel zero-extended in 64 bits. Conversions from and to f16 and bf16 go through f32.
#include "evaluate_op.h"

#include <fmt/format.h>

#include <array>
#include <bit>
#include <cmath>
#include <limits>

#include "fluxion/error.h"
#include "fluxion/evaluate.h"
#include "fluxion/host_ops.h"

namespace fluxion {
namespace {

template <class T> T from_bits(std::uint64_t bits) {
  if constexpr (std::is_same_v<T, bool>) return bits != 0;
  else if constexpr (std::is_same_v<T, float>) return std::bit_cast<float>(static_cast<std::uint32_t>(bits));
  else if constexpr (std::is_same_v<T, double>) return std::bit_cast<double>(bits);
  else return static_cast<T>(bits);
}
template <class T> std::uint64_t to_bits(T v) {
  if constexpr (std::is_same_v<T, bool>) return v;
  else if constexpr (std::is_same_v<T, float>) return std::bit_cast<std::uint32_t>(v);
  else if constexpr (std::is_same_v<T, double>) return std::bit_cast<std::uint64_t>(v);
  else return static_cast<std::make_unsigned_t<T>>(v);
}

template <Opcode> struct Row;
#define OP1(name, dtypes, flags, meaning, da, doc)     \
  template <> struct Row<Opcode::name> {               \
    static constexpr Operands kSet = Operands::dtypes; \
    static constexpr int kArity = 1;                   \
    template <class T> static auto apply(T a) {        \
      [[maybe_unused]] typedef HostOps<T> F;           \
      return meaning;                                  \
    }                                                  \
  };
#define OP2(name, dtypes, flags, meaning, da, db, doc) \
  template <> struct Row<Opcode::name> {               \
    static constexpr Operands kSet = Operands::dtypes; \
    static constexpr int kArity = 2;                   \
    template <class T> static auto apply(T a, T b) {   \
      typedef HostOps<T> F;                            \
      return meaning;                                  \
    }                                                  \
  };
#define OP3(name, dtypes, flags, meaning, da, db, dc, doc) \
  template <> struct Row<Opcode::name> {                   \
    static constexpr Operands kSet = Operands::dtypes;     \
    static constexpr int kArity = 3;                       \
    template <class T> static auto apply(T a, T b, T c) {  \
      typedef HostOps<T> F;                                \
      return meaning;                                      \
    }                                                      \
  };
#include "fluxion/ops.def"

template <Opcode op, class T> std::uint64_t call(const std::uint64_t* x) {
  if constexpr (Row<op>::kArity == 1) return to_bits(Row<op>::apply(from_bits<T>(x[0])));
  else if constexpr (Row<op>::kArity == 2) return to_bits(Row<op>::apply(from_bits<T>(x[0]), from_bits<T>(x[1])));
  else return to_bits(Row<op>::apply(from_bits<T>(x[0]), from_bits<T>(x[1]), from_bits<T>(x[2])));
}

using TableRow = std::array<ScalarOp, kDTypeCount>;
template <Opcode op, DType d, class T> constexpr void entry(TableRow& row) {
  if constexpr (accepts(Row<op>::kSet, d)) row[static_cast<int>(d)] = &call<op, T>;
}
template <Opcode op> constexpr TableRow entries() {
  TableRow row{};
  entry<op, DType::boolean, bool>(row);
  entry<op, DType::i8, std::int8_t>(row);
  entry<op, DType::i16, std::int16_t>(row);
  entry<op, DType::i32, std::int32_t>(row);
  entry<op, DType::i64, std::int64_t>(row);
  entry<op, DType::u8, std::uint8_t>(row);
  entry<op, DType::u16, std::uint16_t>(row);
  entry<op, DType::u32, std::uint32_t>(row);
  entry<op, DType::u64, std::uint64_t>(row);
  entry<op, DType::f32, float>(row);
  entry<op, DType::f64, double>(row);
  return row;
}
std::uint64_t select_bits(const std::uint64_t* x) { return x[0] ? x[1] : x[2]; }

constexpr TableRow kSelect = [] {
  TableRow row{};
  for (int d = 0; d < kDTypeCount; ++d)
    if (accepts(Operands::all, static_cast<DType>(d))) row[d] = &select_bits;
  return row;
}();
constexpr TableRow kTable[] = {
#define OP1(name, ...) entries<Opcode::name>(),
#define OP2(name, ...) entries<Opcode::name>(),
#define OP3(name, ...) entries<Opcode::name>(),
#include "fluxion/ops.def"
    kSelect,
};

template <class F> auto with_type(DType t, F&& f) {
  switch (t) {
    case DType::boolean: return f(bool{});
    case DType::i8: return f(std::int8_t{});
    case DType::i16: return f(std::int16_t{});
    case DType::i32: return f(std::int32_t{});
    case DType::i64: return f(std::int64_t{});
    case DType::u8: return f(std::uint8_t{});
    case DType::u16: return f(std::uint16_t{});
    case DType::u32: return f(std::uint32_t{});
    case DType::u64: return f(std::uint64_t{});
    case DType::f16:
    case DType::bf16:
    case DType::f32: return f(float{});
    case DType::f64: return f(double{});
  }
  throw Bug({}, "a dtype that is not known");
}
std::uint64_t widen_half(DType t, std::uint64_t bits) {
  float v;
  if (t == DType::f16) {
    half h;
    h.bits = static_cast<std::uint16_t>(bits);
    v = h;
  } else {
    bfloat16 h;
    h.bits = static_cast<std::uint16_t>(bits);
    v = h;
  }
  return to_bits(v);
}
std::uint64_t narrow_half(DType t, std::uint64_t f32) {
  const float v = from_bits<float>(f32);
  return t == DType::f16 ? half(v).bits : bfloat16(v).bits;
}

template <class To, class From> To convert_number(From v) {
  if constexpr (std::is_same_v<To, bool>) return v != From(0);
  else if constexpr (std::is_floating_point_v<From> && std::is_integral_v<To>) {
    if (v != v) return 0;
    // Both bounds are powers of two (or 0), so that they are exact in From.
    constexpr int kBits = std::numeric_limits<To>::digits;
    const From above = std::ldexp(From(1), kBits);
    const From lowest = std::is_signed_v<To> ? -above : From(0);
    if (v >= above) return std::numeric_limits<To>::max();
    if (v <= lowest) return std::numeric_limits<To>::min();
    return static_cast<To>(v);
  } else return static_cast<To>(v);
}
}  // namespace

ScalarOp scalar_op(Opcode op, DType operand) { return kTable[static_cast<int>(op)][static_cast<int>(operand)]; }

std::uint64_t convert_bits(DType from, DType to, std::uint64_t bits) {
  if (from == to) return bits;
  if (is_half(from)) bits = widen_half(from, bits);
  const std::uint64_t out = with_type(from, [&](auto f) {
    return with_type(to, [&](auto t) { return to_bits(convert_number<decltype(t)>(from_bits<decltype(f)>(bits))); });
  });
  return is_half(to) ? narrow_half(to, out) : out;
}

std::uint64_t add_bits(DType t, std::uint64_t a, std::uint64_t b) {
  if (is_half(t)) {
    const float sum = from_bits<float>(widen_half(t, a)) + from_bits<float>(widen_half(t, b));
    return narrow_half(t, to_bits(sum));
  }
  const std::uint64_t x[] = {a, b};
  return scalar_op(Opcode::add, t)(x);
}

std::uint64_t evaluate_op(Opcode op, DType result, DType operand, std::span<const std::uint64_t> operands) {
  if (op == Opcode::convert) return convert_bits(operand, result, operands[0]);
  if (op == Opcode::bitcast) return operands[0];
  const ScalarOp f = is_elementwise(op) ? scalar_op(op, operand) : nullptr;
  if (!f) throw Bug({}, fmt::format("{} does not work on {}", name_of(op), name_of(operand)));
  return f(operands.data());
}

std::string format_value(DType t, std::uint64_t bits) {
  if (is_half(t)) return fmt::format("{}", from_bits<float>(widen_half(t, bits)));
  return with_type(t, [&](auto x) {
    if constexpr (sizeof(x) == 1 && !std::is_same_v<decltype(x), bool>)
      return fmt::format("{}", static_cast<int>(from_bits<decltype(x)>(bits)));
    else return fmt::format("{}", from_bits<decltype(x)>(bits));
  });
}

std::string format_text(std::string_view text, std::span<const DType> types, std::span<const std::uint64_t> values) {
  std::string out;
  std::size_t next = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text.substr(i, 2) == "{}" && next < values.size()) {
      out += format_value(types[next], values[next]);
      ++next, ++i;
    } else {
      out += text[i];
    }
  }
  for (; next < values.size(); ++next) out += " " + format_value(types[next], values[next]);
  return out;
}

}  // namespace fluxion
