// The table of element layouts, shared by all threads and never shrunk.
#include "fluxion/layout.h"

#include <fmt/format.h>

#include <algorithm>
#include <deque>
#include <mutex>

namespace fluxion {
namespace {
struct Table {
  std::mutex mutex;
  std::deque<Layout> layouts;  // a deque: references stay valid while it grows
  Table() {
    for (int i = 0; i < kDTypeCount; ++i) {
      const DType t = static_cast<DType>(i);
      layouts.push_back({{{t, 0}}, static_cast<std::uint32_t>(size_of(t))});
    }
  }
};
// Never destroyed: launches that are pending when main returns still ask.
Table& table() {
  static Table& t = *new Table;
  return t;
}
}  // namespace

LayoutId intern(const Layout& layout) {
  Table& t = table();
  std::lock_guard lock(t.mutex);
  const auto it = std::find(t.layouts.begin(), t.layouts.end(), layout);
  if (it != t.layouts.end()) return LayoutId(static_cast<std::uint16_t>(it - t.layouts.begin()));
  t.layouts.push_back(layout);
  return LayoutId(static_cast<std::uint16_t>(t.layouts.size() - 1));
}

const Layout& layout_of(LayoutId id) {
  Table& t = table();
  std::lock_guard lock(t.mutex);
  return t.layouts.at(id.index);
}

LayoutId packed(DType t, int n) {
  Layout l;
  for (int i = 0; i < n; ++i) l.leaves.push_back({t, static_cast<std::uint32_t>(i * size_of(t))});
  l.size = static_cast<std::uint32_t>(n * size_of(t));
  return intern(l);
}

std::string to_string(LayoutId id) {
  if (id.is_scalar()) return name_of(id.scalar());
  const Layout& l = layout_of(id);
  std::string out = "{";
  std::uint32_t natural = 0, align = 1;
  for (std::size_t i = 0; i < l.leaves.size(); ++i) {
    const auto size = static_cast<std::uint32_t>(size_of(l.leaves[i].dtype));
    natural = (natural + size - 1) / size * size;
    align = std::max(align, size);
    out += fmt::format("{}{}", i ? ", " : "", name_of(l.leaves[i].dtype));
    if (l.leaves[i].offset != natural) out += fmt::format(" @{}", natural = l.leaves[i].offset);
    natural += size;
  }
  natural = (natural + align - 1) / align * align;
  if (l.size != natural) out += fmt::format("; {}", l.size);
  return out + "}";
}

}  // namespace fluxion
