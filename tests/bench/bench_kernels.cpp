// Kernels beside the same loops in C++: two that memory bounds (saxpy, stencil), two that arithmetic bounds.
#include <fluxion/fluxion.h>

#include <cmath>
#include <limits>
#include <stdexcept>
#include <vector>

#include "bench.h"
#include "peers.h"

namespace {
namespace fx = fluxion;
using bench::kPeer;
using bench::ramp;

void same(const std::vector<float>& a, const std::vector<float>& b, float tolerance, const char* what) {
  for (std::size_t i = 0; i < a.size(); ++i)
    if (!(std::abs(a[i] - b[i]) <= tolerance * (1 + std::abs(b[i]))))
      throw std::runtime_error(std::string(what) + ": ours and the peer's results differ");
}

/// `slack`: how much of the peer's time ours may take, where the launch itself does not decide.
void saxpy(bench::Suite& suite, const fx::Device& dev, int n, const char* name, double slack) {
  auto k = fx::kernel("saxpy", [](fx::In<float> x, fx::InOut<float> y, fx::Float a) {
    auto i = fx::index();
    y[i] = a * x[i] + y[i];
  });
  const std::vector<float> hx = ramp(n, 1);
  std::vector<float> hy = ramp(n, 2);
  auto x = dev.upload(hx), y = dev.upload(hy);
  k.over(n)(x, y, 1e-3f);
  peer::saxpy(0, n, 1e-3f, hx.data(), hy.data());
  same(y.host(), hy, 1e-6f, name);
  suite.compare(name,
                {{"fluxion",
                  [&] {
                    k.over(n)(x, y, 1e-3f);
                    dev.wait();
                  }},
                 {kPeer, [&] { suite.split(n, [&](int b, int e) { peer::saxpy(b, e, 1e-3f, hx.data(), hy.data()); }); }}},
                [=](double peer) { return peer * slack; });
}

void stencil(bench::Suite& suite, const fx::Device& dev, int n, const char* name) {
  auto k = fx::kernel("stencil", [](fx::In<float, 2> in, fx::Out<float, 2> out) {
    auto [r, c] = fx::index<2>();
    fx::Int i = r + 1, j = c + 1;
    out(i, j) = 0.5f * in(i, j) + 0.125f * (in(i - 1, j) + in(i + 1, j) + in(i, j - 1) + in(i, j + 1));
  });
  const std::vector<float> host = ramp(static_cast<std::size_t>(n) * n, 1);
  std::vector<float> result(host.size());
  auto in = dev.upload(host, n, n), out = dev.zeros<float>(n, n);
  k.over(n - 2, n - 2)(in, out);
  peer::stencil(1, n - 1, n, host.data(), result.data());
  same(out.host(), result, 1e-6f, name);
  suite.compare(name,
                {{"fluxion",
                  [&] {
                    k.over(n - 2, n - 2)(in, out);
                    dev.wait();
                  }},
                 {kPeer, [&] { suite.split(n - 2, [&](int b, int e) { peer::stencil(b + 1, e + 1, n, host.data(), result.data()); }); }}},
                [](double peer) { return peer / 0.9; });
}

void mandelbrot(bench::Suite& suite, const fx::Device& dev) {
  constexpr int kWidth = 512, kHeight = 384, kLimit = 256;
  auto k = fx::kernel("mandelbrot", [](fx::Out<int, 2> out) {
    auto [i, j] = fx::index<2>();
    fx::Float cx = -2.0f + 2.6f * fx::cast<float>(j) / float(kWidth), cy = -1.2f + 2.4f * fx::cast<float>(i) / float(kHeight);
    fx::Float x = 0, y = 0;
    fx::Int count = 0;
    for (auto _ : fx::while_([&] { return count < kLimit && x * x + y * y <= 4.0f; })) {
      fx::Float next = x * x - y * y + cx;
      y = 2.0f * x * y + cy;
      x = next;
      count += 1;
    }
    out(i, j) = count;
  });
  auto out = dev.zeros<int>(kHeight, kWidth);
  std::vector<int> result(static_cast<std::size_t>(kWidth) * kHeight);
  k.over(kHeight, kWidth)(out);
  peer::mandelbrot(0, kHeight, kWidth, kHeight, kLimit, result.data());
  // Contraction differs, so a few points at the edge of the set may count otherwise.
  const auto ours = out.host();
  std::size_t other = 0;
  for (std::size_t i = 0; i < ours.size(); ++i) other += ours[i] != result[i];
  if (other > ours.size() / 100) throw std::runtime_error("mandelbrot: ours and the peer's results differ");
  suite.compare(
      "mandelbrot",
      {{"fluxion",
        [&] {
          k.over(kHeight, kWidth)(out);
          dev.wait();
        }},
       {kPeer, [&] { suite.split(kHeight, [&](int b, int e) { peer::mandelbrot(b, e, kWidth, kHeight, kLimit, result.data()); }); }}},
      [](double peer) { return peer / 5; });
}

void nbody(bench::Suite& suite, const fx::Device& dev) {
  constexpr int kN = 4096;
  auto k =
      fx::kernel("nbody", [](fx::In<float> x, fx::In<float> y, fx::In<float> z, fx::Out<float> ax, fx::Out<float> ay, fx::Out<float> az) {
        auto i = fx::index();
        fx::Float px = x[i], py = y[i], pz = z[i], sx = 0, sy = 0, sz = 0;
        for (auto j : fx::range(x.extent(0))) {
          fx::Float dx = x[j] - px, dy = y[j] - py, dz = z[j] - pz;
          fx::Float inverse = 1.0f / fx::sqrt(dx * dx + dy * dy + dz * dz + 1e-4f), scale = inverse * inverse * inverse;
          sx += dx * scale;
          sy += dy * scale;
          sz += dz * scale;
        }
        ax[i] = sx;
        ay[i] = sy;
        az[i] = sz;
      });
  const auto hx = ramp(kN, 1), hy = ramp(kN + 3, 2), hz = ramp(kN + 7, 3);
  std::vector<float> rx(kN), ry(kN), rz(kN);
  auto up = [&](const std::vector<float>& v) { return dev.upload(std::vector<float>(v.begin(), v.begin() + kN)); };
  auto x = up(hx), y = up(hy), z = up(hz), ax = dev.zeros<float>(kN), ay = dev.zeros<float>(kN), az = dev.zeros<float>(kN);
  k.over(kN)(x, y, z, ax, ay, az);
  auto theirs = [&](int b, int e) { peer::nbody(b, e, kN, hx.data(), hy.data(), hz.data(), rx.data(), ry.data(), rz.data()); };
  theirs(0, kN);
  same(ax.host(), rx, 2e-2f, "nbody");
  suite.compare("nbody",
                {{"fluxion",
                  [&] {
                    k.over(kN)(x, y, z, ax, ay, az);
                    dev.wait();
                  }},
                 {kPeer, [&] { suite.split(kN, theirs); }}},
                [](double peer) { return peer / 5; });
}

}  // namespace

int main(int argc, char** argv) {
  bench::Suite suite(argc, argv);
  const fx::Device dev = fx::Device::cpu();
  saxpy(suite, dev, 1 << 14, "saxpy 16k, launch included", std::numeric_limits<double>::infinity());
  saxpy(suite, dev, 1 << 18, "saxpy 256k", 1 / 0.9);
  saxpy(suite, dev, 1 << 24, "saxpy 16M", 1 / 0.9);
  stencil(suite, dev, 512, "stencil 512^2");
  stencil(suite, dev, 4096, "stencil 4096^2");
  mandelbrot(suite, dev);
  nbody(suite, dev);
}
