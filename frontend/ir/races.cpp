// The words of the race checker.
#include "fluxion/races.h"

#include <fmt/format.h>

#include "fluxion/error.h"

namespace fluxion {
namespace {
const char* verb(std::uint32_t k) {
  using namespace touch;
  return k & kWrite ? "stored to" : k & kAdd ? "accumulated to" : k & (kAtomic | kLooseAdd) ? "worked on by an atomic" : "read";
}
}  // namespace

std::string meeting_text(Meeting what, const Shadow& s, const WatchedMemory& m, const WatchedAccess& a, const std::string& kernel,
                         const std::string& place, Loc other) {
  if (what == Meeting::unwritten)
    return fmt::format("kernel \"{}\": {} is Out and is read before it is stored; declare {} InOut", kernel, place, m.name);
  const bool groups = what == Meeting::across && m.groups;
  const Touch& t = what == Meeting::within ? s.within : s.across;
  const char* who = groups ? "group" : "thread";
  const char* advice = what == Meeting::within ? "put an fx::barrier() between the two, or use atomics for both"
                       : groups                ? "a barrier orders the threads of one group only: launch the groups that meet separately"
                                               : "read from a second buffer, or launch the threads that meet separately";
  return fmt::format("kernel \"{}\": {} is {} by {} {} and {} by another (first by {} {}), and {} is {}; {}; the other access: {}", kernel,
                     place, verb(a.kind), who, groups ? a.group : a.thread, verb(t.flags), who, t.who, m.name,
                     m.shared ? "shared by a group" : name_of(m.role), advice, to_string(other));
}

}  // namespace fluxion
