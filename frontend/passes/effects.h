// What ops do to memories, nested regions included, and where ops and regions sit. Passes ask this before
// they move, merge or drop something.
#pragma once
#include <cstdint>
#include <vector>

#include "fluxion/ir.h"

namespace fluxion {

/// A set of memories: one bit each; functions with more than 64 share bits, which only makes passes careful.
using MemorySet = std::uint64_t;
constexpr MemorySet kAllMemories = ~MemorySet{0};
constexpr MemorySet set_of(MemoryId m) { return MemorySet{1} << (m.index & 63); }

struct Effects {
  explicit Effects(const Function& f);
  std::vector<MemorySet> reads, writes;               // by op
  std::vector<bool> effect;                           // by op: must stay, in order with other effects
  std::vector<RegionId> region_of;                    // by op
  std::vector<OpId> owner;                            // by region; invalid for the body
  std::vector<std::uint32_t> depth;                   // by region; 0 for the body
  RegionId home(const Function& f, ValueId v) const;  // where a value is defined; the body for parameters and constants

 private:
  void region(const Function& f, RegionId r);
};

/// True when the value leaves every thread as it found it and depends on operands alone: it may be computed
/// anywhere its operands are known, once or often. Integer division is total here, so nothing traps.
bool is_pure(Opcode op);

}  // namespace fluxion
