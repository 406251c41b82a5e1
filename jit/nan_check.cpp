// Compares the written arrays before and after a run, for every backend alike.
#include "nan_check.h"

#include <fmt/format.h>

#include <cstring>

namespace fluxion::detail {
namespace {

template <class T> T at(const std::byte* p) {
  T v;
  std::memcpy(&v, p, sizeof v);
  return v;
}
bool is_nan(const std::byte* p, DType t) {
  switch (t) {
    case DType::f16: { const float v = at<half>(p); return v != v; }
    case DType::bf16: { const float v = at<bfloat16>(p); return v != v; }
    case DType::f32: { const float v = at<float>(p); return v != v; }
    case DType::f64: { const double v = at<double>(p); return v != v; }
    case DType::boolean: case DType::i8: case DType::i16: case DType::i32: case DType::i64:
    case DType::u8: case DType::u16: case DType::u32: case DType::u64: return false;
  }
  return false;
}

// What a run writes, with its name and its place among the arrays of the launch: parameters, then what a program
// returns, which held nothing before.
template <class F> void each_written(const Function& f, F&& visit) {
  std::size_t slot = 0, versions = 0;
  for (const Parameter& p : f.parameters) {
    if (p.kind == Parameter::Kind::scalar) continue;
    const LayoutId element = p.kind == Parameter::Kind::memory ? f[p.memory].element : f.type(p.value).element;
    const bool scratch = p.kind == Parameter::Kind::memory && f[p.memory].scratch;
    if (p.role != Role::in && !scratch) visit(slot, p.name, layout_of(element), false);
    versions += p.role != Role::in;
    ++slot;
  }
  if (f.kind != Function::Kind::program) return;
  const Values& end = f.terminator(f.body).operands;
  for (std::size_t k = versions; k < end.size(); ++k)
    visit(slot++, fmt::format("result {}", k - versions), layout_of(f.type(end[k]).element), true);
}

std::size_t count_of(const ArrayArgument& a) { return static_cast<std::size_t>(a.extent[0] * a.extent[1] * a.extent[2]); }

}  // namespace

NanCheck::NanCheck(const Work& work) : before_(work.arrays.size()) {
  each_written(*work.function, [&](std::size_t slot, const std::string&, const Layout& layout, bool fresh) {
    if (fresh) return;
    const ArrayArgument& a = work.arrays[slot];
    const auto* data = static_cast<const std::byte*>(a.data);
    before_[slot].assign(data, data + count_of(a) * layout.size);
  });
}

void NanCheck::report(const Work& work, FailureSlot& failure) const {
  each_written(*work.function, [&](std::size_t slot, const std::string& name, const Layout& layout, bool fresh) {
    const ArrayArgument& a = work.arrays[slot];
    const auto* now = static_cast<const std::byte*>(a.data);
    for (std::size_t i = 0; i < count_of(a); ++i)
      for (const Leaf& leaf : layout.leaves) {
        const std::size_t offset = i * layout.size + leaf.offset;
        if (!is_nan(now + offset, leaf.dtype) || (!fresh && is_nan(before_[slot].data() + offset, leaf.dtype))) continue;
        const auto k = static_cast<std::int64_t>(i);
        return failure.set(FailureSlot::Kind::kernel, work.function->loc,
                           fmt::format("\"{}\" became NaN at ({}, {}, {}); run it with .eager() or look at what it divides by", name,
                                       k / a.extent[2] / a.extent[1], k / a.extent[2] % a.extent[1], k % a.extent[2]));
      }
  });
}

}  // namespace fluxion::detail
