// See the header.
#include "evaluate_arrays.h"

#include <fmt/format.h>

#include <algorithm>

#include "evaluate_op.h"
#include "fluxion/error.h"

namespace fluxion {

std::shared_ptr<Bytes> make_array(const Type& t, int fill) {
  return std::make_shared<Bytes>(static_cast<std::size_t>(t.count()) * layout_of(t.element).size, static_cast<std::byte>(fill));
}
EvalValue make_zeros(const Type& t, std::int64_t n) {
  EvalValue out;
  if (t.is_seq()) {
    const Type item = t.item();
    out.seq = std::make_shared<Items>(static_cast<std::size_t>(std::max<std::int64_t>(n, 0)),
                                      item.is_array() ? make_zeros(item, 0) : EvalValue{});
  } else if (t.is_array()) {
    out.array = make_array(t, 0);
  }
  return out;
}

namespace {

// Elements of several leaves: one leaf after the other, halves in f32. A leaf that the op does not work on
// (an integer that is added to by a float) keeps the value it has in the first array.
EvalValue map_leaves(Opcode code, const Type& result, const std::vector<EvalValue>& x, const std::vector<Type>& types) {
  EvalValue out;
  out.array = make_array(result, 0);
  const auto wide = [](DType t) { return is_half(t) ? DType::f32 : t; };
  const Layout& layout = layout_of(result.element);
  const auto operand = [&](std::size_t i, std::int64_t e, std::size_t leaf, bool widen) -> std::uint64_t {
    if (types[i].is_scalar()) return x[i].bits;
    const Layout& own = layout_of(types[i].element);
    const Leaf& l = own.leaves[own.leaves.size() == 1 ? 0 : leaf];
    const std::uint64_t v = load_bits(x[i].array->data() + e * own.size + l.offset, l.dtype);
    return widen ? convert_bits(l.dtype, wide(l.dtype), v) : v;
  };
  std::size_t first = 0;
  while (first + 1 < types.size() && !(types[first].element == result.element)) ++first;
  for (std::int64_t e = 0; e < result.count(); ++e)
    for (std::size_t leaf = 0; leaf < layout.leaves.size(); ++leaf) {
      const DType t = layout.leaves[leaf].dtype;
      std::uint64_t v[3] = {}, r = 0;
      const bool fits = code == Opcode::select || (is_elementwise(code) && accepts(info(code).operands, wide(t)));
      for (std::size_t i = 0; i < x.size() && i < 3; ++i) v[i] = operand(i, e, leaf, true);
      if (code == Opcode::convert) {
        const Layout& own = layout_of(types[0].element);
        const DType from = types[0].is_scalar() ? types[0].dtype() : own.leaves[own.leaves.size() == 1 ? 0 : leaf].dtype;
        r = convert_bits(wide(from), t, v[0]);
      } else {
        r = fits ? convert_bits(wide(t), t, scalar_op(code, wide(t))(v)) : operand(first, e, leaf, false);
      }
      store_bits(out.array->data() + e * layout.size + layout.leaves[leaf].offset, t, r);
    }
  return out;
}

}  // namespace

EvalValue map_values(Opcode code, const Type& result, const std::vector<EvalValue>& x, const std::vector<Type>& types, const ScalarCall& f,
                     Loc loc, const std::string& name) {
  EvalValue out;
  if (result.is_scalar()) {
    std::uint64_t v[3] = {};
    for (std::size_t i = 0; i < x.size(); ++i) v[i] = x[i].bits;
    out.bits = f(v);
    for (const EvalValue& v : x)
      if (!out.made) out.made = v.made;
  } else if (result.is_array() && !result.element.is_scalar()) {
    return map_leaves(code, result, x, types);
  } else if (result.is_array()) {
    out.array = make_array(result, 0);
    const DType to = result.dtype();
    for (std::int64_t e = 0; e < result.count(); ++e) {
      std::uint64_t v[3] = {};
      for (std::size_t i = 0; i < x.size(); ++i)
        v[i] = types[i].is_scalar() ? x[i].bits : load_bits(x[i].array->data() + e * size_of(types[i].dtype()), types[i].dtype());
      store_bits(out.array->data() + e * size_of(to), to, f(v));
    }
  } else {
    const std::size_t n = length(x.back());
    out.seq = std::make_shared<Items>();
    out.seq->reserve(n);
    std::vector<Type> inner = types;
    for (Type& t : inner)
      if (t.is_seq()) t = t.item();
    for (std::size_t e = 0; e < n; ++e) {
      std::vector<EvalValue> y;
      for (std::size_t i = 0; i < x.size(); ++i) {
        if (types[i].is_seq() && length(x[i]) != n)
          throw KernelError(loc, fmt::format("\"{}\": sequences of {} and {} meet", name, length(x[i]), n));
        y.push_back(types[i].is_seq() ? (*x[i].seq)[e] : x[i]);
      }
      out.seq->push_back(map_values(code, result.item(), y, inner, f, loc, name));
    }
  }
  return out;
}

}  // namespace fluxion
