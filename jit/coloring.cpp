// Greedy colourings and what undoes them; see the header.
#include "coloring.h"

#include <algorithm>
#include <numeric>

namespace fluxion::detail {
namespace {

std::size_t at(std::int64_t i) { return static_cast<std::size_t>(i); }

std::int64_t longest_row(const SparsityPattern& p) {
  std::int64_t n = 0;
  for (std::int64_t r = 0; r < p.rows; ++r) n = std::max<std::int64_t>(n, static_cast<std::int64_t>(p.row(r).size()));
  return n;
}

/// The smallest colour that has not been forbidden for this vertex.
struct Palette {
  std::vector<std::int64_t> forbidden;  // by colour: the vertex that it was forbidden for last
  void forbid(std::int32_t color, std::int64_t vertex) {
    if (color < 0) return;
    if (forbidden.size() <= at(color)) forbidden.resize(at(color) + 1, -1);
    forbidden[at(color)] = vertex;
  }
  std::int32_t first(std::int64_t vertex) const {
    std::int32_t c = 0;
    while (at(c) < forbidden.size() && forbidden[at(c)] == vertex) ++c;
    return c;
  }
};

/// Colours in natural order and with the fullest vertices first; the better of the two.
template <class Neighbours>
Coloring better(const std::vector<std::int64_t>& degree, const Neighbours& forbid_neighbours, std::int64_t least) {
  const auto n = static_cast<std::int64_t>(degree.size());
  std::vector<std::int64_t> order(at(n));
  std::iota(order.begin(), order.end(), 0);
  Coloring best;
  for (int round = 0; round < 2; ++round) {
    if (round)
      std::sort(order.begin(), order.end(),
                [&](std::int64_t a, std::int64_t b) { return degree[at(a)] != degree[at(b)] ? degree[at(a)] > degree[at(b)] : a < b; });
    Coloring c;
    c.color.assign(at(n), -1);
    Palette palette;
    for (const std::int64_t v : order) {
      if (degree[at(v)] == 0) continue;
      forbid_neighbours(v, c.color, palette);
      c.color[at(v)] = palette.first(v);
      c.colors = std::max(c.colors, c.color[at(v)] + 1);
    }
    if (!round || c.colors < best.colors) best = std::move(c);
    if (best.colors <= least) break;
  }
  return best;
}

}  // namespace

SparsityPattern transposed(const SparsityPattern& p) {
  SparsityPattern t;
  t.rows = p.cols;
  t.cols = p.rows;
  t.row_offsets.assign(at(t.rows) + 1, 0);
  for (const std::int32_t c : p.col_indices) ++t.row_offsets[at(c) + 1];
  std::partial_sum(t.row_offsets.begin(), t.row_offsets.end(), t.row_offsets.begin());
  t.col_indices.resize(p.col_indices.size());
  std::vector<std::int64_t> next(t.row_offsets.begin(), t.row_offsets.end() - 1);
  for (std::int64_t r = 0; r < p.rows; ++r)
    for (const std::int32_t c : p.row(r)) t.col_indices[at(next[at(c)]++)] = static_cast<std::int32_t>(r);
  return t;
}

SparsityPattern symmetric(const SparsityPattern& p) {
  const SparsityPattern t = transposed(p);
  SparsityPattern s;
  s.rows = s.cols = p.rows;
  for (std::int64_t r = 0; r < p.rows; ++r) {
    const auto a = p.row(r), b = t.row(r);
    std::set_union(a.begin(), a.end(), b.begin(), b.end(), std::back_inserter(s.col_indices));
    s.row_offsets.push_back(static_cast<std::int64_t>(s.col_indices.size()));
  }
  return s;
}

Coloring color_columns(const SparsityPattern& p, std::int64_t most) {
  const std::int64_t least = longest_row(p);
  if (least > most) return {};
  const SparsityPattern t = transposed(p);
  std::vector<std::int64_t> degree;
  for (std::int64_t c = 0; c < p.cols; ++c) {
    std::int64_t d = 0;
    for (const std::int32_t r : t.row(c)) d += static_cast<std::int64_t>(p.row(r).size());
    degree.push_back(d);
  }
  Coloring c = better(
      degree,
      [&](std::int64_t v, const std::vector<std::int32_t>& color, Palette& palette) {
        for (const std::int32_t r : t.row(v))
          for (const std::int32_t w : p.row(r)) palette.forbid(color[at(w)], v);
      },
      least);
  return c.colors > most ? Coloring{} : c;
}

Coloring color_star(const SparsityPattern& p) {
  std::vector<std::int64_t> degree;
  for (std::int64_t v = 0; v < p.rows; ++v) degree.push_back(static_cast<std::int64_t>(p.row(v).size()));
  return better(
      degree,
      [&](std::int64_t v, const std::vector<std::int32_t>& color, Palette& palette) {
        for (const std::int32_t w : p.row(v)) {
          if (w == v) continue;
          const std::int32_t cw = color[at(w)];
          palette.forbid(cw, v);
          for (const std::int32_t x : p.row(w)) {
            if (x == v || x == w || color[at(x)] < 0) continue;
            bool pair = cw < 0;  // v and x end up on two sides of w, whatever its colour will be
            if (!pair)
              for (const std::int32_t y : p.row(x))
                if (y != w && y != x && color[at(y)] == cw) {
                  pair = true;
                  break;
                }
            if (pair) palette.forbid(color[at(x)], v);
          }
        }
      },
      1);
}

std::vector<double> recover(const SparsityPattern& p, const Coloring& c, const std::vector<std::vector<double>>& products) {
  std::vector<double> values(p.col_indices.size());
  for (std::int64_t r = 0; r < p.rows; ++r)
    for (std::int64_t k = p.row_offsets[at(r)]; k < p.row_offsets[at(r) + 1]; ++k)
      values[at(k)] = products[at(c.color[at(p.col_indices[at(k)])])][at(r)];
  return values;
}

std::vector<double> recover_star(const SparsityPattern& p, const Coloring& c, const std::vector<std::vector<double>>& products) {
  // Columns of each colour in row r: an entry whose colour comes once can be read there, else in its mirror image.
  std::vector<double> values(p.col_indices.size());
  std::vector<std::int32_t> count(at(std::max(c.colors, 1)));
  for (std::int64_t r = 0; r < p.rows; ++r) {
    const auto row = p.row(r);
    for (const std::int32_t j : row) ++count[at(c.color[at(j)])];
    std::int64_t k = p.row_offsets[at(r)];
    for (const std::int32_t j : row) {
      const std::int32_t mine = c.color[at(j)];
      values[at(k++)] = count[at(mine)] == 1 ? products[at(mine)][at(r)] : products[at(c.color[at(r)])][at(j)];
    }
    for (const std::int32_t j : row) count[at(c.color[at(j)])] = 0;
  }
  return values;
}

}  // namespace fluxion::detail
