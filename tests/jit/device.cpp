// Devices, arrays and buffers, and the untyped launch with its checks, on kernels built by hand.
#include <fmt/format.h>

#include <atomic>
#include <catch2/catch.hpp>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <thread>

#include "fluxion/buffer.h"
#include "fluxion/builder.h"
#include "fluxion/error.h"
#include "fluxion/kernel_handle.h"

using namespace fluxion;
using Catch::Matchers::Contains;
using detail::Argument;
using detail::KernelHandle;

namespace {

std::vector<Device> devices() { return Device::list(); }

Argument array(const Array& a) {
  Argument x;
  x.array = a.shared();
  return x;
}
Argument number(float v) {
  Argument x;
  x.bits = std::bit_cast<std::uint32_t>(v);
  return x;
}

// y[i] = a * x[i + shift] + y[i]
Function saxpy(int shift = 0) {
  Function f;
  f.kind = Function::Kind::kernel;
  f.name = "saxpy";
  f.domain_rank = 1;
  Builder b(f);
  b.loc = Loc{"saxpy.cpp", 7};
  const MemoryId x = b.memory_parameter(DType::f32, 1, Role::in, "x"), y = b.memory_parameter(DType::f32, 1, Role::inout, "y");
  const ValueId a = b.scalar_parameter(DType::f32, "a");
  const Values i = {b.index(0)};
  const Values j = shift ? Values{b.add(i[0], b.i32(shift))} : i;
  b.store(y, i, b.add(b.mul(a, b.load(x, j)), b.load(y, i)));
  b.finish();
  return f;
}

// Fails a check where x[i] is not positive.
Function positive() {
  Function f;
  f.kind = Function::Kind::kernel;
  f.name = "positive";
  f.domain_rank = 1;
  Builder b(f);
  b.loc = Loc{"positive.cpp", 12};
  const MemoryId x = b.memory_parameter(DType::f32, 1, Role::in, "x"), y = b.memory_parameter(DType::f32, 1, Role::out, "y");
  const Values i = {b.index(0)};
  const ValueId v = b.load(x, i), ok = b.emit(Opcode::gt, {v, b.constant_float(DType::f32, 0)});
  const ValueId shown[] = {ok, v};
  b.effect(Opcode::check, "x must be positive, is {}", shown);
  b.store(y, i, v);
  b.finish();
  return f;
}

KernelHandle handle(Function f) { return KernelHandle(std::make_shared<const Function>(std::move(f))); }

}  // namespace

TEST_CASE("a device is found by its name and an unknown name lists those there are", "[jit]") {
  CHECK(Device::named("reference").name() == "reference");
  for (const Device& d : Device::list()) {
    CHECK(Device::named(d.name()) == d);
    CHECK_THROWS_WITH(Device::named("abacus"), Contains("\"abacus\"") && Contains(d.name()));
  }
  const char* set = ::getenv("FLUXION_DEVICE");
  const std::string before = set ? set : "";
  ::setenv("FLUXION_DEVICE", "reference", 1);
  CHECK(Device::best().name() == "reference");
  ::setenv("FLUXION_DEVICE", "slide rule", 1);
  CHECK_THROWS_AS(Device::best(), DeviceError);
  ::unsetenv("FLUXION_DEVICE");
  CHECK(Device::best() == Device::list()[0]);
  if (!before.empty()) ::setenv("FLUXION_DEVICE", before.c_str(), 1);
}

TEST_CASE("what is uploaded comes back in row-major order", "[jit]") {
  const Device dev = Device::reference();
  CHECK(dev.upload({1.f, 2.f, 3.f}).host() == std::vector<float>{1, 2, 3});
  const std::vector<int> v = {1, 2, 3, 4, 5, 6};
  const Buffer<int, 2> m = dev.upload(v, 2, 3);
  CHECK(m.shape() == std::array<std::int64_t, 2>{2, 3});
  CHECK(m.host() == v);
  CHECK(dev.zeros<double>(2, 2, 2).host() == std::vector<double>(8, 0.0));
  CHECK(dev.full(7, 3).host() == std::vector<int>{7, 7, 7});
  CHECK(dev.upload(std::vector<bool>{true, false, true}).host() == std::vector<bool>{true, false, true});
  CHECK(dev.zeros<float>(0).host().empty());
  CHECK_THROWS_AS(m.set({1, 2}), ShapeError);
  CHECK_THROWS_AS(m.item(), ShapeError);
}

TEST_CASE("copies of a buffer share memory and copy() does not", "[jit]") {
  const Device dev = Device::best();
  const auto a = dev.upload({1.f, 2.f});
  const auto b = a, c = copy(a);
  a.set({5.f, 6.f});
  CHECK(b.host() == std::vector<float>{5, 6});
  CHECK(c.host() == std::vector<float>{1, 2});
  c.fill(9.f);
  b.copy_from(c);
  CHECK(a.host() == std::vector<float>{9, 9});
}

TEST_CASE("an array becomes a buffer of its own type only", "[jit]") {
  const Array a = Device::best().zeros<float>(2, 3);
  const Buffer<float, 2> same = a;
  CHECK(same.extent(1) == 3);
  CHECK_THROWS_AS((Buffer<float, 1>(a)), ShapeError);
  CHECK_THROWS_WITH((Buffer<int, 2>(a)), Contains("f32") && Contains("i32"));
}

TEST_CASE("extents that are negative or too long are shape errors", "[jit]") {
  const Device dev = Device::best();
  CHECK_THROWS_AS(dev.zeros<float>(-1), ShapeError);
  CHECK_THROWS_WITH(dev.empty<float>(std::int64_t{1} << 31), Contains("2^31 - 1"));
}

TEST_CASE("wrapped memory is used in place and given back once", "[jit]") {
  static std::atomic<int> freed;
  freed = 0;
  std::vector<float> mine = {1, 2, 3};
  {
    const auto w =
        Buffer<float>::wrap(mine.data(), {3}, Device::cpu(), [](void*, void* n) { ++*static_cast<std::atomic<int>*>(n); }, &freed);
    w.set({4.f, 5.f, 6.f});
    w.device().wait();
    CHECK(mine == std::vector<float>{4, 5, 6});
    const Buffer<float> again = w;
    CHECK(freed == 0);
  }
  CHECK(freed == 1);
}

TEST_CASE("saxpy runs on every device", "[jit]") {
  const Device dev = GENERATE(from_range(devices()));
  INFO(dev.name());
  const KernelHandle k = handle(saxpy());
  const int n = 1000;
  std::vector<float> hx(n), hy(n);
  for (int i = 0; i < n; ++i) hx[i] = 0.5f * static_cast<float>(i), hy[i] = static_cast<float>(n - i);
  const auto x = dev.upload(hx), y = dev.upload(hy);
  const Argument args[] = {array(x), array(y), number(2)};
  k.launch({n, 1, 1}, 1, args, {});
  k.launch({n, 1, 1}, 0, args, {});
  const auto out = y.host();
  for (int i = 0; i < n; ++i) REQUIRE(out[i] == hy[i] + 4 * hx[i]);
}

TEST_CASE("a launch over no points runs nothing", "[jit]") {
  const Device dev = GENERATE(from_range(devices()));
  const auto x = dev.upload({-1.f}), y = dev.upload({3.f});
  const Argument args[] = {array(x), array(y)};
  handle(positive()).launch({0, 1, 1}, 1, args, {});
  CHECK(y.host() == std::vector<float>{3});
}

TEST_CASE("an error is thrown by the next waiting call and stops what comes after it until then", "[jit]") {
  const Device dev = GENERATE(from_range(devices()));
  INFO(dev.name());
  const KernelHandle bad = handle(positive()), good = handle(saxpy());
  const auto x = dev.upload({1.f, -2.f, 3.f}), y = dev.zeros<float>(3);
  const auto z = dev.upload({1.f, 1.f, 1.f}), w = dev.zeros<float>(3);
  const Argument first[] = {array(x), array(y)}, second[] = {array(z), array(w), number(1)};
  bad.launch({3, 1, 1}, 1, first, {});
  good.launch({3, 1, 1}, 1, second, {});
  CHECK_THROWS_WITH(dev.wait(), Contains("positive.cpp:12") && Contains("\"positive\"") && Contains("x must be positive, is -2"));
  CHECK(w.host() == std::vector<float>{0, 0, 0});
  good.launch({3, 1, 1}, 1, second, {});
  CHECK(w.host() == std::vector<float>{1, 1, 1});
}

TEST_CASE("arguments of the wrong kind are refused by name", "[jit]") {
  const Device dev = Device::best();
  const KernelHandle k = handle(saxpy());
  const auto x = dev.zeros<float>(4), y = dev.zeros<float>(4);
  const auto launch = [&](const Array& p, const Array& q, std::array<std::int64_t, 3> domain, int rank) {
    const Argument args[] = {array(p), array(q), number(1)};
    k.launch(domain, rank, args, Loc{"user.cpp", 3});
  };
  CHECK_THROWS_WITH(launch(x, dev.zeros<int>(4), {4, 1, 1}, 1), Contains("user.cpp:3") && Contains("\"y\"") && Contains("i32"));
  CHECK_THROWS_WITH(launch(dev.zeros<float>(2, 2), y, {4, 1, 1}, 1), Contains("\"x\"") && Contains("2 axes"));
  if (dev != Device::reference()) CHECK_THROWS_AS(launch(x, Device::reference().zeros<float>(4), {4, 1, 1}, 1), DeviceError);
  CHECK_THROWS_WITH(launch(x, Array(), {4, 1, 1}, 1), Contains("empty array"));
  CHECK_THROWS_WITH(launch(x, y, {2, 2, 1}, 2), Contains("launched over 2 axes"));
  CHECK_THROWS_AS(launch(x, y, {-4, 1, 1}, 1), ShapeError);
  CHECK_THROWS_AS(launch(x, y, {std::int64_t{1} << 31, 1, 1}, 1), ShapeError);
}

TEST_CASE("one array for two parameters is merged where each thread keeps to its own element", "[jit]") {
  const Device dev = GENERATE(from_range(devices()));
  const auto x = dev.upload({1.f, 2.f, 3.f});
  const Argument args[] = {array(x), array(x), number(10)};
  handle(saxpy()).launch({3, 1, 1}, 1, args, {});
  CHECK(x.host() == std::vector<float>{11, 22, 33});
}

TEST_CASE("one array for two parameters is refused where threads read what others write", "[jit]") {
  const Device dev = Device::cpu();
  const auto x = dev.zeros<float>(4);
  const Argument args[] = {array(x), array(x), number(1)};
  CHECK_THROWS_WITH(handle(saxpy(1)).launch({3, 1, 1}, 1, args, {}), Contains("\"x\"") && Contains("\"y\"") && Contains("same array"));
  std::vector<float> mine(8);
  const auto a = Buffer<float>::wrap(mine.data(), {4}, dev), b = Buffer<float>::wrap(mine.data() + 2, {4}, dev);
  const Argument overlap[] = {array(a), array(b), number(1)};
  CHECK_THROWS_WITH(handle(saxpy()).launch({4, 1, 1}, 1, overlap, {}), Contains("\"x\"") && Contains("\"y\"") && Contains("overlap"));
}

TEST_CASE("one array for two parameters is refused where a thread reads what it has written under the other name", "[jit]") {
  const bool in_loop = GENERATE(false, true);
  Function f;
  f.kind = Function::Kind::kernel;
  f.name = "again";
  f.domain_rank = 1;
  Builder b(f);
  const MemoryId x = b.memory_parameter(DType::f32, 1, Role::in, "x"), y = b.memory_parameter(DType::f32, 1, Role::inout, "y");
  const Values i = {b.index(0)};
  const auto step = [&] { b.store(y, i, b.mul(b.load(x, i), b.load(x, i))); };
  if (in_loop) {
    b.for_(b.i32(0), b.domain(0), {}, [&](ValueId, const Values&) {
      step();
      return Builder::LoopYield{};
    });
  } else {
    step();
    b.store(y, i, b.add(b.load(x, i), b.load(y, i)));
  }
  b.finish();
  const auto a = Device::best().zeros<float>(4);
  const Argument args[] = {array(a), array(a)};
  const KernelHandle k = handle(std::move(f));
  if (in_loop) CHECK_THROWS_WITH(k.launch({4, 1, 1}, 1, args, {}), Contains("\"x\"") && Contains("\"y\""));
  else CHECK_NOTHROW(k.launch({4, 1, 1}, 1, args, {}));  // here the passes have moved all reads before the write
}

TEST_CASE("an eager launch checks indices and throws at once", "[jit]") {
  const Device dev = Device::best();
  const auto x = dev.zeros<float>(4), y = dev.zeros<float>(4);
  const Argument args[] = {array(x), array(y), number(1)};
  CHECK_THROWS_WITH(handle(saxpy(1)).eager().launch({4, 1, 1}, 1, args, {}), Contains("saxpy.cpp:7") && Contains("4"));
}

TEST_CASE("threads that launch at the same time each see their own results", "[jit]") {
  const Device dev = GENERATE(from_range(devices()));
  const KernelHandle k = handle(saxpy());
  std::atomic<int> wrong{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&, t] {
      const std::vector<float> ones(64, 1.f);
      const auto x = dev.upload(ones), y = dev.zeros<float>(64);
      const Argument args[] = {array(x), array(y), number(static_cast<float>(t))};
      for (int r = 0; r < 50; ++r) k.launch({64, 1, 1}, 1, args, {});
      for (float v : y.host()) wrong += v != 50.f * static_cast<float>(t);
    });
  for (auto& t : threads) t.join();
  CHECK(wrong == 0);
}

TEST_CASE("arithmetic on whole buffers is elementwise", "[jit]") {
  const Device dev = GENERATE(from_range(devices()));
  const auto a = dev.upload({1.f, 2.f, 3.f}), b = dev.upload({10.f, 20.f, 30.f});
  CHECK((a + b).host() == std::vector<float>{11, 22, 33});
  CHECK((2.f * a).host() == std::vector<float>{2, 4, 6});
  CHECK((1.f - a).host() == std::vector<float>{0, -1, -2});
  b -= 10.f * a;
  CHECK(b.host() == std::vector<float>{0, 0, 0});
  CHECK(sum(a).item() == 6);
  CHECK(dot(a, a).item() == 14);
  CHECK(mean(a).item() == Approx(2));
  CHECK(ones_like(a).host() == std::vector<float>{1, 1, 1});
  CHECK(zeros_like(a).host() == std::vector<float>{0, 0, 0});
  CHECK_THROWS_AS(a + dev.zeros<float>(2), ShapeError);
  CHECK((dev.upload({7, 8}) / dev.upload({2, 0})).host() == std::vector<int>{3, 0});
}

TEST_CASE("with FLUXION_DEBUG a NaN that a launch makes is an error that names the op and the element", "[jit]") {
  const Device dev = GENERATE(from_range(devices()));
  ::setenv("FLUXION_DEBUG", "nan", 1);
  const KernelHandle k = handle(saxpy());
  ::unsetenv("FLUXION_DEBUG");
  const float inf = INFINITY, nan = NAN;
  const auto x = dev.upload({1.f, nan, 1.f, inf}), y = dev.upload({1.f, nan, 1.f, -inf});
  const Argument args[] = {array(x), array(y), number(1)};
  k.launch({3, 1, 1}, 1, args, {});
  CHECK_NOTHROW(dev.wait());
  k.launch({4, 1, 1}, 1, args, {});
  CHECK_THROWS_WITH(dev.wait(), Contains("y[3]") && Contains("+ -inf = nan"));
}

TEST_CASE("with FLUXION_DEBUG races and wild indices are found and unknown words are refused", "[jit]") {
  const Device dev = Device::best();
  ::setenv("FLUXION_DEBUG", "race", 1);
  const KernelHandle k = handle(saxpy(1));
  ::setenv("FLUXION_DEBUG", "speed", 1);
  CHECK_THROWS_WITH(handle(saxpy()), Contains("\"speed\"") && Contains("bounds"));
  ::unsetenv("FLUXION_DEBUG");
  const auto x = dev.zeros<float>(4), y = dev.zeros<float>(4);
  const Argument args[] = {array(x), array(y), number(1)};
  k.launch({4, 1, 1}, 1, args, {});
  CHECK_THROWS_WITH(dev.wait(), Contains("saxpy.cpp:7"));
}
