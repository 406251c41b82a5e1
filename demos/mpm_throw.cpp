// Throws an elastic block so that its centre of mass ends on a target: 1023 steps of MLS-MPM, differentiated from
// end to end; plain gradient descent finds the velocity. What is simulated is in mpm.h; here it is optimised and drawn.
#include <utility>
#include <vector>

#include "mpm.h"
#include "support/animation.h"
#include "support/run.h"

namespace {
namespace fx = fluxion;
using Points = std::vector<std::array<float, 2>>;  // positions in the unit square, y up

constexpr int kSize = 720, kEvery = 8;  // pixels of a picture; steps between frames

/// The particles at every kEvery-th step, launched one kernel at a time.
std::vector<Points> fly(const mpm::Throw<float>& sim, const std::vector<double>& v, int steps) {
  using Vec2 = mpm::Throw<float>::Vec2;
  auto s = sim.begin(sim.device.upload({Vec2{static_cast<float>(v[0]), static_cast<float>(v[1])}}));
  std::vector<Points> frames;
  for (int t = 0;; ++t) {
    if (t % kEvery == 0 || t == steps) {
      Points now;
      for (const Vec2& x : s.x.host()) now.push_back({x[0], x[1]});
      frames.push_back(std::move(now));
    }
    if (t == steps) return frames;
    sim.step(s);
  }
}

std::array<float, 2> centre(const Points& points) {
  std::array<float, 2> c{0, 0};
  for (const auto& p : points) c[0] += p[0] / static_cast<float>(points.size()), c[1] += p[1] / static_cast<float>(points.size());
  return c;
}

float px(float x) { return x * kSize; }
float py(float y) { return kSize - y * kSize; }

demo::Image stage() {
  demo::Image image(kSize, kSize, demo::kNight);
  const float wall = 3.0f / mpm::Throw<float>::n * kSize;
  const demo::Color frame{0.13f, 0.15f, 0.22f};
  image.rectangle(0, 0, kSize, wall, frame);
  image.rectangle(0, kSize - wall, kSize, kSize, frame);
  image.rectangle(0, wall, wall, kSize - wall, frame);
  image.rectangle(kSize - wall, wall, kSize, kSize - wall, frame);
  return image;
}

void target(demo::Image& image, const mpm::Parameters& p) {
  const auto x = px(static_cast<float>(p.target_x)), y = py(static_cast<float>(p.target_y));
  for (const auto& [width, color] : {std::pair(7.0f, demo::kNight), std::pair(3.0f, demo::kGold)}) {
    image.line(x - 16, y, x + 16, y, width, color);
    image.line(x, y - 16, x, y + 16, width, color);
  }
}

void block(demo::Image& image, const Points& points, float alpha) {
  const int side = mpm::Throw<float>::side;
  for (int k = 0; k < static_cast<int>(points.size()); ++k) {
    // Coloured by where a particle sits in the block, so that the deformation shows.
    const float u = static_cast<float>(k / side) / static_cast<float>(side), v = static_cast<float>(k % side) / static_cast<float>(side);
    const demo::Color c = mix(demo::hue(0.52f + 0.45f * u), {1, 1, 1}, 0.35f * v);
    image.disc(px(points[k][0]), py(points[k][1]), 2.4f, c, alpha);
  }
}

void path(demo::Image& image, const std::vector<Points>& frames, std::size_t until, demo::Color c, float alpha) {
  Points trail;
  for (std::size_t t = 0; t <= until; ++t) {
    const auto at = centre(frames[t]);
    trail.push_back({px(at[0]), py(at[1])});
  }
  image.polyline(trail, 2.5f, c, alpha);
}

void pictures(demo::Run& run, const mpm::Throw<float>& sim, const mpm::Parameters& p, const std::vector<std::vector<double>>& tried) {
  const auto before = fly(sim, tried.front(), p.steps), after = fly(sim, tried.back(), p.steps);
  demo::Animation film(run.path("throw"), kSize, kSize);
  for (std::size_t t = 0; t < after.size() + 20; ++t) {
    const std::size_t at = std::min(t, after.size() - 1);
    demo::Image image = stage();
    block(image, before[at], 0.16f);
    block(image, after[at], 0.95f);
    path(image, after, at, demo::kGold, 0.9f);
    target(image, p);
    image.text(30, 32, 12, "pale: before   bright: after optimisation", {0.75f, 0.78f, 0.85f});
    film.add(image);
  }
  run.wrote(film.finish());
  demo::Image image = stage();
  block(image, after.front(), 0.2f);
  block(image, after.back(), 0.75f);
  for (std::size_t k = 0; k < tried.size(); ++k) {
    const float part = tried.size() > 1 ? static_cast<float>(k) / static_cast<float>(tried.size() - 1) : 1;
    path(image, fly(sim, tried[k], p.steps), before.size() - 1, mix({0.55f, 0.80f, 1.0f}, demo::kGold, part), 0.45f + 0.5f * part);
  }
  target(image, p);
  const demo::Color ink{0.75f, 0.78f, 0.85f};
  image.text(30, 32, 12, "paths of the centre: first guess (blue) to last (gold)", ink);
  image.text(30, 56, 12, "dark: the block at the start   bright: at the end of the last throw", ink);
  image.text(30, 676, 12, "the floor throws it up again; the cross is the target", ink);
  image.write_png(run.path("paths.png"));
  run.wrote(run.path("paths.png"));
}

}  // namespace

int main(int argc, char** argv) {
  demo::Run run("mpm_throw", "Throws an elastic block (MLS-MPM, 3600 particles, 1023 steps) onto a target", 30);
  mpm::Parameters p;
  double rate = 10, vx = 0, vy = 0, budget = 0;
  run.parameter("steps", p.steps, "substeps");
  run.parameter("dt", p.dt, "length of a substep");
  run.parameter("gravity", p.gravity, "downwards");
  run.parameter("mu", p.mu, "Lame parameter: shear");
  run.parameter("lambda", p.lambda, "Lame parameter: volume");
  run.parameter("target_x", p.target_x, "where the centre of mass should end");
  run.parameter("target_y", p.target_y, "where the centre of mass should end");
  run.parameter("vx", vx, "first guess of the velocity");
  run.parameter("vy", vy, "first guess of the velocity");
  run.parameter("rate", rate, "step of gradient descent");
  run.parameter("budget", budget, "MB for the arrays of the derivative; 0: as many as it takes");
  return run.start(argc, argv, [&] {
    const fx::Device device = run.device().empty() ? fx::Device::best() : fx::Device::named(run.device());
    run.record("device", device.name());
    std::vector<double> v{vx, vy};
    if (run.check()) {
      // In flight and over the bounce both: at the first guess, the block only falls onto the floor.
      using Vec2 = mpm::Throw<double>::Vec2;
      auto loss = mpm::Throw<double>(p, device).program(p.steps);
      auto at = [&](const std::vector<double>& x) { return device.upload({Vec2{x[0], x[1]}}); };
      auto [value, gradient] = fx::value_and_grad(loss)(at(v));
      const Vec2 g = gradient.item();
      run.loss(value.item());
      return run.check_gradient([&](const std::vector<double>& x) { return loss(at(x)).item(); }, v, {g[0], g[1]}, 1e-6);
    }
    using Vec2 = mpm::Throw<float>::Vec2;
    const mpm::Throw<float> sim(p, device);
    const auto rule = budget > 0 ? fx::budget(static_cast<std::int64_t>(budget * (1 << 20))) : fx::checkpoint_all;
    auto step = fx::value_and_grad(sim.program(p.steps), {.checkpoint = rule});
    auto v0 = device.upload({Vec2{static_cast<float>(vx), static_cast<float>(vy)}});
    std::vector<std::vector<double>> tried;
    for (int it = 0; it <= run.iterations(); ++it) {
      auto [loss, gradient] = step(v0);
      const Vec2 now = v0.item();
      v = {now[0], now[1]};
      if (it % 3 == 0 || it == run.iterations()) tried.push_back(v);
      run.loss(loss.item());
      v0 -= rate * gradient;
    }
    run.record("velocity", v);
    run.record("bytes", static_cast<double>(step.peak_bytes()));
    if (!run.quiet()) pictures(run, sim, p, tried);
  });
}
