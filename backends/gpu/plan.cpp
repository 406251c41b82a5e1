// The order of the lowerings, in one place.
#include "plan.h"

#include <algorithm>

#include "common/atomics.h"
#include "fluxion/gather_sums.h"
#include "fluxion/passes.h"
#include "meets.h"
#include "simple.h"
#include "sums.h"
#include "tapes.h"

namespace fluxion::gpu {
namespace {

// Ops of a kernel that drivers still compile within seconds. Every call is its callee's body here, so that functions which call each
// other many times grow.
constexpr std::size_t kTooLarge = 40000;

Function finished(const Function& f, const Exact& exact) { return dce(cse(fold(lower_ops(inline_all(math_lowering(f)), exact)))); }

}  // namespace

Plan make_plan(const Function& kernel, const CompileOptions& options, const Exact& exact, const PlanOptions& how) {
  Plan plan;
  if (calls_host(kernel)) plan.host = "it calls a host function";
  if (options.race) plan.host = "races are looked for by the evaluator";
  if (options.nan || options.inf) plan.host = "what makes a NaN is looked for by the evaluator";
  if (inlined_size(kernel) > kTooLarge) plan.host = "it is too large for a driver's compiler";
  if (!plan.host.empty()) return plan;
  Function f = inline_all(kernel);
  if (options.bounds) f = check_bounds(f);
  f = atomic_sums(std::move(f));
  std::vector<Gathered> phases = options.bounds ? std::vector<Gathered>() : gather_sums(f, AddCost::of_threads);
  if (phases.empty()) phases.push_back({std::move(f), {}});
  int arrays = 0;
  for (const Parameter& p : kernel.parameters) arrays += p.kind == Parameter::Kind::memory;
  std::vector<Stage> last;
  for (const auto& [phase, beyond] : phases) {
    Sums sums = lower_sums(phase, {.relaxed = options.relaxed, .many = how.many, .warps = how.warp_sums});
    plan.adds = std::max(plan.adds, sums.adds);
    Stage stage;
    stage.beyond = beyond;
    plan.longest = std::min(plan.longest, std::int64_t{0x7fffffff} - *std::max_element(beyond.begin(), beyond.end()));
    for (int k = 0; k < arrays; ++k) stage.arrays.push_back(k);
    for (Sums::Target& t : sums.targets) {
      const int place = -1 - static_cast<int>(plan.limbs.size());
      plan.limbs.push_back({t.parameter, t.limbs});
      stage.arrays.push_back(place);
      Stage add;
      add.kernel = finished(t.finish, exact);
      add.arrays = {t.parameter, place};
      add.scalars = false;
      add.elements_of = t.parameter;
      last.push_back(std::move(add));
    }
    plan.longest = std::min(plan.longest, std::int64_t{1} << std::max(0, 32 - sums.shift));
    Function now = lower_meets(sums.kernel, how.subgroups);
    if (has_sequences(now)) {
      Tapes tapes = lower_sequences(now);
      stage.tapes = true;
      if (tapes.count) stage.count = finished(*tapes.count, exact);
      if (tapes.uniform) stage.count_original = *tapes.count;
      now = std::move(tapes.kernel);
    }
    stage.kernel = finished(now, exact);
    plan.stages.push_back(std::move(stage));
  }
  for (Stage& s : last) plan.stages.push_back(std::move(s));
  for (const Stage& s : plan.stages)
    if (s.kernel.ops.size() > kTooLarge) plan.host = "it is too large for a driver's compiler";
  return plan;
}

}  // namespace fluxion::gpu
