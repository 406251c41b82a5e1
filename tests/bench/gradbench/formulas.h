// The problems in plain C++, for any number type T: double for the golden primals, ADOL-C's adouble for the peer, dual
// numbers for the tests. GRADBENCH_FORMULAS is the namespace: the golden primals are compiled twice, with different
// flags, and must not share their instantiations.
#pragma once
#include <cmath>
#include <vector>

#include "inputs.h"

#ifndef GRADBENCH_FORMULAS
#define GRADBENCH_FORMULAS formulas
#endif

namespace gradbench::GRADBENCH_FORMULAS {

template <class T>
T logsumexp(int n, const T* x) {
  using std::exp, std::log;
  T largest = x[0];
  for (int i = 1; i < n; ++i)
    if (x[i] > largest) largest = x[i];
  T sum = 0;
  for (int i = 0; i < n; ++i) sum += exp(x[i] - largest);
  return largest + log(sum);
}

// ---- gmm
inline double gmm_constant(const Gmm& in) {
  const int N = in.d + in.m + 1;
  double log_gamma = 0.25 * in.d * (in.d - 1) * std::log(M_PI);
  for (int j = 1; j <= in.d; ++j) log_gamma += std::lgamma(0.5 * N + 0.5 * (1 - j));
  const double C = N * in.d * (std::log(in.gamma) - 0.5 * std::log(2.0)) - log_gamma;
  return -in.n * in.d * 0.5 * std::log(2 * M_PI) + in.k * C;
}

template <class T>
T gmm(const Gmm& in, const T* alpha, const T* mu, const T* q, const T* l) {
  using std::exp;
  const int d = in.d, k = in.k, n = in.n, strict = in.strict();
  std::vector<T> diagonal(d * k), sum_q(k), centred(d), product(d), terms(k);
  T prior = 0;
  for (int c = 0; c < k; ++c) {
    T squares = 0;
    sum_q[c] = 0;
    for (int j = 0; j < d; ++j) {
      diagonal[c * d + j] = exp(q[c * d + j]);
      sum_q[c] += q[c * d + j];
      squares += diagonal[c * d + j] * diagonal[c * d + j];
    }
    for (int j = 0; j < strict; ++j) squares += l[c * strict + j] * l[c * strict + j];
    prior += 0.5 * in.gamma * in.gamma * squares - double(in.m) * sum_q[c];
  }
  T sum = 0;
  for (int i = 0; i < n; ++i) {
    for (int c = 0; c < k; ++c) {
      const T* lower = l + c * strict;
      for (int j = 0; j < d; ++j) centred[j] = in.x[i * d + j] - mu[c * d + j];
      for (int r = 0; r < d; ++r) product[r] = diagonal[c * d + r] * centred[r];
      for (int s = 0; s < d; ++s)
        for (int r = s + 1; r < d; ++r) product[r] += *lower++ * centred[s];
      T squares = 0;
      for (int r = 0; r < d; ++r) squares += product[r] * product[r];
      terms[c] = alpha[c] + sum_q[c] - 0.5 * squares;
    }
    sum += logsumexp(k, terms.data());
  }
  return gmm_constant(in) + sum - double(n) * logsumexp(k, alpha) - prior;
}

// ---- ba: camera is r(3), C(3), f, u0, v0, k1, k2
template <class T>
void ba_project(const T* camera, const T* X, T w, double fx, double fy, T* residual) {
  using std::sin, std::cos, std::sqrt;
  const T* r = camera;
  const T x[3] = {X[0] - camera[3], X[1] - camera[4], X[2] - camera[5]};
  const T squares = r[0] * r[0] + r[1] * r[1] + r[2] * r[2];
  T y[3];
  if (squares != 0) {
    const T angle = sqrt(squares), c = cos(angle), s = sin(angle), inverse = 1 / angle;
    const T a[3] = {r[0] * inverse, r[1] * inverse, r[2] * inverse};
    const T along = (a[0] * x[0] + a[1] * x[1] + a[2] * x[2]) * (1 - c);
    const T cross[3] = {a[1] * x[2] - a[2] * x[1], a[2] * x[0] - a[0] * x[2], a[0] * x[1] - a[1] * x[0]};
    for (int j = 0; j < 3; ++j) y[j] = x[j] * c + cross[j] * s + a[j] * along;
  } else {
    y[0] = x[0] + (r[1] * x[2] - r[2] * x[1]);
    y[1] = x[1] + (r[2] * x[0] - r[0] * x[2]);
    y[2] = x[2] + (r[0] * x[1] - r[1] * x[0]);
  }
  const T px = y[0] / y[2], py = y[1] / y[2], s = px * px + py * py;
  const T L = 1 + camera[9] * s + camera[10] * s * s;
  residual[0] = w * (px * L * camera[6] + camera[7] - fx);
  residual[1] = w * (py * L * camera[6] + camera[8] - fy);
}

template <class T>
void ba(const Ba& in, const T* cameras, const T* points, const T* weights, T* reprojection, T* weight_error) {
  for (int i = 0; i < in.p; ++i)
    ba_project(cameras + i % in.n * 11, points + i % in.m * 3, weights[i], in.features[2 * i], in.features[2 * i + 1],
               reprojection + 2 * i);
  for (int i = 0; i < in.p; ++i) weight_error[i] = 1 - weights[i] * weights[i];
}

// ---- ht: matrices are 4 x 4, row-major
template <class T, class A, class B>
void multiply(const A* a, const B* b, T* out) {
  for (int r = 0; r < 4; ++r)
    for (int c = 0; c < 4; ++c) {
      T sum = 0;
      for (int s = 0; s < 4; ++s) sum += a[4 * r + s] * b[4 * s + c];
      out[4 * r + c] = sum;
    }
}

template <class T>
void angle_axis(const T* r, T* R) {  // 3 x 3
  using std::sin, std::cos, std::sqrt;
  const T norm = sqrt(r[0] * r[0] + r[1] * r[1] + r[2] * r[2]);
  if (norm < 0.0001) {
    for (int j = 0; j < 9; ++j) R[j] = j % 4 == 0 ? 1 : 0;
    return;
  }
  const T x = r[0] / norm, y = r[1] / norm, z = r[2] / norm, s = sin(norm), c = cos(norm);
  const T all[9] = {x * x + (1 - x * x) * c, x * y * (1 - c) - z * s, x * z * (1 - c) + y * s,
                    x * y * (1 - c) + z * s, y * y + (1 - y * y) * c, y * z * (1 - c) - x * s,
                    x * z * (1 - c) - y * s, z * y * (1 - c) + x * s, z * z + (1 - z * z) * c};
  for (int j = 0; j < 9; ++j) R[j] = all[j];
}

template <class T>
void euler(const T* xzy, T* out) {  // Rz Ry Rx as a 4 x 4 matrix
  using std::sin, std::cos;
  const T sx = sin(xzy[0]), cx = cos(xzy[0]), sz = sin(xzy[1]), cz = cos(xzy[1]), sy = sin(xzy[2]), cy = cos(xzy[2]);
  const T all[16] = {cy * cz,
                     sx * sy * cz - cx * sz,
                     cx * sy * cz + sx * sz,
                     0,
                     cy * sz,
                     sx * sy * sz + cx * cz,
                     cx * sy * sz - sx * cz,
                     0,
                     -sy,
                     sx * cy,
                     cx * cy,
                     0,
                     0,
                     0,
                     0,
                     1};
  for (int j = 0; j < 16; ++j) out[j] = all[j];
}

/// The column of the pose parameters where angle `a` of the 20 finger angles stands, and its row.
inline void finger_angle(int a, int& column, int& row) {
  const int finger = a / 4, within = a % 4;
  column = 5 + 4 * finger + (within > 1 ? within - 1 : 0);
  row = within == 1 ? 1 : 0;
}

/// Skins all vertices; us is not read for simple problems.
template <class T>
void ht(const Ht& in, const T* theta, const T* us, T* residuals) {
  const int bones = in.bones, vertices = in.vertices;
  std::vector<T> pose(3 * (bones + 3), T(0)), local(16), relative(16), absolutes(16 * bones), transforms(16 * bones);
  for (int j = 0; j < 3; ++j) {
    pose[j] = theta[j];
    pose[3 + j] = 1;
    pose[6 + j] = theta[3 + j];
  }
  for (int a = 0; a < 20; ++a) {
    int column, row;
    finger_angle(a, column, row);
    pose[3 * column + row] = theta[6 + a];
  }
  for (int b = 0; b < bones; ++b) {
    euler(&pose[3 * (3 + b)], local.data());
    multiply(&in.relatives[16 * b], local.data(), relative.data());
    if (in.parents[b] < 0)
      for (int j = 0; j < 16; ++j) absolutes[16 * b + j] = relative[j];
    else multiply(&absolutes[16 * in.parents[b]], relative.data(), &absolutes[16 * b]);
    multiply(&absolutes[16 * b], &in.inverse_absolutes[16 * b], &transforms[16 * b]);
  }
  std::vector<T> skinned(3 * vertices, T(0));
  for (int v = 0; v < vertices; ++v)
    for (int b = 0; b < bones; ++b)
      for (int r = 0; r < 3; ++r) {
        T sum = 0;
        for (int s = 0; s < 4; ++s) sum += transforms[16 * b + 4 * r + s] * in.positions[4 * v + s];
        skinned[3 * v + r] += in.weights[v * bones + b] * sum;
      }
  T R[9];
  angle_axis(&pose[0], R);
  for (int v = 0; v < vertices; ++v) {
    T at[3];
    for (int s = 0; s < 3; ++s) at[s] = (in.mirrored && s == 0 ? -skinned[3 * v] : skinned[3 * v + s]) * pose[3 + s];
    for (int r = 0; r < 3; ++r) skinned[3 * v + r] = R[3 * r] * at[0] + R[3 * r + 1] * at[1] + R[3 * r + 2] * at[2] + pose[6 + r];
  }
  for (int i = 0; i < in.count; ++i)
    for (int r = 0; r < 3; ++r) {
      if (!in.complicated) {
        residuals[3 * i + r] = in.points[3 * i + r] - skinned[3 * in.correspondences[i] + r];
        continue;
      }
      const int* corner = &in.triangles[3 * in.correspondences[i]];
      const T u = us[2 * i], v = us[2 * i + 1];
      residuals[3 * i + r] = in.points[3 * i + r] -
                             (u * skinned[3 * corner[0] + r] + v * skinned[3 * corner[1] + r] + (1 - u - v) * skinned[3 * corner[2] + r]);
    }
}

// ---- lstm
template <class T>
T sigmoid(const T& x) {
  using std::exp;
  return 1 / (1 + exp(-x));
}

template <class T>
T lstm(const Lstm& in, const T* main, const T* extra) {
  using std::exp, std::log, std::tanh;
  const int b = in.bits;
  std::vector<T> state(in.state.begin(), in.state.end()), x(b), y(b);
  T loss = 0;
  for (int t = 0; t + 1 < in.characters; ++t) {
    for (int e = 0; e < b; ++e) x[e] = in.sequence[t * b + e] * extra[e];
    for (int layer = 0; layer < in.layers; ++layer) {
      const T *w = main + 8 * b * layer, *bias = w + 4 * b;
      T *h = &state[2 * b * layer], *z = h + b;
      for (int e = 0; e < b; ++e) {
        const T forget = sigmoid<T>(x[e] * w[e] + bias[e]);
        const T ingate = sigmoid<T>(h[e] * w[b + e] + bias[b + e]);
        const T outgate = sigmoid<T>(x[e] * w[2 * b + e] + bias[2 * b + e]);
        const T change = tanh(h[e] * w[3 * b + e] + bias[3 * b + e]);
        z[e] = z[e] * forget + ingate * change;
        h[e] = outgate * tanh(z[e]);
      }
      for (int e = 0; e < b; ++e) x[e] = h[e];
    }
    T sum = 2;
    for (int e = 0; e < b; ++e) {
      y[e] = x[e] * extra[b + e] + extra[2 * b + e];
      sum += exp(y[e]);
    }
    const T shift = log(sum);
    for (int e = 0; e < b; ++e) loss += in.sequence[(t + 1) * b + e] * (y[e] - shift);
  }
  return -loss / double((in.characters - 1) * b);
}

// ---- ode
template <class T>
void ode_slope(int n, const T* x, const T* y, T* out) {
  out[0] = x[0];
  for (int i = 1; i < n; ++i) out[i] = x[i] * y[i - 1];
}

template <class T>
void ode(const Ode& in, const T* x, T* y) {
  const int n = static_cast<int>(in.x.size());
  std::vector<T> k1(n), k2(n), k3(n), k4(n), at(n);
  const double h = 2.0 / in.steps;
  for (int i = 0; i < n; ++i) y[i] = 0;
  for (int step = 0; step < in.steps; ++step) {
    ode_slope(n, x, y, k1.data());
    for (int i = 0; i < n; ++i) at[i] = y[i] + 0.5 * h * k1[i];
    ode_slope(n, x, at.data(), k2.data());
    for (int i = 0; i < n; ++i) at[i] = y[i] + 0.5 * h * k2[i];
    ode_slope(n, x, at.data(), k3.data());
    for (int i = 0; i < n; ++i) at[i] = y[i] + h * k3[i];
    ode_slope(n, x, at.data(), k4.data());
    for (int i = 0; i < n; ++i) y[i] += h / 6 * (k1[i] + 2 * k2[i] + 2 * k3[i] + k4[i]);
  }
}

// ---- llsq
template <class T>
T llsq(const Llsq& in, const T* x) {
  const int m = static_cast<int>(in.x.size());
  T sum = 0;
  for (int i = 0; i < in.n; ++i) {
    const double t = -1 + 2.0 * i / (in.n - 1);
    T r = t > 0 ? 1 : t < 0 ? -1 : 0;
    double power = 1;
    for (int j = 0; j < m; ++j) {
      r -= x[j] * power;
      power *= t;
    }
    sum += r * r;
  }
  return 0.5 * sum;
}

}  // namespace gradbench::GRADBENCH_FORMULAS
