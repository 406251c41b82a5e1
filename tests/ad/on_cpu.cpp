// Every case of cases.h and its derivatives, first and second order, through the CPU backend: the same numbers as
// the evaluator's, at several widths. Sums may be taken in another order, so floats agree to a tolerance.
#include <catch2/catch.hpp>

#include "cases.h"
#include "fluxion/backend.h"
#include "fluxion/error.h"

using namespace fluxion;
using namespace fluxion::testing;

namespace {

Arguments run_native(const Function& f, const Arguments& arguments, std::array<std::int64_t, 3> domain, int width) {
  Arguments all = with_scratch(f, arguments, domain);
  std::vector<ArrayArgument> arrays;
  std::vector<std::uint64_t> scalars;
  for (std::size_t p = 0; p < all.size(); ++p) {
    if (f.parameters[p].kind == Parameter::Kind::memory) {
      arrays.push_back({all[p].bytes.data(), all[p].extent});
    } else {
      std::uint64_t bits = 0;
      std::memcpy(&bits, all[p].bytes.data(), std::min<std::size_t>(8, all[p].bytes.size()));
      scalars.push_back(bits);
    }
  }
  FailureSlot failure;
  cpu_backend()->compile(f, {.width = width, .bounds = width == 4})->run({domain, arrays, scalars}, failure);
  failure.rethrow();
  add_scratch(f, all);
  Arguments out;
  for (std::size_t p = 0; p < arguments.size(); ++p)
    if (f.parameters[p].kind == Parameter::Kind::memory && f.parameters[p].role != Role::in) out.push_back(all[p]);
  return out;
}

void same_on_cpu(const Function& f, const Arguments& a, std::array<std::int64_t, 3> domain) {
  const Arguments expected = run(f, a, {domain});
  bool coarse = false;
  for (const Memory& m : f.memories)
    for (const Leaf& l : layout_of(m.element).leaves) coarse |= is_half(l.dtype) || l.dtype == DType::f32;
  const double tolerance = coarse ? 2e-5 : 1e-11;
  for (int width : {16, 4, 1}) {
    const Arguments mine = run_native(f, a, domain, width);
    for (std::size_t k = 0; k < mine.size(); ++k) {
      INFO("width " << width << ", result " << k << "\n" << print(f));
      if (!mine[k].floats()) {
        CHECK(mine[k].bytes == expected[k].bytes);
        continue;
      }
      double size = 0, worst = 0;
      expected[k].each_float([&](DType t, std::size_t at) {
        const double x = expected[k].get(t, at), y = mine[k].get(t, at);
        if (x == y || (x != x && y != y)) return;
        size = std::max(size, std::isfinite(x) ? std::abs(x) : 0.0);
        worst = std::isfinite(x - y) ? std::max(worst, std::abs(x - y)) : 1e300;
      });
      CHECK(worst <= tolerance * std::max(size, 1e-3));
    }
  }
}

}  // namespace

TEST_CASE("kernels and their derivatives give the evaluator's numbers on the CPU", "[ad][cpu]") {
  for (const Case& k : all_cases()) {
    if (k.f.kind != Function::Kind::kernel) continue;
    DYNAMIC_SECTION(k.name) {
      const Arguments a = arguments(k.f, k.fill);
      same_on_cpu(k.f, a, k.domain);
      same_on_cpu(jvp(k.f), jvp_arguments(k.f, a, 3), k.domain);
      const Function v = vjp(k.f);
      const Arguments back = vjp_arguments(k.f, a, k.domain, 4);
      same_on_cpu(v, back, k.domain);
      bool second = true;
      Function vv;
      try {
        vv = vjp(v);
      } catch (const KernelError&) { second = false; }
      if (second) same_on_cpu(vv, vjp_arguments(v, back, k.domain, 5), k.domain);
    }
  }
}
