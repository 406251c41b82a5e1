// How far from the evaluator each function is on each device that is present: a bound for every op, which docs/backends.md has too.
#include <random>

#include "run_kernel.h"

using namespace fluxion;
using namespace fluxion::testing;

namespace {

/// What was measured (glibc 2.36), in units in the last place, of f32 and f64. The evaluator computes by the host's libm; its cbrt of f64
/// is itself some units off, and its rsqrt is rounded twice.
struct Bound {
  Opcode op;
  double f32, f64;
};
constexpr Bound kBounds[] = {
    {Opcode::rsqrt, 2, 2}, {Opcode::cbrt, 1, 3},  {Opcode::exp, 1, 1},   {Opcode::exp2, 1, 1},  {Opcode::expm1, 2, 2},
    {Opcode::log, 1, 1},   {Opcode::log2, 1, 1},  {Opcode::log10, 2, 2}, {Opcode::log1p, 1, 1}, {Opcode::sin, 1, 1},
    {Opcode::cos, 1, 1},   {Opcode::tan, 2, 3},   {Opcode::asin, 2, 2},  {Opcode::acos, 1, 1},  {Opcode::atan, 2, 2},
    {Opcode::atan2, 2, 2}, {Opcode::sinh, 2, 2},  {Opcode::cosh, 1, 1},  {Opcode::tanh, 2, 3},  {Opcode::asinh, 1, 1},
    {Opcode::acosh, 2, 2}, {Opcode::atanh, 2, 2}, {Opcode::pow, 1, 1},   {Opcode::hypot, 1, 1}, {Opcode::erf, 1, 1},

};

struct Range {
  double low, high;
};
/// Where to look, besides numbers of all kinds.
std::vector<Range> ranges(Opcode op) {
  switch (op) {
    case Opcode::exp:
    case Opcode::exp2:
    case Opcode::expm1:
    case Opcode::sinh:
    case Opcode::cosh: return {{-1, 1}, {-80, 80}};
    case Opcode::asin:
    case Opcode::acos:
    case Opcode::atanh: return {{-1, 1}, {.9, 1}};
    case Opcode::acosh: return {{1, 2}, {1, 100}};
    case Opcode::log:
    case Opcode::log2:
    case Opcode::log10: return {{.5, 2}, {0, 100}};
    case Opcode::log1p: return {{-1, 1}, {-.01, .01}};
    case Opcode::sin:
    case Opcode::cos:
    case Opcode::tan: return {{-4, 4}, {-1e5, 1e5}};
    case Opcode::pow: return {{0, 4}, {.9, 1.1}};
    default: return {{-1, 1}, {-10, 10}};
  }
}

template <class T> void each_within_its_bound() {
  const DType t = dtype_of<T>;
  constexpr std::int64_t kMany = 30000;
  std::mt19937_64 random(11);
  for (const Opcode op : elementwise_ops()) {
    if (info(op).flags & flag::exact || op == Opcode::select || !accepts(info(op).operands, t)) continue;
    const Bound* bound = nullptr;
    for (const Bound& b : kBounds)
      if (b.op == op) bound = &b;
    INFO(name_of(op) << " of " << name_of(t));
    CHECK(bound);
    if (!bound) continue;
    Function f = kernel(std::string(name_of(op)) + "_" + name_of(t));
    Builder b(f);
    Values in;
    const ValueId i[] = {b.index(0)};
    std::vector<Data> data;
    for (int k = 0; k < info(op).arity; ++k) {
      in.push_back(b.load(b.memory_parameter(t, 1, Role::in, k ? "b" : "a"), i));
      data.emplace_back(t, std::initializer_list<std::int64_t>{kMany});
      const auto where = ranges(op);
      for (std::int64_t e = 0; e < kMany; ++e) {
        const Range r = where[static_cast<std::size_t>(e) % where.size()];
        T x = static_cast<T>(std::uniform_real_distribution<double>(r.low, r.high)(random));
        if (e % 5 == 4) {  // of any exponent
          x = static_cast<T>(std::ldexp(1 + static_cast<double>(random() >> 12) * 0x1p-52,
                                        static_cast<int>(random() % (sizeof(T) == 4 ? 250 : 2000)) - (sizeof(T) == 4 ? 125 : 1000)));
          if (random() % 2) x = -x;
        }
        data.back().as<T>()[e] = x;
      }
    }
    data.emplace_back(t, std::initializer_list<std::int64_t>{kMany});
    b.store(b.memory_parameter(t, 1, Role::out, "y"), i, b.emit(op, in));
    b.finish();
    const auto expected = evaluated(f, {kMany, 1, 1}, data, {});
    for (const auto& device : devices()) {
      std::vector<Data> mine = data;
      run(*device, *device->compile(f, {}), {kMany, 1, 1}, mine, {});
      const double worst = difference(expected.back(), mine.back());
      INFO(worst << " ulps on " << device->name());
      if (std::getenv("FLUXION_SHOW_ULPS")) std::printf("%s %s %s %.3g\n", device->name().c_str(), name_of(op), name_of(t), worst);
      CHECK(worst <= (t == DType::f32 ? bound->f32 : bound->f64));
    }
  }
}

}  // namespace

TEST_CASE("every function is as near to the evaluator on each device as is said of it", "[backends][gpu][ulps]") {
  each_within_its_bound<float>();
  each_within_its_bound<double>();
}
