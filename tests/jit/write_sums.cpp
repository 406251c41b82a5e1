// Sums into zeros that are written instead: which launches, and that the arrays hold the same.
#include <catch2/catch.hpp>

#include <cmath>

#include "fluxion/fluxion.h"

namespace fx = fluxion;

namespace {

std::string plan_of(const std::string& text) { return text.substr(text.rfind("program @")); }
int count(const std::string& text, const std::string& word) {
  int n = 0;
  for (std::size_t at = text.find(word); at != std::string::npos; at = text.find(word, at + 1)) ++n;
  return n;
}

}  // namespace

TEST_CASE("a gradient that each point adds to once is written and needs no zeros", "[jit][program]") {
  const fx::Device cpu = fx::Device::cpu();
  auto k = fx::kernel("square", [](fx::In<double, 2> x, fx::Out<double, 2> y) {
    auto [i, j] = fx::index<2>();
    y(i, j) = x(i, j) * x(i, j);
  });
  auto sum = fx::kernel("sum", [](fx::In<double, 2> y, fx::Accum<double> total) {
    auto [i, j] = fx::index<2>();
    total[0] += y(i, j) * y(i, j);
  });
  auto p = fx::program("p", [=](fx::Buffer<double, 2> x) {
    auto y = fx::zeros<double>(3, 20), z = fx::zeros<double>(3, 20);
    auto total = fx::zeros<double>(1);
    k.over(3, 20)(x, y);
    k.over(3, 20)(y, z);
    sum.over(3, 20)(z, total);
    return total;
  });
  auto g = fx::value_and_grad(p);
  std::vector<double> data(60);
  for (std::size_t i = 0; i < 60; ++i) data[i] = 0.5 + 0.01 * static_cast<double>(i);
  auto x = cpu.upload(data, 3, 20);
  auto [value, slope] = g(x);
  const auto d = slope.host();
  for (std::size_t i = 0; i < 60; ++i) CHECK(d[i] == Approx(8 * std::pow(data[i], 7)).epsilon(1e-12));
  const std::string plan = plan_of(g.dump("lowered", x));
  CAPTURE(plan);
  CHECK(count(plan, "buffer_zero") == 1);  // the total; none for three gradients
}

TEST_CASE("a gradient that some points do not add to keeps its zeros", "[jit][program]") {
  const fx::Device cpu = fx::Device::cpu();
  auto part = fx::kernel("part", [](fx::In<double> x, fx::Accum<double> total) { total[0] += x[fx::index()] * 2.0; });
  auto next = fx::kernel("next", [](fx::In<double> x, fx::Accum<double> total) { total[0] += x[fx::index() + 1] * 3.0; });
  auto some = fx::kernel("some", [](fx::In<double> x, fx::Accum<double> total) {
    auto i = fx::index();
    fx::if_(i % 2 == 0, [&] { total[0] += x[i] * 4.0; });
  });
  auto columns = fx::kernel("columns", [](fx::In<double, 2> x, fx::Accum<double> total) {
    auto i = fx::index();
    total[0] += x(0, i) + 5.0 * x(2, i);
  });
  auto run = [&](auto k, int n) {
    return fx::value_and_grad(fx::program("p", [=](fx::Buffer<double> x) {
      auto total = fx::zeros<double>(1);
      k.over(n)(x, total);
      return total;
    }));
  };
  auto x = cpu.upload(std::vector<double>(6, 1.0));
  CHECK(std::get<1>(run(part, 4)(x)).host() == std::vector<double>{2, 2, 2, 2, 0, 0});
  CHECK(std::get<1>(run(part, 6)(x)).host() == std::vector<double>{2, 2, 2, 2, 2, 2});
  CHECK(std::get<1>(run(next, 5)(x)).host() == std::vector<double>{0, 3, 3, 3, 3, 3});
  CHECK(std::get<1>(run(some, 6)(x)).host() == std::vector<double>{4, 0, 4, 0, 4, 0});
  auto g = fx::value_and_grad(fx::program("p", [=](fx::Buffer<double, 2> m) {
    auto total = fx::zeros<double>(1);
    columns.over(2)(m, total);
    return total;
  }));
  auto m = cpu.upload(std::vector<double>(6, 1.0), 3, 2);
  CHECK(std::get<1>(g(m)).host() == std::vector<double>{1, 1, 0, 0, 5, 5});
}

TEST_CASE("gradients that take the places of what they are made of are written after all of it is read", "[jit][program]") {
  const fx::Device cpu = fx::Device::cpu();
  auto loss = fx::program("loss", [](fx::Buffer<double> x) {
    auto y = fx::copy(x);
    return fx::sum(y * y);
  });
  // Twice: b_bar has the place of result_bar_dot in jvp(vjp(mul)).
  auto both = fx::program("both", [=](fx::Buffer<double> x) {
    auto [l, g] = fx::value_and_grad(loss)(x);
    return fx::sum(g * g) + l;
  });
  auto [value, slope] = fx::jvp(both)(cpu.upload({1.0, 2.0, 3.0}), cpu.upload({1.0, 0.5, 0.25}));
  CHECK(value.item() == 5 * 14);
  CHECK(slope.item() == 10 * (1 + 1 + 0.75));
}
