// Memory of derivatives, and what rules stand for. A missing rule is made from the other one: the reverse mode of a vjp in
// its cotangents is the jvp, and that of a jvp in its tangents the vjp, because both are linear in those.
#include "callees.h"

#include <fmt/format.h>

#include <set>

#include "fluxion/builder.h"
#include "fluxion/error.h"
#include "fluxion/external_code.h"
#include "fluxion/mutants.h"
#include "fluxion/rewrite.h"
#include "partials.h"
#include "prepare.h"

namespace fluxion::ad {
namespace {

thread_local Callees* t_now = nullptr;

using Pointer = Callees::Pointer;
using Mask = Callees::Mask;

Mask float_parameters(const Function& f) {
  Mask out;
  for (const Parameter& p : f.parameters) out.push_back(float_parameter(f, p));
  return out;
}
Mask float_results(const Function& f) {
  Mask out;
  for (ValueId v : f.terminator(f.body).operands) out.push_back(has_float(f.type(v)));
  return out;
}
DType half_to_f32(DType t) { return is_half(t) ? DType::f32 : t; }

void signature(const Function& f, Builder& b, Values& parameters) {
  Function& out = b.function();
  out.kind = f.kind;
  out.name = f.name;
  out.loc = b.loc = f.loc;
  for (const Parameter& p : f.parameters) {
    if (p.kind == Parameter::Kind::array && p.role != Role::in)
      throw KernelError(
          f.loc, fmt::format("program \"{}\" has rules and writes its parameter {}; work on a copy and return that", f.name, p.name));
    parameters.push_back(p.kind == Parameter::Kind::array ? b.array_parameter(f.type(p.value), Role::in, p.name)
                                                          : b.scalar_parameter(f.type(p.value).dtype(), p.name));
  }
}

/// jvp from the vjp rule: (x, dx) -> f(x), d/dw <vjp(x, w), dx>.
Pointer jvp_of_vjp(const Pointer& f, const Function& rule) {
  const std::size_t n = f->parameters.size();
  const bool results = takes_results(*f, rule);
  const std::size_t first = n + (results ? f->terminator(f->body).operands.size() : 0);  // cotangent
  Mask wrt(rule.parameters.size());
  for (std::size_t p = first; p < wrt.size(); ++p) wrt[p] = 1;
  const Mask seeds(rule.terminator(rule.body).operands.size(), 1);
  const auto linear = std::make_shared<const Function>(vjp_fn(rule, wrt, seeds, false, true));
  Function out;
  Builder b(out);
  Values x, tangents;
  signature(*f, b, x);
  const Mask floats = float_parameters(*f);
  for (std::size_t p = 0; p < n; ++p)
    if (floats[p])
      tangents.push_back(b.scalar_parameter(half_to_f32(f->type(f->parameters[p].value).dtype()), f->parameters[p].name + "_dot"));
  Values y = b.call(f, x), arguments = x;
  if (results) arguments.insert(arguments.end(), y.begin(), y.end());
  for (std::size_t p = first; p < rule.parameters.size(); ++p) arguments.push_back(b.zero(rule.type(rule.parameters[p].value)));
  arguments.insert(arguments.end(), tangents.begin(), tangents.end());
  const Values t = b.call(linear, arguments);
  y.insert(y.end(), t.begin(), t.end());
  b.finish(y);
  return std::make_shared<const Function>(std::move(out));
}

/// vjp from the jvp rule: (x, w) -> d/dx' <the tangents of jvp(x, x'), w>.
Pointer vjp_of_jvp(const Pointer& f, const Function& rule) {
  const std::size_t n = f->parameters.size(), results = f->terminator(f->body).operands.size();
  Mask wrt(rule.parameters.size()), seeds(rule.terminator(rule.body).operands.size());
  for (std::size_t p = n; p < wrt.size(); ++p) wrt[p] = 1;
  for (std::size_t r = results; r < seeds.size(); ++r) seeds[r] = 1;
  const auto linear = std::make_shared<const Function>(vjp_fn(rule, wrt, seeds, false, true));
  Function out;
  Builder b(out);
  Values x;
  signature(*f, b, x);
  Values arguments = x;
  for (std::size_t p = n; p < rule.parameters.size(); ++p) arguments.push_back(b.zero(rule.type(rule.parameters[p].value)));
  std::size_t k = 0;
  for (ValueId v : f->terminator(f->body).operands) {
    if (has_float(f->type(v))) arguments.push_back(b.scalar_parameter(half_to_f32(f->type(v).dtype()), fmt::format("r{}_bar", k)));
    ++k;
  }
  b.finish(b.call(linear, arguments));
  return std::make_shared<const Function>(std::move(out));
}

}  // namespace

Callees& Callees::now() {
  if (!t_now) throw Bug({}, "ad: a call is differentiated outside of a transform");
  return *t_now;
}
Callees::Scope::Scope() {
  if (t_now) return;
  mine_ = std::make_unique<Callees>();
  t_now = mine_.get();
}
Callees::Scope::~Scope() {
  if (mine_) t_now = nullptr;
}

Callees::Tangent Callees::jvp(const Pointer& f, const Mask& dots) {
  const bool rule = f->rules != Rules{};
  const auto key = std::pair(f.get(), rule ? Mask{} : dots);
  if (const auto it = jvps_.find(key); it != jvps_.end()) return it->second;
  if (f->external && !rule) refuse_external(*f, {});
  Tangent t;
  if (f->rules.jvp) t = {closed(f, f->rules.jvp), float_parameters(*f)};
  else if (rule) t = {jvp_of_vjp(f, *closed(f, f->rules.vjp)), float_parameters(*f)};
  else t = {std::make_shared<const Function>(jvp_fn(*f, dots)), dots};
  kept_.push_back(f);
  jvps_[key] = t;
  return t;
}

Callees::Adjoint Callees::vjp(const Pointer& f, const Mask& wrt, const Mask& seeds, bool tainted) {
  const bool rule = f->rules != Rules{};
  Mask key;
  if (!rule) {
    key = wrt;
    key.insert(key.end(), seeds.begin(), seeds.end());
    key.push_back(tainted);
  }
  if (const auto it = vjps_.find({f.get(), key}); it != vjps_.end()) return it->second;
  if (f->external && !rule) refuse_external(*f, {});
  Adjoint a;
  if (rule) {
    const bool results = f->rules.vjp && takes_results(*f, *f->rules.vjp);
    a = {quiet(f->rules.vjp ? closed(f, f->rules.vjp) : vjp_of_jvp(f, *closed(f, f->rules.jvp))), float_parameters(*f), float_results(*f),
         true, results};
  } else {
    a = {std::make_shared<const Function>(vjp_fn(*f, wrt, seeds, tainted && !planted(testing::Mutant::call_unguarded), true)), wrt, seeds,
         false, false};
  }
  kept_.push_back(f);
  vjps_[{f.get(), key}] = a;
  return a;
}

namespace {
/// A replay does not call what counts its calls.
Pointer quiet_external(const Pointer& f) {
  if (!f->external->impure) return f;
  refuse_impure(*f, {});
  Function out;
  Builder b(out);
  Values x;
  signature(*f, b, x);
  b.finish();
  return std::make_shared<const Function>(std::move(out));
}
}  // namespace

void refuse_impure(const Function& callee, Loc at) {
  std::set<const Function*> seen;
  const auto find = [&](const auto& self, const Function& f) -> const Function* {
    if (f.external) return f.external->impure && !f.external->gives.empty() ? &f : nullptr;
    for (const auto& inner : f.callees)
      if (seen.insert(inner.get()).second)
        if (const Function* found = self(self, *inner)) return found;
    return nullptr;
  };
  const Function* f = find(find, callee);
  if (!f) return;
  throw KernelError(
      at ? at : f->loc,
      fmt::format("external \"{}\" is impure, and a derivative in reverse mode, which calls it again, would get other numbers; call it in "
                  "a kernel of its own and pass what it gives as an In, or use jvp",
                  f->name));
}

Pointer Callees::quiet(const Pointer& f) {
  if (const auto it = quiet_.find(f.get()); it != quiet_.end()) return it->second;
  if (f->external) {
    kept_.push_back(f);
    return quiet_[f.get()] = quiet_external(f);
  }
  bool loud = false;
  for (const Region& r : f->regions)
    for (OpId id : r.ops) {
      const Opcode code = (*f)[id].code;
      const bool calls = code == Opcode::call || code == Opcode::launch;
      loud |= code == Opcode::print || code == Opcode::check || (calls && quiet(f->callees[(*f)[id].ref]) != f->callees[(*f)[id].ref]);
    }
  kept_.push_back(f);
  if (!loud) return quiet_[f.get()] = f;
  return quiet_[f.get()] = std::make_shared<const Function>(rewrite(*f, [&](Rewriter& r, OpId id) {
           const Op& op = (*f)[id];
           if (op.code == Opcode::print || op.code == Opcode::check) return true;
           if (op.code == Opcode::launch) {
             std::vector<Type> types;
             for (ValueId v : op.results) types.push_back(f->type(v));
             Op now = op;
             now.operands = r(op.operands);
             now.ref = add_callee(r.to.function(), quiet(f->callees[op.ref]));
             now.results.clear();
             const OpId made = r.to.append(std::move(now), types);
             r.map(op.results, Values(r.to.function()[made].results));
             return true;
           }
           if (op.code != Opcode::call) return false;
           r.map(op.results, r.to.call(quiet(f->callees[op.ref]), r(op.operands)));
           return true;
         }));
}

Pointer Callees::closed(const Pointer& f, const Pointer& rule) {
  if (!f->self || !rule || rule->kind != Function::Kind::program) return rule;
  if (rule->self == f->self) return rule->stands_in() ? f : rule;  // its own rules are bound when they are used
  if (const auto it = closed_.find({f.get(), rule.get()}); it != closed_.end()) return it->second;
  const Rules rules{closed(f, rule->rules.vjp), closed(f, rule->rules.jvp)};
  bool any = false;
  for (const Pointer& g : rule->callees) any |= closed(f, g) != g;
  kept_.push_back(f);
  kept_.push_back(rule);
  Pointer& out = closed_[{f.get(), rule.get()}];
  if (!any && rules == rule->rules) return out = rule;
  auto bound = std::make_shared<Function>(any ? rewrite(*rule,
                                                        [&](Rewriter& r, OpId id) {
                                                          const Op& op = (*rule)[id];
                                                          if (op.code != Opcode::call) return false;
                                                          r.map(op.results, r.to.call(closed(f, rule->callees[op.ref]), r(op.operands)));
                                                          return true;
                                                        })
                                              : *rule);
  bound->rules = rules;
  return out = std::move(bound);
}

bool Callees::masks(const Pointer& p) {
  const Function& f = *p;
  if (const auto it = masks_.find(&f); it != masks_.end()) return it->second;
  kept_.push_back(p);
  bool any = f.rules != Rules{};
  for (const Region& r : f.regions)
    for (OpId id : r.ops) {
      const Op& op = f[id];
      if (op.code == Opcode::if_ || op.code == Opcode::select) any = true;
      if (op.code == Opcode::call) any |= masks(f.callees[op.ref]);
      if (is_elementwise(op.code) && op.code != Opcode::select)
        for (std::size_t k = 0; k < op.operands.size(); ++k) any |= ad::masks(op.code, static_cast<int>(k));
    }
  return masks_[&f] = any;
}

bool takes_results(const Function& f, const Function& rule) {
  std::size_t cotangents = 0;
  for (const char c : float_results(f)) cotangents += c;
  return rule.parameters.size() > f.parameters.size() + cotangents;
}

Function calling(const Function& f) {
  Function out;
  Builder b(out);
  Values x;
  signature(f, b, x);
  b.finish(b.call(std::make_shared<const Function>(f), x));
  return out;
}

}  // namespace fluxion::ad
