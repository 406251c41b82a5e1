// What the evaluator works out about a function before it runs it: ops decoded, and where values of
// sequences and arrays are used for the last time, so that an update of one nobody else sees is in place.
#pragma once
#include <vector>

#include "evaluate_op.h"
#include "fluxion/ir.h"

namespace fluxion {

struct Step {
  Opcode code;
  DType from = DType::f32, to = DType::f32;  // convert, and the leaf of a memory access (from)
  ScalarOp scalar = nullptr;                 // set: an elementwise op on scalars, all that is below it
  bool used = false;                         // atomic: somebody uses the old number
  std::uint8_t arity = 0;
  std::uint32_t operand[3] = {};
  std::uint32_t result = 0;
  OpId op;
};

struct Plan {
  explicit Plan(const Function& f);
  const Function& f;
  std::vector<std::vector<Step>> steps;       // by region, without the yield
  std::vector<std::vector<MemoryId>> locals;  // by region
  std::vector<std::uint64_t> bits;            // by value: the constants, elsewhere 0
  std::vector<std::uint64_t> kills;           // by op: bit i set when operand i dies here
  bool has_objects = false;                   // some value is a seq or an array

 private:
  void find_last_uses();
};

}  // namespace fluxion
