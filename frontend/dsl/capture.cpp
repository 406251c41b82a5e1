// What capture.h keeps out of line: calls on the host, and the probes that find the layout of a struct.
#include "fluxion/capture.h"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "fluxion/cancel.h"
#include "fluxion/evaluate.h"
#include "fluxion/external_code.h"

namespace fluxion::detail {
namespace {
struct Probed {
  DType dtype;
  const char* address;
};
thread_local std::vector<Probed> t_probed;
}  // namespace

void call_on_host(const Function& f, const std::uint64_t* arguments, int n, std::uint64_t* results, int m) {
  if (recording() && is_impure(f))
    throw KernelError(
        f.loc,
        fmt::format(
            "\"{}\" is or calls an impure external, and with numbers of the host it would be called once, now, while \"{}\" is captured; "
            "pass it captured values",
            f.name, recorded().name));
  const auto out = meeting_requests([&] { return evaluate_fn(f, {arguments, static_cast<std::size_t>(n)}); });
  if (out.size() != static_cast<std::size_t>(m)) throw Bug(f.loc, "a function gives another number of results than its type");
  std::copy(out.begin(), out.end(), results);
}

std::string ir_of(const Function& f) { return print(f); }

void refuse_half(DType t, Loc at) {
  if (is_half(t)) throw KernelError(at, "a function returns half precision, which is for memory only; return fx::Float");
}

void probe_begin() { t_probed.clear(); }
void probe_leaf(DType t, const void* address) { t_probed.push_back({t, static_cast<const char*>(address)}); }
int probe_end(const void* base, LeafSpec* out, int room) {
  std::sort(t_probed.begin(), t_probed.end(), [](const Probed& a, const Probed& b) { return a.address < b.address; });
  if (t_probed.size() != static_cast<std::size_t>(room))
    throw KernelError({}, "the members of a struct element must be F<scalar>, fx::Vec<F<scalar>, N> and the like");
  for (int k = 0; k < room; ++k)
    out[k] = {t_probed[static_cast<std::size_t>(k)].dtype,
              static_cast<std::uint32_t>(t_probed[static_cast<std::size_t>(k)].address - static_cast<const char*>(base))};
  return room;
}

}  // namespace fluxion::detail
