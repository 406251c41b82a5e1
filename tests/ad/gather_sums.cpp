// Adjoints of stencils as gathers: random stencils on random extents and domains, their first and second derivatives, give what
// the scatter gives; in the evaluator, which finds races and indices outside, and on the CPU.
#include <catch2/catch.hpp>

#include "build.h"
#include "fluxion/backend.h"
#include "fluxion/error.h"
#include "fluxion/gather_sums.h"
#include "fluxion/pipeline.h"

using namespace fluxion;
using namespace fluxion::testing;

namespace {

using Extents = std::array<std::int64_t, 3>;

/// A random stencil kernel and what it is run on.
struct Stencil {
  Function f;
  Arguments arguments;
  Extents domain{1, 1, 1};
};

LayoutId pair_layout() {
  Layout l;
  l.leaves = {{DType::f64, 0}, {DType::f64, 8}};
  l.size = 16;
  return intern(l);
}

class Generator {
 public:
  explicit Generator(std::uint64_t seed) : random_(seed) {}

  Stencil make() {
    Stencil out;
    const int rank = 1 + pick(3), sites = 2 + pick(4), reach = 1 + pick(2);
    const bool pairs = pick(4) == 0, in_place = pick(2) == 0, scalar_shift = pick(4) == 0, masked = pick(4) == 0,
               turned = rank > 1 && pick(4) == 0;
    const bool one_guard = pick(2) == 0, sums = pick(3) == 0, plane = rank < 3 && pick(4) == 0;
    Kernel k("stencil", rank);
    const LayoutId element = pairs ? pair_layout() : LayoutId(DType::f64);
    M x = k.in(element, rank + plane), y = in_place ? k.inout(DType::f64, rank) : k.out(DType::f64, rank);
    M flags = masked ? k.in(DType::i32, rank) : M{};
    M sum = sums ? k.accum(DType::f64, 1) : M{};
    V a = k.scalar(), shift = scalar_shift ? k.scalar(DType::i32) : V{};
    std::vector<V> own;
    for (int d = 0; d < rank; ++d) own.push_back(k.index(d));
    struct Site {
      std::vector<V> at;
      int leaf;
    };
    std::vector<Site> list;
    const auto inside = [&](const M& m, const std::vector<V>& at) {
      V all = i(0) == i(0);
      for (std::size_t d = 0; d < at.size(); ++d) {
        all = op(Opcode::bit_and, all, op(Opcode::ge, at[d], i(0)));
        all = op(Opcode::bit_and, all, at[d] < V(k.b.extent(m.id, static_cast<int>(d))));
      }
      return all;
    };
    for (int s = 0; s < sites; ++s) {
      Site site{{}, pairs ? pick(2) : 0};
      if (plane) site.at.push_back(i(pick(2)));
      for (int d = 0; d < rank; ++d) {
        const int axis = turned ? rank - 1 - d : d;
        V at = own[static_cast<std::size_t>(axis)] + i(pick(2 * reach + 1) - reach);
        if (scalar_shift && d == 0) at = at + shift;
        site.at.push_back(at);
      }
      list.push_back(site);
    }
    V here = inside(y, own);
    if (masked) here = op(Opcode::bit_and, here, inside(flags, own));
    if (one_guard)
      for (const Site& s : list) here = op(Opcode::bit_and, here, inside(x, s.at));
    const auto body = [&] {
      V total = in_place && pick(2) ? y.at(own) * 0.5 : c(0);
      for (const Site& s : list) {
        const int form = pick(3);
        const auto value = [&] {
          V v = x.at(s.at, s.leaf);
          return form == 0 ? v * a : form == 1 ? v * v * a : sin(v * a);
        };
        total = total + (one_guard ? value()
                                   : if_(inside(x, s.at), [&] { return std::vector<V>{value()}; }, [] { return std::vector<V>{c(0)}; })[0]);
      }
      y.set(own, total);
      if (sums) when(V(k.b.extent(sum.id, 0)) > i(0), [&] { sum.add(i(0), total * total); });
    };
    when(here, [&] {
      if (masked) when(flags.at(own) > i(1), body);
      else body();
    });
    out.f = k.done();

    Extents size{1, 1, 1};
    const int most = rank == 1 ? 10 : rank == 2 ? 8 : 6;
    for (int d = 0; d < rank; ++d) {
      size[static_cast<std::size_t>(d)] = pick(most);
      out.domain[static_cast<std::size_t>(d)] = std::max<std::int64_t>(0, size[static_cast<std::size_t>(d)] + pick(5) - 2);
    }
    std::uniform_real_distribution<double> u(0.5, 1.5);
    for (const Parameter& p : out.f.parameters) {
      Data d = shape_of(out.f, p);
      if (p.kind == Parameter::Kind::memory) {
        for (int e = 0; e < d.rank; ++e) {
          const bool of_x = p.memory == x.id;
          const int base = of_x && plane ? e - 1 : e;
          d.extent[static_cast<std::size_t>(e)] =
              base < 0 ? 2 : std::max<std::int64_t>(0, size[static_cast<std::size_t>(base)] + pick(3) - 1);
        }
        d.resize();
      }
      for (std::int64_t e = 0; e < d.count(); ++e)
        for (const Leaf& l : layout_of(d.element).leaves) {
          const std::size_t at = static_cast<std::size_t>(e) * layout_of(d.element).size + l.offset;
          if (is_float(l.dtype)) d.set(l.dtype, at, u(random_));
          else {
            const std::int32_t v = pick(5) - (d.scalar ? 2 : 0);
            std::memcpy(d.bytes.data() + at, &v, 4);
          }
        }
      out.arguments.push_back(std::move(d));
    }
    return out;
  }
  int pick(int n) { return static_cast<int>(random_() % static_cast<unsigned>(n)); }

 private:
  std::mt19937_64 random_;
};

Arguments results(const Function& f, const Arguments& all, std::size_t passed) {
  Arguments out;
  for (std::size_t p = 0; p < passed; ++p)
    if (f.parameters[p].kind == Parameter::Kind::memory && f.parameters[p].role != Role::in) out.push_back(all[p]);
  return out;
}

/// The phases one after the other on the same memory.
Arguments run_phases(const std::vector<Gathered>& phases, const Arguments& arguments, const Extents& launch, std::uint64_t shuffle,
                     bool native) {
  Arguments all = with_scratch(phases[0].kernel, arguments, launch);
  for (const auto& [f, beyond] : phases) {
    Extents domain = launch;
    for (std::size_t a = 0; a < static_cast<std::size_t>(f.domain_rank); ++a) domain[a] += beyond[a];
    std::vector<EvalMemory> memories;
    std::vector<ArrayArgument> arrays;
    std::vector<std::uint64_t> scalars;
    for (std::size_t p = 0; p < all.size(); ++p) {
      if (f.parameters[p].kind == Parameter::Kind::memory) {
        memories.push_back({all[p].bytes.data(), all[p].extent});
        arrays.push_back({all[p].bytes.data(), all[p].extent});
      } else {
        std::uint64_t bits = 0;
        std::memcpy(&bits, all[p].bytes.data(), std::min<std::size_t>(8, all[p].bytes.size()));
        scalars.push_back(bits);
      }
    }
    if (native) {
      FailureSlot failure;
      cpu_backend()->compile(f, {.width = 4})->run({domain, arrays, scalars}, failure);
      failure.rethrow();
      continue;
    }
    EvalOptions eval;
    if (shuffle) {
      eval.thread_order.resize(static_cast<std::size_t>(domain[0] * domain[1] * domain[2]));
      std::iota(eval.thread_order.begin(), eval.thread_order.end(), 0u);
      std::mt19937_64 random(shuffle);
      std::shuffle(eval.thread_order.begin(), eval.thread_order.end(), random);
    }
    evaluate_kernel(f, domain, memories, scalars, eval);
  }
  add_scratch(phases[0].kernel, all);
  return results(phases[0].kernel, all, arguments.size());
}

void same(const Arguments& expected, const Arguments& mine, double tolerance) {
  REQUIRE(expected.size() == mine.size());
  for (std::size_t k = 0; k < mine.size(); ++k) {
    double worst = 0;
    expected[k].each_float([&](DType t, std::size_t at) {
      worst = std::max(worst, std::abs(expected[k].get(t, at) - mine[k].get(t, at)) / (1 + std::abs(expected[k].get(t, at))));
    });
    INFO("result " << k);
    CHECK(worst <= tolerance);
  }
}

/// True when something was turned around.
bool check_gathered(const Function& derivative, const Arguments& arguments, const Extents& domain, bool native) {
  const Function f = run_passes(derivative, derived_pipeline());
  bool turned = false;
  for (const AddCost cost : {AddCost::endless, AddCost::of_threads}) {
    const std::vector<Gathered> phases = gather_sums(f, cost);
    if (phases.empty()) continue;
    for (const Gathered& phase : phases) verify(phase.kernel);
    INFO(print(f) << "\nbecomes\n" << print(phases[0].kernel) << (phases.size() > 1 ? print(phases[1].kernel) : ""));
    const Arguments expected = run(f, arguments, {domain});
    same(expected, run_phases(phases, arguments, domain, 0, false), 1e-12);
    same(expected, run_phases(phases, arguments, domain, 77, false), 1e-12);
    if (native) same(expected, run_phases(phases, arguments, domain, 0, true), 1e-11);
    turned = true;
  }
  return turned;
}

}  // namespace

TEST_CASE("adjoints of random stencils give the same as gathers at first and second order", "[ad][gather]") {
  int turned = 0, second = 0;
  for (int seed = 1; seed <= 150; ++seed) {
    Generator g(static_cast<std::uint64_t>(seed));
    const Stencil s = g.make();
    INFO("seed " << seed);
    const bool native = seed % 15 == 0;
    const Function v = vjp(s.f);
    const Arguments back = vjp_arguments(s.f, s.arguments, s.domain, 3);
    turned += check_gathered(v, back, s.domain, native);
    const Function vv = vjp(v);
    second += check_gathered(vv, vjp_arguments(v, back, s.domain, 5), s.domain, native);
    check_gathered(jvp(v), jvp_arguments(v, back, 6), s.domain, native);
  }
  CHECK(turned > 100);
  CHECK(second > 100);
}

TEST_CASE("what another thread could not compute before the launch writes is not gathered", "[ad][gather]") {
  const auto refused = [](const char* what, const std::function<void(Kernel&, M, M, M, V)>& body) {
    Kernel k(what);
    M x = k.in(), y = k.inout(), sum = k.accum();
    body(k, x, y, sum, k.index());
    INFO(what);
    CHECK(gather_sums(k.done(), AddCost::endless).empty());
  };
  refused("a load after a store", [](Kernel&, M x, M y, M sum, V t) {
    y.set(t, x[t] * 2.0);
    V v = y[t];
    sum.add(t, v);
    sum.add(t + i(1), v);
  });
  refused("a load in a loop that stores", [](Kernel&, M x, M y, M sum, V t) {
    V v = for_(i(0), i(3), {c(0)}, [&](V, std::vector<V> carry) {
      V now = carry[0] + y[t];
      y.set(t, now + x[t]);
      return std::vector<V>{now};
    })[0];
    sum.add(t, v);
    sum.add(t + i(1), v);
  });
  refused("an index from memory", [](Kernel& k, M x, M, M sum, V t) {
    V j = V(k.b.convert(x[t].id, DType::i32));
    sum.add(j, x[t]);
    sum.add(j + i(1), x[t]);
  });
  refused("one index of several threads", [](Kernel&, M x, M, M sum, V t) {
    sum.add(t * i(0), x[t]);
    sum.add(t, x[t]);
  });
  refused("a stride", [](Kernel&, M x, M, M sum, V t) {
    sum.add(t * i(2), x[t]);
    sum.add(t * i(2) + i(1), x[t]);
  });
  refused("an atomic's result", [](Kernel& k, M x, M y, M sum, V t) {
    const ValueId at = i(0).id, one = x[t].id;
    V old = V(k.b.atomic(Atomic::add, y.id, {&at, 1}, {&one, 1}));
    sum.add(t, old);
    sum.add(t + i(1), old);
  });
  refused("no offsets", [](Kernel&, M x, M, M sum, V t) {
    sum.add(t, x[t]);
    sum.add(t, x[t] * 2.0);
  });
}

TEST_CASE("a sum that reads what its kernel overwrites runs before the rest", "[ad][gather]") {
  // The reverse of a leapfrog step: each thread gives what it had to its neighbours, and changes it.
  Kernel k("step");
  M bar = k.inout(), sum = k.accum();
  V t = k.index(), v = bar[t];
  sum.add(t, v);
  sum.add(t + i(1), v * 3.0);
  bar.set(t, v * -1.0);
  const Function f = k.done();
  const std::vector<Gathered> phases = gather_sums(f, AddCost::endless);
  REQUIRE(phases.size() == 2);
  for (const Region& r : phases[0].kernel.regions)
    for (OpId o : r.ops) CHECK(phases[0].kernel[o].code != Opcode::store);
  Arguments a = arguments(f, {.n = 41});
  same(run(f, a, {{40, 1, 1}}), run_phases(phases, a, {40, 1, 1}, 5, false), 1e-14);
}

TEST_CASE("a linear stencil across rows is gathered because it pays and a costly one is not", "[ad][gather]") {
  const auto adjoint = [](bool across, const std::function<V(const std::vector<V>&)>& term) {
    Kernel k("stencil", 2);
    M x = k.in(DType::f64, 2), y = k.out(DType::f64, 2);
    V r = k.index(0), q = k.index(1);
    std::vector<V> terms;
    for (int n = 0; n < 5; ++n) terms.push_back(x.at({r + i(across ? n : 0), q + i(across ? 0 : n)}));
    y.set({r, q}, term(terms));
    return run_passes(vjp(k.done()), derived_pipeline());
  };
  const auto linear = [](const std::vector<V>& t) { return t[0] * 0.5 + t[1] * 0.25 - t[2] + t[3] - t[4] * 3.0; };
  CHECK(gather_sums(adjoint(true, linear)).size() == 1);
  // In a row, a point's neighbours are in the registers beside it.
  CHECK(gather_sums(adjoint(false, linear)).empty());
  CHECK(gather_sums(adjoint(false, linear), AddCost::of_threads).size() == 1);  // where each point is a thread
  // Of each neighbour the same number is needed, x at the own place.
  CHECK(gather_sums(adjoint(true, [](const std::vector<V>& t) {
          return sin(t[0]) + sin(t[1]) + sin(t[2]) + sin(t[3]) + sin(t[4]);
        })).size() == 1);
  CHECK(gather_sums(adjoint(true, [](const std::vector<V>& t) {
          return exp(sin(t[0] * t[1]) * cos(t[1] * t[2]) + exp(t[3] - t[4]));
        })).empty());
}

TEST_CASE("gathered sums are bit-equal over runs and thread counts", "[ad][gather][cpu]") {
  Kernel k("stencil", 2);
  M x = k.in(DType::f32, 2), y = k.out(DType::f32, 2);
  V r = k.index(0), q = k.index(1);
  const auto at = [&](int a, int b) { return x.at({r + i(a), q + i(b)}); };
  y.set({r, q}, at(0, 1) + at(1, 1) + at(2, 1) * 0.7 + at(3, 1) + at(4, 1) * at(4, 1));
  const Function f = k.done(), v = run_passes(vjp(f), derived_pipeline());
  REQUIRE(gather_sums(v).size() == 1);
  Arguments a = arguments(f, {.n = 604});
  a[1].extent = {600, 600, 1};
  a[1].resize();
  const Arguments back = vjp_arguments(f, a, {600, 600, 1}, 9);
  const auto code = cpu_backend()->compile(v, {});
  std::vector<std::byte> first;
  const int before = cpu_threads();
  for (int threads : {1, 2, 3, 2}) {
    set_cpu_threads(threads);
    Arguments now = back;
    std::vector<ArrayArgument> arrays;
    for (Data& d : now) arrays.push_back({d.bytes.data(), d.extent});
    FailureSlot failure;
    code->run({{600, 600, 1}, arrays, {}}, failure);
    failure.rethrow();
    if (first.empty()) first = now.back().bytes;
    CHECK(first == now.back().bytes);
  }
  set_cpu_threads(before);
}
