// Scalar types of the language, and where in the user's source something was written.
// Light on purpose: every user's translation unit includes it.
#pragma once
#include <cstdint>
#include <type_traits>

#define FLUXION_API __attribute__((visibility("default")))

namespace fluxion {

/// What differentiation makes at the place of an op: something of its forward (tangents) or reverse sweep (adjoints).
enum class Sweep : std::uint8_t { primal, forward, reverse };

/// A place in the user's source. Two words, so that every operand can carry one.
struct Loc {
  const char* file = "";
  std::uint32_t line = 0;
  std::uint8_t sweeps = 0;  // of derivatives: a Sweep for each of the last transforms, two bits each, the latest lowest
  std::uint8_t rule = 0;    // of derivatives: 1 + the opcode of the op whose rule this comes from
  bool product = false;     // of derivatives: what comes in (cotangent, tangent) times a partial
  /// Of what a transform makes for the op with opcode `op` that stands here.
  constexpr Loc derived(Sweep s, std::uint8_t op) const {
    return {file, line, static_cast<std::uint8_t>(sweeps << 2 | static_cast<std::uint8_t>(s)), static_cast<std::uint8_t>(op + 1), false};
  }
  static constexpr Loc here(const char* file = __builtin_FILE(), std::uint32_t line = __builtin_LINE()) { return {file, line}; }
  explicit constexpr operator bool() const { return line != 0; }
};

enum class DType : std::uint8_t { boolean, i8, i16, i32, i64, u8, u16, u32, u64, f16, bf16, f32, f64 };
inline constexpr int kDTypeCount = 13;

constexpr bool is_float(DType t) { return t >= DType::f16; }
constexpr bool is_half(DType t) { return t == DType::f16 || t == DType::bf16; }
constexpr bool is_bool(DType t) { return t == DType::boolean; }
constexpr bool is_signed(DType t) { return t >= DType::i8 && t <= DType::i64; }
constexpr bool is_unsigned(DType t) { return t >= DType::u8 && t <= DType::u64; }
constexpr bool is_int(DType t) { return is_signed(t) || is_unsigned(t); }
constexpr int size_of(DType t) {
  constexpr int kBytes[] = {1, 1, 2, 4, 8, 1, 2, 4, 8, 2, 2, 4, 8};
  return kBytes[static_cast<int>(t)];
}
constexpr const char* name_of(DType t) {
  constexpr const char* kNames[] = {"bool", "i8", "i16", "i32", "i64", "u8", "u16", "u32", "u64", "f16", "bf16", "f32", "f64"};
  return kNames[static_cast<int>(t)];
}

/// IEEE binary16, storage only: arithmetic on it is done in f32.
struct half {
  std::uint16_t bits = 0;
  half() = default;
  FLUXION_API half(float value);
  FLUXION_API operator float() const;
};
/// bfloat16, storage only: arithmetic on it is done in f32.
struct bfloat16 {
  std::uint16_t bits = 0;
  bfloat16() = default;
  FLUXION_API bfloat16(float value);
  FLUXION_API operator float() const;
};

namespace detail {
template <class T> struct DTypeOf {};
template <DType D> struct DTypeIs {
  static constexpr DType value = D;
};
template <> struct DTypeOf<bool> : DTypeIs<DType::boolean> {};
template <> struct DTypeOf<std::int8_t> : DTypeIs<DType::i8> {};
template <> struct DTypeOf<std::int16_t> : DTypeIs<DType::i16> {};
template <> struct DTypeOf<std::int32_t> : DTypeIs<DType::i32> {};
template <> struct DTypeOf<std::int64_t> : DTypeIs<DType::i64> {};
template <> struct DTypeOf<long long> : DTypeIs<DType::i64> {};
template <> struct DTypeOf<std::uint8_t> : DTypeIs<DType::u8> {};
template <> struct DTypeOf<std::uint16_t> : DTypeIs<DType::u16> {};
template <> struct DTypeOf<std::uint32_t> : DTypeIs<DType::u32> {};
template <> struct DTypeOf<std::uint64_t> : DTypeIs<DType::u64> {};
template <> struct DTypeOf<unsigned long long> : DTypeIs<DType::u64> {};
template <> struct DTypeOf<half> : DTypeIs<DType::f16> {};
template <> struct DTypeOf<bfloat16> : DTypeIs<DType::bf16> {};
template <> struct DTypeOf<float> : DTypeIs<DType::f32> {};
template <> struct DTypeOf<double> : DTypeIs<DType::f64> {};
}  // namespace detail

/// A C++ type that is one value of the language.
template <class T>
concept Scalar = requires { detail::DTypeOf<T>::value; };
template <Scalar T> inline constexpr DType dtype_of = detail::DTypeOf<T>::value;

/// What a kernel may do with a parameter; decides hazards and the shape of its adjoint.
enum class Role : std::uint8_t { in, out, inout, accum };
constexpr const char* name_of(Role r) {
  constexpr const char* kNames[] = {"in", "out", "inout", "accum"};
  return kNames[static_cast<int>(r)];
}

}  // namespace fluxion
