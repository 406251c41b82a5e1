// FLUXION_DEBUG=race: native code finds what the evaluator finds, and says it in the same words. Which of two threads comes first
// may differ: lanes go through the kernel together.
#include <catch2/catch.hpp>

#include <cstdlib>

#include "fluxion/fluxion.h"
#include "inputs.h"

namespace fx = fluxion;
using Catch::Contains;
using fluxion::testing::Debug;
using fluxion::testing::devices;

namespace {

/// What `run` reports in native code; "" where it reports nothing. The evaluator must agree.
template <class F> std::string report(const F& run) {
  const Debug race("race");
  std::string text[2];
  for (int k : {0, 1}) {
    try {
      run(devices()[k]);
      devices()[k].wait();
    } catch (const fx::KernelError& e) { text[k] = e.what(); }
  }
  CHECK(text[0].empty() == text[1].empty());
  return text[0];
}

}  // namespace

TEST_CASE("a race that an index brings about is found in native code and both lines are named", "[jit][race]") {
  int read = 0, written = 0;
  const auto shift = [&](int by) {
    return report([&](const fx::Device& dev) {
      const auto k = fx::kernel("shift", [&](fx::In<int> to, fx::InOut<float> y) {
        const auto i = fx::index();
        read = __LINE__ + 1;
        const fx::Float v = y[i];
        written = __LINE__ + 1;
        y[to[i]] = v + 1.f;
      });
      std::vector<int> to(1000);
      for (int i = 0; i < 1000; ++i) to[static_cast<std::size_t>(i)] = i == 900 ? i + by : i;
      k.over(1000)(dev.upload(to), dev.zeros<float>(1000));
    });
  };
  CHECK(shift(0) == "");
  const std::string text = shift(1);
  CHECK_THAT(text, Contains("p1[901]") && Contains("kernel \"shift\"") && Contains("races.cpp:" + std::to_string(written)) &&
                       Contains("races.cpp:" + std::to_string(read)) && Contains("p1 is inout"));
}

TEST_CASE("accumulates and atomics may meet and a store among them may not", "[jit][race]") {
  const auto meet = [&](bool store, bool add) {
    return report([&](const fx::Device& dev) {
      const auto k = fx::kernel("meet", [&](fx::InOut<float, 2> y, fx::InOut<int> n) {
        const auto i = fx::index();
        fx::if_(i < 40, [&] { y(i % 3, 1).atomic_add(1.f); });
        if (store) fx::if_(i == 50, [&] { y(2, 1) = 0.f; });
        if (add) n[i % 2] += 1;
        fx::atomic_add(n[i % 2], 1);
      });
      k.over(64)(dev.zeros<float>(3, 2), dev.zeros<int>(2));
    });
  };
  CHECK(meet(false, false) == "");
  CHECK_THAT(meet(true, false), Contains("p0[2, 1] is stored to by thread 50 and worked on by an atomic by another"));
}

TEST_CASE("a missing barrier and groups that meet are found in native code", "[jit][race]") {
  const auto sum = [&](bool barrier, bool apart) {
    return report([&](const fx::Device& dev) {
      const auto k = fx::kernel("sum", fx::groups(8), [&](fx::In<float> x, fx::InOut<float> y) {
        fx::Shared<float, 8> part;
        const auto t = fx::thread_index();
        part[t] = x[fx::index()];
        if (barrier) fx::barrier();
        fx::Float s = part[7 - t];
        fx::if_(t == 0, [&] { y[apart ? fx::Int(fx::group_index()) : fx::Int(0)] = s; });
      });
      k.over(24)(dev.zeros<float>(24), dev.zeros<float>(3));
    });
  };
  CHECK(sum(true, true) == "");
  CHECK_THAT(sum(false, true), Contains("shared by a group") && Contains("put an fx::barrier() between the two"));
  CHECK_THAT(sum(true, false), Contains("p1[0] is stored to by group 1") && Contains("launch the groups that meet separately"));
}

TEST_CASE("an Out that is read before it is stored and races of programs and derivatives are found in native code", "[jit][race]") {
  CHECK_THAT(report([&](const fx::Device& dev) {
               const auto k = fx::kernel("early", [](fx::Out<float> y) {
                 const auto i = fx::index();
                 y[i] = fx::Float(y[i]) + 1.f;
               });
               k.over(4)(dev.zeros<float>(4));
             }),
             Contains("is Out and is read before it is stored"));
  const Debug race("race");
  const fx::Device dev = fx::Device::best();
  const auto blur = fx::kernel("blur", [](fx::InOut<double> y, fx::In<double> x) {
    const auto i = fx::index();
    y[i] = x[i] + x[fx::max(i - 1, 0)] * x[fx::min(i + 1, 9999)];
  });
  const auto x = dev.zeros<double>(10000), y = dev.zeros<double>(10000), g = dev.zeros<double>(10000);
  fx::vjp(blur).over(10000)(x, x, y, g);
  CHECK_NOTHROW(dev.wait());
  const auto smear = fx::kernel("smear", [](fx::InOut<double> v) {
    const auto i = fx::index();
    v[i] = v[fx::max(i - 1, 0)];
  });
  const auto p = fx::program("p", [&](fx::Buffer<double> v) {
    for ([[maybe_unused]] auto t : fx::range(3)) smear.over(16)(v);
  });
  CHECK_THROWS_WITH((p(dev.zeros<double>(16)), dev.wait()), Contains("kernel \"smear\"") && Contains("races.cpp"));
}

TEST_CASE("two stores and a store beside an addition and a read beside an addition are races with both lines", "[jit][race]") {
  int first = 0, second = 0;
  const auto named = [&](const std::string& text, const char* what) {
    INFO(text);
    CHECK_THAT(text, Contains(what) && Contains("races.cpp:" + std::to_string(first)) && Contains("races.cpp:" + std::to_string(second)));
  };
  const std::vector<int> to{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 2};
  const auto meet = [&](const auto& body) {
    return report([&](const fx::Device& dev) {
      const auto k = fx::kernel("meet", [&](fx::In<int> at, fx::InOut<float> y) {
        const auto i = fx::index();
        body(i, at, y);
      });
      k.over(16)(dev.upload(to), dev.zeros<float>(16));
    });
  };
  named(meet([&](auto& i, auto& at, auto& y) {
          first = second = __LINE__ + 1;
          y[at[i]] = 1.f;
        }),
        "p1[2] is stored to by thread 15 and stored to by another (first by thread 2)");
  named(meet([&](auto& i, auto& at, auto& y) {
          first = __LINE__ + 1;
          fx::if_(i != 15, [&] { y[at[i]] = 1.f; });
          second = __LINE__ + 1;
          fx::if_(i == 15, [&] { y[at[i]] = 2.f; });
        }),
        "p1[2] is stored to by thread 15 and stored to by another (first by thread 2)");
  named(meet([&](auto& i, auto& at, auto& y) {
          first = __LINE__ + 1;
          fx::if_(i < 15, [&] { y[at[i]].atomic_add(1.f); });
          second = __LINE__ + 1;
          const fx::Float v = fx::if_(i == 15, [&] { return fx::Float(y[at[i]]); }, [&] { return fx::Float(0.f); });
          fx::if_(v > 100.f, [&] { y[15].atomic_add(v); });
        }),
        "p1[2] is read by thread 15 and worked on by an atomic by another");
  named(meet([&](auto& i, auto& at, auto& y) {
          first = __LINE__ + 1;
          fx::if_(i < 15, [&] { y[at[i]].atomic_add(1.f); });
          second = __LINE__ + 1;
          fx::if_(i == 15, [&] { y[at[i]] = 1.f; });
        }),
        "p1[2] is stored to by thread 15 and worked on by an atomic by another");
}

TEST_CASE("nan and race and bounds look at one kernel together", "[jit][race][nan]") {
  const fx::Device dev = GENERATE(fx::Device::best(), fx::Device::reference());
  const Debug all("nan,race,bounds");
  int root = 0, read = 0, stored = 0;
  const auto k = fx::kernel("all", [&](fx::In<int> to, fx::In<float> x, fx::InOut<float> y) {
    const auto i = fx::index();
    read = __LINE__ + 1;
    const fx::Int t = to[i];
    root = __LINE__ + 1;
    const fx::Float v = fx::sqrt(x[i]);
    stored = __LINE__ + 1;
    y[t] = v;
  });
  const auto run = [&](const std::vector<int>& to, const std::vector<float>& x, int n) {
    try {
      k.over(n)(dev.upload(to), dev.upload(x), dev.zeros<float>(4));
      dev.wait();
    } catch (const fx::KernelError& e) { return std::string(e.what()); }
    return std::string();
  };
  const auto line = [](int l) { return "races.cpp:" + std::to_string(l); };
  CHECK(run({3, 2, 1, 0}, {1, 2, 3, 4}, 4) == "");
  CHECK_THAT(run({3, 2, 1, 0}, {1, 2, -3, 4}, 4), Contains(line(root)) && Contains("sqrt(-3) = nan"));
  CHECK_THAT(run({3, 2, 1, 2}, {1, 2, 3, 4}, 4),
             Contains(line(stored)) && Contains("p2[2] is stored to by thread 3 and stored to by another"));
  CHECK_THAT(run({3, 2, 1, 4}, {1, 2, 3, 4}, 4), Contains(line(stored)) && Contains("4"));
  CHECK_THAT(run({3, 2, 1}, {1, 2, 3, 4}, 4), Contains(line(read)));
  // In the derivative, and in a program: its launches share one compiled object.
  const auto d = fx::vjp(k);
  d.over(4)(dev.upload({3, 2, 1, 0}), dev.upload({1.f, 0.f, 4.f, 1.f}), dev.zeros<float>(4), dev.upload({1.f, 1.f, 0.f, 1.f}),
            dev.zeros<float>(4));
  CHECK_THROWS_WITH(dev.wait(), Contains(line(root)) && Contains("cotangent 0 * partial inf = nan"));
  const auto p = fx::program("p", [&](fx::Buffer<int> to, fx::Buffer<float> x, fx::Buffer<float> y) {
    k.over(4)(to, x, y);
    k.over(4)(to, y, x);
  });
  const auto y = dev.zeros<float>(4);
  CHECK_NOTHROW((p(dev.upload({3, 2, 1, 0}), dev.upload({1.f, 2.f, 3.f, 4.f}), y), dev.wait()));
  CHECK_THROWS_WITH((p(dev.upload({3, 2, 2, 0}), dev.upload({1.f, 2.f, 3.f, 4.f}), y), dev.wait()),
                    Contains(line(stored)) && Contains("[2] is stored to by"));
  CHECK_THROWS_WITH((p(dev.upload({3, 2, 1, 0}), dev.upload({1.f, -2.f, 3.f, 4.f}), y), dev.wait()),
                    Contains(line(root)) && Contains("sqrt(-2) = nan") && Contains("program \"p\", launch 1"));
}

TEST_CASE("without FLUXION_DEBUG=race the code is the same as ever and own points cost nothing with it", "[jit][race]") {
  const fx::Device dev = fx::Device::cpu();
  const auto scatter = [] {
    return fx::kernel("scatter", fx::groups(8), [](fx::In<int> to, fx::InOut<float> y) {
      fx::Shared<float, 8> part;
      part[fx::thread_index()] = y[to[fx::index()]];
      fx::barrier();
      y[to[fx::index()]] = part[7 - fx::thread_index()];
    });
  };
  const auto own = [] { return fx::kernel("own", [](fx::In<float> x, fx::InOut<float> y) { y[fx::index()] += x[fx::index()]; }); };
  const std::string before = scatter().dump("llvm", dev), plain = own().dump("asm", dev);
  std::string watched, bounds, alone;
  {
    const Debug race("race");
    watched = scatter().dump("llvm", dev);
    alone = own().dump("asm", dev);
  }
  {
    const Debug b("bounds");
    bounds = own().dump("asm", dev);
  }
  CHECK(before.find("fluxion_cpu_touch") == std::string::npos);
  CHECK(before.find("fluxion_cpu_phase") == std::string::npos);
  CHECK(watched.find("fluxion_cpu_touch") != std::string::npos);
  CHECK(watched.find("fluxion_cpu_phase") != std::string::npos);
  CHECK(alone == bounds);  // nothing is watched: only indices are checked
  CHECK(scatter().dump("llvm", dev) == before);
  CHECK(own().dump("asm", dev) == plain);
}
