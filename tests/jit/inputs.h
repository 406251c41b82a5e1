// What tests of the jit folder are fed with, and the devices that they run on.
#pragma once
#include <cstdlib>
#include <random>
#include <vector>

#include "fluxion/fluxion.h"

namespace fluxion::testing {

inline const std::vector<Device>& devices() {
  static const std::vector<Device> all{Device::best(), Device::reference()};
  return all;
}

/// from, from + step, ...
inline std::vector<double> ramp(int n, double from, double step) {
  std::vector<double> out;
  for (int i = 0; i < n; ++i) out.push_back(from + step * i);
  return out;
}

/// Random numbers of [lo, hi), the same for the same seed.
inline std::vector<double> random_numbers(std::size_t n, unsigned seed = 1, double lo = 0.5, double hi = 2.0) {
  std::mt19937 random(seed);
  std::uniform_real_distribution<double> u(lo, hi);
  std::vector<double> out(n);
  for (double& v : out) v = u(random);
  return out;
}

/// FLUXION_DEBUG is `words` for as long as this lives.
class Debug {
 public:
  explicit Debug(const char* words) { ::setenv("FLUXION_DEBUG", words, 1); }
  ~Debug() { ::unsetenv("FLUXION_DEBUG"); }
  Debug(const Debug&) = delete;
  Debug& operator=(const Debug&) = delete;
};

/// -nu u'' + c u' on a line, one-sided differences, with a speed c at each point: linear in u and not symmetric.
inline auto advection() {
  return kernel("advection", [](In<double> u, In<double> c, Double nu, Out<double> y) {
    auto i = index();
    Double left = 0.0, right = 0.0;
    if_(i > 0, [&] { left = u[i - 1]; });
    if_(i + 1 < u.extent(0), [&] { right = u[i + 1]; });
    y[i] = nu * (2.0 * u[i] - left - right) + c[i] * (u[i] - left);
  });
}

}  // namespace fluxion::testing
