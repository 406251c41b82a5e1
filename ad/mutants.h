// Planted mistakes: the meta-test shows that the gradient checks see each of them. Never on outside tests.
#pragma once
#include "fluxion/type.h"

namespace fluxion::testing {

enum class Mutant {
  none,
  no_zeroing,              // a store does not clear the cotangent of what it overwrites
  stale_loads,             // loads of written memory are repeated instead of recorded
  zero_after_accumulate,   // an accumulate clears the cotangent, as if it were a store
  no_trip_count,           // a replayed while runs as often as it did in the first iteration around it
};
FLUXION_API void plant(Mutant m);

}  // namespace fluxion::testing

namespace fluxion::ad {
testing::Mutant planted();
}
