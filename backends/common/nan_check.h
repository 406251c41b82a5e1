// FLUXION_DEBUG=nan: what a launch writes is looked at before and after it. Where a NaN has appeared the launch is run again in
// the evaluator, which says what made it; so the check costs two passes over the written arrays, and time only when it finds something.
#pragma once
#include <string>
#include <vector>

#include "fluxion/backend.h"

namespace fluxion {

class NanCheck {
 public:
  /// Before the launch: keeps a copy of what `kernel` writes. NaNs in an Out, which mean nothing there, become zeros,
  /// unless it works in place of another array. `inf`: infinities
  /// count as well.
  NanCheck(const Function& kernel, std::span<const ArrayArgument> arrays, bool inf);
  /// After it. False when there is a new one; the failure is in the slot then, `place` in front. To be called once. `at`: of a kernel
  /// that has no line itself.
  bool passes(const std::array<std::int64_t, 3>& domain, std::span<const std::uint64_t> scalars, FailureSlot& failure,
              const std::string& place, Loc at);

 private:
  const Function& kernel_;
  std::span<const ArrayArgument> arrays_;
  bool inf_;
  std::vector<std::vector<std::byte>> before_;  // by array; empty: not written

  bool in_place(std::size_t k) const;
  std::byte* kept(std::size_t k);  // what array k held
};

}  // namespace fluxion
