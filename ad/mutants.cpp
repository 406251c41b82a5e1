#include "mutants.h"

#include <atomic>

namespace {
std::atomic<fluxion::testing::Mutant> current{fluxion::testing::Mutant::none};
}

void fluxion::testing::plant(Mutant m) { current = m; }
fluxion::testing::Mutant fluxion::ad::planted() { return current; }
