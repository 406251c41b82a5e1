// The buffer plan against the meaning of programs: what the evaluator makes of the value form, it must make of
// the memory form; and what should work in place does.
#include <fmt/format.h>

#include <catch2/catch.hpp>

#include "fluxion/buffer_plan.h"
#include "fluxion/error.h"
#include "fluxion/evaluate.h"
#include "program_arguments.h"
#include "program_generator.h"

using namespace fluxion;
using namespace program_test;

namespace {

int count(const Function& f, Opcode code) {
  int n = 0;
  for (const Op& op : f.ops) n += op.code == code;
  return n;
}
int buffers(const Function& f) {
  int n = 0;
  for (const Memory& m : f.memories) n += m.space == Memory::Space::buffer;
  return n;
}

struct Program {
  Function f;
  Builder b{f};
  Kernels k = kernels();
  ValueId n{};
  Program() {
    f.kind = Function::Kind::program;
    f.name = "p";
    n = b.i32(kLength);
  }
  ValueId array(Role role, const char* name) { return b.array_parameter(array_type(), role, name); }
  ValueId scale(ValueId y, std::int32_t s, ValueId x) { return b.launch(k.scale, {&n, 1}, Values{y, b.i32(s), x})[0]; }
  ValueId mix(ValueId a, ValueId c) {
    const Type t = array_type();
    return b.launch(k.mix, {&n, 1}, Values{a, c}, {&t, 1})[0];
  }
  Function plan() {
    verify(f);
    Function g = buffer_plan(f);
    INFO(print(g));
    verify(g);
    CHECK(by_memory(g) == by_value(f));
    return g;
  }
};

}  // namespace

TEST_CASE("random programs mean the same in memory form", "[jit][program]") {
  const unsigned first = GENERATE(range(0u, 60u)) * 25;
  for (unsigned seed = first; seed < first + 25; ++seed) {
    const Function f = Generator(seed).make();
    INFO("seed " << seed << "\n" << print(f));
    verify(f);
    Function g;
    try {
      g = buffer_plan(f);
    } catch (const KernelError& e) {
      CHECK(std::string(e.what()).find("use a for loop") != std::string::npos);
      continue;
    }
    INFO(print(g));
    verify(g);
    CHECK(by_memory(g) == by_value(f));
  }
}

TEST_CASE("a time loop over in-place launches copies nothing and needs no memory of its own", "[jit][program]") {
  Program p;
  const ValueId x = p.array(Role::in, "x"), y = p.array(Role::inout, "y");
  const ValueId init[] = {y};
  const auto r = p.b.for_(p.b.i32(0), p.b.i32(7), init,
                          [&](ValueId, const Values& c) { return Builder::LoopYield{{p.scale(p.scale(c[0], 3, x), 2, x)}, {}}; });
  p.b.finish(r.carries);
  const Function g = p.plan();
  CHECK(count(g, Opcode::run) == 2);
  CHECK(count(g, Opcode::buffer_copy) == 0);
  CHECK(buffers(g) == 0);
}

TEST_CASE("a collected array costs one copy a turn and the update stays in place", "[jit][program]") {
  Program p;
  const ValueId x = p.array(Role::in, "x"), y = p.array(Role::inout, "y");
  const ValueId init[] = {y};
  const auto r =
      p.b.for_(p.b.i32(0), p.b.i32(4), init, [&](ValueId, const Values& c) { return Builder::LoopYield{{p.scale(c[0], 3, x)}, {c[0]}}; });
  const ValueId old = p.b.seq_get(r.seqs[0], p.b.i32(2));
  p.b.finish(Values{r.carries[0], p.mix(old, x)});
  const Function g = p.plan();
  CHECK(count(g, Opcode::buffer_copy) == 1);
}

TEST_CASE("zeros that are added to are one fill", "[jit][program]") {
  Program p;
  const ValueId x = p.array(Role::in, "x");
  const ValueId e = p.b.launch(p.k.scatter, {&p.n, 1}, Values{x, p.b.zero(array_type())})[0];
  p.b.finish(Values{e});
  const Function g = p.plan();
  CHECK(count(g, Opcode::buffer_zero) == 1);
  CHECK(count(g, Opcode::buffer_copy) == 0);
  CHECK(buffers(g) == 0);
}

TEST_CASE("an old version that is needed later is kept by a copy", "[jit][program]") {
  Program p;
  const ValueId x = p.array(Role::in, "x"), old = p.mix(x, x);
  const ValueId next = p.scale(old, 3, x);
  p.b.finish(Values{p.scale(next, 2, old)});
  CHECK(count(p.plan(), Opcode::buffer_copy) == 1);
}

TEST_CASE("an Out parameter that is read before it is written is refused", "[jit][program]") {
  Program p;
  const ValueId z = p.array(Role::out, "z");
  p.b.finish(Values{p.scale(p.b.zero(array_type()), 2, z)});
  CHECK_THROWS_WITH(buffer_plan(p.f), Catch::Contains("\"z\" is Out and is read before it is written"));
}

TEST_CASE("arrays that a loop exchanges change records instead of being copied", "[jit][program]") {
  Program p;
  const ValueId x = p.array(Role::inout, "x"), y = p.array(Role::inout, "y");
  const ValueId init[] = {x, y};
  const bool out_of_place = GENERATE(false, true);
  const auto r = p.b.for_(p.b.i32(0), p.b.i32(7), init, [&](ValueId, const Values& c) {
    return Builder::LoopYield{{c[1], out_of_place ? p.mix(c[0], c[1]) : p.scale(c[0], 3, c[1])}, {}};
  });
  p.b.finish(r.carries);
  const Function g = p.plan();
  int in_loop = 0;
  for (const Op& op : g.ops)
    if (op.code == Opcode::for_)
      for (OpId id : g[op.regions[0]].ops) in_loop += g[id].code == Opcode::buffer_copy;
  CHECK(in_loop == 0);
  CHECK(count(g, Opcode::buffer_copy) == 4);
}

TEST_CASE("random programs mean the same with pruned launches", "[jit][program]") {
  const unsigned first = GENERATE(range(0u, 20u)) * 25;
  for (unsigned seed = 20000 + first; seed < 20000 + first + 25; ++seed) {
    const Function f = Generator(seed).make();
    INFO("seed " << seed);
    const Function g = prune_launches(f);
    verify(g);
    CHECK(by_value(g) == by_value(f));
  }
}

TEST_CASE("an array of which a kernel asks only the extent is not kept", "[jit][program]") {
  Program p;
  const auto measure = kernel("measure", [](Builder& b, ValueId i) {
    const auto x = b.memory_parameter(DType::i32, 1, Role::in, "x");
    const auto y = b.memory_parameter(DType::i32, 1, Role::inout, "y");
    b.store(y, {&i, 1}, b.add(b.load(y, {&i, 1}), b.extent(x, 0)));
  });
  const ValueId x = p.array(Role::in, "x");
  const ValueId y = p.b.launch(measure, {&p.n, 1}, Values{p.mix(x, x), x})[0];
  p.b.finish(Values{y});
  const Function g = prune_launches(p.f);
  CHECK(count(g, Opcode::launch) == 1);
  CHECK(by_value(g) == by_value(p.f));
}
