// The problems' values and derivatives against formulas.h: in doubles, and in dual numbers for the derivatives, on data
// made here, also of sizes that no file has; and against the golden files where FLUXION_DATA leads to them.
#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <iostream>

#include "formulas.h"
#include "problem.h"

namespace {

using namespace gradbench;

struct Dual {
  double v = 0, d = 0;
  Dual() = default;
  Dual(double v, double d = 0) : v(v), d(d) {}
  friend Dual operator+(Dual a, Dual b) { return {a.v + b.v, a.d + b.d}; }
  friend Dual operator-(Dual a, Dual b) { return {a.v - b.v, a.d - b.d}; }
  friend Dual operator*(Dual a, Dual b) { return {a.v * b.v, a.d * b.v + a.v * b.d}; }
  friend Dual operator/(Dual a, Dual b) { return {a.v / b.v, (a.d - a.v / b.v * b.d) / b.v}; }
  friend Dual operator-(Dual a) { return {-a.v, -a.d}; }
  Dual& operator+=(Dual b) { return *this = *this + b; }
  Dual& operator-=(Dual b) { return *this = *this - b; }
  friend bool operator>(Dual a, Dual b) { return a.v > b.v; }
  friend bool operator<(Dual a, Dual b) { return a.v < b.v; }
  friend bool operator!=(Dual a, Dual b) { return a.v != b.v; }
};
Dual exp(Dual a) { return {std::exp(a.v), std::exp(a.v) * a.d}; }
Dual log(Dual a) { return {std::log(a.v), a.d / a.v}; }
Dual sqrt(Dual a) { return {std::sqrt(a.v), 0.5 * a.d / std::sqrt(a.v)}; }
Dual sin(Dual a) { return {std::sin(a.v), std::cos(a.v) * a.d}; }
Dual cos(Dual a) { return {std::cos(a.v), -std::sin(a.v) * a.d}; }
Dual tanh(Dual a) { return {std::tanh(a.v), (1 - std::tanh(a.v) * std::tanh(a.v)) * a.d}; }

// Numbers in [lo, hi), the same in every run.
Numbers some(int n, double lo, double hi) {
  static unsigned state = 12345;
  Numbers out;
  for (int i = 0; i < n; ++i) {
    state = state * 1664525u + 1013904223u;
    out.push_back(lo + (hi - lo) * (state >> 8) / double(1 << 24));
  }
  return out;
}

void flatten(const nlohmann::json& j, Numbers& out) {
  if (j.is_number()) return out.push_back(j.get<double>());
  for (const auto& item : j) flatten(item, out);
}

// max|x - y| <= tolerance * max|y|
void check_close(const Numbers& x, const Numbers& y, double tolerance) {
  REQUIRE(x.size() == y.size());
  double largest = 0, apart = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    largest = std::max(largest, std::abs(y[i]));
    apart = std::isfinite(x[i]) ? std::max(apart, std::abs(x[i] - y[i])) : INFINITY;
  }
  CAPTURE(largest, apart);
  CHECK(apart <= tolerance * largest);
}
Numbers flat(const nlohmann::json& j) {
  Numbers out;
  flatten(j, out);
  return out;
}

// The derivatives of f, of `results` numbers, at x: row-major, a row a result.
template <class F>
Numbers jacobian(const Numbers& x, int results, const F& f) {
  const int n = static_cast<int>(x.size());
  Numbers out(static_cast<std::size_t>(results * n));
  for (int j = 0; j < n; ++j) {
    std::vector<Dual> at(x.begin(), x.end()), y(static_cast<std::size_t>(results));
    at[static_cast<std::size_t>(j)].d = 1;
    f(at.data(), y.data());
    for (int r = 0; r < results; ++r) out[static_cast<std::size_t>(r * n + j)] = y[static_cast<std::size_t>(r)].d;
  }
  return out;
}
Numbers joined(std::initializer_list<Numbers> parts) {
  Numbers out;
  for (const Numbers& part : parts) out.insert(out.end(), part.begin(), part.end());
  return out;
}

constexpr double kClose = 1e-10;

void check_gmm(int d, int k, int n, int m, double gamma) {
  Gmm in{d, k, n, m, gamma, {}, {}, {}, {}, {}};
  in.x = some(in.n * in.d, -2, 2);
  in.alpha = some(in.k, -1, 1);
  in.mu = some(in.k * in.d, -1, 1);
  in.q = some(in.k * in.d, -1, 0.5);
  in.l = some(in.k * in.strict(), -0.5, 0.5);
  Problem p = make_gmm(in);
  p.primal();
  check_close(flat(p.primal_json()), {formulas::gmm(in, in.alpha.data(), in.mu.data(), in.q.data(), in.l.data())}, kClose);
  p.derivative();
  const Numbers all = jacobian(joined({in.alpha, in.mu, in.q, in.l}), 1, [&](const Dual* x, Dual* y) {
    const Dual *mu = x + in.k, *q = mu + in.k * in.d, *l = q + in.k * in.d;
    *y = formulas::gmm(in, x, mu, q, l);
  });
  const auto j = p.derivative_json();
  auto from = all.begin();
  for (const auto& [name, size] :
       {std::pair<const char*, std::size_t>{"alpha", in.alpha.size()}, {"mu", in.mu.size()}, {"q", in.q.size()}, {"l", in.l.size()}}) {
    CAPTURE(name);
    const auto to = from + static_cast<std::ptrdiff_t>(size);
    check_close(flat(j[name]), Numbers(from, to), kClose);
    from = to;
  }
}

}  // namespace

TEST_CASE("gmm agrees with dual numbers", "[gradbench]") {
  check_gmm(2, 3, 21, 0, 1.0);
  check_gmm(5, 1, 8, 2, 0.7);
  check_gmm(19, 2, 13, 1, 1.2);  // more dimensions than are unrolled
  check_gmm(1, 2, 5, 0, 1.0);
}

TEST_CASE("ba agrees with dual numbers also where the rotation is zero", "[gradbench]") {
  const double turned = GENERATE(1.0, 0.0);
  Ba in{.n = 2, .m = 3, .p = 13, .cameras = {}, .points = {}, .weights = {}, .features = {}};
  Numbers camera = some(11, 0.5, 1.5);
  for (std::size_t j = 0; j < 3; ++j) camera[j] *= turned;
  const Numbers point = some(3, 2, 4), weight = some(1, 0.2, 0.8), feature = some(2, -1, 1);
  auto repeat = [](const Numbers& one, int times) {
    Numbers out;
    for (int k = 0; k < times; ++k) out.insert(out.end(), one.begin(), one.end());
    return out;
  };
  in.cameras = repeat(camera, in.n);
  in.points = repeat(point, in.m);
  in.weights = repeat(weight, in.p);
  in.features = repeat(feature, in.p);
  Problem p = make_ba(in);
  p.primal();
  double r[2];
  formulas::ba_project(camera.data(), point.data(), weight[0], feature[0], feature[1], r);
  check_close(flat(p.primal_json()["reproj_error"]["elements"]), {r[0], r[1]}, kClose);
  p.derivative();
  Numbers expected = jacobian(joined({camera, point, weight}), 2,
                              [&](const Dual* x, Dual* y) { formulas::ba_project(x, x + 11, x[14], feature[0], feature[1], y); });
  expected.push_back(-2 * weight[0]);
  const auto j = p.derivative_json();
  check_close(flat(j["vals"]), expected, 1e-9);
  CHECK(j["rows"].back() == 31 * in.p);
  CHECK(j["rows"][1] == 15);
  CHECK(j["cols"][14] == 11 * in.n + 3 * in.m);
  CHECK(j["cols"][15] == 0);
  CHECK(j["cols"][26] == 11 * in.n);
  CHECK(j["cols"].back() == 11 * in.n + 3 * in.m + in.p - 1);
}

TEST_CASE("ht agrees with dual numbers", "[gradbench]") {
  Ht in;
  in.complicated = GENERATE(false, true);
  in.mirrored = GENERATE(false, true);
  in.bones = 22;
  in.vertices = 9;
  in.count = 5;
  in.theta = some(26, -1, 1);
  for (int b = 0; b < in.bones; ++b) in.parents.push_back(b % 4 == 1 || b == 0 ? (b ? 0 : -1) : b - 1);
  for (int b = 0; b < in.bones; ++b)
    for (Numbers* matrices : {&in.relatives, &in.inverse_absolutes}) {
      const Numbers m = some(12, -1, 1);
      matrices->insert(matrices->end(), m.begin(), m.end());
      for (int c = 0; c < 4; ++c) matrices->push_back(c == 3);
    }
  for (int v = 0; v < in.vertices; ++v) {
    const Numbers at = some(3, -1, 1), w = some(2, 0, 1);
    in.positions.insert(in.positions.end(), at.begin(), at.end());
    in.positions.push_back(1);
    Numbers weights(22);
    weights[static_cast<std::size_t>(v)] = w[0];
    if (v % 2) weights[static_cast<std::size_t>(v + 11)] = w[1];
    in.weights.insert(in.weights.end(), weights.begin(), weights.end());
  }
  in.triangles = {0, 1, 2, 3, 4, 5, 6, 7, 8, 1, 5, 7};
  in.correspondences = in.complicated ? std::vector<int>{0, 1, 2, 3, 0} : std::vector<int>{8, 1, 5, 2, 2};
  in.points = some(15, -1, 1);
  if (in.complicated) in.us = some(10, 0, 1);
  Problem p = make_ht(in);
  p.primal();
  Numbers value(15);
  formulas::ht(in, in.theta.data(), in.us.data(), value.data());
  check_close(flat(p.primal_json()), value, kClose);
  p.derivative();
  const Numbers all = jacobian(joined({in.theta, in.us}), 15, [&](const Dual* x, Dual* y) { formulas::ht(in, x, x + 26, y); });
  Numbers expected;
  const int n = 26 + static_cast<int>(in.us.size());
  for (int r = 0; r < 15; ++r) {
    for (int c = 0; in.complicated && c < 2; ++c) expected.push_back(all[static_cast<std::size_t>(r * n + 26 + 2 * (r / 3) + c)]);
    for (int c = 0; c < 26; ++c) expected.push_back(all[static_cast<std::size_t>(r * n + c)]);
  }
  check_close(flat(p.derivative_json()), expected, kClose);
}

TEST_CASE("lstm agrees with dual numbers", "[gradbench]") {
  Lstm in{.layers = GENERATE(1, 2, 3, 6), .characters = 9, .bits = 5, .main = {}, .extra = {}, .state = {}, .sequence = {}};
  in.main = some(8 * in.layers * in.bits, -1, 1);
  in.extra = some(3 * in.bits, -1, 1);
  in.state = some(2 * in.layers * in.bits, -1, 1);
  for (const double v : some(in.characters * in.bits, 0, 1)) in.sequence.push_back(v > 0.5);
  Problem p = make_lstm(in);
  p.primal();
  check_close(flat(p.primal_json()), {formulas::lstm(in, in.main.data(), in.extra.data())}, kClose);
  p.derivative();
  check_close(flat(p.derivative_json()),
              jacobian(joined({in.main, in.extra}), 1, [&](const Dual* x, Dual* y) { *y = formulas::lstm(in, x, x + in.main.size()); }),
              kClose);
}

TEST_CASE("ode agrees with dual numbers", "[gradbench]") {
  Ode in;
  in.x = some(GENERATE(8, 21), 0.5, 1.5);
  in.steps = GENERATE(1, 100);
  const int n = static_cast<int>(in.x.size());
  Problem p = make_ode(in);
  p.primal();
  Numbers y(in.x.size());
  formulas::ode(in, in.x.data(), y.data());
  check_close(flat(p.primal_json()), y, kClose);
  p.derivative();
  check_close(flat(p.derivative_json()),
              jacobian(in.x, 1,
                       [&](const Dual* x, Dual* last) {
                         std::vector<Dual> out(in.x.size());
                         formulas::ode(in, x, out.data());
                         *last = out[static_cast<std::size_t>(n - 1)];
                       }),
              kClose);
}

TEST_CASE("llsq agrees with dual numbers", "[gradbench]") {
  const Llsq in{some(GENERATE(1, 7), -1, 1), GENERATE(2, 19)};
  Problem p = make_llsq(in);
  p.primal();
  check_close(flat(p.primal_json()), {formulas::llsq(in, in.x.data())}, kClose);
  p.derivative();
  check_close(flat(p.derivative_json()), jacobian(in.x, 1, [&](const Dual* x, Dual* y) { *y = formulas::llsq(in, x); }), kClose);
}

TEST_CASE("lse agrees with dual numbers and does not overflow", "[gradbench]") {
  const double shift = GENERATE(0.0, 1000.0);
  const int n = GENERATE(1, 63, 201);
  const Lse in{some(n, shift - 2, shift + 2)};
  Problem p = make_lse(in);
  p.primal();
  check_close(flat(p.primal_json()), {formulas::logsumexp(n, in.x.data())}, kClose);
  p.derivative();
  check_close(flat(p.derivative_json()), jacobian(in.x, 1, [&](const Dual* x, Dual* y) { *y = formulas::logsumexp(n, x); }), kClose);
}

TEST_CASE("the golden files are met", "[gradbench]") {
  namespace fs = std::filesystem;
  const char* data = std::getenv("FLUXION_DATA");
  const fs::path folder = fs::path(data ? data : "") / "gradbench";
  if (!data || !fs::is_directory(folder)) {
    std::cout << "skipped: the golden files of GradBench, which FLUXION_DATA does not lead to\n";
    return;
  }
  const std::string ending = ".input.json.gz";
  for (const auto& entry : fs::directory_iterator(folder)) {
    const std::string path = entry.path().string();
    if (!path.ends_with(ending)) continue;
    const std::string stem = path.substr(0, path.size() - ending.size()), file = entry.path().filename().string();
    CAPTURE(file);
    const std::string problem = file.substr(0, file.find('.'));
    const double tolerance = problem == "ba" ? 1e-9 : kClose;
    Problem p = make_problem(problem, read_json(path));
    auto meets = [&](const nlohmann::json& ours, const nlohmann::json& golden) {
      if (!golden.is_object()) return check_close(flat(ours), flat(golden), tolerance);
      REQUIRE(ours.size() == golden.size());
      for (const auto& [name, value] : golden.items()) {
        CAPTURE(name);
        check_close(flat(ours[name]), flat(value), tolerance);
      }
    };
    p.primal();
    meets(p.primal_json(), read_json(stem + ".primal.json.gz"));
    p.derivative();
    meets(p.derivative_json(), read_json(stem + ".derivative.json.gz"));
  }
}
