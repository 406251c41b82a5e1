// How long a strip of a kernel's loop is (ad/strip_loops.cpp), for tests that have no time for long loops.
#pragma once
#include "fluxion/type.h"

namespace fluxion::testing {

/// Iterations of which a kernel's reverse keeps a tape at a time, 2^14 unless a test changes it; of this thread.
FLUXION_API int& strip_length();

/// Another length for a while.
class StripLength {
 public:
  explicit StripLength(int n) : before_(strip_length()) { strip_length() = n; }
  ~StripLength() { strip_length() = before_; }
  StripLength(const StripLength&) = delete;
  StripLength& operator=(const StripLength&) = delete;

 private:
  int before_;
};

}  // namespace fluxion::testing
