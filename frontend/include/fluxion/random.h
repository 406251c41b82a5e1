// Random numbers by counter: Philox4x32-10 (Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3",
// SC 2011). The number depends on the seed and the counters alone, so every backend and every order of threads gives
// the same stream; to differentiation it is a constant. Ten rounds are about a hundred operations for four numbers.
#pragma once
#include "fluxion/vec.h"

namespace fluxion {

/// Four random words for a counter and a key.
inline UInt4 philox(const UInt4& counter, const UInt2& key, Loc at = Loc::here()) {
  const detail::At here(at);
  UInt4 c = counter;
  UInt2 k = key;
  for (int round = 0; round < 10; ++round) {
    if (round > 0) k += uint2(0x9E3779B9u, 0xBB67AE85u);
    const UInt hi0 = mulhi(c.x, 0xD2511F53u), lo0 = c.x * 0xD2511F53u;
    const UInt hi1 = mulhi(c.z, 0xCD9E8D57u), lo1 = c.z * 0xCD9E8D57u;
    c = UInt4(hi1 ^ c.y ^ k.x, lo1, hi0 ^ c.w ^ k.y, lo0);
  }
  return c;
}

namespace random {
namespace detail {
/// Where a random number stands in its stream: any integers, captured or of the host; places for four.
struct Counter {
  UInt4 value{0u, 0u, 0u, 0u};
  template <class... C> explicit Counter(const C&... c) {
    static_assert(sizeof...(C) <= 4, "a random number is named by a seed and at most four counters");
    int k = 0;
    ((void(value[k] = UInt(c)), ++k), ...);
  }
};
template <class S> UInt2 key(const S& seed, Loc at) {
  const fluxion::detail::At here(at);
  if constexpr (std::is_integral_v<S>) {
    const auto s = static_cast<std::uint64_t>(seed);
    return uint2(static_cast<std::uint32_t>(s), static_cast<std::uint32_t>(s >> 32));
  } else {
    return UInt2(UInt(seed), 0u);
  }
}
inline Float unit(const UInt& bits) { return Float(Int(bits >> 8)) * 0x1p-24f; }
}  // namespace detail

/// The seed, a number of the host (64 bits count) or a captured integer, with the user's line.
struct Seed {
  UInt2 key;
  Loc loc;
  template <class S> Seed(const S& seed, Loc at = Loc::here()) : key(detail::key(seed, at)), loc(at) {}
};

/// Four random words: bits(seed, counter...).
template <class... C> UInt4 bits(const Seed& seed, const C&... c) {
  const fluxion::detail::At here(seed.loc);
  return philox(detail::Counter(c...).value, seed.key);
}
/// Four numbers of [0, 1) with 24 bits each.
template <class... C> Float4 uniform4(const Seed& seed, const C&... c) {
  const fluxion::detail::At here(seed.loc);
  const UInt4 b = bits(seed, c...);
  return Float4(detail::unit(b.x), detail::unit(b.y), detail::unit(b.z), detail::unit(b.w));
}
/// A number of [0, 1).
template <class... C> Float uniform(const Seed& seed, const C&... c) {
  const fluxion::detail::At here(seed.loc);
  return detail::unit(bits(seed, c...).x);
}
/// Two independent numbers of the standard normal distribution (Box and Muller 1958).
template <class... C> Float2 normal2(const Seed& seed, const C&... c) {
  const fluxion::detail::At here(seed.loc);
  const UInt4 b = bits(seed, c...);
  const Float r = sqrt(-2.f * log(1.f - detail::unit(b.x)));  // the argument is in (0, 1]
  const Float angle = 6.28318530717958647692f * detail::unit(b.y);
  return Float2(r * cos(angle), r * sin(angle));
}
/// A number of the standard normal distribution.
template <class... C> Float normal(const Seed& seed, const C&... c) { return normal2(seed, c...).x; }
}  // namespace random

}  // namespace fluxion
