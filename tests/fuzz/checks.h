// What a random program is held to. Each check gives "" or what went wrong; its first word names the check.
#pragma once
#include <map>
#include <memory>
#include <string>

#include "coverage.h"
#include "fluxion/backend.h"
#include "fluxion/error.h"
#include "fluxion/ir.h"
#include "fluxion/passes.h"
#include "gradient_check.h"
#include "program.h"

namespace fluxion::fuzz {

/// What a run over many programs adds up.
struct Report {
  Coverage coverage;
  std::map<std::string, int> refusals;           // by reason
  int programs = 0, refused = 0, unbounded = 0;  // unbounded: derivatives too large to compare
};

/// Capture, the exact passes and the evaluator against direct execution, bit by bit.
std::string check_values(const Program& p);
/// jvp, vjp, jvp(vjp), vjp(vjp) (some also jvp(jvp), vjp(jvp)) against nested dual numbers. f64 only.
/// vjp also with threads in another order. A KernelError of a transform is a refusal: counted, not a finding.
std::string check_derivatives(const Program& p, Report* report = nullptr);
/// The lowerings of a native backend, in the evaluator: the same numbers up to rounding.
std::string check_lowering(const Program& p);
/// The native backend at some SIMD width and instruction set against the evaluator on the same lowered function: the
/// program, or with `derivative` one of its derivatives, too.
std::string check_native(const Program& p, Backend& backend, const CompileOptions& options, bool derivative);

/// Sums over threads come in another order, so floats are compared up to rounding, relative to the whole array;
/// without `sums` up to flushed denormals only.
template <class T>
std::string compare_numbers(const char* what, const testing::Arguments& expected, const testing::Arguments& got, bool sums);

/// No call is inlined on this thread while it lives, if `on`.
struct KeptCalls {
  explicit KeptCalls(bool on) { testing::keep_calls(on); }
  ~KeptCalls() { testing::keep_calls(false); }
};

/// Runs one of the above; an exception is a finding, too.
template <class Check>
std::string guarded(const Check& check) {
  try {
    return check();
  } catch (const std::exception& e) { return std::string("exception: ") + e.what(); }
}

/// The smallest program found that fails `check` as `p` does.
template <class Check>
Program shrink(Program p, const Check& check) {
  const auto category = [&](const Program& q) {
    const std::string m = guarded([&] { return check(q); });
    return m.substr(0, m.find(m.starts_with("exception") ? '\n' : ' '));
  };
  const std::string failure = category(p);
  for (int budget = 4000; budget > 0;) {
    bool smaller = false;
    for (Program& q : reductions(p)) {
      if (size_of(q) >= size_of(p) || --budget < 0) break;
      if (category(q) != failure) continue;
      p = std::move(q);
      smaller = true;
      break;
    }
    if (!smaller) break;
  }
  return p;
}

}  // namespace fluxion::fuzz
