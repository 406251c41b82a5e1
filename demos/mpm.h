// MLS-MPM in two dimensions: an elastic square of Side by Side particles (the more, the closer they stand) on a grid of
// 120 by 120 cells, thrown with one velocity, as kernels and the time step that launches them. The loss is half the squared
// distance of the centre of mass from a target at the end. After Hu et al. 2018, in the form of DiffTaichi (Hu et al. 2020).
#pragma once
#include <fluxion/fluxion.h>

#include <array>

namespace mpm {
namespace fx = fluxion;

struct Parameters {
  int steps = 1023;
  double dt = 3e-4, gravity = 9.8, mu = 100, lambda = 100, target_x = 0.3, target_y = 0.6;
};

template <class T, int Side = 60>
struct Throw {
  static constexpr int n = 120, side = Side, particles = side * side;
  using Real = fx::Var<T>;
  using Vec2 = fx::Vec<T, 2>;  // in memory; inside a kernel the value is a vector of Real
  using Mat2 = fx::Mat<T, 2, 2>;
  using Cell = fx::Vec<T, 4>;  // momentum (or velocity), mass, unused: whole cells are what SIMD adds fastest
  using RVec2 = fx::Vec<Real, 2>;
  using RMat2 = fx::Mat<Real, 2, 2>;
  using RCell = fx::Vec<Real, 4>;

  struct State {
    fx::Buffer<Vec2> x, v;
    fx::Buffer<Mat2> C, F;
  };

  fx::Device device;
  fx::Kernel<fx::In<Vec2>, fx::Out<Vec2>, fx::Out<Vec2>, fx::Out<Mat2>, fx::Out<Mat2>> start;
  fx::Kernel<fx::In<Vec2>, fx::In<Vec2>, fx::In<Mat2>, fx::InOut<Mat2>, fx::Accum<Cell, 2>> p2g;
  fx::Kernel<fx::InOut<Cell, 2>> move_grid;
  fx::Kernel<fx::InOut<Vec2>, fx::Out<Vec2>, fx::Out<Mat2>, fx::In<Cell, 2>> g2p;
  fx::Kernel<fx::In<Vec2>, fx::Accum<Vec2>> centre;
  fx::Kernel<fx::In<Vec2>, fx::Accum<T>> distance;

  /// The 3 by 3 cells around a point and their quadratic B-spline weights.
  struct Stencil {
    fx::Int i, j;
    RVec2 offset;  // of the point from cell (i, j), in cells
    Real w[2][3];
    explicit Stencil(const RVec2& x) {
      RVec2 at = x * T(n);
      i = fx::cast<int>(fx::stop_grad(at[0] - T(0.5)));
      j = fx::cast<int>(fx::stop_grad(at[1] - T(0.5)));
      offset = RVec2{at[0] - fx::cast<T>(i), at[1] - fx::cast<T>(j)};
      for (int axis = 0; axis < 2; ++axis) {
        Real f = offset[axis];
        w[axis][0] = T(0.5) * fx::square(T(1.5) - f);
        w[axis][1] = T(0.75) - fx::square(f - T(1));
        w[axis][2] = T(0.5) * fx::square(f - T(0.5));
      }
    }
  };

  Throw(const Parameters& p, const fx::Device& dev) : device(dev) {
    start = fx::kernel("start", [](fx::In<Vec2> v0, fx::Out<Vec2> x, fx::Out<Vec2> v, fx::Out<Mat2> C, fx::Out<Mat2> F) {
      auto k = fx::index();
      constexpr T kApart = T(0.7 * 60 / side);
      x[k] = RVec2{(fx::cast<T>(k / side) * kApart + T(10)) / T(n), (fx::cast<T>(k % side) * kApart + T(25)) / T(n)};
      v[k] = v0[0];
      C[k] = RMat2{0, 0, 0, 0};
      F[k] = RMat2{1, 0, 0, 1};
    });

    // Deforms the particles and adds their mass and momentum to the grid.
    p2g = fx::kernel("p2g", [p](fx::In<Vec2> x, fx::In<Vec2> v, fx::In<Mat2> C, fx::InOut<Mat2> F, fx::Accum<Cell, 2> grid) {
      auto k = fx::index();
      RMat2 c = C[k], old = F[k];
      RMat2 f = old + T(p.dt) * (c * old);
      F[k] = f;
      // F = R S: in two dimensions the rotation needs no iteration.
      Real a = f(0, 0) + f(1, 1), b = f(1, 0) - f(0, 1), s = T(1) / fx::sqrt(a * a + b * b);
      RMat2 r{a * s, -b * s, b * s, a * s};
      Real J = fx::det(f), pressure = T(p.lambda) * (J - T(1)) * J;
      RMat2 stress = T(2 * p.mu) * ((f - r) * fx::transpose(f)) + RMat2{pressure, 0, 0, pressure};
      RMat2 affine = T(-p.dt * 4 * n * n) * stress + c;
      Stencil near(x[k]);
      RVec2 u = v[k];
      for (int i = 0; i < 3; ++i)
        for (int j = 0; j < 3; ++j) {
          RVec2 d{(T(i) - near.offset[0]) / T(n), (T(j) - near.offset[1]) / T(n)};
          RVec2 momentum = u + affine * d;
          Real weight = near.w[0][i] * near.w[1][j];
          grid(near.i + i, near.j + j) += RCell{weight * momentum[0], weight * momentum[1], weight, 0};
        }
    });

    // Momentum to velocity; gravity; walls of 3 cells stop what moves outward.
    move_grid = fx::kernel("move_grid", [p](fx::InOut<Cell, 2> grid) {
      auto [i, j] = fx::index<2>();
      RCell g = grid(i, j);
      Real inverse = T(1) / (g[2] + T(1e-10));
      Real vx = g[0] * inverse, vy = g[1] * inverse - T(p.dt * p.gravity);
      vx = fx::select((i < 3 && vx < T(0)) || (i > n - 3 && vx > T(0)), T(0), vx);
      vy = fx::select((j < 3 && vy < T(0)) || (j > n - 3 && vy > T(0)), T(0), vy);
      grid(i, j) = RCell{vx, vy, 0, 0};
    });

    // Velocities back to the particles, which move.
    g2p = fx::kernel("g2p", [p](fx::InOut<Vec2> x, fx::Out<Vec2> v, fx::Out<Mat2> C, fx::In<Cell, 2> grid) {
      auto k = fx::index();
      RVec2 at = x[k], u{0, 0};
      RMat2 c{0, 0, 0, 0};
      Stencil near(at);
      for (int i = 0; i < 3; ++i)
        for (int j = 0; j < 3; ++j) {
          RCell cell = grid(near.i + i, near.j + j);
          Real weight = near.w[0][i] * near.w[1][j];
          RVec2 g{weight * cell[0], weight * cell[1]};
          u += g;
          c += fx::outer(g, RVec2{T(i) - near.offset[0], T(j) - near.offset[1]});
        }
      v[k] = u;
      C[k] = T(4 * n) * c;
      x[k] = at + T(p.dt) * u;
    });

    centre = fx::kernel("centre", [](fx::In<Vec2> x, fx::Accum<Vec2> mean) { mean[0] += x[fx::index()] * T(1.0 / particles); });
    distance = fx::kernel("distance", [p](fx::In<Vec2> mean, fx::Accum<T> loss) {
      RVec2 m = mean[0];
      loss[0] += T(0.5) * (fx::square(m[0] - T(p.target_x)) + fx::square(m[1] - T(p.target_y)));
    });
  }

  State begin(const fx::Buffer<Vec2>& v0) const {
    State s{device.empty<Vec2>(particles), device.empty<Vec2>(particles), device.empty<Mat2>(particles), device.empty<Mat2>(particles)};
    start.over(particles)(v0, s.x, s.v, s.C, s.F);
    return s;
  }

  void step(State& s) const {
    auto grid = device.zeros<Cell>(n, n);
    p2g.over(particles)(s.x, s.v, s.C, s.F, grid);
    move_grid.over(n, n)(grid);
    g2p.over(particles)(s.x, s.v, s.C, grid);
  }

  fx::Buffer<Vec2> mean(const State& s) const {
    auto m = device.zeros<Vec2>(1);
    centre.over(particles)(s.x, m);
    return m;
  }

  /// v0 (one vector) -> the loss (one number), as a program: on the CPU one native function, time loop included.
  auto program(int steps) const {
    return fx::program("throw", [*this, steps](fx::Buffer<Vec2> v0) {
      State s = begin(v0);
      for ([[maybe_unused]] auto t : fx::range(steps)) { step(s); }
      auto loss = device.zeros<T>(1);
      distance.over(1)(mean(s), loss);
      return loss;
    });
  }
};

}  // namespace mpm
