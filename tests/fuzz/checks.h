// What a random program is held to. Each check gives "" or what went wrong; its first word names the check.
#pragma once
#include <memory>
#include <string>

#include "fluxion/backend.h"
#include "fluxion/ir.h"
#include "program.h"

namespace fluxion::fuzz {

/// Capture, the exact passes and the evaluator against direct execution, bit by bit.
std::string check_values(const Program& p);
/// jvp against dual numbers; vjp against them by a dot product, with threads in another order too. f64 only.
std::string check_derivatives(const Program& p);
/// Derivatives of derivatives, forward and reverse against each other. f64 only.
std::string check_second_order(const Program& p);
/// The native backend at some SIMD width and instruction set against the evaluator on the same lowered function.
std::string check_native(const Program& p, Backend& backend, const CompileOptions& options);

/// Runs one of the above; an exception is a finding, too.
template <class Check>
std::string guarded(const Check& check) {
  try {
    return check();
  } catch (const std::exception& e) {
    return std::string("exception: ") + e.what();
  }
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
