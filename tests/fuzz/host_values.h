// What direct execution works on: arrays of numbers N, and the ops on integers, which are those of the language.
#pragma once
#include <stdexcept>
#include <vector>

#include "coverage.h"
#include "dual.h"
#include "program.h"

namespace fluxion::fuzz {

inline Traced with_slope_of(const Traced& v, const Traced&) { return v; }
inline Traced float_op(Opcode op, const Traced& a, const Traced& b, const Traced& c) { return {float_op<double>(op, a.v, b.v, c.v)}; }

inline std::int32_t int_op(Opcode op, std::int32_t a, std::int32_t b) {
  using F = HostOps<std::int32_t>;
  switch (op) {
    case Opcode::add: return F::add(a, b);
    case Opcode::sub: return F::sub(a, b);
    case Opcode::mul: return F::mul(a, b);
    case Opcode::mulhi: return F::mulhi(a, b);
    case Opcode::div: return F::div(a, b);
    case Opcode::rem: return F::rem(a, b);
    case Opcode::min: return F::min(a, b);
    case Opcode::max: return F::max(a, b);
    case Opcode::neg: return F::neg(a);
    case Opcode::abs: return F::abs(a);
    case Opcode::sign: return F::sign(a);
    case Opcode::bit_not: return ~a;
    case Opcode::bit_and: return a & b;
    case Opcode::bit_or: return a | b;
    case Opcode::bit_xor: return a ^ b;
    case Opcode::shl: return F::shl(a, b);
    case Opcode::shr: return F::shr(a, b);
    default: throw std::logic_error("fuzz: not an op on integers");
  }
}
template <class T>
bool test(Opcode op, T a, T b) {
  switch (op) {
    case Opcode::lt: return a < b;
    case Opcode::le: return a <= b;
    case Opcode::gt: return a > b;
    case Opcode::ge: return a >= b;
    case Opcode::eq: return a == b;
    case Opcode::ne: return a != b;
    default: throw std::logic_error("fuzz: not a comparison");
  }
}
inline std::int32_t to_int(double v) {
  if (v != v) return 0;
  return v >= 2147483647.0 ? INT32_MAX : v <= -2147483648.0 ? INT32_MIN : static_cast<std::int32_t>(v);
}

// ---- what coverage counts
inline Place place_of(int memory) {
  switch (memory) {
    case kX:
    case kH: return Place::in;
    case kY: return Place::out;
    case kZ:
    case kW:
    case kS0:
    case kS1: return Place::inout;
    case kG: return Place::accum;
    case kP:
    case kQ: return Place::integers;
    case kOwn0:
    case kOwn1:
    case kShared0:
    case kShared1: return Place::shared;
    default: return Place::local;
  }
}
inline Construct construct_of(Subgroup kind) {
  switch (kind) {
    case Subgroup::add: return Construct::subgroup_add;
    case Subgroup::scan_add:
    case Subgroup::scan_add_back: return Construct::subgroup_scan;
    case Subgroup::shuffle: return Construct::subgroup_shuffle;
    case Subgroup::scatter_add: return Construct::subgroup_scatter;
    case Subgroup::min:
    case Subgroup::max: return Construct::subgroup_min_max;
    case Subgroup::bit_and:
    case Subgroup::bit_or:
    case Subgroup::bit_xor: break;
  }
  return Construct::subgroup_bits;
}

template <class N>
struct Arrays {
  std::vector<N> x, y, z, w, g, s, h;
  std::vector<std::int32_t> p, q;
  N a{};
  std::int32_t m = 0;
};

}  // namespace fluxion::fuzz
