// Three points, three springs and a wall: which rest lengths give the triangle an area of 0.1 after 1024 steps?
// One kernel holds the whole simulation, time loop included; its vjp keeps what the reverse sweep needs by itself.
// A thread is one triangle, so a launch over n points simulates n of them.
#include <fluxion/fluxion.h>

#include <array>
#include <cmath>
#include <vector>

#include "support/animation.h"
#include "support/run.h"

namespace {
namespace fx = fluxion;

struct Parameters {
  int steps = 1024;
  double stiffness = 10, dt = 1e-3, damping = 20, wall = 0.4, friction = 0.01, area = 0.1;
};
constexpr double kStart[3][2] = {{0.3, 0.5}, {0.3, 0.4}, {0.4, 0.4}};

template <class T>
struct Triangle {
  using Real = fx::Var<T>;
  using RVec2 = fx::Vec<Real, 2>;
  using Rest = fx::Vec<T, 3>;
  using Points = std::array<RVec2, 3>;

  /// The points after all steps; each(t, points) sees them before every step.
  template <class F>
  static Points simulate(const Parameters& p, const fx::Vec<Real, 3>& rest, const F& each) {
    Points x, v;
    for (int i = 0; i < 3; ++i) {
      x[i] = RVec2{T(kStart[i][0]), T(kStart[i][1])};
      v[i] = RVec2{0, 0};
    }
    const T dt = T(p.dt), decay = T(std::exp(-p.damping * p.dt));
    for (auto t : fx::range(p.steps)) {
      each(t, x);
      Points force{RVec2{0, 0}, RVec2{0, 0}, RVec2{0, 0}};
      for (int s = 0; s < 3; ++s) {
        const int a = s, b = (s + 1) % 3;
        RVec2 d = x[a] - x[b];
        Real length = fx::sqrt(d[0] * d[0] + d[1] * d[1]) + T(1e-4);
        RVec2 f = d * (T(p.stiffness) * (length - rest[s]) / length);
        force[a] -= f;
        force[b] += f;
      }
      for (int i = 0; i < 3; ++i) {
        v[i] = decay * v[i] + dt * force[i];
        fx::Bool hit = x[i][0] + dt * v[i][0] > T(p.wall) && v[i][0] > T(0);
        v[i][1] = fx::select(hit, v[i][1] - T(p.friction) * v[i][0], v[i][1]);
        v[i][0] = fx::select(hit, T(0), v[i][0]);
        x[i] += dt * v[i];
      }
    }
    return x;
  }

  static auto loss(const Parameters& p) {
    return fx::kernel("triangle", [p](fx::In<Rest> rest, fx::Out<T> loss) {
      auto k = fx::index();
      Points x = simulate(p, rest[k], [](auto&&...) {});
      RVec2 u = x[0] - x[1], w = x[2] - x[1];
      Real area = T(0.5) * fx::abs(u[0] * w[1] - u[1] * w[0]);
      loss[k] = fx::square(area - T(p.area));
    });
  }

  static auto trace(const Parameters& p) {
    return fx::kernel("trace", [p](fx::In<Rest> rest, fx::Out<fx::Vec<T, 2>, 2> path) {
      fx::Int k = fx::index();
      simulate(p, rest[k], [&](fx::Int t, const Points& x) {
        for (int i = 0; i < 3; ++i) path(t, k * 3 + i) = x[i];
      });
    });
  }
};

using Corners = std::vector<std::array<float, 2>>;
constexpr int kSize = 720;

float px(double x) { return static_cast<float>((1.15 * x + 0.22) * kSize); }
float py(double y) { return static_cast<float>((1 - 1.15 * (y - 0.09)) * kSize); }

/// The triangle at step t of a path, with or without its area and the way its points came.
void draw(demo::Image& image, const Corners& path, int t, demo::Color color, float width, bool full) {
  auto at = [&](int step, int i) { return path[static_cast<std::size_t>(step * 3 + i)]; };
  if (full) image.polygon(Corners{at(t, 0), at(t, 1), at(t, 2)}, color, 0.3f);
  for (int i = 0; i < 3; ++i) {
    const auto a = at(t, i), b = at(t, (i + 1) % 3);
    image.line(a[0], a[1], b[0], b[1], width, color, full ? 1 : 0.6f);
    for (int s = 8; full && s <= t; s += 8) image.line(at(s - 8, i)[0], at(s - 8, i)[1], at(s, i)[0], at(s, i)[1], 1.5f, color);
    if (full) image.disc(a[0], a[1], 6, demo::kInk);
  }
}

void pictures(demo::Run& run, const Parameters& p, const fx::Device& device, const std::vector<fx::Vec<float, 3>>& rests) {
  const auto trace = Triangle<float>::trace(p);
  std::vector<Corners> paths;
  for (const auto& rest : rests) {
    auto path = device.zeros<fx::Vec<float, 2>>(p.steps, 3);
    trace.over(1)(device.upload({rest}), path);
    paths.emplace_back();
    for (const auto& c : path.host()) paths.back().push_back({px(c[0]), py(c[1])});
  }
  auto scene = [&](int t) {
    demo::Image image(kSize, kSize);
    image.rectangle(px(p.wall), 0, kSize, kSize, {0.91f, 0.90f, 0.88f});
    draw(image, paths.front(), t, demo::kBlue, 3, true);
    draw(image, paths.back(), t, demo::kRed, 3, true);
    image.text(24, 24, 12, "blue: rest lengths as given", demo::kInk);
    image.text(24, 48, 12, "red: after optimisation", demo::kInk);
    image.text(px(p.wall) + 16, 24, 12, "wall", demo::kInk);
    return image;
  };
  demo::Animation film(run.path("triangle"), kSize, kSize);
  for (int t = 0; t < p.steps + 160; t += 8) film.add(scene(std::min(t, p.steps - 1)));
  run.wrote(film.finish());
  demo::Image image = scene(p.steps - 1);
  for (std::size_t k = 0; k < paths.size(); ++k)
    draw(image, paths[k], p.steps - 1, mix(demo::kBlue, demo::kRed, static_cast<float>(k) / static_cast<float>(paths.size())), 1.2f, false);
  image.write_png(run.path("triangle.png"));
  run.wrote(run.path("triangle.png"));
}

}  // namespace

int main(int argc, char** argv) {
  demo::Run run("spring_triangle", "Finds the rest lengths of three springs that give their triangle an area", 25);
  Parameters p;
  double rate = 5, r0 = 0.1, r1 = 0.1, r2 = 0.1 * std::sqrt(2.0);
  run.parameter("steps", p.steps, "time steps");
  run.parameter("stiffness", p.stiffness, "of the springs");
  run.parameter("dt", p.dt, "length of a time step");
  run.parameter("damping", p.damping, "velocities decay with exp(-damping t)");
  run.parameter("wall", p.wall, "where the wall stands");
  run.parameter("friction", p.friction, "how much the wall slows what slides along it");
  run.parameter("area", p.area, "wanted at the end");
  run.parameter("rest0", r0, "first guess of a rest length");
  run.parameter("rest1", r1, "first guess of a rest length");
  run.parameter("rest2", r2, "first guess of a rest length");
  run.parameter("rate", rate, "step of gradient descent");
  return run.start(argc, argv, [&] {
    const fx::Device device = run.device().empty() ? fx::Device::best() : fx::Device::named(run.device());
    run.record("device", device.name());
    // Everything of the optimisation once, for the scalar type T: f64 to check, f32 to run.
    auto gradient_of = [&](auto scalar, const std::vector<double>& r) {
      using T = decltype(scalar);
      static const auto forward = Triangle<T>::loss(p);
      static const auto reverse = fx::vjp(forward);
      auto rest = device.upload({fx::Vec<T, 3>{T(r[0]), T(r[1]), T(r[2])}});
      auto loss = device.zeros<T>(1);
      auto gradient = fx::zeros_like(rest);
      forward.over(1)(rest, loss);
      reverse.over(1)(rest, fx::ones_like(loss), gradient);
      const auto g = gradient.item();
      return std::pair(double(loss.item()), std::vector<double>{g[0], g[1], g[2]});
    };
    std::vector<double> rest{r0, r1, r2};
    if (run.check()) {
      auto [loss, gradient] = gradient_of(double(), rest);
      run.loss(loss);
      return run.check_gradient([&](const std::vector<double>& r) { return gradient_of(double(), r).first; }, rest, gradient, 1e-6);
    }
    std::vector<fx::Vec<float, 3>> tried;
    for (int it = 0; it <= run.iterations(); ++it) {
      auto [loss, gradient] = gradient_of(float(), rest);
      tried.push_back({float(rest[0]), float(rest[1]), float(rest[2])});
      run.loss(loss);
      if (it < run.iterations())
        for (int i = 0; i < 3; ++i) rest[i] -= rate * gradient[i];
    }
    run.record("rests", rest);
    if (!run.quiet()) pictures(run, p, device, tried);
  });
}
