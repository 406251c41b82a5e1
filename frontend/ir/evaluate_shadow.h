// The race checker: beside each element and leaf that is watched, who touched it and how. Between threads an element
// must stay in one class: own (one thread does what it likes), read by all, added to by all, or worked on by atomics.
// An atomic add whose result nobody uses may meet both accumulates and other atomics.
//
// In a kernel with groups there are two layers: threads of one group, whose barriers end a phase and start anew; and groups,
// between which nothing is ordered for the whole launch.
#pragma once
#include <string>

#include "fluxion/ir.h"

namespace fluxion {

namespace touch {
inline constexpr std::uint32_t kRead = 1, kWrite = 2, kAdd = 4, kAtomic = 8, kLooseAdd = 16, kShared = 32;
constexpr bool may_meet(std::uint32_t flags) {
  const std::uint32_t kinds = flags & ~kShared;
  return !(flags & kShared) || kinds == kRead || !(kinds & ~(kAdd | kLooseAdd)) || !(kinds & ~(kAtomic | kLooseAdd));
}
inline const char* verb(std::uint32_t k) {
  return k & kWrite ? "stored to" : k & kAdd ? "accumulated to" : k & (kAtomic | kLooseAdd) ? "worked on by an atomic" : "read";
}
}  // namespace touch

/// What is known of one layer: the first to come, all kinds of access so far, the latest op that added a kind.
struct Touch {
  std::uint32_t who = 0;
  std::uint32_t flags : 8 = 0;
  std::uint32_t op : 24 = 0;

  /// False when this access and an earlier one by another are a race; then nothing is noted.
  bool note(std::uint32_t by, std::uint32_t kind, OpId id) {
    if (flags == 0) who = by;
    const std::uint32_t now = flags | kind | (who != by ? touch::kShared : 0);
    if (!touch::may_meet(now)) return false;
    if (now != flags) op = id.index & 0xffffff;
    flags = now & 0xff;
    return true;
  }
};

struct Shadow {
  Touch across;            // by thread; in a kernel with groups by group
  Touch within;            // by thread of the group, in one phase
  std::uint32_t phase = 0;
};

}  // namespace fluxion
