// Calls backwards: a call of the callee's vjp, or of its rule, on the same arguments and the cotangents of the results. The
// derivative computes again what it needs of the callee; nothing is kept for it.
#include <fmt/format.h>

#include "callees.h"
#include "fluxion/external_code.h"
#include "fluxion/mutants.h"
#include "reverse.h"

namespace fluxion::ad {
namespace {

/// A rule knows nothing of masks, so where one has made all cotangents 0, that must win against the rule's infinities; and where they
/// are 0 by chance, the derivative in them must not be lost. There the rule is taken for each cotangent alone, as 1, and times it:
/// rules are linear.
template <class Rule>
Values guarded_rule(Builder& b, const Values& cotangents, const Rule& rule) {
  const auto dtype = [&](ValueId v) { return b.function().type(v).dtype(); };
  ValueId none{};
  for (ValueId w : cotangents) {
    const ValueId zero = b.emit(Opcode::eq, {w, b.zero(b.function().type(w))});
    none = none.valid() ? b.emit(Opcode::bit_and, {none, zero}) : zero;
  }
  return b.if_(
      none,
      [&] {
        Values sums;
        for (std::size_t k = 0; k < cotangents.size(); ++k) {
          Values unit;
          for (ValueId other : cotangents) unit.push_back(b.constant_float(dtype(other), unit.size() == k ? 1 : 0));
          const Values parts = rule(unit);
          for (std::size_t g = 0; g < parts.size(); ++g) {
            ValueId part = b.emit(Opcode::mulz, {b.convert(cotangents[k], dtype(parts[g])), parts[g]});
            if (planted(testing::Mutant::guard_for_good)) part = b.zero(b.function().type(part));
            if (g < sums.size()) sums[g] = b.add(sums[g], part);
            else sums.push_back(part);
          }
        }
        return sums;
      },
      [&] { return rule(cotangents); });
}

}  // namespace

void Reverse::reverse_fn(const Op& op) {
  const auto& callee = f_.callees[op.ref];
  std::vector<char> wrt, seeds;
  bool any_wrt = false, any_seed = false, tainted = false;
  for (ValueId v : op.operands) any_wrt |= wrt.emplace_back(act_.active(v)) != 0;
  for (ValueId v : op.results) {
    any_seed |= seeds.emplace_back(adjoint[v.index].valid()) != 0;
    tainted |= seeds.back() && act_.tainted[v.index];
  }
  if (!any_wrt || !any_seed) return;
  if (callee->external && callee->rules == Rules{}) refuse_external(*callee, op.loc);
  if (callee->kind == Function::Kind::program) return reverse_program(op);
  if (program_) return reverse_call(std::make_shared<const Function>(call_kernel(f_, op)), {b_.i32(1)}, op.operands, op.results);
  const Callees::Adjoint a = Callees::now().vjp(callee, wrt, seeds, tainted);
  Values arguments = primal(op.operands), cotangents;
  if (a.results)
    for (ValueId v : op.results) arguments.push_back(primal(v));
  for (std::size_t k = 0; k < seeds.size(); ++k)
    if (a.seeds[k])
      cotangents.push_back(seeds[k] && !(k > 0 && planted(testing::Mutant::call_one_seed)) ? adjoint[op.results[k].index]
                                                                                           : b_.zero(cotangent_type(op.results[k])));
  const auto rule = [&](const Values& w) {
    Values all = arguments;
    all.insert(all.end(), w.begin(), w.end());
    return b_.call(a.function, all);
  };
  const bool guard = a.guard && tainted && !planted(testing::Mutant::rule_unguarded);
  const Values gradients = guard ? guarded_rule(b_, cotangents, rule) : rule(cotangents);
  std::size_t next = 0;
  for (std::size_t p = 0; p < wrt.size(); ++p) {
    if (!a.wrt[p]) continue;
    const ValueId g = gradients[next++];
    if (!wrt[p] || (p > 0 && planted(testing::Mutant::call_one_gradient))) continue;
    add_adjoint(op.operands[p], g);
  }
}

/// Gradients of scalars are arrays of one element, as all cotangents of a program's scalars; a rule takes those as scalars.
void Reverse::reverse_program(const Op& op) {
  const auto rule = Callees::now().program_vjp(f_.callees[op.ref]);
  Values arguments = primal(op.operands);
  if (takes_results(*f_.callees[op.ref], *rule))
    for (ValueId v : op.results) arguments.push_back(primal(v));
  for (ValueId v : op.results) {
    if (!has_float(f_.type(v))) continue;
    const ValueId a = adjoint[v.index];
    const Type t = cotangent_type(v);
    if (f_.type(v).is_array()) arguments.push_back(a.valid() ? a : b_.zero(t));
    else arguments.push_back(a.valid() ? b_.seq_get(a, b_.i32(0)) : b_.zero(Type(t.dtype())));
  }
  const Values gradients = splice(b_, *rule, arguments);
  std::size_t next = 0;
  for (ValueId v : op.operands)
    if (has_float(f_.type(v))) add_adjoint(v, gradients[next++]);
}

Function call_kernel(const Function& f, const Op& op) {
  Function out;
  out.kind = Function::Kind::kernel;
  out.name = f.callees[op.ref]->name;
  out.loc = op.loc;
  out.domain_rank = 1;
  Builder b(out);
  b.loc = op.loc;
  Values arguments;
  for (std::size_t k = 0; k < op.operands.size(); ++k)
    arguments.push_back(b.scalar_parameter(f.type(op.operands[k]).dtype(), fmt::format("a{}", k)));
  std::vector<MemoryId> results;
  for (std::size_t k = 0; k < op.results.size(); ++k)
    results.push_back(b.memory_parameter(f.type(op.results[k]).element, 1, Role::out, fmt::format("r{}", k)));
  const ValueId i = b.index(0);
  const Values made = b.call(f.callees[op.ref], arguments);
  for (std::size_t k = 0; k < made.size(); ++k) b.store(results[k], {&i, 1}, made[k]);
  b.finish();
  return out;
}

}  // namespace fluxion::ad
