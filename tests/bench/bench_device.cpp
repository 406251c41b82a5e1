// What a device reaches of its own limits: saxpy, triad and a stencil beside its copy, sgemm and n-body beside its fused
// multiply-adds, and the time of a step of two simulations, forward and with the gradient. --device NAME (the best
// there is); a CPU, or a GPU that is none, gets small sizes. Every row's result is compared with the host's. One table;
// docs/gpu.md has the last one measured.
#include <fluxion/fluxion.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <functional>
#include <limits>
#include <stdexcept>
#include <string>
#include <vector>

#include "bench.h"
#include "mpm.h"
#include "pond.h"

namespace {
namespace fx = fluxion;

struct Sizes {
  int vector, square, bodies, matrix, chains, steps, pond;
};
constexpr Sizes kLarge{1 << 26, 8192, 1 << 16, 4096, 1 << 20, 1000, 1024}, kSmall{1 << 20, 1024, 1 << 10, 256, 1 << 14, 50, 128};

class Table {
 public:
  Table(bench::Suite& suite, const fx::Device& device) : suite_(suite), device_(device) {}

  /// Seconds of one run: minima over rounds of several launches, each round waited for. `amount` of `unit` is what one
  /// run does, `limit` the rate that could be reached (0: not known). Returns the rate.
  double row(const std::string& name, double amount, const char* unit, double limit, const char* limit_name, const bench::Work& work,
             double per = 1) {
    work();
    device_.wait();
    double best = std::numeric_limits<double>::infinity();
    int repeat = 1;
    for (int round = 0; round < 12; ++round) {
      const double begin = bench::wall_seconds();
      for (int k = 0; k < repeat; ++k) work();
      device_.wait();
      const double seconds = bench::wall_seconds() - begin;
      best = std::min(best, seconds / repeat);
      if (seconds > 2) break;
      if (round < 2) repeat = std::clamp(static_cast<int>(0.05 / best), 1, 200);
    }
    const double rate = amount / best;
    std::printf("%-44s %12.3f us", name.c_str(), best / per * 1e6);
    if (unit) std::printf("  %10.1f %s", rate / 1e9, unit);
    if (limit > 0) std::printf("  %5.1f %% of %s", 100 * rate / limit, limit_name);
    std::printf("\n");
    std::fflush(stdout);
    suite_.record(name, {{device_.name(), best / per}}, std::numeric_limits<double>::infinity(), rate);
    return rate;
  }

 private:
  bench::Suite& suite_;
  fx::Device device_;
};

void expect(double found, double right, double tolerance, const std::string& what) {
  if (!(std::abs(found - right) <= tolerance)) throw std::runtime_error(fmt::format("{}: {} instead of {}", what, found, right));
}
/// Every element, within `tolerance` of itself.
template <int R>
void expect_all(const fx::Buffer<float, R>& found, const std::function<double(std::size_t)>& right, double tolerance,
                const std::string& what) {
  const std::vector<float> host = found.host();
  for (std::size_t k = 0; k < host.size(); ++k) {
    const double r = right(k);
    expect(host[k], r, tolerance * std::max(1.0, std::abs(r)), fmt::format("{}, element {}", what, k));
  }
}

void memory(Table& table, const fx::Device& dev, const Sizes& size) {
  const int n = size.vector, m = size.square;
  const std::vector<float> a = bench::ramp(static_cast<std::size_t>(n), 1), b = bench::ramp(static_cast<std::size_t>(n), 0.5f);
  auto x = dev.upload(a), y = dev.upload(b), z = dev.zeros<float>(n);
  const double bytes = 4.0 * n;
  const double copy = table.row("copy of the device", 2 * bytes, "GB/s", 0, "", [&] { z.copy_from(x); });
  expect_all(z, [&](std::size_t k) { return a[k]; }, 0, "copy");
  auto saxpy = fx::kernel("saxpy", [](fx::In<float> x, fx::InOut<float> y, fx::Float a) {
    auto i = fx::index();
    y[i] = a * x[i] + y[i];
  });
  table.row("saxpy", 3 * bytes, "GB/s", copy, "copy", [&] { saxpy.over(n)(x, y, 0.0f); });
  saxpy.over(n)(x, y, 3.0f);
  expect_all(y, [&](std::size_t k) { return 3.0 * a[k] + b[k]; }, 1e-6, "saxpy");
  auto triad = fx::kernel("triad", [](fx::In<float> x, fx::In<float> y, fx::Out<float> z, fx::Float a) {
    auto i = fx::index();
    z[i] = x[i] + a * y[i];
  });
  table.row("triad", 3 * bytes, "GB/s", copy, "copy", [&] { triad.over(n)(x, y, z, 3.0f); });
  expect_all(z, [&](std::size_t k) { return 10.0 * a[k] + 3.0 * b[k]; }, 1e-6, "triad");
  auto dtriad = fx::vjp(triad);
  auto dx = dev.zeros<float>(n), dy = dev.zeros<float>(n), da = dev.zeros<float>(1);
  auto weight = dev.upload(b);
  table.row("triad, its vjp", 6 * bytes, "GB/s", copy, "copy", [&] { dtriad.over(n)(x, y, 3.0f, weight, dx, dy, da); });
  dx.fill(0), dy.fill(0), da.fill(0);
  dtriad.over(n)(x, y, 3.0f, weight, dx, dy, da);
  expect_all(dx, [&](std::size_t k) { return b[k]; }, 0, "triad's vjp in x");
  expect_all(dy, [&](std::size_t k) { return 3.0 * b[k]; }, 1e-6, "triad's vjp in y");
  double slope = 0;
  for (std::size_t k = 0; k < a.size(); ++k) slope += b[k] * (3.0 * a[k] + b[k]);
  expect(da.host()[0], slope, 1e-5 * slope, "triad's vjp in a");
  auto stencil = fx::kernel("stencil", [](fx::In<float, 2> in, fx::Out<float, 2> out) {
    auto [r, c] = fx::index<2>();
    fx::Int i = r + 1, j = c + 1;
    out(i, j) = 0.5f * in(i, j) + 0.125f * (in(i - 1, j) + in(i + 1, j) + in(i, j - 1) + in(i, j + 1));
  });
  const std::vector<float> h = bench::ramp(static_cast<std::size_t>(m) * m, 1);
  auto in = dev.upload(h, m, m), out = dev.zeros<float>(m, m), din = dev.zeros<float>(m, m);
  const double cells = 4.0 * m * m;
  table.row("stencil of 5 points", 2 * cells, "GB/s", copy, "copy", [&] { stencil.over(m - 2, m - 2)(in, out); });
  // Of `part(i, j)`, which is nothing at the border: the stencil is its own adjoint but for that.
  const auto around = [&](const std::function<double(std::size_t, std::size_t)>& part, std::size_t k) {
    const std::size_t i = k / static_cast<std::size_t>(m), j = k % static_cast<std::size_t>(m);
    double sum = 0.5 * part(i, j);
    if (i > 0) sum += 0.125 * part(i - 1, j);
    if (j > 0) sum += 0.125 * part(i, j - 1);
    if (i + 1 < static_cast<std::size_t>(m)) sum += 0.125 * part(i + 1, j);
    if (j + 1 < static_cast<std::size_t>(m)) sum += 0.125 * part(i, j + 1);
    return sum;
  };
  const auto last = static_cast<std::size_t>(m) - 1;
  const auto inner = [&](std::size_t i, std::size_t j) { return i > 0 && j > 0 && i < last && j < last; };
  const auto of = [&](std::size_t i, std::size_t j) -> double { return h[i * static_cast<std::size_t>(m) + j]; };
  const auto of_inner = [&](std::size_t i, std::size_t j) { return inner(i, j) ? of(i, j) : 0; };
  const auto side = static_cast<std::size_t>(m);
  expect_all(out, [&](std::size_t k) { return inner(k / side, k % side) ? around(of, k) : 0; }, 1e-6, "stencil");
  auto dstencil = fx::vjp(stencil);
  table.row("stencil, its vjp", 3 * cells, "GB/s", copy, "copy", [&] { dstencil.over(m - 2, m - 2)(in, in, din); });
  din.fill(0);
  dstencil.over(m - 2, m - 2)(in, in, din);
  expect_all(din, [&](std::size_t k) { return around(of_inner, k); }, 1e-6, "stencil's vjp");
}

/// Chains of multiply-adds that keep to registers.
double peak(Table& table, const fx::Device& dev, const Sizes& size) {
  constexpr int kChains = 16, kRounds = 256, kUnrolled = 4;
  auto k = fx::kernel("chains", [](fx::Out<float> y, fx::Float a, fx::Float b) {
    auto i = fx::index();
    fx::Float x[kChains];
    for (int c = 0; c < kChains; ++c) x[c] = fx::cast<float>(i + c);
    for ([[maybe_unused]] auto r : fx::range(kRounds / kUnrolled))
      for (int c = 0; c < kChains * kUnrolled; ++c) x[c % kChains] = fx::fma(x[c % kChains], a, b);
    fx::Float sum = 0;
    for (int c = 0; c < kChains; ++c) sum += x[c];
    y[i] = sum;
  });
  auto y = dev.zeros<float>(size.chains);
  const double rate = table.row("multiply-adds in registers", 2.0 * kChains * kRounds * size.chains, "Gflop/s", 0, "",
                                [&] { k.over(size.chains)(y, 0.5f, 1.0f); });
  expect_all(y, [&](std::size_t) { return 2.0 * kChains; }, 1e-6, "multiply-adds");  // x / 2 + 1 has come to its fixed point
  return rate;
}

/// Tiles of 128 by 128 through shared memory, 8 by 8 numbers of the product a thread.
void sgemm(Table& table, const fx::Device& dev, const Sizes& size, double peak) {
  constexpr int kSide = 16, kEach = 8, kTile = kSide * kEach, kDepth = 8;
  auto k = fx::kernel("sgemm", fx::groups(kSide, kSide), [](fx::In<float, 2> a, fx::In<float, 2> b, fx::Out<float, 2> c) {
    fx::Shared<float, kDepth * kTile> rows, columns;
    auto [ty, tx] = fx::thread_index<2>();
    auto [gy, gx] = fx::group_index<2>();
    fx::Int me = ty * kSide + tx, top = gy * kTile, left = gx * kTile;
    fx::Float sum[kEach][kEach];
    for (auto& r : sum)
      for (auto& s : r) s = 0;
    for (auto block : fx::range(a.extent(1) / kDepth)) {
      for (int part = 0; part < kDepth * kTile / (kSide * kSide); ++part) {
        fx::Int e = me + part * kSide * kSide;
        rows[(e & (kDepth - 1)) * kTile + (e >> 3)] = a(top + (e >> 3), block * kDepth + (e & (kDepth - 1)));
        columns[e] = b(block * kDepth + (e >> 7), left + (e & (kTile - 1)));
      }
      fx::barrier();
      for (auto depth : fx::range(kDepth)) {
        fx::Float x[kEach], y[kEach];
        for (int i = 0; i < kEach; ++i) x[i] = rows[depth * kTile + ty * kEach + i], y[i] = columns[depth * kTile + tx + i * kSide];
        for (int i = 0; i < kEach; ++i)
          for (int j = 0; j < kEach; ++j) sum[i][j] += x[i] * y[j];
      }
      fx::barrier();
    }
    for (int i = 0; i < kEach; ++i)
      for (int j = 0; j < kEach; ++j) c(top + ty * kEach + i, left + tx + j * kSide) = sum[i][j];
  });
  static_assert(kDepth == 8 && kTile == 128, "the shifts above");
  const int n = size.matrix;
  std::vector<float> ha = bench::ramp(static_cast<std::size_t>(n) * n, 1), hb = bench::ramp(static_cast<std::size_t>(n) * n + 5, 1);
  hb.resize(ha.size());
  auto a = dev.upload(ha, n, n), b = dev.upload(hb, n, n), c = dev.zeros<float>(n, n);
  table.row("sgemm, tiles in shared memory", 2.0 * n * n * n, "Gflop/s", peak, "multiply-adds",
            [&] { k.over(n / kEach, n / kEach)(a, b, c); });
  const std::vector<float> found = c.host();
  for (const int i : {0, n / 2 + 1, n - 1}) {
    double right = 0;
    const int j = (7 * i + 3) % n;
    for (int d = 0; d < n; ++d)
      right += static_cast<double>(ha[static_cast<std::size_t>(i) * n + d]) * hb[static_cast<std::size_t>(d) * n + j];
    expect(found[static_cast<std::size_t>(i) * n + j], right, 1e-4 * right, "sgemm");
  }
}

void nbody(Table& table, const fx::Device& dev, const Sizes& size, double peak) {
  const int n = size.bodies;
  auto k = fx::kernel("nbody", [](fx::In<fx::Vec<float, 4>> body, fx::Out<fx::Vec<float, 3>> pull) {
    auto i = fx::index();
    auto me = +body[i];
    fx::Float sx = 0, sy = 0, sz = 0;
    for (auto j : fx::range(body.extent(0))) {
      auto other = +body[j];
      fx::Float dx = other[0] - me[0], dy = other[1] - me[1], dz = other[2] - me[2];
      fx::Float inverse = fx::rsqrt(dx * dx + dy * dy + dz * dz + 1e-4f), scale = other[3] * inverse * inverse * inverse;
      sx += dx * scale, sy += dy * scale, sz += dz * scale;
    }
    pull[i] = fx::Vec<fx::Float, 3>{sx, sy, sz};
  });
  std::vector<fx::Vec<float, 4>> host;
  const auto r = bench::ramp(static_cast<std::size_t>(n) + 3000, 1);
  for (int i = 0; i < n; ++i) host.push_back({r[i], r[i + 1000], r[i + 2000], (0.5f + r[i + 500]) / static_cast<float>(n)});
  auto bodies = dev.upload(host);
  auto pull = dev.zeros<fx::Vec<float, 3>>(n), d_pull = dev.full(fx::Vec<float, 3>{1, 0, 0}, n);
  auto d_bodies = dev.zeros<fx::Vec<float, 4>>(n);
  const double flops = 20.0 * n * n;
  table.row("n-body, 20 flops a pair", flops, "Gflop/s", peak, "multiply-adds", [&] { k.over(n)(bodies, pull); });
  auto dk = fx::vjp(k);
  table.row("n-body, its vjp, as many flops", flops, "Gflop/s", peak, "multiply-adds", [&] { dk.over(n)(bodies, d_pull, d_bodies); });
  d_bodies.fill({});
  dk.over(n)(bodies, d_pull, d_bodies);
  const auto pulls = pull.host();
  const auto slopes = d_bodies.host();
  for (const int i : {0, n / 3, n - 1}) {
    // d_pull is along x for all: what i feels, and how the sum of all pulls along x changes with where i is and with its mass.
    double sx = 0, slope_x = 0, slope_m = 0;
    for (int j = 0; j < n; ++j) {
      const auto d = [&](int axis) { return static_cast<double>(host[j][axis]) - host[i][axis]; };
      const double r2 = d(0) * d(0) + d(1) * d(1) + d(2) * d(2) + 1e-4, s = 1 / (r2 * std::sqrt(r2));
      sx += d(0) * s * host[j][3];
      slope_x += (host[i][3] - static_cast<double>(host[j][3])) * (s - 3 * d(0) * d(0) * s / r2);
      slope_m -= d(0) * s;
    }
    expect(pulls[i][0], sx, 1e-3 * (1 + std::abs(sx)), "n-body");
    expect(slopes[i][0], slope_x, 1e-3 * (10 + std::abs(slope_x)), "n-body's vjp in x");
    expect(slopes[i][3], slope_m, 1e-3 * (n + std::abs(slope_m)), "n-body's vjp in the mass");
  }
}

/// The loss of a simulation and its gradient: on `dev` as on the CPU.
template <class Make>
void same_as_cpu(const fx::Device& dev, const std::string& what, const Make& make) {
  const auto [loss, slope] = make(dev);
  const auto [right, right_slope] = make(fx::Device::named("cpu"));
  expect(loss, right, 1e-4 * std::abs(right), what);
  double size = 0;
  for (const float v : right_slope) size = std::max(size, static_cast<double>(std::abs(v)));
  if (size == 0) throw std::runtime_error(what + ": the gradient is nothing, which compares nothing");
  for (std::size_t k = 0; k < slope.size(); ++k) expect(slope[k], right_slope[k], 1e-3 * size, what + "'s gradient");
}

void simulations(Table& table, const fx::Device& dev, const Sizes& size) {
  using Sim = mpm::Throw<float, 80>;
  mpm::Parameters p;
  p.steps = size.steps;
  auto thrown = Sim(p, dev).program(p.steps);
  auto both = fx::value_and_grad(thrown);
  auto v0 = dev.upload({Sim::Vec2{0.1f, -1.0f}});
  table.row("mpm_throw, 6400 particles: a step", 0, nullptr, 0, "", [&] { bench::keep(thrown(v0).item()); }, p.steps);
  table.row("mpm_throw: a step and its reverse", 0, nullptr, 0, "", [&] { bench::keep(std::get<0>(both(v0)).item()); }, p.steps);
  same_as_cpu(dev, "mpm_throw", [p](const fx::Device& on) {
    constexpr int kSteps = 20;
    auto [loss, slope] = fx::value_and_grad(Sim(p, on).program(kSteps))(on.upload({Sim::Vec2{0.1f, -1.0f}}));
    const auto v = slope.host()[0];
    return std::pair(static_cast<double>(loss.item()), std::vector<float>{v[0], v[1]});
  });
  pond::Parameters q;
  q.n = size.pond;
  auto wave = pond::Pond<float>(q, dev).program();
  auto slope = fx::value_and_grad(wave, fx::wrt<0>);
  auto height = dev.full(0.1f, q.n, q.n), goal = dev.zeros<float>(q.n, q.n);
  table.row("wave: a step", 0, nullptr, 0, "", [&] { bench::keep(wave(height, goal).item()); }, q.steps);
  table.row("wave: a step and its reverse", 0, nullptr, 0, "", [&] { bench::keep(std::get<0>(slope(height, goal)).item()); }, q.steps);
  same_as_cpu(dev, "wave", [q](const fx::Device& on) {
    auto [loss, slope] = fx::value_and_grad(pond::Pond<float>(q, on).program(), fx::wrt<0>)(
        on.upload(bench::ramp(static_cast<std::size_t>(q.n) * q.n, 0.1f), q.n, q.n), on.zeros<float>(q.n, q.n));
    return std::pair(static_cast<double>(loss.item()), slope.host());
  });
}

}  // namespace

int main(int argc, char** argv) try {
  bench::Suite suite(argc, argv);
  const fx::Device dev = suite.device().empty() ? fx::Device::best() : fx::Device::named(suite.device());
  const bool real = dev.name() != "cpu" && dev.name() != "reference" && dev.description().find("llvmpipe") == std::string::npos;
  std::printf("%s: %s\n", dev.name().c_str(), dev.description().c_str());
  if (suite.only() == "none") return 0;  // is the device there?
  const Sizes& size = real ? kLarge : kSmall;
  Table table(suite, dev);
  memory(table, dev, size);
  const double flops = peak(table, dev, size);
  sgemm(table, dev, size, flops);
  nbody(table, dev, size, flops);
  simulations(table, dev, size);
} catch (const std::exception& e) {
  std::fprintf(stderr, "%s\n", e.what());
  return 1;
}
