// How the lanes of a group reach memory, and whether accumulates of different points can meet.
#pragma once
#include <cstdint>
#include <vector>

#include "uniformity.h"

namespace fluxion {

struct Access {
  enum class Kind : std::uint8_t {
    uniform,     // all lanes reach one element
    contiguous,  // lane k reaches the element k places after lane 0's
    gather,      // anything else
  };
  Kind kind = Kind::gather;
};
/// `op` is a load, store or accumulate.
Access classify(const Function& f, const Uniformity& u, const Op& op);

/// An i32 value as sum(coefficient[a] * index of axis a) + symbol + constant, where that is known.
struct DomainForm {
  bool known = false;
  std::int64_t coefficient[3] = {0, 0, 0};
  std::int64_t constant = 0;
  ValueId symbol{};  // launch-invariant
  bool operator==(const DomainForm&) const = default;
};
DomainForm domain_form(const Function& f, const Uniformity& u, ValueId v);

/// Accumulates on one memory parameter.
struct Accumulates {
  int sites = 0;
  bool own = false;  // no two points of the domain accumulate to one element
  /// Indices wrap: `own` holds while no axis of the domain is longer than 2^(32 - shift).
  int shift = 0;
  bool only = true;  // nothing else touches the memory
  /// Every site adds at (index of the slowest axis + constant, ...): how far the constants lie apart; else -1.
  std::int64_t halo = -1;
};
/// By memory.
std::vector<Accumulates> analyse_accumulates(const Function& f, const Uniformity& u);

}  // namespace fluxion
