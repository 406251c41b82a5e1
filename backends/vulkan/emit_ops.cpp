// Elementwise ops and conversions. Each op has a line for floats, signed and unsigned integers, and bools: the instruction, or kNone
// where backends/gpu has made something else of it (gpu::lower_ops) or the op does not take the type.
#include <array>

#include <spirv/unified1/GLSL.std.450.h>

#include "emitter.h"
#include "fluxion/error.h"

namespace fluxion::vulkan {
namespace {

constexpr std::uint32_t kNone = 0, kExtended = 0x10000, kItself = 0x20000;
constexpr std::uint32_t x(GLSLstd450 i) { return kExtended | static_cast<std::uint32_t>(i); }
constexpr std::uint32_t o(spv::Op i) { return static_cast<std::uint32_t>(i); }

struct Line {
  Opcode op;
  std::uint32_t real, sign, natural, truth;
};
using spv::Op;
constexpr Line lowered(Opcode op) { return {op, kNone, kNone, kNone, kNone}; }
constexpr Line kLines[] = {
    {Opcode::add, o(Op::OpFAdd), o(Op::OpIAdd), o(Op::OpIAdd), kNone},
    {Opcode::sub, o(Op::OpFSub), o(Op::OpISub), o(Op::OpISub), kNone},
    {Opcode::mul, o(Op::OpFMul), o(Op::OpIMul), o(Op::OpIMul), kNone},
    {Opcode::div, o(Op::OpFDiv), o(Op::OpSDiv), o(Op::OpUDiv), kNone},
    {Opcode::rem, kNone, o(Op::OpSRem), o(Op::OpUMod), kNone},
    {Opcode::neg, o(Op::OpFNegate), o(Op::OpSNegate), o(Op::OpSNegate), kNone},
    {Opcode::abs, x(GLSLstd450FAbs), kNone, kItself, kNone},
    lowered(Opcode::sign),
    lowered(Opcode::min),
    lowered(Opcode::max),
    {Opcode::fma, x(GLSLstd450Fma), kNone, kNone, kNone},
    lowered(Opcode::mulz),
    lowered(Opcode::sdiv),
    {Opcode::sqrt, x(GLSLstd450Sqrt), kNone, kNone, kNone},
    lowered(Opcode::rsqrt),
    lowered(Opcode::cbrt),
    lowered(Opcode::exp),
    lowered(Opcode::exp2),
    lowered(Opcode::expm1),
    lowered(Opcode::log),
    lowered(Opcode::log2),
    lowered(Opcode::log10),
    lowered(Opcode::log1p),
    lowered(Opcode::sin),
    lowered(Opcode::cos),
    lowered(Opcode::tan),
    lowered(Opcode::asin),
    lowered(Opcode::acos),
    lowered(Opcode::atan),
    lowered(Opcode::atan2),
    lowered(Opcode::sinh),
    lowered(Opcode::cosh),
    lowered(Opcode::tanh),
    lowered(Opcode::asinh),
    lowered(Opcode::acosh),
    lowered(Opcode::atanh),
    lowered(Opcode::pow),
    lowered(Opcode::hypot),
    lowered(Opcode::erf),
    {Opcode::floor, x(GLSLstd450Floor), kNone, kNone, kNone},
    {Opcode::ceil, x(GLSLstd450Ceil), kNone, kNone, kNone},
    {Opcode::round, x(GLSLstd450RoundEven), kNone, kNone, kNone},
    {Opcode::trunc, x(GLSLstd450Trunc), kNone, kNone, kNone},
    lowered(Opcode::copysign),
    {Opcode::eq, o(Op::OpFOrdEqual), o(Op::OpIEqual), o(Op::OpIEqual), o(Op::OpLogicalEqual)},
    {Opcode::ne, o(Op::OpFUnordNotEqual), o(Op::OpINotEqual), o(Op::OpINotEqual), o(Op::OpLogicalNotEqual)},
    {Opcode::lt, o(Op::OpFOrdLessThan), o(Op::OpSLessThan), o(Op::OpULessThan), kNone},
    {Opcode::le, o(Op::OpFOrdLessThanEqual), o(Op::OpSLessThanEqual), o(Op::OpULessThanEqual), kNone},
    {Opcode::gt, o(Op::OpFOrdGreaterThan), o(Op::OpSGreaterThan), o(Op::OpUGreaterThan), kNone},
    {Opcode::ge, o(Op::OpFOrdGreaterThanEqual), o(Op::OpSGreaterThanEqual), o(Op::OpUGreaterThanEqual), kNone},
    {Opcode::bit_and, kNone, o(Op::OpBitwiseAnd), o(Op::OpBitwiseAnd), o(Op::OpLogicalAnd)},
    {Opcode::bit_or, kNone, o(Op::OpBitwiseOr), o(Op::OpBitwiseOr), o(Op::OpLogicalOr)},
    {Opcode::bit_xor, kNone, o(Op::OpBitwiseXor), o(Op::OpBitwiseXor), o(Op::OpLogicalNotEqual)},
    {Opcode::bit_not, kNone, o(Op::OpNot), o(Op::OpNot), o(Op::OpLogicalNot)},
    {Opcode::shl, kNone, o(Op::OpShiftLeftLogical), o(Op::OpShiftLeftLogical), kNone},
    {Opcode::shr, kNone, o(Op::OpShiftRightArithmetic), o(Op::OpShiftRightLogical), kNone},
    lowered(Opcode::mulhi),
    {Opcode::stop_grad, kItself, kItself, kItself, kItself},
    {Opcode::select, o(Op::OpSelect), o(Op::OpSelect), o(Op::OpSelect), o(Op::OpSelect)},
};
constexpr bool covers() {
  if (std::size(kLines) != static_cast<std::size_t>(kElementwiseCount)) return false;
  for (std::size_t k = 0; k < std::size(kLines); ++k)
    if (static_cast<std::size_t>(kLines[k].op) != k) return false;
  return true;
}
static_assert(covers(), "backends/vulkan: every elementwise op needs a line, in the order of ops.def");

}  // namespace

Word Emitter::type(DType t) {
  if (is_bool(t)) return m_.bool_type();
  if (t == DType::f32 || t == DType::f64) return m_.float_type(bits_of(t));
  return m_.int_type(bits_of(t));
}

Word Emitter::constant(DType t, std::uint64_t bits) {
  if (is_bool(t)) return m_.boolean(bits != 0);
  // A literal narrower than a word is sign-extended where the type has a sign; ours have none.
  return m_.constant(type(t), bits_of(t), bits);
}

Word Emitter::elementwise(Opcode code, DType t, DType result, std::span<const Word> operands) {
  const Line& line = kLines[static_cast<int>(code)];
  const std::uint32_t what = is_bool(t)                           ? line.truth
                             : t == DType::f32 || t == DType::f64 ? line.real
                             : is_signed(t)                       ? line.sign
                                                                  : line.natural;
  if (what == kItself) return operands[0];
  if (is_half(t) && code != Opcode::select)
    throw Bug(f_.loc, std::string("vulkan: ") + name_of(code) + " of " + name_of(t) + " should have been lowered");
  if (what == kNone && code == Opcode::select) return m_.op(Op::OpSelect, type(result), operands);
  if (what == kNone) throw Bug(f_.loc, std::string("vulkan: ") + name_of(code) + " of " + name_of(t) + " should have been lowered");
  if (what & kExtended) {
    const Word v = m_.extended(what & 0xffff, type(result), operands);
    return code == Opcode::fma ? exact(v) : v;
  }
  const Word v = m_.op(static_cast<Op>(what), type(result), operands);
  // Comparisons too: drivers take NaN for impossible otherwise.
  return is_float(t) && code != Opcode::select ? exact(v) : v;
}

// Floats to integers come with what does not fit taken out, halves as their bits (gpu::lower_ops).
Word Emitter::convert(Word v, DType from, DType to) {
  const bool real_from = is_float(from), real_to = is_float(to);
  if (from == to) return v;
  if (is_half(from) || is_half(to)) throw Bug(f_.loc, "vulkan: a conversion of half numbers should have been lowered");
  if (is_bool(from))
    return m_.op(Op::OpSelect, type(to),
                 {v,
                  constant(to, to == DType::f32   ? 0x3f800000u
                               : to == DType::f64 ? 0x3ff0000000000000u
                                                  : 1u),
                  constant(to, 0)});
  if (is_bool(to)) return binary(real_from ? Op::OpFUnordNotEqual : Op::OpINotEqual, m_.bool_type(), v, constant(from, 0));
  if (real_from && real_to) return m_.op(Op::OpFConvert, type(to), {v});
  if (real_from) return m_.op(is_signed(to) ? Op::OpConvertFToS : Op::OpConvertFToU, type(to), {v});
  if (real_to) return m_.op(is_signed(from) ? Op::OpConvertSToF : Op::OpConvertUToF, type(to), {v});
  if (size_of(from) == size_of(to)) return v;
  if (size_of(to) == 8 && is_signed(from)) {
    // From its halves: Mesa (22.3) compares a sign-extended number with a constant wrongly.
    const Word low = size_of(from) == 4 ? v : m_.op(Op::OpSConvert, u32(), {v});
    const Word high = binary(Op::OpShiftRightArithmetic, u32(), low, number(31));
    const Word upper = binary(Op::OpShiftLeftLogical, u64(), m_.op(Op::OpUConvert, u64(), {high}), wide(32));
    return binary(Op::OpBitwiseOr, u64(), upper, m_.op(Op::OpUConvert, u64(), {low}));
  }
  return m_.op(is_signed(from) ? Op::OpSConvert : Op::OpUConvert, type(to), {v});
}

Word Emitter::bitcast(Word v, DType from, DType to) {
  if (type(from) == type(to)) return v;
  return m_.op(Op::OpBitcast, type(to), {v});
}

Word Emitter::to_memory(Word v, DType t) {
  if (is_bool(t)) return m_.op(Op::OpSelect, m_.int_type(8), {v, m_.constant(m_.int_type(8), 8, 1), m_.constant(m_.int_type(8), 8, 0)});
  return t == DType::f32 || t == DType::f64 ? m_.op(Op::OpBitcast, m_.int_type(bits_of(t)), {v}) : v;
}
Word Emitter::from_memory(Word v, DType t) {
  if (is_bool(t)) return binary(Op::OpINotEqual, m_.bool_type(), v, m_.constant(m_.int_type(8), 8, 0));
  return t == DType::f32 || t == DType::f64 ? m_.op(Op::OpBitcast, type(t), {v}) : v;
}
Word Emitter::to_word(Word v, DType t) {
  const Word bits = to_memory(v, t);
  return size_of(t) == 8 ? bits : m_.op(Op::OpUConvert, u64(), {bits});
}
Word Emitter::from_word(Word v, DType t) {
  return from_memory(size_of(t) == 8 ? v : m_.op(Op::OpUConvert, m_.int_type(bits_of(t)), {v}), t);
}

}  // namespace fluxion::vulkan
