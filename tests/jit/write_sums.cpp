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

TEST_CASE("a gradient that each point adds to once is written and needs no zeros", "[jit][program][cpu]") {
  const fx::Device cpu = fx::Device::best();
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
  const fx::Device cpu = fx::Device::best();
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
  const fx::Device cpu = fx::Device::best();
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

TEST_CASE("a gradient that loops add to once in every place is written and others are added", "[jit][program][cpu]") {
  const fx::Device cpu = fx::Device::best();
  auto all = fx::kernel("all", [](fx::In<double, 2> x, fx::Out<double> y) {
    auto i = fx::index();
    fx::Double s = 0.0;
    for (auto j : fx::range(4)) s += x(i, j) * x(i, j);
    y[i] = s;
  });
  auto two = fx::kernel("two", [](fx::In<double, 2> x, fx::Out<double> y) {
    auto i = fx::index();
    fx::Double s = x(0, i);
    for (auto j : fx::range(2)) s += x(j, i) * x(j, i);
    y[i] = s;
  });
  auto most = fx::kernel("most", [](fx::In<double, 2> x, fx::Out<double> y) {
    auto i = fx::index();
    fx::Double s = 0.0;
    for (auto j : fx::range(3)) s += x(i, j) * x(i, j);
    y[i] = s;
  });
  auto again = fx::kernel("again", [](fx::In<double, 2> x, fx::Out<double> y) {
    auto i = fx::index();
    fx::Double s = 0.0;
    for ([[maybe_unused]] auto k : fx::range(2))
      for (auto j : fx::range(4)) s += x(i, j) * x(i, j);
    y[i] = s;
  });
  auto diagonal = fx::kernel("diagonal", [](fx::In<double, 2> x, fx::Out<double> y) {
    fx::Double s = 0.0;
    for (auto j : fx::range(2)) s += x(j, j) * x(j, j);
    y[fx::index()] = s;
  });
  auto some = fx::kernel("some", [](fx::In<double, 2> x, fx::Out<double> y) {
    auto i = fx::index();
    fx::Double s = 0.0;
    for (auto j : fx::range(4)) fx::if_(x(i, j) > 0.55, [&] { s += x(i, j) * x(i, j); });
    y[i] = s;
  });
  const auto slope = [&](auto k, int n, int rows, int columns) {
    auto p = fx::program("p", [=](fx::Buffer<double, 2> x) {
      auto y = fx::zeros<double>(n);
      k.over(n)(x, y);
      return fx::sum(y);
    });
    auto g = fx::value_and_grad(p);
    std::vector<double> data;
    for (int i = 0; i < rows * columns; ++i) data.push_back(0.5 + 0.01 * i);
    auto x = cpu.upload(data, rows, columns);
    const std::string plan = plan_of(g.dump("lowered", x));
    std::vector<double> d = std::get<1>(g(x)).host();
    for (int i = 0; i < rows * columns; ++i) d[static_cast<std::size_t>(i)] /= data[static_cast<std::size_t>(i)];
    return std::pair(d, plan);
  };
  const auto ones = [](int n, double v) { return std::vector<double>(static_cast<std::size_t>(n), v); };
  const auto fills = [](const std::string& plan) { return count(plan, "buffer_zero"); };
  const auto [whole, plan] = slope(all, 3, 3, 4);
  CHECK(whole == ones(12, 2));
  const int least = fills(plan);
  const auto [twice, more] = slope(again, 3, 3, 4);
  CHECK(twice == ones(12, 4));
  CHECK(fills(more) == least + 1);
  const auto [left, also] = slope(most, 2, 2, 4);
  CHECK(left == std::vector<double>{2, 2, 2, 0, 2, 2, 2, 0});
  CHECK(fills(also) == least + 1);
  CHECK(slope(diagonal, 1, 2, 2).first == std::vector<double>{2, 0, 0, 2});
  CHECK(slope(some, 2, 2, 4).first == std::vector<double>{0, 0, 0, 0, 0, 0, 2, 2});
  const auto first_row = slope(two, 3, 2, 3).first;
  for (int i = 0; i < 3; ++i) CHECK(first_row[static_cast<std::size_t>(i)] == Approx(2 + 1 / (0.5 + 0.01 * i)));
  for (int i = 3; i < 6; ++i) CHECK(first_row[static_cast<std::size_t>(i)] == 2);
}
