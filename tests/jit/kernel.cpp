// The typed kernel: capture to result on every device.
#include <fluxion/backend.h>
#include <fluxion/fluxion.h>
#include <fmt/format.h>

#include <catch2/catch.hpp>
#include <cmath>

namespace fx = fluxion;
using Catch::Matchers::Contains;

namespace {
std::vector<fx::Device> devices() { return fx::Device::list(); }
}  // namespace

TEST_CASE("saxpy written as a lambda runs on every device", "[jit]") {
  const fx::Device dev = GENERATE(from_range(devices()));
  INFO(dev.name());
  auto saxpy = fx::kernel("saxpy", [](fx::In<float> x, fx::InOut<float> y, fx::Float a) {
    auto i = fx::index();
    y[i] = a * x[i] + y[i];
  });
  auto x = dev.upload({1.f, 2.f, 3.f}), y = dev.upload({10.f, 20.f, 30.f});
  saxpy.over(3)(x, y, 2.f);
  saxpy(x, y, 1);
  saxpy.over(2)(x, y, 1.0);
  CHECK(y.host() == std::vector<float>{14, 28, 39});
  CHECK_THAT(saxpy.ir(), Contains("saxpy") && Contains("load"));
}

TEST_CASE("the implicit domain is that of the first array with as many axes", "[jit]") {
  const fx::Device dev = fx::Device::best();
  auto k = fx::kernel("outer", [](fx::In<float> x, fx::In<float> y, fx::Out<float, 2> z) {
    auto [i, j] = fx::index<2>();
    z(i, j) = x[i] * y[j];
  });
  auto z = dev.zeros<float>(2, 3);
  k(dev.upload({1.f, 2.f}), dev.upload({1.f, 10.f, 100.f}), z);
  CHECK(z.host() == std::vector<float>{1, 10, 100, 2, 20, 200});
  CHECK_THROWS_WITH(k.over(2)(dev.upload({1.f, 2.f}), dev.upload({1.f, 10.f, 100.f}), z), Contains("kernel.cpp") && Contains("2"));
}

TEST_CASE("an accumulator sums over all threads", "[jit]") {
  const fx::Device dev = GENERATE(from_range(devices()));
  auto k = fx::kernel("norm2", [](fx::In<double> x, fx::Accum<double> s) {
    fx::Double v = x[fx::index()];
    s[0] += v * v;
  });
  std::vector<double> h(1000);
  for (int i = 0; i < 1000; ++i) h[i] = i;
  auto s = dev.zeros<double>(1);
  k(dev.upload(h), s);
  CHECK(s.item() == 332833500.0);
}

TEST_CASE("a kernel that reads outside its array is told so with its line when run eagerly", "[jit]") {
  const fx::Device dev = fx::Device::best();
  auto k = fx::kernel("shift", [](fx::In<float> x, fx::Out<float> y) {
    auto i = fx::index();
    y[i] = x[i + 1];
  });
  auto x = dev.zeros<float>(3), y = dev.zeros<float>(3);
  CHECK_THROWS_WITH(k.eager()(x, y), Contains("kernel.cpp") && Contains("3"));
}

TEST_CASE("an eager launch prints", "[jit]") {
  static std::string said;
  said.clear();
  fx::set_print_sink([](std::string_view line, void*) { said += line; }, nullptr);
  const auto k = fx::kernel("k", [](fx::In<float> x) { fx::print("x is {}", x[fx::index()]); });
  k.eager()(fx::Device::best().upload({1.5f}));
  fx::set_print_sink(nullptr, nullptr);
  CHECK(said == "x is 1.5");
}

TEST_CASE("shape errors of whole buffers have the line of the user", "[jit]") {
  const fx::Device dev = fx::Device::best();
  const auto a = dev.zeros<float>(2), b = dev.zeros<float>(3);
  CHECK_THROWS_WITH(a + b, Contains("kernel.cpp:" + std::to_string(__LINE__)));
  CHECK_THROWS_WITH(a -= b, Contains("kernel.cpp:" + std::to_string(__LINE__)));
  CHECK_THROWS_WITH(a.copy_from(b), Contains("kernel.cpp:" + std::to_string(__LINE__)));
  CHECK_THROWS_WITH(a.set({1.f}), Contains("kernel.cpp:" + std::to_string(__LINE__)));
  CHECK_THROWS_WITH(b.item(), Contains("kernel.cpp:" + std::to_string(__LINE__)));
  CHECK_THROWS_WITH((fx::Buffer<int>(a)), Contains("kernel.cpp:" + std::to_string(__LINE__)));
  CHECK((2 * (a + 1) - a / 4.f).host() == std::vector<float>{2, 2});
  CHECK((-fx::ones_like(a)).host() == std::vector<float>{-1, -1});
}

TEST_CASE("a kernel is not launched while another one is captured", "[jit]") {
  const fx::Device dev = fx::Device::best();
  const auto inner = fx::kernel("inner", [](fx::InOut<float> y) { y[fx::index()] = 1.f; });
  const auto y = dev.zeros<float>(1);
  CHECK_THROWS_WITH(fx::kernel("outer",
                               [&](fx::InOut<float> x) {
                                 inner(y);
                                 x[fx::index()] = 2.f;
                               }),
                    Contains("kernel.cpp") && Contains("\"inner\"") && Contains("\"outer\" is captured"));
  CHECK(y.item() == 0.f);
}

TEST_CASE("kernels and programs that were never made say so", "[jit]") {
  const fx::Kernel<fx::InOut<float>> k;
  const fx::Program<fx::TypeList<>, fx::TypeList<fx::Buffer<float>>> p;
  const auto y = fx::Device::best().zeros<float>(1);
  CHECK_THROWS_WITH(k(y), Contains("empty kernel"));
  CHECK_THROWS_WITH(k.dump("llvm"), Contains("empty kernel"));
  CHECK_THROWS_WITH(fx::vjp(k), Contains("empty kernel"));
  CHECK_THROWS_WITH(p(y), Contains("empty program"));
  CHECK_THROWS_WITH(fx::vjp(p), Contains("empty program"));
  CHECK_THROWS_WITH(p.dump("ir", y), Contains("empty program"));
}

TEST_CASE("a failing check names kernel and place and values", "[jit]") {
  const fx::Device dev = GENERATE(from_range(devices()));
  const auto k = fx::kernel("weigh", [](fx::In<float> x) {
    auto i = fx::index();
    fx::check(x[i] > 0.f, "negative: {}", x[i]);
  });
  k(dev.upload({1.f, -2.5f}));
  CHECK_THROWS_WITH(dev.wait(), Contains("kernel.cpp:" + std::to_string(__LINE__ - 3) + ": kernel \"weigh\": negative: -2.5"));
}

TEST_CASE("a launch over more points than an array has is refused before it runs", "[jit][kernel][errors]") {
  for (const fx::Device& dev : {fx::Device::cpu(), fx::Device::reference()}) {
    const auto x = dev.zeros<float>(8), y = dev.zeros<float>(8), small = dev.zeros<float>(5);
    const int line = __LINE__ + 1;
    auto scale = fx::kernel("scale", [](fx::In<float> x, fx::Out<float> y) { y[fx::index()] = 2.f * x[fx::index()]; });
    CHECK_NOTHROW(scale.over(8)(x, y));
    CHECK_THROWS_WITH(scale.over(20)(x, y), Contains("kernel.cpp:" + std::to_string(__LINE__)) &&
                                                Contains("kernel \"scale\": index 19 along axis 0 of argument") &&
                                                Contains("kernel.cpp:" + std::to_string(line)) && Contains("but there are 8") &&
                                                Contains("the launch has 20 points along axis 0"));
    CHECK_THROWS_AS(scale(x, small), fx::ShapeError);
    CHECK_THROWS_AS(fx::vjp(scale).over(8)(x, small, x), fx::ShapeError);
    auto program = fx::program("p", [=](fx::Buffer<float> a) {
      auto b = fx::zeros<float>(2);
      scale.over(4)(a, b);
      return b;
    });
    CHECK_THROWS_AS(program(x), fx::ShapeError);
    // Behind an index, and under conditions and in loops, nobody can tell beforehand.
    auto shifted = fx::kernel("shifted", [](fx::In<float, 2> x, fx::Out<float, 2> y) {
      auto [i, j] = fx::index<2>();
      y(i, 2 * j + 1) = x(7 - i, j);
      fx::if_(i > 100, [&] { y(i, j) = 0.f; });
    });
    const auto wide = dev.zeros<float>(8, 9), square = dev.zeros<float>(8, 4);
    CHECK_NOTHROW(shifted.over(8, 4)(square, wide));
    CHECK_THROWS_WITH(shifted.over(9, 4)(square, wide), Contains("index -1 along axis 0 of argument 1"));
    CHECK_THROWS_WITH(shifted.over(8, 4)(square, square), Contains("index 7 along axis 1 of argument 2"));
    CHECK_NOTHROW(shifted.over(0, 4)(square, dev.zeros<float>(0, 9)));
    dev.wait();
  }
}
