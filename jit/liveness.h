// When each array and sequence of a program is alive, as spans of positions. The buffer plan lets two values
// share memory exactly when no span of one meets a span of the other.
//
// Positions follow the text. Every op has four: +0 the old version that it takes over ends here (an InOut
// operand, what a loop starts from or yields), +1 its results begin, +2 plain operands end. An op with regions
// has such a group before and one after them; its results belong to the latter.
#pragma once
#include <cstdint>
#include <vector>

#include "fluxion/ir.h"

namespace fluxion {

struct Span {
  std::uint32_t from, to;
};
/// Sorted, apart from each other.
using Life = std::vector<Span>;
bool meet(const Life& a, const Life& b);
Life join(const Life& a, const Life& b);

enum class Use : std::uint8_t {
  read,     // needed until the op is done
  share,    // read, but the op may write its result into the same memory
  take,     // the op may work in the value's memory when the value is dead afterwards
  collect,  // copied into its record as soon as it is made, so no use of its own
};

class Liveness {
 public:
  explicit Liveness(const Function& f);

  std::uint32_t before(OpId o) const { return place_[o.index].before; }
  std::uint32_t after(OpId o) const { return place_[o.index].after; }
  std::uint32_t start(RegionId r) const { return start_[r.index]; }
  RegionId region(OpId o) const { return place_[o.index].region; }
  RegionId region(ValueId v) const;  // where it is made
  OpId owner(RegionId r) const { return owner_[r.index]; }
  int depth(RegionId r) const;
  /// Whether `inner` is `outer` or lies in it.
  bool within(RegionId inner, RegionId outer) const;
  RegionId common(RegionId a, RegionId b) const;
  /// Where its life begins.
  std::uint32_t made(ValueId v) const;
  Life life(ValueId v) const;
  /// As if it were never taken over: of zeros, which are cheaper to write anew.
  Life life_of_reads(ValueId v) const;
  bool read(ValueId v) const;  // needs memory: has a use of kind read or share, or a collect outside the region that makes it

 private:
  struct Place {
    std::uint32_t before = 0, after = 0;
    RegionId region;
  };
  struct Site {
    OpId op;
    Use use;
  };
  void number(RegionId r, OpId owner, std::uint32_t& next);
  void note(ValueId v, OpId op, Use use);
  void walk(RegionId r, std::uint32_t from, std::vector<Site> sites, Life& out) const;

  const Function& f_;
  std::vector<Place> place_;
  std::vector<std::uint32_t> start_;
  std::vector<OpId> owner_;  // of regions
  std::vector<std::vector<Site>> sites_;
};

/// By parameter of the kernel: whether this In may share memory with an Out of the launch.
std::vector<char> shared_inputs(const Function& f, const Op& launch);

}  // namespace fluxion
