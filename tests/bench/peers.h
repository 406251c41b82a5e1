// What the benchmarks compare with: the same loops in plain C++, compiled apart by clang 19 with -O3 -march=native.
// Each works on a range of rows or elements, so that the caller may split the work over threads.
#pragma once

namespace peer {

/// y[i] = a x[i] + y[i] for i in [begin, end).
void saxpy(int begin, int end, float a, const float* x, float* y);
/// The interior rows [begin, end) of an n by n grid: out = 0.5 in + 0.125 (the four neighbours).
void stencil(int begin, int end, int n, const float* in, float* out);
/// The adjoint of that stencil with respect to `in`, added to in_bar: as it is derived by hand, each point adding to its five
/// neighbours; and turned around, each element summing what its neighbours give.
void stencil_scatter(int n, const float* out_bar, float* in_bar);
void stencil_gather(int begin, int end, int n, const float* out_bar, float* in_bar);
/// Iterations until |z| > 2, at most `limit`, for rows [begin, end) of a width by height picture of
/// [-2, 0.6] x [-1.2, 1.2].
void mandelbrot(int begin, int end, int width, int height, int limit, int* out);
/// Softened gravity of all n bodies on bodies [begin, end); positions and accelerations as x, y, z arrays.
void nbody(int begin, int end, int n, const float* x, const float* y, const float* z, float* ax, float* ay, float* az);
/// The loss of the throw after `steps` substeps with the initial velocity (vx, vy).
float mpm_throw(float vx, float vy, int steps);

}  // namespace peer
