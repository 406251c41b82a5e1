// Every pass keeps the meaning of what it is given and the rules of the IR; what each one achieves is in
// tests/golden.
#include <catch2/catch.hpp>

#include <bit>
#include <cmath>
#include <cstring>
#include <random>

#include "fluxion/ad.h"
#include "fluxion/error.h"
#include "fluxion/evaluate.h"
#include "fluxion/passes.h"
#include "../jit/program_generator.h"
#include "functions.h"

using namespace fluxion;

namespace {
constexpr Pass kExact[] = {
    {"dce", "", dce},
    {"canonical", "", canonical},
    {"fold", "", fold},
    {"cse", "", cse},
    {"forward_stores", "", forward_stores},
    {"licm", "", licm},
    {"promote_locals", "", promote_locals},
};

/// All that a function leaves behind, as bytes.
using Outcome = std::vector<std::uint64_t>;

Outcome run_kernel(const Function& f, unsigned seed) {
  std::mt19937 random(seed);
  std::uniform_real_distribution<double> reals(-2, 2);
  constexpr std::int64_t kThreads = 5;
  std::vector<std::vector<std::byte>> bytes;
  std::vector<EvalMemory> memories;
  std::vector<std::uint64_t> scalars;
  for (const Parameter& p : f.parameters) {
    if (p.kind == Parameter::Kind::scalar) {
      const DType t = f.type(p.value).dtype();
      const std::uint64_t as_double[] = {std::bit_cast<std::uint64_t>(is_float(t) ? reals(random) : double(random() % 6))};
      scalars.push_back(evaluate_op(Opcode::convert, t, DType::f64, as_double));
      continue;
    }
    const Layout& l = layout_of(f[p.memory].element);
    bytes.emplace_back(kThreads * l.size);
    for (std::int64_t i = 0; i < kThreads; ++i)
      for (const Leaf& leaf : l.leaves) {
        const std::uint64_t as_double[] = {std::bit_cast<std::uint64_t>(reals(random))};
        const std::uint64_t v = evaluate_op(Opcode::convert, leaf.dtype, DType::f64, as_double);
        std::memcpy(bytes.back().data() + i * l.size + leaf.offset, &v, static_cast<std::size_t>(size_of(leaf.dtype)));
      }
    memories.push_back({nullptr, {kThreads, 1, 1}});
  }
  for (std::size_t i = 0; i < bytes.size(); ++i) memories[i].data = bytes[i].data();
  std::string printed;
  EvalOptions options;
  options.print = [&](std::string_view s) { printed += s; };
  evaluate_kernel(f, {kThreads, 1, 1}, memories, scalars, options);
  Outcome out;
  for (const auto& b : bytes)
    for (std::byte x : b) out.push_back(static_cast<std::uint64_t>(x));
  for (char c : printed) out.push_back(static_cast<std::uint64_t>(c));
  return out;
}

Outcome run_program(const Function& f, unsigned seed) {
  std::mt19937 random(seed);
  std::vector<EvalValue> in;
  for (const Parameter& p : f.parameters) {
    EvalValue v;
    const Type& t = f.type(p.value);
    if (t.is_scalar()) v.bits = random() % 4 + 1;
    else {
      v.array = std::make_shared<std::vector<std::byte>>(static_cast<std::size_t>(t.count()) * 4);
      for (std::int64_t i = 0; i < t.count(); ++i) {
        const float x = static_cast<float>(random() % 100) / 16;
        std::memcpy(v.array->data() + 4 * i, &x, 4);
      }
    }
    in.push_back(v);
  }
  Outcome out;
  for (const EvalValue& v : evaluate_program(f, in)) {
    out.push_back(v.bits);
    if (v.array)
      for (std::byte x : *v.array) out.push_back(static_cast<std::uint64_t>(x));
  }
  return out;
}

Outcome run(const Function& f, unsigned seed) { return f.kind == Function::Kind::program ? run_program(f, seed) : run_kernel(f, seed); }

/// Dead carries that feed themselves, dead seqs and results, a local nobody loads, a while with a dead carry.
Function dead_things() {
  Function f = samples::make(Function::Kind::kernel, "dead", 1);
  Builder b(f);
  const MemoryId y = b.memory_parameter(DType::f32, 1, Role::out, "y");
  const ValueId n = b.scalar_parameter(DType::i32, "n");
  const MemoryId unused = b.local(DType::f32, 3, "unused");
  const ValueId i[] = {b.index(0)};
  const ValueId one = b.constant_float(DType::f32, 1), half_ = b.constant_float(DType::f32, 0.5);
  const ValueId init[] = {one, one, half_};
  const auto loop = b.for_(b.i32(0), n, init, [&](ValueId j, const Values& c) {
    const ValueId at[] = {b.emit(Opcode::rem, {j, b.i32(3)})};
    b.store(unused, at, c[1]);
    return Builder::LoopYield{{b.mul(c[0], half_), b.add(c[1], c[0]), c[2]}, {c[1]}};
  });
  const ValueId start[] = {b.i32(0), b.i32(7)};
  const auto count = b.while_(
      start, [&](const Values& c) { return std::pair{b.emit(Opcode::lt, {c[0], n}), c}; },
      [&](const Values& c) { return Builder::LoopYield{{b.add(c[0], b.i32(1)), b.mul(c[1], c[1])}, {c[1], c[0]}}; });
  const Values r = b.if_(
      b.emit(Opcode::gt, {n, b.i32(1)}), [&] { return Values{b.mul(loop.carries[0], loop.carries[2]), one}; },
      [&] { return Values{b.convert(b.seq_len(count.seqs[0]), DType::f32), half_}; });
  b.store(y, i, r[0]);
  b.finish();
  return f;
}

/// Reads and writes of one memory in an order that matters, prints, a branch that writes.
Function ordered() {
  Function f = samples::make(Function::Kind::kernel, "ordered", 1);
  Builder b(f);
  const MemoryId x = b.memory_parameter(packed(DType::f64, 2), 1, Role::inout, "x");
  const MemoryId y = b.memory_parameter(DType::f64, 1, Role::inout, "y");
  const ValueId i[] = {b.index(0)};
  const ValueId before = b.load(x, i, 1), other = b.load(x, i, 0);
  b.store(x, i, b.mul(before, before), 1);
  const ValueId after = b.load(x, i, 1), again = b.load(x, i, 1);
  b.if_(
      b.emit(Opcode::lt, {before, other}),
      [&] {
        b.store(y, i, b.load(x, i, 1));
        return Values{};
      },
      [&] {
        b.accumulate(x, i, other, 1);
        return Values{};
      });
  const ValueId last = b.load(x, i, 1);
  b.for_(b.i32(0), b.i32(3), {}, [&](ValueId, const Values&) {
    const ValueId v = b.load(y, i);
    b.store(y, i, b.add(b.load(y, i), v));
    return Builder::LoopYield{};
  });
  const ValueId sum = b.add(b.add(b.add(before, after), b.add(other, last)), b.mul(again, after));
  const ValueId values[] = {i[0], sum};
  b.effect(Opcode::print, "{}: {}", values);
  b.store(y, i, b.add(sum, b.load(y, i)));
  b.finish();
  return f;
}

/// Constants everywhere: fold has much to do.
Function foldable() {
  Function f = samples::make(Function::Kind::kernel, "foldable", 1);
  Builder b(f);
  const MemoryId y = b.memory_parameter(DType::f32, 1, Role::inout, "y");
  const ValueId n = b.scalar_parameter(DType::i32, "n");
  const ValueId i[] = {b.index(0)};
  const ValueId v = b.load(y, i), one = b.constant_float(DType::f32, 1), zero = b.constant_float(DType::f32, 0);
  const Values taken = b.if_(
      b.emit(Opcode::lt, {b.i32(2), b.i32(3)}), [&] { return Values{b.emit(Opcode::div, {v, b.constant_float(DType::f32, 4)})}; },
      [&] { return Values{zero}; });
  const auto once = b.for_(b.i32(4), b.i32(5), taken, [&](ValueId j, const Values& c) {
    return Builder::LoopYield{{b.add(c[0], b.convert(b.mul(j, n), DType::f32))}, {}};
  });
  const auto never =
      b.for_(b.i32(4), b.i32(4), once.carries, [&](ValueId, const Values& c) { return Builder::LoopYield{{b.mul(c[0], c[0])}, {c[0]}}; });
  const ValueId init[] = {never.carries[0], v, n};
  const auto fixed =
      b.for_(b.i32(0), n, init, [&](ValueId, const Values& c) { return Builder::LoopYield{{b.add(c[0], c[1]), c[1], n}, {c[0]}}; }, true);
  const ValueId a = b.emit(Opcode::add, {b.emit(Opcode::add, {fixed.carries[2], b.i32(3)}), b.i32(4)});
  const ValueId flags = b.emit(Opcode::bit_not, {b.emit(Opcode::bit_not, {b.emit(Opcode::eq, {a, b.i32(9)})})});
  const Values picked =
      b.if_(b.emit(Opcode::bit_not, {flags}), [&] { return Values{b.boolean(true), v}; }, [&] { return Values{b.boolean(false), v}; });
  const ValueId sum = b.add(b.mul(one, fixed.carries[0]), b.sub(fixed.carries[1], zero));
  const ValueId twice = b.convert(b.convert(sum, DType::f64), DType::f32);
  const ValueId len = b.convert(b.add(b.seq_len(fixed.seqs[0]), b.seq_len(never.seqs[0])), DType::f32);
  b.store(y, i, b.add(b.select(picked[0], twice, b.emit(Opcode::neg, {b.emit(Opcode::neg, {picked[1]})})), len));
  b.finish();
  return f;
}

/// A local array, stores and loads at constant distances, loops in loops with things that do not change.
Function stores() {
  Function f = samples::make(Function::Kind::kernel, "stores", 1);
  Builder b(f);
  const MemoryId x = b.memory_parameter(DType::f32, 1, Role::inout, "x"), w = b.memory_parameter(DType::f32, 1, Role::in, "w");
  const ValueId n = b.scalar_parameter(DType::i32, "n");
  const MemoryId t = b.local(DType::f32, 8, "t");
  const ValueId i[] = {b.index(0)};
  const auto slot = [&](ValueId base, int offset) { return std::vector<ValueId>{b.add(base, b.i32(offset))}; };
  const ValueId two = b.i32(2), v = b.load(x, i), zero = b.constant_float(DType::f32, 0);
  b.store(t, slot(two, 0), v);
  b.store(t, slot(two, 1), b.mul(v, v));
  const ValueId sum = b.add(b.load(t, slot(two, 0)), b.add(b.load(t, slot(two, 1)), b.load(t, slot(two, 2))));
  b.store(x, i, v);
  b.store(x, i, sum);
  const ValueId init[] = {b.load(x, i)};
  const auto outer = b.for_(b.i32(0), b.i32(3), init, [&](ValueId j, const Values& c) {
    const ValueId scale = b.emit(Opcode::sqrt, {b.emit(Opcode::abs, {v})}), known = b.load(w, i);
    b.store(t, slot(j, 0), c[0]);
    const ValueId start[] = {c[0]};
    const auto inner = b.for_(j, n, start, [&](ValueId k, const Values& d) {
      const MemoryId u = b.local(DType::f32, 2, "u");
      const ValueId one[] = {b.i32(1)}, first[] = {b.i32(0)};
      const ValueId fresh = b.load(u, one);
      b.accumulate(u, one, d[0]);
      b.store(u, first, b.add(b.load(u, one), b.mul(scale, b.convert(b.mul(j, n), DType::f32))));
      b.if_(
          b.emit(Opcode::gt, {k, b.i32(1)}),
          [&] {
            b.store(t, slot(k, 0), b.load(u, first));
            return Values{};
          },
          [&] { return Values{}; });
      return Builder::LoopYield{{b.add(b.add(fresh, b.load(u, first)), b.mul(known, b.load(t, slot(j, 0))))}, {}};
    });
    return Builder::LoopYield{{b.mul(inner.carries[0], b.constant_float(DType::f32, 0.01))}, {}};
  });
  b.store(x, i, b.add(outer.carries[0], b.add(b.load(t, slot(two, 3)), zero)));
  b.finish();
  return f;
}

/// Locals indexed by constants, in loops and branches, one of them made anew in each round.
Function locals() {
  Function f = samples::make(Function::Kind::kernel, "locals", 1);
  Builder b(f);
  const MemoryId y = b.memory_parameter(DType::f32, 1, Role::inout, "y");
  const ValueId n = b.scalar_parameter(DType::i32, "n");
  const MemoryId t = b.local(packed(DType::f32, 2), 2, "t");
  const ValueId i[] = {b.index(0)}, zero[] = {b.i32(0)}, one[] = {b.i32(1)};
  const ValueId v = b.load(y, i);
  b.store(t, one, v, 1);
  b.for_(b.i32(0), n, {}, [&](ValueId j, const Values&) {
    const MemoryId u = b.local(DType::f32, 2, "u");
    b.accumulate(u, one, b.load(t, one, 1));
    b.store(t, zero, b.add(b.load(t, zero, 0), b.load(u, zero)));
    b.if_(
        b.emit(Opcode::gt, {j, b.i32(1)}),
        [&] {
          b.accumulate(t, zero, b.load(u, one));
          return Values{};
        },
        [&] {
          b.store(u, zero, v);
          return Values{};
        });
    b.store(t, one, b.add(b.load(t, one, 1), b.load(u, zero)), 1);
    return Builder::LoopYield{};
  });
  b.store(y, i, b.add(b.load(t, zero), b.mul(b.load(t, one, 1), b.convert(b.extent(t, 0), DType::f32))));
  b.finish();
  return f;
}

std::vector<Function> all() {
  return {samples::saxpy(), samples::everything(), samples::stepping(), dead_things(), ordered(), foldable(), stores(), locals()};
}

std::size_t count(const Function& f, Opcode code) {
  std::size_t n = 0;
  for (const Region& r : f.regions)
    for (OpId o : r.ops) n += f[o].code == code;
  return n;
}
}  // namespace

TEST_CASE("every exact pass keeps the meaning of every sample", "[passes]") {
  for (const Function& f : all()) {
    CAPTURE(f.name);
    verify(f);
    for (const Pass& pass : kExact) {
      CAPTURE(pass.name);
      const Function now = pass.run(f);
      CAPTURE(print(f), print(now));
      REQUIRE_NOTHROW(verify(now));
      for (unsigned seed = 1; seed <= 4; ++seed) CHECK(run(f, seed) == run(now, seed));
    }
  }
}

TEST_CASE("every exact pass keeps the meaning of derivatives", "[passes]") {
  for (const Function& f : all()) {
    if (f.kind != Function::Kind::kernel || f.name == "ordered") continue;  // "ordered" prints between its steps
    for (const Function& g : {jvp(f), vjp(f)}) {
      CAPTURE(g.name);
      REQUIRE_NOTHROW(verify(g));
      const std::string text = print(g);
      CHECK(print(parse(text)) == text);
      for (const Pass& pass : kExact) {
        CAPTURE(pass.name);
        const Function now = pass.run(g);
        CAPTURE(print(g), print(now));
        REQUIRE_NOTHROW(verify(now));
        for (unsigned seed = 1; seed <= 2; ++seed) CHECK(run(g, seed) == run(now, seed));
      }
    }
  }
}

TEST_CASE("every exact pass keeps the meaning of random programs", "[passes]") {
  for (unsigned seed = 0; seed < 150; ++seed) {
    const Function f = program_test::Generator(seed).make();
    CAPTURE(seed);
    const Outcome want = run(f, seed);
    for (const Pass& pass : kExact) {
      CAPTURE(pass.name);
      const Function now = pass.run(f);
      CAPTURE(print(f), print(now));
      REQUIRE_NOTHROW(verify(now));
      CHECK(run(now, seed) == want);
    }
  }
}

TEST_CASE("passes in any order keep the meaning", "[passes]") {
  std::mt19937 random(3);
  for (const Function& f : all()) {
    for (int round = 0; round < 8; ++round) {
      Function now = f;
      for (int i = 0; i < 6; ++i) now = kExact[random() % std::size(kExact)].run(now);
      CAPTURE(f.name, print(now));
      verify(now);
      CHECK(run(f, 5) == run(now, 5));
    }
  }
}

TEST_CASE("a pass that has nothing to do changes nothing", "[passes]") {
  for (const Function& f : all()) {
    Function now = f;
    for (int i = 0; i < 4; ++i)
      for (const Pass& pass : kExact) now = pass.run(now);
    now = canonical(now);
    for (const Pass& pass : kExact) {
      CAPTURE(f.name, pass.name);
      CHECK(print(canonical(pass.run(now))) == print(now));
    }
  }
}

TEST_CASE("dce drops carries that feed only themselves and locals that are never loaded", "[passes]") {
  const Function now = dce(fold(dead_things()));  // fold: a length needs no sequence
  CHECK(count(now, Opcode::store) == 1);
  CHECK(print(now).find("local") == std::string::npos);
  for (const Region& r : now.regions)
    for (OpId o : r.ops) {
      if (now[o].code == Opcode::for_) CHECK(now.carries(now[o]) == 1);
      if (now[o].code == Opcode::while_) CHECK(now[o].results.size() == 2);
      if (now[o].code == Opcode::if_) CHECK(now[o].results.size() == 1);
    }
}

TEST_CASE("contraction rounds once", "[passes]") {
  Function f = samples::make(Function::Kind::fn, "f");
  Builder b(f);
  const ValueId x = b.scalar_parameter(DType::f32, "x"), y = b.scalar_parameter(DType::f32, "y"), z = b.scalar_parameter(DType::f32, "z");
  const ValueId out[] = {b.add(b.mul(x, y), z), b.sub(b.mul(x, y), z), b.sub(z, b.mul(x, y))};
  b.finish(out);
  const Function now = contract(f);
  verify(now);
  CHECK(count(now, Opcode::mul) == 0);
  std::mt19937 random(1);
  std::normal_distribution<float> reals;
  for (int round = 0; round < 100; ++round) {
    const float a = reals(random), c = reals(random), d = -a * c;
    const std::uint64_t in[] = {std::bit_cast<std::uint32_t>(a), std::bit_cast<std::uint32_t>(c), std::bit_cast<std::uint32_t>(d)};
    const auto got = evaluate_fn(now, in);
    CHECK(got[0] == std::bit_cast<std::uint32_t>(std::fma(a, c, d)));
    CHECK(got[1] == std::bit_cast<std::uint32_t>(std::fma(a, c, -d)));
    CHECK(got[2] == std::bit_cast<std::uint32_t>(std::fma(-a, c, d)));
  }
}
