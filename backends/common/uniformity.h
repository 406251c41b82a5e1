// What the lanes of one SIMD group have in common. Lanes lie along the fastest axis of the domain; of a kernel with
// groups they are the threads of a group.
//
// "Uniform" is said of the lanes that are active where the value is made: inside a loop that lanes leave at
// different trips a counter is uniform, and its final value is not.
#pragma once
#include <cstdint>
#include <vector>

#include "sequences.h"

namespace fluxion {

struct Uniformity {
  enum class Class : std::uint8_t {
    launch,   // one value for the whole launch, made by pure ops alone
    uniform,  // one value for all active lanes
    affine,   // an i32 that grows by a constant from lane to lane
    varying,
  };
  /// Of a kernel, a program or a fn; `varying`: the scalar parameters differ from lane to lane.
  explicit Uniformity(const Function& f, bool varying = false);

  Nesting nesting;
  Sequences sequences;
  std::vector<Class> of;             // by value; of a seq: where its storage is
  std::vector<std::int32_t> stride;  // by value: of affine ones, the step from a lane to the next
  std::vector<Class> length;         // by value, of seqs
  std::vector<char> divergent;       // by op: active lanes part in this if_, for_ or while_

  Class operator()(ValueId v) const { return of[v.index]; }
  bool uniform(ValueId v) const { return of[v.index] <= Class::uniform; }
};

/// Threads of a group; 0 where there are no groups.
int group_threads(const Function& f);

}  // namespace fluxion
