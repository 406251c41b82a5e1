// What the native code of a program works on, and what it calls besides launches. The offsets are spelled again
// in emit_program.cpp. No LLVM here.
#pragma once
#include "abi.h"

namespace fluxion::cpu {

/// One run of a program. Arrays are numbered as the memories of the Function.
struct ProgramState {
  KernelArray* arrays = nullptr;             // of a stack of records: where it begins, and one record's extents
  const std::uint64_t* scalars = nullptr;    // the scalar parameters in order
  std::int64_t* counts = nullptr;            // records in use, by memory
  const KernelPlan* const* plans = nullptr;  // by callee
  ThreadContext* context = nullptr;
  // ---- not seen by generated code
  FailureSlot* failure = nullptr;
  const std::vector<Site>* sites = nullptr;
  void* workspace = nullptr;
  const void* owner = nullptr;
  // ---- of watched programs
  struct Turn {
    std::int32_t site, step;
  };
  std::vector<Turn> turns;  // the loops that run, outermost first
  std::int64_t launches = 0;
};
static_assert(offsetof(ProgramState, scalars) == 8 && offsetof(ProgramState, counts) == 16);
static_assert(offsetof(ProgramState, plans) == 24 && offsetof(ProgramState, context) == 32);

/// 0 when all went well. A failure is in the slot by then.
using ProgramFn = int (*)(ProgramState*);

/// Ops of a program that may report: print, check, buffer_alloc, calls of host functions, loops and launches; by op, -1 for the rest.
std::vector<int> number_program_sites(const Function& f);
std::vector<Site> program_sites(const Function& f);

extern "C" {
/// Pushes n records onto a stack; the number of the first, or -1 when there is no memory for them.
std::int32_t fluxion_cpu_records(ProgramState* state, std::int32_t memory, std::int32_t n, std::int32_t site);
/// A launch whose written arrays are looked at before and after: see common/nan_check.h. `callee`: its number.
int fluxion_cpu_watched_launch(ProgramState* state, std::int32_t site, std::int32_t callee, KernelFn kernel, const std::int64_t* domain,
                               const KernelArray* arrays, const std::uint64_t* scalars);
/// A loop begins (`what` 0), starts a turn (1; `step` below 0: the next one) or ends (2).
void fluxion_cpu_loop(ProgramState* state, std::int32_t site, std::int32_t what, std::int32_t step);
/// Calls the host function of a site; nonzero after a failure.
std::int32_t fluxion_cpu_program_external(ProgramState* state, std::int32_t site, const std::uint64_t* in, std::uint64_t* out);
/// Calls the host function that a kernel stands for; nonzero after a failure.
std::int32_t fluxion_cpu_program_host(ProgramState* state, std::int32_t callee, const KernelArray* arrays, const std::uint64_t* scalars);
/// A loop has seen that somebody called cancel(): notes it.
void fluxion_cpu_program_cancelled(ProgramState* state, std::int32_t site);
/// print, or a check that did not hold.
void fluxion_cpu_program_report(ProgramState* state, std::int32_t site, const std::uint64_t* values);
}

}  // namespace fluxion::cpu
