/* A user of exported kernels: C alone. Prints every number that the kernels write, in hexadecimal, for tests/export/export.cpp. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "blur.h"
#include "relax.h"

enum { N = 37, ROWS = 9, COLUMNS = 21, LONG = 5000 };

static char message[512];

static void must(int status, const char* what) {
  if (status == 0) return;
  printf("%s: status %d: %s\n", what, status, message);
  exit(1);
}
static void show(const char* name, const float* v, int n) {
  for (int i = 0; i < n; ++i) printf("%s[%d] %a\n", name, i, (double)v[i]);
}

static float x[LONG], y[LONG];
static int32_t trips[LONG];

static relax_args start(int n, double* e) {
  for (int i = 0; i < n; ++i) {
    x[i] = 0.5f + 0.03125f * (float)(i % 64);
    y[i] = 1.0f - 0.0625f * (float)(i % 32);
    trips[i] = i % 7;
  }
  *e = 0.25;
  relax_args k = {{n}, x, {n}, y, {n}, 0.125f, e, {1}, trips, {n}};
  return k;
}

static void forward_and_gradient(void) {
  double e;
  relax_args k = start(N, &e);
  must(relax(&k, message, sizeof message), "relax");
  show("y", y, N);
  printf("e %a\n", e);

  float y_bar[N], x_bar[N], a_bar[1] = {0};
  for (int i = 0; i < N; ++i) y_bar[i] = 1.0f + 0.25f * (float)(i % 4), x_bar[i] = 0.0f;
  k = start(N, &e);
  const double e_bar = 0.5;
  relax_vjp_args g = {{N}, x, {N}, y, {N}, 0.125f, trips, {N}, y_bar, {N}, &e_bar, {1}, x_bar, {N}, a_bar, {1}};
  must(relax_vjp(&g, message, sizeof message), "relax_vjp");
  show("y_bar", y_bar, N);
  show("x_bar", x_bar, N);
  show("a_bar", a_bar, 1);
}

/* In two halves with sums of their own, as two threads would: the same as at once, but for the order of the sums. */
static void in_parts(void) {
  double e, whole, mine = 0;
  relax_args k = start(LONG, &e);
  must(relax(&k, message, sizeof message), "relax");
  whole = e;
  static float expected[LONG];
  memcpy(expected, y, sizeof y);
  k = start(LONG, &e);
  const int64_t n = relax_units(&k);
  must(relax_range(&k, 0, 0, n / 2, message, sizeof message), "relax_range");
  k.e = &mine;
  must(relax_range(&k, 0, n / 2, n, message, sizeof message), "relax_range");
  const double apart = e + mine - whole;
  printf("parts: %d units, %s, %s\n", (int)n, memcmp(expected, y, sizeof y) == 0 ? "equal" : "different",
         apart < 1e-9 && apart > -1e-9 ? "equal sums" : "different sums");
  printf("too far: %d %s\n", relax_range(&k, 0, 0, n + 1, message, sizeof message), message);
  printf("no phase: %d %s\n", relax_range(&k, 1, 0, n, message, sizeof message), message);
}

static void errors(void) {
  double e;
  relax_args k = start(N, &e);
  k.y_extent[0] = N - 1;
  printf("short: %d %s\n", relax(&k, message, sizeof message), message);
  k = start(N, &e);
  k.y = x + N - 1;
  printf("overlap: %d %s\n", relax(&k, message, sizeof message), message);
  k = start(N, &e);
  k.x = 0;
  printf("null: %d %s\n", relax(&k, message, sizeof message), message);
  k = start(N, &e);
  x[20] = 1000.0f;
  printf("check: %d %s\n", relax(&k, message, sizeof message), message);
  printf("silent: %d\n", relax(&k, 0, 100));
  k = start(N, &e);
  k.domain[0] = 0;
  printf("none: %d\n", relax(&k, message, sizeof message));
}

static void stencil(void) {
  float u[ROWS * COLUMNS], out[ROWS * COLUMNS], out_bar[ROWS * COLUMNS], u_bar[ROWS * COLUMNS];
  for (int i = 0; i < ROWS * COLUMNS; ++i) u[i] = 0.015625f * (float)(i * 7 % 64), out_bar[i] = 1.0f - 0.03125f * (float)(i % 48), u_bar[i] = 0;
  blur_args k = {{ROWS, COLUMNS}, u, {ROWS, COLUMNS}, out, {ROWS, COLUMNS}};
  must(blur(&k, message, sizeof message), "blur");
  show("out", out, ROWS * COLUMNS);
  blur_vjp_args g = {{ROWS, COLUMNS}, u, {ROWS, COLUMNS}, out_bar, {ROWS, COLUMNS}, u_bar, {ROWS, COLUMNS}};
  must(blur_vjp(&g, message, sizeof message), "blur_vjp");
  show("u_bar", u_bar, ROWS * COLUMNS);
}

int main(void) {
  forward_and_gradient();
  in_parts();
  errors();
  stencil();
  return 0;
}
