// Access classes, tails, 2-D and 3-D domains, structs, halves, local arrays, accumulates, bounds, check, print.
#include <sys/mman.h>

#include "run_kernel.h"

using namespace fluxion;
using namespace fluxion::testing;

namespace {
LayoutId struct_layout() {  // {f32, f64, i16, bool} with C's offsets
  Layout l;
  l.leaves = {{DType::f32, 0}, {DType::f64, 8}, {DType::i16, 16}, {DType::boolean, 18}};
  l.size = 24;
  return intern(l);
}
const std::vector<Variant> kFew = {{16, ""}, {32, ""}, {2, ""}, {8, "sse2"}};
}  // namespace

TEST_CASE("contiguous accesses work for every domain size around the width", "[backends][cpu]") {
  for (const DType t : {DType::f32, DType::f64, DType::i8, DType::u16, DType::boolean, DType::i64}) {
    Function f = kernel("copy");
    Builder b(f);
    const MemoryId x = b.memory_parameter(t, 1, Role::in, "x"), y = b.memory_parameter(t, 1, Role::inout, "y");
    const ValueId i[] = {b.index(0)};
    const ValueId up[] = {b.add(i[0], b.i32(1))};
    b.store(y, i, b.select(b.emit(Opcode::eq, {b.load(x, i), b.load(x, up)}), b.load(y, i), b.load(x, up)));
    b.finish();
    agrees(f, {{1, 1, 1}, {3, 1, 1}, {16, 1, 1}, {17, 1, 1}, {40, 1, 1}}, {Data(t, {41}).fill(), Data(t, {40}).fill(7)});
  }
}

TEST_CASE("an empty domain touches nothing", "[backends][cpu]") {
  Function f = kernel("fill");
  Builder b(f);
  const MemoryId y = b.memory_parameter(DType::f32, 1, Role::out, "y");
  const ValueId i[] = {b.index(0)};
  b.store(y, i, b.constant_float(DType::f32, 1));
  b.finish();
  agrees(f, {{0, 1, 1}}, {Data(DType::f32, {4}).fill()});
}

TEST_CASE("uniform strided and gathered accesses agree with the evaluator", "[backends][cpu]") {
  for (const LayoutId e :
       {LayoutId(DType::f32), packed(DType::f32, 2), packed(DType::f32, 3), packed(DType::f64, 4), packed(DType::u8, 5), struct_layout()}) {
    Function f = kernel("accesses");
    Builder b(f);
    const ValueId k = b.scalar_parameter(DType::i32, "k");
    const MemoryId x = b.memory_parameter(e, 1, Role::in, "x"), index = b.memory_parameter(DType::i32, 1, Role::in, "index");
    const ValueId i = b.index(0), at[] = {i}, fixed[] = {k}, twice[] = {b.mul(i, b.i32(2))}, back[] = {b.sub(b.i32(39), i)};
    const ValueId far[] = {b.load(index, at)};
    const auto& leaves = layout_of(e).leaves;
    std::vector<Data> data = {Data(e, {80}).fill(), Data(DType::i32, {40})};
    for (int j = 0; j < 40; ++j) data[1].as<std::int32_t>()[j] = (j * 29 + 5) % 40;
    for (std::size_t leaf = 0; leaf < leaves.size(); ++leaf) {
      const DType t = leaves[leaf].dtype;
      for (const ValueId* idx : {at, fixed, twice, back, far}) {
        const MemoryId y = b.memory_parameter(t, 1, Role::out, "y");
        data.emplace_back(t, std::initializer_list<std::int64_t>{40});
        b.store(y, at, b.load(x, {idx, 1}, static_cast<int>(leaf)));
      }
    }
    const MemoryId all = b.memory_parameter(e, 1, Role::out, "all"), scattered = b.memory_parameter(e, 1, Role::out, "scattered"),
                   one = b.memory_parameter(e, 1, Role::inout, "one");
    for (int to = 0; to < 3; ++to) {
      data.push_back(Data(e, {40}));
      for (std::size_t leaf = 0; leaf < leaves.size(); ++leaf) {
        const int l = static_cast<int>(leaf);
        if (to == 0) b.store(all, at, b.load(x, at, l), l);
        if (to == 1) b.store(scattered, far, b.load(x, at, l), l);
        if (to == 2 && leaf < 2) b.store(one, at, b.load(x, twice, l), l);  // a part of a struct
      }
    }
    b.finish();
    agrees(f, {{40, 1, 1}, {21, 1, 1}}, data, {11}, 0, kFew);
  }
}

TEST_CASE("a stencil over two and three axes agrees with the evaluator", "[backends][cpu]") {
  for (int rank : {2, 3}) {
    Function f = kernel("stencil", rank);
    Builder b(f);
    const MemoryId x = b.memory_parameter(DType::f32, rank, Role::in, "x"), y = b.memory_parameter(DType::f32, rank, Role::out, "y");
    std::vector<ValueId> c;
    for (int k = 0; k < rank; ++k) c.push_back(b.index(k));
    ValueId inside = b.boolean(true);
    for (int k = 0; k < rank; ++k) {
      inside = b.emit(Opcode::bit_and, {inside, b.emit(Opcode::gt, {c[k], b.i32(0)})});
      inside = b.emit(Opcode::bit_and, {inside, b.emit(Opcode::lt, {c[k], b.sub(b.extent(x, k), b.i32(1))})});
    }
    const Values v = b.if_(
        inside,
        [&] {
          ValueId sum = b.load(x, c);
          for (int k = 0; k < rank; ++k)
            for (int d : {-1, 1}) {
              auto n = c;
              n[k] = b.add(n[k], b.i32(d));
              sum = b.add(sum, b.load(x, n));
            }
          return Values{sum};
        },
        [&] { return Values{b.convert(c[0], DType::f32)}; });
    b.store(y, c, v[0]);
    b.finish();
    if (rank == 2) agrees(f, {{7, 37, 1}}, {Data(DType::f32, {7, 37}).fill(), Data(DType::f32, {7, 37})});
    else agrees(f, {{3, 5, 19}}, {Data(DType::f32, {3, 5, 19}).fill(), Data(DType::f32, {3, 5, 19})});
  }
}

TEST_CASE("a transposed access gathers along the slow axis", "[backends][cpu]") {
  Function f = kernel("transpose", 2);
  Builder b(f);
  const MemoryId x = b.memory_parameter(DType::f64, 2, Role::in, "x"), y = b.memory_parameter(DType::f64, 2, Role::out, "y");
  const ValueId ij[] = {b.index(0), b.index(1)}, ji[] = {b.index(1), b.index(0)};
  b.store(y, ij, b.load(x, ji));
  b.finish();
  agrees(f, {{18, 33, 1}}, {Data(DType::f64, {33, 18}).fill(), Data(DType::f64, {18, 33})});
}

TEST_CASE("f16 and bf16 are read and written through f32", "[backends][cpu]") {
  for (const DType t : {DType::f16, DType::bf16}) {
    Function f = kernel("halves");
    Builder b(f);
    const MemoryId x = b.memory_parameter(t, 1, Role::in, "x"), y = b.memory_parameter(t, 1, Role::out, "y");
    const ValueId i[] = {b.index(0)};
    b.store(y, i, b.convert(b.mul(b.convert(b.load(x, i), DType::f32), b.constant_float(DType::f32, 1.37)), t));
    b.finish();
    agrees(f, {{50, 1, 1}}, {Data(t, {50}).fill(), Data(t, {50})});
  }
}

TEST_CASE("local arrays belong to one point", "[backends][cpu]") {
  for (std::int64_t length : {5, 3000}) {
    Function f = kernel("local");
    Builder b(f);
    const MemoryId x = b.memory_parameter(DType::f32, 1, Role::in, "x"), y = b.memory_parameter(DType::f32, 1, Role::out, "y");
    const MemoryId t = b.local(DType::f32, length, "t");
    const ValueId i = b.index(0), at[] = {i};
    const ValueId v = b.load(x, at), zero[] = {b.constant_float(DType::f32, 0)};
    const ValueId own[] = {b.emit(Opcode::rem, {i, b.i32(5)})}, two[] = {b.i32(2)};
    b.store(t, own, v);
    b.accumulate(t, two, b.constant_float(DType::f32, 0.5));
    b.accumulate(t, own, v);
    const auto sum = b.for_(b.i32(0), b.i32(5), zero, [&](ValueId k, const Values& c) {
      const ValueId item[] = {k}, scale = b.convert(b.add(k, b.i32(1)), DType::f32);
      const MemoryId inner = b.local(DType::f32, 2, "inner");  // anew, and zero, each trip
      const ValueId first[] = {b.i32(0)};
      b.accumulate(inner, first, b.load(t, item));
      return Builder::LoopYield{{b.add(c[0], b.mul(scale, b.load(inner, first)))}, {}};
    });
    b.store(y, at, sum.carries[0]);
    b.finish();
    agrees(f, {{45, 1, 1}}, {Data(DType::f32, {45}).fill(), Data(DType::f32, {45})});
  }
}

TEST_CASE("arrays beyond 2 GiB are gathered and scattered with 64-bit offsets", "[backends][cpu]") {
  constexpr std::int64_t n = 600'000'000;
  void* p = mmap(nullptr, n * 4, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  REQUIRE(p != MAP_FAILED);
  Function f = kernel("far");
  Builder b(f);
  const MemoryId x = b.memory_parameter(DType::f32, 1, Role::inout, "x"), index = b.memory_parameter(DType::i32, 1, Role::in, "index");
  const ValueId i[] = {b.index(0)}, at[] = {b.load(index, i)}, before[] = {b.sub(at[0], b.i32(1))};
  b.store(x, before, b.add(b.load(x, at), b.constant_float(DType::f32, 1)));
  b.finish();
  std::vector<std::int32_t> where(20);
  auto* values = static_cast<float*>(p);
  for (int k = 0; k < 20; ++k) {
    where[static_cast<std::size_t>(k)] = static_cast<std::int32_t>(n - 1 - 29'000'000ll * k);
    values[where[static_cast<std::size_t>(k)]] = static_cast<float>(k);
  }
  const ArrayArgument arrays[] = {{p, {n, 1, 1}}, {where.data(), {20, 1, 1}}};
  FailureSlot failure;
  cpu_backend()->compile(f, {})->run({{20, 1, 1}, arrays, {}}, failure);
  failure.rethrow();
  for (int k = 0; k < 20; ++k) CHECK(values[where[static_cast<std::size_t>(k)] - 1] == static_cast<float>(k + 1));
  munmap(p, n * 4);
}

TEST_CASE("accumulates reach every element whatever the index looks like", "[backends][cpu]") {
  // Values are small multiples of a power of two, so that any order of additions gives the same sum.
  for (const LayoutId e : {LayoutId(DType::f32), LayoutId(DType::f64), LayoutId(DType::i32), LayoutId(DType::u8), packed(DType::f32, 2),
                           packed(DType::f32, 3), packed(DType::f32, 4)}) {
    const DType t = layout_of(e).leaves[0].dtype;
    Function f = kernel("accumulates");
    Builder b(f);
    const ValueId k = b.scalar_parameter(DType::i32, "k");
    const MemoryId x = b.memory_parameter(t, 1, Role::in, "x"), index = b.memory_parameter(DType::i32, 1, Role::in, "index");
    const ValueId i = b.index(0), at[] = {i}, fixed[] = {k}, next[] = {b.add(i, b.i32(1))}, few[] = {b.emit(Opcode::rem, {i, b.i32(3)})};
    const ValueId far[] = {b.load(index, at)};
    const ValueId v = b.load(x, at);
    const ValueId zero[] = {b.i32(0)};
    const ValueId some = b.emit(Opcode::eq, {b.emit(Opcode::rem, {i, b.i32(3)}), b.i32(1)});
    std::vector<Data> data = {Data(t, {60}).fill(), Data(DType::i32, {60})};
    for (int j = 0; j < 60; ++j) data[1].as<std::int32_t>()[j] = (j * j) % 17;
    const int leaves = static_cast<int>(layout_of(e).leaves.size());
    for (int place = 0; place < 8; ++place) {
      const MemoryId sum = b.memory_parameter(e, 1, Role::accum, "sum");
      data.push_back(Data(e, {64}).fill(static_cast<std::uint32_t>(place)));
      const ValueId* idx = place == 0 ? at : place == 1 ? fixed : place == 2 ? next : place == 3 ? few : far;
      const auto add = [&] {
        for (int l = 0; l < leaves; ++l) b.accumulate(sum, {idx, 1}, v, l);
      };
      if (place >= 6) {  // some leaves of an element
        for (int l = leaves / 2; l < leaves; ++l) b.accumulate(sum, {place == 6 ? far : at, 1}, b.add(v, v), l);
        continue;
      }
      if (place == 5) {  // under a mask, by a loop's counter too
        b.if_(
            some,
            [&] {
              add();
              b.accumulate(sum, fixed, v, leaves - 1);
              return Values{};
            },
            [] { return Values{}; });
        b.for_(b.i32(0), b.i32(3), {}, [&](ValueId j, const Values&) {
          const ValueId here[] = {j};
          b.accumulate(sum, here, v);
          return Builder::LoopYield{};
        });
      } else {
        add();
        if (place == 2) b.accumulate(sum, at, v);
      }
    }
    (void)zero;
    b.finish();
    agrees(f, {{60, 1, 1}, {19, 1, 1}}, data, {9}, 0, kFew);
  }
}

TEST_CASE("neighbouring chunks that add to the same rows lose nothing on any number of threads", "[backends][cpu]") {
  // The adjoint of a stencil. Sums are exact in any order, so a lost or doubled addition shows.
  const std::array<std::int64_t, 3> domains[] = {{150000, 1, 1}, {300, 301, 1}, {40, 41, 65}};
  for (int rank = 1; rank <= 3; ++rank) {
    const auto& domain = domains[rank - 1];
    Function f = kernel("scatter", rank);
    Builder b(f);
    const MemoryId x = b.memory_parameter(DType::f32, rank, Role::in, "x"), y = b.memory_parameter(DType::f32, rank, Role::accum, "y");
    const MemoryId z = b.memory_parameter(DType::f64, rank, Role::accum, "z");
    std::vector<ValueId> c;
    for (int k = 0; k < rank; ++k) c.push_back(b.index(k));
    const ValueId v = b.load(x, c), wide = b.convert(v, DType::f64);
    for (int d = 0; d <= 6; d += 3)  // 6 rows apart
      for (int k = 0; k < rank; ++k) {
        auto at = c;
        at[static_cast<std::size_t>(k)] = b.add(at[static_cast<std::size_t>(k)], b.i32(d));
        b.accumulate(y, at, v);
        b.accumulate(z, at, wide);
      }
    b.finish();
    std::array<std::int64_t, 3> shape = domain;
    for (int k = 0; k < rank; ++k) shape[static_cast<std::size_t>(k)] += 6;
    std::vector<Data> data;
    for (const DType t : {DType::f32, DType::f32, DType::f64})
      data.push_back(Data(t, {shape[0], shape[1], shape[2]}).fill(static_cast<std::uint32_t>(rank)));
    const auto expected = evaluated(f, domain, data, {});
    const auto code = cpu_backend()->compile(f, {});
    for (const int threads : {1, 2, 5}) {
      set_cpu_threads(threads);
      std::vector<Data> mine = data;
      run(*code, domain, mine, {});
      INFO("rank " << rank << ", " << threads << " threads");
      for (std::size_t k = 0; k < mine.size(); ++k) CHECK(difference(expected[k], mine[k]) == 0);
    }
    set_cpu_threads(0);
  }
}

TEST_CASE("indices that wrap around are not taken for different elements", "[backends][cpu]") {
  // Points k and k + 256 meet at element 0 for every multiple of 256; elsewhere the index leaves the array.
  Function f = kernel("wraps");
  Builder b(f);
  const MemoryId y = b.memory_parameter(DType::i32, 1, Role::accum, "y");
  const ValueId i = b.index(0), at[] = {b.mul(i, b.i32(1 << 24))};
  b.if_(
      b.emit(Opcode::eq, {b.emit(Opcode::bit_and, {i, b.i32(255)}), b.i32(0)}),
      [&] {
        b.accumulate(y, at, b.i32(1));
        return Values{};
      },
      [] { return Values{}; });
  b.finish();
  set_cpu_threads(4);
  agrees(f, {{1 << 20, 1, 1}}, {Data(DType::i32, {4})}, {}, 0, {{16, ""}});
  set_cpu_threads(0);
}

TEST_CASE("an index outside its memory is reported with line and values", "[backends][cpu]") {
  Function f = kernel("shift");
  Builder b(f);
  const MemoryId x = b.memory_parameter(DType::f32, 1, Role::in, "x"), y = b.memory_parameter(DType::f32, 1, Role::out, "y");
  const ValueId i = b.index(0), at[] = {i}, up[] = {b.add(i, b.i32(2))};
  b.loc = {"user.cpp", 12};
  const ValueId v = b.load(x, up);
  b.loc = {"user.cpp", 13};
  b.store(y, at, v);
  b.finish();
  for (int width : {16, 1}) {
    const auto code = cpu_backend()->compile(f, {.width = width, .bounds = true});
    std::vector<Data> data = {Data(DType::f32, {20}).fill(), Data(DType::f32, {20})};
    CHECK_THROWS_WITH(run(*code, {20, 1, 1}, data, {}), "user.cpp:12: kernel \"shift\": x[20] is outside x, which has 20 elements");
    CHECK_NOTHROW(run(*code, {18, 1, 1}, data, {}));
  }
}

TEST_CASE("an index into a matrix outside one axis is reported", "[backends][cpu]") {
  Function f = kernel("skew", 2);
  Builder b(f);
  const MemoryId x = b.memory_parameter(DType::f32, 2, Role::in, "x"), y = b.memory_parameter(DType::f32, 2, Role::out, "y");
  const ValueId at[] = {b.index(0), b.index(1)}, up[] = {b.index(0), b.sub(b.index(1), b.i32(1))};
  b.loc = {"user.cpp", 5};
  b.store(y, at, b.load(x, up));
  b.finish();
  std::vector<Data> data = {Data(DType::f32, {3, 20}).fill(), Data(DType::f32, {3, 20})};
  CHECK_THROWS_WITH(run(*cpu_backend()->compile(f, {.bounds = true}), {3, 20, 1}, data, {}),
                    "user.cpp:5: kernel \"skew\": x[0, -1] is outside x, which has 3 x 20 elements");
}

TEST_CASE("a failed check reports its text with the values of the first such lane", "[backends][cpu]") {
  Function f = kernel("checked");
  Builder b(f);
  const MemoryId x = b.memory_parameter(DType::f32, 1, Role::in, "x");
  const ValueId i = b.index(0), at[] = {i};
  const ValueId v = b.load(x, at), values[] = {b.emit(Opcode::ge, {v, b.constant_float(DType::f32, 0)}), v, i};
  b.loc = {"user.cpp", 30};
  b.effect(Opcode::check, "negative: {} at {}", values);
  b.finish();
  const auto code = cpu_backend()->compile(f, {});
  std::vector<Data> data = {Data(DType::f32, {40})};
  CHECK_NOTHROW(run(*code, {40, 1, 1}, data, {}));
  data[0].as<float>()[35] = -1.5f;
  data[0].as<float>()[37] = -2.5f;
  CHECK_THROWS_WITH(run(*code, {40, 1, 1}, data, {}), "user.cpp:30: negative: -1.5 at 35");
}

TEST_CASE("points print in order", "[backends][cpu]") {
  Function f = kernel("talk");
  Builder b(f);
  const ValueId i[] = {b.index(0)};
  b.effect(Opcode::print, "first {}", i);
  b.if_(
      b.emit(Opcode::gt, {i[0], b.i32(0)}),
      [&] {
        b.effect(Opcode::print, "then {}", i);
        return Values{};
      },
      [] { return Values{}; });
  b.finish();
  std::string seen;
  set_print_sink([](std::string_view line, void* user) { *static_cast<std::string*>(user) += std::string(line) + "\n"; }, &seen);
  std::vector<Data> none;
  run(*cpu_backend()->compile(f, {}), {3, 1, 1}, none, {});
  set_print_sink(nullptr, nullptr);
  CHECK(seen == "first 0\nfirst 1\nthen 1\nfirst 2\nthen 2\n");
}

TEST_CASE("an object loads into another executable and a damaged one does not", "[backends][cpu]") {
  Function f = kernel("twice");
  Builder b(f);
  const MemoryId x = b.memory_parameter(DType::f32, 1, Role::inout, "x");
  const ValueId i[] = {b.index(0)};
  const ValueId v = b.load(x, i);
  b.store(x, i, b.emit(Opcode::sin, {b.add(v, v)}));
  b.finish();
  const std::string object = cpu_backend()->compile(f, {})->object();
  REQUIRE_FALSE(object.empty());
  const auto code = cpu_backend()->load(f, {}, object);
  REQUIRE(code);
  std::vector<Data> data = {Data(DType::f32, {33}).fill()}, expected = evaluated(f, {33, 1, 1}, data, {});
  run(*code, {33, 1, 1}, data, {});
  CHECK(difference(expected[0], data[0]) <= 4);
  CHECK_FALSE(cpu_backend()->load(f, {}, object.substr(0, object.size() / 2)));
  CHECK_FALSE(cpu_backend()->load(f, {}, "nonsense"));
  CHECK(code->dump("llvm").find("define") != std::string::npos);
  CHECK(code->dump("asm").find("ret") != std::string::npos);
}
