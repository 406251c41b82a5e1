// The state behind the recording functions; private to frontend/dsl.
#pragma once
#include <optional>
#include <vector>

#include "fluxion/builder.h"
#include "fluxion/error.h"
#include "fluxion/recorder.h"

namespace fluxion::detail {

/// A slot: the region that declared it, and its value where the current region is `value_region`: then the last
/// assignment was made in this very region, and a read needs no var_get.
struct Slot {
  RegionId region{}, value_region{};
  ValueId value{};
};

/// A loop or an arm that is being recorded.
struct Frame {
  enum class Kind { then_arm, else_arm, for_body, lanes_body, while_cond, while_body } kind;
  Op op;
  RegionId region;
};

/// What x[i] refers to until it is read or assigned.
struct ElementRef {
  MemoryId memory;
  Values index;
  Loc loc;
};

struct State {
  Function f;
  Builder b;
  State* outer = nullptr;
  std::uint32_t epoch = 0;
  std::vector<Frame> frames;
  std::vector<Slot> slots;  // by the index of the value that names the slot
  std::vector<bool> open;   // by region
  std::vector<ElementRef> elements;
  std::optional<KernelError> misuse;  // the first one that a destructor found
  int index_rank = 0;                 // what index<N>() was called with
  Loc index_loc;
  std::vector<std::pair<int, Loc>> domain_axes;

  State() : b(f) {}
  Slot& slot(ValueId v) {
    if (slots.size() <= v.index) slots.resize(f.values.size());
    return slots[v.index];
  }
  RegionId open_region(std::span<const Type> arguments);
  void close_region(std::span<const ValueId> yields);
  /// Moves the ops of `from` after the first `keep` ones to the end of `to`.
  void move_ops(RegionId from, std::size_t keep, RegionId to);
};

/// Throws where an assignment inside fx::lanes goes to a name declared outside of it, in `declared`.
void refuse_between_lanes(const State& s, RegionId declared, Loc where, Loc at);

/// The innermost recording; throws when there is none. Inside an At, `at` becomes its place.
State& state(Loc& at);
State& state();
/// The innermost recording or null.
State* innermost();

}  // namespace fluxion::detail
