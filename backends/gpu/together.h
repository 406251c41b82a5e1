// What the threads of a warp have in common, whatever warps are: 32 threads of a group, or 32 points of the domain that follow one
// another, over the ends of rows too. So that sums to one place can be made by the warp before they go to memory.
#pragma once
#include "common/uniformity.h"

namespace fluxion::gpu {

class Together {
 public:
  explicit Together(const Function& f);
  /// One value for all threads that come by where it is made.
  bool same(ValueId v) const;
  /// All threads come by, the same number of times; none has left the kernel.
  bool come_by(OpId o) const;

 private:
  const Function& f_;
  const Uniformity u_;
  mutable std::vector<signed char> known_;  // by value: same(), -1 where nobody has asked
  bool leave_ = false;                      // a check that fails ends its thread
  bool any_lanes_;                          // those of u_ stand for any threads: of a group, or where there is but one axis
  bool look(ValueId v) const;
};

}  // namespace fluxion::gpu
