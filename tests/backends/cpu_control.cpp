// Control flow whose lanes part, sequences, threads.
#include <thread>

#include "run_kernel.h"

using namespace fluxion;
using namespace fluxion::testing;

namespace {
ValueId number(Builder& b, double v) { return b.constant_float(DType::f32, v); }
ValueId at_index(Builder& b, MemoryId m) {
  const ValueId i[] = {b.index(0)};
  return b.load(m, i);
}
void put(Builder& b, MemoryId m, ValueId v) {
  const ValueId i[] = {b.index(0)};
  b.store(m, i, v);
}
/// A kernel with arrays n (i32, 0..7), x (f32) and out y (f32).
struct Case {
  Function f;
  Builder b{f};
  MemoryId n, x, y;
  explicit Case(const char* name) {
    f.kind = Function::Kind::kernel;
    f.name = name;
    f.domain_rank = 1;
    n = b.memory_parameter(DType::i32, 1, Role::in, "n");
    x = b.memory_parameter(DType::f32, 1, Role::in, "x");
    y = b.memory_parameter(DType::f32, 1, Role::out, "y");
  }
  void check(double bound = 0, std::int64_t count = 53) {
    b.finish();
    std::vector<Data> data = {Data(DType::i32, {count}), Data(DType::f32, {count}).fill(), Data(DType::f32, {count})};
    for (std::int64_t j = 0; j < count; ++j) data[0].as<std::int32_t>()[j] = static_cast<std::int32_t>((j * 5 + j / 3) % 8) - 1;
    agrees(f, {{count, 1, 1}}, data, {}, bound);
  }
};
}  // namespace

TEST_CASE("lanes that take different arms get the values of their own arm", "[backends][cpu]") {
  for (int size : {1, 30}) {  // blended, and branched around
    Case k("arms");
    Builder& b = k.b;
    const ValueId v = at_index(b, k.x), n = at_index(b, k.n);
    const auto work = [&](ValueId w, double by) {
      for (int j = 0; j < size; ++j) w = b.add(b.mul(w, number(b, 0.5)), number(b, by));
      return w;
    };
    const Values r = b.if_(
        b.emit(Opcode::lt, {n, b.i32(3)}),
        [&] {
          const Values inner = b.if_(
              b.emit(Opcode::gt, {v, number(b, 0)}), [&] { return Values{work(v, 1), n}; }, [&] { return Values{number(b, 7), b.i32(2)}; });
          return Values{b.add(inner[0], b.convert(inner[1], DType::f32))};
        },
        [&] { return Values{work(v, -3)}; });
    put(b, k.y, r[0]);
    k.check();
  }
}

TEST_CASE("stores under a condition reach only the lanes that meet it", "[backends][cpu]") {
  Case k("conditional");
  Builder& b = k.b;
  const ValueId v = at_index(b, k.x), n = at_index(b, k.n);
  put(b, k.y, v);
  b.if_(
      b.emit(Opcode::eq, {n, b.i32(4)}),
      [&] {
        put(b, k.y, b.add(v, v));
        return Values{};
      },
      [&] {
        b.if_(
            b.emit(Opcode::eq, {n, b.i32(1)}),
            [&] {
              put(b, k.y, number(b, 1));
              return Values{};
            },
            [] { return Values{}; });
        return Values{};
      });
  k.check();
}

TEST_CASE("a for loop with trips of its own in every lane carries collects and counts down", "[backends][cpu]") {
  for (bool down : {false, true})
    for (int from : {0, 1, 2}) {  // lo: uniform, affine, varying
      Case k("trips");
      Builder& b = k.b;
      const ValueId v = at_index(b, k.x), n = at_index(b, k.n), i = b.index(0);
      const ValueId lo = from == 0 ? b.i32(1) : from == 1 ? i : b.emit(Opcode::rem, {n, b.i32(3)});
      const ValueId hi = b.add(lo, n), init[] = {v, b.i32(0), number(b, 0.25)};
      const auto loop = b.for_(
          lo, hi, init,
          [&](ValueId j, const Values& c) {
            const ValueId w = b.add(b.mul(c[0], number(b, 0.5)), b.convert(j, DType::f32));
            return Builder::LoopYield{{w, b.add(c[1], b.i32(1)), b.mul(c[2], number(b, 2))}, {c[0], j}};
          },
          down);
      const ValueId zero[] = {number(b, 0)};
      const auto back = b.for_(
          b.i32(0), b.seq_len(loop.seqs[0]), zero,
          [&](ValueId j, const Values& c) {
            const ValueId item = b.mul(b.seq_get(loop.seqs[0], j), b.convert(b.seq_get(loop.seqs[1], j), DType::f32));
            return Builder::LoopYield{{b.add(b.mul(c[0], number(b, 0.75)), item)}, {}};
          },
          !down);
      ValueId sum = b.add(loop.carries[0], b.convert(loop.carries[1], DType::f32));
      sum = b.add(sum, b.add(loop.carries[2], back.carries[0]));
      put(b, k.y, sum);
      k.check();
    }
}

TEST_CASE("a while loop that lanes leave at different trips keeps what each left with", "[backends][cpu]") {
  Case k("leaves");
  Builder& b = k.b;
  const ValueId v = b.emit(Opcode::abs, {at_index(b, k.x)});
  const ValueId init[] = {v, b.i32(0), b.i32(3), number(b, 0)};
  const auto loop = b.while_(
      init,
      [&](const Values& c) {
        const ValueId next = b.mul(c[0], number(b, 0.75));
        return std::pair{b.emit(Opcode::gt, {next, number(b, 0.5)}), Values{next, c[1], c[2], c[3]}};
      },
      [&](const Values& c) {
        return Builder::LoopYield{{c[0], b.add(c[1], b.i32(2)), b.mul(c[2], b.i32(3)), b.add(c[3], c[0])}, {c[0], c[1]}};
      });
  const ValueId zero[] = {number(b, 0)};
  const auto back = b.for_(
      b.i32(0), loop.trips, zero,
      [&](ValueId j, const Values& c) {
        const ValueId item = b.add(b.seq_get(loop.seqs[0], j), b.convert(b.seq_get(loop.seqs[1], j), DType::f32));
        return Builder::LoopYield{{b.add(b.mul(c[0], number(b, 0.75)), item)}, {}};
      },
      true);
  ValueId sum = b.add(loop.carries[0], b.convert(b.add(loop.carries[1], loop.carries[2]), DType::f32));
  sum = b.add(sum, b.add(b.convert(loop.trips, DType::f32), b.add(loop.carries[3], back.carries[0])));
  put(b, k.y, sum);
  k.check();
}

TEST_CASE("a collecting loop inside a collecting loop keeps both tapes apart", "[backends][cpu]") {
  for (bool escape : {false, true}) {
    Case k("nested");
    Builder& b = k.b;
    const ValueId v = at_index(b, k.x), n = at_index(b, k.n), init[] = {v};
    const auto outer = b.while_(
        init, [&](const Values& c) { return std::pair{b.emit(Opcode::gt, {b.emit(Opcode::abs, {c[0]}), number(b, 0.01)}), c}; },
        [&](const Values& c) {
          const auto inner =
              b.for_(b.i32(0), n, c, [&](ValueId, const Values& w) { return Builder::LoopYield{{b.mul(w[0], number(b, 0.5))}, {w[0]}}; });
          const ValueId zero[] = {number(b, 0)};
          const auto sum = b.for_(
              b.i32(0), b.seq_len(inner.seqs[0]), zero,
              [&](ValueId j, const Values& w) { return Builder::LoopYield{{b.add(w[0], b.seq_get(inner.seqs[0], j))}, {}}; }, true);
          const ValueId next = b.mul(inner.carries[0], number(b, 0.25));
          if (escape) return Builder::LoopYield{{next}, {sum.carries[0], inner.seqs[0]}};
          return Builder::LoopYield{{next}, {sum.carries[0]}};
        });
    const ValueId zero[] = {number(b, 0)};
    const auto back = b.for_(
        b.i32(0), outer.trips, zero,
        [&](ValueId j, const Values& c) {
          ValueId w = b.add(c[0], b.seq_get(outer.seqs[0], j));
          if (escape) {
            const ValueId items = b.seq_get(outer.seqs[1], j);
            const ValueId start[] = {w};
            w = b.for_(b.i32(0), b.seq_len(items), start, [&](ValueId q, const Values& z) {
                   return Builder::LoopYield{{b.add(b.mul(z[0], number(b, 0.5)), b.seq_get(items, q))}, {}};
                 }).carries[0];
          }
          return Builder::LoopYield{{w}, {}};
        },
        true);
    put(b, k.y, back.carries[0]);
    k.check();
  }
}

TEST_CASE("adjoint sequences are updated in place and read back", "[backends][cpu]") {
  for (bool shared : {false, true}) {  // shared: the old sequence is read afterwards, so it must have been copied
    Case k("adjoint");
    Builder& b = k.b;
    const ValueId v = at_index(b, k.x), n = at_index(b, k.n);
    const ValueId start = b.zeros(Type(DType::f32).as_seq(), b.i32(9));
    const ValueId init[] = {start, v};
    const auto loop = b.for_(b.i32(0), n, init, [&](ValueId j, const Values& c) {
      const ValueId where = b.emit(Opcode::rem, {b.mul(j, n), b.i32(9)});
      const ValueId added = b.seq_add_at(c[0], where, c[1]);
      const Values s =
          b.if_(b.emit(Opcode::gt, {c[1], number(b, 0)}), [&] { return Values{b.seq_set(added, j, c[1])}; }, [&] { return Values{added}; });
      return Builder::LoopYield{{b.seq_add_at(s[0], b.i32(3), number(b, 1)), b.mul(c[1], number(b, -0.5))}, {}};
    });
    const ValueId doubled = b.add(loop.carries[0], loop.carries[0]);
    const ValueId zero[] = {number(b, 0)};
    const auto sum = b.for_(b.i32(0), b.i32(9), zero, [&](ValueId j, const Values& c) {
      ValueId item = b.add(b.seq_get(doubled, j), b.convert(j, DType::f32));
      if (shared) item = b.add(item, b.seq_get(start, j));
      return Builder::LoopYield{{b.add(b.mul(c[0], number(b, 0.5)), item)}, {}};
    });
    put(b, k.y, sum.carries[0]);
    k.check();
  }
}

TEST_CASE("uniform loops over launch parameters stay right when they run no trip", "[backends][cpu]") {
  Function f = kernel("uniform_trips");
  Builder b(f);
  const ValueId n = b.scalar_parameter(DType::i32, "n");
  const MemoryId x = b.memory_parameter(DType::f32, 1, Role::inout, "x");
  const ValueId i[] = {b.index(0)}, v = b.load(x, i), init[] = {v};
  const auto up = b.for_(b.i32(0), n, init, [&](ValueId j, const Values& c) {
    return Builder::LoopYield{{b.add(b.mul(c[0], number(b, 0.5)), b.convert(j, DType::f32))}, {c[0]}};
  });
  const auto down = b.for_(
      b.i32(0), n, up.carries, [&](ValueId j, const Values& c) { return Builder::LoopYield{{b.add(c[0], b.seq_get(up.seqs[0], j))}, {}}; },
      true);
  b.store(x, i, b.add(down.carries[0], b.convert(b.seq_len(up.seqs[0]), DType::f32)));
  b.finish();
  for (std::uint64_t trips : {0u, 1u, 6u, 0xffffffffu}) agrees(f, {{35, 1, 1}}, {Data(DType::f32, {35}).fill()}, {trips});
}

TEST_CASE("a full tape is an error with the line and not a crash", "[backends][cpu]") {
  Function f = kernel("endless");
  Builder b(f);
  const ValueId n = b.scalar_parameter(DType::i32, "n");
  const MemoryId x = b.memory_parameter(DType::f64, 1, Role::inout, "x");
  const ValueId i[] = {b.index(0)}, init[] = {b.load(x, i)};
  b.loc = {"user.cpp", 77};
  const auto loop = b.for_(b.i32(0), n, init, [&](ValueId, const Values& c) { return Builder::LoopYield{{c[0]}, {c[0]}}; });
  b.store(x, i, b.seq_get(loop.seqs[0], b.i32(0)));
  b.finish();
  const auto code = cpu_backend()->compile(f, {});
  std::vector<Data> data = {Data(DType::f64, {20}).fill()};
  CHECK_THROWS_WITH(run(*code, {20, 1, 1}, data, {0x7fffffff}), Catch::Contains("user.cpp:77") && Catch::Contains("tape"));
  CHECK_NOTHROW(run(*code, {20, 1, 1}, data, {10}));
}

TEST_CASE("results are the same bits for any number of threads and in every run", "[backends][cpu]") {
  Function f = kernel("shared");
  Builder b(f);
  const MemoryId x = b.memory_parameter(DType::f32, 1, Role::in, "x"), where = b.memory_parameter(DType::i32, 1, Role::in, "where");
  const MemoryId y = b.memory_parameter(DType::f32, 1, Role::out, "y"), total = b.memory_parameter(DType::f32, 1, Role::accum, "total"),
                 bins = b.memory_parameter(packed(DType::f32, 2), 1, Role::accum, "bins"),
                 mixed = b.memory_parameter(DType::f32, 1, Role::accum, "mixed");
  const ValueId i[] = {b.index(0)}, v = b.emit(Opcode::sin, {b.load(x, i)}), zero[] = {b.i32(0)}, at[] = {b.load(where, i)};
  b.store(y, i, v);
  b.accumulate(total, zero, v);
  b.accumulate(bins, at, v, 0);
  b.accumulate(bins, at, b.mul(v, v), 1);
  b.accumulate(mixed, at, v);
  b.finish();
  const std::int64_t n = 200001;
  std::vector<Data> data = {Data(DType::f32, {n}).fill(),       Data(DType::i32, {n}),  Data(DType::f32, {n}), Data(DType::f32, {1}),
                            Data(packed(DType::f32, 2), {100}), Data(DType::f32, {100})};
  for (std::int64_t j = 0; j < n; ++j) data[1].as<std::int32_t>()[j] = static_cast<std::int32_t>((j * 7919) % 100);
  const auto code = cpu_backend()->compile(f, {});
  std::vector<std::vector<Data>> results;
  for (int threads : {1, 2, 3, 4, 4}) {
    set_cpu_threads(threads);
    CHECK(cpu_threads() == threads);
    results.push_back(data);
    run(*code, {n, 1, 1}, results.back(), {});
  }
  set_cpu_threads(0);
  for (const auto& r : results)
    for (std::size_t k = 0; k < data.size(); ++k) CHECK(r[k].bytes == results[0][k].bytes);
  double exact = 0;
  for (std::int64_t j = 0; j < n; ++j) exact += std::sin(static_cast<double>(data[0].as<float>()[j]));
  CHECK(results[0][3].as<float>()[0] == Approx(exact).margin(0.05));
  double from_bins = 0;
  for (int j = 0; j < 100; ++j) from_bins += results[0][4].as<float>()[2 * j];
  CHECK(from_bins == Approx(exact).margin(0.05));
}

TEST_CASE("threads that launch at the same time do not disturb each other", "[backends][cpu]") {
  Case k("concurrent");
  put(k.b, k.y, k.b.add(at_index(k.b, k.x), k.b.convert(at_index(k.b, k.n), DType::f32)));
  k.b.finish();
  const std::int64_t n = 100000;
  const auto code = cpu_backend()->compile(k.f, {});
  std::vector<std::vector<Data>> data(4, {Data(DType::i32, {n}).fill(3), Data(DType::f32, {n}).fill(), Data(DType::f32, {n})});
  std::vector<std::thread> threads;
  for (auto& d : data)
    threads.emplace_back([&] {
      for (int j = 0; j < 20; ++j) run(*code, {n, 1, 1}, d, {});
    });
  for (auto& t : threads) t.join();
  for (const auto& d : data) CHECK(d[2].bytes == data[0][2].bytes);
  CHECK(data[0][2].as<float>()[5] == data[0][1].as<float>()[5] + static_cast<float>(data[0][0].as<std::int32_t>()[5]));
}

TEST_CASE("the caller's floating point mode survives a launch", "[backends][cpu]") {
  Case k("mode");
  put(k.b, k.y, at_index(k.b, k.x));
  k.b.finish();
  std::vector<Data> data = {Data(DType::i32, {4}), Data(DType::f32, {4}), Data(DType::f32, {4})};
  run(*cpu_backend()->compile(k.f, {}), {4, 1, 1}, data, {});
  volatile float tiny = FLT_MIN;
  CHECK(tiny / 2 > 0);
}
