// The exact, target-independent passes: each a function from Function to Function, one file each.
#pragma once
#include "fluxion/ir.h"

namespace fluxion {

FLUXION_API Function lower_exits(const Function& f);     // capture's break_if, continue_if, return_if -> flags and ifs
FLUXION_API Function mem2reg(const Function& f);         // capture's variables -> values, loop carries and yields
FLUXION_API Function canonical(const Function& f);       // deterministic order, no dead ops or carries: what `print` shows
FLUXION_API Function fold(const Function& f);            // ops on constants, exact identities (x * 1, select(true, ..))
FLUXION_API Function inline_calls(const Function& f);    // small callees and those called once, but for functions with rules
FLUXION_API Function inline_final(const Function& f);    // the same after differentiation: rules are forgotten, program calls go
FLUXION_API Function dce(const Function& f);             // drops what no result and no effect needs, dead carries and seqs too
FLUXION_API Function cse(const Function& f);             // one of several equal pure ops; loads until a write may change them
FLUXION_API Function licm(const Function& f);            // what does not change in a loop moves before it
FLUXION_API Function forward_stores(const Function& f);  // a load after a store to the same index becomes the value
FLUXION_API Function promote_locals(const Function& f);  // local arrays indexed by constants -> values, in loops too
FLUXION_API Function contract(const Function& f);        // a * b + c -> fma, where the product has no other use
FLUXION_API Function contract_rest(const Function& f);   // contract, but nothing that a branch, a trip or an index depends on
/// Transcendentals -> polynomials and bit operations on the same type; what remains is exact ops only.
FLUXION_API Function math_lowering(const Function& f);

namespace testing {
/// No call is inlined on this thread while it is on, so that short functions test calls. Never on outside tests.
FLUXION_API void keep_calls(bool on);
}  // namespace testing

/// The passes between capture (or differentiation) and a backend, in order.
struct Pass {
  const char* name;
  const char* what;
  Function (*run)(const Function&);
};

}  // namespace fluxion
