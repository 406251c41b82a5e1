// FLUXION_DEBUG=nan: a run that leaves a NaN where there was none is an error that names the array and element.
#pragma once
#include "runtime.h"

namespace fluxion::detail {

class NanCheck {
 public:
  /// Remembers what the written arrays of `work` hold.
  explicit NanCheck(const Work& work);
  void report(const Work& work, FailureSlot& failure) const;

 private:
  std::vector<std::vector<std::byte>> before_;  // of each array of the launch; empty: not written
};

}  // namespace fluxion::detail
