// The wave equation on a pond of n by n cells, as kernels and the program of all steps, which update in place; the
// reverse sweep is linear, so no step is kept. The loss is the mean squared distance from a target at the end.
// As in DiffTaichi (Hu et al. 2020): c dt / dx = 1 / sqrt 3, the height is 0 outside, p_0 is sought, p_1 = 0.
#pragma once
#include <fluxion/fluxion.h>

#include <utility>
#include <vector>

namespace pond {
namespace fx = fluxion;

struct Parameters {
  int n = 256, steps = 256;
};

template <class T>
struct Pond {
  using Real = fx::Var<T>;
  // Heights are kept with a border of zeros, (n + 2) by (n + 2), so that no cell asks whether it has a neighbour.
  int n, steps;
  fx::Device device;
  fx::Kernel<fx::In<T, 2>, fx::InOut<T, 2>> place;
  fx::Kernel<fx::InOut<T, 2>, fx::In<T, 2>> advance;
  fx::Kernel<fx::In<T, 2>, fx::In<T, 2>, fx::Accum<T>> distance;

  Pond(const Parameters& p, const fx::Device& dev) : n(p.n), steps(p.steps), device(dev) {
    place = fx::kernel("place", [](fx::In<T, 2> height, fx::InOut<T, 2> padded) {
      auto [i, j] = fx::index<2>();
      padded(i + 1, j + 1) = height(i, j);
    });
    // p_t from p_{t-1} and, in place, p_{t-2}.
    advance = fx::kernel("advance", [](fx::InOut<T, 2> old, fx::In<T, 2> now) {
      auto [r, c] = fx::index<2>();
      fx::Int i = r + 1, j = c + 1;
      Real laplace = now(i - 1, j) + now(i + 1, j) + now(i, j - 1) + now(i, j + 1) - T(4) * now(i, j);
      old(i, j) = T(2) * now(i, j) - old(i, j) + T(1.0 / 3) * laplace;
    });
    distance = fx::kernel("distance", [n = n](fx::In<T, 2> target, fx::In<T, 2> padded, fx::Accum<T> loss) {
      auto [i, j] = fx::index<2>();
      loss[0] += T(1.0 / n / n) * fx::square(target(i, j) - padded(i + 1, j + 1));
    });
  }

  /// height, target -> the loss.
  auto program() const {
    return fx::program("pond", [*this](fx::Buffer<T, 2> height, fx::Buffer<T, 2> target) {
      auto even = device.zeros<T>(n + 2, n + 2), odd = device.zeros<T>(n + 2, n + 2);
      place.over(n, n)(height, even);
      for ([[maybe_unused]] auto t : fx::range((steps - 2) / 2)) {
        advance.over(n, n)(even, odd);
        advance.over(n, n)(odd, even);
      }
      auto loss = device.zeros<T>(1);
      distance.over(n, n)(target, odd, loss);
      return loss;
    });
  }

  /// The heights over time, n by n each, every `every` steps and at the end.
  std::vector<std::vector<float>> watch(const fx::Buffer<T, 2>& height, int every) const {
    auto even = device.zeros<T>(n + 2, n + 2), odd = device.zeros<T>(n + 2, n + 2);
    place.over(n, n)(height, even);
    std::vector<std::vector<float>> frames;
    for (int t = 0; t < steps; ++t) {
      auto& now = t % 2 ? odd : even;
      if (t > 1) advance.over(n, n)(now, t % 2 ? even : odd);
      if (t % every && t != steps - 1) continue;
      const auto padded = now.host();
      std::vector<float> frame;
      for (int i = 1; i <= n; ++i)
        for (int j = 1; j <= n; ++j) frame.push_back(static_cast<float>(padded[i * (n + 2) + j]));
      if (t != 1) frames.push_back(std::move(frame));
    }
    return frames;
  }
};

}  // namespace pond
