// math_lowering -- replace every transcendental by exact ops, so that all backends compute the same thing.
// The formulas are in math_{exp_log,trig,hyperbolic,inverse_trig,power,erf}.cpp, their errors in fluxion/ulp.h.
// Scalars only: an op on arrays (program level) or seqs stays, to be lowered when it has become a kernel's.
// Callees of launches are lowered too.
#include <map>

#include "fluxion/mutants.h"
#include "fluxion/passes.h"
#include "fluxion/rewrite.h"
#include "math_expr.h"

namespace fluxion {
namespace {

using math::Expr;
struct Lowering {
  Opcode op;
  Expr (*unary)(Expr);
  Expr (*binary)(Expr, Expr) = nullptr;
  Expr (*reduced)(Expr, const math::Reduced&) = nullptr;
};
constexpr Lowering kLowerings[] = {
    {Opcode::rsqrt, math::rsqrt},
    {Opcode::cbrt, math::cbrt},
    {Opcode::exp, math::exp},
    {Opcode::exp2, math::exp2},
    {Opcode::expm1, math::expm1},
    {Opcode::log, math::log},
    {Opcode::log2, math::log2},
    {Opcode::log10, math::log10},
    {Opcode::log1p, math::log1p},
    {Opcode::asin, math::asin},
    {Opcode::acos, math::acos},
    {Opcode::atan, math::atan},
    {Opcode::sinh, math::sinh},
    {Opcode::cosh, math::cosh},
    {Opcode::tanh, math::tanh},
    {Opcode::asinh, math::asinh},
    {Opcode::acosh, math::acosh},
    {Opcode::atanh, math::atanh},
    {Opcode::erf, math::erf},
    {Opcode::atan2, nullptr, math::atan2},
    {Opcode::pow, nullptr, math::pow},
    {Opcode::hypot, nullptr, math::hypot},
    {Opcode::sin, nullptr, nullptr, math::sin},
    {Opcode::cos, nullptr, nullptr, math::cos},
    {Opcode::tan, nullptr, nullptr, math::tan},
};

const Lowering* lowering(Opcode op) {
  for (const Lowering& l : kLowerings)
    if (l.op == op) return &l;
  return nullptr;
}

/// A planted mistake.
bool off(Opcode op) {
  switch (op) {
    case Opcode::exp: return planted(testing::Mutant::lower_exp);
    case Opcode::log: return planted(testing::Mutant::lower_log);
    case Opcode::sin: return planted(testing::Mutant::lower_sin);
    case Opcode::cos: return planted(testing::Mutant::lower_cos);
    case Opcode::tanh: return planted(testing::Mutant::lower_tanh);
    case Opcode::atan: return planted(testing::Mutant::lower_atan);
    case Opcode::erf: return planted(testing::Mutant::lower_erf);
    case Opcode::cbrt: return planted(testing::Mutant::lower_cbrt);
    case Opcode::pow: return planted(testing::Mutant::lower_pow);
    case Opcode::hypot: return planted(testing::Mutant::lower_hypot);
    default: return false;
  }
}

class Lower {
 public:
  bool operator()(Rewriter& r, OpId id) {
    const Op& op = r.from[id];
    if (!is_elementwise(op.code) || !r.from.type(op.results[0]).is_scalar()) return false;
    const Lowering* l = lowering(op.code);
    if (!l) return false;
    const Values in = r(op.operands);
    const Expr a = {&r.to, in[0]};
    const Expr y = l->unary ? l->unary(a) : l->binary ? l->binary(a, {&r.to, in[1]}) : l->reduced(a, reduced(a));
    r.map(op.results[0], off(op.code) ? (y * (1 + 0x1p-20)).v : y.v);
    return true;
  }

 private:
  // sin, cos and tan of one value in one region share its reduction.
  const math::Reduced& reduced(Expr a) {
    const auto key = std::pair(a.b->current(), a.v);
    const auto at = reduced_.find(key);
    return at != reduced_.end() ? at->second : reduced_.emplace(key, math::reduce(a)).first->second;
  }
  std::map<std::pair<RegionId, ValueId>, math::Reduced> reduced_;
};

}  // namespace

namespace {
using Done = std::map<const Function*, std::shared_ptr<const Function>>;  // a callee once, however many call it
Function lower(const Function& f, Done& done) {
  Function out = rewrite(f, Lower());
  for (auto& callee : out.callees) {
    auto made = done[callee.get()];
    if (!made) done[callee.get()] = made = std::make_shared<const Function>(lower(*callee, done));
    callee = made;
  }
  return out;
}
}  // namespace

Function math_lowering(const Function& f) {
  Done done;
  return lower(f, done);
}

}  // namespace fluxion
