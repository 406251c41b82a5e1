// What it costs to launch nothing: from the host, and as a step of a program.
#include <fluxion/fluxion.h>

#include "bench.h"

int main(int argc, char** argv) {
  namespace fx = fluxion;
  bench::Suite suite(argc, argv);
  const fx::Device dev = fx::Device::cpu();
  auto touch = fx::kernel("touch", [](fx::InOut<float> x) { x[fx::index()] = x[fx::index()] + 1.0f; });
  auto x = dev.zeros<float>(16);
  constexpr int kLaunches = 1000, kSteps = 10000;
  suite.compare(
      "empty launch, queued",
      {{"fluxion",
        [&] {
          for (int i = 0; i < kLaunches; ++i) touch.over(16)(x);
          dev.wait();
        }}},
      [](double) { return 5e-6; }, kLaunches);
  suite.compare("empty launch, waited for",
                {{"fluxion",
                  [&] {
                    touch.over(16)(x);
                    dev.wait();
                  }}},
                [](double) { return 5e-6; });
  auto steps = fx::program("steps", [&](fx::Buffer<float> start) {
    auto y = fx::copy(start);
    for ([[maybe_unused]] auto t : fx::range(kSteps)) { touch.over(16)(y); }
    return y;
  });
  suite.compare(
      "launch as a step of a program",
      {{"fluxion",
        [&] {
          bench::keep(steps(x));
          dev.wait();
        }}},
      [](double) { return 0.5e-6; }, kSteps);
}
