// The gradient torture list, rows 18 and 19: atomics; shared memory with barriers, subgroups. Then random kernels of groups.
#include "torture.h"

using namespace fluxion::testing;
namespace fx = fluxion;
using Catch::Contains;

namespace {

/// First order and both kinds of second order in the evaluator, with races watched and the threads in random order too; then
/// all that on the devices.
template <class K> void torture_groups(const K& kernel, const Arguments& a, const Torture& t, bool devices = true) {
  const fx::Function &k = *kernel.function(), j = fx::jvp(k), v = fx::vjp(k);
  CheckOptions o;
  o.domain = t.domain;
  o.differences = t.differences;
  o.step = t.step;
  right(k, a, o, "first order");
  if (devices) {
    const auto &h = kernel.handle(), reverse = h.vjp({});
    same_on_devices(h, a, t.domain);
    same_on_devices(h.jvp(), jvp_arguments(k, a, 3), t.domain);
    same_on_devices(reverse, vjp_arguments(k, a, t.domain, 4), t.domain);
    if (t.second) same_on_devices(reverse.vjp({}), vjp_arguments(v, vjp_arguments(k, a, t.domain, 4), t.domain, 6), t.domain);
  }
  if (!t.second) return;
  right(j, jvp_arguments(k, a, 3), o, "second order of jvp");
  right(v, vjp_arguments(k, a, t.domain, 4), o, "second order of vjp");
  const fx::Function p = program_of(k, a, t.domain);
  right(fx::vjp(p), vjp_arguments(p, a, t.domain, 3), o, "second order of vjp of the program");
}
template <class L> std::string refusal(const L& make) {
  try {
    make();
  } catch (const fx::KernelError& e) {
    CHECK(std::string(e.where().file).find("torture_groups.cpp") != std::string::npos);
    return e.what();
  }
  return "nothing was thrown";
}
std::string at_line(std::uint32_t line) { return "torture_groups.cpp:" + std::to_string(line) + ":"; }

template <template <class> class F>
struct Cell {
  F<double> mass;
  F<int> count;
  fx::Vec<F<double>, 2> momentum;
};
}  // namespace

// ---- row 18
TEST_CASE("torture 18: atomic additions into elements that meet", "[jit][torture]") {
  auto k = fx::kernel("row18_add", [](fx::In<double> x, fx::In<int> bin, fx::InOut<double> h, fx::InOut<int> count) {
    auto i = fx::index();
    fx::Double v = x[i];
    for (auto t : fx::range(i % 3)) h[(bin[i] + t) % 4].atomic_add(v * v);
    fx::atomic_add(h[bin[i]], fx::sin(v));
    fx::atomic_add(count[bin[i]], 1);
  });
  torture_groups(k, {floats(11), ints({0, 1, 2, 3, 0, 0, 1, 2, 2, 2, 3}), floats(4), ints({0, 0, 0, 0})}, {{11, 1, 1}});
}
TEST_CASE("torture 18: atomics on fields of structs", "[jit][torture]") {
  auto k = fx::kernel("row18_struct", [](fx::In<double> x, fx::InOut<Cell<fx::Host>> c) {
    auto i = fx::index();
    fx::Double v = x[i];
    auto at = i % 2;
    c[at].mass.atomic_add(v);
    c[at].momentum.x.atomic_add(v * x[(i + 1) % 7]);
    c[at].count.atomic_max(i);
  });
  Data cells = data({2, 1, 1}, 1, fx::detail::element_of<Cell<fx::Host>>());
  torture_groups(k, {floats(7), cells}, {{7, 1, 1}});
}
TEST_CASE("torture 18: atomics in shared memory between barriers", "[jit][torture]") {
  auto k = fx::kernel("row18_shared", fx::groups(6), [](fx::In<double> x, fx::Out<double> y) {
    fx::Shared<double, 3> sum;
    fx::Shared<int, 1> tickets;
    fx::Shared<double, 6> queue;
    auto t = fx::thread_index();
    fx::Double v = x[fx::index()];
    sum[t % 3].atomic_add(v * v);
    fx::Int slot = tickets[0].atomic_add(1);  // an integer, found once and kept for the reverse
    queue[slot] = fx::exp(v);
    fx::barrier();
    fx::Double all = 0;
    for (auto j : fx::range(6)) all += queue[j] * queue[(j + 1) % 6 * 0 + j];
    y[fx::index()] = sum[(t + 1) % 3] * v + all;
  });
  torture_groups(k, {floats(12), floats(12)}, {{12, 1, 1}});
}
TEST_CASE("torture 18: an integer found by atomics chooses nothing that flows", "[jit][torture]") {
  auto k = fx::kernel("row18_integers", [](fx::In<double> x, fx::InOut<int> n, fx::Out<double> y) {
    auto i = fx::index();
    fx::atomic_min(n[0], i);
    fx::atomic_or(n[1], i);
    fx::atomic_xor(n[2], i);
    y[i] = x[i] * x[i];
  });
  torture_groups(k, {floats(5), ints({9, 0, 0}), floats(5)}, {{5, 1, 1}});
}
TEST_CASE("torture 18: what depends on the order of threads is refused with its line", "[jit][torture]") {
  const auto line = fx::Loc::here().line;
  auto exchange = fx::kernel("exchange", [](fx::In<double> x, fx::InOut<double> y) { y[0].atomic_exchange(x[fx::index()]); });
  auto swap = fx::kernel("swap", [](fx::In<double> x, fx::InOut<double> y) { y[0].atomic_compare_exchange(0.0, x[fx::index()]); });
  auto old = fx::kernel("old", [](fx::In<double> x, fx::InOut<double> y, fx::Out<double> z) {
    fx::Double before = y[0].atomic_add(x[fx::index()]);
    z[fx::index()] = before * 2.0;
  });
  auto ticket = fx::kernel("ticket", [](fx::In<double> x, fx::InOut<int> n, fx::Out<double> y) { y[n[0].atomic_add(1)] = x[fx::index()]; });
  auto most = fx::kernel(
      "most", [](fx::In<double> x, fx::InOut<double> y, fx::Out<double> z) { z[fx::index()] = y[0].atomic_max(x[fx::index()]); });
  for (const bool forward : {false, true}) {
    const auto derive = [&](const auto& k) { return refusal([&] { forward ? fx::jvp(*k.function()) : fx::vjp(*k.function()); }); };
    CHECK_THAT(derive(exchange), Contains(at_line(line + 1)) && Contains("atomic_exchange"));
    CHECK_THAT(derive(swap), Contains(at_line(line + 2)) && Contains("atomic_compare_exchange"));
    CHECK_THAT(derive(most), Contains(at_line(line + 9)) && Contains("atomic_max"));
    CHECK_THAT(derive(old), Contains(at_line(line + 4)) && Contains("is used"));
  }
  CHECK_THAT(refusal([&] { fx::vjp(*ticket.function()); }), Contains(at_line(line + 7)) && Contains("pass it as an In"));
  auto ranks = fx::kernel("ranks", [](fx::In<double> x, fx::InOut<int> n, fx::Out<int> rank, fx::Out<double> y) {
    rank[fx::index()] = n[0].atomic_add(1) * 2;  // numbers that nothing of the derivative depends on
    y[fx::index()] = x[fx::index()] * x[fx::index()];
  });
  CHECK(refusal([&] { fx::vjp(*ranks.function()); }) == "nothing was thrown");
  CheckOptions o;
  o.domain = {4, 1, 1};
  o.reverse = false;
  CHECK(check(*ticket.function(), {floats(4), ints({0}), floats(4)}, o).differences < 1e-7);
}
TEST_CASE("torture 18: min and max in shared memory go to the first winner", "[jit][torture]") {
  auto k = fx::kernel("row18_minmax", fx::groups(6), [](fx::In<double> x, fx::In<int> bin, fx::Out<double> y) {
    fx::Shared<double, 2> most;
    fx::Shared<fx::double2, 2> least;
    auto i = fx::index();
    fx::Double v = x[i];
    most[bin[i]].atomic_max(v * v);
    least[bin[i]].y.atomic_min(fx::sin(v));
    fx::barrier();
    for (auto r : fx::range(2)) {
      fx::Double seen = most[r] + v;
      fx::barrier();
      most[1 - bin[i]].atomic_max(seen * 0.9);
      fx::barrier();
    }
    y[i] = most[0] * least[bin[i]].y + most[1] * v;
  });
  torture_groups(k, {floats(12), ints({0, 1, 1, 0, 1, 0, 0, 0, 1, 1, 0, 1}), floats(12)}, {{12, 1, 1}});
  auto ties = fx::kernel("ties", fx::groups(4), [](fx::In<double> x, fx::Out<double> y) {
    fx::Shared<double, 1> most;
    most[0].atomic_max(x[fx::index()]);
    fx::barrier();
    y[fx::index()] = most[0];
  });
  auto dev = fx::Device::reference();
  auto x = dev.upload({1.0, 3.0, 3.0, -1.0}), seed = dev.upload({1.0, 2.0, 3.0, 4.0}), g = dev.zeros<double>(4);
  fx::vjp(ties).over(4)(x, seed, g);
  CHECK(g.host() == std::vector<double>{0, 10, 0, 0});
}
TEST_CASE("torture 18: atomics under stop_grad are constants", "[jit][torture]") {
  auto k = fx::kernel("constant_atomics", fx::groups(4), [](fx::In<double> x, fx::Out<double> y) {
    fx::Shared<double, 1> most;
    auto i = fx::index();
    fx::Double v = x[i];
    most[0].atomic_max(fx::stop_grad(v * v));
    fx::barrier();
    y[i] = v * v * v / (most[0] + 1.0);
  });
  torture_groups(k, {floats(8), floats(8)}, {{8, 1, 1}, false});
}

// ---- row 19
TEST_CASE("torture 19: a tree of sums in shared memory", "[jit][torture]") {
  auto k = fx::kernel("row19_tree", fx::groups(8), [](fx::In<double> x, fx::Out<double> y, fx::Accum<double> total) {
    fx::Shared<double, 8> part;
    auto t = fx::thread_index();
    part[t] = fx::sin(x[fx::index()]) * 2.0;
    fx::barrier();
    for (auto round : fx::range(3)) {
      fx::Int step = 4 >> round;
      fx::if_(t < step, [&] { part[t] += part[t] * part[t + step]; });
      fx::barrier();
    }
    y[fx::index()] = part[0] * x[fx::index()];
    fx::if_(t == 0, [&] { total[0] += part[0] * part[1]; });
  });
  torture_groups(k, {floats(16), floats(16), floats(1)}, {{16, 1, 1}});
}
TEST_CASE("torture 19: time steps of a stencil with a halo in shared memory", "[jit][torture]") {
  auto k = fx::kernel("row19_stencil", fx::groups(6), [](fx::In<double> x, fx::Out<double> y, fx::Double c, fx::Int steps) {
    fx::Shared<double, 8> u;
    auto t = fx::thread_index();
    auto i = fx::index();
    u[t + 1] = x[i];
    fx::if_(t == 0, [&] { u[0] = x[fx::max(i - 1, 0)]; });
    fx::if_(t == 5, [&] { u[7] = x[fx::min(i + 1, 11)]; });
    fx::barrier();
    for ([[maybe_unused]] auto s : fx::range(steps)) {
      fx::Double next = u[t + 1] + c * (u[t] * u[t + 2] - u[t + 1] * u[t + 1]);
      fx::barrier();
      u[t + 1] = next;
      fx::barrier();
    }
    y[i] = u[t + 1];
  });
  torture_groups(k, {floats(12), floats(12), scalar(0.3), scalar(4)}, {{12, 1, 1}});
}
TEST_CASE("torture 19: three barriers with own then read then accumulated elements", "[jit][torture]") {
  auto k = fx::kernel("row19_classes", fx::groups(5), [](fx::In<double> x, fx::InOut<double> y) {
    fx::Shared<double, 5> a;
    fx::Shared<double, 2> b;
    fx::Shared<fx::double2, 5> c;
    auto t = fx::thread_index();
    auto i = fx::index();
    fx::Double v = x[i];
    a[(t * 2) % 5] = v * y[i];
    a[(t * 2) % 5] *= v;  // own, twice
    fx::barrier();
    b[t % 2].accumulate(a[t] * a[(t + 1) % 5] * a[0]);  // a is read by many, b added to
    fx::barrier();
    c[t].x = b[0] * b[1];  // b is read by all
    c[t].y = a[t] + v;
    a[t] = b[t % 2] * v;  // overwritten
    fx::barrier();
    y[i] = c[4 - t].x * c[4 - t].y + a[(t + 3) % 5] * y[i];
  });
  torture_groups(k, {floats(10), floats(10)}, {{10, 1, 1}});
}
TEST_CASE("torture 19: arrays in place with barriers between the threads of a group", "[jit][torture]") {
  auto k = fx::kernel("row19_inplace", fx::groups(4), [](fx::InOut<double> x, fx::Out<double> y) {
    auto i = fx::index();
    auto first = fx::group_index() * 4;
    for ([[maybe_unused]] auto s : fx::range(3)) {
      fx::Double v = x[first + (i - first + 1) % 4] * x[i];
      fx::barrier();
      x[i] = fx::sin(v) + x[i];
      fx::barrier();
    }
    y[first + 3 - (i - first)] = x[i];
    fx::barrier();
    y[i] = y[i] * x[first];
  });
  torture_groups(k, {floats(8), floats(8)}, {{8, 1, 1}});
}
TEST_CASE("torture 19: what a neighbour changes between barriers is read again", "[jit][torture]") {
  auto k = fx::kernel("row19_neighbour", fx::groups(4), [](fx::InOut<double> x, fx::Out<double> y) {
    auto i = fx::index();
    auto t = fx::thread_index();
    auto first = fx::group_index() * 5;  // a group has an element more than threads
    fx::Double before = x[first + t + 1];
    fx::barrier();
    x[first + t] = fx::sin(before) * x[first + t];
    fx::barrier();
    fx::Double after = x[first + t + 1];  // the same place
    fx::Double sum = before * after;
    for ([[maybe_unused]] auto s : fx::range(3)) {
      fx::barrier();
      x[first + t] = x[first + t] * sum + 0.1;
      fx::barrier();
      sum += x[first + 3 - t];
    }
    y[i] = sum;
  });
  torture_groups(k, {floats(10), floats(8)}, {{8, 1, 1}});
}
TEST_CASE("torture 19: subgroup reductions scans and shuffles", "[jit][torture]") {
  auto k = fx::kernel("row19_subgroup", fx::groups(36), [](fx::In<double> x, fx::In<int> lane, fx::Out<double> y) {
    auto i = fx::index();
    fx::Double v = x[i], w = fx::sin(v) + 1.5;
    fx::Double sum = fx::subgroup_add(v * w);
    fx::Double scan = fx::subgroup_scan_add(w * w);
    fx::Double far = fx::subgroup_shuffle(v * v, lane[i]) * fx::subgroup_broadcast(w, 2);
    fx::Double back = fx::subgroup_scatter_add(v * sum, lane[i]);
    fx::Double ends = fx::subgroup_max(w) * fx::subgroup_min(v);
    fx::Double near = fx::subgroup_shuffle_xor(v, 1) - fx::subgroup_shuffle_down(w, 3) * fx::subgroup_shuffle_up(v, 2);
    y[i] = sum * v + scan * far + back * ends + near * near;
  });
  std::vector<int> lane;
  for (int i = 0; i < 72; ++i) lane.push_back((i * 7 + 3) % 40 - 2);
  torture_groups(k, {floats(72), ints(lane), floats(72)}, {{72, 1, 1}});
}
TEST_CASE("torture 19: subgroup ops where threads part", "[jit][torture]") {
  auto k = fx::kernel("row19_parted", fx::groups(10), [](fx::In<double> x, fx::In<int> n, fx::Out<double> y) {
    auto i = fx::index();
    fx::Double v = x[i], r = 0.5;
    fx::if_(i % 3 == 0, [&] { r = fx::subgroup_add(v * v); }).else_([&] { r = fx::subgroup_scan_add(v) * v; });
    for (auto t : fx::range(n[i])) r += fx::subgroup_add(r * v) * 0.1 + fx::Double(t) * v;  // threads leave at different rounds
    fx::Int left = n[i];
    for ([[maybe_unused]] auto _ : fx::while_([&] { return left > 0; })) {
      r = fx::subgroup_max(r) * v + fx::subgroup_shuffle(r, 3);
      left -= 1;
    }
    for (auto t : fx::range(n[i], 0, -1)) r = fx::sin(fx::subgroup_add(r) + fx::Double(t) * v);
    y[i] = r;
  });
  torture_groups(k, {floats(10), ints({2, 0, 1, 3, 1, 2, 0, 0, 3, 1}), floats(10)}, {{10, 1, 1}});
}
TEST_CASE("torture 19: min and max of equal numbers give the derivative to the first thread", "[jit][torture]") {
  auto k = fx::kernel("row19_ties", fx::groups(4), [](fx::In<double> x, fx::Out<double> y) {
    auto i = fx::index();
    y[i] = fx::subgroup_max(x[i]) * 10.0 + fx::subgroup_min(x[i]);
  });
  auto dev = fx::Device::reference();
  auto x = dev.upload({1.0, 2.0, 2.0, 1.0}), seed = dev.upload({1.0, 1.0, 1.0, 1.0}), g = dev.zeros<double>(4);
  fx::vjp(k).over(4)(x, seed, g);
  CHECK(g.host() == std::vector<double>{4, 40, 0, 0});
}
TEST_CASE("torture 19: lanes of a thread and its local array", "[jit][torture]") {
  auto k = fx::kernel("row19_lanes", [](fx::In<double> x, fx::Out<double> y) {
    auto i = fx::index();
    fx::Local<double, 6> a;
    for (auto j : fx::lanes(6)) a[j] = x[i] * fx::Double(j) + x[(i + j) % 5];
    fx::Double s = 0;
    for (auto j : fx::range(6)) s += a[j] * a[5 - j];
    y[i] = s;
  });
  torture_groups(k, {floats(5), floats(5)}, {{5, 1, 1}});
}

TEST_CASE("torture 19: programs launch kernels of groups step after step", "[jit][torture]") {
  auto smooth = fx::kernel("smooth", fx::groups(4), [](fx::InOut<double> x) {
    fx::Shared<double, 4> s;
    auto t = fx::thread_index();
    s[t] = x[fx::index()];
    fx::barrier();
    x[fx::index()] = s[t] * s[(t + 1) % 4] * 0.5 + s[t];
  });
  auto square = fx::kernel("square", fx::groups(4), [](fx::In<double> x, fx::Accum<double> loss) {
    fx::Double sum = fx::subgroup_add(x[fx::index()] * x[fx::index()]);
    fx::if_(fx::thread_index() == 0, [&] { loss[0] += sum; });
  });
  const auto make = [&](int steps) {
    return fx::program("steps", [&smooth, &square, steps](fx::Buffer<double> x0) {
      auto x = fx::zeros<double>(8);
      x.copy_from(x0);
      for ([[maybe_unused]] auto t : fx::range(steps)) smooth.over(8)(x);
      auto loss = fx::zeros<double>(1);
      square.over(8)(x, loss);
      return loss;
    });
  };
  const std::vector<double> at{0.5, -0.2, 0.3, 0.9, -0.4, 0.1, 0.7, -0.6};
  for (auto& dev : {fx::Device::best(), fx::Device::reference()}) {
    auto p = make(5);
    auto [loss, g] = fx::value_and_grad(p)(dev.upload(at));
    const auto slope = g.host();
    for (std::size_t i = 0; i < at.size(); ++i) {
      const auto value = [&](double by) {
        auto x = at;
        x[i] += by;
        return p(dev.upload(x)).item();
      };
      CHECK(slope[i] == Approx((value(1e-5) - value(-1e-5)) / 2e-5).epsilon(1e-6));
    }
  }
}
TEST_CASE("a launch that groups do not divide is refused with its line", "[jit][errors]") {
  auto k = fx::kernel("k", fx::groups(4), [](fx::Out<double> x) { x[fx::index()] = 1.0; });
  auto x = fx::Device::reference().zeros<double>(6);
  const auto line = fx::Loc::here().line;
  try {
    k.over(6)(x);
    FAIL("nothing was thrown");
  } catch (const fx::ShapeError& e) { CHECK_THAT(e.what(), Contains(at_line(line + 2)) && Contains("launch over 8")); }
}

// ---- random kernels: phases in which each array has one class, with a barrier between
namespace {
constexpr int kThreads = 6;
fx::Kernel<fx::In<double>, fx::InOut<double>, fx::Accum<double>> random_kernel(unsigned seed) {
  return fx::kernel("random_groups", fx::groups(kThreads), [=](fx::In<double> x, fx::InOut<double> z, fx::Accum<double> total) {
    std::mt19937 random(seed);
    const auto below = [&](int n) { return static_cast<int>(random() % static_cast<unsigned>(n)); };
    fx::Shared<double, kThreads> s[2];
    auto i = fx::index();
    auto t = fx::thread_index();
    fx::Double r[2] = {x[i], z[i]};
    const auto mix = [&] {
      fx::Double &a = r[below(2)], &b = r[below(2)];
      switch (below(8)) {
        case 0: a = fx::sin(a + b); break;
        case 1: a = a * b * 0.5; break;
        case 2: a = fx::subgroup_add(b) * 0.2; break;
        case 3: fx::if_(t % 3 == below(3), [&] { a = fx::subgroup_scan_add(b) * 0.3 + a; }); break;
        case 4: a = fx::subgroup_shuffle(a * b, (t + below(kThreads)) % kThreads) + 0.1; break;
        case 5: a = b + fx::subgroup_max(a) * 0.5; break;
        case 6: total[below(2)] += a * b; break;
        default: a = fx::select(t < below(kThreads), b, a * 0.7); break;
      }
    };
    const auto phase = [&](auto&& self, int depth) -> void {
      fx::barrier();
      for (int m = 0; m < 2; ++m) {
        fx::Double& v = r[below(2)];
        const int shift = below(kThreads);
        auto own = (t * (below(2) ? 1 : 5) + shift) % kThreads;
        switch (below(4)) {
          case 0: s[m][own] = v; break;
          case 1: v = v * 0.5 + s[m][(t / 2 + shift) % kThreads]; break;
          case 2: below(2) ? s[m][t / (1 + below(3))].accumulate(v * 0.5) : (void)s[m][t / (1 + below(3))].atomic_add(v * 0.5); break;
          default: s[m][own] = fx::sin(s[m][own] * v) * 0.8; break;
        }
        mix();
        for (fx::Double& q : r) q = fx::sin(q * 0.6);  // stay where differences can be taken
      }
      if (depth > 0 && below(2)) {
        for ([[maybe_unused]] auto round : fx::range(1 + below(3)))
          for (int n = 1 + below(2); n > 0; --n) self(self, depth - 1);
      }
      if (depth > 0 && below(3) == 0) fx::if_(fx::group_index() % 2 == below(2), [&] { self(self, depth - 1); });
    };
    for (int n = 0; n < 4; ++n) phase(phase, 2);
    z[i] = r[0] + r[1] * z[i];
  });
}
}  // namespace

TEST_CASE("random kernels of groups have right derivatives in any order of threads", "[jit][torture][fuzz]") {
  for (unsigned seed = 1; seed <= 60; ++seed) {
    INFO("seed " << seed);
    const auto k = random_kernel(seed);
    torture_groups(k, {floats(2 * kThreads), floats(2 * kThreads), floats(2)}, {{2 * kThreads, 1, 1}, true, seed % 4 == 0, 3e-5},
                   seed % 20 == 0);
  }
}
