// Reading between the elements of an array: values and derivatives, in the array and in the coordinates, against a sum over the
// corners written for plain numbers and for dual ones; at the borders, and at whole numbers, where the derivative is the right-hand one.
#include <catch2/catch.hpp>
#include <cmath>
#include <limits>

#include "fluxion/fluxion.h"
#include "inputs.h"

namespace fx = fluxion;
using fluxion::testing::devices;
using fluxion::testing::random_numbers;
using fx::Border;
using fx::Filter;

namespace {

struct Dual {
  double v = 0, d = 0;
  friend Dual operator+(Dual a, Dual b) { return {a.v + b.v, a.d + b.d}; }
  friend Dual operator*(Dual a, Dual b) { return {a.v * b.v, a.v * b.d + a.d * b.v}; }
};

// Weights of the formula in the book: each element near x has the hat function max(0, 1 - |x - i|); its slope at a kink is the right one.
Dual hat(Dual x, long i, Filter filter) {
  const double from = x.v - static_cast<double>(i);
  if (filter == Filter::nearest) return {from >= -0.5 && from < 0.5 ? 1.0 : 0.0, 0};
  if (from >= -1 && from < 0) return {1 + from, x.d};
  if (from >= 0 && from < 1) return {1 - from, -x.d};
  return {};
}

Dual element(const std::vector<Dual>& a, const std::vector<long>& extent, const std::vector<long>& at, Border border) {
  std::size_t place = 0;
  for (std::size_t axis = 0; axis < extent.size(); ++axis) {
    const long n = extent[axis];
    long i = at[axis];
    if (border == Border::zero && (i < 0 || i >= n)) return {};
    i = border == Border::wrap ? ((i % n) + n) % n : std::min(std::max(i, 0l), n - 1);
    place = place * static_cast<std::size_t>(n) + static_cast<std::size_t>(i);
  }
  return a[place];
}

Dual sampled(const std::vector<Dual>& a, const std::vector<long>& extent, const std::vector<Dual>& x, Border border, Filter filter) {
  Dual sum;
  const auto walk = [&](const auto& self, std::vector<long> at, Dual weight) -> void {
    const std::size_t axis = at.size();
    if (axis == extent.size()) {
      sum = sum + weight * element(a, extent, at, border);
      return;
    }
    const long near = static_cast<long>(std::floor(x[axis].v));
    for (long i = near - 1; i <= near + 2; ++i) {
      const Dual w = weight * hat(x[axis], i, filter);
      at.push_back(i);
      self(self, at, w);
      at.pop_back();
    }
  };
  walk(walk, {}, {1, 0});
  return sum;
}

// Inside, at the edges, on whole numbers and halves, far outside.
const std::vector<double> kPlaces = {0.0,   0.25, 0.5,  1.0,  1.5,  1.75, 2.0, 2.5, 3.0,   3.25,
                                     -0.25, -0.5, -1.0, -1.5, -7.5, 3.5,  4.0, 4.5, 11.25, 2.75};
double place(std::size_t k, std::size_t step) { return kPlaces[(k * step + step) % kPlaces.size()]; }

// One row of the axes of the array: values, then the gradients in the array and in the coordinates.
template <int N, class K> void compare(const K& kernel, std::vector<long> extent, Border border, Filter filter, const fx::Device& dev) {
  std::size_t elements = 1;
  for (const long n : extent) elements *= static_cast<std::size_t>(n);
  const std::vector<double> a = random_numbers(elements, 3, -1, 1);
  const std::size_t points = 60;
  std::vector<double> x[N];
  for (std::size_t k = 0; k < points; ++k)
    for (int axis = 0; axis < N; ++axis)
      x[axis].push_back(place(k + static_cast<std::size_t>(axis), 1 + 2 * static_cast<std::size_t>(axis)));
  const std::vector<double> w = random_numbers(points, 5, -1, 1);
  const auto array = [&](const std::vector<double>& v) {
    if constexpr (N == 1) return dev.upload(v);
    else if constexpr (N == 2) return dev.upload(v, extent[0], extent[1]);
    else return dev.upload(v, extent[0], extent[1], extent[2]);
  };
  auto da = array(a), ga = array(std::vector<double>(elements, 0.0));
  auto y = dev.zeros<double>(static_cast<std::int64_t>(points)), dw = dev.upload(w);
  fx::Buffer<double> dx[3], gx[3];
  for (int axis = 0; axis < 3; ++axis) {
    dx[axis] = axis < N ? dev.upload(x[axis]) : dev.zeros<double>(static_cast<std::int64_t>(points));
    gx[axis] = dev.zeros<double>(static_cast<std::int64_t>(points));
  }
  kernel.over(static_cast<std::int64_t>(points))(da, dx[0], dx[1], dx[2], y);
  fx::vjp(kernel).over(static_cast<std::int64_t>(points))(da, dx[0], dx[1], dx[2], dw, ga, gx[0], gx[1], gx[2]);

  const auto value = y.host(), array_gradient = ga.host();
  std::vector<double> slope[3];
  for (int axis = 0; axis < N; ++axis) slope[axis] = gx[axis].host();
  std::vector<double> expected(elements, 0.0);
  for (std::size_t k = 0; k < points; ++k) {
    std::vector<Dual> elements_of(a.size());
    for (std::size_t e = 0; e < a.size(); ++e) elements_of[e] = {a[e], 0};
    std::vector<Dual> at;
    for (int axis = 0; axis < N; ++axis) at.push_back({x[axis][k], 0});
    INFO("point " << k << " at " << x[0][k] << " " << x[N - 1][k]);
    CHECK(value[k] == Approx(sampled(elements_of, extent, at, border, filter).v).margin(1e-12));
    for (int axis = 0; axis < N; ++axis) {
      at[static_cast<std::size_t>(axis)].d = 1;
      INFO("axis " << axis);
      CHECK(slope[axis][k] == Approx(w[k] * sampled(elements_of, extent, at, border, filter).d).margin(1e-12));
      at[static_cast<std::size_t>(axis)].d = 0;
    }
    for (std::size_t e = 0; e < a.size(); ++e) {
      elements_of[e].d = 1;
      expected[e] += w[k] * sampled(elements_of, extent, at, border, filter).d;
      elements_of[e].d = 0;
    }
  }
  for (std::size_t e = 0; e < a.size(); ++e) {
    INFO("element " << e);
    CHECK(array_gradient[e] == Approx(expected[e]).margin(1e-12));
  }
}

}  // namespace

TEST_CASE("samples and their gradients are those of dual numbers for every border and filter", "[jit][sample]") {
  const Border border = GENERATE(Border::clamp, Border::wrap, Border::zero);
  const Filter filter = GENERATE(Filter::linear, Filter::nearest);
  const fx::Sampling how{border, filter};
  INFO("border " << static_cast<int>(border) << " filter " << static_cast<int>(filter));
  using D = fx::In<double>;
  auto line = fx::kernel("line", [=](D a, D x, D, D, fx::Out<double> y) {
    auto i = fx::index();
    y[i] = fx::sample(a, x[i], how);
  });
  auto plane = fx::kernel("plane", [=](fx::In<double, 2> a, D x, D x2, D, fx::Out<double> y) {
    auto i = fx::index();
    y[i] = fx::sample(a, x[i], x2[i], how);
  });
  auto volume = fx::kernel("volume", [=](fx::In<double, 3> a, D x, D x2, D x3, fx::Out<double> y) {
    auto i = fx::index();
    y[i] = fx::sample(a, x[i], x2[i], x3[i], how);
  });
  for (const fx::Device& dev : devices()) {
    INFO(dev.name());
    compare<1>(line, {4}, border, filter, dev);
    compare<1>(line, {1}, border, filter, dev);
    compare<2>(plane, {4, 3}, border, filter, dev);
    compare<3>(volume, {4, 2, 3}, border, filter, dev);
  }
}

TEST_CASE("samples agree with central differences away from kinks", "[jit][sample]") {
  const fx::Device dev = fx::Device::best();
  const Border border = GENERATE(Border::clamp, Border::wrap, Border::zero);
  auto warp = fx::kernel("warp", [=](fx::In<fx::Vec<double, 3>, 2> image, fx::In<fx::double2> at, fx::Out<fx::Vec<double, 3>> y) {
    auto i = fx::index();
    fx::Double2 p = at[i];
    y[i] = fx::sample(image, p, {.border = border});
  });
  std::vector<fx::Vec<double, 3>> image;
  const auto numbers = random_numbers(60);
  for (std::size_t k = 0; k < 20; ++k) image.push_back({numbers[3 * k], numbers[3 * k + 1], numbers[3 * k + 2]});
  const std::vector<fx::double2> at = {{0.3, 1.7}, {2.5, 3.4}, {-0.6, 0.4}, {3.5, 4.7}, {-3.3, 9.6}};
  const auto report = fx::check_gradient(warp, dev.upload(image, 4, 5), dev.upload(at), dev.zeros<fx::Vec<double, 3>>(5));
  INFO(report.text);
  CHECK(report.ok);
}

TEST_CASE("a coordinate that is no number or very large is no wild read", "[jit][sample]") {
  const float nan = std::numeric_limits<float>::quiet_NaN(), inf = std::numeric_limits<float>::infinity();
  const std::vector<float> x = {nan, inf, -inf, 3e9f, -3e9f, 1e30f};
  for (const Border border : {Border::clamp, Border::wrap, Border::zero}) {
    auto k = fx::kernel("k", [=](fx::In<float> a, fx::In<float> x, fx::Out<float> linear, fx::Out<float> nearest) {
      auto i = fx::index();
      linear[i] = fx::sample(a, x[i], {border});
      nearest[i] = fx::sample(a, x[i], {border, Filter::nearest});
    });
    INFO("border " << static_cast<int>(border));
    for (const fx::Device& dev : devices()) {  // the evaluator checks every index
      auto a = dev.upload({1.f, 2.f, 4.f}), y = dev.zeros<float>(6), z = dev.zeros<float>(6);
      k.over(6)(a, dev.upload(x), y, z);
      const auto linear = y.host(), nearest = z.host();
      CHECK(std::isnan(linear[0]));
      if (border == Border::wrap) continue;
      CHECK(std::vector<float>(linear.begin() + 1, linear.end()) ==
            (border == Border::zero ? std::vector<float>(5) : std::vector<float>{4, 1, 4, 1, 4}));
      CHECK(nearest == (border == Border::zero ? std::vector<float>{1, 0, 0, 0, 0, 0} : std::vector<float>{1, 4, 1, 4, 1, 4}));
      auto gx = dev.zeros<float>(6), ga = dev.zeros<float>(3);
      fx::vjp(k).over(6)(a, dev.upload(x), dev.full(1.f, 6), dev.full(1.f, 6), ga, gx);
      const auto slope = gx.host();
      CHECK(std::vector<float>(slope.begin() + 1, slope.end()) == std::vector<float>(5));
    }
  }
}

TEST_CASE("outside of a zero border no element counts whatever it holds", "[jit][sample]") {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  auto k = fx::kernel("k", [](fx::In<float> a, fx::In<float> x, fx::Out<float> y) {
    auto i = fx::index();
    y[i] = fx::sample(a, x[i], {Border::zero});
  });
  const std::vector<float> x = {-1.25f, -2.f, -2.5f, -100.f, 3.f, 3.5f, 100.f};
  const auto n = static_cast<std::int64_t>(x.size());
  for (const fx::Device& dev : devices()) {
    auto a = dev.upload({nan, 1.f, nan}), y = dev.zeros<float>(n), ga = dev.zeros<float>(3), gx = dev.zeros<float>(n);
    k.over(n)(a, dev.upload(x), y);
    CHECK(y.host() == std::vector<float>(x.size()));
    fx::vjp(k).over(n)(a, dev.upload(x), dev.full(1.f, n), ga, gx);
    CHECK(gx.host() == std::vector<float>(x.size()));
    CHECK(ga.host() == std::vector<float>(3));
  }
}

TEST_CASE("the element just below a half is the nearest one", "[jit][sample]") {
  auto k = fx::kernel("k", [](fx::In<float> a, fx::In<float> x, fx::Out<float> y) {
    auto i = fx::index();
    y[i] = fx::sample(a, x[i], {Border::clamp, Filter::nearest});
  });
  const fx::Device dev = fx::Device::best();
  auto y = dev.zeros<float>(2);
  k(dev.upload({10.f, 20.f}), dev.upload({std::nextafter(0.5f, 0.f), 0.5f}), y);
  CHECK(y.host() == std::vector<float>{10, 20});
}

TEST_CASE("half and mixed precision and places are sampled", "[jit][sample]") {
  auto k = fx::kernel("k", [](fx::In<fx::half> a, fx::InOut<float> b, fx::In<double> x, fx::Out<float> y) {
    auto i = fx::index();
    fx::Local<float, 2> pair;
    pair[0] = 1.f;
    pair[1] = 3.f;
    y[i] = fx::sample(a, x[i]) + fx::sample(b, x[i]) + fx::sample(pair, 0.5);
  });
  for (const fx::Device& dev : devices()) {
    auto y = dev.zeros<float>(1);
    k.over(1)(dev.upload(std::vector<fx::half>{fx::half(1.f), fx::half(2.f)}), dev.upload({10.f, 30.f}), dev.upload({0.25}), y);
    CHECK(y.host() == std::vector<float>{1.25f + 15.f + 2.f});
  }
}

TEST_CASE("an array without elements is not sampled and the line is named", "[jit][sample]") {
  const unsigned here = __LINE__ + 3;
  auto k = fx::kernel("k", [](fx::In<float, 2> a, fx::In<float> x, fx::Out<float> y) {
    auto i = fx::index();
    y[i] = fx::sample(a, x[i], x[i], {Border::wrap});
  });
  for (const fx::Device& dev : devices()) {
    auto x = dev.upload({0.5f, -1.f}), y = dev.zeros<float>(2);
    for (const auto& [n, m] : {std::pair(0, 3), std::pair(3, 0)})
      CHECK_THROWS_WITH(k.over(2)(dev.zeros<float>(n, m), x, y),
                        Catch::Contains("argument 1 has no elements along axis") && Catch::Contains("sample.cpp:" + std::to_string(here)));
    k.over(0)(dev.zeros<float>(0, 3), x, y);  // no point comes there
  }
}
