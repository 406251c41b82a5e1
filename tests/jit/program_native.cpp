// Programs as native code against the evaluator of the same memory form.
#include <catch2/catch.hpp>
#include <atomic>
#include <thread>

#include "fluxion/buffer_plan.h"
#include "fluxion/error.h"
#include "program_arguments.h"
#include "program_generator.h"

using namespace fluxion;
using namespace program_test;

TEST_CASE("random programs compute the same as native code", "[jit][program]") {
  const unsigned seed = GENERATE(range(40000u, 40060u));
  const Function f = Generator(seed).make();
  INFO("seed " << seed << "\n" << print(f));
  Function g;
  try {
    g = buffer_plan(f);
  } catch (const KernelError&) {
    return;  // program_plan.cpp looks at what is refused
  }
  const auto code = cpu_backend()->compile(g, {});
  INFO(print(g));
  CHECK(by_memory(g, code.get()) == by_value(f));
  CHECK(by_memory(g, code.get()) == by_value(f));  // on the workspace of the first run
}

TEST_CASE("runs of one program at the same time have a workspace each", "[jit][program]") {
  Function g;
  std::vector<std::vector<std::int32_t>> expected;
  for (unsigned seed = 50000; g.memories.empty(); ++seed) {
    const Function f = Generator(seed).make();
    try {
      g = buffer_plan(f);
    } catch (const KernelError&) { continue; }
    int stacks = 0;
    for (const Memory& m : g.memories) stacks += m.records;
    if (stacks < 3) g = Function();
    else expected = by_value(f);
  }
  const auto code = cpu_backend()->compile(g, {});
  std::vector<std::thread> threads;
  std::atomic<int> wrong = 0;
  for (int t = 0; t < 3; ++t)
    threads.emplace_back([&] {
      for (int k = 0; k < 50; ++k) wrong += by_memory(g, code.get()) != expected;
    });
  for (std::thread& t : threads) t.join();
  CHECK(wrong == 0);
}

TEST_CASE("a program comes back from its object file", "[jit][program]") {
  const Function f = Generator(40001).make();
  const Function g = buffer_plan(f);
  const auto code = cpu_backend()->compile(g, {});
  const auto again = cpu_backend()->load(g, {}, code->object());
  REQUIRE(again);
  CHECK(by_memory(g, again.get()) == by_value(f));
}
