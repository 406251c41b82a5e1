// Runs a Program directly, without any IR: the definition that capture, passes, evaluator and backends are held to.
// N is the type of floats: float, double, a Dual for derivatives, or Traced to see what is covered.
#pragma once
#include <algorithm>
#include <array>
#include <map>
#include <set>
#include <utility>

#include "host_values.h"
#include "program.h"

namespace fluxion::fuzz {

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
    if (p_.group) {
      for (first_ = 0; first_ < threads; first_ += p_.group) group();
      return;
    }
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
  void prepare() {
    const auto mark = [](std::vector<N>& v, Place p) {
      if constexpr (kTraced)
        for (N& n : v) n.trace.from = bit(p);
    };
    mark(arrays_.x, Place::in), mark(arrays_.h, Place::in), mark(arrays_.z, Place::inout), mark(arrays_.w, Place::inout),
        mark(arrays_.s, Place::inout);
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
      if (is_shared(memory)) meet(add ? Construct::shared_sum : Construct::shared_store, v);
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
      case kS0:
      case kS1: return arrays_.s;
      case kOwn0:
      case kOwn1:
      case kShared0:
      case kShared1: return shared_.at(static_cast<std::size_t>(which_shared(memory)));
      default: return locals_.at(static_cast<std::size_t>(memory - kFirstLocal));
    }
  }
  std::size_t extent(int memory) {
    switch (memory) {
      case kP: return arrays_.p.size();
      case kQ: return arrays_.q.size();
      case kS0:
      case kS1: return arrays_.s.size() / 2;
      default: return floats(memory).size();
    }
  }
  std::size_t place(int memory, const Value& raw) {
    const std::int32_t i = raw.i;
    switch (memory) {
      case kY: return static_cast<std::size_t>(thread_);
      case kOwn0:
      case kOwn1: return static_cast<std::size_t>(thread_ - first_);
      case kS0:
      case kS1: return static_cast<std::size_t>(2 * thread_ + memory - kS0);
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
      const bool free = memory != kY && memory != kS0 && memory != kS1 && !is_own(memory);
      if (is_shared(memory) && !is_own(memory)) meet(Construct::shared_load, v);
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
      else
        r.b = e.op == Opcode::bit_not   ? !k[0].b
              : e.op == Opcode::bit_xor ? k[0].b != k[1].b
              : e.op == Opcode::bit_or  ? k[0].b || k[1].b
                                        : k[0].b && k[1].b;
      meet(operands == Kind::boolean ? Construct::boolean_op : Construct::comparison, r);
      cut(r);
    } else if (e.kind == Kind::integer) {
      r.i = int_op(e.op, k[0].i, k[1].i);
      meet(Construct::integer_op, r);
    } else {
      r.f = float_op(e.op, k[0].f, k[1].f, k[2].f);
      meet(number_of(e.op), r);
      switch (e.op) {
        case Opcode::sign:
        case Opcode::floor:
        case Opcode::ceil:
        case Opcode::round:
        case Opcode::trunc:
        case Opcode::stop_grad: cut(r); break;
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
    if (d.derivative_of >= 0)
      enter(d.rules == Device::Rules::vjp   ? Construct::vjp_rule
            : d.rules == Device::Rules::jvp ? Construct::jvp_rule
                                            : Construct::both_rules);
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
        if (add && s.other) settle(v, Construct::atomic_sum);
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
      case Stmt::Form::barrier:
      case Stmt::Form::subgroup:
      case Stmt::Form::rounds: break;
    }
    throw std::logic_error("fuzz: threads meet where each runs by itself");
  }
  // What follows in the block depends on the exit, taken or not.
  Exit exit_if(const Stmt& s, Construct c, Exit how) {
    const Value v = eval(s.e[0]);
    condition(c, v);
    enter(c);
    return v.b ? how : Exit::none;
  }

  // ---- groups: what does not meet runs thread by thread, the rest is done for all threads that come by
  struct Frame {
    std::vector<Value> values;
    std::vector<std::vector<N>> locals;
  };
  using Active = std::vector<int>;  // lanes
  std::vector<Frame> frames_;
  std::vector<std::vector<N>> shared_;
  int first_ = 0;  // thread of the group

  void group() {
    shared_.assign(2, std::vector<N>(static_cast<std::size_t>(p_.group)));
    frames_.assign(static_cast<std::size_t>(p_.group), {std::vector<Value>(static_cast<std::size_t>(p_.variables)), {}});
    Active all;
    for (int lane = 0; lane < p_.group; ++lane) all.push_back(lane);
    together(p_.body, all);
  }
  Frame& frame(int lane) { return frames_[static_cast<std::size_t>(lane)]; }
  template <class F> void as(int lane, const F& f) {
    const auto exchange = [&] { std::swap(values_, frame(lane).values), std::swap(locals_, frame(lane).locals); };
    thread_ = first_ + lane;
    exchange();
    f();
    exchange();
  }
  void together(const std::vector<Stmt>& stmts, const Active& active) {
    if (active.empty()) return;
    const auto outer = context_;
    for (std::size_t i = 0; i < stmts.size();) {
      std::size_t end = i;
      while (end < stmts.size() && !meets(stmts[end])) ++end;
      // Threads return only where nobody waits for them any more.
      for (int lane : active)
        as(lane, [&] {
          for (std::size_t k = i; k < end; ++k)
            if (step(stmts[k]) == Exit::stop) break;
        });
      i = end;
      if (i < stmts.size()) meeting(stmts[i++], active);
    }
    context_ = outer;
  }
  void meeting(const Stmt& s, const Active& active) {
    const auto outer = context_;
    if (s.form == Stmt::Form::subgroup) {
      std::map<int, Active> subgroups;
      for (int lane : active) subgroups[lane / kSubgroupSize].push_back(lane);
      for (const auto& [number, lanes] : subgroups) subgroup(s, lanes);
    } else if (s.form == Stmt::Form::branch) {
      Active arms[2];
      for (int lane : active)
        as(lane, [&] {
          const Value c = eval(s.e[0]);
          condition(c.b ? Construct::branch : Construct::otherwise, c);
          arms[c.b ? 0 : 1].push_back(lane);
        });
      enter(Construct::branch);
      together(s.a, arms[0]);
      context_ = outer;
      enter(Construct::otherwise);
      together(s.b, arms[1]);
    } else if (s.form == Stmt::Form::rounds) {
      std::int32_t n = 0;
      as(active[0], [&] { n = eval(s.e[0]).i; });
      enter(Construct::rounds);
      if constexpr (kTraced) kinds_[s.id] = Kind::integer;
      for (std::int32_t k = 0; k < n; ++k) {
        for (int lane : active)
          frame(lane).values[static_cast<std::size_t>(s.id)] = {}, frame(lane).values[static_cast<std::size_t>(s.id)].i = k;
        together(s.a, active);
      }
      for (int lane : active) as(lane, [&] { carried(s.a, std::max(n, 0), context_); });
    }
    context_ = outer;
  }
  void subgroup(const Stmt& s, const Active& lanes) {
    const auto kind = static_cast<Subgroup>(s.other);
    const bool real = is_real(s.kind);
    std::vector<Value> v, out;
    std::vector<std::int32_t> to;
    for (int lane : lanes)
      as(lane, [&] {
        v.push_back(eval(s.e[0]));
        to.push_back(s.e.size() > 1 ? eval(s.e[1]).i : 0);
      });
    const auto combine = [&](Value a, const Value& b) {
      if constexpr (kTraced) a.t |= b.t;
      if (real && (kind == Subgroup::min || kind == Subgroup::max)) {
        if (kind == Subgroup::min ? value_of(b.f) < value_of(a.f) : value_of(b.f) > value_of(a.f)) a.f = b.f;
      } else if (real) {
        a.f = float_op(Opcode::add, a.f, b.f, N{});
      } else {
        a.i = int_op(kind == Subgroup::min       ? Opcode::min
                     : kind == Subgroup::max     ? Opcode::max
                     : kind == Subgroup::bit_and ? Opcode::bit_and
                     : kind == Subgroup::bit_or  ? Opcode::bit_or
                     : kind == Subgroup::bit_xor ? Opcode::bit_xor
                                                 : Opcode::add,
                     a.i, b.i);
      }
      return a;
    };
    for (std::size_t i = 0; i < lanes.size(); ++i) {
      Value r;
      if (kind == Subgroup::shuffle || kind == Subgroup::scatter_add) {
        for (std::size_t j = 0; j < lanes.size(); ++j) {
          const bool shuffle = kind == Subgroup::shuffle;
          if (to[shuffle ? i : j] == lanes[shuffle ? j : i] % kSubgroupSize) r = shuffle ? v[j] : combine(r, v[j]);
        }
      } else {
        const std::size_t first = kind == Subgroup::scan_add_back ? i : 0;
        r = v[first];
        for (std::size_t j = first + 1; j < (kind == Subgroup::scan_add ? i + 1 : lanes.size()); ++j) r = combine(r, v[j]);
      }
      settle(r, construct_of(kind));
      if (lanes.size() < static_cast<std::size_t>(std::min(p_.group, static_cast<int>(kSubgroupSize))))
        settle(r, Construct::part_of_subgroup);
      out.push_back(r);
    }
    if constexpr (kTraced) kinds_[s.id] = s.kind;
    for (std::size_t i = 0; i < lanes.size(); ++i) frame(lanes[i]).values[static_cast<std::size_t>(s.id)] = out[i];
  }
};

}  // namespace fluxion::fuzz
