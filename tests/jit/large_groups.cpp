// Groups of up to 1024 threads on the CPU: what the evaluator gives, in the kernel and its derivatives.
#include "torture.h"

using namespace fluxion::testing;
namespace fx = fluxion;

namespace {

/// Kernel, jvp and vjp on the devices against the evaluator, and the derivative against differences.
template <class K> void large(const K& k, const Arguments& a, std::array<std::int64_t, 3> domain) {
  const fx::detail::KernelHandle h = k.handle(), v = h.vjp({});
  CheckOptions o;
  o.domain = domain;
  right(*h.function(), a, o, "first order");
  same_on_devices(h, a, domain);
  same_on_devices(h.jvp(), jvp_arguments(*h.function(), a, 3), domain);
  same_on_devices(v, vjp_arguments(*h.function(), a, domain, 4), domain);
}

}  // namespace

TEST_CASE("a tree of sums in groups of 1024 threads", "[jit][groups]") {
  const auto k = fx::kernel("tree", fx::groups(1024), [](fx::In<double> x, fx::Accum<double> total) {
    fx::Shared<double, 1024> part;
    const auto t = fx::thread_index();
    part[t] = fx::sin(x[fx::index()]) * x[fx::index()];
    fx::barrier();
    for (auto round : fx::range(10)) {
      const fx::Int step = 512 >> round;
      fx::if_(t < step, [&] { part[t] += part[t + step]; });
      fx::barrier();
    }
    fx::if_(t == 0, [&] { total[0] += part[0]; });
  });
  large(k, {floats(2048), floats(1)}, {2048, 1, 1});
}

TEST_CASE("groups of 600 threads over two axes part and meet and reduce", "[jit][groups]") {
  const auto k = fx::kernel("reduce", fx::groups(20, 30), [](fx::In<double, 2> x, fx::InOut<double, 2> y) {
    fx::Shared<double, 30> column;
    const auto [i, j] = fx::index<2>();
    const auto [a, b] = fx::thread_index<2>();
    fx::Double v = x(i, j);
    for (auto t : fx::range(a % 4)) v = v * 0.9 + 0.01 * fx::cast<double>(t);
    fx::if_(b % 3 == 1, [&] { v = fx::subgroup_add(v) * 0.1; });
    column[b].atomic_add(v);
    fx::barrier();
    y(i, j) = y(i, j) * v + column[29 - b];
  });
  large(k, {floats({20, 60, 1}, 2), floats({20, 60, 1}, 2)}, {20, 60, 1});
}
