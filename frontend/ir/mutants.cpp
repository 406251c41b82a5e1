// The switch of mutants.h.
#include "fluxion/mutants.h"

namespace fluxion::testing {
namespace {
Opcode partial_op{};
int partial_operand = 0;
PartialMutant partial_how{};
}  // namespace

std::atomic<Mutant> current_mutant{Mutant::none};

void plant(Mutant m) { current_mutant = m; }

void plant_partial(Opcode op, int operand, PartialMutant how) {
  partial_op = op, partial_operand = operand, partial_how = how;
  current_mutant = Mutant::partial;
}

bool partial_planted(Opcode op, int operand, PartialMutant& how) {
  if (!planted(Mutant::partial) || op != partial_op || operand != partial_operand) return false;
  how = partial_how;
  return true;
}

}  // namespace fluxion::testing
