// The coverage table as text, and what is missing from it.
#include "coverage.h"

#include <fmt/format.h>

#include <algorithm>

namespace fluxion::fuzz {
namespace {

constexpr const char* kNames[] = {"integer op",
                                  "comparison",
                                  "boolean op",
                                  "select",
                                  "short circuit",
                                  "int to float",
                                  "float to int",
                                  "assign",
                                  "declare then choose",
                                  "swap",
                                  "if",
                                  "else",
                                  "for up",
                                  "for down",
                                  "stride",
                                  "zero trips",
                                  "one trip",
                                  "many trips",
                                  "nested loops",
                                  "while",
                                  "break_if",
                                  "continue_if",
                                  "return_if",
                                  "carried float",
                                  "carried integer",
                                  "carried boolean",
                                  "store",
                                  "in place",
                                  "second store to one element",
                                  "read back",
                                  "accumulate",
                                  "duplicate index",
                                  "index from memory",
                                  "integer state",
                                  "struct element",
                                  "half element",
                                  "time loop",
                                  "call",
                                  "call in a loop",
                                  "call in a branch",
                                  "call in a call",
                                  "two results of a call",
                                  "vjp rule",
                                  "jvp rule",
                                  "vjp and jvp rule",
                                  "shared store",
                                  "shared load",
                                  "shared sum",
                                  "atomic sum",
                                  "rounds of a group",
                                  "part of a subgroup",
                                  "subgroup add",
                                  "subgroup scan_add",
                                  "subgroup min or max",
                                  "subgroup and or xor",
                                  "subgroup shuffle",
                                  "subgroup scatter_add"};
static_assert(std::size(kNames) == static_cast<std::size_t>(Construct::count_));

bool float_row(int c) {
  const OpInfo& row = info(static_cast<Opcode>(c));
  return static_cast<Opcode>(c) != Opcode::select && !(row.flags & flag::predicate) &&
         (row.operands == Operands::floats || row.operands == Operands::nums);
}
std::string name_of_construct(int c) {
  return c < kElementwiseCount ? fluxion::name_of(static_cast<Opcode>(c)) : kNames[c - kElementwiseCount];
}

// A half is read from an array, so nothing of a scalar is in it.
bool impossible(int c, std::size_t p) { return c == number_of(Construct::half_element) && static_cast<Place>(p) == Place::scalar; }

// Every elementwise op on floats is a row, so one that is added to ops.def is missing here until it is generated.
std::vector<int> rows() {
  std::vector<int> out;
  for (int c = 0; c < kConstructs; ++c)
    if (c >= kElementwiseCount || float_row(c)) out.push_back(c);
  return out;
}

}  // namespace

void Coverage::add(Mode mode, const Footprint& program) {
  for (int c = 0; c < kConstructs; ++c)
    for (int p = 0; p < kPlaces; ++p)
      count_[static_cast<std::size_t>(mode)][static_cast<std::size_t>(c)][static_cast<std::size_t>(p)] +=
          program.places[static_cast<std::size_t>(c)] >> p & 1;
}

std::string Coverage::table() const {
  std::string out = fmt::format("{:>28}", "programs, least of all modes");
  for (const char* p : kPlaceNames) out += fmt::format(" {:>8}", p);
  for (int c : rows()) {
    out += fmt::format("\n{:>28}", name_of_construct(c));
    for (std::size_t p = 0; p < kPlaces; ++p) {
      int least = count_[0][static_cast<std::size_t>(c)][p];
      for (const auto& mode : count_) least = std::min(least, mode[static_cast<std::size_t>(c)][p]);
      out += fmt::format(" {:>8}", least);
    }
  }
  return out + "\n";
}

std::vector<std::string> Coverage::empty_cells() const {
  std::vector<std::string> out;
  for (std::size_t m = 0; m < kModes; ++m)
    for (int c : rows())
      for (std::size_t p = 0; p < kPlaces; ++p)
        if (count_[m][static_cast<std::size_t>(c)][p] == 0 && !impossible(c, p))
          out.push_back(fmt::format("{} x {} x {}", name_of_construct(c), kPlaceNames[p], kModeNames[m]));
  return out;
}

}  // namespace fluxion::fuzz
