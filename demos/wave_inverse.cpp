// Which initial height makes a pond of 256 by 256 cells show a given picture after 256 steps of the wave equation?
#include <fluxion/fluxion.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <string>
#include <vector>

#include "pond.h"
#include "support/animation.h"
#include "support/run.h"

namespace {
namespace fx = fluxion;
using pond::Parameters;
using pond::Pond;

/// disc (the reference), heart, rings, or else the word itself; minus its mean.
std::vector<double> draw_target(const std::string& what, int n) {
  std::vector<double> target(static_cast<std::size_t>(n) * n);
  const std::vector<float> letters = demo::text_mask(n, n, what);
  for (int i = 0; i < n; ++i)
    for (int j = 0; j < n; ++j) {
      const double y = (i + 0.5) / n - 0.5, x = (j + 0.5) / n - 0.5, r = std::hypot(x, y), u = 3.1 * x, v = -3.1 * y + 0.15;
      double value = letters[static_cast<std::size_t>(i) * n + j];
      if (what == "disc") value = r < 0.3;
      if (what == "heart") value = std::pow(u * u + v * v - 1, 3) - u * u * v * v * v < 0;
      if (what == "rings") value = r < 0.42 ? 0.5 + 0.5 * std::cos(30 * r) : 0;
      target[static_cast<std::size_t>(i) * n + j] = value;
    }
  double mean = 0;
  for (double t : target) mean += t / static_cast<double>(target.size());
  for (double& t : target) t -= mean;
  return target;
}

template <class T>
std::vector<T> as(const std::vector<double>& v) {
  return {v.begin(), v.end()};
}

void pictures(demo::Run& run, const Pond<float>& pond, const fx::Buffer<float, 2>& height, const std::vector<float>& target) {
  constexpr int kWide = 512, kEdge = 12;
  const int n = pond.n;
  const auto frames = pond.watch(height, 2);
  demo::Animation film(run.path("pond"), 2 * kWide + 3 * kEdge + (3 * kEdge) % 2, kWide + 52);
  demo::Image image(1, 1);
  for (std::size_t t = 0; t < frames.size() + 45; ++t) {
    const std::size_t at = std::min(t, frames.size() - 1);
    image = demo::Image(2 * kWide + 3 * kEdge, kWide + 52);
    image.heat_map(frames[at], n, n, kEdge, 40, kWide, kWide, 0.9f);
    image.heat_map(target, n, n, 2 * kEdge + kWide, 40, kWide, kWide, 0.9f);
    image.text(kEdge, 14, 13, "height, step " + std::to_string(std::min<std::size_t>(2 * at, pond.steps - 1)), demo::kInk);
    image.text(2 * kEdge + kWide, 14, 13, "target", demo::kInk);
    film.add(image);
  }
  run.wrote(film.finish());
  // First, middle and last heights and the target side by side, each with the range of its colours.
  demo::Image sheet(4 * n + 5 * kEdge, n + 52);
  const std::vector<float>* stages[] = {&frames.front(), &frames[frames.size() / 2], &frames.back(), &target};
  const char* names[] = {"found", "half way", "at the end", "target"};
  for (int k = 0; k < 4; ++k) {
    float scale = 0.9f;
    if (k < 2) {  // small or large beside what it becomes
      scale = 1e-6f;
      for (float h : *stages[k]) scale = std::max(scale, std::abs(h));
    }
    char name[64];
    std::snprintf(name, sizeof name, "%s: up to %.2g", names[k], static_cast<double>(scale));
    const auto x = static_cast<float>(kEdge + k * (n + kEdge));
    sheet.heat_map(*stages[k], n, n, static_cast<int>(x), 40, n, n, scale);
    sheet.text(x, 14, 12, name, demo::kInk);
  }
  sheet.write_png(run.path("pond.png"));
  run.wrote(run.path("pond.png"));
}

}  // namespace

int main(int argc, char** argv) {
  demo::Run run("wave_inverse", "Finds the initial height of a pond whose waves form a picture", 200);
  Parameters p;
  double rate = 1, momentum = 0;
  std::string target = "disc";
  run.parameter("target", target, "disc, heart, rings, or a word to be drawn");
  run.parameter("n", p.n, "cells along a side");
  run.parameter("steps", p.steps, "time steps, an even number");
  run.parameter("rate", rate, "step of gradient descent");
  run.parameter("momentum", momentum, "of the descent; 0.97 brings out fine pictures");
  return run.start(argc, argv, [&] {
    if (p.n < 8 || p.steps < 4 || p.steps % 2) throw std::runtime_error("n must be at least 8, steps even and at least 4");
    const fx::Device device = run.device().empty() ? fx::Device::best() : fx::Device::named(run.device());
    run.record("device", device.name());
    run.record("target", target);
    const std::vector<double> wanted = draw_target(target, p.n), flat(wanted.size(), 0.0);
    if (run.check()) {
      auto loss = Pond<double>(p, device).program();
      auto goal = device.upload(wanted, p.n, p.n);
      auto [value, gradient] = fx::value_and_grad(loss, fx::wrt<0>)(device.upload(flat, p.n, p.n), goal);
      run.loss(value.item());
      return run.check_gradient([&](const std::vector<double>& h) { return loss(device.upload(h, p.n, p.n), goal).item(); }, flat,
                                gradient.host(), 1e-3);
    }
    const Pond<float> pond(p, device);
    auto step = fx::value_and_grad(pond.program(), fx::wrt<0>);
    auto height = device.zeros<float>(p.n, p.n), direction = device.zeros<float>(p.n, p.n);
    auto goal = device.upload(as<float>(wanted), p.n, p.n);
    for (int it = 0; it <= run.iterations(); ++it) {
      auto [loss, gradient] = step(height, goal);
      run.loss(loss.item());
      if (it == run.iterations()) break;
      direction *= momentum;
      direction += gradient;
      height -= rate * direction;
    }
    run.record("ratio", run.losses().back() / run.losses().front());
    if (!run.quiet()) pictures(run, pond, height, as<float>(wanted));
  });
}
