// Sparse matrices as Jacobians and Hessians come: compressed rows, on the host.
#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "fluxion/error.h"

namespace fluxion {

/// Row r has the entries row_offsets[r] .. row_offsets[r + 1] - 1 of col_indices and values, columns in order. An entry may be 0:
/// the places are those that can be other than 0.
template <class T>
struct Csr {
  std::int64_t rows = 0, cols = 0;
  std::vector<std::int64_t> row_offsets{0};
  std::vector<std::int32_t> col_indices;
  std::vector<T> values;

  std::int64_t nonzeros() const { return static_cast<std::int64_t>(values.size()); }
  /// All elements, row-major.
  std::vector<T> dense() const {
    std::vector<T> out(static_cast<std::size_t>(rows * cols));
    each([&](std::int64_t r, std::int64_t c, T v) { out[static_cast<std::size_t>(r * cols + c)] = v; });
    return out;
  }
  /// The product with a vector of `cols` numbers.
  /// Throws   ShapeError for a vector of another length
  std::vector<T> matvec(std::span<const T> x, Loc at = Loc::here()) const {
    check("matvec", x.size(), cols, at);
    std::vector<T> y(static_cast<std::size_t>(rows));
    each([&](std::int64_t r, std::int64_t c, T v) { y[static_cast<std::size_t>(r)] += v * x[static_cast<std::size_t>(c)]; });
    return y;
  }
  std::vector<T> matvec(const std::vector<T>& x, Loc at = Loc::here()) const { return matvec(std::span<const T>(x), at); }
  /// The product of the transposed matrix with a vector of `rows` numbers.
  std::vector<T> transposed_matvec(std::span<const T> x, Loc at = Loc::here()) const {
    check("transposed_matvec", x.size(), rows, at);
    std::vector<T> y(static_cast<std::size_t>(cols));
    each([&](std::int64_t r, std::int64_t c, T v) { y[static_cast<std::size_t>(c)] += v * x[static_cast<std::size_t>(r)]; });
    return y;
  }
  std::vector<T> transposed_matvec(const std::vector<T>& x, Loc at = Loc::here()) const {
    return transposed_matvec(std::span<const T>(x), at);
  }

  /// f(row, column, value) for each entry.
  template <class F> void each(const F& f) const {
    for (std::int64_t r = 0; r < rows; ++r)
      for (std::int64_t k = row_offsets[static_cast<std::size_t>(r)]; k < row_offsets[static_cast<std::size_t>(r) + 1]; ++k)
        f(r, col_indices[static_cast<std::size_t>(k)], values[static_cast<std::size_t>(k)]);
  }

 private:
  static void check(const char* what, std::size_t n, std::int64_t wanted, Loc at) {
    if (static_cast<std::int64_t>(n) != wanted)
      throw ShapeError(at, std::string(what) + ": the vector has " + std::to_string(n) + " numbers; pass one for each of the matrix's " +
                               std::to_string(wanted) + (*what == 'm' ? " columns" : " rows"));
  }
};

}  // namespace fluxion
