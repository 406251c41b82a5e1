// Patterns, colours and sweeps: what is the same for kernels, programs and functions.
#include "sparse.h"

#include <bit>
#include <limits>

#include "fluxion/evaluate.h"

namespace fluxion::detail {

void SparseHandle::Problem::choose() {
  reverse = false;
  if (star_) {
    pattern_ = symmetric(pattern_);
    coloring = color_star(pattern_);
    return;
  }
  constexpr std::int64_t kAny = std::numeric_limits<std::int32_t>::max();
  if (!can_reverse()) {
    coloring = color_columns(pattern_, kAny);
    return;
  }
  // A sweep in reverse takes about twice the time of one tangent. The longest row is the least number of colours.
  const SparsityPattern t = transposed(pattern_);
  const auto longest = [](const SparsityPattern& p) {
    std::int64_t n = 0;
    for (std::int64_t r = 0; r < p.rows; ++r) n = std::max(n, static_cast<std::int64_t>(p.row(r).size()));
    return n;
  };
  const std::int64_t least_forward = longest(pattern_), least_reverse = longest(t);
  if (least_forward <= 2 * least_reverse) {
    coloring = color_columns(pattern_, kAny);
    Coloring rows = coloring.colors > 2 * least_reverse ? color_columns(t, (coloring.colors - 1) / 2) : Coloring{};
    if (rows.colors > 0) coloring = std::move(rows), reverse = true;
  } else {
    coloring = color_columns(t, kAny);
    reverse = true;
    Coloring columns = color_columns(pattern_, 2 * coloring.colors);
    if (columns.colors > 0) coloring = std::move(columns), reverse = false;
  }
}

Csr<double> SparseHandle::Problem::evaluate(Call call) {
  const std::lock_guard lock(mutex);
  std::string key = begin(call);
  struct End {
    Problem& p;
    ~End() { p.end(); }
  } done{*this};
  if (!traced_ || key != key_) {
    traced_ = false;
    forget();
    pattern_ = trace();
    choose();
    key_ = std::move(key);
    traced_ = true;
    ++patterns;
  }
  Products products(static_cast<std::size_t>(coloring.colors));
  for (auto& p : products) p.resize(static_cast<std::size_t>(reverse ? pattern_.cols : pattern_.rows));
  if (reverse) {
    for (int c = 0; c < coloring.colors; ++c) backward({coloring, c, 1}, products[static_cast<std::size_t>(c)]);
  } else {
    const int most = std::max(1, width());
    const int sweeps = (coloring.colors + most - 1) / most;
    for (int s = 0; s < sweeps; ++s) {
      const int each = (coloring.colors + sweeps - 1) / sweeps, first = s * each;
      forward({coloring, first, std::min(each, coloring.colors - first)}, products);
    }
  }
  Csr<double> m;
  m.rows = pattern_.rows;
  m.cols = pattern_.cols;
  m.row_offsets = pattern_.row_offsets;
  m.col_indices = pattern_.col_indices;
  if (star_) m.values = recover_star(pattern_, coloring, products);
  else if (!reverse) m.values = recover(pattern_, coloring, products);
  else {
    m.values.resize(pattern_.col_indices.size());
    std::size_t k = 0;
    for (std::int64_t r = 0; r < pattern_.rows; ++r)
      for (const std::int32_t c : pattern_.row(r))
        m.values[k++] = products[static_cast<std::size_t>(coloring.color[static_cast<std::size_t>(r)])][static_cast<std::size_t>(c)];
  }
  return m;
}

Csr<double> SparseHandle::evaluate(std::array<std::int64_t, 3> domain, int rank, std::span<const Argument> arguments, Loc at) const {
  if (tracing()) throw KernelError(at, "a sparse derivative is evaluated on the host, not while a program is captured; call it outside");
  return problem_->evaluate({domain, rank, arguments, at});
}
int SparseHandle::colors() const { return problem_->coloring.colors; }
bool SparseHandle::reverse() const { return problem_->reverse; }
int SparseHandle::patterns() const { return problem_->patterns; }

// ---- numbers of arrays

std::int64_t Leaves::floats(LayoutId layout) {
  std::int64_t n = 0;
  for (const Leaf& l : layout_of(layout).leaves) n += is_float(l.dtype);
  return n;
}
std::size_t Leaves::bytes() const { return static_cast<std::size_t>(elements) * layout_of(layout).size; }
void Leaves::read(const std::byte* bytes, double* to) const {
  each([&](std::int64_t k, std::size_t at, DType t) {
    std::uint64_t bits = 0;
    __builtin_memcpy(&bits, bytes + at, static_cast<std::size_t>(size_of(t)));
    to[k] = float_value(t, bits);
  });
}
LayoutId adjoint_layout(LayoutId layout) { return layout.is_scalar() && is_half(layout.scalar()) ? LayoutId(DType::f32) : layout; }
std::uint64_t float_bits(DType t, double v) {
  const std::uint64_t in[] = {std::bit_cast<std::uint64_t>(v), 0, 0};
  return t == DType::f64 ? in[0] : evaluate_op(Opcode::convert, t, DType::f64, in);
}
double float_value(DType t, std::uint64_t bits) {
  const std::uint64_t in[] = {bits, 0, 0};
  return std::bit_cast<double>(t == DType::f64 ? bits : evaluate_op(Opcode::convert, DType::f64, t, in));
}
std::vector<std::byte> bytes_of(const ArrayState& array, Loc at) {
  std::vector<std::byte> out(static_cast<std::size_t>(array.count()) * layout_of(array.element).size);
  Array(std::const_pointer_cast<ArrayState>(array.shared_from_this())).read(out.data(), at);
  return out;
}
bool has_integers(LayoutId layout) {
  for (const Leaf& l : layout_of(layout).leaves)
    if (!is_float(l.dtype)) return true;
  return false;
}
void append_integers(std::string& key, LayoutId layout, const std::vector<std::byte>& bytes) {
  const Layout& l = layout_of(layout);
  const char* data = reinterpret_cast<const char*>(bytes.data());
  for (std::size_t e = 0; e + l.size <= bytes.size(); e += l.size)
    for (const Leaf& leaf : l.leaves)
      if (!is_float(leaf.dtype)) key.append(data + e + leaf.offset, static_cast<std::size_t>(size_of(leaf.dtype)));
}
void append_number(std::string& key, std::int64_t n) { key.append(reinterpret_cast<const char*>(&n), sizeof n); }
std::vector<std::byte> seeds(const Leaves& of, const Sweep& sweep, std::int64_t first) {
  std::vector<std::byte> out(of.bytes() * static_cast<std::size_t>(sweep.n));
  of.each([&](std::int64_t k, std::size_t at, DType t) {
    const int slot = sweep.slot(first + k);
    if (slot < 0) return;
    const std::uint64_t one = float_bits(t, 1);
    __builtin_memcpy(out.data() + static_cast<std::size_t>(slot) * of.bytes() + at, &one, static_cast<std::size_t>(size_of(t)));
  });
  return out;
}

}  // namespace fluxion::detail
