// What the sparse derivatives of kernels, programs and functions share; sparse.cpp has that, sparse_*.cpp what differs.
#pragma once
#include <mutex>
#include <string>

#include "coloring.h"
#include "fluxion/sparse.h"

namespace fluxion::detail {

using Products = std::vector<std::vector<double>>;  // by colour: a number for each row (reverse: column)

/// Some of the colours, which go through one sweep.
struct Sweep {
  const Coloring& coloring;
  int first = 0, n = 1;
  /// Which of the n seeds number `k` (a column; in reverse a row) belongs to, or -1.
  int slot(std::int64_t k) const {
    const int c = coloring.color[static_cast<std::size_t>(k)] - first;
    return c >= 0 && c < n ? c : -1;
  }
};

class SparseHandle::Problem {
 public:
  struct Call {
    std::array<std::int64_t, 3> domain{1, 1, 1};
    int rank = 0;
    std::span<const Argument> arguments;
    Loc at;
  };
  virtual ~Problem() = default;
  Csr<double> evaluate(Call call);

  std::mutex mutex;
  Coloring coloring;
  bool reverse = false;
  int patterns = 0;

 protected:
  explicit Problem(bool star) : star_(star) {}
  /// Makes ready for a call, and gives all that its pattern depends on.
  virtual std::string begin(const Call& call) = 0;
  virtual SparsityPattern trace() = 0;
  /// Most tangents at once; 0: that many are as cheap as one.
  virtual int width() const { return 8; }
  virtual void forward(const Sweep& sweep, Products& products) = 0;
  /// One seed.
  virtual bool can_reverse() const { return false; }
  virtual void backward(const Sweep&, std::vector<double>&) {}
  virtual void end() {}
  /// What was kept for the pattern before goes.
  virtual void forget() {}

 private:
  void choose();
  const bool star_;
  std::string key_;
  bool traced_ = false;
  SparsityPattern pattern_;
};

/// An array's elements as numbers: its float leaves, element after element.
struct Leaves {
  LayoutId layout;
  std::int64_t elements = 1;
  static std::int64_t floats(LayoutId layout);
  std::int64_t count() const { return elements * floats(layout); }
  std::size_t bytes() const;
  /// f(leaf's number, its place in the bytes, its type), for each float leaf.
  template <class F> void each(const F& f) const {
    const Layout& l = layout_of(layout);
    std::int64_t k = 0;
    for (std::int64_t e = 0; e < elements; ++e)
      for (const Leaf& leaf : l.leaves)
        if (is_float(leaf.dtype)) f(k++, static_cast<std::size_t>(e) * l.size + leaf.offset, leaf.dtype);
  }
  /// The numbers of `bytes` into to[0], to[1], ...
  void read(const std::byte* bytes, double* to) const;
};
LayoutId adjoint_layout(LayoutId layout);
std::uint64_t float_bits(DType t, double v);
double float_value(DType t, std::uint64_t bits);
/// The elements of an array, after all launches.
std::vector<std::byte> bytes_of(const ArrayState& array, Loc at);
/// Appends to `key` what integers the array holds; nothing where it holds none.
void append_integers(std::string& key, LayoutId layout, const std::vector<std::byte>& bytes);
bool has_integers(LayoutId layout);
void append_number(std::string& key, std::int64_t n);
/// The bytes of an array of seeds: 1 in numbers first + k of the sweep's slot `slot`, slot after slot.
std::vector<std::byte> seeds(const Leaves& of, const Sweep& sweep, std::int64_t first);

}  // namespace fluxion::detail
