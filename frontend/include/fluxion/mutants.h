// Planted mistakes: the mutation run (tests/fuzz/mutation.cpp) shows that the checks see each of them. Never on outside
// tests; a hook costs one relaxed load while a function is transformed, and nothing in generated code.
#pragma once
#include <atomic>
#include <cstdint>

#include "fluxion/op.h"

namespace fluxion {
namespace testing {

enum class Mutant : std::uint16_t {
  none,
#define MUTANT(name, area, what) name,
#include "fluxion/mutants.def"
  partial,  // the partial of one op, see plant_partial
};
/// What is wrong with one partial of one op.
enum class PartialMutant : std::uint8_t { dropped, negated, perturbed, swapped };
inline constexpr int kPartialMutants = 4;

FLUXION_API extern std::atomic<Mutant> current_mutant;

/// One mistake at a time, in every thread; Mutant::none takes it away.
FLUXION_API void plant(Mutant m);
FLUXION_API void plant_partial(Opcode op, int operand, PartialMutant how);
FLUXION_API bool partial_planted(Opcode op, int operand, PartialMutant& how);

}  // namespace testing

inline bool planted(testing::Mutant m) { return testing::current_mutant.load(std::memory_order_relaxed) == m; }

}  // namespace fluxion
