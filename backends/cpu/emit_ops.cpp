// Elementwise ops and conversions, scalar or W lanes wide: each is written once for both.
// The meaning of every op is host_ops.h; this file only spells it in IR.
#include <llvm/IR/Intrinsics.h>

#include "emitter.h"
#include "fluxion/error.h"
#include "fluxion/mutants.h"

namespace fluxion::cpu {
using llvm::Intrinsic::ID;

Node* Emitter::same(Node* n, llvm::Type* t, double value) {
  llvm::Constant* k =
      t->isFloatingPointTy() ? llvm::ConstantFP::get(t, value) : llvm::ConstantInt::getSigned(t, static_cast<std::int64_t>(value));
  if (!n->getType()->isVectorTy()) return k;
  return llvm::ConstantVector::getSplat(llvm::ElementCount::getFixed(W), k);
}

Node* Emitter::minus_zero(DType t, bool vector) {
  llvm::Type* s = scalar_type(t);
  llvm::Constant* k = is_float(t) ? llvm::ConstantFP::getNegativeZero(s) : llvm::Constant::getNullValue(s);
  return vector ? llvm::ConstantVector::getSplat(llvm::ElementCount::getFixed(W), k) : k;
}

void Emitter::elementwise(const Op& op) {
  const ValueId r = op.results[0];
  const bool wide = u(r) == Class::varying;
  if (op.code == Opcode::select) {
    Node* cond = u.uniform(op.operands[0]) || !wide ? scalar(op.operands[0]) : vector(op.operands[0]);
    return set(r, b.CreateSelect(cond, at(op.operands[1], u(r)), at(op.operands[2], u(r))));
  }
  llvm::SmallVector<Node*, 3> x;
  for (ValueId v : op.operands) x.push_back(wide ? vector(v) : scalar(v));
  const DType from = f.type(op.operands[0]).dtype(), to = f.type(r).dtype();
  if (op.code == Opcode::convert) return set(r, convert(x[0], from, to));
  if (op.code == Opcode::bitcast) return set(r, b.CreateBitCast(x[0], like(x[0], scalar_type(to))));
  set(r, compute(op.code, from, x));
}

Node* Emitter::compute(Opcode code, DType t, llvm::ArrayRef<Node*> x) {
  Node* a = x[0];
  Node* d = x.size() > 1 ? x[1] : nullptr;
  llvm::Type* s = scalar_type(t);
  const bool real = is_float(t), sign = is_signed(t);
  const auto number = [&](double value) { return same(a, s, value); };
  const auto unary = [&](ID id) { return b.CreateUnaryIntrinsic(id, a); };
  const auto shift_count = [&] { return b.CreateAnd(d, number(size_of(t) * 8 - 1)); };
  switch (code) {
    case Opcode::add: return real ? b.CreateFAdd(a, d) : b.CreateAdd(a, d);
    case Opcode::sub: return real ? b.CreateFSub(a, d) : b.CreateSub(a, d);
    case Opcode::mul: return real ? b.CreateFMul(a, d) : b.CreateMul(a, d);
    case Opcode::div: return real ? b.CreateFDiv(a, d) : integer_divide(code, t, a, d);
    case Opcode::rem: return real ? by_call(code, t, x) : integer_divide(code, t, a, d);
    case Opcode::neg: return real ? b.CreateFNeg(a) : b.CreateNeg(a);
    case Opcode::abs:
      if (real) return unary(llvm::Intrinsic::fabs);
      return sign ? b.CreateBinaryIntrinsic(llvm::Intrinsic::abs, a, b.getFalse()) : a;
    case Opcode::sign:
      if (real)
        return b.CreateSelect(b.CreateFCmpOGT(a, number(0)), number(1),
                              b.CreateSelect(b.CreateFCmpOLT(a, number(0)), number(-1), number(0)));
      if (!sign) return b.CreateZExt(b.CreateICmpNE(a, number(0)), a->getType());
      return b.CreateSelect(b.CreateICmpSGT(a, number(0)), number(1), b.CreateAShr(a, number(size_of(t) * 8 - 1)));
    // minps(d, a) is "d < a ? d : a"; only a NaN in a is left to mend.
    case Opcode::min:
      if (!real) return b.CreateBinaryIntrinsic(sign ? llvm::Intrinsic::smin : llvm::Intrinsic::umin, a, d);
      return b.CreateSelect(b.CreateFCmpUNO(a, a), d,
                            b.CreateSelect(planted(testing::Mutant::native_min) ? b.CreateFCmpOGT(d, a) : b.CreateFCmpOLT(d, a), d, a));
    case Opcode::max:
      if (!real) return b.CreateBinaryIntrinsic(sign ? llvm::Intrinsic::smax : llvm::Intrinsic::umax, a, d);
      return b.CreateSelect(b.CreateFCmpUNO(a, a), d, b.CreateSelect(b.CreateFCmpOGT(d, a), d, a));
    case Opcode::fma:
      if (!opt.fma) return by_call(code, t, x);
      return b.CreateIntrinsic(llvm::Intrinsic::fma, {a->getType()}, {a, d, x[2]});
    case Opcode::mulz: return b.CreateSelect(b.CreateFCmpOEQ(a, number(0)), number(0), b.CreateFMul(a, d));
    case Opcode::sdiv: return b.CreateSelect(b.CreateFCmpOEQ(d, number(0)), number(0), b.CreateFDiv(a, d));
    case Opcode::sqrt: return unary(llvm::Intrinsic::sqrt);
    case Opcode::rsqrt: return b.CreateFDiv(number(1), unary(llvm::Intrinsic::sqrt));
    case Opcode::floor: return unary(llvm::Intrinsic::floor);
    case Opcode::ceil: return unary(llvm::Intrinsic::ceil);
    case Opcode::round: return unary(llvm::Intrinsic::roundeven);
    case Opcode::trunc: return unary(llvm::Intrinsic::trunc);
    case Opcode::copysign: return b.CreateBinaryIntrinsic(llvm::Intrinsic::copysign, a, d);
    case Opcode::eq: return real ? b.CreateFCmpOEQ(a, d) : b.CreateICmpEQ(a, d);
    case Opcode::ne: return real ? b.CreateFCmpUNE(a, d) : b.CreateICmpNE(a, d);
    case Opcode::lt: return real ? b.CreateFCmpOLT(a, d) : sign ? b.CreateICmpSLT(a, d) : b.CreateICmpULT(a, d);
    case Opcode::le: return real ? b.CreateFCmpOLE(a, d) : sign ? b.CreateICmpSLE(a, d) : b.CreateICmpULE(a, d);
    case Opcode::gt: return real ? b.CreateFCmpOGT(a, d) : sign ? b.CreateICmpSGT(a, d) : b.CreateICmpUGT(a, d);
    case Opcode::ge: return real ? b.CreateFCmpOGE(a, d) : sign ? b.CreateICmpSGE(a, d) : b.CreateICmpUGE(a, d);
    case Opcode::bit_and: return b.CreateAnd(a, d);
    case Opcode::bit_or: return b.CreateOr(a, d);
    case Opcode::bit_xor: return b.CreateXor(a, d);
    case Opcode::bit_not: return b.CreateNot(a);
    case Opcode::shl: return b.CreateShl(a, shift_count());
    case Opcode::shr: return sign ? b.CreateAShr(a, shift_count()) : b.CreateLShr(a, shift_count());
    case Opcode::mulhi: {
      const unsigned bits = size_of(t) * 8;
      llvm::Type* twice = like(a, b.getIntNTy(2 * bits));
      const auto widen = [&](Node* n) { return sign ? b.CreateSExt(n, twice) : b.CreateZExt(n, twice); };
      return b.CreateTrunc(b.CreateLShr(b.CreateMul(widen(a), widen(d)), bits), a->getType());
    }
    case Opcode::stop_grad: return a;
    default: return by_call(code, t, x);
  }
}

// Quotients of up to 32 bits are exact in f64 (of up to 16 bits in f32) after truncation, and a vector of
// idiv instructions is what LLVM would make instead.
Node* Emitter::integer_divide(Opcode code, DType t, Node* a, Node* d) {
  llvm::Type* s = scalar_type(t);
  const bool sign = is_signed(t);
  const auto number = [&](double v) { return same(a, s, v); };
  Node *zero = nullptr, *minus = nullptr, *q = nullptr;
  Node* by = d;
  auto* k = llvm::dyn_cast<llvm::Constant>(d);
  const bool simple = k && !k->isZeroValue() && !k->isAllOnesValue() && (!d->getType()->isVectorTy() || k->getSplatValue());
  if (!simple) {
    zero = b.CreateICmpEQ(d, number(0));
    by = b.CreateSelect(zero, number(1), by);
    if (sign) {
      minus = b.CreateICmpEQ(d, number(-1));
      by = b.CreateSelect(minus, number(1), by);
    }
  }
  if (simple || !a->getType()->isVectorTy() || size_of(t) == 8) {
    q = sign ? b.CreateSDiv(a, by) : b.CreateUDiv(a, by);
  } else if (size_of(t) == 4) {
    llvm::Type* real = vec(b.getDoubleTy());
    if (sign) q = b.CreateFPToSI(b.CreateFDiv(b.CreateSIToFP(a, real), b.CreateSIToFP(by, real)), a->getType());
    else q = b.CreateFPToUI(b.CreateFDiv(b.CreateUIToFP(a, real), b.CreateUIToFP(by, real)), a->getType());
  } else {
    llvm::Type *word = vec(b.getInt32Ty()), *real = vec(b.getFloatTy());
    const auto widen = [&](Node* n) { return b.CreateSIToFP(sign ? b.CreateSExt(n, word) : b.CreateZExt(n, word), real); };
    q = b.CreateTrunc(b.CreateFPToSI(b.CreateFDiv(widen(a), widen(by)), word), a->getType());
  }
  if (minus) q = b.CreateSelect(minus, b.CreateNeg(a), q);
  if (code == Opcode::rem) {
    Node* r = b.CreateSub(a, b.CreateMul(q, d));
    if (planted(testing::Mutant::native_rem)) r = b.CreateBinaryIntrinsic(llvm::Intrinsic::abs, r, b.getFalse());
    return zero ? b.CreateSelect(zero, number(0), r) : r;
  }
  return zero ? b.CreateSelect(zero, number(0), q) : q;
}

Node* Emitter::by_call(Opcode code, DType t, llvm::ArrayRef<Node*> x) {
  const std::string name = std::string("fluxion_op_") + name_of(code) + (t == DType::f32 ? "f" : "");
  llvm::Type* s = scalar_type(t);
  llvm::SmallVector<llvm::Type*, 3> types(x.size(), s);
  auto callee = runtime(name.c_str(), s, types);
  auto* fun = llvm::cast<llvm::Function>(callee.getCallee());
  fun->setDoesNotAccessMemory();
  fun->setWillReturn();
  if (!x[0]->getType()->isVectorTy()) return b.CreateCall(callee, x);
  Node* r = llvm::PoisonValue::get(vec(s));
  for (unsigned k = 0; k < W; ++k) {
    llvm::SmallVector<Node*, 3> one;
    for (Node* n : x) one.push_back(b.CreateExtractElement(n, k));
    r = b.CreateInsertElement(r, b.CreateCall(callee, one), k);
  }
  return r;
}

Node* Emitter::convert(Node* a, DType from, DType to) {
  if (from == to) return a;
  if (is_half(from)) {
    Node* wide = from == DType::f16 ? half_to_float(a)
                                    : b.CreateBitCast(b.CreateShl(b.CreateZExt(a, like(a, b.getInt32Ty())), 16), like(a, b.getFloatTy()));
    return convert(wide, DType::f32, to);
  }
  if (to == DType::f16) return float_to_half(convert(a, from, DType::f32));
  if (to == DType::bf16) {  // round to nearest even on the upper half; a NaN keeps a set bit
    Node* real = convert(a, from, DType::f32);
    llvm::Type* word = b.getInt32Ty();
    Node* bits = b.CreateBitCast(real, like(a, word));
    Node* odd = b.CreateAnd(b.CreateLShr(bits, 16), same(a, word, 1));
    Node* rounded = b.CreateAdd(bits, b.CreateAdd(odd, same(a, word, 0x7fff)));
    Node* quiet = b.CreateOr(bits, same(a, word, 0x400000));
    bits = b.CreateSelect(b.CreateFCmpUNO(real, real), quiet, rounded);
    return b.CreateTrunc(b.CreateLShr(bits, 16), like(a, b.getInt16Ty()));
  }
  llvm::Type* s = scalar_type(to);
  llvm::Type* type = like(a, s);
  if (is_bool(to)) {
    Node* zero = llvm::Constant::getNullValue(a->getType());
    return is_float(from) ? b.CreateFCmpUNE(a, zero) : b.CreateICmpNE(a, zero);
  }
  if (is_float(from)) {
    if (is_float(to)) return b.CreateFPCast(a, type);
    return b.CreateIntrinsic(is_signed(to) ? llvm::Intrinsic::fptosi_sat : llvm::Intrinsic::fptoui_sat, {type, a->getType()}, {a});
  }
  if (is_float(to)) return is_signed(from) ? b.CreateSIToFP(a, type) : b.CreateUIToFP(a, type);
  return b.CreateIntCast(a, type, is_signed(from));
}

// Without F16C: exponents are re-biased in the integer part, subnormals normalised by one subtraction.
Node* Emitter::half_to_float(Node* a) {
  llvm::Type *word = b.getInt32Ty(), *real = like(a, b.getFloatTy());
  if (opt.f16c) return b.CreateFPExt(b.CreateBitCast(a, like(a, b.getHalfTy())), real);
  const auto k = [&](std::uint32_t v) { return same(a, word, static_cast<std::int32_t>(v)); };
  Node* h = b.CreateZExt(a, like(a, word));
  Node* body = b.CreateShl(b.CreateAnd(h, k(0x7fff)), 13);
  Node* exponent = b.CreateAnd(body, k(0x7c00u << 13));
  Node* normal = b.CreateAdd(body, k((127 - 15) << 23));
  Node* special = b.CreateAdd(normal, k((128 - 16) << 23));
  Node* small = b.CreateBitCast(b.CreateAdd(normal, k(1 << 23)), real);
  small = b.CreateFSub(small, b.CreateBitCast(k(113 << 23), real));
  Node* bits = b.CreateSelect(b.CreateICmpEQ(exponent, k(0x7c00u << 13)), special, normal);
  bits = b.CreateSelect(b.CreateICmpEQ(exponent, k(0)), b.CreateBitCast(small, like(a, word)), bits);
  return b.CreateBitCast(b.CreateOr(bits, b.CreateShl(b.CreateAnd(h, k(0x8000)), 16)), real);
}

// Round to nearest even. A subnormal result comes from one addition that shifts the bits into place.
Node* Emitter::float_to_half(Node* a) {
  llvm::Type *word = b.getInt32Ty(), *real = like(a, b.getFloatTy());
  if (opt.f16c) return b.CreateBitCast(b.CreateFPTrunc(a, like(a, b.getHalfTy())), like(a, b.getInt16Ty()));
  const auto k = [&](std::uint32_t v) { return same(a, word, static_cast<std::int32_t>(v)); };
  Node* bits = b.CreateBitCast(a, like(a, word));
  Node* sign = b.CreateAnd(bits, k(0x80000000u));
  bits = b.CreateXor(bits, sign);
  Node* special = b.CreateSelect(b.CreateICmpUGT(bits, k(255u << 23)), k(0x7e00), k(0x7c00));
  Node* magic = k(((127 - 15) + (23 - 10) + 1) << 23);
  Node* small = b.CreateFAdd(b.CreateBitCast(bits, real), b.CreateBitCast(magic, real));
  small = b.CreateSub(b.CreateBitCast(small, like(a, word)), magic);
  Node* odd = b.CreateAnd(b.CreateLShr(bits, 13), k(1));
  Node* normal = b.CreateAdd(bits, k((static_cast<std::uint32_t>(15 - 127) << 23) + 0xfff));
  normal = b.CreateLShr(b.CreateAdd(normal, odd), 13);
  Node* r = b.CreateSelect(b.CreateICmpULT(bits, k(113u << 23)), small, normal);
  r = b.CreateSelect(b.CreateICmpUGE(bits, k((127u + 16) << 23)), special, r);
  return b.CreateTrunc(b.CreateOr(r, b.CreateLShr(sign, 16)), like(a, b.getInt16Ty()));
}

}  // namespace fluxion::cpu
