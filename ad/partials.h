// The partial derivatives of ops.def as IR: the same row that computes a number also builds the rule.
#pragma once
#include <span>

#include "fluxion/builder.h"

namespace fluxion::ad {

/// What one operand contributes: a factor, or one of the four kinds that need no multiplication.
struct Partial {
  enum class Kind { none, unit, minus_unit, mask, factor } kind = Kind::none;
  ValueId value{};  // mask: the condition; factor: the derivative
};

/// d op / d operand k at `operands` with result `r`; emits into `b` what the factor needs.
Partial partial(Builder& b, Opcode op, int k, std::span<const ValueId> operands, ValueId r);

/// False when operand `k` never has a derivative (comparisons, floor, stop_grad, ...). Emits nothing.
bool depends(Opcode op, int k);
/// True when the partial is a mask: where the condition fails, the cotangent is 0 whatever the factors are.
bool masks(Opcode op, int k);

}  // namespace fluxion::ad
