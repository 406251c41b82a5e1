// How adjoints of loads are lowered: stencils, whose scatters become gathers, beside both in C++; scatters to where an index
// array says, in a fixed order, in any order (relaxed), and by atomic instructions (an old number that is used asks for those).
#include <fluxion/fluxion.h>

#include <cmath>
#include <limits>
#include <stdexcept>
#include <vector>

#include "bench.h"
#include "mpm.h"
#include "peers.h"

namespace {
namespace fx = fluxion;
using bench::ramp;
constexpr double kNoLimit = std::numeric_limits<double>::infinity();

void same(const std::vector<float>& a, const std::vector<float>& b, const char* what) {
  for (std::size_t i = 0; i < a.size(); ++i)
    if (!(std::abs(a[i] - b[i]) <= 1e-5f * (1 + std::abs(b[i]))))
      throw std::runtime_error(std::string(what) + ": ours and the peer's results differ");
}

void stencil(bench::Suite& suite, const fx::Device& dev, int n, const char* name) {
  auto k = fx::kernel("stencil", [](fx::In<float, 2> in, fx::Out<float, 2> out) {
    auto [r, c] = fx::index<2>();
    fx::Int i = r + 1, j = c + 1;
    out(i, j) = 0.5f * in(i, j) + 0.125f * (in(i - 1, j) + in(i + 1, j) + in(i, j - 1) + in(i, j + 1));
  });
  auto adjoint = fx::vjp(k);
  const std::vector<float> host = ramp(static_cast<std::size_t>(n) * n, 1);
  std::vector<float> scattered(host.size()), gathered(host.size());
  auto in = dev.upload(host, n, n), out_bar = dev.upload(host, n, n), in_bar = dev.zeros<float>(n, n);
  adjoint.over(n - 2, n - 2)(in, out_bar, in_bar);
  peer::stencil_scatter(n, host.data(), scattered.data());
  peer::stencil_gather(0, n, n, host.data(), gathered.data());
  same(in_bar.host(), scattered, name);
  same(in_bar.host(), gathered, name);
  suite.compare(name,
                {{"fluxion",
                  [&] {
                    adjoint.over(n - 2, n - 2)(in, out_bar, in_bar);
                    dev.wait();
                  }},
                 {std::string(bench::kPeer) + " scatter", [&] { peer::stencil_scatter(n, host.data(), scattered.data()); }},
                 {std::string(bench::kPeer) + " gather",
                  [&] { suite.split(n, [&](int b, int e) { peer::stencil_gather(b, e, n, host.data(), gathered.data()); }); }}},
                [](double) { return kNoLimit; });
}

/// The wave equation of demos/wave_inverse.cpp.
void wave(bench::Suite& suite, const fx::Device& dev, int n, int steps, const char* name) {
  auto advance = fx::kernel("advance", [](fx::InOut<float, 2> old, fx::In<float, 2> now) {
    auto [r, c] = fx::index<2>();
    fx::Int i = r + 1, j = c + 1;
    fx::Float laplace = now(i - 1, j) + now(i + 1, j) + now(i, j - 1) + now(i, j + 1) - 4.0f * now(i, j);
    old(i, j) = 2.0f * now(i, j) - old(i, j) + float(1.0 / 3) * laplace;
  });
  auto energy = fx::kernel("energy", [](fx::In<float, 2> height, fx::Accum<float> loss) {
    auto [i, j] = fx::index<2>();
    loss[0] += fx::square(height(i, j));
  });
  auto pond = fx::program("pond", [=](fx::Buffer<float, 2> even) {
    auto odd = dev.zeros<float>(n + 2, n + 2);
    for ([[maybe_unused]] auto t : fx::range(steps / 2)) {
      advance.over(n, n)(odd, even);
      advance.over(n, n)(even, odd);
    }
    auto loss = dev.zeros<float>(1);
    energy.over(n + 2, n + 2)(even, loss);
    return loss;
  });
  auto both = fx::value_and_grad(pond);
  auto height = dev.upload(ramp(static_cast<std::size_t>(n + 2) * (n + 2), 1e-3f), n + 2, n + 2);
  suite.compare(
      name,
      {{"fluxion",
        [&] {
          auto [l, g] = both(height);
          bench::keep(l.item());
        }},
       {"fluxion forward", [&] { bench::keep(pond(height).item()); }}},
      [](double) { return kNoLimit; }, 1, 20);
}

void scatter(bench::Suite& suite, const fx::Device& dev, int n, int bins, const char* name) {
  auto sums = fx::kernel("scatter", [](fx::In<int> at, fx::In<float> v, fx::Accum<float> sum) {
    auto i = fx::index();
    sum[at[i]] += v[i];
  });
  auto atomic = fx::kernel("atomic", [](fx::In<int> at, fx::In<float> v, fx::InOut<float> sum, fx::Out<float> old) {
                  auto i = fx::index();
                  old[i] = fx::atomic_add(sum[at[i]], v[i]);
                }).relaxed();
  auto relaxed = sums.relaxed();
  std::vector<int> indices(static_cast<std::size_t>(n));
  unsigned random = 1;
  for (int& k : indices) k = static_cast<int>(((random = random * 1664525u + 1013904223u) >> 8) % static_cast<unsigned>(bins));
  auto at = dev.upload(indices);
  auto v = dev.upload(ramp(static_cast<std::size_t>(n), 1)), old = dev.zeros<float>(n), sum = dev.zeros<float>(bins);
  suite.compare(
      name,
      {{"fluxion",
        [&] {
          sums.over(n)(at, v, sum);
          dev.wait();
        }},
       {"relaxed",
        [&] {
          relaxed.over(n)(at, v, sum);
          dev.wait();
        }},
       {"atomics",
        [&] {
          atomic.over(n)(at, v, sum, old);
          dev.wait();
        }}},
      [](double) { return kNoLimit; }, n, 30);
}

void p2g(bench::Suite& suite, const fx::Device& dev) {
  using Sim = mpm::Throw<float>;
  const Sim sim(mpm::Parameters(), dev);
  auto s = sim.begin(dev.upload({Sim::Vec2{0.1f, -1.0f}}));
  for (int t = 0; t < 3; ++t) sim.step(s);
  auto grid = dev.zeros<Sim::Cell>(Sim::n, Sim::n);
  auto relaxed = sim.p2g.relaxed();
  suite.compare(
      "mpm p2g",
      {{"fluxion",
        [&] {
          sim.p2g.over(Sim::particles)(s.x, s.v, s.C, s.F, grid);
          dev.wait();
        }},
       {"relaxed",
        [&] {
          relaxed.over(Sim::particles)(s.x, s.v, s.C, s.F, grid);
          dev.wait();
        }}},
      [](double) { return kNoLimit; }, 1, 50);
}

}  // namespace

int main(int argc, char** argv) {
  bench::Suite suite(argc, argv);
  const fx::Device dev = fx::Device::cpu();
  stencil(suite, dev, 512, "stencil adjoint 512^2");
  stencil(suite, dev, 4096, "stencil adjoint 4096^2");
  wave(suite, dev, 256, 256, "wave 256^2, 256 steps");
  constexpr int kMany = 1 << 21;
  scatter(suite, dev, kMany, 64, "an add of 2^21 to 64 places");
  scatter(suite, dev, kMany, 1 << 16, "an add of 2^21 to 2^16 places");
  scatter(suite, dev, kMany, 1 << 22, "an add of 2^21 to 2^22 places");
  p2g(suite, dev);
}
