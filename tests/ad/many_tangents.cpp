// jvp with several tangents at once gives, for each of them, what jvp gives for it alone.
#include <catch2/catch.hpp>

#include "cases.h"
#include "fluxion/error.h"

using namespace fluxion;
using namespace fluxion::testing;

namespace {

constexpr int kMany = 3;

/// n arrays of one shape as one with a leading axis.
Data stacked(const std::vector<Data>& parts) {
  Data d = parts[0];
  d.rank += 1;
  for (int k = 2; k > 0; --k) d.extent[static_cast<std::size_t>(k)] = d.extent[static_cast<std::size_t>(k) - 1];
  d.extent[0] = static_cast<std::int64_t>(parts.size());
  if (parts[0].rank == 1) d.extent = {d.extent[0], parts[0].extent[0], 1};
  if (parts[0].rank == 2) d.extent = {d.extent[0], parts[0].extent[0], parts[0].extent[1]};
  d.bytes.clear();
  for (const Data& p : parts) d.bytes.insert(d.bytes.end(), p.bytes.begin(), p.bytes.end());
  return d;
}

bool three_axes(const Function& f) {
  for (const Memory& m : f.memories)
    if (m.rank == 3) return true;
  return false;
}

void same_as_one_by_one(const Function& f, const Arguments& a, std::array<std::int64_t, 3> domain) {
  const Function one = jvp(f), many = jvp(f, kMany);
  verify(many);
  std::vector<Arguments> tangents;  // by tangent, by float parameter
  for (int t = 0; t < kMany; ++t) {
    const Arguments all = jvp_arguments(f, a, 3 + static_cast<std::uint64_t>(t));
    tangents.emplace_back(all.begin() + static_cast<std::ptrdiff_t>(a.size()), all.end());
  }
  Arguments wide = a;
  for (std::size_t p = 0; p < tangents[0].size(); ++p) {
    std::vector<Data> parts;
    for (const Arguments& t : tangents) parts.push_back(t[p]);
    if (parts[0].scalar) wide.insert(wide.end(), parts.begin(), parts.end());
    else wide.push_back(stacked(parts));
  }
  const Arguments got = run(many, wide, {domain, 0});
  for (int t = 0; t < kMany; ++t) {
    Arguments narrow = a;
    narrow.insert(narrow.end(), tangents[static_cast<std::size_t>(t)].begin(), tangents[static_cast<std::size_t>(t)].end());
    const Arguments expected = run(one, narrow, {domain, 0});
    // Results: those of f, then tangents: one array with a leading axis, or (fn) n numbers each.
    std::size_t results = 0;
    for (const Parameter& p : f.parameters)
      results += f.kind == Function::Kind::kernel && p.kind == Parameter::Kind::memory && p.role != Role::in && !is_scratch(f, p);
    if (f.kind == Function::Kind::fn) results = f.terminator(f.body).operands.size();
    for (std::size_t r = 0; r < results; ++r) CHECK(got.at(r).bytes == expected.at(r).bytes);
    for (std::size_t r = results; r < expected.size(); ++r) {
      INFO(f.name << ": tangent " << t << " of result " << r - results << "\n" << print(many));
      if (f.kind == Function::Kind::fn) {
        CHECK(got.at(results + (r - results) * kMany + static_cast<std::size_t>(t)).bytes == expected[r].bytes);
        continue;
      }
      const std::size_t size = expected[r].bytes.size();
      const auto* from = got.at(r).bytes.data() + size * static_cast<std::size_t>(t);
      CHECK(std::equal(expected[r].bytes.begin(), expected[r].bytes.end(), from));
    }
  }
}

}  // namespace

TEST_CASE("several tangents at once are those of each alone", "[ad]") {
  int checked = 0;
  for (const Case& k : all_cases()) {
    if (three_axes(k.f)) {
      CHECK_THROWS_AS(jvp(k.f, kMany), KernelError);
      continue;
    }
    ++checked;
    DYNAMIC_SECTION(k.name) { same_as_one_by_one(k.f, arguments(k.f, k.fill), k.domain); }
    DYNAMIC_SECTION(k.name << " backwards") {
      const Function d = vjp(k.f);
      if (!three_axes(d)) same_as_one_by_one(d, vjp_arguments(k.f, arguments(k.f, k.fill), k.domain, 3), k.domain);
    }
  }
  CHECK(checked > 10);
}

TEST_CASE("the primal of several tangents is computed once", "[ad]") {
  const Function f = parse(
      "fn @f(%x: f64, %n: i32) -> f64 {\n"
      "  %0 = for 0, %n, %x (%1: i32, %2: f64) {\n    %3 = exp %2 : f64\n    %4 = sin %3 : f64\n    yield %4\n  } : f64\n"
      "  yield %0\n}\n");
  const Function many = jvp(f, 8);
  int exps = 0, loops = 0;
  for (const Op& op : many.ops) exps += op.code == Opcode::exp, loops += op.code == Opcode::for_;
  CHECK(exps == 1);
  CHECK(loops == 1);
}
