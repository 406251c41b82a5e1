// Program -> Function, through the recorder's out-of-line interface: what the templates of the surface call.
#include "capture.h"

#include <fmt/format.h>

#include "fluxion/ad.h"
#include "fluxion/builder.h"
#include "fluxion/capture.h"
#include "fluxion/rule.h"

namespace fluxion::fuzz {
namespace {

using detail::Handle;
using Id = std::uint32_t;

using Pointers = std::vector<std::shared_ptr<const Function>>;

/// A kernel's body, or that of a device function.
class Capture {
 public:
  Capture(const Program& p, const Pointers& functions, const Device& d)
      : p_(p),
        functions_(functions),
        variables_(static_cast<std::size_t>(d.variables)),
        recording_(Function::Kind::fn, fmt::format("f{}", functions.size()), at()) {
    for (std::size_t k = 0; k < d.takes.size(); ++k)
      variables_[k] = detail::declare_as(recording_.scalar_parameter(dtype(d.takes[k]), fmt::format("v{}", k)), at());
  }
  std::shared_ptr<const Function> run(const Device& d) {
    block(d.body);
    std::vector<Id> yields;
    for (const Expr& e : d.results) yields.push_back(eval(e));
    return recording_.finish(yields);
  }
  Capture(const Program& p, const Pointers& functions)
      : p_(p), functions_(functions), variables_(static_cast<std::size_t>(p.variables)), recording_(Function::Kind::kernel, "fuzz", at()) {
    if (p.group) detail::set_groups({{p.group, 0, 0}, 1, at()});
    const auto memory = [&](LayoutId element, Role role, const char* name) {
      memories_.push_back(recording_.memory_parameter(element, 1, role, name));
    };
    memory(p.real, Role::in, "x");
    memory(DType::i32, Role::in, "p");
    memory(p.real, Role::out, "y");
    memory(p.real, Role::inout, "z");
    memory(DType::i32, Role::inout, "q");
    memory(p.real, Role::inout, "w");
    memory(p.real, Role::accum, "g");
    memory(packed(p.real, 2), Role::inout, "s");
    memories_.push_back(memories_.back());  // one memory, two leaves
    memory(DType::f16, Role::in, "h");
    for (DType t : {p.real, DType::i32}) {
      scalars_.push_back(detail::declare_as(recording_.scalar_parameter(t, t == DType::i32 ? "m" : "a"), at()));
    }
    thread_ = detail::declare_as(detail::index_value(0, 1, at()), at());
    if (!p.group) return;
    lane_ = detail::declare_as(detail::thread_index_value(0, 1, at()), at());
    for (auto& m : shared_) m = array(detail::new_shared, p.group);
  }
  std::shared_ptr<const Function> run() {
    block(p_.body);
    return recording_.finish();
  }

 private:
  const Program& p_;
  const Pointers& functions_;
  std::uint32_t line_ = 1;
  std::vector<Handle> variables_;
  std::vector<detail::MemoryHandle> memories_, locals_;
  std::vector<Handle> scalars_;
  detail::Recording recording_;
  Handle thread_{}, lane_{};
  detail::MemoryHandle shared_[2] = {};

  template <class Make> detail::MemoryHandle array(const Make& make, int length) {
    const detail::LeafSpec leaf{p_.real, 0};
    return make(&leaf, 1, static_cast<std::uint32_t>(fluxion::size_of(p_.real)), length, at());
  }

  Loc at() const { return {"fuzz", line_}; }
  DType dtype(Kind k) const { return is_real(k) ? p_.real : k == Kind::integer ? DType::i32 : DType::boolean; }
  Id integer(std::int32_t v) { return detail::constant(DType::i32, static_cast<std::uint32_t>(v), at()); }
  Id apply(Opcode op, Id a, Id b) { return detail::apply(op, a, b, at()); }
  const detail::MemoryHandle& memory(int id) const {
    if (is_shared(id)) return shared_[which_shared(id)];
    return id < kFirstLocal ? memories_[static_cast<std::size_t>(id)] : locals_[static_cast<std::size_t>(id - kFirstLocal)];
  }
  Id place(int id, const Expr& raw) {
    const Id i = eval(raw);
    switch (id) {
      case kY:
      case kS0:
      case kS1: return detail::read(thread_, at());
      case kOwn0:
      case kOwn1: return detail::read(lane_, at());
      case kZ:
      case kQ:
        return apply(Opcode::add, apply(Opcode::mul, integer(2), detail::read(thread_, at())), apply(Opcode::bit_and, i, integer(1)));
      default: {
        const Id n = id >= kFirstLocal ? integer(kLocalLength) : is_shared(id) ? integer(p_.group) : detail::extent(memory(id), 0, at());
        return apply(Opcode::rem, apply(Opcode::bit_and, i, integer(INT32_MAX)), n);
      }
    }
  }
  static int leaf(int id) { return id == kS1 ? 1 : 0; }
  Id element(int id, const Expr& raw) {
    const Id i = place(id, raw);
    return detail::element(memory(id), &i, 1, at());
  }

  Id eval(const Expr& e) {
    switch (e.form) {
      case Expr::Form::literal: {
        const DType t = dtype(e.kind);
        if (t == DType::f64) return detail::constant(t, std::bit_cast<std::uint64_t>(e.number), at());
        if (t == DType::f32) return detail::constant(t, std::bit_cast<std::uint32_t>(static_cast<float>(e.number)), at());
        if (t == DType::boolean) return detail::constant(t, e.number != 0, at());
        return integer(static_cast<std::int32_t>(e.number));
      }
      case Expr::Form::variable: return detail::read(variables_[static_cast<std::size_t>(e.id)], at());
      case Expr::Form::thread: return detail::read(thread_, at());
      case Expr::Form::scalar: return detail::read(scalars_[static_cast<std::size_t>(e.id)], at());
      case Expr::Form::extent: return e.id >= kFirstLocal ? integer(kLocalLength) : detail::extent(memory(e.id), 0, at());
      case Expr::Form::load: {
        const Id v = detail::load(element(e.id, e.kids[0]), leaf(e.id), at());
        return e.id == kH ? detail::convert(v, p_.real, at()) : v;
      }
      case Expr::Form::to_real: return detail::convert(eval(e.kids[0]), p_.real, at());
      case Expr::Form::to_int: return detail::convert(detail::apply(Opcode::stop_grad, eval(e.kids[0]), at()), DType::i32, at());
      case Expr::Form::both:
      case Expr::Form::either: {
        const Id left = eval(e.kids[0]);
        const detail::Mark end = detail::mark();
        const Handle right = detail::declare_as(eval(e.kids[1]), at());
        return detail::short_circuit(e.form == Expr::Form::either, left, end, right, at());
      }
      case Expr::Form::call: return call(e)[static_cast<std::size_t>(e.number)];
      case Expr::Form::op: break;
    }
    Id k[3] = {};
    for (std::size_t i = 0; i < e.kids.size(); ++i) k[i] = eval(e.kids[i]);
    if (e.kids.size() == 1) return detail::apply(e.op, k[0], at());
    if (e.kids.size() == 2) return detail::apply(e.op, k[0], k[1], at());
    return detail::apply(e.op, k[0], k[1], k[2], at());
  }

  std::vector<Id> call(const Expr& e) {
    std::vector<Id> arguments;
    for (const Expr& k : e.kids) arguments.push_back(eval(k));
    return detail::record_call(functions_.at(static_cast<std::size_t>(e.id)), arguments, at());
  }

  void block(const std::vector<Stmt>& stmts) {
    for (const Stmt& s : stmts) step(s);
  }
  void step(const Stmt& s) {
    ++line_;
    const auto id = static_cast<std::size_t>(s.id);
    switch (s.form) {
      case Stmt::Form::let: variables_[id] = detail::declare_as(eval(s.e[0]), at()); return;
      case Stmt::Form::choose: {
        const Handle v = variables_[id] = detail::declare(dtype(s.kind), at());
        detail::open_then(eval(s.e[0]), at());
        detail::assign(v, eval(s.e[1]), at());
        const Id op = detail::close_then();
        detail::open_else(op, 1);
        detail::assign(v, eval(s.e[2]), at());
        detail::close_else(1);
        return;
      }
      case Stmt::Form::set: detail::assign(variables_[id], eval(s.e[0]), at()); return;
      case Stmt::Form::swap: {
        const Handle a = variables_[id], b = variables_[static_cast<std::size_t>(s.other)];
        const Id was = detail::read(a, at());
        detail::assign(a, detail::read(b, at()), at());
        detail::assign(b, was, at());
        return;
      }
      case Stmt::Form::call: {
        const std::vector<Id> r = call(s.e[0]);
        variables_[id] = detail::declare_as(r.at(0), at());
        variables_[static_cast<std::size_t>(s.other)] = detail::declare_as(r.at(1), at());
        return;
      }
      case Stmt::Form::local: {
        if (locals_.size() <= id - kFirstLocal) locals_.resize(id - kFirstLocal + 1);
        locals_[id - kFirstLocal] = array(detail::new_local, kLocalLength);
        return;
      }
      case Stmt::Form::store: {
        const Id e = element(s.id, s.e[0]);
        detail::store(e, leaf(s.id), eval(s.e[1]), at());
        return;
      }
      case Stmt::Form::accumulate: {
        const Id e = element(s.id, s.e[0]);
        if (s.other) detail::record_atomic(Atomic::add, e, static_cast<std::uint32_t>(leaf(s.id)), eval(s.e[1]), ~0u, at());
        else detail::accumulate(e, leaf(s.id), eval(s.e[1]), at());
        return;
      }
      case Stmt::Form::branch: {
        detail::open_then(eval(s.e[0]), at());
        block(s.a);
        const Id op = detail::close_then();
        if (s.b.empty()) return;
        detail::open_else(op, 1);
        block(s.b);
        detail::close_else(1);
        return;
      }
      case Stmt::Form::loop: {
        const Id lo = eval(s.e[0]), hi = eval(s.e[1]), step = eval(s.e[2]);
        variables_[id] = detail::declare_as(detail::open_for(lo, hi, step, at()), at());
        block(s.a);
        detail::close_loop();
        return;
      }
      case Stmt::Form::repeat:
        detail::open_while(at());
        detail::open_while_body(eval(s.e[0]), at());
        block(s.a);
        detail::close_loop();
        return;
      case Stmt::Form::barrier: detail::record_barrier(at()); return;
      case Stmt::Form::subgroup: {
        const Id v = eval(s.e[0]), lane = s.e.size() > 1 ? eval(s.e[1]) : ~0u;
        variables_[id] = detail::declare_as(detail::record_subgroup(static_cast<Subgroup>(s.other), v, lane, at()), at());
        return;
      }
      case Stmt::Form::rounds: {
        const Id n = eval(s.e[0]);
        variables_[id] = detail::declare_as(detail::open_for(integer(0), n, integer(1), at()), at());
        block(s.a);
        detail::close_loop();
        return;
      }
      case Stmt::Form::leave: detail::exit_if(Opcode::break_if, eval(s.e[0]), at()); return;
      case Stmt::Form::skip: detail::exit_if(Opcode::continue_if, eval(s.e[0]), at()); return;
      case Stmt::Form::stop: detail::exit_if(Opcode::return_if, eval(s.e[0]), at()); return;
    }
  }
};

/// `f` with rules that give the derivative of `of`.
std::shared_ptr<const Function> with_rules(const std::shared_ptr<const Function>& f, const std::shared_ptr<const Function>& of,
                                           Device::Rules rules) {
  const auto back = std::make_shared<const Function>(vjp(*of));
  const auto ruled = detail::with_rules(f, back, nullptr, {"fuzz", 1});
  if (rules == Device::Rules::vjp) return ruled;
  // The value in the jvp rule has a derivative too, the same one.
  const Function forward = jvp(*of);
  auto out = std::make_shared<Function>();
  Builder b(*out);
  Values x;
  for (const Parameter& p : forward.parameters) x.push_back(b.scalar_parameter(forward.type(p.value).dtype(), p.name));
  Values y = b.call(ruled, Values(x.begin(), x.begin() + static_cast<std::ptrdiff_t>(f->parameters.size())));
  const Values t = b.call(std::make_shared<const Function>(forward), x);
  y.insert(y.end(), t.begin() + static_cast<std::ptrdiff_t>(y.size()), t.end());
  b.finish(y);
  verify(*out);
  return detail::with_rules(f, rules == Device::Rules::both ? back : nullptr, out, {"fuzz", 1});
}

}  // namespace

std::shared_ptr<const Function> capture(const Program& p) {
  Pointers functions;
  for (const Device& d : p.functions) {
    auto f = Capture(p, functions, d).run(d);
    if (d.derivative_of >= 0) f = with_rules(f, functions.at(static_cast<std::size_t>(d.derivative_of)), d.rules);
    functions.push_back(std::move(f));
  }
  return Capture(p, functions).run();
}

}  // namespace fluxion::fuzz
