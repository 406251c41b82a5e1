// The table of element layouts, shared by all threads and never shrunk.
#include "fluxion/layout.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <mutex>

#include "fluxion/error.h"

namespace fluxion {
namespace {
// Read without a lock, since every launch asks: blocks of pointers, each published before the number that leads to it.
struct Table {
  static constexpr std::size_t kBlock = 256;
  using Block = std::array<std::atomic<const Layout*>, kBlock>;
  std::mutex mutex;  // of those who add
  std::array<std::atomic<Block*>, kBlock> blocks{};
  std::size_t size = 0;

  Table() {
    for (int i = 0; i < kDTypeCount; ++i) {
      const DType t = static_cast<DType>(i);
      add({{{t, 0}}, static_cast<std::uint32_t>(size_of(t))});
    }
  }
  const Layout& at(std::size_t i) const {
    return *(*blocks[i / kBlock].load(std::memory_order_acquire))[i % kBlock].load(std::memory_order_acquire);
  }
  void add(const Layout& layout) {
    if (size == kBlock * kBlock) throw KernelError({}, "there are 65536 element types, which is all there can be");
    if (size % kBlock == 0) blocks[size / kBlock].store(new Block{}, std::memory_order_release);
    (*blocks[size / kBlock].load(std::memory_order_relaxed))[size % kBlock].store(new Layout(layout), std::memory_order_release);
    ++size;
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
  for (std::size_t i = 0; i < t.size; ++i)
    if (t.at(i) == layout) return LayoutId(static_cast<std::uint16_t>(i));
  t.add(layout);
  return LayoutId(static_cast<std::uint16_t>(t.size - 1));
}

const Layout& layout_of(LayoutId id) { return table().at(id.index); }

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
