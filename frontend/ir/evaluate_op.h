// Scalars for the evaluator: a function for each elementwise op and dtype, made from the rows of ops.def.
#pragma once
#include <cstdint>

#include "fluxion/op.h"

namespace fluxion {

using ScalarOp = std::uint64_t (*)(const std::uint64_t* operands);
/// Null when the op does not take the dtype (of its operands; of select: of its arms).
ScalarOp scalar_op(Opcode op, DType operand);
std::uint64_t convert_bits(DType from, DType to, std::uint64_t bits);
/// As `accumulate` and seq_add_at add: in the type itself, halves through f32.
std::uint64_t add_bits(DType t, std::uint64_t a, std::uint64_t b);
inline std::uint64_t load_bits(const void* p, DType t) {
  switch (size_of(t)) {
    case 1: return *static_cast<const std::uint8_t*>(p);
    case 2: {
      std::uint16_t v;
      __builtin_memcpy(&v, p, 2);
      return v;
    }
    case 4: {
      std::uint32_t v;
      __builtin_memcpy(&v, p, 4);
      return v;
    }
    default: {
      std::uint64_t v;
      __builtin_memcpy(&v, p, 8);
      return v;
    }
  }
}
inline void store_bits(void* p, DType t, std::uint64_t bits) { __builtin_memcpy(p, &bits, static_cast<std::size_t>(size_of(t))); }

}  // namespace fluxion
