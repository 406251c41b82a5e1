// Threads that work together, in the evaluator: groups, barriers, shared memory, subgroups, atomics, lanes, races.
#include <fluxion/capture.h>
#include <fluxion/error.h>
#include <fluxion/evaluate.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <numeric>
#include <random>
#include <vector>

namespace fx = fluxion;
using Catch::Contains;

namespace {

template <class L> std::shared_ptr<const fx::Function> grouped(const fx::Groups& groups, const L& lambda) {
  return fx::detail::capture_kernel("test", lambda, fx::Loc::here(), &groups);
}
template <class... T> void run(const fx::Function& f, std::array<std::int64_t, 3> domain, unsigned seed, std::vector<T>&... data) {
  const std::vector<fx::EvalMemory> memories = {
      {reinterpret_cast<std::byte*>(data.data()), {static_cast<std::int64_t>(data.size()), 1, 1}}...};
  fx::EvalOptions options;
  if (seed) {
    options.thread_order.resize(static_cast<std::size_t>(domain[0] * domain[1] * domain[2]));
    std::iota(options.thread_order.begin(), options.thread_order.end(), 0u);
    std::shuffle(options.thread_order.begin(), options.thread_order.end(), std::mt19937(seed));
  }
  fx::evaluate_kernel(f, domain, memories, {}, options);
}
/// What running the kernel throws; empty: nothing.
template <class... T> std::string error_of(const fx::Function& f, std::int64_t n, std::vector<T>&... data) {
  try {
    run(f, {n, 1, 1}, 0, data...);
  } catch (const fx::Error& e) { return e.what(); }
  return {};
}
std::vector<int> upto(int n) {
  std::vector<int> v(static_cast<std::size_t>(n));
  std::iota(v.begin(), v.end(), 0);
  return v;
}
}  // namespace

TEST_CASE("a tree in shared memory sums a group in any order of its threads", "[groups]") {
  const auto k = grouped(fx::groups(8), [](fx::In<int> x, fx::Out<int> sum) {
    fx::Shared<int, 8> part;
    auto t = fx::thread_index();
    part[t] = x[fx::index()];
    fx::barrier();
    for (auto round : fx::range(3)) {
      fx::Int step = 4 >> round;
      fx::if_(t < step, [&] { part[t] += part[t + step]; });
      fx::barrier();
    }
    fx::if_(t == 0, [&] { sum[fx::group_index()] = part[0]; });
  });
  for (unsigned seed : {0u, 1u, 2u}) {
    auto x = upto(32);
    std::vector<int> sum(4);
    run(*k, {32, 1, 1}, seed, x, sum);
    CHECK(sum == std::vector<int>{28, 92, 156, 220});
  }
}
TEST_CASE("groups over two axes know their place, and shared memory is made anew for each group", "[groups]") {
  const auto k = grouped(fx::groups(2, 3), [](fx::Out<int, 2> y, fx::Accum<int> stale) {
    fx::Shared<int, 6> seen;
    auto [i, j] = fx::index<2>();
    auto t = fx::thread_index<2>();
    auto g = fx::group_index<2>();
    fx::Int flat = t.x * 3 + t.y;
    stale[0] += seen[flat];
    seen[flat] = 1;
    fx::barrier();
    y(i, j) = g.x * 1000 + g.y * 100 + seen[5 - flat] * 10 + fx::subgroup_lane() + fx::group_size(1) - 3;
  });
  std::vector<int> y(4 * 6), stale(1);
  fx::EvalMemory memories[] = {{reinterpret_cast<std::byte*>(y.data()), {4, 6, 1}},
                               {reinterpret_cast<std::byte*>(stale.data()), {1, 1, 1}}};
  fx::evaluate_kernel(*k, {4, 6, 1}, memories, {});
  CHECK(stale[0] == 0);
  CHECK(y[0] == 10);
  CHECK(y[5] == 112);
  CHECK(y[6] == 13);
  CHECK(y[3 * 6 + 4] == 1114);
}
TEST_CASE("a loop with a barrier runs its rounds together", "[groups]") {
  const auto k = grouped(fx::groups(4), [](fx::InOut<int> x) {
    fx::Shared<int, 4> s;
    auto t = fx::thread_index();
    s[t] = x[fx::index()];
    fx::barrier();
    fx::Int i = 0;
    for ([[maybe_unused]] auto _ : fx::while_([&] { return i < 3; })) {
      fx::Int next = s[(t + 1) % 4];
      fx::barrier();
      s[t] = next;
      fx::barrier();
      i += 1;
    }
    x[fx::index()] = s[t];
  });
  auto x = upto(8);
  run(*k, {8, 1, 1}, 3, x);
  CHECK(x == std::vector<int>{3, 0, 1, 2, 7, 4, 5, 6});
}
TEST_CASE("subgroup ops work on the threads that come by together", "[groups]") {
  const auto k = grouped(fx::groups(40), [](fx::InOut<int> y) {
    auto i = fx::index();
    fx::Int v = i + 1, r = 0;
    fx::if_(i % 2 == 0, [&] { r = fx::subgroup_add(v); }).else_([&] { r = fx::subgroup_max(v) * 1000; });
    fx::Int loops = 0;
    for (auto t : fx::range(i % 3)) loops += fx::subgroup_add(fx::Int(1)) * (t + 1);
    y[i * 8] = r;
    y[i * 8 + 1] = fx::subgroup_scan_add(v);
    y[i * 8 + 2] = fx::subgroup_shuffle(v, 31 - fx::subgroup_lane());
    y[i * 8 + 3] = fx::subgroup_scatter_add(v, fx::subgroup_lane() / 2);
    y[i * 8 + 4] = fx::subgroup_broadcast(v, 3) + fx::subgroup_min(v) + fx::subgroup_xor(v);
    y[i * 8 + 5] = fx::Int(fx::subgroup_any(i == 35)) + 2 * fx::Int(fx::subgroup_all(i < 32));
    y[i * 8 + 6] = loops;
    y[i * 8 + 7] = fx::subgroup_shuffle_xor(v, 1) * 100 + fx::subgroup_shuffle_up(v, 1);
  });
  for (unsigned seed : {0u, 5u}) {
    std::vector<int> y(40 * 8);
    run(*k, {40, 1, 1}, seed, y);
    const auto at = [&](int i, int c) { return y[static_cast<std::size_t>(i * 8 + c)]; };
    CHECK(at(0, 0) == 256);
    CHECK(at(1, 0) == 32000);
    CHECK(at(32, 0) == 33 + 35 + 37 + 39);
    CHECK(at(31, 1) == 32 * 33 / 2);
    CHECK(at(33, 1) == 33 + 34);
    CHECK(at(0, 2) == 32);
    CHECK(at(32, 2) == 0);
    CHECK(at(3, 3) == 7 + 8);
    CHECK(at(20, 3) == 0);
    CHECK(at(32, 4) == 36 + 33 + (33 ^ 34 ^ 35 ^ 36 ^ 37 ^ 38 ^ 39 ^ 40));
    CHECK(at(5, 5) == 2);
    CHECK(at(38, 5) == 1);
    // 21 threads of 0 .. 31 have a first round, 10 a second
    CHECK(at(1, 6) == 21);
    CHECK(at(2, 6) == 21 + 2 * 10);
    CHECK(at(4, 7) == 604);
  }
}
TEST_CASE("atomics give the old number", "[groups]") {
  const auto k = fx::detail::capture_kernel(
      "atomics",
      [](fx::InOut<int> n, fx::InOut<fx::float2> p) {
        auto i = fx::index();
        n[0].atomic_add(1);
        fx::Int ticket = fx::atomic_add(n[1], 2);
        fx::atomic_max(n[2], i * 3 % 7);
        fx::atomic_min(n[3], -(i * 5 % 11));
        n[4].atomic_or(1 << i);
        n[5].atomic_xor(i);
        n[6].atomic_and(~(1 << i));
        fx::atomic_compare_exchange(n[7], 0, i + 1);
        n[8 + ticket / 2] = fx::atomic_exchange(n[18], i + 1);
        p[0].y.atomic_add(0.5f);
        p[0].x.atomic_max(fx::Float(i));
      },
      fx::Loc::here());
  std::vector<int> n(19);
  n[6] = -1;
  std::vector<float> p{0, 0};
  fx::EvalMemory memories[] = {{reinterpret_cast<std::byte*>(n.data()), {19, 1, 1}}, {reinterpret_cast<std::byte*>(p.data()), {1, 1, 1}}};
  fx::EvalOptions options;
  options.thread_order = {3, 1, 4, 0, 5, 9, 2, 6, 8, 7};
  fx::evaluate_kernel(*k, {10, 1, 1}, memories, {}, options);
  CHECK(n[0] == 10);
  CHECK(n[1] == 20);
  CHECK(n[2] == 6);
  CHECK(n[3] == -10);
  CHECK(n[4] == 1023);
  CHECK(n[5] == 1);
  CHECK(n[6] == ~1023);
  CHECK(n[7] == 4);
  std::vector<int> tickets(n.begin() + 8, n.begin() + 18);
  CHECK(tickets == std::vector<int>{0, 4, 2, 5, 1, 6, 10, 3, 7, 9});
  CHECK(n[18] == 8);
  CHECK(p == std::vector<float>{9, 5});
}
TEST_CASE("lanes share the local memory of their thread", "[groups]") {
  const auto k = fx::detail::capture_kernel(
      "lanes",
      [](fx::Out<int> y) {
        fx::Local<int, 8> a;
        for (auto j : fx::lanes(8)) a[j] = j * j;
        fx::Int sum = 0;
        for (auto j : fx::range(8)) sum += a[7 - j];
        y[fx::index()] = sum;
      },
      fx::Loc::here());
  std::vector<int> y(2);
  run(*k, {2, 1, 1}, 0, y);
  CHECK(y == std::vector<int>{140, 140});
}

// ---- races
TEST_CASE("a missing barrier is found with both lines", "[groups][races]") {
  const auto line = fx::Loc::here().line;
  const auto k = grouped(fx::groups(4), [](fx::In<int> x, fx::Out<int> y) {
    fx::Shared<int, 4> s;
    auto t = fx::thread_index();
    s[t] = x[fx::index()];
    y[fx::index()] = s[(t + 1) % 4];
  });
  auto x = upto(4);
  std::vector<int> y(4);
  const std::string e = error_of(*k, 4, x, y);
  CHECK_THAT(e, Contains("groups.cpp:" + std::to_string(line + 5) + ": ") || Contains("groups.cpp:" + std::to_string(line + 4) + ": "));
  CHECK_THAT(e, Contains("is shared by a group; put an fx::barrier() between the two"));
  CHECK_THAT(e, Contains("the other access: ") && Contains("groups.cpp:" + std::to_string(line + 4)));
}
TEST_CASE("what a barrier does not separate between groups is a race", "[groups][races]") {
  const auto k = grouped(fx::groups(2), [](fx::InOut<int> x) {
    auto i = fx::index();
    x[i] = i;
    fx::barrier();
    fx::Int v = x[(i + 1) % 4];
    fx::barrier();
    x[i] = v;
  });
  std::vector<int> x(4);
  CHECK_THAT(error_of(*k, 4, x), Contains("by group") && Contains("a barrier orders the threads of one group only"));
}
TEST_CASE("the same barriers inside one group are no race", "[groups][races]") {
  const auto k = grouped(fx::groups(4), [](fx::InOut<int> x) {
    auto i = fx::index();
    x[i] = i;
    fx::barrier();
    fx::Int v = x[fx::group_index() * 4 + (i + 1) % 4];
    fx::barrier();
    x[i] = v;
  });
  std::vector<int> x(8);
  CHECK(error_of(*k, 8, x) == "");
  CHECK(x == std::vector<int>{1, 2, 3, 0, 5, 6, 7, 4});
}
TEST_CASE("an atomic and a plain access of two threads are a race", "[groups][races]") {
  const auto load = fx::detail::capture_kernel(
      "load",
      [](fx::InOut<int> x, fx::Out<int> y) {
        x[0].atomic_add(1);
        y[fx::index()] = x[0];
      },
      fx::Loc::here());
  std::vector<int> x(1), y(2);
  CHECK_THAT(error_of(*load, 2, x, y), Contains("worked on by an atomic"));
  const auto mixed = fx::detail::capture_kernel(
      "mixed",
      [](fx::InOut<int> x, fx::Out<int> y) {
        x[0].atomic_add(1);
        y[fx::index()] = x[0].atomic_add(1);
      },
      fx::Loc::here());
  CHECK(error_of(*mixed, 2, x, y) == "");
  const auto both = fx::detail::capture_kernel(
      "both",
      [](fx::InOut<int> x) {
        x[0].atomic_add(1);
        x[0].accumulate(1);
      },
      fx::Loc::here());
  CHECK(error_of(*both, 2, x) == "");
  const auto minimum = fx::detail::capture_kernel(
      "minimum",
      [](fx::InOut<int> x) {
        x[0].atomic_min(1);
        x[0].accumulate(1);
      },
      fx::Loc::here());
  CHECK_THAT(error_of(*minimum, 2, x), Contains("accumulated to"));
}

// ---- misuse
namespace {
template <class L> std::string refusal(const fx::Groups* groups, const L& lambda) {
  try {
    fx::detail::capture_kernel("k", lambda, fx::Loc::here(), groups);
  } catch (const fx::KernelError& e) { return e.what(); }
  return "nothing was thrown";
}
const fx::Groups kFour = fx::groups(4);
}  // namespace

TEST_CASE("a barrier that surely parts the threads is refused at capture", "[groups][errors]") {
  const auto line = fx::Loc::here().line;
  const std::string e = refusal(&kFour, [](fx::InOut<int> x) {
    fx::if_(fx::thread_index() < 2, [&] {
      x[fx::index()] = 1;
      fx::barrier();
    });
  });
  CHECK_THAT(e, Contains("groups.cpp:" + std::to_string(line + 4) + ": ") && Contains("groups.cpp:" + std::to_string(line + 2)));
  CHECK_THAT(e, Contains("is not the same for threads 0 and 2"));
  CHECK_THAT(refusal(&kFour,
                     [](fx::InOut<int> x) {
                       for (auto r : fx::range(fx::index())) {
                         x[fx::index()] = r;
                         fx::barrier();
                       }
                     }),
             Contains("the number of rounds"));
  CHECK_THAT(refusal(&kFour,
                     [](fx::InOut<int> x) {
                       fx::return_if(fx::index() % 2 == 0);
                       x[fx::index()] = 1;
                       fx::barrier();
                     }),
             Contains("is not reached by all threads"));
}
TEST_CASE("a barrier that parts the threads for some data is found in the evaluator", "[groups][errors]") {
  const auto line = fx::Loc::here().line;
  const auto k = grouped(fx::groups(2), [](fx::In<int> n, fx::InOut<int> x) {
    fx::if_(n[fx::index()] > 0, [&] {
      x[fx::index()] += 1;
      fx::barrier();
    });
  });
  std::vector<int> same{1, 1, 0, 0}, other{1, 1, 0, 1}, x(4);
  CHECK(error_of(*k, 4, same, x) == "");
  const std::string e = error_of(*k, 4, other, x);
  CHECK_THAT(e, Contains("groups.cpp:" + std::to_string(line + 4) + ": ") && Contains("part at") &&
                    Contains("groups.cpp:" + std::to_string(line + 2)));
  CHECK_THAT(e, Contains("thread 3 reaches this barrier and thread 2 of its group does not"));
}
TEST_CASE("what needs groups says how to get them", "[groups][errors]") {
  CHECK_THAT(refusal(nullptr,
                     [](fx::Out<int> x) {
                       fx::barrier();
                       x[0] = 1;
                     }),
             Contains("fx::groups(64)"));
  CHECK_THAT(refusal(nullptr,
                     [](fx::Out<int> x) {
                       fx::Shared<int, 2> s;
                       x[0] = s[0];
                     }),
             Contains("a Shared in kernel"));
  CHECK_THAT(refusal(nullptr, [](fx::Out<int> x) { x[0] = fx::subgroup_add(fx::index()); }), Contains("a subgroup operation"));
  CHECK_THAT(refusal(&kFour,
                     [](fx::Out<int> x) {
                       for ([[maybe_unused]] auto i : fx::range(2)) {
                         fx::Shared<int, 2> s;
                         x[0] = s[0];
                       }
                     }),
             Contains("declare it at the top of the kernel"));
  CHECK_THAT(refusal(&kFour,
                     [](fx::Out<int, 2> x) {
                       auto [i, j] = fx::index<2>();
                       x(i, j) = 1;
                     }),
             Contains("index<2>()"));
  CHECK_THAT(refusal(nullptr, [](fx::Out<int> x) { x[0].atomic_add(1); }), Contains("declare the parameter InOut"));
  const fx::Groups many = fx::groups(64, 64);
  CHECK_THAT(refusal(&many, [](fx::Out<int, 2> x) { x(0, 0) = 1; }), Contains("groups of 64 x 64 threads"));
}
TEST_CASE("a lane that is not its own is refused", "[groups][errors]") {
  CHECK_THAT(refusal(nullptr,
                     [](fx::Out<int> x) {
                       fx::Int sum = 0;
                       for (auto j : fx::lanes(4)) sum += j;
                       x[0] = sum;
                     }),
             Contains("declared outside of fx::lanes"));
  CHECK_THAT(refusal(nullptr,
                     [](fx::Out<int> x) {
                       for (auto j : fx::lanes(4)) {
                         fx::break_if(j > 2);
                         x[j] = 1;
                       }
                     }),
             Contains("inside fx::lanes"));
}
TEST_CASE("a launch that groups do not divide is refused", "[groups][errors]") {
  const auto k = grouped(fx::groups(4), [](fx::Out<int> x) { x[fx::index()] = 1; });
  std::vector<int> x(6);
  CHECK_THAT(error_of(*k, 6, x), Contains("launch over 8"));
}
