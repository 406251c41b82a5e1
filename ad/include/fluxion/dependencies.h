// Which numbers that a function gives can depend on which that it takes: the pattern of its Jacobian. The function is run
// once over sets of inputs in place of numbers. Integers and bools that follow from the integers and bools it is given
// have their values, so indices, trip counts and branches of those are followed; floating point numbers are taken to be
// anything, and where one decides a branch, both arms count. The pattern holds for all values of the floats.
#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "fluxion/ir.h"

namespace fluxion {

/// The places of a matrix that may be other than 0, row by row, columns in order.
struct SparsityPattern {
  std::int64_t rows = 0, cols = 0;
  std::vector<std::int64_t> row_offsets{0};
  std::vector<std::int32_t> col_indices;
  std::span<const std::int32_t> row(std::int64_t r) const {
    const auto first = static_cast<std::size_t>(row_offsets[static_cast<std::size_t>(r)]);
    return {col_indices.data() + first, static_cast<std::size_t>(row_offsets[static_cast<std::size_t>(r) + 1]) - first};
  }
};

/// What a parameter stands for.
struct DependencyArgument {
  const std::byte* data = nullptr;  // memories and arrays: the elements; null: nothing is known of them
  std::array<std::int64_t, 3> extent{1, 1, 1};
  std::uint64_t bits = 0;          // scalars
  std::int64_t first_column = -1;  // the float leaves are inputs, numbered from here; -1: not differentiated
};

/// The pattern of the float results: of a kernel the written memory parameters for which `wanted` is set, of a
/// program or fn all that it yields where `wanted` is. A row for each float leaf, element by element.
/// `arguments`: one for each parameter that is not scratch.
/// Throws KernelError for an index outside its memory, with the line.
FLUXION_API SparsityPattern dependencies(const Function& f, std::array<std::int64_t, 3> domain,
                                         std::span<const DependencyArgument> arguments, std::int64_t cols, std::span<const char> wanted);

}  // namespace fluxion
