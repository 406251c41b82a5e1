// Kernels that hand the tape of their loops from the forward launch to the reverse one. The vjp of a kernel runs the kernel
// again before it goes backwards; where a program launches both, and what a loop computes costs much more than to store and
// load it, the forward launch writes what the reverse will ask for, and the reverse launch reads it.
#pragma once
#include <cstdint>
#include <memory>
#include <vector>

#include "fluxion/ir.h"

namespace fluxion::ad {

/// All items of one type: an array of (rows * the slower axes of the domain, the fastest axis).
struct TapeArray {
  DType type;
  std::int64_t rows;
};
struct KeptTape {
  std::shared_ptr<const Function> forward;   // the kernel; its parameters, then an Out for each array
  std::shared_ptr<const Function> backward;  // its vjp; the parameters of that, then an In for each array
  std::vector<TapeArray> arrays;             // empty: nothing is worth keeping
};

struct Structure;
struct Activity;
/// Of the kernel `s.f`. `adjoint`: its vjp, before any pass; the body begins with `cut` ops of the forward sweep.
KeptTape keep_tape(const Structure& s, const Activity& act, const Function& adjoint, std::size_t cut);

}  // namespace fluxion::ad
