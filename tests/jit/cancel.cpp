// Stopping what runs (cancel.h): kernels in a loop, between chunks, programs, host code that launches; and what is left afterwards.
#include <catch2/catch.hpp>
#include <atomic>
#include <chrono>
#include <csignal>
#include <thread>

#include "fluxion/backend.h"
#include "fluxion/fluxion.h"

namespace fx = fluxion;

namespace {

/// Calls cancel() after a moment, for as long as it lives: whoever is stopped late would hang the tests otherwise.
class Interrupts {
 public:
  explicit Interrupts(int milliseconds = 100)
      : thread_([this, milliseconds] {
          for (int waited = 0; !done_; ++waited) {
            std::this_thread::sleep_for(std::chrono::milliseconds(1));
            if (waited == milliseconds) fx::cancel();
          }
        }) {}
  ~Interrupts() {
    done_ = true;
    thread_.join();
    fx::resume();
  }

 private:
  std::atomic<bool> done_{false};
  std::thread thread_;
};

struct Outcome {
  std::string what;
  unsigned line = 0;
  double seconds = 0;
};
template <class F> Outcome stopped(F&& f) {
  const auto start = std::chrono::steady_clock::now();
  Outcome out;
  {
    const Interrupts soon;
    try {
      f();
    } catch (const fx::Cancelled& e) { out.what = e.what(), out.line = static_cast<unsigned>(e.where().line); }
  }
  out.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return out;
}

fx::CompileOptions interruptible() {
  fx::CompileOptions o;
  o.interrupt = true;
  return o;
}
bool has(const std::string& text, const char* part) { return text.find(part) != text.npos; }

/// Both devices that are always there.
std::vector<fx::Device> devices() { return {fx::Device::cpu(), fx::Device::reference()}; }

}  // namespace

TEST_CASE("an endless loop of a kernel is stopped with its line and the device goes on", "[jit][cancel]") {
  unsigned line = 0;
  for (const int points : {1, 5, 100'000}) {
    auto k = fx::kernel("endless", [&](fx::In<float> x, fx::Out<float> y) {
      auto i = fx::index();
      fx::Float v = x[i];
      line = __LINE__ + 1;
      for (auto _ : fx::while_([&] { return v > 0.f; })) v = v * 0.5f + 1.f;
      y[i] = v;
    });
    for (const fx::Device& device : devices()) {
      INFO(device.name() << ", " << points << " points");
      auto x = device.full(1.f, points), y = device.zeros<float>(points);
      const auto code = k.with(interruptible());
      code.over(points)(device.full(-1.f, points), y);  // compiled, and through at once
      const Outcome o = stopped([&] {
        code.over(points)(x, y);
        device.wait();
      });
      CHECK(has(o.what, "\"endless\" was cancelled"));
      CHECK(o.line == line);
      CHECK(o.seconds < 5);
      CHECK(!fx::cancelled());
      auto twice = fx::kernel([](fx::InOut<float> a) { a[fx::index()] = a[fx::index()] * 2.f; });
      twice.over(points)(x);
      CHECK(x.host().back() == 2.f);
    }
  }
}

TEST_CASE("endless loops of every kind are stopped", "[jit][cancel]") {
  const fx::Device device = fx::Device::cpu();
  auto x = device.full(1.f, 64), y = device.zeros<float>(64);
  const auto check = [&](const auto& k) {
    const auto code = k.with(interruptible());
    code.dump("asm", device);  // compiled
    const Outcome o = stopped([&] {
      code.over(64)(x, y);
      device.wait();
    });
    INFO(o.what);
    CHECK(has(o.what, "was cancelled in this loop"));
    CHECK(o.seconds < 5);
  };
  // lanes with trips of their own, a loop of known length, one in a function, and one that keeps values for the reverse mode
  check(fx::kernel("apart", [](fx::In<float> a, fx::Out<float> b) {
    auto i = fx::index();
    fx::Float v = a[i];
    for ([[maybe_unused]] auto _ : fx::range(2'000'000'000 - i))
      for ([[maybe_unused]] auto _ : fx::range(1000)) v = v * 0.999f + 0.001f;
    b[i] = v;
  }));
  check(fx::kernel("known", [](fx::In<float> a, fx::Out<float> b) {
    auto i = fx::index();
    fx::Float v = a[i];
    for ([[maybe_unused]] auto _ : fx::range(2'000'000'000))
      for ([[maybe_unused]] auto _ : fx::range(1000)) v = v * 0.999f + 0.001f;
    b[i] = v;
  }));
  auto inner = fx::fn("inner", [](fx::Float v) {
    for (auto _ : fx::while_([&] { return v > 0.f; })) v = v * 0.5f + 1.f;
    return v;
  });
  check(fx::kernel("called", [=](fx::In<float> a, fx::Out<float> b) {
    auto i = fx::index();
    b[i] = inner(a[i]) + inner(a[i] + 1.f);
  }));
}

TEST_CASE("a long launch without loops stops between its chunks", "[jit][cancel]") {
  // Not compiled to look at requests: the chunks are enough. Each takes a while.
  auto k = fx::kernel("long", [](fx::InOut<float> x) {
    auto i = fx::index();
    fx::Float v = x[i];
    for ([[maybe_unused]] auto _ : fx::range(20'000)) v = v * 0.999f + 0.001f;
    x[i] = v;
  });
  const fx::Device device = fx::Device::cpu();
  const int n = 1 << 21;  // minutes of work
  auto x = device.zeros<float>(n);
  const Outcome o = stopped([&] {
    k.over(n)(x);
    device.wait();
  });
  CHECK(has(o.what, "kernel \"long\" was cancelled"));
  CHECK(o.line > 0);
  const auto host = x.host();
  CHECK(host.back() == 0.f);  // the last chunk has not come
}

TEST_CASE("host code that launches without end is stopped at a launch", "[jit][cancel]") {
  const unsigned defined = __LINE__ + 1;
  auto k = fx::kernel("step", [](fx::InOut<float> x) { x[fx::index()] = x[fx::index()] + 1.f; });
  for (const fx::Device& device : fx::Device::list())
    for (const int points : {8, 1 << 20}) {
      if (points > 8 && device.name() != "cpu") continue;
      INFO(device.name() << ", " << points << " points");
      auto x = device.zeros<float>(points);
      unsigned line = 0;
      int turns = 0;
      const Outcome o = stopped([&] {
        for (; turns < 100'000'000; ++turns) {
          line = __LINE__ + 1;
          k.over(points)(x);
        }
      });
      CHECK(has(o.what, "\"step\" was cancelled"));
      CHECK(o.line > 0);
      if (points == 8) CHECK((o.line == line || o.line == defined));  // at the launch, or it had just begun
      CHECK(x.host()[0] > 0.f);
      k.over(points)(x);
      CHECK_NOTHROW(device.wait());
    }
}

TEST_CASE("a program stops between two launches and in a loop of its own", "[jit][cancel]") {
  auto step = fx::kernel("step", [](fx::In<float> x, fx::Out<float> y) { y[fx::index()] = x[fx::index()] * 0.5f + 1.f; });
  auto p = fx::program("steps", [=](fx::Buffer<float> x) {
    auto a = x, b = fx::zeros_like(x);
    for ([[maybe_unused]] auto _ : fx::range(2'000'000'000)) {
      step(a, b);
      fx::swap(a, b);
    }
    return a;
  });
  for (const fx::Device& device : fx::Device::list()) {
    INFO(device.name());
    auto x = device.full(1.f, 1000);
    const Outcome o = stopped([&] {
      auto y = p(x);
      device.wait();
    });
    CHECK(has(o.what, "was cancelled"));
    CHECK(o.seconds < 5);
    CHECK(x.host().size() == 1000);
  }
  // Scalars alone: nobody but the loop itself can look.
  auto q = fx::program("count", [](fx::Buffer<float> x) {
    fx::Float v = fx::item(x, 0);
    for (auto _ : fx::while_([&] { return v > 0.f; })) v = v * 0.5f + 1.f;
    return v;
  });
  auto x = fx::Device::cpu().full(1.f, 8);
  const auto code = q.with(interruptible());
  code(fx::Device::cpu().full(-1.f, 8));  // compiled, and through at once
  const Outcome o = stopped([&] {
    auto y = code(x);
    fx::Device::cpu().wait();
  });
  CHECK(has(o.what, "program \"count\" was cancelled in this loop"));
}

TEST_CASE("a request that meets nothing is met by the next launch or taken back", "[jit][cancel]") {
  const fx::Device device = fx::Device::cpu();
  auto k = fx::kernel([](fx::InOut<float> x) { x[fx::index()] = 1.f; });
  auto x = device.zeros<float>(4);
  fx::cancel();
  CHECK(fx::cancelled());
  CHECK_THROWS_AS(k(x), fx::Cancelled);
  CHECK(!fx::cancelled());
  fx::cancel();
  CHECK_THROWS_AS(x.host(), fx::Cancelled);
  fx::cancel();
  fx::resume();
  CHECK_NOTHROW(k(x));
  CHECK(x.host()[3] == 1.f);
}

TEST_CASE("a function that is called on the host is stopped", "[jit][cancel]") {
  auto f = fx::fn("endless", [](fx::Float v) {
    for (auto _ : fx::while_([&] { return v > 0.f; })) v = v * 0.5f + 1.f;
    return v;
  });
  const Outcome o = stopped([&] { f(1.f); });
  CHECK(has(o.what, "\"endless\" was cancelled"));
  CHECK(!fx::cancelled());
}

TEST_CASE("a signal handler may cancel", "[jit][cancel]") {
  const auto before = std::signal(SIGUSR1, [](int) { fx::cancel(); });
  std::raise(SIGUSR1);
  std::signal(SIGUSR1, before);
  CHECK(fx::cancelled());
  fx::resume();
}

TEST_CASE("code that looks for requests computes what other code does", "[jit][cancel]") {
  auto k = fx::kernel("k", [](fx::In<float> x, fx::Out<float> y, fx::Accum<float> sum) {
    auto i = fx::index();
    fx::Float v = x[i];
    fx::Int n = 0;
    for (auto _ : fx::while_([&] { return v < 100.f; })) v = v * 1.1f + 0.1f, n = n + 1;
    for (auto t : fx::range(n)) v = v + 0.001f * fx::cast<float>(t);
    y[i] = v;
    sum[0] += v;
  });
  const fx::Device device = fx::Device::cpu();
  std::vector<float> in(1003);
  for (std::size_t i = 0; i < in.size(); ++i) in[i] = 0.1f * static_cast<float>(i % 90);
  auto x = device.upload(in), a = fx::zeros_like(x), b = fx::zeros_like(x), s = device.zeros<float>(1), t = device.zeros<float>(1);
  k(x, a, s);
  k.with(interruptible())(x, b, t);
  CHECK(a.host() == b.host());
  CHECK(s.host() == t.host());
  auto dx = fx::zeros_like(x), dz = fx::zeros_like(x);
  fx::vjp(k)(x, fx::ones_like(a), s, dx);
  fx::vjp(k.with(interruptible()))(x, fx::ones_like(a), s, dz);
  CHECK(dx.host() == dz.host());
}
