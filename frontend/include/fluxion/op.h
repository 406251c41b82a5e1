// Every operation of the IR: the elementwise rows of ops.def, then the structural ones.
#pragma once
#include <cstdint>
#include <span>

#include "fluxion/type.h"

namespace fluxion {

enum class Opcode : std::uint8_t {
#define OP1(name, ...) name,
#define OP2(name, ...) name,
#define OP3(name, ...) name,
#include "fluxion/ops.def"
  select,  // (bool, T, T) -> T; elementwise, but typed unlike a row. Last elementwise opcode.
  // ---- conversions; the result type is the op's own
  convert,
  bitcast,
  // ---- memory
  load,
  store,
  accumulate,
  atomic,
  extent,
  domain,
  // ---- structure
  if_,
  for_,
  while_,
  yield,
  call,
  // ---- threads of a group with each other
  group_index,
  barrier,
  subgroup,
  // ---- immutable sequences: the tape is one
  seq_get,
  seq_set,
  seq_add_at,
  seq_len,
  zeros,
  // ---- program level
  launch,
  // ---- effects on the host
  print,
  check,
  // ---- recorded by capture, gone after lower_exits and mem2reg
  var_new,
  var_get,
  var_set,
  break_if,
  continue_if,
  return_if,
  // ---- memory form of a program, made by the buffer plan; see docs/ir.md
  buffer_alloc,
  buffer_copy,
  buffer_zero,
  run,
};
/// Op::kind of an `atomic`: what it makes of the old number and the operand.
enum class Atomic : std::uint8_t { add, min, max, bit_and, bit_or, bit_xor, exchange, compare_exchange };
/// Op::kind of a `subgroup`: what a thread gets from the active threads of its subgroup.
enum class Subgroup : std::uint8_t { add, min, max, bit_and, bit_or, bit_xor, scan_add, scan_add_back, shuffle, scatter_add };
inline constexpr int kAtomicCount = static_cast<int>(Atomic::compare_exchange) + 1;
inline constexpr int kSubgroupCount = static_cast<int>(Subgroup::scatter_add) + 1;
FLUXION_API const char* name_of(Atomic kind);
FLUXION_API const char* name_of(Subgroup kind);
/// Threads of a subgroup: this many consecutive threads of a group (its last axis is the fastest), the last subgroup fewer.
inline constexpr int kSubgroupSize = 32;

inline constexpr int kElementwiseCount = static_cast<int>(Opcode::select) + 1;
inline constexpr int kOpcodeCount = static_cast<int>(Opcode::run) + 1;

constexpr bool is_elementwise(Opcode op) { return static_cast<int>(op) < kElementwiseCount; }
/// False for ops that only the recorded form has, before mem2reg, and only the memory form of programs: passes and
/// derivatives between these see none of them.
constexpr bool is_core(Opcode op) { return op < Opcode::var_new; }

namespace flag {
inline constexpr unsigned plain = 0, commutes = 1, exact = 2, predicate = 4;
}
enum class Operands : std::uint8_t { floats, ints, nums, bits, all };
constexpr bool accepts(Operands set, DType t) {
  if (is_half(t)) return false;  // storage only
  switch (set) {
    case Operands::floats: return is_float(t);
    case Operands::ints: return is_int(t);
    case Operands::nums: return !is_bool(t);
    case Operands::bits: return !is_float(t);
    case Operands::all: return true;
  }
  return false;
}

struct OpInfo {
  const char* name;
  std::uint8_t arity;  // of elementwise ops; 0 for structural ones
  Operands operands;
  unsigned flags;
  const char* doc;
};
FLUXION_API const OpInfo& info(Opcode op);
inline const char* name_of(Opcode op) { return info(op).name; }
/// All elementwise opcodes, select included.
FLUXION_API std::span<const Opcode> elementwise_ops();

}  // namespace fluxion
