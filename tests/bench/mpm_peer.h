// MLS-MPM, the throw of demos/mpm_throw.cpp, as one would write it by hand in C++: particles as structures of
// arrays, the grid as one array of (momentum, momentum, mass, unused), no allocation in the time loop.
#pragma once
#include <algorithm>
#include <cmath>
#include <vector>

namespace peer {

template <class T>
struct Mpm {
  static constexpr int n = 120, side = 60, particles = side * side;
  T dt = T(3e-4), gravity = T(9.8), mu = 100, lambda = 100, target_x = T(0.3), target_y = T(0.6);

  struct alignas(4 * sizeof(T)) Cell {
    T x, y, mass, unused;
  };
  struct Particles {
    std::vector<T> x, y, vx, vy, c00, c01, c10, c11, f00, f01, f10, f11;
  };
  Particles p;
  std::vector<Cell> grid = std::vector<Cell>(n * n);

  void reset(T vx, T vy) {
    for (auto* v : {&p.x, &p.y, &p.vx, &p.vy, &p.c00, &p.c01, &p.c10, &p.c11, &p.f00, &p.f01, &p.f10, &p.f11}) v->assign(particles, T(0));
    const T dx = T(1) / n;
    for (int i = 0; i < side; ++i)
      for (int j = 0; j < side; ++j) {
        const int k = i * side + j;
        p.x[k] = dx * (T(0.7) * i + 10);
        p.y[k] = dx * (T(0.7) * j + 25);
        p.vx[k] = vx;
        p.vy[k] = vy;
        p.f00[k] = p.f11[k] = 1;
      }
  }

  struct Weights {
    int i, j;
    T fx, fy, wx[3], wy[3];
    Weights(T x, T y) {
      const T gx = x * n, gy = y * n;
      i = static_cast<int>(gx - T(0.5));
      j = static_cast<int>(gy - T(0.5));
      fx = gx - i;
      fy = gy - j;
      auto fill = [](T f, T* w) {
        w[0] = T(0.5) * (T(1.5) - f) * (T(1.5) - f);
        w[1] = T(0.75) - (f - 1) * (f - 1);
        w[2] = T(0.5) * (f - T(0.5)) * (f - T(0.5));
      };
      fill(fx, wx);
      fill(fy, wy);
    }
  };

  void step() {
    const T dx = T(1) / n, stress_scale = -dt * 4 * n * n;
    std::fill(grid.begin(), grid.end(), Cell{});
    for (int k = 0; k < particles; ++k) {
      const T c00 = p.c00[k], c01 = p.c01[k], c10 = p.c10[k], c11 = p.c11[k];
      const T o00 = p.f00[k], o01 = p.f01[k], o10 = p.f10[k], o11 = p.f11[k];
      const T f00 = o00 + dt * (c00 * o00 + c01 * o10), f01 = o01 + dt * (c00 * o01 + c01 * o11);
      const T f10 = o10 + dt * (c10 * o00 + c11 * o10), f11 = o11 + dt * (c10 * o01 + c11 * o11);
      p.f00[k] = f00, p.f01[k] = f01, p.f10[k] = f10, p.f11[k] = f11;
      const T a = f00 + f11, b = f10 - f01, s = 1 / std::sqrt(a * a + b * b), r0 = a * s, r1 = b * s;
      const T d00 = f00 - r0, d01 = f01 + r1, d10 = f10 - r1, d11 = f11 - r0;
      const T J = f00 * f11 - f01 * f10, volume = lambda * (J - 1) * J;
      const T a00 = stress_scale * (2 * mu * (d00 * f00 + d01 * f01) + volume) + c00;
      const T a01 = stress_scale * (2 * mu * (d00 * f10 + d01 * f11)) + c01;
      const T a10 = stress_scale * (2 * mu * (d10 * f00 + d11 * f01)) + c10;
      const T a11 = stress_scale * (2 * mu * (d10 * f10 + d11 * f11) + volume) + c11;
      const Weights w(p.x[k], p.y[k]);
      // Momentum at the node (0, 0), then increments along the axes: the offsets differ by dx.
      const T mx = p.vx[k] - (a00 * w.fx + a01 * w.fy) * dx, my = p.vy[k] - (a10 * w.fx + a11 * w.fy) * dx;
      for (int i = 0; i < 3; ++i) {
        Cell* row = &grid[(w.i + i) * n + w.j];
        for (int j = 0; j < 3; ++j) {
          const T weight = w.wx[i] * w.wy[j];
          row[j].x += weight * (mx + (a00 * i + a01 * j) * dx);
          row[j].y += weight * (my + (a10 * i + a11 * j) * dx);
          row[j].mass += weight;
        }
      }
    }
    for (int i = 0; i < n; ++i)
      for (int j = 0; j < n; ++j) {
        Cell& g = grid[i * n + j];
        const T inverse = 1 / (g.mass + T(1e-10));
        T vx = g.x * inverse, vy = g.y * inverse - dt * gravity;
        if (i < 3 && vx < 0) vx = 0;
        if (i > n - 3 && vx > 0) vx = 0;
        if (j < 3 && vy < 0) vy = 0;
        if (j > n - 3 && vy > 0) vy = 0;
        g.x = vx;
        g.y = vy;
      }
    for (int k = 0; k < particles; ++k) {
      const Weights w(p.x[k], p.y[k]);
      T vx = 0, vy = 0, c00 = 0, c01 = 0, c10 = 0, c11 = 0;
      for (int i = 0; i < 3; ++i) {
        const Cell* row = &grid[(w.i + i) * n + w.j];
        for (int j = 0; j < 3; ++j) {
          const T weight = w.wx[i] * w.wy[j], gx = weight * row[j].x, gy = weight * row[j].y;
          vx += gx, vy += gy;
          c00 += gx * (i - w.fx), c01 += gx * (j - w.fy);
          c10 += gy * (i - w.fx), c11 += gy * (j - w.fy);
        }
      }
      const T scale = 4 * n;
      p.vx[k] = vx, p.vy[k] = vy;
      p.c00[k] = scale * c00, p.c01[k] = scale * c01, p.c10[k] = scale * c10, p.c11[k] = scale * c11;
      p.x[k] += dt * vx, p.y[k] += dt * vy;
    }
  }

  T loss(T vx, T vy, int steps) {
    reset(vx, vy);
    for (int t = 0; t < steps; ++t) step();
    double x = 0, y = 0;
    for (int k = 0; k < particles; ++k) x += p.x[k], y += p.y[k];
    const T ex = static_cast<T>(x / particles) - target_x, ey = static_cast<T>(y / particles) - target_y;
    return T(0.5) * (ex * ex + ey * ey);
  }
};

}  // namespace peer
