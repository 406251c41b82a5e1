// A number in memory, by its type.
#pragma once
#include <cstring>
#include <string>

#include "fluxion/console/host.h"

namespace fluxion::console {

/// Calls f with the number at `from` as its C++ type.
template <class F> auto with_number(DType t, const void* from, const F& f) {
  const auto as = [&]<class T>(T v) {
    std::memcpy(&v, from, sizeof v);
    return f(v);
  };
  switch (t) {
    case DType::boolean: return f(*static_cast<const unsigned char*>(from) != 0);
    case DType::i8: return as(std::int8_t{});
    case DType::i16: return as(std::int16_t{});
    case DType::i32: return as(std::int32_t{});
    case DType::i64: return as(static_cast<long long>(0));
    case DType::u8: return as(std::uint8_t{});
    case DType::u16: return as(std::uint16_t{});
    case DType::u32: return as(std::uint32_t{});
    case DType::u64: return as(static_cast<unsigned long long>(0));
    case DType::f16: {
      half h;
      std::memcpy(&h, from, sizeof h);
      return f(static_cast<float>(h));
    }
    case DType::bf16: {
      bfloat16 h;
      std::memcpy(&h, from, sizeof h);
      return f(static_cast<float>(h));
    }
    case DType::f32: return as(0.0f);
    case DType::f64: return as(0.0);
  }
  return f(false);
}

inline double leaf_number(DType t, const void* from) {
  return with_number(t, from, [](auto v) { return static_cast<double>(v); });
}
inline std::string leaf_text(DType t, const void* from) {
  return with_number(t, from, [](auto v) {
    if constexpr (std::is_same_v<decltype(v), bool> || std::is_floating_point_v<decltype(v)>) return text_of(v);
    else if constexpr (std::is_signed_v<decltype(v)>) return text_of(static_cast<long long>(v));
    else return text_of(static_cast<unsigned long long>(v));
  });
}

}  // namespace fluxion::console
