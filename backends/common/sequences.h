// Which seq values share storage, and which may be updated in place.
//
// Values that a seq may flow through (set, add_at, yields, loop carries) form a class. A class is linear when
// every name in it is consumed at most once on a path and only after all its reads: then seq_set and seq_add_at
// write in place and nobody can tell. The adjoint seqs that `vjp` makes are linear. Other classes copy.
#pragma once
#include <cstdint>
#include <vector>

#include "fluxion/ir.h"

namespace fluxion {

/// Where ops and regions stand: the op that a region belongs to, the region and position of an op.
struct Nesting {
  explicit Nesting(const Function& f);
  std::vector<OpId> owner;              // by region; invalid for the body
  std::vector<RegionId> region;         // by op
  std::vector<std::uint32_t> position;  // by op, in its region
  std::vector<RegionId> defined;        // by value: region of results and arguments; invalid for the rest
  bool inside(RegionId inner, RegionId outer) const;
};

struct Sequences {
  Sequences(const Function& f, const Nesting& nesting);
  std::vector<std::uint32_t> of;           // by value: class; ~0 for what is no seq
  std::vector<char> linear;                // by class
  std::vector<std::vector<OpId>> sources;  // by class: the ops that allocate storage
  bool in_place(ValueId seq) const { return linear[of[seq.index]] != 0; }
  bool single_source(ValueId seq) const { return in_place(seq) && sources[of[seq.index]].size() == 1; }
  /// True when storage of this class may be allocated inside `body`.
  bool allocated_in(ValueId seq, RegionId body, const Nesting& nesting) const;
};

}  // namespace fluxion
