// Instantiates the partial columns of ops.def twice: with Symbolic they emit ops, with Probe they only say
// of which kind a partial is.
#include "partials.h"

#include "fluxion/error.h"
#include "fluxion/mutants.h"

namespace fluxion::ad {
namespace {

using Kind = Partial::Kind;

struct Emission {
  Builder* b;
  DType t;
};
thread_local Emission emission{};

struct Sym {
  ValueId id{};
  Kind kind = Kind::factor;
};
Sym emit(Opcode op, std::initializer_list<ValueId> operands) { return {emission.b->emit(op, operands)}; }
Sym operator+(Sym a, Sym b) { return emit(Opcode::add, {a.id, b.id}); }
Sym operator*(Sym a, Sym b) { return emit(Opcode::mul, {a.id, b.id}); }
Sym operator/(Sym a, Sym b) { return emit(Opcode::div, {a.id, b.id}); }
Sym operator-(Sym a, Sym b) { return emit(Opcode::sub, {a.id, b.id}); }
Sym operator-(Sym a) { return emit(Opcode::neg, {a.id}); }

struct Symbolic {
  static Sym lit(double v) { return {emission.b->constant_float(emission.t, v)}; }
  static Sym unit() { return {{}, Kind::unit}; }
  static Sym minus_unit() { return {{}, Kind::minus_unit}; }
  static Sym none() { return {{}, Kind::none}; }
  static Sym mask(Sym condition) { return {condition.id, Kind::mask}; }
#define OP1(name, ...) \
  static Sym name(Sym a) { return emit(Opcode::name, {a.id}); }
#define OP2(name, ...) \
  static Sym name(Sym a, Sym b) { return emit(Opcode::name, {a.id, b.id}); }
#define OP3(name, ...) \
  static Sym name(Sym a, Sym b, Sym c) { return emit(Opcode::name, {a.id, b.id, c.id}); }
#include "fluxion/ops.def"
};

struct Mark {
  Kind kind = Kind::factor;
};
Mark operator+(Mark, Mark) { return {}; }
Mark operator*(Mark, Mark) { return {}; }
Mark operator/(Mark, Mark) { return {}; }
Mark operator-(Mark, Mark) { return {}; }
Mark operator-(Mark) { return {}; }

struct Probe {
  static Mark lit(double) { return {}; }
  static Mark unit() { return {Kind::unit}; }
  static Mark minus_unit() { return {Kind::minus_unit}; }
  static Mark none() { return {Kind::none}; }
  static Mark mask(Mark) { return {Kind::mask}; }
#define OP1(name, ...) \
  static Mark name(Mark) { return {}; }
#define OP2(name, ...) \
  static Mark name(Mark, Mark) { return {}; }
#define OP3(name, ...) \
  static Mark name(Mark, Mark, Mark) { return {}; }
#include "fluxion/ops.def"
};

// Only the asked-for column is evaluated, so that no op is emitted for nothing.
template <class F, class T>
T row(Opcode op, int k, [[maybe_unused]] T a, [[maybe_unused]] T b, [[maybe_unused]] T c, [[maybe_unused]] T r) {
  switch (op) {
#define OP1(name, dtypes, flags, meaning, da, doc) \
  case Opcode::name: return da;
#define OP2(name, dtypes, flags, meaning, da, db, doc) \
  case Opcode::name:                                   \
    if (k == 0) return da;                             \
    else return db;
#define OP3(name, dtypes, flags, meaning, da, db, dc, doc) \
  case Opcode::name:                                       \
    if (k == 0) return da;                                 \
    else if (k == 1) return db;                            \
    else return dc;
#include "fluxion/ops.def"
    default: throw Bug({}, "ad: an op without a row has no partial");  // select and the structural ops
  }
}

Kind kind_of(Opcode op, int k) { return row<Probe, Mark>(op, k, {}, {}, {}, {}).kind; }

}  // namespace

namespace {

/// A planted mistake in one column: see mutants.h.
Sym mutated(Sym s, testing::PartialMutant how, bool unary) {
  const Sym value = s.kind == Kind::unit ? Symbolic::lit(1) : s.kind == Kind::minus_unit ? Symbolic::lit(-1) : s;
  switch (how) {
    case testing::PartialMutant::dropped: return {{}, Kind::none};
    case testing::PartialMutant::negated: return s.kind == Kind::mask ? Sym{{}, Kind::minus_unit} : -value;
    case testing::PartialMutant::perturbed: return s.kind == Kind::mask ? Sym{{}, Kind::unit} : value * Symbolic::lit(1 + 1e-4);
    case testing::PartialMutant::swapped: return unary ? Sym{{}, Kind::unit} : s;
  }
  return s;
}

}  // namespace

Partial partial(Builder& b, Opcode op, int k, std::span<const ValueId> x, ValueId r) {
  emission = {&b, b.function().type(r).dtype()};
  const auto at = [&](std::size_t i) { return Sym{i < x.size() ? x[i] : ValueId{}}; };
  if (op == Opcode::stop_grad) return {Kind::unit, {}};  // only when planted: see depends
  testing::PartialMutant how{};
  const bool wrong = testing::partial_planted(op, k, how);
  const int column = wrong && how == testing::PartialMutant::swapped && info(op).arity > 1 ? (k == 0 ? 1 : 0) : k;
  const auto one = [&](ValueId v) {
    return b.function().is_constant(v) && b.function()[v].bits == b.function()[b.constant_float(emission.t, 1)].bits;
  };
  // A reciprocal's derivative needs no second division.
  Sym s = op == Opcode::div && column == 1 && one(x[0]) ? -(Sym{r} * Sym{r}) : row<Symbolic, Sym>(op, column, at(0), at(1), at(2), Sym{r});
  if (wrong) s = mutated(s, how, info(op).arity == 1);
  return {s.kind, s.id};
}

bool depends(Opcode op, int k) {
  if (op == Opcode::select) return k > 0;
  if (op == Opcode::stop_grad) return planted(testing::Mutant::stop_grad_leaks);
  return kind_of(op, k) != Kind::none;
}

bool masks(Opcode op, int k) {
  if (op == Opcode::select) return k > 0;
  if (op == Opcode::mulz) return k == 1;  // 0 where the first operand is 0
  return kind_of(op, k) == Kind::mask;
}

}  // namespace fluxion::ad
