// Groups of threads: shared memory, barriers, several axes, subgroups. What is expected is written out in C++.
#include <map>

#include "run_kernel.h"

using namespace fluxion;
using namespace fluxion::testing;

namespace {
std::vector<Variant> sets() {
  std::vector<Variant> v = {{0, ""}, {0, "", true}, {0, "sse2"}};
  for (const Variant& x : variants())
    if (std::string(x.features) == "avx2") v.push_back({0, "avx2"});
  return v;
}
std::map<std::string, std::shared_ptr<Executable>> compiled;
/// Runs on every feature set and gives what is left in the arrays to `check`.
template <class Check>
void on_all(const std::string& text, std::array<std::int64_t, 3> domain, const std::vector<Data>& data, const Check& check,
            const std::vector<std::uint64_t>& scalars = {}) {
  const Function f = parse(text);
  verify(f);
  for (const Variant& v : sets()) {
    INFO(f.name << " on " << v.features << (v.bounds ? " with bounds" : ""));
    std::vector<Data> mine = data;
    auto& code = compiled[text + v.features + (v.bounds ? "bounds" : "")];
    if (!code) code = cpu_backend()->compile(f, {.bounds = v.bounds, .features = v.features});
    run(*code, domain, mine, scalars);
    check(mine);
  }
}
std::string threads(int n) { return " in groups (" + std::to_string(n) + ") {\n"; }

// Sum of each group, halving the distance: y[group] = sum x.
std::string tree_sum(int n) {
  return "kernel @tree(@x: in f32[?], @y: inout f32[?]) over (%0)" + threads(n) + "  shared @s: f32[" + std::to_string(n) + "]\n" +
         "  %1 = group_index [0] : i32\n  %2 = mul %1, " + std::to_string(n) + " : i32\n" + R"(  %3 = sub %0, %2 : i32
  %4 = load @x[%0] : f32
  store @s[%3], %4
  barrier
  %5, %6 = while )" +
         std::to_string(n / 2) + R"( (%7: i32) {
    %8 = gt %7, 0 : bool
    yield %8, %7
  } do (%9: i32) {
    %10 = lt %3, %9 : bool
    if %10 {
      %11 = add %3, %9 : i32
      %12 = load @s[%11] : f32
      %13 = load @s[%3] : f32
      %14 = add %12, %13 : f32
      store @s[%3], %14
    } else {
    }
    barrier
    %15 = div %9, 2 : i32
    yield %15
  } : i32, i32
  %16 = eq %3, 0 : bool
  if %16 {
    %17 = load @s[0] : f32
    store @y[%1], %17
  } else {
  }
}
)";
}
}  // namespace

TEST_CASE("a group sums its elements in shared memory whatever its size", "[backends][cpu][groups]") {
  for (const int n : {1, 2, 8, 32, 64, 512}) {
    const int groups = 5;
    std::vector<Data> data = {Data(DType::f32, {n * groups}).fill(), Data(DType::f32, {groups})};
    on_all(tree_sum(n), {n * groups, 1, 1}, data, [&](const std::vector<Data>& d) {
      for (int g = 0; g < groups; ++g) {
        float sum = 0;  // exact: the numbers are multiples of 1/256
        for (int k = 0; k < n; ++k) sum += d[0].as<float>()[g * n + k];
        CHECK(d[1].as<float>()[g] == sum);
      }
    });
  }
}

TEST_CASE("groups whose size is no power of two leave the other lanes alone", "[backends][cpu][groups]") {
  for (const int n : {3, 17, 48}) {
    const std::string size = std::to_string(n);
    const std::string text = "kernel @turn(@x: in i32[?], @y: out i32[?], @c: inout i32[?]) over (%0)" + threads(n) + "  shared @s: i32[" +
                             size + "]\n  %1 = group_index [0] : i32\n  %2 = mul %1, " + size + " : i32\n  %3 = sub %0, %2 : i32\n" +
                             "  %4 = load @x[%0] : i32\n  store @s[%3], %4\n  barrier\n  %5 = sub " + std::to_string(n - 1) +
                             ", %3 : i32\n  %6 = load @s[%5] : i32\n  store @y[%0], %6\n  %7 = atomic add @c[%1], 1 : i32\n}\n";
    std::vector<Data> data = {Data(DType::i32, {4 * n}).fill(), Data(DType::i32, {4 * n}), Data(DType::i32, {4})};
    on_all(text, {4 * n, 1, 1}, data, [&](const std::vector<Data>& d) {
      for (int k = 0; k < 4 * n; ++k) CHECK(d[1].as<int>()[k] == d[0].as<int>()[k / n * n + n - 1 - k % n]);
      for (int g = 0; g < 4; ++g) CHECK(d[2].as<int>()[g] == n);
    });
  }
}

TEST_CASE("shared memory is zero at the start of each group", "[backends][cpu][groups]") {
  const char* text = R"(kernel @fresh(@y: out f32[?]) over (%0) in groups (16) {
  shared @s: f32[16]
  %1 = group_index [0] : i32
  %2 = mul %1, 16 : i32
  %3 = sub %0, %2 : i32
  %4 = load @s[%3] : f32
  store @y[%0], %4
  barrier
  %5 = convert %0 : f32
  store @s[%3], %5
}
)";
  std::vector<Data> data = {Data(DType::f32, {640}).fill()};
  on_all(text, {640, 1, 1}, data, [&](const std::vector<Data>& d) {
    for (int k = 0; k < 640; ++k) CHECK(d[0].as<float>()[k] == 0);
  });
}

TEST_CASE("a tile of two axes transposes through shared memory", "[backends][cpu][groups]") {
  const char* text = R"(kernel @transpose(@x: in f32[?, ?], @y: out f32[?, ?]) over (%0, %1) in groups (8, 8) {
  shared @s: f32[64]
  %2 = group_index [0] : i32
  %3 = group_index [1] : i32
  %4 = mul %2, 8 : i32
  %5 = mul %3, 8 : i32
  %6 = sub %0, %4 : i32
  %7 = sub %1, %5 : i32
  %8 = load @x[%0, %1] : f32
  %9 = mul %6, 8 : i32
  %10 = add %9, %7 : i32
  store @s[%10], %8
  barrier
  %11 = mul %7, 8 : i32
  %12 = add %11, %6 : i32
  %13 = load @s[%12] : f32
  %14 = add %5, %6 : i32
  %15 = add %4, %7 : i32
  store @y[%14, %15], %13
}
)";
  std::vector<Data> data = {Data(DType::f32, {24, 40}).fill(), Data(DType::f32, {40, 24})};
  on_all(text, {24, 40, 1}, data, [&](const std::vector<Data>& d) {
    for (int i = 0; i < 24; ++i)
      for (int j = 0; j < 40; ++j) CHECK(d[1].as<float>()[j * 24 + i] == d[0].as<float>()[i * 40 + j]);
  });
}

TEST_CASE("threads of a group of three axes know their place", "[backends][cpu][groups]") {
  const char* text = R"(kernel @place(@y: out i32[?, ?, ?]) over (%0, %1, %2) in groups (2, 3, 4) {
  %3 = group_index [0] : i32
  %4 = group_index [1] : i32
  %5 = group_index [2] : i32
  %6 = mul %3, 100 : i32
  %7 = mul %4, 10 : i32
  %8 = add %6, %7 : i32
  %9 = add %8, %5 : i32
  %10 = mul %9, 1000 : i32
  %11 = mul %0, 100 : i32
  %12 = mul %1, 10 : i32
  %13 = add %11, %12 : i32
  %14 = add %13, %2 : i32
  %15 = add %10, %14 : i32
  store @y[%0, %1, %2], %15
}
)";
  std::vector<Data> data = {Data(DType::i32, {4, 6, 8})};
  on_all(text, {4, 6, 8}, data, [&](const std::vector<Data>& d) {
    for (int i = 0; i < 4; ++i)
      for (int j = 0; j < 6; ++j)
        for (int k = 0; k < 8; ++k)
          CHECK(d[0].as<int>()[(i * 6 + j) * 8 + k] == 1000 * (i / 2 * 100 + j / 3 * 10 + k / 4) + 100 * i + 10 * j + k);
  });
}

TEST_CASE("loops of different length in a group agree with the evaluator in either direction", "[backends][cpu][groups]") {
  for (const char* down : {"", "down "}) {
    const Function f = parse(std::string(R"(kernel @rounds(@n: in i32[?], @x: in i32[?], @y: out i32[?]) over (%0) in groups (16) {
  shared @s: i32[16]
  %1 = load @n[%0] : i32
  %2 = load @x[%0] : i32
  %3 = for )") + down + R"(0, %1, %2 (%4: i32, %5: i32) {
    %6 = subgroup add %5 : i32
    %7 = bit_and %6, 15 : i32
    %8 = subgroup shuffle %5, %7 : i32
    %9 = add %8, %4 : i32
    yield %9
  } : i32
  %10 = bit_and %3, 15 : i32
  %11 = atomic add @s[%10], %3 : i32
  barrier
  %12 = load @s[%10] : i32
  store @y[%0], %12
}
)");
    std::vector<Data> data = {Data(DType::i32, {48}), Data(DType::i32, {48}).fill(), Data(DType::i32, {48})};
    for (int k = 0; k < 48; ++k) data[0].as<int>()[k] = (k * 5) % 7;
    agrees(f, {{48, 1, 1}}, data, {}, 0, sets());
  }
}

TEST_CASE("a launch that is no multiple of the group is refused", "[backends][cpu][groups]") {
  const Function f = parse("kernel @g(@y: out i32[?]) over (%0) in groups (8) {\n  store @y[%0], 1\n}\n");
  std::vector<Data> data = {Data(DType::i32, {20})};
  CHECK_THROWS_WITH(run(*cpu_backend()->compile(f, {}), {20, 1, 1}, data, {}),
                    Catch::Contains("groups of 8 threads") && Catch::Contains("20"));
}

TEST_CASE("a barrier that some threads of a group do not reach is an error", "[backends][cpu][groups]") {
  const Function f = parse(R"(kernel @part(@x: in i32[?]) over (%0) in groups (8) {
  %1 = load @x[%0] : i32
  %2 = gt %1, 0 : bool
  if %2 {
    barrier
  } else {
  }
}
)");
  std::vector<Data> data = {Data(DType::i32, {16})};
  CHECK_NOTHROW(run(*cpu_backend()->compile(f, {}), {16, 1, 1}, data, {}));
  for (int k = 0; k < 16; ++k) data[0].as<int>()[k] = k / 8;
  CHECK_NOTHROW(run(*cpu_backend()->compile(f, {}), {16, 1, 1}, data, {}));  // all of one group, none of the other
  data[0].as<int>()[3] = 1;
  CHECK_THROWS_WITH(run(*cpu_backend()->compile(f, {}), {16, 1, 1}, data, {}), Catch::Contains("not all threads of a group"));
}

TEST_CASE("an index outside shared memory is found", "[backends][cpu][groups]") {
  const Function f = parse("kernel @g(@y: in i32[?]) over (%0) in groups (8) {\n  shared @s: i32[7]\n  store @s[%0], 1\n}\n");
  std::vector<Data> data = {Data(DType::i32, {8})};
  CHECK_THROWS_WITH(run(*cpu_backend()->compile(f, {.bounds = true}), {8, 1, 1}, data, {}), Catch::Contains("s[7] is outside s"));
}

namespace {
/// One subgroup op on x, only threads with on[i] != 0 taking part; the others store 77.
std::string subgroup_text(const std::string& kind, const std::string& type, int n) {
  const bool lane = kind == "shuffle" || kind == "scatter_add";
  return "kernel @sub(@x: in " + type + "[?], @on: in i32[?], @lane: in i32[?], @y: out " + type + "[?]) over (%0)" + threads(n) +
         "  %1 = load @x[%0] : " + type +
         "\n  %2 = load @on[%0] : i32\n  %3 = load @lane[%0] : i32\n  %4 = ne %2, 0 : bool\n  if %4 {\n    %5 = subgroup " + kind + " %1" +
         (lane ? ", %3" : "") + " : " + type + "\n    store @y[%0], %5\n  } else {\n    %6 = convert 77 : " + type +
         "\n    store @y[%0], %6\n  }\n}\n";
}
template <class T> T combined(const std::string& kind, T a, T b) {
  if (kind == "min") return b < a || a != a ? b : a;
  if (kind == "max") return b > a || a != a ? b : a;
  if constexpr (std::is_integral_v<T>) {
    if (kind == "and") return a & b;
    if (kind == "or") return a | b;
    if (kind == "xor") return a ^ b;
    return static_cast<T>(static_cast<std::make_unsigned_t<T>>(a) + static_cast<std::make_unsigned_t<T>>(b));
  }
  return a + b;
}
template <class T> void subgroups_agree(const std::string& kind, DType t) {
  for (const int n : {8, 40, 64}) {
    for (const int on : {0, 1, 2}) {
      const int count = 2 * n;
      std::vector<Data> data = {Data(t, {count}).fill(), Data(DType::i32, {count}), Data(DType::i32, {count}), Data(t, {count})};
      T* x = data[0].as<T>();
      for (int k = 0; k < count; ++k) {
        if constexpr (std::is_floating_point_v<T>) x[k] = x[k] / T(3) + T(k) * T(1e-3);  // sums round
        data[1].as<int>()[k] = on == 0 || (on == 1 ? (k * 7 + k / 5) % 3 != 0 : k % 9 == 4);
        data[2].as<int>()[k] = (k * 13 + k / 3) % 35 - 1;  // some outside
      }
      on_all(subgroup_text(kind, to_string(Type(t)), n), {count, 1, 1}, data, [&](const std::vector<Data>& d) {
        const int *active = d[1].as<int>(), *lane = d[2].as<int>();
        for (int k = 0; k < count; ++k) {
          const int first = k - k % n % 32, end = std::min(first + 32, k / n * n + n);
          T expect = T(0);
          bool any = false;
          if (!active[k]) expect = T(77);
          else if (kind == "shuffle") {
            const int from = first + lane[k];
            if (lane[k] >= 0 && lane[k] < 32 && from < end && active[from]) expect = d[0].as<T>()[from];
          } else {
            const bool back = kind == "scan_add_back";
            for (int j = back ? end - 1 : first; j >= first && j < end; j += back ? -1 : 1) {
              if (!active[j] || (kind == "scan_add" && j > k) || (kind == "scan_add_back" && j < k) ||
                  (kind == "scatter_add" && lane[j] != k - first))
                continue;
              expect = any ? combined(kind, expect, d[0].as<T>()[j]) : d[0].as<T>()[j];
              any = true;
            }
          }
          INFO("thread " << k << " of " << n << ", kind " << kind);
          CHECK(d[3].as<T>()[k] == expect);
        }
      });
    }
  }
}
}  // namespace

TEST_CASE("subgroup ops see the active threads and combine them in the order of the lanes", "[backends][cpu][groups]") {
  for (const char* kind : {"add", "min", "max", "scan_add", "scan_add_back", "shuffle", "scatter_add"}) {
    subgroups_agree<float>(kind, DType::f32);
    subgroups_agree<std::int32_t>(kind, DType::i32);
  }
  for (const char* kind : {"and", "or", "xor"}) subgroups_agree<std::uint32_t>(kind, DType::u32);
  subgroups_agree<double>("add", DType::f64);
  subgroups_agree<std::int64_t>("max", DType::i64);
  subgroups_agree<std::uint8_t>("min", DType::u8);
}
