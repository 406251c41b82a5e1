// The race checker: beside each element and leaf that is watched, who touched it and how. Between threads an element
// must stay in one class: own (one thread does what it likes), read by all, added to by all, or worked on by atomics.
// An atomic add whose result nobody uses may meet both accumulates and other atomics.
//
// In a kernel with groups there are two layers: threads of one group, whose barriers end a phase and start anew; and groups,
// between which nothing is ordered for the whole launch. The evaluator and native code use the same checker.
#pragma once
#include <string>

#include "fluxion/type.h"

namespace fluxion {

namespace touch {
inline constexpr std::uint32_t kRead = 1, kWrite = 2, kAdd = 4, kAtomic = 8, kLooseAdd = 16, kShared = 32;
constexpr bool may_meet(std::uint32_t flags) {
  const std::uint32_t kinds = flags & ~kShared;
  return !(flags & kShared) || kinds == kRead || !(kinds & ~(kAdd | kLooseAdd)) || !(kinds & ~(kAtomic | kLooseAdd));
}
}  // namespace touch

/// What is known of one layer: the first to come, all kinds of access so far, the latest op that added a kind.
struct Touch {
  std::uint32_t who = 0;
  std::uint32_t flags : 8 = 0;
  std::uint32_t op : 24 = 0;

  /// False when this access and an earlier one by another are a race; then nothing is noted.
  bool note(std::uint32_t by, std::uint32_t kind, std::uint32_t at) {
    if (flags == 0) who = by;
    const std::uint32_t now = flags | kind | (who != by ? touch::kShared : 0);
    if (!touch::may_meet(now)) return false;
    if (now != flags) op = at & 0xffffff;
    flags = now & 0xff;
    return true;
  }
};

struct Shadow {
  Touch across;  // by thread; in a kernel with groups by group
  Touch within;  // by thread of the group, in one phase
  std::uint32_t phase = 0;
};

/// The memory of a kernel that an access goes to.
struct WatchedMemory {
  std::string name;
  Role role = Role::inout;
  bool shared = false;  // by the threads of a group
  bool groups = false;  // the kernel has groups
};
struct WatchedAccess {
  std::uint32_t kind, op;              // touch::...; a number of the op
  std::uint32_t thread, group, phase;  // group and phase: of kernels with groups
};
enum class Meeting : std::uint8_t { fine, unwritten, within, across };

inline Meeting watch(Shadow& s, const WatchedMemory& m, const WatchedAccess& a) {
  if (a.kind != touch::kWrite && m.role == Role::out && !(s.across.flags & touch::kWrite)) return Meeting::unwritten;
  if (!m.groups) return s.across.note(a.thread, a.kind, a.op) ? Meeting::fine : Meeting::across;
  if (s.phase != a.phase) s.within = {}, s.phase = a.phase;
  if (!s.within.note(a.thread, a.kind, a.op)) return Meeting::within;
  return m.shared || s.across.note(a.group, a.kind, a.op) ? Meeting::fine : Meeting::across;
}
/// The op of the earlier access of a race.
inline std::uint32_t other_op(const Shadow& s, Meeting what) { return what == Meeting::within ? s.within.op : s.across.op; }
/// What is wrong. `place`: the element; `other`: where the earlier access stands.
FLUXION_API std::string meeting_text(Meeting what, const Shadow& s, const WatchedMemory& m, const WatchedAccess& a,
                                     const std::string& kernel, const std::string& place, Loc other);

}  // namespace fluxion
