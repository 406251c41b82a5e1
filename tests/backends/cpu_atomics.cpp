// Atomics on parameters and shared memory: every kind and type, old numbers, struct leaves, many threads of the host.
#include <numeric>
#include <set>

#include "run_kernel.h"

using namespace fluxion;
using namespace fluxion::testing;

namespace {
std::vector<Variant> sets() {
  std::vector<Variant> v = {{16, ""}, {1, ""}, {8, "sse2"}};
  for (const Variant& x : variants())
    if (std::string(x.features) == "avx2") v.push_back(x);
  return v;
}
template <class T> T applied(int kind, T old, T v, T fresh) {
  switch (kind) {
    case 0: return static_cast<T>(old + v);
    case 1: return v < old ? v : old;
    case 2: return v > old ? v : old;
    case 6: return v;
    case 7: return old == v ? fresh : old;
    default: break;
  }
  if constexpr (std::is_integral_v<T>) {
    if (kind == 3) return old & v;
    if (kind == 4) return old | v;
    return old ^ v;
  }
  return old;
}
/// Point i changes leaf 1 of cell at[i]; the old number goes to y[i]. In order of the points, one host thread.
template <class T> void in_order(DType t, bool shared) {
  Layout l;
  l.leaves = {{DType::i8, 0}, {t, 8}};
  l.size = 24;
  const LayoutId cell = intern(l);
  for (int kind = 0; kind < kAtomicCount; ++kind) {
    if (is_float(t) && kind >= 3 && kind <= 5) continue;
    const std::string type = to_string(Type(t)), name = name_of(static_cast<Atomic>(kind)), more = kind == 7 ? ", %0" : "";
    const std::string text = "kernel @k(@c: inout " + to_string(cell) + "[?], @at: in i32[?], @x: in " + type + "[?], @y: out " + type +
                             "[?]) over (%0)" + (shared ? " in groups (32) {\n  shared @s: " + to_string(cell) + "[7]\n" : " {\n") +
                             "  %1 = load @at[%0] : i32\n  %2 = load @x[%0] : " + type + "\n  %3 = convert %0 : " + type +
                             "\n  %4 = atomic " + name + " @" + (shared ? "s" : "c") + "[%1].1, %2" + (kind == 7 ? ", %3" : "") + " : " +
                             type + "\n  store @y[%0], %4\n}\n";
    const Function f = parse(text);
    verify(f);
    const int n = 32;
    std::vector<Data> data = {Data(cell, {7}).fill(), Data(DType::i32, {n}), Data(t, {n}).fill(3), Data(t, {n})};
    for (int k = 0; k < n; ++k) data[1].as<int>()[k] = (k * k + k / 3) % 7;
    for (int k = 0; k < 7; ++k) {
      T v = shared ? T(0) : T(k + 1);
      std::memcpy(data[0].bytes.data() + 24 * k + 8, &v, sizeof v);
    }
    if (kind == 7)
      for (int k = 0; k < n; ++k) data[2].as<T>()[k] = T(k % 3 ? data[1].as<int>()[k] + (shared ? 0 : 1) : k);
    if (kind == 7 && shared)
      for (int k = 0; k < n; ++k) data[2].as<T>()[k] = T(k % 2 ? 0 : k - 7);
    std::vector<T> cells(7), olds(n);
    for (int k = 0; k < 7; ++k) std::memcpy(&cells[k], data[0].bytes.data() + 24 * k + 8, sizeof(T));
    for (int k = 0; k < n; ++k) {
      T& c = cells[data[1].as<int>()[k]];
      olds[k] = c;
      c = applied(kind, c, data[2].as<T>()[k], T(k));
    }
    for (const Variant& v : sets())
      for (const bool bounds : {false, true}) {
        INFO(name << " " << type << (shared ? " shared, " : ", ") << v.features << " width " << v.width);
        std::vector<Data> mine = data;
        run(*cpu_backend()->compile(f, {.width = v.width, .bounds = bounds, .features = v.features}), {n, 1, 1}, mine, {});
        for (int k = 0; k < n; ++k) CHECK(mine[3].as<T>()[k] == olds[k]);
        for (int k = 0; k < 7 && !shared; ++k) {
          T got;
          std::memcpy(&got, mine[0].bytes.data() + 24 * k + 8, sizeof got);
          CHECK(got == cells[k]);
          CHECK(mine[0].bytes[24 * k] == data[0].bytes[24 * k]);
        }
      }
  }
}
}  // namespace

TEST_CASE("atomics give the old number and work on a leaf in the order of the points", "[backends][cpu][atomics]") {
  in_order<float>(DType::f32, false);
  in_order<double>(DType::f64, false);
  in_order<std::int32_t>(DType::i32, false);
  in_order<std::uint64_t>(DType::u64, false);
  in_order<std::int8_t>(DType::i8, false);
}

TEST_CASE("atomics on shared memory start from zero in each group", "[backends][cpu][atomics][groups]") {
  in_order<float>(DType::f32, true);
  in_order<std::uint32_t>(DType::u32, true);
  in_order<std::int64_t>(DType::i64, true);
}

TEST_CASE("only active lanes take part in an atomic", "[backends][cpu][atomics]") {
  const Function f = parse(R"(kernel @some(@x: in i32[?], @c: inout i32[1], @y: out i32[?]) over (%0) {
  %1 = load @x[%0] : i32
  %2 = gt %1, 0 : bool
  %3 = if %2 {
    %4 = atomic add @c[0], %1 : i32
    yield %4
  } else {
    yield -1
  } : i32
  store @y[%0], %3
}
)");
  verify(f);
  for (const Variant& v : sets()) {
    std::vector<Data> data = {Data(DType::i32, {50}).fill(), Data(DType::i32, {1}), Data(DType::i32, {50})};
    run(*cpu_backend()->compile(f, {.width = v.width, .features = v.features}), {50, 1, 1}, data, {});
    int sum = 0;
    for (int k = 0; k < 50; ++k) {
      const int x = data[0].as<int>()[k];
      CHECK(data[2].as<int>()[k] == (x > 0 ? sum : -1));
      if (x > 0) sum += x;
    }
    CHECK(data[1].as<int>()[0] == sum);
  }
}

TEST_CASE("compare_exchange of floats compares bits", "[backends][cpu][atomics]") {
  const Function f = parse(
      "kernel @swap(@c: inout f32[?], @x: in f32[?], @y: out f32[?]) over (%0) {\n  %1 = load @x[%0] : f32\n"
      "  %2 = atomic compare_exchange @c[%0], %1, 5.0 : f32\n  store @y[%0], %2\n}\n");
  for (const bool relaxed : {false, true}) {
    std::vector<Data> data = {Data(DType::f32, {3}), Data(DType::f32, {3}), Data(DType::f32, {3})};
    const float nan = std::numeric_limits<float>::quiet_NaN();
    const float c[] = {0.0f, nan, -0.0f}, x[] = {-0.0f, nan, -0.0f};
    std::memcpy(data[0].as<float>(), c, sizeof c);
    std::memcpy(data[1].as<float>(), x, sizeof x);
    run(*cpu_backend()->compile(f, {.relaxed = relaxed}), {3, 1, 1}, data, {});
    CHECK(data[0].as<float>()[0] == 0);
    CHECK(data[0].as<float>()[1] == 5);
    CHECK(data[0].as<float>()[2] == 5);
    CHECK(std::memcmp(data[2].as<float>(), c, sizeof c) == 0);
  }
}

namespace {
constexpr int kMany = 1 << 18;
struct Threads {
  explicit Threads(int n) : before(cpu_threads()) { set_cpu_threads(n); }
  ~Threads() { set_cpu_threads(before); }
  int before;
};
std::string on_cells(const std::string& kind, const std::string& type) {
  return "kernel @cells(@c: inout " + type + "[?], @x: in " + type + "[?], @y: out " + type +
         "[?]) over (%0) {\n  %1 = rem %0, 5 : i32\n  %2 = load @x[%0] : " + type + "\n  %3 = atomic " + kind + " @c[%1], %2 : " + type +
         "\n  store @y[%0], %3\n}\n";
}
}  // namespace

TEST_CASE("relaxed atomics lose nothing on many threads of the host", "[backends][cpu][atomics]") {
  const Threads threads(4);
  for (const DType t : {DType::i32, DType::f32, DType::f64}) {
    const Function f = parse(on_cells("add", to_string(Type(t))));
    std::vector<Data> data = {Data(t, {5}), Data(t, {kMany}), Data(t, {kMany})};
    std::vector<double> cells(5);
    for (int k = 0; k < kMany; ++k) {
      if (t == DType::i32) data[1].as<int>()[k] = 1 + k % 3;
      else if (t == DType::f32) data[1].as<float>()[k] = static_cast<float>(1 + k % 3);  // sums stay exact
      else data[1].as<double>()[k] = 1 + k % 3;
      cells[k % 5] += 1 + k % 3;
    }
    run(*cpu_backend()->compile(f, {.relaxed = true}), {kMany, 1, 1}, data, {});
    for (int k = 0; k < 5; ++k) {
      const double got = t == DType::i32 ? data[0].as<int>()[k] : t == DType::f32 ? data[0].as<float>()[k] : data[0].as<double>()[k];
      CHECK(got == cells[k]);
    }
  }
}

TEST_CASE("each thread of the host gets another number from a counter", "[backends][cpu][atomics]") {
  const Threads threads(4);
  const Function f =
      parse("kernel @count(@c: inout i32[1], @y: out i32[?]) over (%0) {\n  %1 = atomic add @c[0], 1 : i32\n  store @y[%0], %1\n}\n");
  for (const bool relaxed : {false, true}) {
    std::vector<Data> data = {Data(DType::i32, {1}), Data(DType::i32, {kMany})};
    run(*cpu_backend()->compile(f, {.relaxed = relaxed}), {kMany, 1, 1}, data, {});
    std::vector<char> seen(kMany);
    for (int k = 0; k < kMany; ++k) {
      const int got = data[1].as<int>()[k];
      REQUIRE((got >= 0 && got < kMany && !seen[got]));
      seen[got] = 1;
      if (!relaxed) REQUIRE(got == k);  // whose order shows runs in order
    }
  }
}

TEST_CASE("atomic results do not depend on the number of threads unless relaxed", "[backends][cpu][atomics]") {
  for (const char* kind : {"add", "min", "max", "exchange"}) {
    for (const bool used : {true, false}) {
      std::string text = on_cells(kind, "f32");
      if (!used) text.erase(text.find("  store @y"), text.find("}\n") - text.find("  store @y"));
      const Function f = parse(text);
      std::vector<Data> first;
      for (const int n : {1, 2, 5}) {
        const Threads threads(n);
        std::vector<Data> data = {Data(DType::f32, {5}).fill(9), Data(DType::f32, {kMany}).fill(), Data(DType::f32, {kMany})};
        for (int k = 0; k < kMany; ++k) data[1].as<float>()[k] /= 3;
        run(*cpu_backend()->compile(f, {}), {kMany, 1, 1}, data, {});
        if (first.empty()) first = data;
        CHECK(first[0].bytes == data[0].bytes);
        CHECK(first[2].bytes == data[2].bytes);
      }
    }
  }
}
