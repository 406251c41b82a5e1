// The first five minutes of a user of the installed library: a kernel, its gradient, and a program of them.
#include <fluxion/fluxion.h>

#include <cmath>
#include <cstdio>
#include <vector>

namespace fx = fluxion;

int main() {
  auto energy = fx::kernel("energy", [](fx::In<float> x, fx::Accum<float> e) {
    fx::Float v = x[fx::index()];
    e[0] += 0.5f * v * v + fx::cos(3.f * v);
  });
  auto dev = fx::Device::best();
  const std::vector<float> points{1.f, 2.f, 3.f};
  auto x = dev.upload(points);
  auto e = dev.zeros<float>(1), dx = dev.zeros<float>(3);
  energy.over(3)(x, e);
  fx::vjp(energy).over(3)(x, fx::ones_like(e), dx);

  auto total = fx::program("total", [&](fx::Buffer<float> at) {
    auto sum = fx::zeros<float>(1);
    energy.over(3)(at, sum);
    return sum;
  });
  auto [value, gradient] = fx::value_and_grad(total)(x);

  int wrong = 0;
  float sum = 0;
  const auto a = dx.host(), b = gradient.host();
  for (std::size_t i = 0; i < points.size(); ++i) {
    const float v = points[i], expected = v - 3 * std::sin(3 * v);
    sum += 0.5f * v * v + std::cos(3 * v);
    std::printf("de/dx[%zu] = %g\n", i, static_cast<double>(a[i]));
    wrong += !(std::abs(a[i] - expected) < 1e-5f) + !(std::abs(b[i] - expected) < 1e-5f);
  }
  wrong += !(std::abs(e.item() - sum) < 1e-5f) + !(std::abs(value.item() - sum) < 1e-5f);
  return wrong == 0 ? 0 : 1;
}
