// Rules of programs. A call of a program with rules becomes the body of a rule, in its place, so that what comes next
// (a further derivative, the buffer plan) sees launches, and calls only where the rule itself makes some. A missing rule is made
// from the other one, as in callees.cpp; scalars become arrays of one element and back where the conventions of the two differ.
#include <fmt/format.h>

#include "callees.h"
#include "fluxion/error.h"
#include "fluxion/rewrite.h"
#include "names.h"
#include "prepare.h"

namespace fluxion::ad {
namespace {

using Pointer = Callees::Pointer;

Type half_to_f32(Type t) {
  if (t.element.is_scalar() && is_half(t.element.scalar())) t.element = DType::f32;
  return t;
}

struct Made {
  Function out;
  Builder b{out};
  Names names;

  explicit Made(const Function& f, const char* suffix) {
    out.kind = Function::Kind::program;
    out.name = f.name + suffix;
    out.loc = b.loc = f.loc;
  }
  ValueId parameter(const Type& t, const std::string& name) {
    return t.is_array() ? b.array_parameter(t, Role::in, names.unique(name)) : b.scalar_parameter(t.dtype(), names.unique(name));
  }
  /// `v` as a value of type `t`: a scalar as an array of one element, or such an array as a scalar.
  ValueId as(const Type& t, ValueId v) {
    const Type& from = out.type(v);
    if (from.is_array() == t.is_array()) return v;
    return t.is_array() ? filled(b, t, v) : b.seq_get(v, b.i32(0));
  }
  Pointer finish(const Values& yields) {
    b.finish(yields);
    return std::make_shared<const Function>(tidy(out));
  }
};

/// The linear parameters of `rule`, from `first` on, backwards: `cotangents` by returned value (invalid: zero) -> a
/// gradient for each. `linear` is vjp_program(rule) with respect to those.
Values pull(Made& m, const Function& linear, Values arguments, const Values& cotangents, std::size_t gradients) {
  const std::size_t first = arguments.size();
  for (std::size_t k = 0; k < cotangents.size(); ++k) {
    const Type& t = linear.type(linear.parameters[first + k].value);
    arguments.push_back(cotangents[k].valid() ? m.as(t, cotangents[k]) : m.b.zero(t));
  }
  for (std::size_t k = 0; k < gradients; ++k) arguments.push_back(m.b.zero(linear.type(linear.parameters[arguments.size()].value)));
  return splice(m.b, linear, arguments);
}

void refuse_without_rules(const Function& f) {
  if (f.rules != Rules{}) return;
  if (f.stands_in())
    throw KernelError(f.loc,
                      fmt::format("a rule of program \"{}\" uses a derivative of that program, which is what the rule has to say", f.name));
  throw Bug(f.loc, fmt::format("a call of program \"{}\", which has no rules, is differentiated", f.name));
}

}  // namespace

Values splice(Builder& b, const Function& program, const Values& arguments) {
  Rewriter r(program, b);
  for (std::size_t p = 0; p < arguments.size(); ++p) r.map(program.parameters[p].value, arguments[p]);
  r.copy_ops(program.body);
  return r(program.terminator(program.body).operands);
}

Pointer Callees::program_jvp_of_vjp(const Pointer& f) {
  const Pointer rule = closed(f, f->rules.vjp);
  const Values& returned = f->terminator(f->body).operands;
  const std::size_t n = f->parameters.size(), first = n + (takes_results(*f, *rule) ? returned.size() : 0);
  Mask wrt(rule->parameters.size());
  for (std::size_t p = first; p < wrt.size(); ++p) wrt[p] = 1;
  const Function linear = vjp_program(*rule, wrt, {});
  Made m(*f, ".jvp");
  Values x, tangents;
  for (const Parameter& p : f->parameters) x.push_back(m.parameter(f->type(p.value), p.name));
  for (const Parameter& p : f->parameters)
    if (float_parameter(*f, p)) tangents.push_back(m.parameter(half_to_f32(f->type(p.value)), p.name + "_dot"));
  Values y = m.b.call(f, x), arguments = x;
  if (first > n) arguments.insert(arguments.end(), y.begin(), y.end());
  for (std::size_t p = first; p < rule->parameters.size(); ++p) arguments.push_back(m.b.zero(rule->type(rule->parameters[p].value)));
  const Values dots = pull(m, linear, arguments, tangents, rule->parameters.size() - first);
  std::size_t next = 0;
  for (ValueId v : returned)
    if (has_float(f->type(v))) y.push_back(m.as(f->type(v), dots[next++]));
  return m.finish(y);
}

Pointer Callees::program_vjp_of_jvp(const Pointer& f) {
  const Pointer rule = closed(f, f->rules.jvp);
  const Values& returned = f->terminator(f->body).operands;
  const std::size_t n = f->parameters.size();
  Mask wrt(rule->parameters.size());
  for (std::size_t p = n; p < wrt.size(); ++p) wrt[p] = 1;
  const Function linear = vjp_program(*rule, wrt, {});
  Made m(*f, ".vjp");
  Values x, cotangents;
  for (const Parameter& p : f->parameters) x.push_back(m.parameter(f->type(p.value), p.name));
  for (ValueId v : returned)
    if (has_float(f->type(v))) cotangents.emplace_back();  // of the value itself: it does not depend on the tangents
  for (std::size_t k = 0; k < returned.size(); ++k)
    if (has_float(f->type(returned[k]))) cotangents.push_back(m.parameter(half_to_f32(f->type(returned[k])), fmt::format("r{}_bar", k)));
  Values arguments = x;
  for (std::size_t p = n; p < rule->parameters.size(); ++p) arguments.push_back(m.b.zero(rule->type(rule->parameters[p].value)));
  return m.finish(pull(m, linear, arguments, cotangents, rule->parameters.size() - n));
}

Pointer Callees::program_vjp(const Pointer& f) {
  refuse_without_rules(*f);
  Adjoint& a = vjps_[{f.get(), {}}];
  kept_.push_back(f);
  if (!a.function) a.function = f->rules.vjp ? closed(f, f->rules.vjp) : program_vjp_of_jvp(f);
  return a.function;
}

Pointer Callees::program_jvp(const Pointer& f) {
  refuse_without_rules(*f);
  Tangent& t = jvps_[{f.get(), {}}];
  kept_.push_back(f);
  if (!t.function) t.function = f->rules.jvp ? closed(f, f->rules.jvp) : program_jvp_of_vjp(f);
  return t.function;
}

}  // namespace fluxion::ad
