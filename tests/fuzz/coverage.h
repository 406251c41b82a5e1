// Which construct has met which kind of data under which mode. Filled by running a program on Traced numbers, which
// remember where they come from and what they went through: only what is really executed counts.
#pragma once
#include <array>
#include <bitset>
#include <cstdint>
#include <string>
#include <vector>

#include "fluxion/op.h"

namespace fluxion::fuzz {

enum class Mode : std::uint8_t { vjp, jvp, jvp_vjp, vjp_vjp };
inline constexpr int kModes = 4;
inline constexpr const char* kModeNames[] = {"vjp", "jvp", "jvp(vjp)", "vjp(vjp)"};

/// What data a construct reads from or its result reaches.
enum class Place : std::uint8_t { in, out, inout, accum, scalar, local, integers, shared };
inline constexpr int kPlaces = 8;
inline constexpr const char* kPlaceNames[] = {"In", "Out", "InOut", "Accum", "scalar", "local", "integers", "shared"};

/// Elementwise ops on floats are constructs by their opcode; these are the others.
enum class Construct : std::uint8_t {
  integer_op,
  comparison,
  boolean_op,
  select,
  short_circuit,
  to_real,
  to_int,
  assign,
  choose,
  swap,
  branch,
  otherwise,
  loop_up,
  loop_down,
  stride,
  zero_trips,
  one_trip,
  many_trips,
  nested,
  loop_while,
  leave,
  skip,
  stop,
  carried_real,
  carried_integer,
  carried_boolean,
  store,
  in_place,
  overwrite,
  read_back,
  accumulate,
  duplicate,
  indirect,
  integer_state,
  struct_element,
  half_element,
  time_loop,
  call,
  call_in_loop,
  call_in_branch,
  call_in_call,
  two_results,
  vjp_rule,
  jvp_rule,
  both_rules,
  shared_store,
  shared_load,
  shared_sum,
  atomic_sum,
  rounds,
  part_of_subgroup,
  subgroup_add,
  subgroup_scan,
  subgroup_min_max,
  subgroup_bits,
  subgroup_shuffle,
  subgroup_scatter,
  count_
};
inline constexpr int kConstructs = kElementwiseCount + static_cast<int>(Construct::count_);
constexpr int number_of(Construct c) { return kElementwiseCount + static_cast<int>(c); }
constexpr int number_of(Opcode op) { return static_cast<int>(op); }

/// Works on integers and bools, so that no derivative passes through it.
constexpr bool discrete(int construct) {
  for (Construct c :
       {Construct::integer_op, Construct::boolean_op, Construct::short_circuit, Construct::to_real, Construct::carried_integer,
        Construct::carried_boolean, Construct::integer_state, Construct::leave, Construct::skip, Construct::stop, Construct::subgroup_bits})
    if (construct == number_of(c)) return true;
  return false;
}

struct Trace {
  std::uint8_t from = 0;    // a bit for each Place, along which derivatives come
  std::uint8_t beside = 0;  // and for those that only decide: through comparisons, integers
  std::bitset<kConstructs> through;
  Trace& operator|=(const Trace& o) {
    from |= o.from, beside |= o.beside, through |= o.through;
    return *this;
  }
};

/// A number that leads its origin with it; the derivative part of it is not looked at.
struct Traced {
  double v = 0;
  Trace trace;
  Traced() = default;
  Traced(double v) : v(v) {}
};
inline double value_of(const Traced& t) { return t.v; }

/// What one program does: a bit for each pair.
struct Footprint {
  std::array<std::uint8_t, kConstructs> places{};
  void meet(int construct, const Trace& data) {
    places[static_cast<std::size_t>(construct)] |= discrete(construct) ? data.from | data.beside : data.from;
  }
  void meet(const std::bitset<kConstructs>& constructs, std::uint8_t at) {
    for (int c = 0; c < kConstructs; ++c)
      if (constructs[static_cast<std::size_t>(c)]) places[static_cast<std::size_t>(c)] |= at;
  }
};

class Coverage {
 public:
  void add(Mode mode, const Footprint& program);
  std::string table() const;
  std::vector<std::string> empty_cells() const;

 private:
  std::array<std::array<std::array<int, kPlaces>, kConstructs>, kModes> count_{};
};

}  // namespace fluxion::fuzz
