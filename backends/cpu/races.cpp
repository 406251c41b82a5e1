// The race checker under native code: generated code tells of its accesses, a launch runs on one thread meanwhile.
#include <fmt/format.h>
#include <immintrin.h>

#include "abi.h"

namespace fluxion::cpu {

RaceState::RaceState(const KernelPlan& plan, const KernelArray* arrays) : shadows(plan.watched.size()) {
  for (std::size_t m = 0; m < shadows.size(); ++m) {
    const KernelPlan::Watched& w = plan.watched[m];
    if (!w.on) continue;
    const std::int64_t n = w.array < 0 ? w.length : arrays[w.array].extent[0] * arrays[w.array].extent[1] * arrays[w.array].extent[2];
    shadows[m].resize(static_cast<std::size_t>(n * w.leaves));
  }
}

extern "C" {

void fluxion_cpu_touch(ThreadContext* context, std::int32_t site, std::int32_t memory, std::int32_t kind, const std::int64_t* elements,
                       const std::uint32_t* threads, const std::uint8_t* active, std::int32_t lanes, std::int32_t group) {
  RaceState& state = *context->races;
  const auto m = static_cast<std::size_t>(memory);
  std::vector<Shadow>& shadows = state.shadows[m];
  const KernelPlan::Watched& w = context->plan->watched[m];
  const int leaf = kind >> 8;
  WatchedAccess access{static_cast<std::uint32_t>(kind & 0xff), static_cast<std::uint32_t>(site), 0, static_cast<std::uint32_t>(group),
                       state.phase};
  for (std::int32_t k = 0; k < lanes; ++k) {
    if (!active[k]) continue;
    access.thread = threads[k];
    Shadow& s = shadows[static_cast<std::size_t>(elements[k] * w.leaves + leaf)];
    const Meeting what = watch(s, w.what, access);
    if (what == Meeting::fine) [[likely]]
      continue;
    {
      const unsigned control = _mm_getcsr();
      const Site& here = (*context->sites)[static_cast<std::size_t>(site)];
      std::string place;
      std::int64_t rest = elements[k];
      for (std::size_t axis = here.operands.size(); axis-- > 0;) {
        const std::int64_t n = w.array < 0 ? w.length : context->arrays[w.array].extent[axis];
        place = fmt::format("{}{}{}", rest % n, place.empty() ? "" : ", ", place);
        rest /= n;
      }
      const Loc other = (*context->sites)[other_op(s, what)].loc;
      context->failure->set(FailureSlot::Kind::kernel, here.loc,
                            meeting_text(what, s, w.what, access, context->kernel, fmt::format("{}[{}]", w.what.name, place), other));
      _mm_setcsr(control);
    }
    std::longjmp(context->escape, 1);
  }
}

void fluxion_cpu_phase(ThreadContext* context) { ++context->races->phase; }
}

}  // namespace fluxion::cpu
