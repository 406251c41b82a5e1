// The op table against itself and against calculus: evaluate_op computes each row's meaning on bits, and each
// partial is a central difference where the function is smooth; the kinks have their documented values.
#include <catch2/catch.hpp>

#include <bit>
#include <cmath>
#include <limits>
#include <string>
#include <type_traits>
#include <vector>

#include "fluxion/error.h"
#include "fluxion/evaluate.h"
#include "fluxion/host_ops.h"

using namespace fluxion;

namespace {
template <class T> std::uint64_t bits_of(T v) {
  if constexpr (std::is_same_v<T, bool>) return v;
  else if constexpr (sizeof(T) == 8) return std::bit_cast<std::uint64_t>(v);
  else if constexpr (sizeof(T) == 4) return std::bit_cast<std::uint32_t>(v);
  else return static_cast<std::make_unsigned_t<T>>(v);
}
template <class T> std::vector<T> specials() {
  if constexpr (std::is_same_v<T, bool>) return {false, true};
  else if constexpr (std::is_floating_point_v<T>) {
    using L = std::numeric_limits<T>;
    return {T(0),     T(-0.),      T(1),     T(-1),           T(0.5),        T(-2.5),        T(3.7),
            L::max(), L::lowest(), L::min(), L::denorm_min(), L::infinity(), -L::infinity(), L::quiet_NaN()};
  } else {
    using L = std::numeric_limits<T>;
    return {T(0), T(1), T(2), T(3), T(7), T(31), T(64), T(100), L::max(), L::min(), T(L::max() - 1), T(-1), T(-5)};
  }
}
/// Equal bits, or both NaN.
template <class R> bool same(std::uint64_t got, R want) {
  if constexpr (std::is_floating_point_v<R>)
    if (want != want) {
      if constexpr (sizeof(R) == 4) return std::isnan(std::bit_cast<float>(static_cast<std::uint32_t>(got)));
      else return std::isnan(std::bit_cast<double>(got));
    }
  return got == bits_of(want);
}

int g_checked = 0;
template <class T, class F> void check_row(Opcode op, int arity, const F& meaning) {
  const DType t = dtype_of<T>;
  const DType result = info(op).flags & flag::predicate ? DType::boolean : t;
  const std::vector<T> x = specials<T>();
  for (T a : x)
    for (T b : arity > 1 ? x : std::vector<T>{T(0)})
      for (T c : arity > 2 ? x : std::vector<T>{T(0)}) {
        const std::uint64_t in[] = {bits_of(a), bits_of(b), bits_of(c)};
        const std::uint64_t got = evaluate_op(op, result, t, {in, static_cast<std::size_t>(arity)});
        const auto want = meaning(a, b, c);
        if (!same(got, want)) {
          CAPTURE(name_of(op), name_of(t), in[0], in[1], in[2], got);
          CHECK(same(got, want));
        }
        ++g_checked;
      }
}
template <Operands set, class F> void check_all_types(Opcode op, int arity, const F& meaning) {
  const auto one = [&]<class T>(std::type_identity<T>) {
    if constexpr (accepts(set, dtype_of<T>)) check_row<T>(op, arity, meaning);
    else {
      const std::uint64_t in[3] = {};
      CHECK_THROWS_AS(evaluate_op(op, dtype_of<T>, dtype_of<T>, {in, static_cast<std::size_t>(arity)}), Bug);
    }
  };
  one(std::type_identity<bool>{});
  one(std::type_identity<std::int8_t>{});
  one(std::type_identity<std::int16_t>{});
  one(std::type_identity<std::int32_t>{});
  one(std::type_identity<std::int64_t>{});
  one(std::type_identity<std::uint8_t>{});
  one(std::type_identity<std::uint16_t>{});
  one(std::type_identity<std::uint32_t>{});
  one(std::type_identity<std::uint64_t>{});
  one(std::type_identity<float>{});
  one(std::type_identity<double>{});
}

struct Gradient {
  Opcode op;
  int arity;
  double (*value)(double, double, double);
  std::vector<double (*)(double, double, double, double)> partials;
};
using F = HostOps<double>;
#define VALUE(meaning) [](double a, double b, double c) -> double { return (void)a, (void)b, (void)c, static_cast<double>(meaning); }
#define PARTIAL(d) \
  [](double a, double b, double c, double r) -> double { return (void)a, (void)b, (void)c, (void)r, static_cast<double>(d); }
#define IF_floats(...) __VA_ARGS__
#define IF_nums(...) __VA_ARGS__
#define IF_all(...) __VA_ARGS__
#define IF_ints(...)
#define IF_bits(...)
std::vector<Gradient> gradients() {
  return {
#define OP1(name, dtypes, flags, meaning, da, doc) IF_##dtypes(Gradient{Opcode::name, 1, VALUE(meaning), {PARTIAL(da)}}, )
#define OP2(name, dtypes, flags, meaning, da, db, doc) IF_##dtypes(Gradient{Opcode::name, 2, VALUE(meaning), {PARTIAL(da), PARTIAL(db)}}, )
#define OP3(name, dtypes, flags, meaning, da, db, dc, doc) \
  IF_##dtypes(Gradient{Opcode::name, 3, VALUE(meaning), {PARTIAL(da), PARTIAL(db), PARTIAL(dc)}}, )
#include "fluxion/ops.def"
  };
}
const Gradient& gradient(Opcode op) {
  static const std::vector<Gradient> all = gradients();
  for (const Gradient& g : all)
    if (g.op == op) return g;
  throw Bug({}, "no row");
}
double partial(Opcode op, int i, double a, double b = 0) {
  const Gradient& g = gradient(op);
  return g.partials[static_cast<std::size_t>(i)](a, b, 0, g.value(a, b, 0));
}
std::uint64_t f32(float v) { return std::bit_cast<std::uint32_t>(v); }
std::uint64_t f64(double v) { return std::bit_cast<std::uint64_t>(v); }
std::uint64_t run(Opcode op, DType t, std::uint64_t a, std::uint64_t b = 0) {
  const std::uint64_t in[] = {a, b};
  return evaluate_op(op, t, t, {in, info(op).arity});
}
std::uint64_t convert(DType from, DType to, std::uint64_t v) { return evaluate_op(Opcode::convert, to, from, {&v, 1}); }
}  // namespace

TEST_CASE("evaluate_op computes every row on every type it takes and refuses the others", "[ops]") {
#define OP1(name, dtypes, flags, meaning, da, doc)                            \
  check_all_types<Operands::dtypes>(Opcode::name, 1, []<class T>(T a, T, T) { \
    [[maybe_unused]] typedef HostOps<T> F;                                    \
    return meaning;                                                           \
  });
#define OP2(name, dtypes, flags, meaning, da, db, doc)                          \
  check_all_types<Operands::dtypes>(Opcode::name, 2, []<class T>(T a, T b, T) { \
    typedef HostOps<T> F;                                                       \
    return meaning;                                                             \
  });
#define OP3(name, dtypes, flags, meaning, da, db, dc, doc)                        \
  check_all_types<Operands::dtypes>(Opcode::name, 3, []<class T>(T a, T b, T c) { \
    typedef HostOps<T> F;                                                         \
    return meaning;                                                               \
  });
#include "fluxion/ops.def"
  CHECK(g_checked > 20000);
}

TEST_CASE("every partial agrees with a central difference where the function is smooth", "[ops]") {
  // None of these is on a kink of a row, nor a whole number, nor equal to another.
  const double points[] = {-3.3, -1.7, -0.83, -0.31, 0.27, 0.62, 0.91, 1.45, 2.3, 4.1};
  int compared = 0;
  for (const Gradient& g : gradients()) {
    if (info(g.op).flags & flag::predicate || g.op == Opcode::stop_grad) continue;
    int of_row = 0;
    for (double a : points)
      for (double b : points)
        for (double c : {0.4, -1.1})
          for (int i = 0; i < g.arity; ++i) {
            double x[] = {a, g.arity > 1 ? b + 0.013 : 0, c};
            const double h = 1e-5 * std::max(1., std::fabs(x[i]));
            const double at = x[i], r = g.value(x[0], x[1], x[2]);
            const double got = g.partials[static_cast<std::size_t>(i)](x[0], x[1], x[2], r);
            x[i] = at + h;
            const double up = g.value(x[0], x[1], x[2]);
            x[i] = at - h;
            const double down = g.value(x[0], x[1], x[2]);
            const double want = (up - down) / (2 * h);
            if (!std::isfinite(up) || !std::isfinite(down) || !std::isfinite(r)) continue;  // outside the domain
            if (g.op == Opcode::rem && std::trunc((at + (i == 0 ? h : 0)) / x[1]) != std::trunc((at - (i == 0 ? h : 0)) / x[1])) continue;
            ++compared, ++of_row;
            if (std::fabs(got - want) > 1e-6 * std::max(1., std::fabs(want))) {
              CAPTURE(name_of(g.op), i, a, b, c, got, want);
              CHECK(got == Approx(want));
            }
          }
    CAPTURE(name_of(g.op));
    CHECK(of_row > 0);
  }
  CHECK(compared > 5000);
}

TEST_CASE("derivatives at kinks are the documented ones", "[ops]") {
  CHECK(partial(Opcode::abs, 0, 0.) == 0);
  CHECK(partial(Opcode::min, 0, 2., 2.) == 1);
  CHECK(partial(Opcode::min, 1, 2., 2.) == 0);
  CHECK(partial(Opcode::max, 0, 2., 2.) == 1);
  CHECK(partial(Opcode::max, 1, 2., 2.) == 0);
  CHECK(partial(Opcode::hypot, 0, 0., 0.) == 0);
  CHECK(partial(Opcode::hypot, 1, 0., 0.) == 0);
  CHECK(partial(Opcode::atan2, 0, 0., 0.) == 0);
  CHECK(partial(Opcode::sign, 0, 0.) == 0);
  CHECK(partial(Opcode::stop_grad, 0, 3.) == 0);
  CHECK(partial(Opcode::pow, 0, 0., 0.) == 0);  // x^0 is 1 everywhere
  CHECK(partial(Opcode::pow, 1, 0., 2.) == 0);  // 0^y is 0 for y > 0
  CHECK(partial(Opcode::pow, 0, 0., 1.) == 1);
  CHECK(std::isinf(partial(Opcode::sqrt, 0, 0.)));
  // Where a square would overflow or lose every digit.
  CHECK(partial(Opcode::atan2, 0, 3e200, 4e200) == Approx(4. / 25 * 1e-200).epsilon(1e-14));
  CHECK(partial(Opcode::atan2, 1, 3e-200, 4e-200) == Approx(-3. / 25 * 1e200).epsilon(1e-14));
  CHECK(partial(Opcode::asinh, 0, 1e200) == Approx(1e-200).epsilon(1e-14));
  CHECK(partial(Opcode::acosh, 0, 1e200) == Approx(1e-200).epsilon(1e-14));
  CHECK(partial(Opcode::acosh, 0, 1 + 1e-14) == Approx(1 / std::sqrt(2 * (1 + 1e-14 - 1))).epsilon(1e-7));
  // a / b rounds to a whole number that it does not reach: the remainder knows better.
  CHECK(std::fmod(1., 0.1) > 0.09);
  CHECK(partial(Opcode::rem, 1, 1., 0.1) == -9);
}

TEST_CASE("integers wrap and dividing by zero gives zero", "[ops]") {
  CHECK(run(Opcode::add, DType::i8, 0x7f, 1) == 0x80);
  CHECK(run(Opcode::mul, DType::u16, 0xffff, 0xffff) == 1);
  CHECK(run(Opcode::div, DType::i32, 7, 0) == 0);
  CHECK(run(Opcode::rem, DType::u64, 7, 0) == 0);
  CHECK(run(Opcode::div, DType::i32, 0x80000000, 0xffffffff) == 0x80000000);
  CHECK(run(Opcode::rem, DType::i64, std::uint64_t{1} << 63, ~std::uint64_t{0}) == 0);
  CHECK(run(Opcode::neg, DType::i16, 0x8000) == 0x8000);
  CHECK(run(Opcode::shl, DType::u32, 1, 33) == 2);
  CHECK(run(Opcode::shr, DType::i8, 0x80, 1) == 0xc0);
  CHECK(run(Opcode::shr, DType::u8, 0x80, 1) == 0x40);
  CHECK(run(Opcode::mulhi, DType::u32, 0xffffffff, 0xffffffff) == 0xfffffffe);
  CHECK(run(Opcode::mulhi, DType::i32, 0xffffffff, 2) == 0xffffffff);
}

TEST_CASE("minimum and maximum return the number beside a NaN and round goes to even", "[ops]") {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  CHECK(run(Opcode::min, DType::f32, f32(nan), f32(2)) == f32(2));
  CHECK(run(Opcode::max, DType::f32, f32(2), f32(nan)) == f32(2));
  CHECK(run(Opcode::round, DType::f64, f64(2.5)) == f64(2));
  CHECK(run(Opcode::round, DType::f64, f64(-3.5)) == f64(-4));
  CHECK(run(Opcode::mulz, DType::f32, f32(0), f32(nan)) == f32(0));
  CHECK(run(Opcode::sdiv, DType::f32, f32(3), f32(0)) == f32(0));
  CHECK(run(Opcode::sign, DType::f32, f32(nan)) == f32(0));
}

TEST_CASE("conversions saturate and wrap and go through f32 for halves", "[ops]") {
  CHECK(convert(DType::f32, DType::i32, f32(3e9f)) == 0x7fffffff);
  CHECK(convert(DType::f32, DType::i32, f32(-3e9f)) == 0x80000000);
  CHECK(convert(DType::f32, DType::u8, f32(-1)) == 0);
  CHECK(convert(DType::f32, DType::u8, f32(255.9f)) == 255);
  CHECK(convert(DType::f64, DType::i64, f64(1e300)) == 0x7fffffffffffffff);
  CHECK(convert(DType::f64, DType::u64, f64(1.8446744073709552e19)) == ~std::uint64_t{0});
  CHECK(convert(DType::f64, DType::i32, f64(std::numeric_limits<double>::quiet_NaN())) == 0);
  CHECK(convert(DType::f32, DType::i8, f32(-1.9f)) == 0xff);
  CHECK(convert(DType::f32, DType::boolean, f32(0.25f)) == 1);
  CHECK(convert(DType::f32, DType::boolean, f32(-0.f)) == 0);
  CHECK(convert(DType::boolean, DType::f64, 1) == f64(1));
  CHECK(convert(DType::i32, DType::boolean, 256) == 1);
  CHECK(convert(DType::i32, DType::i8, 300) == 44);
  CHECK(convert(DType::i8, DType::i64, 0xff) == ~std::uint64_t{0});
  CHECK(convert(DType::i8, DType::u32, 0xff) == 0xffffffff);
  CHECK(convert(DType::f32, DType::f16, f32(1)) == 0x3c00);
  CHECK(convert(DType::f32, DType::f16, f32(65520)) == 0x7c00);
  CHECK(convert(DType::f32, DType::f16, f32(2049)) == 0x6800);  // a tie goes to even: 2048
  CHECK(convert(DType::f16, DType::f64, 0x0001) == f64(std::ldexp(1., -24)));
  CHECK(convert(DType::f32, DType::bf16, f32(1.00390625f)) == 0x3f80);
  CHECK(convert(DType::bf16, DType::f32, 0xc040) == f32(-3));
  CHECK(convert(DType::i32, DType::f16, 3) == 0x4200);
  CHECK((convert(DType::f32, DType::bf16, f32(std::numeric_limits<float>::quiet_NaN())) & 0x7fff) > 0x7f80);
}
