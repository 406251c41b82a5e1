// Kernels of every kind as exported objects, called in this process through a shared library made of them: what they write is, bit for
// bit, what a launch writes, and what they report says the same.
#include <dlfcn.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <cstdlib>
#include <cstring>
#include <filesystem>

#include "fluxion/backend.h"
#include "fluxion/fluxion.h"

namespace fx = fluxion;
namespace fs = std::filesystem;
using Catch::Matchers::Contains;

namespace {

/// An exported kernel, loaded.
class Loaded {
 public:
  template <class K> explicit Loaded(const K& kernel, const fx::ExportOptions& options = {}) {
    folder_ = fs::temp_directory_path() / ("fluxion_kinds_" + std::to_string(::getpid()) + "_" + std::to_string(next_++));
    const auto files = kernel.export_to(folder_.string(), {"native"}, options);
    const std::string library = (folder_ / "library.so").string();
    REQUIRE(std::system(("cc -shared -o '" + library + "' '" + files[0] + "' -lm").c_str()) == 0);
    handle_ = ::dlopen(library.c_str(), RTLD_NOW | RTLD_LOCAL);
    REQUIRE(handle_);
    name_ = fs::path(files[0]).filename().string();
    name_ = name_.substr(0, name_.find('.'));
  }
  ~Loaded() {
    ::dlclose(handle_);
    fs::remove_all(folder_);
  }
  Loaded(const Loaded&) = delete;
  template <class F> F* symbol(const std::string& suffix = "") const {
    return reinterpret_cast<F*>(::dlsym(handle_, (name_ + suffix).c_str()));
  }

  int operator()(const std::vector<std::uint64_t>& args) {
    auto* call = symbol<int(const void*, char*, std::size_t)>();
    REQUIRE(call);
    char text[1024] = "";
    const int status = call(args.data(), text, sizeof text);
    message = text;
    return status;
  }
  std::string message;

 private:
  inline static int next_ = 0;
  fs::path folder_;
  void* handle_ = nullptr;
  std::string name_;
};

/// The struct of arguments, laid out as a C compiler does it.
class Packer {
 public:
  explicit Packer(const std::vector<std::int64_t>& domain) {
    for (const std::int64_t n : domain) put(n);
  }
  template <class T> void put(const T& v) {
    end_ = (end_ + sizeof(T) - 1) / sizeof(T) * sizeof(T);
    words.resize((end_ + sizeof(T) + 7) / 8);
    std::memcpy(reinterpret_cast<char*>(words.data()) + end_, &v, sizeof(T));
    end_ += sizeof(T);
  }
  std::vector<std::uint64_t> words;

 private:
  std::size_t end_ = 0;
};

// An argument: its copy for the launch, and its memory for the object.
template <class T, int N> struct Pair {
  fx::Buffer<T, N> launched;
  std::vector<T> exported;
};
template <class T, class... E> Pair<T, sizeof...(E) + 1> array(const std::vector<T>& v, std::int64_t n, E... extents) {
  return {fx::Device::cpu().upload(v, n, extents...), v};
}
template <class T> Pair<T, 1> array(const std::vector<T>& v) { return {fx::Device::cpu().upload(v), v}; }

template <class T, int N> const fx::Buffer<T, N>& for_launch(const Pair<T, N>& p) { return p.launched; }
template <class T> T for_launch(const T& v) { return v; }
template <class T, int N> void pack(Packer& to, Pair<T, N>& p) {
  to.put(p.exported.data());
  for (int k = 0; k < N; ++k) to.put(std::int64_t{p.launched.extent(k)});
}
template <class T> void pack(Packer& to, const T& v) { to.put(v); }
template <class T, int N> void compare(const Pair<T, N>& p, int at) {
  INFO("argument " << at);
  const std::vector<T> expected = p.launched.host();
  CHECK(std::memcmp(expected.data(), p.exported.data(), expected.size() * sizeof(T)) == 0);
}
template <class T> void compare(const T&, int) {}

/// Small enough that the launch is not cut.
template <class K, class... A> void same(const K& kernel, const std::vector<std::int64_t>& domain, A... arguments) {
  Loaded exported(kernel);
  Packer packer(domain);
  (pack(packer, arguments), ...);
  CHECK(exported(packer.words) == 0);
  INFO(exported.message);
  if (domain.size() == 1) kernel.over(domain[0])(for_launch(arguments)...);
  else if (domain.size() == 2) kernel.over(domain[0], domain[1])(for_launch(arguments)...);
  else kernel.over(domain[0], domain[1], domain[2])(for_launch(arguments)...);
  int at = 0;
  (compare(arguments, at++), ...);
}

std::vector<float> ramp(int n, float from = 0.25f, float step = 0.0625f) {
  std::vector<float> out;
  for (int i = 0; i < n; ++i) out.push_back(from + step * static_cast<float>(i % 40));
  return out;
}

template <template <class> class F> struct Particle {
  fx::Vec<F<float>, 2> position;
  F<double> mass;
  F<int> kind;
};

}  // namespace

TEST_CASE("exported kernels with groups and shared memory do as launches", "[export]") {
  auto sum = fx::kernel("sum", fx::groups(32), [](fx::In<float> x, fx::Out<float> total) {
    fx::Shared<float, 32> part;
    auto t = fx::thread_index();
    part[t] = x[fx::index()];
    fx::barrier();
    for (auto round : fx::range(5)) {
      fx::Int step = 16 >> round;
      fx::if_(t < step, [&] { part[t] += part[t + step]; });
      fx::barrier();
    }
    fx::if_(t == 0, [&] { total[fx::group_index()] = part[0] + fx::subgroup_add(x[fx::index()]) * 0.f; });
  });
  same(sum, {96}, array(ramp(96)), array(std::vector<float>(3)));
  same(fx::vjp(sum), {96}, array(ramp(96)), array(ramp(3)), array(ramp(96, 0)));
  Loaded exported(sum);
  auto x = ramp(96);
  std::vector<float> total(3);
  Packer bad({95});
  bad.put(x.data()), bad.put(std::int64_t{96}), bad.put(total.data()), bad.put(std::int64_t{3});
  CHECK(exported(bad.words) == 2);
  CHECK_THAT(exported.message, Contains("axis 0 of the domain is 95, which groups of 32 threads do not divide"));
}

TEST_CASE("a domain of more points than can be counted is refused and not taken for an empty one", "[export]") {
  constexpr std::int64_t kEdge = std::int64_t{1} << 30;
  auto set = fx::kernel("set", [](fx::Out<float> y) { y[fx::index<3>()[0] % 4] = 1.f; });
  Loaded exported(set);
  std::vector<float> y(4);
  Packer many({kEdge, kEdge, 16});  // 2^64
  many.put(y.data()), many.put(std::int64_t{4});
  CHECK(exported(many.words) == 2);
  CHECK_THAT(exported.message, Contains("has more than 2^63 - 1 points"));
  CHECK_THROWS_WITH(set.over(kEdge, kEdge, 16)(fx::Device::best().upload(y)), Contains("more than 2^63 - 1"));
  auto flat = fx::kernel("flat", [](fx::Out<float, 3> y) { y(0, 0, 0) = 1.f; });
  Loaded large(flat);
  Packer wrong({1});
  wrong.put(static_cast<float*>(nullptr)), wrong.put(kEdge), wrong.put(kEdge), wrong.put(std::int64_t{16});
  CHECK(large(wrong.words) == 2);
  CHECK_THAT(large.message, Contains("more elements than memory"));
}

TEST_CASE("exported kernels keep tapes of loops and say when one is full", "[export]") {
  auto collatz = fx::kernel("collatz", [](fx::In<float> x, fx::In<int> start, fx::Out<float> y) {
    auto i = fx::index();
    fx::Float v = x[i];
    fx::Int n = start[i];
    for ([[maybe_unused]] auto round : fx::while_([&] { return n != 1; })) {
      v = fx::select(n % 2 == 0, fx::sin(v) + x[i], v * v * 0.5f);
      n = fx::select(n % 2 == 0, n / 2, 3 * n + 1);
    }
    y[i] = v;
  });
  std::vector<int> start;
  for (int i = 0; i < 50; ++i) start.push_back(i + 1);
  auto gradient = fx::vjp(collatz);
  same(collatz, {50}, array(ramp(50)), array(start), array(std::vector<float>(50)));
  same(gradient, {50}, array(ramp(50)), array(start), array(ramp(50)), array(ramp(50)));

  Loaded small(gradient, {.name = "small", .tape_bytes = 4096});
  auto x = ramp(50), bar = ramp(50), out = ramp(50);
  Packer p({50});
  for (void* data :
       {static_cast<void*>(x.data()), static_cast<void*>(start.data()), static_cast<void*>(bar.data()), static_cast<void*>(out.data())})
    p.put(data), p.put(std::int64_t{50});
  CHECK(small(p.words) == 1);
  CHECK_THAT(small.message, Contains("kinds.cpp:") && Contains("the tape is full: ") && Contains(" of 4096 bytes are in use"));
}

TEST_CASE("exported kernels take structs and halves and bools and every width of scalar", "[export]") {
  auto k = fx::kernel("kinds", [](fx::InOut<Particle<fx::Host>> p, fx::In<fx::half> h, fx::Out<fx::bfloat16> b, fx::Bool on, fx::Int8 i8,
                                  fx::Double d, fx::UInt16 u16, fx::In<bool> flag, fx::Float2 q, fx::Long i64, fx::Half s) {
    auto i = fx::index();
    Particle<fx::Var> me = p[i];
    fx::if_(on && flag[i], [&] {
      me.position.x += q.x * fx::Float(h[i]);
      me.mass += d * fx::Double(i64);
      me.kind = me.kind + fx::Int(i8) + fx::Int(u16);
    });
    p[i] = me;
    b[i] = me.position.x + fx::fmod(q.y, 0.75f) + fx::Float(s);
  });
  std::vector<Particle<fx::Host>> particles;
  std::vector<fx::half> h;
  for (int i = 0; i < 20; ++i) {
    Particle<fx::Host> one;
    std::memset(&one, 0, sizeof one);
    one.position = {0.5f * static_cast<float>(i), 1.f};
    one.mass = 2.0;
    one.kind = i;
    particles.push_back(one);
    h.push_back(fx::half(0.25f * static_cast<float>(i)));
  }
  // std::vector<bool> is no array: the flags go by a buffer of their own.
  const fx::Device dev = fx::Device::cpu();
  auto flags = dev.full(true, 20);
  Pair<Particle<fx::Host>, 1> p = array(particles);
  Pair<fx::half, 1> halves = array(h);
  Pair<fx::bfloat16, 1> b = array(std::vector<fx::bfloat16>(20));
  const fx::half s(0.125f);
  k.over(20)(p.launched, halves.launched, b.launched, true, static_cast<std::int8_t>(-3), 0.5, static_cast<std::uint16_t>(60000), flags,
             fx::float2{0.5f, 2.f}, std::int64_t{1} << 40, s);
  bool on[20];
  for (bool& f : on) f = true;
  Packer args({20});
  pack(args, p), pack(args, halves), pack(args, b);
  args.put(std::uint8_t{1}), args.put(std::int8_t{-3}), args.put(0.5), args.put(std::uint16_t{60000});
  args.put(static_cast<bool*>(on)), args.put(std::int64_t{20});
  args.put(0.5f), args.put(2.f), args.put(std::int64_t{1} << 40), args.put(s.bits);
  Loaded exported(k);
  CHECK(exported(args.words) == 0);
  compare(p, 0), compare(b, 2);
}

TEST_CASE("exported kernels have scratch of their own and run their phases in order", "[export]") {
  // The derivative of a leapfrog: sums over neighbours, then what overwrites that which the sums read.
  auto step = fx::kernel("leapfrog", [](fx::In<float> now, fx::InOut<float> before, fx::Float c) {
    auto i = fx::index();
    fx::Float left = 0.f, right = 0.f;
    fx::if_(i > 0, [&] { left = now[i - 1]; });
    fx::if_(i + 1 < now.size(), [&] { right = now[i + 1]; });
    before[i] = 2.f * now[i] - before[i] + c * (left + right - 2.f * now[i]);
  });
  same(step, {300}, array(ramp(300)), array(ramp(300, 1)), 0.25f);
  auto gradient = fx::vjp(step);
  same(gradient, {300}, array(ramp(300)), array(ramp(300, 1)), 0.25f, array(ramp(300, 2)), array(ramp(300, 0)),
       array(std::vector<float>(1)));
  // What was overwritten is brought back on a copy; the copy's own derivative is added to that of what it was copied from.
  auto shuffle = fx::kernel("shuffle", [](fx::In<float> x, fx::InOut<float> y) {
    auto i = fx::index();
    for (auto t : fx::range(x.size()))
      fx::if_(t % 2 == i % 2, [&] { y[4 * i + t % 4] = y[4 * i + (t + 1) % 4] * x[t] + y[4 * i + t % 4]; });
  });
  const auto once = fx::vjp(shuffle);
  CHECK_THAT(once.ir(), Contains(" like "));
  same(once, {5}, array(ramp(12)), array(ramp(20)), array(ramp(20, 1)), array(ramp(12, 0)));
  const auto twice = fx::vjp(once);
  CHECK_THAT(twice.ir(), Contains(" into "));
  same(twice, {5}, array(ramp(12)), array(ramp(20)), array(ramp(20, 1)), array(ramp(20, 2)), array(ramp(12, 1)), array(ramp(12, 0)),
       array(ramp(20, 0)));
  // Gathers of an array that is written: the derivative works on copies.
  auto swap = fx::kernel("reverse", [](fx::InOut<float> x, fx::In<float> w) {
    auto i = fx::index();
    auto n = x.size();
    fx::if_(i < n / 2, [&] {
      fx::Float a = x[i], b = x[n - 1 - i];
      x[i] = b * b * w[i];
      x[n - 1 - i] = a * w[n - 1 - i];
    });
  });
  same(swap, {64}, array(ramp(64)), array(ramp(64, 1)));
  same(fx::vjp(swap), {64}, array(ramp(64)), array(ramp(64, 1)), array(ramp(64)), array(ramp(64, 0)));
  auto second = fx::jvp(fx::vjp(swap));
  same(second, {64}, array(ramp(64)), array(ramp(64, 1)), array(ramp(64)), array(ramp(64, 0)), array(ramp(64, 3)), array(ramp(64, 2)),
       array(ramp(64)), array(ramp(64, 0)));
}

TEST_CASE("exported kernels check every index when they are asked to", "[export]") {
  auto k = fx::kernel("gather", [](fx::In<float, 2> x, fx::In<int> at, fx::Out<float> y) { y[fx::index()] = x(at[fx::index()], 1); });
  fx::CompileOptions bounds;
  bounds.bounds = true;
  Loaded exported(k.with(bounds));
  auto x = ramp(12);
  std::vector<int> at = {0, 3, 7};
  std::vector<float> y(3);
  Packer p({3});
  p.put(x.data()), p.put(std::int64_t{4}), p.put(std::int64_t{3});
  p.put(at.data()), p.put(std::int64_t{3}), p.put(y.data()), p.put(std::int64_t{3});
  CHECK(exported(p.words) == 1);
  CHECK_THAT(exported.message, Contains("kinds.cpp:") && Contains("[7, 1] is outside ") && Contains("which has 4 x 3 elements"));
  at[2] = 2;
  CHECK(exported(p.words) == 0);
  CHECK(y[2] == x[7]);
}

TEST_CASE("exported kernels may have any text for a name", "[export]") {
  for (const char* name : {"run", "guard", "%s %n 100%", "*/ ''' /*"}) {
    INFO(name);
    auto k = fx::kernel(name, [](fx::In<float> x, fx::Out<float> y) { y[fx::index()] = 2.f * x[fx::index()]; });
    Loaded exported(k);
    std::vector<float> x = {1, 2, 3}, y(3);
    Packer p({3});
    p.put(x.data()), p.put(std::int64_t{3}), p.put(y.data()), p.put(std::int64_t{3});
    CHECK(exported(p.words) == 0);
    CHECK(y == std::vector<float>{2, 4, 6});
    p.words[0] = 4;
    CHECK(exported(p.words) == 2);
    CHECK_THAT(exported.message, Contains("kernel \"" + std::string(name) + "\": index 3 along axis 0 of "));
  }
}

TEST_CASE("exported kernels print to standard output and end where a loop runs nothing", "[export]") {
  auto k = fx::kernel("says", [](fx::In<float> x, fx::Bool on, fx::Out<float> y) {
    auto i = fx::index();
    fx::if_(i == 2, [&] { fx::print("100% of {} is {} {}", i, x[i], on); });
    y[i] = 1.f;
  });
  Loaded exported(k);
  std::vector<float> x = {0, 1, 2.5f}, y(3);
  Packer p({3});
  p.put(x.data()), p.put(std::int64_t{3}), p.put(std::uint8_t{1}), p.put(y.data()), p.put(std::int64_t{3});
  std::fflush(stdout);
  const fs::path file = fs::temp_directory_path() / ("fluxion_says_" + std::to_string(::getpid()));
  const int saved = ::dup(1);
  FILE* to = std::fopen(file.c_str(), "w+");
  ::dup2(::fileno(to), 1);
  const int status = exported(p.words);
  std::fflush(stdout);
  ::dup2(saved, 1);
  ::close(saved);
  std::rewind(to);
  char line[100] = "";
  REQUIRE(std::fgets(line, sizeof line, to));
  std::fclose(to);
  fs::remove(file);
  CHECK(status == 0);
  CHECK(std::string(line) == "100% of 2 is 2.5 true\n");
}
