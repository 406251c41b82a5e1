// What runs on a GPU for one kernel: kernels one after the other, in a form that an emitter of code for one thread takes as it is, and
// the memory that they need beside the arrays of the launch. Shared by the GPU backends.
//
// In the form: arrays, scalars, local and shared memory, structured control flow, barriers, atomics, checks and prints, elementwise
// ops that lower_ops leaves. Gone: calls, sequences, subgroup ops (or those that only some threads of a group come by), sums of floats that depend on the order.
#pragma once
#include <array>
#include <optional>
#include <string>
#include <vector>

#include "fluxion/backend.h"
#include "lower_ops.h"

namespace fluxion::gpu {

struct Stage {
  Function kernel;
  std::vector<int> arrays;        // its memory parameters, in order: an array of the launch, or -1 - the place in Plan::limbs
  bool scalars = true;            // takes those of the launch, else none
  int elements_of = -1;           // runs once for each element of this array, not over the launch
  std::array<int, 3> beyond{};    // by how many points each axis is longer than that of the launch
  bool tapes = false;             // @tape4 and @tape8 follow its arrays: see tapes.h
  std::optional<Function> count;  // what says how large they must be; @peaks follows its tapes
  Function count_original;        // the same before lower_ops, for the evaluator; empty unless one thread counts for all
};

struct Plan {
  struct Limbs {
    int array;
    int limbs;
  };
  std::vector<Stage> stages;
  std::vector<Limbs> limbs;  // i64[limbs, elements of the array], zeros before the first stage: see sums.h
  std::string host;          // not empty: it runs on the host, because of this
  // An axis of the launch that is longer runs on the host: threads may meet that seem not to, or have no number.
  std::int64_t longest = std::int64_t{1} << 32;
  std::int64_t adds = 0;  // see sums.h; where a launch may have more than most_adds(), another plan is needed, for `many`
};

struct PlanOptions {
  bool subgroups = false;  // the device's are the language's, and code has their ops where no thread of a group is missing
  bool warp_sums = false;  // code adds up what the threads of a warp add to one place
  bool many = false;       // any number of adds to one element
};
Plan make_plan(const Function& kernel, const CompileOptions& options, const Exact& exact, const PlanOptions& how = {});

}  // namespace fluxion::gpu
