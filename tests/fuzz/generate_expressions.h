// Expressions of random programs. Floats are kept in range by bounds that travel with the expressions: what is assigned or
// stored is squashed to [-2, 2] first, smoothly where a `real` is wanted and by clamping where an `exact` is.
#pragma once
#include <algorithm>
#include <cmath>
#include <random>

#include "program.h"

namespace fluxion::fuzz {

struct Bounded {
  Expr e;
  double bound;
};

class Expressions {
 protected:
  Expressions(std::uint64_t seed, DType real) : random_(seed * 0x9E3779B97F4A7C15u + 1) {
    p_.seed = seed;
    p_.real = real;
    p_.w_accumulates = chance(2);
    p_.halves = chance(6);
    p_.steps = chance(3) ? 2 + pick(2) : 1;
    plain_ = chance(3);
    if (chance(4)) p_.group = chance(30) ? 34 : 2 + pick(3);
  }

  struct Name {
    int id;
    Kind kind;
  };
  Program p_;
  std::mt19937_64 random_;
  std::vector<Name> scope_;
  std::vector<int> locals_;
  std::vector<char> fixed_;  // by local: indexed by constants only, so that it becomes values
  bool out_may_be_read_ = false;
  bool plain_ = false;  // without transcendentals, whose lowerings make native code large and slow to compile
  enum class Phase { own, read, sum };
  Phase phase_[2] = {Phase::own, Phase::own};  // of the shared arrays, from barrier to barrier
  bool device_ = false;                        // inside a device function, which sees no memory, no thread and no scalars

  int pick(int n) { return static_cast<int>(random_() % static_cast<std::uint64_t>(n)); }
  bool chance(int one_in) { return pick(one_in) == 0; }

  static Expr literal(Kind k, double v) { return {Expr::Form::literal, k, {}, v}; }
  static Expr make(Opcode op, Kind k, std::vector<Expr> kids) { return {Expr::Form::op, k, op, 0, 0, std::move(kids)}; }
  static Expr load(int memory, Kind k, Expr index) { return {Expr::Form::load, k, {}, 0, memory, {std::move(index)}}; }

  bool variable(Kind k, Expr& out) {
    std::vector<const Name*> fits;
    for (const Name& n : scope_)
      if (n.kind == k || (k == Kind::real && n.kind == Kind::exact)) fits.push_back(&n);
    if (fits.empty()) return false;
    const Name& n = *fits[static_cast<std::size_t>(pick(static_cast<int>(fits.size())))];
    out = {Expr::Form::variable, n.kind, {}, 0, n.id};
    return true;
  }

  /// One result of a call of a device function made before.
  bool call(Kind k, Expr& out) {
    std::vector<std::pair<int, int>> fits;
    for (std::size_t f = 0; f < p_.functions.size(); ++f)
      for (std::size_t r = 0; r < p_.functions[f].results.size(); ++r)
        if (const Kind gives = p_.functions[f].results[r].kind;
            !p_.functions[f].singular && (gives == k || (k == Kind::real && gives == Kind::exact)))
          fits.emplace_back(static_cast<int>(f), static_cast<int>(r));
    if (fits.empty()) return false;
    const auto [f, r] = fits[static_cast<std::size_t>(pick(static_cast<int>(fits.size())))];
    out = call_of(f, r);
    return true;
  }
  Expr call_of(int f, int result) {
    const Device& d = p_.functions[static_cast<std::size_t>(f)];
    Expr e{Expr::Form::call, d.results[static_cast<std::size_t>(result)].kind, {}, static_cast<double>(result), f};
    const std::vector<Kind> takes = d.takes;
    for (Kind k : takes) e.kids.push_back(value(k, chance(3)));
    return e;
  }

  Expr integer(int depth) {
    Expr e;
    if (depth > 0 && chance(12) && call(Kind::integer, e)) return e;
    if (depth == 0 || chance(3)) {
      if (chance(2) && variable(Kind::integer, e)) return e;
      if (device_) return literal(Kind::integer, pick(9) - 3);
      switch (pick(7)) {
        case 0: return {Expr::Form::thread, Kind::integer};
        case 1: return {Expr::Form::scalar, Kind::integer, {}, 0, 1};
        case 2: return {Expr::Form::extent, Kind::integer, {}, 0, pick(kMemories)};
        case 3: return load(kP, Kind::integer, depth ? integer(depth - 1) : literal(Kind::integer, pick(7)));
        case 4: return load(kQ, Kind::integer, depth ? integer(depth - 1) : literal(Kind::integer, pick(2)));
        default: return literal(Kind::integer, pick(9) - 3);
      }
    }
    constexpr Opcode kOps[] = {Opcode::add, Opcode::add,     Opcode::sub,    Opcode::mul,     Opcode::div, Opcode::rem, Opcode::min,
                               Opcode::max, Opcode::bit_and, Opcode::bit_or, Opcode::bit_xor, Opcode::shl, Opcode::shr, Opcode::mulhi};
    switch (pick(8)) {
      case 0:
        return make(chance(2)   ? Opcode::neg
                    : chance(2) ? Opcode::abs
                    : chance(2) ? Opcode::sign
                                : Opcode::bit_not,
                    Kind::integer, {integer(depth - 1)});
      case 1: return make(Opcode::select, Kind::integer, {boolean(depth - 1), integer(depth - 1), integer(depth - 1)});
      case 2: return {Expr::Form::to_int, Kind::integer, {}, 0, 0, {exact(depth - 1).e}};
      default: return make(kOps[pick(std::size(kOps))], Kind::integer, {integer(depth - 1), integer(depth - 1)});
    }
  }

  Expr boolean(int depth) {
    Expr e;
    if (chance(3) && variable(Kind::boolean, e)) return e;
    if (depth > 0 && chance(12) && call(Kind::boolean, e)) return e;
    constexpr Opcode kTests[] = {Opcode::lt, Opcode::le, Opcode::gt, Opcode::ge, Opcode::ne, Opcode::eq};
    const int below = depth > 0 ? depth - 1 : 0;
    switch (depth > 0 ? pick(8) : pick(3)) {
      case 0: return make(kTests[pick(4)], Kind::boolean, {exact(below).e, exact(below).e});
      case 3: return make(Opcode::bit_not, Kind::boolean, {boolean(below)});
      case 4: return make(chance(2) ? Opcode::bit_xor : Opcode::bit_or, Kind::boolean, {boolean(below), boolean(below)});
      case 5: return {Expr::Form::both, Kind::boolean, {}, 0, 0, {boolean(below), boolean(below)}};
      case 6: return {Expr::Form::either, Kind::boolean, {}, 0, 0, {boolean(below), boolean(below)}};
      default: return make(kTests[pick(6)], Kind::boolean, {integer(below), integer(below)});
    }
  }

  Expr number(Kind k) { return literal(k, (pick(25) - 12) / 8.0); }
  static Expr one_plus_square(const Expr& e) { return make(Opcode::add, e.kind, {literal(e.kind, 1), make(Opcode::mul, e.kind, {e, e})}); }

  Bounded exact(int depth) {
    Expr e;
    if (depth > 0 && chance(12) && call(Kind::exact, e)) return {e, 2};
    if (depth == 0 || chance(4)) {
      if (chance(2) && variable(Kind::exact, e)) return {e, 2};
      if (device_) return {number(Kind::exact), 2};
      switch (pick(4)) {
        case 0: return {{Expr::Form::scalar, Kind::exact, {}, 0, 0}, 2};
        case 1: return {number(Kind::exact), 2};
        default: return {load(kX, Kind::exact, depth ? integer(1) : literal(Kind::integer, pick(7))), 2};
      }
    }
    const Bounded a = exact(depth - 1), b = exact(depth - 1);
    const double sum = a.bound + b.bound, most = std::max(a.bound, b.bound);
    const auto positive = [](const Bounded& v) { return one_plus_square(v.e); };
    switch (pick(11)) {
      case 8: {
        constexpr Opcode kSteps[] = {Opcode::floor, Opcode::ceil, Opcode::round, Opcode::trunc, Opcode::sign, Opcode::stop_grad};
        return {make(Opcode::add, Kind::exact, {make(kSteps[pick(std::size(kSteps))], Kind::exact, {a.e}), b.e}), a.bound + 1 + b.bound};
      }
      case 9: return {make(Opcode::rem, Kind::exact, {a.e, positive(b)}), a.bound};
      case 10: return {make(Opcode::copysign, Kind::exact, {a.e, b.e}), a.bound};
      case 0: return {make(Opcode::sub, Kind::exact, {a.e, b.e}), sum};
      case 1: return {make(Opcode::min, Kind::exact, {a.e, b.e}), most};
      case 2: return {make(Opcode::max, Kind::exact, {a.e, b.e}), most};
      case 3: return {make(Opcode::select, Kind::exact, {boolean(depth - 1), a.e, b.e}), most};
      case 4: return {make(chance(2) ? Opcode::abs : Opcode::neg, Kind::exact, {a.e}), a.bound};
      case 5:
        return {{Expr::Form::to_real,
                 Kind::exact,
                 {},
                 0,
                 0,
                 {make(Opcode::bit_and, Kind::integer, {integer(depth - 1), literal(Kind::integer, 3)})}},
                3};
      case 6: return {make(Opcode::mul, Kind::exact, {a.e, b.e}), a.bound * b.bound};
      default: return {make(Opcode::add, Kind::exact, {a.e, b.e}), sum};
    }
  }

  bool local_element(Expr& out) {
    if (locals_.empty()) return false;
    const int l = locals_[static_cast<std::size_t>(pick(static_cast<int>(locals_.size())))];
    out = load(l, Kind::real, index_of(l));
    return true;
  }
  bool shared_element(Expr& out) {
    if (!p_.group) return false;
    const int which = pick(2);
    if (phase_[which] == Phase::sum) return false;
    out = phase_[which] == Phase::own ? load(kOwn0 + which, Kind::real, literal(Kind::integer, 0))
                                      : load(kShared0 + which, Kind::real, integer(1));
    return true;
  }
  Bounded real(int depth) {
    Expr e;
    if (depth > 0 && chance(8) && call(Kind::real, e)) return {e, 2};
    if (depth == 0 || chance(5)) {
      if (!chance(3) && variable(Kind::real, e)) return {e, 2};
      const auto index = [&] { return depth ? integer(1) : literal(Kind::integer, pick(4)); };
      if (device_) return local_element(e) ? Bounded{e, 400} : exact(depth > 0);
      switch (pick(9)) {
        case 7: return {load(chance(2) ? kS0 : kS1, Kind::real, literal(Kind::integer, 0)), 2};
        case 8:
          if (p_.halves) return {load(kH, Kind::exact, integer(1)), 2};
          [[fallthrough]];
        case 0: return exact(depth > 0);
        case 1: return {load(kX, Kind::exact, index()), 2};
        case 2:
          if (out_may_be_read_) return {load(kY, Kind::real, literal(Kind::integer, 0)), 2};
          [[fallthrough]];
        case 3:
          if (!p_.w_accumulates) return {load(kW, Kind::real, index()), 2};
          [[fallthrough]];
        case 4:
          if (local_element(e)) return {e, 400};
          [[fallthrough]];
        case 5:
          if (shared_element(e)) return {e, 400};
          [[fallthrough]];
        default: return {load(kZ, Kind::real, index()), 400};
      }
    }
    const Bounded a = real(depth - 1);
    if (!plain_ && chance(2)) return function(a, depth);
    constexpr int kWeights[] = {0, 1, 2, 3, 3, 4, 5, 6, 6, 7, 7, 8, 9};
    const int which = kWeights[pick(std::size(kWeights))];
    if (which == 3) return {make(chance(2) ? Opcode::abs : Opcode::neg, Kind::real, {a.e}), a.bound};
    const Bounded b = real(depth - 1);
    const double most = std::max(a.bound, b.bound), product = a.bound * b.bound;
    switch (which) {
      case 0: return {make(Opcode::div, Kind::real, {a.e, one_plus_square(b.e)}), a.bound};
      case 1: {
        const Bounded c = real(0);
        return {make(Opcode::fma, Kind::real, {a.e, b.e, c.e}), product + c.bound};
      }
      case 2: return {make(Opcode::select, Kind::real, {boolean(1), a.e, b.e}), most};
      case 4: return {make(chance(2) ? Opcode::min : Opcode::max, Kind::real, {a.e, b.e}), most};
      case 5: return {make(Opcode::stop_grad, Kind::real, {a.e}), a.bound};
      case 6: return {make(Opcode::mul, Kind::real, {a.e, b.e}), product};
      case 8: {  // sometimes the number that makes it 0
        const Expr first = chance(2) ? make(Opcode::select, Kind::real, {boolean(1), a.e, literal(Kind::real, 0)}) : a.e;
        return {make(Opcode::mulz, Kind::real, {first, b.e}), product};
      }
      case 9: {
        Expr below = one_plus_square(b.e);
        if (chance(2)) below = make(Opcode::select, Kind::real, {boolean(1), std::move(below), literal(Kind::real, 0)});
        return {make(Opcode::sdiv, Kind::real, {a.e, std::move(below)}), a.bound};
      }
      default: return {make(chance(3) ? Opcode::sub : Opcode::add, Kind::real, {a.e, b.e}), a.bound + b.bound};
    }
  }

  // ---- functions: an operand brought to where they are smooth, and a bound of the result
  enum class Fit { any, positive, above_one, unit, small };
  struct Unary {
    Opcode op;
    Fit fit;
    double (*bound)(double);
  };
  static Bounded fitted(const Bounded& v, Fit fit) {
    const auto shrunk = [&](double most) -> Bounded {
      if (v.bound <= most) return v;
      return {make(Opcode::div, Kind::real, {v.e, one_plus_square(v.e)}), 0.5};
    };
    switch (fit) {
      case Fit::any: return v;
      case Fit::positive: return {one_plus_square(v.e), 1 + v.bound * v.bound};
      case Fit::above_one:
        return {make(Opcode::add, Kind::real, {one_plus_square(v.e), literal(Kind::real, 0.25)}), 1.25 + v.bound * v.bound};
      case Fit::unit: return shrunk(0.9);
      case Fit::small: return shrunk(4);
    }
    return v;
  }
  Bounded function(const Bounded& a, int depth) {
    constexpr auto one = [](double) { return 1.0; };
    constexpr auto two = [](double) { return 2.0; };
    constexpr auto grows = [](double v) { return std::exp(v); };
    constexpr auto logs = [](double v) { return 1.5 * std::log1p(v) + 1; };
    constexpr auto same = [](double v) { return v; };
    static constexpr Unary kUnary[] = {
        {Opcode::sin, Fit::any, one},        {Opcode::cos, Fit::any, one},         {Opcode::tanh, Fit::any, one},
        {Opcode::erf, Fit::any, one},        {Opcode::atan, Fit::any, two},        {Opcode::asinh, Fit::any, logs},
        {Opcode::exp, Fit::small, grows},    {Opcode::exp2, Fit::small, grows},    {Opcode::expm1, Fit::small, grows},
        {Opcode::sinh, Fit::small, grows},   {Opcode::cosh, Fit::small, grows},    {Opcode::log, Fit::positive, logs},
        {Opcode::log2, Fit::positive, logs}, {Opcode::log10, Fit::positive, logs}, {Opcode::log1p, Fit::positive, logs},
        {Opcode::sqrt, Fit::positive, same}, {Opcode::rsqrt, Fit::positive, one},  {Opcode::cbrt, Fit::positive, same},
        {Opcode::tan, Fit::unit, two},       {Opcode::asin, Fit::unit, two},       {Opcode::acos, Fit::unit, [](double) { return 3.0; }},
        {Opcode::atanh, Fit::unit, two},     {Opcode::acosh, Fit::above_one, logs}};
    const int n = pick(std::size(kUnary) + 4);
    if (n < static_cast<int>(std::size(kUnary))) {
      const Unary& u = kUnary[n];
      const Bounded x = fitted(a, u.fit);
      return {make(u.op, Kind::real, {x.e}), u.bound(x.bound)};
    }
    const Bounded b = real(depth > 1 ? depth - 1 : 0);
    switch (n - static_cast<int>(std::size(kUnary))) {
      case 0: return {make(Opcode::atan2, Kind::real, {a.e, one_plus_square(b.e)}), 1.6};
      case 1: return {make(Opcode::hypot, Kind::real, {a.e, b.e}), a.bound + b.bound};
      case 2: {  // singular where it is masked
        const Expr x = exact(1).e, zero = literal(Kind::exact, 0);
        const Expr guard = make(Opcode::gt, Kind::boolean, {x, literal(Kind::exact, 0.125)});
        if (const int f = singular(); f >= 0 && chance(2)) {
          const Expr inner = make(Opcode::mul, Kind::real, {make(Opcode::max, Kind::exact, {x, zero}), one_plus_square(squashed(b))});
          return {make(Opcode::select, Kind::real, {guard, {Expr::Form::call, Kind::real, {}, 0, f, {inner}}, squashed(a)}), 200};
        }
        const Expr inner = make(Opcode::mul, Kind::real, {make(Opcode::max, Kind::exact, {x, zero}), one_plus_square(b.e)});
        return {make(Opcode::select, Kind::real, {guard, make(kSingular[pick(std::size(kSingular))], Kind::real, {inner}), squashed(a)}),
                30};
      }
      default: return {make(Opcode::pow, Kind::real, {one_plus_square(squashed_bound(a).e), squashed_bound(b).e}), 25};
    }
  }

  /// A device function that is infinite at 0; -1: there is none.
  int singular() {
    std::vector<int> fits;
    for (std::size_t f = 0; f < p_.functions.size(); ++f)
      if (p_.functions[f].singular) fits.push_back(static_cast<int>(f));
    return fits.empty() ? -1 : fits[static_cast<std::size_t>(pick(static_cast<int>(fits.size())))];
  }
  static constexpr Opcode kSingular[] = {Opcode::sqrt, Opcode::rsqrt, Opcode::log, Opcode::cbrt};

  Bounded squashed_bound(const Bounded& v) {
    if (v.bound <= 2) return v;
    if (v.e.kind == Kind::exact)
      return {make(Opcode::max, Kind::exact,
                   {make(Opcode::min, Kind::exact, {v.e, literal(Kind::exact, 1.96875)}), literal(Kind::exact, -1.96875)}),
              2};
    if (v.bound < 12 && chance(2)) return {make(Opcode::mul, Kind::real, {v.e, literal(Kind::real, 2 / v.bound)}), 2};
    if (plain_ || chance(2)) return {make(Opcode::div, Kind::real, {v.e, one_plus_square(v.e)}), 0.5};
    return {make(chance(4) ? Opcode::sin : Opcode::tanh, Kind::real, {v.e}), 1};
  }
  Expr squashed(const Bounded& v) { return squashed_bound(v).e; }
  Expr value(Kind k, int depth) {
    switch (k) {
      case Kind::exact: return squashed(exact(depth));
      case Kind::real: return squashed(real(depth));
      case Kind::integer: return integer(depth);
      case Kind::boolean: return boolean(depth);
    }
    return {};
  }
  Expr index_of(int memory) {
    if (memory >= kFirstLocal && fixed_[static_cast<std::size_t>(memory - kFirstLocal)]) return literal(Kind::integer, pick(kLocalLength));
    return integer(1);
  }
};

}  // namespace fluxion::fuzz
