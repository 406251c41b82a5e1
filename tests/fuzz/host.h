// Runs a Program directly, without any IR: the definition that capture, passes, evaluator and backends are held to.
// N is the type of floats: float, double, a Dual for derivatives, or Traced to see what is covered.
#pragma once
#include <array>
#include <map>
#include <set>
#include <stdexcept>
#include <utility>
#include <vector>

#include "coverage.h"
#include "dual.h"
#include "program.h"

namespace fluxion::fuzz {

inline Traced with_slope_of(const Traced& v, const Traced&) { return v; }
inline Traced float_op(Opcode op, const Traced& a, const Traced& b, const Traced& c) { return {float_op<double>(op, a.v, b.v, c.v)}; }

inline std::int32_t int_op(Opcode op, std::int32_t a, std::int32_t b) {
  using F = HostOps<std::int32_t>;
  switch (op) {
    case Opcode::add: return F::add(a, b);
    case Opcode::sub: return F::sub(a, b);
    case Opcode::mul: return F::mul(a, b);
    case Opcode::mulhi: return F::mulhi(a, b);
    case Opcode::div: return F::div(a, b);
    case Opcode::rem: return F::rem(a, b);
    case Opcode::min: return F::min(a, b);
    case Opcode::max: return F::max(a, b);
    case Opcode::neg: return F::neg(a);
    case Opcode::abs: return F::abs(a);
    case Opcode::sign: return F::sign(a);
    case Opcode::bit_not: return ~a;
    case Opcode::bit_and: return a & b;
    case Opcode::bit_or: return a | b;
    case Opcode::bit_xor: return a ^ b;
    case Opcode::shl: return F::shl(a, b);
    case Opcode::shr: return F::shr(a, b);
    default: throw std::logic_error("fuzz: not an op on integers");
  }
}
template <class T>
bool test(Opcode op, T a, T b) {
  switch (op) {
    case Opcode::lt: return a < b;
    case Opcode::le: return a <= b;
    case Opcode::gt: return a > b;
    case Opcode::ge: return a >= b;
    case Opcode::eq: return a == b;
    case Opcode::ne: return a != b;
    default: throw std::logic_error("fuzz: not a comparison");
  }
}
inline std::int32_t to_int(double v) {
  if (v != v) return 0;
  return v >= 2147483647.0 ? INT32_MAX : v <= -2147483648.0 ? INT32_MIN : static_cast<std::int32_t>(v);
}

template <class N>
struct Arrays {
  std::vector<N> x, y, z, w, g, s, h;
  std::vector<std::int32_t> p, q;
  N a{};
  std::int32_t m = 0;
};

template <class N>
class Host {
  static constexpr bool kTraced = std::is_same_v<N, Traced>;

 public:
  Host(const Program& p, Arrays<N>& arrays, Footprint* footprint = nullptr)
      : p_(p), arrays_(arrays), footprint_(footprint), values_(static_cast<std::size_t>(p.variables)) {}
  /// One launch; `step` counts those before it.
  void run(int threads, int step = 0) {
    if constexpr (kTraced)
      if (step == 0) prepare();
    if (step > 0) context_[number_of(Construct::time_loop)] = true;
    written_.clear();
    for (thread_ = 0; thread_ < threads; ++thread_) block(p_.body);
  }

 private:
  struct Nothing {};
  struct Value {
    N f{};
    std::int32_t i = 0;
    bool b = false;
    [[no_unique_address]] std::conditional_t<kTraced, Trace, Nothing> t;
  };
  enum class Exit : std::uint8_t { none, leave, skip, stop };

  const Program& p_;
  Arrays<N>& arrays_;
  Footprint* footprint_;
  std::vector<Value> values_;
  std::vector<std::vector<N>> locals_;
  int thread_ = 0;

  // ---- coverage
  std::bitset<kConstructs> context_;  // what encloses the statement that runs
  std::vector<Trace> p_traces_, q_traces_;
  std::map<std::pair<int, std::size_t>, int> written_;  // by element: its thread + 1; of an accumulate negative
  int depth_ = 0;

  static std::uint8_t bit(Place p) { return static_cast<std::uint8_t>(1u << static_cast<int>(p)); }
  static Place place_of(int memory) {
    switch (memory) {
      case kX: case kH: return Place::in;
      case kY: return Place::out;
      case kZ: case kW: case kS0: case kS1: return Place::inout;
      case kG: return Place::accum;
      case kP: case kQ: return Place::integers;
      default: return Place::local;
    }
  }
  void prepare() {
    const auto mark = [](std::vector<N>& v, Place p) { if constexpr (kTraced) for (N& n : v) n.trace.from = bit(p); };
    mark(arrays_.x, Place::in), mark(arrays_.h, Place::in), mark(arrays_.z, Place::inout), mark(arrays_.w, Place::inout), mark(arrays_.s, Place::inout);
    p_traces_.assign(arrays_.p.size(), {bit(Place::integers), 0, {}});
    q_traces_.assign(arrays_.q.size(), {bit(Place::integers), 0, {}});
  }
  /// `construct` works on `v`, which has gone through it from now on.
  void meet(int construct, Value& v) {
    if constexpr (kTraced) {
      footprint_->meet(construct, v.t);
      v.t.through[static_cast<std::size_t>(construct)] = true;
    }
  }
  void meet(Construct c, Value& v) { meet(number_of(c), v); }
  /// No derivative passes on from here, integers do.
  void cut(Value& v) {
    if constexpr (kTraced) {
      v.t.beside |= v.t.from;
      v.t.from &= bit(Place::integers);
    }
  }
  /// `v` is assigned to a variable here.
  void settle(Value& v, Construct c) {
    if constexpr (kTraced) {
      meet(c, v);
      for (std::size_t k = kElementwiseCount; k < kConstructs; ++k)
        if (context_[k]) meet(static_cast<int>(k), v);
    }
  }
  void reach(int memory, std::size_t at, Value& v, bool add) {
    if constexpr (kTraced) {
      settle(v, add ? Construct::accumulate : Construct::store);
      int& last = written_[{memory, at}];
      if (!add && last == thread_ + 1) meet(Construct::overwrite, v);
      if (add && last < 0) meet(Construct::duplicate, v);
      last = add ? -1 : thread_ + 1;
      if (memory == kQ) meet(Construct::integer_state, v);
      if (memory == kS0 || memory == kS1) meet(Construct::struct_element, v);
      if (v.t.from >> static_cast<int>(place_of(memory)) & 1) meet(Construct::in_place, v);
      footprint_->meet(v.t.through, bit(place_of(memory)));
    }
  }
  void condition(Construct c, Value v) {
    if constexpr (kTraced) meet(c, v);
  }

  std::vector<N>& floats(int memory) {
    switch (memory) {
      case kX: return arrays_.x;
      case kY: return arrays_.y;
      case kZ: return arrays_.z;
      case kW: return arrays_.w;
      case kG: return arrays_.g;
      case kH: return arrays_.h;
      case kS0: case kS1: return arrays_.s;
      default: return locals_.at(static_cast<std::size_t>(memory - kFirstLocal));
    }
  }
  std::size_t extent(int memory) {
    switch (memory) {
      case kP: return arrays_.p.size();
      case kQ: return arrays_.q.size();
      case kS0: case kS1: return arrays_.s.size() / 2;
      default: return floats(memory).size();
    }
  }
  std::size_t place(int memory, const Value& raw) {
    const std::int32_t i = raw.i;
    switch (memory) {
      case kY: return static_cast<std::size_t>(thread_);
      case kS0: case kS1: return static_cast<std::size_t>(2 * thread_ + memory - kS0);
      case kZ:
      case kQ: return static_cast<std::size_t>(2 * thread_ + (i & 1));
      default: return static_cast<std::size_t>(i & INT32_MAX) % extent(memory);
    }
  }
  Value load(int memory, const Expr& raw) {
    const Value index = eval(raw);
    const std::size_t at = place(memory, index);
    Value v;
    if (memory == kP) v.i = arrays_.p.at(at);
    else if (memory == kQ) v.i = arrays_.q.at(at);
    else v.f = floats(memory).at(at);
    if constexpr (kTraced) {
      v.t = memory == kP ? p_traces_[at] : memory == kQ ? q_traces_[at] : v.f.trace;
      v.t.from |= bit(place_of(memory));
      if (memory == kY) meet(Construct::read_back, v);
      if (memory == kS0 || memory == kS1) meet(Construct::struct_element, v);
      const bool free = memory != kY && memory != kS0 && memory != kS1;
      if (free && index.t.from >> static_cast<int>(Place::integers) & 1) {
        v.t.from |= bit(Place::integers);
        meet(Construct::indirect, v);
      }
      if (memory == kH) meet(Construct::half_element, v);
    }
    return v;
  }

  Value eval(const Expr& e) {
    Value r;
    switch (e.form) {
      case Expr::Form::literal:
        if (is_real(e.kind)) r.f = static_cast<N>(e.number);
        r.i = static_cast<std::int32_t>(e.number);
        r.b = e.number != 0;
        return r;
      case Expr::Form::variable: return values_[static_cast<std::size_t>(e.id)];
      case Expr::Form::thread: r.i = thread_; return r;
      case Expr::Form::scalar:
        r.f = arrays_.a, r.i = arrays_.m;
        if constexpr (kTraced) r.t.from = bit(Place::scalar);
        return r;
      case Expr::Form::extent: r.i = static_cast<std::int32_t>(extent(e.id)); return r;
      case Expr::Form::load: return load(e.id, e.kids[0]);
      case Expr::Form::to_real: {
        const Value k = eval(e.kids[0]);
        r.f = static_cast<N>(k.i);
        r.t = k.t;
        meet(Construct::to_real, r);
        return r;
      }
      case Expr::Form::to_int: {
        const Value k = eval(e.kids[0]);
        r.i = to_int(value_of(k.f));
        r.t = k.t;
        meet(Construct::to_int, r);
        cut(r);
        return r;
      }
      case Expr::Form::both:
      case Expr::Form::either: {
        r = eval(e.kids[0]);
        if (r.b == (e.form == Expr::Form::both)) {
          const Value right = eval(e.kids[1]);
          r.b = right.b;
          if constexpr (kTraced) r.t |= right.t;
        }
        meet(Construct::short_circuit, r);
        return r;
      }
      case Expr::Form::call: return call(e)[static_cast<std::size_t>(e.number)];
      case Expr::Form::op: break;
    }
    Value k[3];
    for (std::size_t i = 0; i < e.kids.size(); ++i) {
      k[i] = eval(e.kids[i]);
      if constexpr (kTraced) r.t |= k[i].t;
    }
    if (e.op == Opcode::select) {
      Value v = k[0].b ? k[1] : k[2];
      v.t = r.t;
      meet(Construct::select, v);
      return v;
    }
    const Kind operands = e.kids[0].kind;
    if (e.kind == Kind::boolean) {
      if (is_real(operands)) r.b = test(e.op, value_of(k[0].f), value_of(k[1].f));
      else if (operands == Kind::integer) r.b = test(e.op, k[0].i, k[1].i);
      else r.b = e.op == Opcode::bit_not ? !k[0].b : e.op == Opcode::bit_xor ? k[0].b != k[1].b : e.op == Opcode::bit_or ? k[0].b || k[1].b : k[0].b && k[1].b;
      meet(operands == Kind::boolean ? Construct::boolean_op : Construct::comparison, r);
      cut(r);
    } else if (e.kind == Kind::integer) {
      r.i = int_op(e.op, k[0].i, k[1].i);
      meet(Construct::integer_op, r);
    } else {
      r.f = float_op(e.op, k[0].f, k[1].f, k[2].f);
      meet(number_of(e.op), r);
      switch (e.op) {
        case Opcode::sign: case Opcode::floor: case Opcode::ceil: case Opcode::round: case Opcode::trunc: case Opcode::stop_grad: cut(r); break;
        default: break;
      }
    }
    return r;
  }

  // ---- device functions
  using Results = std::array<Value, 2>;
  Results call(const Expr& e) {
    std::vector<Value> arguments;
    for (const Expr& k : e.kids) arguments.push_back(eval(k));
    const auto outer = context_;
    if (depth_ > 0) enter(Construct::call_in_loop);
    if (context_[number_of(Construct::branch)] || context_[number_of(Construct::otherwise)]) enter(Construct::call_in_branch);
    if (context_[number_of(Construct::call)]) enter(Construct::call_in_call);
    enter(Construct::call);
    const Device& d = p_.functions[static_cast<std::size_t>(e.id)];
    if (d.derivative_of >= 0) enter(d.rules == Device::Rules::vjp ? Construct::vjp_rule : d.rules == Device::Rules::jvp ? Construct::jvp_rule : Construct::both_rules);
    Results r = run(d, arguments);
    for (std::size_t k = 0; k < d.results.size(); ++k) settle(r[k], Construct::call);
    context_ = outer;
    return r;
  }
  Results run(const Device& d, const std::vector<Value>& arguments) {
    auto values = std::exchange(values_, std::vector<Value>(static_cast<std::size_t>(d.variables)));
    auto locals = std::exchange(locals_, {});
    auto kinds = std::exchange(kinds_, {});
    std::copy(arguments.begin(), arguments.end(), values_.begin());
    if constexpr (kTraced)
      for (std::size_t k = 0; k < arguments.size(); ++k) kinds_[static_cast<int>(k)] = d.takes[k];
    block(d.body);
    Results r;
    for (std::size_t k = 0; k < d.results.size(); ++k) r[k] = eval(d.results[k]);
    values_ = std::move(values), locals_ = std::move(locals), kinds_ = std::move(kinds);
    if (d.derivative_of < 0) return r;
    // What the body computes, with the derivative that the rules give.
    const Results other = run(p_.functions[static_cast<std::size_t>(d.derivative_of)], arguments);
    for (std::size_t k = 0; k < d.results.size(); ++k) {
      r[k].f = with_slope_of(r[k].f, other[k].f);
      if constexpr (kTraced) r[k].t |= other[k].t;
    }
    return r;
  }

  Exit block(const std::vector<Stmt>& stmts) {
    const auto outer = context_;
    for (const Stmt& s : stmts)
      if (const Exit e = step(s); e != Exit::none) return context_ = outer, e;
    context_ = outer;
    return Exit::none;
  }
  void enter(Construct c) { context_[number_of(c)] = true; }

  /// Variables that a loop assigns were carried by it.
  void carried(const std::vector<Stmt>& body, std::int64_t trips, const std::bitset<kConstructs>& of) {
    if constexpr (kTraced) {
      std::set<int> assigned;
      const auto find = [&](const auto& self, const std::vector<Stmt>& b) -> void {
        for (const Stmt& s : b) {
          if (s.form == Stmt::Form::set) assigned.insert(s.id);
          if (s.form == Stmt::Form::swap) assigned.insert(s.id), assigned.insert(s.other);
          self(self, s.a), self(self, s.b);
        }
      };
      find(find, body);
      for (int id : assigned) {
        Value& v = values_[static_cast<std::size_t>(id)];
        for (std::size_t c = kElementwiseCount; c < kConstructs; ++c)
          if (of[c]) meet(static_cast<int>(c), v);
        meet(trips == 0 ? Construct::zero_trips : trips == 1 ? Construct::one_trip : Construct::many_trips, v);
        const Kind k = kinds_[id];
        meet(is_real(k) ? Construct::carried_real : k == Kind::integer ? Construct::carried_integer : Construct::carried_boolean, v);
      }
    }
  }
  std::map<int, Kind> kinds_;  // of variables, Traced only

  Exit step(const Stmt& s) {
    const auto at = static_cast<std::size_t>(s.id);
    switch (s.form) {
      case Stmt::Form::let:
      case Stmt::Form::set: {
        Value v = eval(s.e[0]);
        settle(v, Construct::assign);
        if constexpr (kTraced) kinds_[s.id] = s.kind;
        values_[at] = v;
        return Exit::none;
      }
      case Stmt::Form::choose: {
        Value v = eval(s.e[0]).b ? eval(s.e[1]) : eval(s.e[2]);
        settle(v, Construct::choose);
        if constexpr (kTraced) kinds_[s.id] = s.kind;
        values_[at] = v;
        return Exit::none;
      }
      case Stmt::Form::swap: {
        Value &a = values_[at], &b = values_[static_cast<std::size_t>(s.other)];
        std::swap(a, b);
        settle(a, Construct::swap), settle(b, Construct::swap);
        return Exit::none;
      }
      case Stmt::Form::call: {
        Results r = call(s.e[0]);
        const auto& gives = p_.functions[static_cast<std::size_t>(s.e[0].id)].results;
        for (std::size_t k = 0; k < 2; ++k) {
          const int id = k ? s.other : s.id;
          settle(r[k], Construct::two_results);
          if constexpr (kTraced) kinds_[id] = gives[k].kind;
          values_[static_cast<std::size_t>(id)] = r[k];
        }
        return Exit::none;
      }
      case Stmt::Form::local: {
        const std::size_t l = at - kFirstLocal;
        if (locals_.size() <= l) locals_.resize(l + 1);
        locals_[l].assign(kLocalLength, N{});
        return Exit::none;
      }
      case Stmt::Form::store:
      case Stmt::Form::accumulate: {
        const bool add = s.form == Stmt::Form::accumulate;
        const Value index = eval(s.e[0]);
        const std::size_t i = place(s.id, index);
        Value v = eval(s.e[1]);
        reach(s.id, i, v, add);
        if (s.id == kQ) {
          arrays_.q.at(i) = v.i;
          if constexpr (kTraced) q_traces_[i] = v.t;
          return Exit::none;
        }
        N& to = floats(s.id).at(i);
        if constexpr (kTraced) {
          const Trace before = to.trace;
          to = add ? float_op(Opcode::add, to, v.f, N{}) : v.f;
          to.trace = v.t;
          if (add) to.trace |= before;
        } else {
          to = add ? float_op(Opcode::add, to, v.f, N{}) : v.f;
        }
        return Exit::none;
      }
      case Stmt::Form::branch: {
        const Value c = eval(s.e[0]);
        condition(c.b ? Construct::branch : Construct::otherwise, c);
        const auto outer = context_;
        enter(c.b ? Construct::branch : Construct::otherwise);
        const Exit e = block(c.b ? s.a : s.b);
        context_ = outer;
        return e;
      }
      case Stmt::Form::loop: {
        const std::int64_t lo = eval(s.e[0]).i, hi = eval(s.e[1]).i, step = eval(s.e[2]).i;
        const auto outer = context_;
        enter(step < 0 ? Construct::loop_down : Construct::loop_up);
        if (step > 1 || step < -1) enter(Construct::stride);
        if (depth_++ > 0) enter(Construct::nested);
        if constexpr (kTraced) kinds_[s.id] = Kind::integer;
        Exit e = Exit::none;
        std::int64_t trips = 0;
        for (std::int64_t i = lo; step > 0 ? i < hi : step < 0 && i > hi; i += step) {
          values_[at] = {};
          values_[at].i = static_cast<std::int32_t>(i);
          e = block(s.a);
          ++trips;
          if (e == Exit::leave || e == Exit::stop) break;
        }
        carried(s.a, trips, context_);
        --depth_;
        context_ = outer;
        return e == Exit::stop ? e : Exit::none;
      }
      case Stmt::Form::repeat: {
        const auto outer = context_;
        enter(Construct::loop_while);
        if (depth_++ > 0) enter(Construct::nested);
        Exit e = Exit::none;
        std::int64_t trips = 0;
        for (;; ++trips) {
          const Value c = eval(s.e[0]);
          condition(Construct::loop_while, c);
          if (!c.b) break;
          e = block(s.a);
          if (e == Exit::leave || e == Exit::stop) break;
        }
        carried(s.a, trips, context_);
        --depth_;
        context_ = outer;
        return e == Exit::stop ? e : Exit::none;
      }
      case Stmt::Form::leave: return exit_if(s, Construct::leave, Exit::leave);
      case Stmt::Form::skip: return exit_if(s, Construct::skip, Exit::skip);
      case Stmt::Form::stop: return exit_if(s, Construct::stop, Exit::stop);
    }
    return Exit::none;
  }
  // What follows in the block depends on the exit, taken or not.
  Exit exit_if(const Stmt& s, Construct c, Exit how) {
    const Value v = eval(s.e[0]);
    condition(c, v);
    enter(c);
    return v.b ? how : Exit::none;
  }
};

}  // namespace fluxion::fuzz
