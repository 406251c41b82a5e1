// Programs with rules. Rules are programs too, captured for the shapes of each call: first the program, then its rules on arrays
// of the shapes of its parameters, results and cotangents. A rule that uses its own program gets a call of a function there
// that stands for it (Function::self), since the program is not finished. So does a rule of another program that is captured
// meanwhile; what has such calls is kept for as long as that capture lasts.
#include <fmt/format.h>

#include "fluxion/builder.h"
#include "fluxion/error.h"
#include "fluxion/program_rule.h"
#include "program_state.h"

namespace fluxion::detail {
namespace {

using FunctionPointer = std::shared_ptr<const Function>;

/// The innermost program whose rules are being captured on this thread.
struct Capturing {
  std::shared_ptr<void> state;
  std::string key;
  const Function& f;
  const std::uint64_t self = new_self();
  Capturing* outer;
  FunctionPointer stand_in;
  std::map<std::pair<std::shared_ptr<void>, std::string>, FunctionPointer> made;  // others, with calls of `stand_in` in them
  static Capturing*& now() {
    thread_local Capturing* now = nullptr;
    return now;
  }
  Capturing(std::shared_ptr<void> state, std::string key, const Function& f)
      : state(std::move(state)), key(std::move(key)), f(f), outer(now()) {
    now() = this;
  }
  ~Capturing() { now() = outer; }
};

/// Has the signature of `f`, and is an error if it runs.
FunctionPointer standing_for(const Function& f, std::uint64_t self) {
  Function out;
  Builder b(out);
  out.kind = f.kind;
  out.name = f.name;
  out.loc = b.loc = f.loc;
  out.self = self;
  for (const Parameter& p : f.parameters) {
    if (p.kind == Parameter::Kind::array) b.array_parameter(f.type(p.value), Role::in, p.name);
    else b.scalar_parameter(f.type(p.value).dtype(), p.name);
  }
  const ValueId never = b.constant(DType::boolean, 0);
  b.effect(Opcode::check, "a rule runs outside of the program that it belongs to", {&never, 1});
  Values results;
  for (ValueId v : f.terminator(f.body).operands) results.push_back(b.zero(f.type(v)));
  b.finish(results);
  return std::make_shared<const Function>(std::move(out));
}

Type adjoint_type(Type t, bool of_argument) {
  if (t.element.is_scalar() && is_half(t.element.scalar())) t.element = DType::f32;
  const std::int64_t one[] = {1};
  return of_argument && t.is_scalar() ? Type::array(t.element, one) : t;
}

Argument argument_like(const Type& t, const Device& device) {
  Argument a;
  if (t.is_scalar()) return a;
  a.array = std::make_shared<ArrayState>();
  a.array->element = t.element;
  a.array->rank = t.rank;
  for (int axis = 0; axis < t.rank; ++axis) a.array->extent[static_cast<std::size_t>(axis)] = t.shape[static_cast<std::size_t>(axis)];
  a.array->device = device;
  return a;
}

}  // namespace

std::set<std::uint64_t> open_selves(const Function& f) {
  std::map<const Function*, std::set<std::uint64_t>> known;
  const auto find = [&](const auto& again, const Function& g) -> const std::set<std::uint64_t>& {
    if (const auto it = known.find(&g); it != known.end()) return it->second;
    std::set<std::uint64_t> out;
    if (g.stands_in()) out.insert(g.self);
    const auto add = [&](const FunctionPointer& inner) {
      if (inner && inner->kind == Function::Kind::program) out.merge(std::set(again(again, *inner)));
    };
    for (const FunctionPointer& callee : g.callees) add(callee);
    add(g.rules.vjp);
    add(g.rules.jvp);
    if (!g.stands_in()) out.erase(g.self);
    return known[&g] = std::move(out);
  };
  return find(find, f);
}

void refuse_own_derivative(const Function& f, Loc at) {
  std::set<const Function*> seen;
  const auto look = [&](const auto& again, const Function& g) -> void {
    if (g.stands_in())
      throw KernelError(at, fmt::format("a rule of program \"{}\" uses a derivative of that program, which is what the rule has to say; "
                                        "write it out, or take the derivative of the program without rules",
                                        g.name));
    for (const FunctionPointer& callee : g.callees)
      if (callee->kind == Function::Kind::program && seen.insert(callee.get()).second) again(again, *callee);
  };
  look(look, f);
}

FunctionPointer caller_of(const FunctionPointer& f) {
  Function out;
  Builder b(out);
  out.kind = Function::Kind::program;
  out.name = f->name;
  out.loc = b.loc = f->loc;
  Values x;
  for (const Parameter& p : f->parameters)
    x.push_back(p.kind == Parameter::Kind::array ? b.array_parameter(f->type(p.value), Role::in, p.name)
                                                 : b.scalar_parameter(f->type(p.value).dtype(), p.name));
  b.finish(b.call(f, x));
  return std::make_shared<const Function>(std::move(out));
}

ProgramHandle ProgramHandle::ruled(const ProgramHandle& vjp, const ProgramHandle& jvp, bool results, std::vector<ProgramParameter> takes,
                                   std::vector<char> scalars, Loc at) const {
  made(at);
  ProgramHandle out(state_->name, std::move(takes), Body(), at);
  out.state_->full_name = state_->full_name;
  if (state_->steps.empty()) out.state_->body = state_->body;
  else
    out.state_->body = [inner = *this, scalars = std::move(scalars), at](const std::vector<ProgramValue>& values) {
      std::vector<Argument> list;  // of a derivative of another program
      for (const ProgramValue& v : values) list.push_back({v.array, 0, v.scalar});
      std::vector<ProgramValue> returned = inner.embedded(list, at);
      for (std::size_t k = 0; k < returned.size(); ++k)
        if (scalars[k]) returned[k] = {nullptr, item_traced(Array(returned[k].array), ~0u, at)};
      return returned;
    };
  out.state_->options = state_->options;
  out.state_->vjp_rule = vjp.state_;
  out.state_->jvp_rule = jvp.state_;
  out.state_->rule_takes_results = results;
  return out;
}
ProgramHandle ProgramHandle::rule(bool vjp) const {
  ProgramHandle out;
  out.state_ = vjp ? made({}).vjp_rule : made({}).jvp_rule;
  return out;
}
bool ProgramHandle::rule_takes_results() const { return made({}).rule_takes_results; }

ProgramHandle ProgramHandle::subject() {
  ProgramHandle out;
  if (Capturing* c = Capturing::now()) out.state_ = std::static_pointer_cast<State>(c->state);
  return out;
}

FunctionPointer ProgramHandle::State::rule_function(State& rule, const char* which, std::span<const Argument> arguments,
                                                    const std::vector<Type>& results, Loc call) const {
  const auto made = rule.specialise(arguments, call, false).made;
  const Function& g = *made->function;
  for (std::size_t p = 0; p < g.parameters.size(); ++p) {
    if (made->program.sources[p].kind != ProgramSource::Kind::argument)
      throw KernelError(
          rule.at,
          fmt::format("the {} rule of program \"{}\" reaches an array outside of it; pass it to the program as a parameter", which, name));
    if (g.parameters[p].role != Role::in)
      throw KernelError(
          rule.at, fmt::format("the {} rule of program \"{}\" writes its parameter {}; work on a copy and return that", which, name, p));
  }
  for (std::size_t k = 0; k < results.size(); ++k)
    if (k >= made->results.size() || made->results[k] != results[k])
      throw ShapeError(rule.at, fmt::format("the {} rule of program \"{}\" gives {} as result {}; it must be {}", which, name,
                                            k < made->results.size() ? to_string(made->results[k]) : "nothing", k, to_string(results[k])));
  return made->function;
}

void rules_do_not_fit(const std::string& report, Loc at) {
  throw KernelError(at, "the rules do not fit each other or differences:\n" + report);
}

FunctionPointer ProgramHandle::State::function_with_rules(std::span<const Argument> arguments, Loc call) {
  Device device;
  const std::string key = key_of(arguments, device, call);
  for (Capturing* c = Capturing::now(); c; c = c->outer) {
    if (c->state.get() == this && c->key == key) {
      if (!c->stand_in) c->stand_in = standing_for(c->f, c->self);
      return c->stand_in;
    }
    if (const auto it = c->made.find({shared_from_this(), key}); it != c->made.end()) return it->second;
  }
  {
    std::lock_guard lock(mutex);
    if (const auto it = with_rules.find(key); it != with_rules.end()) return it->second;
  }
  const auto base = specialise(arguments, call, false).made;
  auto out = std::make_shared<Function>(*base->function);
  for (std::size_t p = 0; p < out->parameters.size(); ++p) {
    if (base->program.sources[p].kind != ProgramSource::Kind::argument)
      throw KernelError(
          at, fmt::format("program \"{}\" has rules and reaches an array outside of it, of which they know nothing; make it a parameter",
                          name));
    if (out->parameters[p].role != Role::in)
      throw KernelError(at, fmt::format("program \"{}\" has rules and writes its parameter {}; work on a copy and return that", name, p));
  }
  std::vector<Argument> list;
  std::vector<Type> gradients, returned = base->results;
  const auto add = [&](const Type& t) { list.push_back(argument_like(t, base->device)); };
  for (const Parameter& p : out->parameters) {
    add(out->type(p.value));
    if (has_float(out->type(p.value))) gradients.push_back(adjoint_type(out->type(p.value), true));
  }
  const Capturing now(shared_from_this(), key, *base->function);
  out->self = now.self;
  if (vjp_rule) {
    if (rule_takes_results)
      for (const Type& t : base->results) add(t);
    for (const Type& t : base->results)
      if (has_float(t)) add(adjoint_type(t, false));
    out->rules.vjp = rule_function(*vjp_rule, "vjp", list, gradients, call);
  }
  if (jvp_rule) {
    list.resize(out->parameters.size());
    for (const Parameter& p : out->parameters)
      if (has_float(out->type(p.value))) add(adjoint_type(out->type(p.value), false));
    for (const Type& t : base->results)
      if (has_float(t)) returned.push_back(adjoint_type(t, false));
    out->rules.jvp = rule_function(*jvp_rule, "jvp", list, returned, call);
  }
  const std::set<std::uint64_t> open = open_selves(*out);
  if (!open.empty())
    for (Capturing* c = now.outer;; c = c->outer) {
      if (!c) throw Bug(at, fmt::format("program \"{}\" has a call of a program whose rule is not being captured", name));
      if (open.contains(c->self)) return c->made[{shared_from_this(), key}] = out;
    }
  std::lock_guard lock(mutex);
  return with_rules[key] = out;
}

}  // namespace fluxion::detail
