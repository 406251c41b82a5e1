// See the header. Arrays that share memory share their copy.
#include "fluxion/host_arrays.h"

#include <map>

namespace fluxion {

std::size_t bytes_of(const ArrayArgument& a, LayoutId element) {
  return static_cast<std::size_t>(a.extent[0] * a.extent[1] * a.extent[2]) * layout_of(element).size;
}

HostArrays::HostArrays(const Function& f, Backend& backend, std::span<const ArrayArgument> arrays)
    : backend_(backend), now_(arrays.begin(), arrays.end()) {
  if (backend.host_memory()) return;
  copies_.resize(now_.size());
  home_.resize(now_.size());
  std::map<void*, std::size_t> seen;
  std::size_t k = 0;
  for (const Parameter& p : f.parameters) {
    if (p.kind != Parameter::Kind::memory || k == now_.size()) continue;
    const std::size_t n = bytes_of(now_[k], f[p.memory].element);
    const auto [first, fresh] = seen.try_emplace(now_[k].data, k);
    const std::size_t slot = first->second;
    if (fresh && n > 0) {
      copies_[slot].resize(n);
      backend.read(copies_[slot].data(), now_[k].data, n);
    }
    if (p.role != Role::in) home_[slot] = arrays[k].data;
    now_[k].data = copies_[slot].data();
    ++k;
  }
}

void HostArrays::give_back() {
  for (std::size_t k = 0; k < copies_.size(); ++k)
    if (home_[k] && !copies_[k].empty()) backend_.write(home_[k], copies_[k].data(), copies_[k].size());
}

}  // namespace fluxion
