// Plain loops, as one would write them by hand for an optimising compiler.
#include "peers.h"

#include <cmath>

#include "mpm_peer.h"

namespace peer {

void saxpy(int begin, int end, float a, const float* __restrict x, float* __restrict y) {
  for (int i = begin; i < end; ++i) y[i] = a * x[i] + y[i];
}

void stencil(int begin, int end, int n, const float* __restrict in, float* __restrict out) {
  for (int i = begin; i < end; ++i)
    for (int j = 1; j < n - 1; ++j) {
      const float* p = in + i * n + j;
      out[i * n + j] = 0.5f * p[0] + 0.125f * (p[-n] + p[n] + p[-1] + p[1]);
    }
}

void stencil_scatter(int n, const float* __restrict out_bar, float* __restrict in_bar) {
  for (int i = 1; i < n - 1; ++i)
    for (int j = 1; j < n - 1; ++j) {
      float* p = in_bar + i * n + j;
      const float v = out_bar[i * n + j], w = 0.125f * v;
      p[0] += 0.5f * v;
      p[-n] += w;
      p[n] += w;
      p[-1] += w;
      p[1] += w;
    }
}

void stencil_gather(int begin, int end, int n, const float* __restrict out_bar, float* __restrict in_bar) {
  const auto at = [&](int r, int c) { return r > 0 && r < n - 1 && c > 0 && c < n - 1 ? out_bar[r * n + c] : 0.0f; };
  for (int i = begin; i < end; ++i) {
    const bool middle = i > 1 && i < n - 2;
    const auto border = [&](int j) {
      in_bar[i * n + j] += 0.5f * at(i, j) + 0.125f * (at(i - 1, j) + at(i + 1, j) + at(i, j - 1) + at(i, j + 1));
    };
    for (int j = 0; j < n; ++j)
      if (!middle || j < 2 || j >= n - 2) border(j);
      else if (j == 2) {
        for (; j < n - 2; ++j) {
          const float* p = out_bar + i * n + j;
          in_bar[i * n + j] += 0.5f * p[0] + 0.125f * (p[-n] + p[n] + p[-1] + p[1]);
        }
        --j;
      }
  }
}

void mandelbrot(int begin, int end, int width, int height, int limit, int* out) {
  for (int i = begin; i < end; ++i)
    for (int j = 0; j < width; ++j) {
      const float cx = -2.0f + 2.6f * static_cast<float>(j) / static_cast<float>(width);
      const float cy = -1.2f + 2.4f * static_cast<float>(i) / static_cast<float>(height);
      float x = 0, y = 0;
      int count = 0;
      while (count < limit && x * x + y * y <= 4.0f) {
        const float next = x * x - y * y + cx;
        y = 2 * x * y + cy;
        x = next;
        ++count;
      }
      out[i * width + j] = count;
    }
}

void nbody(int begin, int end, int n, const float* __restrict x, const float* __restrict y, const float* __restrict z, float* __restrict ax,
           float* __restrict ay, float* __restrict az) {
  for (int i = begin; i < end; ++i) {
    float sx = 0, sy = 0, sz = 0;
    for (int j = 0; j < n; ++j) {
      const float dx = x[j] - x[i], dy = y[j] - y[i], dz = z[j] - z[i];
      const float r2 = dx * dx + dy * dy + dz * dz + 1e-4f;
      const float inverse = 1 / std::sqrt(r2), scale = inverse * inverse * inverse;
      sx += dx * scale, sy += dy * scale, sz += dz * scale;
    }
    ax[i] = sx, ay[i] = sy, az[i] = sz;
  }
}

float mpm_throw(float vx, float vy, int steps) {
  static thread_local Mpm<float> simulation;
  return simulation.loss(vx, vy, steps);
}

}  // namespace peer
