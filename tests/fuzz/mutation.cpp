// The mutation run: every planted mistake must be found by one of the first 5000 programs, by the check that the normal
// run makes of it. FLUXION_FUZZ_MUTANTS=all (./run fuzz --mutants) tries all and prints the table; otherwise a sample.
#include <catch2/catch.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <cstring>

#include "checks.h"
#include "dual.h"
#include "fluxion/mutants.h"

using namespace fluxion;
using namespace fluxion::fuzz;
using testing::Mutant;
using testing::PartialMutant;

namespace {

enum class Area { ad, pass, lowering, native };
struct Row {
  Mutant mutant;
  Area area;
  std::string name, what;
  Opcode op{};
  int operand = 0;
  PartialMutant how{};
};

constexpr const char* kHow[] = {"dropped", "negated", "perturbed", "swapped"};

std::vector<Row> all_mutants() {
  std::vector<Row> rows = {
#define MUTANT(name, area, what) {Mutant::name, Area::area, #name, what},
#include "fluxion/mutants.def"
  };
  // Every partial of every op in one of the ways in turn; mulz has rules of its own above.
  int turn = 0;
  for (Opcode op : elementwise_ops()) {
    const OpInfo& row = info(op);
    const bool floats = row.operands == Operands::floats || row.operands == Operands::nums;
    if (!floats || row.flags & flag::predicate || op == Opcode::select || op == Opcode::mulz) continue;
    const Slopes<double> s = slopes<double>(op, 0.5, 0.2);
    const double at[] = {s.a, s.b, s.c};
    // An operand that never matters has no partial to get wrong; min and max matter in either.
    for (int k = 0; k < row.arity; ++k)
      if (at[k] != 0 || op == Opcode::min || op == Opcode::max)
        rows.push_back({Mutant::partial, Area::ad, fmt::format("{} d{}", name_of(op), "abc"[k]), "", op, k,
                        static_cast<PartialMutant>(turn++ % testing::kPartialMutants)}),
            rows.back().what = kHow[static_cast<int>(rows.back().how)];
  }
  return rows;
}

struct Planted {
  explicit Planted(const Row& r) {
    if (r.mutant == Mutant::partial) testing::plant_partial(r.op, r.operand, r.how);
    else testing::plant(r.mutant);
  }
  ~Planted() { testing::plant(Mutant::none); }
};

struct Killed {
  std::uint64_t by = 0;  // the seed; 0: survived
  std::string check;
};

/// The programs and checks of the normal run with its first seed, cheapest first.
Killed try_mutant(const Row& row, const std::shared_ptr<Backend>& cpu, std::uint64_t programs) {
  const Planted planted(row);
  for (std::uint64_t seed = 1; seed <= programs; ++seed) {
    std::string wrong;
    const auto with = [&](DType real, const auto& check) {
      const Program p = generate(seed, real);
      wrong = guarded([&] { return check(p); });
    };
    switch (row.area) {
      case Area::ad: with(DType::f64, [](const Program& p) { return check_derivatives(p); }); break;
      case Area::pass: with(seed % 4 ? DType::f64 : DType::f32, check_values); break;
      case Area::lowering: with(seed % 4 ? DType::f64 : DType::f32, check_lowering); break;
      case Area::native:
        if (seed % 10 != 1) break;
        with(DType::f64, [&](const Program& p) {
          constexpr int kWidths[] = {8, 4, 16, 2};
          CompileOptions options;
          options.width = kWidths[seed / 10 % std::size(kWidths)];
          return check_native(p, *cpu, options, true);
        });
        break;
    }
    if (!wrong.empty()) return {seed, wrong.substr(0, wrong.find(' '))};
  }
  return {};
}

}  // namespace

TEST_CASE("random programs catch planted mistakes in partials and rules and passes and lowerings and native code", "[fuzz][mutants]") {
  const char* wanted = std::getenv("FLUXION_FUZZ_MUTANTS");
  const bool all = wanted && std::strcmp(wanted, "all") == 0;
  const std::vector<Row> rows = all_mutants();
  REQUIRE(rows.size() >= 100);
  const std::shared_ptr<Backend> cpu = cpu_backend();
  int tried = 0, killed = 0;
  std::vector<std::uint64_t> needed;  // programs, of those killed
  std::size_t index = 0;
  for (const Row& row : rows) {
    // The four classics, and every thirteenth of the others.
    const std::size_t at = index++;
    const bool named = wanted && row.name == wanted;
    if (!all && !named && (wanted || (at >= 4 && at % 13 != 5))) continue;
    const auto start = std::chrono::steady_clock::now();
    const Killed k = try_mutant(row, cpu, 5000);
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    ++tried, killed += k.by > 0;
    if (k.by) needed.push_back(k.by);
    if (wanted)
      fmt::print("{:>28} {:>9}  {} ({:.1f} s)\n", row.name, k.by ? fmt::format("{}", k.by) : "SURVIVED", k.by ? k.check : row.what,
                 seconds),
          std::fflush(stdout);
    INFO(row.name << ": " << row.what);
    if (!all) CHECK(k.by > 0);
  }
  std::sort(needed.begin(), needed.end());
  if (wanted && !needed.empty())
    fmt::print("{} of {} mutants killed within 5000 programs, half of them within {}, the last at program {}\n", killed, tried,
               needed[needed.size() / 2], needed.back());
  CHECK(tried > 0);
  CHECK(100 * killed >= 98 * tried);
}
