// The lowered transcendentals against long double: error bounds on dense samples, and C's special values.
#include <catch2/catch.hpp>

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <random>

#include "fluxion/builder.h"
#include "fluxion/passes.h"
#include "fluxion/ulp.h"
#include "lanes.h"

using namespace fluxion;
using namespace fluxion::testing;

namespace {

using Exact = long double;

struct Range {
  double low, high;
};
struct Case {
  Opcode op;
  Exact (*exact)(Exact, Exact);
  std::vector<Range> x;       // where to look closely, besides all bit patterns
  std::vector<Range> y = {};  // second operand
};

const double kHuge = 1e300;

const std::vector<Case>& cases() {
  static const std::vector<Case> all = {
      {Opcode::rsqrt, [](Exact a, Exact) { return 1 / std::sqrt(a); }, {{0, 4}, {0, 1e6}}},
      {Opcode::cbrt, [](Exact a, Exact) { return std::cbrt(a); }, {{-8, 8}, {0, 1e6}}},
      {Opcode::exp, [](Exact a, Exact) { return std::exp(a); }, {{-1, 1}, {-90, 90}, {-710, 710}}},
      {Opcode::exp2, [](Exact a, Exact) { return std::exp2(a); }, {{-1, 1}, {-130, 130}, {-1030, 1030}}},
      {Opcode::expm1, [](Exact a, Exact) { return std::expm1(a); }, {{-1, 1}, {-30, 90}, {-50, 710}, {-1e-3, 1e-3}}},
      {Opcode::log, [](Exact a, Exact) { return std::log(a); }, {{0.5, 2}, {0.99, 1.01}, {0, 100}}},
      {Opcode::log2, [](Exact a, Exact) { return std::log2(a); }, {{0.5, 2}, {0.99, 1.01}, {0, 100}}},
      {Opcode::log10, [](Exact a, Exact) { return std::log10(a); }, {{0.5, 2}, {0.99, 1.01}, {0, 100}}},
      {Opcode::log1p, [](Exact a, Exact) { return std::log1p(a); }, {{-1, 1}, {-.01, .01}, {-1, 100}, {0, 1e12}}},
      {Opcode::sin, [](Exact a, Exact) { return std::sin(a); }, {{-3.2, 3.2}, {-30, 30}, {-1e5, 1e5}, {0, 3e9}}},
      {Opcode::cos, [](Exact a, Exact) { return std::cos(a); }, {{-3.2, 3.2}, {-30, 30}, {-1e5, 1e5}, {0, 3e9}}},
      {Opcode::tan, [](Exact a, Exact) { return std::tan(a); }, {{-3.2, 3.2}, {-30, 30}, {-1e5, 1e5}, {0, 3e9}}},
      {Opcode::asin, [](Exact a, Exact) { return std::asin(a); }, {{-1, 1}, {.99, 1}, {-.51, -.49}}},
      {Opcode::acos, [](Exact a, Exact) { return std::acos(a); }, {{-1, 1}, {.99, 1}, {-1, -.99}, {.49, .51}}},
      {Opcode::atan, [](Exact a, Exact) { return std::atan(a); }, {{-1, 1}, {-10, 10}, {.41, .42}}},
      {Opcode::atan2, [](Exact a, Exact b) { return std::atan2(a, b); }, {{-1, 1}, {-100, 100}}, {{-1, 1}, {-1, 1}}},
      {Opcode::sinh, [](Exact a, Exact) { return std::sinh(a); }, {{-1, 1}, {-90, 90}, {-711, 711}, {0, .01}}},
      {Opcode::cosh, [](Exact a, Exact) { return std::cosh(a); }, {{-1, 1}, {-90, 90}, {-711, 711}}},
      {Opcode::tanh, [](Exact a, Exact) { return std::tanh(a); }, {{-1, 1}, {-10, 10}, {-25, 25}, {0, .01}}},
      {Opcode::asinh, [](Exact a, Exact) { return std::asinh(a); }, {{-1, 1}, {-100, 100}, {0, .01}, {0, 1e20}}},
      {Opcode::acosh, [](Exact a, Exact) { return std::acosh(a); }, {{1, 2}, {1, 100}, {1, 1.01}, {0, 1e20}}},
      {Opcode::atanh, [](Exact a, Exact) { return std::atanh(a); }, {{-1, 1}, {-.01, .01}, {.99, 1}}},
      {Opcode::pow,
       [](Exact a, Exact b) { return std::pow(a, b); },
       {{0, 4}, {.99, 1.01}, {0, 100}, {-10, 10}},
       {{-30, 30}, {-9000, 9000}, {-3, 3}, {-8, 8}}},
      {Opcode::hypot, [](Exact a, Exact b) { return std::hypot(a, b); }, {{-1, 1}, {0, 1e6}}, {{-1, 1}, {0, 1e6}}},
      {Opcode::erf, [](Exact a, Exact) { return std::erf(a); }, {{-1, 1}, {-4, 4}, {-6, 6}, {.9, 1.1}}},
  };
  return all;
}

Function lowered(Opcode op, DType t) {
  Function f;
  Builder b(f);
  f.name = name_of(op);
  Values in;
  for (int i = 0; i < info(op).arity; ++i) in.push_back(b.scalar_parameter(t, i ? "b" : "a"));
  const ValueId r = b.emit(op, in);
  b.finish({&r, 1});
  return inline_final(math_lowering(f));
}

template <class T>
struct Samples {
  std::vector<T> x, y;
};

template <class T>
Samples<T> sample(const Case& c, std::size_t count) {
  using Bits = std::conditional_t<sizeof(T) == 4, std::uint32_t, std::uint64_t>;
  std::mt19937_64 rng(17);
  Samples<T> s;
  const std::size_t parts = 2 + 2 * c.x.size();
  const bool binary = !c.y.empty();
  for (std::size_t i = 0; i < count; ++i) {
    const std::size_t part = i % parts;
    const auto uniform = [&](Range r) { return static_cast<T>(r.low + (r.high - r.low) * (rng() >> 11) * 0x1p-53); };
    T x, y = 0;
    if (part < 2) {
      x = std::bit_cast<T>(static_cast<Bits>(rng()));
      if (binary) y = std::bit_cast<T>(static_cast<Bits>(rng()));
    } else {
      const std::size_t r = part / 2 - 1;
      x = uniform(c.x[r]);
      if (binary) y = uniform(c.y[r]);
      if (binary && c.op == Opcode::pow && r == 3) y = std::round(y);
    }
    s.x.push_back(x);
    s.y.push_back(y);
  }
  return s;
}

template <class T>
std::vector<T> run(const Function& f, const Samples<T>& s) {
  std::vector<Lane> in(f.parameters.size());
  for (std::size_t i = 0; i < in.size(); ++i)
    for (T v : i ? s.y : s.x) in[i].push_back(to_bits(v));
  std::vector<T> out;
  for (std::uint64_t b : Lanes(f, std::move(in)).run()) out.push_back(from_bits<T>(b));
  return out;
}

template <class T>
bool tiny(T v) {
  return v != 0 && std::fabs(v) < std::numeric_limits<T>::min();
}

/// Error in units in the last place of the exact result; 0 where nothing is promised.
template <class T>
double error_of(T got, Exact exact) {
  constexpr T kMax = std::numeric_limits<T>::max(), kMin = std::numeric_limits<T>::min();
  if (std::isnan(exact)) return std::isnan(got) ? 0 : kHuge;
  if (std::isnan(got)) return kHuge;
  const Exact size = std::fabs(exact);
  const int digits = std::numeric_limits<T>::digits;
  const Exact last =
      std::ldexp(Exact(1), std::max(std::ilogb(size == 0 ? Exact(kMin) : size), std::numeric_limits<T>::min_exponent - 1) - digits + 1);
  if (std::isinf(exact) || size > Exact(kMax) + 2 * last) return got == (exact < 0 ? -INFINITY : INFINITY) ? 0 : kHuge;
  if (std::isinf(got)) return size > Exact(kMax) - 2 * last ? 0 : kHuge;
  if (size < Exact(kMin) * (1 + 0x1p-20L)) {
    if (std::fabs(got) > kMin * T(1.001)) return kHuge;
    return exact != 0 && got != 0 && std::signbit(got) != std::signbit(exact) ? kHuge : 0;  // may be flushed
  }
  return static_cast<double>(std::fabs(Exact(got) - exact) / last);
}

template <class T>
void check_bound(const Case& c, std::size_t count) {
  const Function f = lowered(c.op, dtype_of<T>);
  const Samples<T> s = sample<T>(c, count);
  const std::vector<T> got = run(f, s);
  double worst = 0;
  std::size_t at = 0;
  for (std::size_t i = 0; i < got.size(); ++i) {
    if (tiny(s.x[i]) || (!c.y.empty() && tiny(s.y[i]))) continue;  // a flushed argument
    const double e = error_of(got[i], c.exact(s.x[i], s.y[i]));
    if (e > worst) worst = e, at = i;
  }
  INFO(name_of(c.op) << " of " << name_of(dtype_of<T>) << " worst at " << std::hexfloat << s.x[at] << " " << s.y[at] << " -> " << got[at]
                     << " exact " << c.exact(s.x[at], s.y[at]) << std::defaultfloat << " ops " << f.ops.size());
  if (std::getenv("FLUXION_MATH_ERRORS")) printf("%-6s %s %.3f  (%zu ops)\n", name_of(c.op), name_of(dtype_of<T>), worst, f.ops.size());
  CHECK(worst <= ulp_bound(c.op, dtype_of<T>));
}

template <class T>
void check_special(const Case& c) {
  using L = std::numeric_limits<T>;
  std::vector<T> values = {0,
                           1,
                           T(0.5),
                           2,
                           3,
                           T(1e-3),
                           T(1.5),
                           10,
                           T(3.14159265358979),
                           L::min(),
                           L::max(),
                           L::infinity(),
                           L::epsilon(),
                           T(88.5),
                           T(89.2),
                           T(103.9),
                           T(710.1),
                           T(746),
                           T(0.25),
                           T(16777217),
                           T(1e16),
                           T(1e30)};
  for (std::size_t i = 0, n = values.size(); i < n; ++i) values.push_back(-values[i]);
  values.push_back(L::quiet_NaN());
  Samples<T> s;
  for (T x : values)
    for (T y : values) {
      s.x.push_back(x), s.y.push_back(y);
      if (c.y.empty()) break;
    }
  const std::vector<T> got = run(lowered(c.op, dtype_of<T>), s);
  for (std::size_t i = 0; i < got.size(); ++i) {
    const Exact exact = c.exact(s.x[i], s.y[i]);
    INFO(name_of(c.op) << " of " << name_of(dtype_of<T>) << " " << s.x[i] << " " << s.y[i] << " -> " << got[i] << " exact " << exact);
    CHECK(error_of(got[i], exact) <= ulp_bound(c.op, dtype_of<T>));
    if (exact == 0) CHECK(got[i] == 0);
    if (exact == 0) CHECK(std::signbit(got[i]) == std::signbit(exact));
  }
}

}  // namespace

TEST_CASE("every lowered function keeps its stated error bound", "[math]") {
  for (const Case& c : cases()) {
    check_bound<float>(c, 100000);
    check_bound<double>(c, 100000);
  }
}

TEST_CASE("lowered functions have C's special values", "[math]") {
  for (const Case& c : cases()) {
    check_special<float>(c);
    check_special<double>(c);
  }
}

TEST_CASE("sin and cos stay exact for the arguments closest to multiples of half pi", "[math]") {
  // Kahan's worst case for f64, and one for f32; both need the long reduction.
  const Samples<double> d = {{6381956970095103.0 * std::ldexp(1.0, 797), 1e22, 0x1.fffffffffffffp1023}, {0, 0, 0}};
  const Samples<float> s = {{16367173.0f * std::ldexp(1.0f, 72), 1e22f, 0x1.fffffep127f}, {0, 0, 0}};
  for (const Case& c : cases()) {
    if (c.op != Opcode::sin && c.op != Opcode::cos && c.op != Opcode::tan) continue;
    const auto gd = run(lowered(c.op, DType::f64), d);
    const auto gs = run(lowered(c.op, DType::f32), s);
    for (int i = 0; i < 3; ++i) {
      CHECK(error_of(gd[i], c.exact(d.x[i], 0)) <= ulp_bound(c.op, DType::f64));
      CHECK(error_of(gs[i], c.exact(s.x[i], 0)) <= ulp_bound(c.op, DType::f32));
    }
  }
}

TEST_CASE("math lowering leaves exact ops only", "[math]") {
  for (Opcode op : elementwise_ops()) {
    if (op == Opcode::select || (info(op).flags & flag::exact)) continue;
    for (DType t : {DType::f32, DType::f64}) {
      const Function f = lowered(op, t);
      CHECK(ulp_bound(op, t) > 0);
      for (const Op& o : f.ops) {
        INFO(name_of(op) << " keeps " << name_of(o.code));
        CHECK((!is_elementwise(o.code) || o.code == Opcode::select || (info(o.code).flags & flag::exact)));
      }
    }
  }
}
