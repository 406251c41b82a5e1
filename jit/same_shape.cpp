// The order of parameters is that of ad.h.
#include "same_shape.h"

#include <algorithm>

namespace fluxion::detail {
namespace {

bool is_memory(const Parameter& p) { return p.kind == Parameter::Kind::memory; }
bool floats(const Function& f, const Parameter& p) {
  return is_memory(p) ? has_float(Type::array(f[p.memory].element, {})) : is_float(f.type(p.value).dtype());
}
bool written_only(const Parameter& p) { return is_memory(p) && (p.role == Role::out || p.role == Role::accum); }

}  // namespace

std::vector<Like> likes_of_vjp(const Function& f, std::span<const Like> likes, const std::vector<int>& wrt, std::size_t passed) {
  std::vector<int> primal(passed, -1), cotangent(passed, -1);
  std::vector<Like> out;
  const auto add = [&](Like like) {
    out.push_back(like);
    return static_cast<int>(out.size()) - 1;
  };
  for (std::size_t p = 0; p < passed; ++p)
    if (!written_only(f.parameters[p])) primal[p] = add({});
  for (std::size_t p = 0; p < passed; ++p) {
    const Parameter& q = f.parameters[p];
    if (is_memory(q) && q.role != Role::in && floats(f, q)) cotangent[p] = add({primal[p], 0});
  }
  for (std::size_t p = 0; p < passed; ++p) {
    const Parameter& q = f.parameters[p];
    const bool asked = wrt.empty() || std::find(wrt.begin(), wrt.end(), static_cast<int>(p)) != wrt.end();
    if (asked && floats(f, q) && (!is_memory(q) || q.role == Role::in)) add({is_memory(q) ? primal[p] : -1, 0});
  }
  // What was alike before still is.
  for (std::size_t p = 0; p < likes.size() && p < passed; ++p) {
    if (likes[p].parameter < 0) continue;
    const int whose = primal[p] >= 0 ? primal[p] : cotangent[p], as = primal[static_cast<std::size_t>(likes[p].parameter)];
    if (whose >= 0 && as >= 0 && out[static_cast<std::size_t>(whose)].parameter < 0)
      out[static_cast<std::size_t>(whose)] = {as, likes[p].tangents};
  }
  return out;
}

std::vector<Like> likes_of_jvp(const Function& f, std::span<const Like> likes, int tangents, std::size_t passed) {
  std::vector<Like> out(likes.begin(), likes.begin() + static_cast<std::ptrdiff_t>(std::min(passed, likes.size())));
  out.resize(passed);
  for (std::size_t p = 0; p < passed; ++p) {
    const Parameter& q = f.parameters[p];
    if (!floats(f, q)) continue;
    if (is_memory(q)) out.push_back({static_cast<int>(p), tangents});
    else out.insert(out.end(), static_cast<std::size_t>(std::max(1, tangents)), Like{});
  }
  return out;
}

}  // namespace fluxion::detail
