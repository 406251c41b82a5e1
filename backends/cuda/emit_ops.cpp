// Elementwise ops and conversions. Each op has a line for floats, signed and unsigned integers, and bools: how LLVM has it, or kNone
// where backends/gpu has made something else of it (gpu::lower_ops, math_lowering) or the op does not take the type.
#include <llvm/IR/Intrinsics.h>

#include <array>

#include "emitter.h"
#include "fluxion/error.h"

namespace fluxion::cuda {
namespace {

struct Make {
  enum class How : std::uint8_t { none, itself, binary, compare, function, negate } how = How::none;
  unsigned what = 0;
};
using How = Make::How;
constexpr Make kNone{}, kItself{How::itself, 0}, kNegate{How::negate, 0};
constexpr Make o(llvm::Instruction::BinaryOps i) { return {How::binary, static_cast<unsigned>(i)}; }
constexpr Make c(llvm::CmpInst::Predicate p) { return {How::compare, static_cast<unsigned>(p)}; }
constexpr Make x(unsigned intrinsic) { return {How::function, intrinsic}; }

struct Line {
  Opcode op;
  Make real, sign, natural, truth;
};
using I = llvm::Instruction;
using P = llvm::CmpInst;
namespace in = llvm::Intrinsic;
constexpr Line lowered(Opcode op) { return {op, kNone, kNone, kNone, kNone}; }
constexpr Line kLines[] = {
    {Opcode::add, o(I::FAdd), o(I::Add), o(I::Add), kNone},
    {Opcode::sub, o(I::FSub), o(I::Sub), o(I::Sub), kNone},
    {Opcode::mul, o(I::FMul), o(I::Mul), o(I::Mul), kNone},
    {Opcode::div, o(I::FDiv), o(I::SDiv), o(I::UDiv), kNone},
    {Opcode::rem, kNone, o(I::SRem), o(I::URem), kNone},
    {Opcode::neg, kNegate, kNegate, kNegate, kNone},
    {Opcode::abs, x(in::fabs), kNone, kItself, kNone},
    lowered(Opcode::sign),
    lowered(Opcode::min),
    lowered(Opcode::max),
    {Opcode::fma, x(in::fma), kNone, kNone, kNone},
    lowered(Opcode::mulz),
    lowered(Opcode::sdiv),
    {Opcode::sqrt, x(in::sqrt), kNone, kNone, kNone},
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
    {Opcode::floor, x(in::floor), kNone, kNone, kNone},
    {Opcode::ceil, x(in::ceil), kNone, kNone, kNone},
    {Opcode::round, x(in::roundeven), kNone, kNone, kNone},
    {Opcode::trunc, x(in::trunc), kNone, kNone, kNone},
    lowered(Opcode::copysign),
    {Opcode::eq, c(P::FCMP_OEQ), c(P::ICMP_EQ), c(P::ICMP_EQ), c(P::ICMP_EQ)},
    {Opcode::ne, c(P::FCMP_UNE), c(P::ICMP_NE), c(P::ICMP_NE), c(P::ICMP_NE)},
    {Opcode::lt, c(P::FCMP_OLT), c(P::ICMP_SLT), c(P::ICMP_ULT), kNone},
    {Opcode::le, c(P::FCMP_OLE), c(P::ICMP_SLE), c(P::ICMP_ULE), kNone},
    {Opcode::gt, c(P::FCMP_OGT), c(P::ICMP_SGT), c(P::ICMP_UGT), kNone},
    {Opcode::ge, c(P::FCMP_OGE), c(P::ICMP_SGE), c(P::ICMP_UGE), kNone},
    {Opcode::bit_and, kNone, o(I::And), o(I::And), o(I::And)},
    {Opcode::bit_or, kNone, o(I::Or), o(I::Or), o(I::Or)},
    {Opcode::bit_xor, kNone, o(I::Xor), o(I::Xor), o(I::Xor)},
    {Opcode::bit_not, kNone, kItself, kItself, kItself},  // see below
    {Opcode::shl, kNone, o(I::Shl), o(I::Shl), kNone},
    {Opcode::shr, kNone, o(I::AShr), o(I::LShr), kNone},
    lowered(Opcode::mulhi),
    {Opcode::stop_grad, kItself, kItself, kItself, kItself},
    {Opcode::select, kItself, kItself, kItself, kItself},  // see below
};
constexpr bool covers() {
  if (std::size(kLines) != static_cast<std::size_t>(kElementwiseCount)) return false;
  for (std::size_t k = 0; k < std::size(kLines); ++k)
    if (static_cast<std::size_t>(kLines[k].op) != k) return false;
  return true;
}
static_assert(covers(), "backends/cuda: every elementwise op needs a line, in the order of ops.def");

}  // namespace

llvm::Type* Emitter::type(DType t) {
  if (is_bool(t)) return b_.getInt1Ty();
  return memory_type(t);
}

llvm::Type* Emitter::memory_type(DType t) {
  if (t == DType::f32) return b_.getFloatTy();
  if (t == DType::f64) return b_.getDoubleTy();
  return bits_type(t);
}

llvm::Constant* Emitter::constant(DType t, std::uint64_t bits) {
  if (t == DType::f32)
    return llvm::ConstantFP::get(context_, llvm::APFloat(llvm::APFloat::IEEEsingle(), llvm::APInt(32, bits & 0xffffffff)));
  if (t == DType::f64) return llvm::ConstantFP::get(context_, llvm::APFloat(llvm::APFloat::IEEEdouble(), llvm::APInt(64, bits)));
  const unsigned width = is_bool(t) ? 1 : static_cast<unsigned>(size_of(t)) * 8;
  return llvm::ConstantInt::get(context_, llvm::APInt(64, bits).trunc(width));
}

// `t`: of the operands; of a select, of what is selected.
Node* Emitter::elementwise(Opcode code, DType t, llvm::ArrayRef<Node*> v) {
  if (code == Opcode::select) return b_.CreateSelect(v[0], v[1], v[2]);
  if (code == Opcode::bit_not) return b_.CreateNot(v[0]);
  const Line& line = kLines[static_cast<int>(code)];
  const bool real = t == DType::f32 || t == DType::f64;
  const Make& make = is_bool(t) ? line.truth : real ? line.real : is_signed(t) ? line.sign : line.natural;
  if (make.how == How::none || (is_half(t) && make.how != How::itself))
    throw Bug(f_.loc, std::string("cuda: ") + name_of(code) + " of " + name_of(t) + " should have been lowered");
  switch (make.how) {
    case How::none: break;
    case How::itself: return v[0];
    case How::binary: return b_.CreateBinOp(static_cast<I::BinaryOps>(make.what), v[0], v[1]);
    case How::compare: return b_.CreateCmp(static_cast<P::Predicate>(make.what), v[0], v[1]);
    case How::function: return b_.CreateIntrinsic(static_cast<in::ID>(make.what), {v[0]->getType()}, v);
    case How::negate: return real ? b_.CreateFNeg(v[0]) : b_.CreateNeg(v[0]);
  }
  return nullptr;
}

// Floats to integers come with what does not fit taken out, halves as their bits (gpu::lower_ops).
Node* Emitter::convert(Node* v, DType from, DType to) {
  if (from == to) return v;
  if (is_half(from) || is_half(to)) throw Bug(f_.loc, "cuda: a conversion of half numbers should have been lowered");
  llvm::Type* result = type(to);
  if (is_bool(to)) {
    llvm::Constant* zero = llvm::Constant::getNullValue(v->getType());
    return is_float(from) ? b_.CreateFCmpUNE(v, zero) : b_.CreateICmpNE(v, zero);
  }
  if (is_float(from)) {
    if (is_float(to)) return b_.CreateFPCast(v, result);
    return is_signed(to) ? b_.CreateFPToSI(v, result) : b_.CreateFPToUI(v, result);
  }
  if (is_float(to)) return is_signed(from) ? b_.CreateSIToFP(v, result) : b_.CreateUIToFP(v, result);
  return b_.CreateIntCast(v, result, is_signed(from));
}

Node* Emitter::bitcast(Node* v, DType from, DType to) { return type(from) == type(to) ? v : b_.CreateBitCast(v, type(to)); }

Node* Emitter::to_memory(Node* v, DType t) { return is_bool(t) ? b_.CreateZExt(v, b_.getInt8Ty()) : v; }
Node* Emitter::from_memory(Node* v, DType t) { return is_bool(t) ? b_.CreateICmpNE(v, b_.getInt8(0)) : v; }
Node* Emitter::to_bits(Node* v, DType t) { return b_.CreateBitCast(to_memory(v, t), bits_type(t)); }
Node* Emitter::from_bits(Node* v, DType t) { return from_memory(b_.CreateBitCast(v, memory_type(t)), t); }

}  // namespace fluxion::cuda
