// May one access to a memory come after another to the same element, in one thread? Decides which loads see
// the launch's old version and which cotangents must be cleared.
#pragma once
#include "analysis.h"

namespace fluxion::ad {

struct Access {
  OpId op;
  Opcode code;
};
/// Every load, store, accumulate and atomic of each memory, by memory index.
std::vector<std::vector<Access>> accesses(const Function& f);

/// False only when it is certain that no execution of `second` follows one of `first` on the same element.
/// Sees constants, `base + constant`, and loop variables that step through an axis.
bool may_follow(const Structure& s, OpId first, OpId second);

}  // namespace fluxion::ad
