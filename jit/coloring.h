// Which columns (or rows) of a sparse matrix may share one product with a vector. Greedy, in two orders.
#pragma once
#include "fluxion/dependencies.h"

namespace fluxion::detail {

struct Coloring {
  std::vector<std::int32_t> color;  // of each column; -1: the column is empty
  int colors = 0;
};

SparsityPattern transposed(const SparsityPattern& p);
/// The union of `p`, square, and its transpose.
SparsityPattern symmetric(const SparsityPattern& p);

/// Columns of one colour have no row in common: each entry of J S is one entry of J.
/// Gives up (colors = 0) where that takes more than `most`.
Coloring color_columns(const SparsityPattern& p, std::int64_t most);
/// For a symmetric matrix: neighbours differ, and every path of four vertices has three colours, so that of each pair of
/// entries (i, j), (j, i) one can be read from H S.
/// Source   Gebremedhin, Manne, Pothen, What color is your Jacobian?, SIAM Review 47, 2005
Coloring color_star(const SparsityPattern& p);

/// The entries of J, in the order of `p`, from J S: products[color][row].
std::vector<double> recover(const SparsityPattern& p, const Coloring& c, const std::vector<std::vector<double>>& products);
std::vector<double> recover_star(const SparsityPattern& p, const Coloring& c, const std::vector<std::vector<double>>& products);

}  // namespace fluxion::detail
