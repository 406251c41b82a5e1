// The evaluator: runs a Function directly. The oracle that every backend is held to.
#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "fluxion/ir.h"

namespace fluxion {

/// A scalar (bits, zero-extended), an array's bytes, or a sequence.
struct EvalValue {
  std::uint64_t bits = 0;
  std::shared_ptr<std::vector<std::byte>> array;
  std::shared_ptr<std::vector<EvalValue>> seq;
  std::uint32_t made = 0;  // of a NaN or infinity: what made it; see EvalOptions::nan
};

/// Memory that a kernel works on; the caller owns it.
struct EvalMemory {
  std::byte* data = nullptr;
  std::array<std::int64_t, 3> extent{1, 1, 1};
};

struct EvalOptions {
  bool bounds = true;                            // an index outside its memory is a KernelError with line and values
  bool races = true;                             // an element stored by one thread and touched by another is a KernelError
  std::vector<std::uint32_t> thread_order = {};  // a permutation of the domain; empty: in order
  std::function<void(std::string_view)> print = {};
  bool nan = false;               // a NaN that a kernel leaves where there was none is a KernelError that tells which op made it, of what
  bool inf = false;               // an infinity too, unless it is a literal
  std::int64_t first_thread = 0;  // without groups and thread_order: start there, and go round
};

/// Kind fn: scalar arguments to results. `at`: of the call, for errors of a host function.
FLUXION_API std::vector<std::uint64_t> evaluate_fn(const Function& f, std::span<const std::uint64_t> arguments, Loc at = {});
/// Kind kernel: every point of the domain, one after the other.
FLUXION_API void evaluate_kernel(const Function& f, std::array<std::int64_t, 3> domain, std::span<const EvalMemory> memories,
                                 std::span<const std::uint64_t> scalars, const EvalOptions& options = {});
/// Kind program, value form: parameters in order (arrays are copied, not written) to what the body yields.
FLUXION_API std::vector<EvalValue> evaluate_program(const Function& f, std::vector<EvalValue> arguments, const EvalOptions& options = {});
/// Kind program, memory form: works on the arrays of its memory parameters, in order.
FLUXION_API void evaluate_memory_form(const Function& f, std::span<const EvalMemory> arrays, std::span<const std::uint64_t> scalars,
                                      const EvalOptions& options = {});
/// One elementwise op, convert or bitcast on bits.
FLUXION_API std::uint64_t evaluate_op(Opcode op, DType result, DType operand, std::span<const std::uint64_t> operands);

/// A number as messages and `print` write it: shortest that reads back.
FLUXION_API std::string format_value(DType t, std::uint64_t bits);
/// The text of a print or check op with each "{}" replaced by the next value; values beyond those are appended.
FLUXION_API std::string format_text(std::string_view text, std::span<const DType> types, std::span<const std::uint64_t> values);

}  // namespace fluxion
