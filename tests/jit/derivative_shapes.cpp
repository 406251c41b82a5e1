// Derivatives of kernels, called by hand: a gradient, cotangent or tangent of another shape than what it belongs to is refused, with
// both shapes and the line of the call; a gradient that is too short would be written past its end.
#include "torture.h"

using namespace fluxion;
using namespace fluxion::testing;
namespace fx = fluxion;
using B = fx::Buffer<double>;

namespace {

B ones(int n) { return Device::best().upload(std::vector<double>(static_cast<std::size_t>(n), 1.0)); }
auto scale() {
  return fx::kernel("scale", [](fx::In<double> x, fx::Double a, fx::InOut<double> s, fx::Out<double> y) {
    auto i = fx::index();
    s[i] += a * x[i];
    y[i] = s[i] * x[i];
  });
}
/// True when it is refused with both shapes, a word and the line.
template <class F> bool says(const F& f, int is, int must, const std::string& word = "") {
  try {
    f();
  } catch (const fx::ShapeError& e) {
    const std::string text = e.what();
    UNSCOPED_INFO(text);
    for (const auto& part : {"[" + std::to_string(is) + "]", "[" + std::to_string(must) + "]", word, std::string("derivative_shapes.cpp")})
      if (text.find(part) == std::string::npos) return false;
    return true;
  }
  return false;
}

}  // namespace

TEST_CASE("gradients and cotangents of another shape than what they belong to are refused", "[jit]") {
  const auto g = fx::vjp(scale());  // x, a, s, s_bar, y_bar, x_bar, a_bar
  CHECK_NOTHROW(g.over(5)(ones(5), 2.0, ones(5), ones(5), ones(5), ones(5), ones(1)));
  CHECK(says([&] { g.over(5)(ones(5), 2.0, ones(5), ones(5), ones(5), ones(3), ones(1)); }, 3, 5, "p0_bar"));
  CHECK(says([&] { g.over(5)(ones(5), 2.0, ones(5), ones(4), ones(5), ones(5), ones(1)); }, 4, 5, "p2_bar"));
  CHECK(says([&] { fx::vjp(scale(), fx::wrt<0>).over(5)(ones(5), 2.0, ones(5), ones(5), ones(5), ones(6)); }, 6, 5));
  CHECK_NOTHROW(fx::vjp(scale(), fx::wrt<1>).over(5)(ones(5), 2.0, ones(5), ones(5), ones(5), ones(1)));
  const auto p =
      fx::program("p", [g](B x, B short_one) { g.over(5)(x, 2.0, fx::copy(x), fx::copy(x), x, short_one, fx::zeros<double>(1)); });
  CHECK(says([&] { p(ones(5), ones(2)); }, 2, 5));
  // The same array twice is one that is alike.
  const auto dot = fx::kernel("dot", [](fx::In<double> u, fx::In<double> v, fx::Accum<double> e) {
    auto i = fx::index();
    e[0] += u[i] * v[i];
  });
  CHECK(says([&] { fx::vjp(dot).over(5)(ones(5), ones(5), ones(1), ones(5), ones(1)); }, 1, 5));
}

TEST_CASE("tangents of another shape than what they belong to are refused at every order", "[jit]") {
  const auto t = fx::jvp(scale());  // x, a, s, y, then tangents
  CHECK_NOTHROW(t.over(5)(ones(5), 2.0, ones(5), ones(5), ones(5), 1.0, ones(5), ones(5)));
  CHECK(says([&] { t.over(5)(ones(5), 2.0, ones(5), ones(5), ones(4), 1.0, ones(5), ones(5)); }, 4, 5));
  CHECK(says([&] { t.over(5)(ones(5), 2.0, ones(5), ones(5), ones(5), 1.0, ones(5), ones(6)); }, 6, 5));
  const auto tg = fx::jvp(fx::vjp(scale(), fx::wrt<0>));  // x, a, s, s_bar, y_bar, x_bar, then tangents
  const auto call = [&](int x_bar, int x_bar_dot, int s_bar_dot) {
    tg.over(5)(ones(5), 2.0, ones(5), ones(5), ones(5), ones(x_bar), ones(5), 1.0, ones(5), ones(s_bar_dot), ones(5), ones(x_bar_dot));
  };
  CHECK_NOTHROW(call(5, 5, 5));
  CHECK(says([&] { call(4, 5, 5); }, 4, 5));
  CHECK(says([&] { call(5, 4, 5); }, 4, 5));
  CHECK(says([&] { call(5, 5, 4); }, 4, 5));
  const Device dev = Device::best();
  const auto line = fx::kernel("line", [](fx::In<double> x, fx::Out<double> y) {
    auto i = fx::index();
    y[i] = 2.0 * x[i];
  });
  auto y = dev.zeros<double>(5), d2 = ones(5);
  CHECK_NOTHROW(fx::jvp<3>(line).over(5)(ones(5), y, dev.zeros<double>(3, 5), dev.zeros<double>(3, 5)));
  CHECK_THROWS_WITH(fx::jvp<3>(line).over(5)(ones(5), y, dev.zeros<double>(3, 5), dev.zeros<double>(2, 5)),
                    Catch::Contains("[2, 5]") && Catch::Contains("[3, 5]"));
  const auto many = fx::vmap(fx::vjp(line));
  CHECK_NOTHROW(many.over(2, 5)(dev.zeros<double>(2, 5), dev.zeros<double>(2, 5), dev.zeros<double>(2, 5)));
  CHECK_THROWS_WITH(many.over(2, 5)(dev.zeros<double>(2, 5), dev.zeros<double>(2, 5), dev.zeros<double>(2, 4)),
                    Catch::Contains("[2, 4]") && Catch::Contains("[2, 5]"));
}
