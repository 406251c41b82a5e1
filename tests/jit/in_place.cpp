// An Out that takes over the memory of an In: only where no thread can read an element after it is written, whatever order
// passes and LLVM give to loads and stores.
#include "torture.h"

using namespace fluxion;
using namespace fluxion::testing;
namespace fx = fluxion;
using B = fx::Buffer<double>;

TEST_CASE("of two results neither takes over an array that only the other one needs", "[jit]") {
  // `second` alone needs x: stored first, `first` must not lie where x is.
  const auto k = fx::kernel("two", [](fx::In<double> a, fx::In<double> x, fx::Out<double> first, fx::Out<double> second) {
    auto i = fx::index();
    fx::Double u = a[i], v = x[i];
    first[i] = u + 1.0;
    second[i] = u * v;
  });
  const auto p = fx::program("p", [&](B a, B b) {
    auto x = b * 2.0;
    auto first = fx::empty_like(x);
    auto second = fx::empty_like(x);
    k.over(3)(a, x, first, second);
    return fx::sum(first) + fx::sum(second) * 10.0;
  });
  const auto a = Device::best().upload(std::vector<double>{1, 2, 3}), b = Device::best().upload(std::vector<double>{5, 7, 11});
  CHECK(p(a, b).host()[0] == Approx(9 + 10 * 2 * (5 + 14 + 33)));
}

TEST_CASE("the tangent of a product keeps its factors apart from its results", "[jit]") {
  const auto p = fx::program("p", [](B a) {
    auto y = a + a * 2.0;
    auto squares = fx::sum(fx::square(y));
    return squares * fx::sum(fx::stop_gradient(y));  // y is needed still, its tangent is not
  });
  const auto x = Device::best().upload(std::vector<double>{0.1, -0.4, 0.9}), v = Device::best().upload(std::vector<double>{1, 0, 0});
  const auto [y, dy] = fx::jvp(p)(x, v);
  CHECK(y.host()[0] == Approx(9 * 0.98 * 1.8));
  CHECK(dy.host()[0] == Approx(9 * 0.2 * 1.8));
}
