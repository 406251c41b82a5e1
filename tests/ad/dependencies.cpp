// The dependency run finds every entry of a Jacobian that is not 0: held to jvp, a unit tangent at a time.
#include <catch2/catch.hpp>

#include <algorithm>

#include "cases.h"
#include "fluxion/dependencies.h"
#include "fluxion/error.h"

using namespace fluxion;
using namespace fluxion::testing;

namespace {

struct Found {
  SparsityPattern pattern;
  int entries = 0;  // that are not 0
};

Found check_pattern(const Function& f, const Arguments& a, std::array<std::int64_t, 3> domain) {
  std::vector<DependencyArgument> list(a.size());
  std::int64_t columns = 0;
  const auto count = [](const Data& d) {
    std::int64_t n = 0;
    d.each_float([&](DType, std::size_t) { ++n; });
    return n;
  };
  for (std::size_t p = 0; p < a.size(); ++p) {
    list[p].data = a[p].bytes.data();
    list[p].extent = a[p].extent;
    if (a[p].scalar) __builtin_memcpy(&list[p].bits, a[p].bytes.data(), a[p].bytes.size());
    if (!a[p].floats() || f.parameters[p].role == Role::out || f.parameters[p].role == Role::accum) continue;
    list[p].first_column = columns;
    columns += count(a[p]);
  }
  Found found;
  const Arguments primal = run(f, a, {domain, 0});
  const std::vector<char> wanted(primal.size(), 1);
  found.pattern = dependencies(f, domain, list, columns, wanted);
  const SparsityPattern& s = found.pattern;
  const Function j = jvp(f);
  Arguments zeros = a;
  std::vector<std::size_t> tangent_of;
  for (std::size_t p = 0; p < a.size(); ++p) {
    tangent_of.push_back(zeros.size());
    if (!a[p].floats()) continue;
    Data d = a[p];
    if (d.element.is_scalar() && is_half(d.element.scalar())) d.element = DType::f32;
    d.resize();
    zeros.push_back(d);
  }
  std::size_t versions = 0;
  if (f.kind != Function::Kind::fn)
    for (std::size_t p = 0; p < a.size(); ++p) versions += !a[p].scalar && f.parameters[p].role != Role::in;
  for (std::size_t p = 0; p < a.size(); ++p) {
    if (list[p].first_column < 0) continue;
    std::int64_t column = list[p].first_column;
    const std::size_t t = tangent_of[p];
    zeros[t].each_float([&](DType type, std::size_t at) {
      Arguments in = zeros;
      in[t].set(type, at, 1);
      const Arguments out = run(j, in, {domain, 0});
      std::int64_t row = 0;
      std::size_t next = 0;
      const auto block = [&](std::size_t from, std::size_t to) {
        next += to - from;
        for (std::size_t k = from; k < to; ++k) {
          if (!primal[k].floats()) continue;
          const Data& d = out.at(next++);
          d.each_float([&](DType dt, std::size_t place) {
            const double v = d.get(dt, place);
            const auto members = s.row(row++);
            if (v == 0 || std::isnan(v)) return;  // what an Out does not write is undefined
            ++found.entries;
            INFO(f.name << ": result number " << row - 1 << " depends on input number " << column << "\n" << print(f));
            CHECK(std::binary_search(members.begin(), members.end(), static_cast<std::int32_t>(column)));
          });
        }
      };
      block(0, versions);
      block(versions, primal.size());
      CHECK(row == s.rows);
      ++column;
    });
  }
  return found;
}

}  // namespace

TEST_CASE("the pattern of every function has all entries of its Jacobian", "[ad][sparse]") {
  std::int64_t entries = 0, places = 0, all = 0;
  const auto note = [&](const Found& x) {
    entries += x.entries;
    places += static_cast<std::int64_t>(x.pattern.col_indices.size());
    all += x.pattern.rows * x.pattern.cols;
  };
  for (const Case& k : all_cases()) {
    INFO(k.name);
    const Arguments a = arguments(k.f, k.fill);
    note(check_pattern(k.f, a, k.domain));
    const Function v = vjp(k.f);
    const Arguments va = vjp_arguments(k.f, a, k.domain, 3);
    note(check_pattern(v, va, k.domain));
    if (k.f.kind == Function::Kind::kernel) {
      const Function p = program_of(k.f, a, k.domain);
      note(check_pattern(p, a, k.domain));
      note(check_pattern(vjp(p), va, k.domain));
    }
  }
  CHECK(entries > 2000);
  CHECK(places < 3 * entries);  // a superset, but not all there is
  CHECK(places * 2 < all);
}
