// Makes every `while` that the reverse sweep must undo a loop whose condition does nothing.
#pragma once
#include "fluxion/ir.h"

namespace fluxion::ad {

/// while (c) { b }  ->  first c; while (that) { b; c again }, the condition's outcome carried as a bool: then all
/// that happens in the condition happens in a body, where it is recorded and reversed like everything else.
/// Conditions that pass their carries on and read nothing that the function writes stay.
Function rotate_whiles(const Function& f);

}  // namespace fluxion::ad
