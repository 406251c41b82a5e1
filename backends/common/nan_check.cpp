// See the header.
#include "nan_check.h"

#include <fmt/format.h>

#include <cstring>

#include "fluxion/evaluate.h"

namespace fluxion {
namespace {

template <class T> T at(const std::byte* p) {
  T v;
  std::memcpy(&v, p, sizeof v);
  return v;
}
/// NaN, or with `inf` not finite.
bool odd(const std::byte* p, DType t, bool inf) {
  const auto of = [&](auto v) { return v != v || (inf && v - v != v - v); };
  switch (t) {
    case DType::f16: return of(static_cast<float>(at<half>(p)));
    case DType::bf16: return of(static_cast<float>(at<bfloat16>(p)));
    case DType::f32: return of(at<float>(p));
    case DType::f64: return of(at<double>(p));
    case DType::boolean:
    case DType::i8:
    case DType::i16:
    case DType::i32:
    case DType::i64:
    case DType::u8:
    case DType::u16:
    case DType::u32:
    case DType::u64: break;
  }
  return false;
}
std::int64_t count(const ArrayArgument& a) { return a.extent[0] * a.extent[1] * a.extent[2]; }

/// The memory parameters with their place among the arrays.
template <class F> void each_memory(const Function& f, F&& visit) {
  std::size_t k = 0;
  for (const Parameter& p : f.parameters)
    if (p.kind == Parameter::Kind::memory) visit(k++, p, f[p.memory]);
}

}  // namespace

NanCheck::NanCheck(const Function& kernel, std::span<const ArrayArgument> arrays, bool inf)
    : kernel_(kernel), arrays_(arrays), inf_(inf), before_(arrays.size()) {
  each_memory(kernel_, [&](std::size_t k, const Parameter& p, const Memory& m) {
    if (p.role == Role::in || k >= arrays_.size()) return;
    const Layout& layout = layout_of(m.element);
    auto* data = static_cast<std::byte*>(arrays_[k].data);
    if (p.role == Role::out && !in_place(k))
      for (std::int64_t i = 0; i < count(arrays_[k]); ++i)
        for (const Leaf& leaf : layout.leaves) {
          std::byte* const one = data + i * layout.size + leaf.offset;
          if (odd(one, leaf.dtype, inf_)) std::memset(one, 0, static_cast<std::size_t>(size_of(leaf.dtype)));
        }
    before_[k].assign(data, data + count(arrays_[k]) * layout.size);
  });
}

bool NanCheck::in_place(std::size_t k) const {
  for (std::size_t j = 0; j < arrays_.size(); ++j)
    if (j != k && arrays_[j].data == arrays_[k].data) return true;
  return false;
}

std::byte* NanCheck::kept(std::size_t k) {
  for (std::size_t j = 0; j < arrays_.size(); ++j)
    if (!before_[j].empty() && arrays_[j].data == arrays_[k].data) return before_[j].data();
  return static_cast<std::byte*>(arrays_[k].data);
}

bool NanCheck::passes(const std::array<std::int64_t, 3>& domain, std::span<const std::uint64_t> scalars, FailureSlot& failure,
                      const std::string& place, Loc at) {
  std::string where;
  std::int64_t element = -1;
  const std::byte* again_at = nullptr;  // where the evaluator puts that element
  DType type = DType::f32;
  bool nan = false;
  each_memory(kernel_, [&](std::size_t k, const Parameter& p, const Memory& m) {
    if (nan || m.scratch || k >= arrays_.size() || before_[k].empty()) return;
    const Layout& layout = layout_of(m.element);
    const auto* data = static_cast<const std::byte*>(arrays_[k].data);
    const auto& e = arrays_[k].extent;
    for (std::int64_t i = 0; i < count(arrays_[k]) && !nan; ++i)
      for (const Leaf& leaf : layout.leaves) {
        const std::int64_t offset = i * layout.size + leaf.offset;
        if (!odd(data + offset, leaf.dtype, inf_) || odd(before_[k].data() + offset, leaf.dtype, inf_)) continue;
        const bool here = odd(data + offset, leaf.dtype, false);
        if (element >= 0 && !here) continue;
        nan = here;
        element = i;
        again_at = kept(k) + offset;
        type = leaf.dtype;
        where = m.rank == 1   ? fmt::format("{}[{}]", p.name, i)
                : m.rank == 2 ? fmt::format("{}[{}, {}]", p.name, i / e[1], i % e[1])
                              : fmt::format("{}[{}, {}, {}]", p.name, i / e[2] / e[1], i / e[2] % e[1], i % e[2]);
        if (nan) break;
      }
  });
  if (element < 0) return true;
  EvalOptions again;
  again.races = false;
  again.nan = true;
  again.inf = inf_;
  again.print = [](std::string_view) {};
  if (!kernel_.has_groups() && element < domain[0] * domain[1] * domain[2]) again.first_thread = element;  // often that thread's own
  std::vector<EvalMemory> memories;
  for (std::size_t k = 0; k < arrays_.size(); ++k) memories.push_back({kept(k), arrays_[k].extent});
  try {
    evaluate_kernel(kernel_, domain, memories, scalars, again);
  } catch (const KernelError& e) {
    const std::string what = e.what(), line = to_string(e.where());
    failure.set(FailureSlot::Kind::kernel, e.where() ? e.where() : at, place + (line.empty() ? what : what.substr(line.size() + 2)));
    return false;
  }
  // What the evaluator leaves as well without a word was written as such: a literal.
  if (!nan || odd(again_at, type, false)) return true;
  failure.set(FailureSlot::Kind::kernel, kernel_.loc ? kernel_.loc : at,
              fmt::format("{}kernel \"{}\": {} became NaN, in native code only", place, kernel_.name, where));
  return false;
}

}  // namespace fluxion
