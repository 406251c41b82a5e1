// Statements of random programs: of a kernel's body, or of a device function's, which has no memory but local arrays.
#pragma once
#include <utility>

#include "generate_expressions.h"

namespace fluxion::fuzz {

class Statements : protected Expressions {
 protected:
  using Expressions::Expressions;

  int loops_ = 0, statements_ = 0, next_local_ = kFirstLocal;
  bool together_ = false;

  static constexpr int kMostStatements = 40;

  Stmt store(int memory, Expr v) { return {Stmt::Form::store, v.kind, memory, {index_of(memory), std::move(v)}}; }
  Stmt sum(int memory) { return {Stmt::Form::accumulate, Kind::real, memory, {index_of(memory), squashed(real(2))}}; }
  Stmt sum_somewhere() {
    Stmt s = sum(p_.w_accumulates && chance(2) ? kW : chance(2) ? kG : chance(2) ? kZ : kS1);
    s.other = s.id == kW && chance(3);
    return s;
  }
  Kind any_kind() {
    constexpr Kind kKinds[] = {Kind::real, Kind::real, Kind::real, Kind::exact, Kind::integer, Kind::integer, Kind::boolean};
    return kKinds[pick(std::size(kKinds))];
  }
  int declare(Kind k) {
    scope_.push_back({p_.variables, k});
    return p_.variables++;
  }

  /// `together`: all threads of a group come by.
  void block(std::vector<Stmt>& out, int depth, int count, bool together = false) {
    const bool was = std::exchange(together_, together);
    const std::size_t names = scope_.size(), locals = locals_.size();
    while (count-- > 0 && statements_ < kMostStatements) {
      ++statements_;
      if (device_) device_statement(out, depth);
      else if (p_.group && together && chance(3)) meet(out, depth);
      else statement(out, depth);
    }
    together_ = was;
    if (!depth) return;
    scope_.resize(names);
    locals_.resize(locals);
  }
  void let(std::vector<Stmt>& out, Kind k) {
    Expr e = value(k, 3);
    out.push_back({Stmt::Form::let, k, declare(k), {std::move(e)}});
  }

  void local(std::vector<Stmt>& out) {
    out.push_back({Stmt::Form::local, Kind::real, next_local_, {}});
    locals_.push_back(next_local_++);
    fixed_.push_back(chance(2));
    if (chance(2)) out.push_back(store(locals_.back(), squashed(real(2))));
    if (!device_ && chance(3)) overlapping(out, locals_.back());
  }
  /// Element 1 is stored, where the next one goes only the run knows, and element 1 is read; all of it by some threads.
  void overlapping(std::vector<Stmt>& out, int l) {
    const Expr one = literal(Kind::integer, 1);
    Stmt s{Stmt::Form::branch, Kind::boolean, 0, {boolean(2)}};
    s.a.push_back({Stmt::Form::store, Kind::real, l, {one, squashed(real(1))}});
    s.a.push_back({chance(2) ? Stmt::Form::accumulate : Stmt::Form::store, Kind::real, l, {integer(2), squashed(real(1))}});
    s.a.push_back({Stmt::Form::accumulate, Kind::real, kG, {integer(1), squashed({load(l, Kind::real, one), 400})}});
    out.push_back(std::move(s));
    out.push_back({Stmt::Form::accumulate, Kind::real, kG, {integer(1), squashed({load(l, Kind::real, one), 400})}});
    fixed_[static_cast<std::size_t>(l - kFirstLocal)] = false;
  }

  void choose(std::vector<Stmt>& out) {
    const Kind k = any_kind();
    Expr c = boolean(2), then = value(k, 2), other = value(k, 2);
    out.push_back({Stmt::Form::choose, k, declare(k), {std::move(c), std::move(then), std::move(other)}});
  }
  void use_local(std::vector<Stmt>& out) {
    if (locals_.empty()) return;
    const int l = locals_[static_cast<std::size_t>(pick(static_cast<int>(locals_.size())))];
    out.push_back(chance(3) ? sum(l) : store(l, squashed(real(2))));
    if (chance(3)) out.push_back(sum(l));
  }
  void branch(std::vector<Stmt>& out, int depth) {
    if (depth >= 3) return;
    Stmt s{Stmt::Form::branch, Kind::boolean, 0, {boolean(2)}};
    block(s.a, depth + 1, 1 + pick(3));
    if (chance(2)) block(s.b, depth + 1, 1 + pick(3));
    out.push_back(std::move(s));
  }
  void count_loop(std::vector<Stmt>& out, int depth) {
    if (loops_ >= 2 || depth >= 3) return;
    const auto small = [&](int most) { return make(Opcode::bit_and, Kind::integer, {integer(1), literal(Kind::integer, most)}); };
    constexpr int kSteps[] = {1, 1, 1, -1, -1, 2, -2};
    Stmt s{Stmt::Form::loop,
           Kind::integer,
           0,
           {chance(2) ? literal(Kind::integer, pick(3)) : small(1), small(3), literal(Kind::integer, kSteps[pick(7)])}};
    if (s.e[2].number < 0) std::swap(s.e[0], s.e[1]);
    if (chance(8)) s.e[2] = make(Opcode::add, Kind::integer, {small(1), literal(Kind::integer, 1)});
    loop(std::move(s), out, depth);
  }
  void while_loop(std::vector<Stmt>& out, int depth) {
    if (loops_ >= 2 || depth >= 3) return;
    // A counter of rounds left ends every while; it goes down first, so that `continue` cannot skip that.
    const int fuel = declare(Kind::integer);
    scope_.pop_back();  // nothing else may touch it
    const Expr left = {Expr::Form::variable, Kind::integer, {}, 0, fuel}, zero = literal(Kind::integer, 0);
    out.push_back({Stmt::Form::let, Kind::integer, fuel, {literal(Kind::integer, 1 + pick(4))}});
    const Expr more = make(Opcode::gt, Kind::boolean, {left, zero});
    // Trips that depend on memory that changes must be recorded.
    const bool by_memory = !device_ && chance(2);
    const auto low = [](Expr e) { return make(Opcode::bit_and, Kind::integer, {std::move(e), literal(Kind::integer, 3)}); };
    Expr goes_on = by_memory ? make(Opcode::le, Kind::boolean, {low(load(kQ, Kind::integer, integer(1))), left}) : boolean(2);
    Stmt s{Stmt::Form::repeat, Kind::boolean, 0, {{Expr::Form::both, Kind::boolean, {}, 0, 0, {more, std::move(goes_on)}}}};
    s.a.push_back({Stmt::Form::set, Kind::integer, fuel, {make(Opcode::sub, Kind::integer, {left, literal(Kind::integer, 1)})}});
    ++loops_;
    block(s.a, depth + 1, 2 + pick(4));
    --loops_;
    out.push_back(std::move(s));
    if (by_memory) out.push_back(store(kQ, integer(2)));
  }
  void leave_or_skip(std::vector<Stmt>& out) {
    if (loops_ > 0) out.push_back({chance(2) ? Stmt::Form::leave : Stmt::Form::skip, Kind::boolean, 0, {boolean(2)}});
  }
  void assign(std::vector<Stmt>& out) {
    if (scope_.empty()) return;
    const Name n = scope_[static_cast<std::size_t>(pick(static_cast<int>(scope_.size())))];
    out.push_back({Stmt::Form::set, n.kind, n.id, {value(n.kind, 3)}});
  }
  /// Both results of one call.
  void call_for_two(std::vector<Stmt>& out) {
    std::vector<int> fits;
    for (std::size_t f = 0; f < p_.functions.size(); ++f)
      if (p_.functions[f].results.size() == 2) fits.push_back(static_cast<int>(f));
    if (fits.empty()) return let(out, Kind::real);
    const int f = fits[static_cast<std::size_t>(pick(static_cast<int>(fits.size())))];
    Stmt s{Stmt::Form::call, Kind::real, 0, {call_of(f, 0)}};
    const Device& d = p_.functions[static_cast<std::size_t>(f)];
    s.kind = d.results[0].kind;
    s.id = declare(s.kind);
    s.other = declare(d.results[1].kind);
    out.push_back(std::move(s));
  }

  void statement(std::vector<Stmt>& out, int depth) {
    switch (pick(p_.group ? 29 : 25)) {
      case 0:
      case 1: return let(out, any_kind());
      case 2: return choose(out);
      case 3: return local(out);
      case 4: return out.push_back(store(kZ, squashed(real(3))));
      case 5: return out.push_back(store(kQ, integer(2)));
      case 6: return out.push_back(store(chance(3) ? kY : chance(2) ? kS0 : kS1, squashed(real(2))));
      case 7: return use_local(out);
      case 8: return out.push_back(sum_somewhere());
      case 9:
      case 10: return branch(out, depth);
      case 11:
      case 12: return count_loop(out, depth);
      case 13: return while_loop(out, depth);
      case 14: return leave_or_skip(out);
      case 15: return chance(4) && !p_.group ? out.push_back({Stmt::Form::stop, Kind::boolean, 0, {boolean(2)}}) : exchange(out);
      case 16: return call_for_two(out);
      case 25:
      case 26:
      case 27: return use_shared(out);
      default: return assign(out);
    }
  }

  // ---- groups
  void use_shared(std::vector<Stmt>& out) {
    const int which = pick(2);
    if (phase_[which] == Phase::own) {
      const bool add = chance(3);
      out.push_back(
          {add ? Stmt::Form::accumulate : Stmt::Form::store, Kind::real, kOwn0 + which, {literal(Kind::integer, 0), squashed(real(2))}});
    } else if (phase_[which] == Phase::sum) {
      out.push_back({Stmt::Form::accumulate, Kind::real, kShared0 + which, {integer(1), squashed(real(2))}});
      out.back().other = chance(2);
    } else {
      out.push_back(
          {Stmt::Form::accumulate, Kind::real, kG, {integer(1), squashed({load(kShared0 + which, Kind::real, integer(1)), 400})}});
    }
  }
  void barrier(std::vector<Stmt>& out) {
    out.push_back({Stmt::Form::barrier});
    for (Phase& p : phase_) p = static_cast<Phase>(pick(3));
  }
  void subgroup(std::vector<Stmt>& out) {
    const Kind k = chance(4) ? Kind::integer : chance(4) ? Kind::exact : Kind::real;
    constexpr Subgroup kReals[] = {Subgroup::add,           Subgroup::add,     Subgroup::scan_add,
                                   Subgroup::scan_add_back, Subgroup::shuffle, Subgroup::scatter_add};
    constexpr Subgroup kIntegers[] = {Subgroup::add,     Subgroup::scan_add, Subgroup::min,     Subgroup::max,
                                      Subgroup::bit_and, Subgroup::bit_or,   Subgroup::bit_xor, Subgroup::shuffle};
    // Which thread has the least number must not depend on rounding, and a sum of exact numbers is not exact.
    constexpr Subgroup kExacts[] = {Subgroup::min, Subgroup::max, Subgroup::shuffle};
    const Subgroup op = k == Kind::real    ? kReals[pick(std::size(kReals))]
                        : k == Kind::exact ? kExacts[pick(std::size(kExacts))]
                                           : kIntegers[pick(std::size(kIntegers))];
    Stmt s{Stmt::Form::subgroup, k, 0, {value(k, 2)}};
    s.other = static_cast<int>(op);
    if (k == Kind::real && op != Subgroup::shuffle)
      s.e[0] = make(Opcode::mul, k, {std::move(s.e[0]), literal(k, 1.0 / std::min(p_.group, static_cast<int>(kSubgroupSize)))});
    if (op == Subgroup::shuffle || op == Subgroup::scatter_add)
      s.e.push_back(chance(2) ? integer(1)
                              : make(Opcode::bit_and, Kind::integer, {integer(1), literal(Kind::integer, p_.group > 4 ? 31 : 3)}));
    s.id = declare(k);
    const Expr result = {Expr::Form::variable, k, {}, 0, s.id};
    out.push_back(std::move(s));
    if (!chance(2)) return;
    const Expr low = make(Opcode::bit_and, Kind::integer, {result, literal(Kind::integer, 3)});
    keep(out, k == Kind::integer ? squashed({{Expr::Form::to_real, Kind::exact, {}, 0, 0, {low}}, 3}) : result);
  }
  /// Stores or adds `v` somewhere, a shared array where its phase allows.
  void keep(std::vector<Stmt>& out, Expr v) {
    v.kind = Kind::real;
    const int which = pick(2);
    if (chance(2) && phase_[which] != Phase::read) {
      const bool own = phase_[which] == Phase::own;
      out.push_back({own ? Stmt::Form::store : Stmt::Form::accumulate,
                     Kind::real,
                     (own ? kOwn0 : kShared0) + which,
                     {own ? literal(Kind::integer, 0) : integer(1), std::move(v)}});
      if (!own) out.back().other = chance(2);
    } else if (chance(3) && !locals_.empty()) {
      out.push_back(store(locals_.back(), std::move(v)));
    } else {
      const int to = chance(2) ? kG : chance(2) ? kZ : kS0;
      out.push_back({to == kG ? Stmt::Form::accumulate : Stmt::Form::store, Kind::real, to, {integer(1), std::move(v)}});
    }
  }
  /// Each thread gives something to a shared array, and takes something from there after a barrier.
  void pass_on(std::vector<Stmt>& out) {
    const int which = pick(2);
    out.push_back({Stmt::Form::barrier});
    phase_[which] = chance(2) ? Phase::own : Phase::sum;
    const bool own = phase_[which] == Phase::own;
    for (int n = 1 + pick(2); n > 0; --n) {
      out.push_back({own ? Stmt::Form::store : Stmt::Form::accumulate,
                     Kind::real,
                     (own ? kOwn0 : kShared0) + which,
                     {own ? literal(Kind::integer, 0) : integer(1), squashed(real(2))}});
      if (!own) out.back().other = chance(2);
    }
    out.push_back({Stmt::Form::barrier});
    phase_[which] = Phase::read;
    keep(out, squashed({load(kShared0 + which, Kind::real, integer(1)), 400}));
  }
  void meet(std::vector<Stmt>& out, int depth) {
    switch (pick(8)) {
      case 0:
      case 1: return barrier(out);
      case 2: {
        if (depth > 1) return barrier(out);
        const Expr low =
            chance(2) ? Expr{Expr::Form::scalar, Kind::integer, {}, 0, 1} : load(kP, Kind::integer, literal(Kind::integer, pick(7)));
        Stmt s{Stmt::Form::rounds,
               Kind::integer,
               0,
               {chance(2) ? literal(Kind::integer, 1 + pick(2)) : make(Opcode::bit_and, Kind::integer, {low, literal(Kind::integer, 3)})}};
        const std::size_t names = scope_.size();
        const Phase before[2] = {phase_[0], phase_[1]};
        s.id = declare(Kind::integer);
        block(s.a, depth + 1, 2 + pick(4), true);
        s.a.push_back({Stmt::Form::barrier});  // a round starts as the one before did
        std::copy(before, before + 2, phase_);
        scope_.resize(names);
        out.push_back(std::move(s));
        return;
      }
      case 3: {  // a subgroup op for some threads
        Stmt s{Stmt::Form::branch, Kind::boolean, 0, {boolean(2)}};
        const std::size_t names = scope_.size();
        const bool was = std::exchange(together_, false);
        for (std::vector<Stmt>* arm : {&s.a, &s.b}) {
          if (arm == &s.b && chance(2)) continue;
          subgroup(*arm);
          assign(*arm);
          if (chance(2)) arm->push_back(sum(kG));
          scope_.resize(names);
        }
        together_ = was;
        out.push_back(std::move(s));
        return;
      }
      case 4: return use_shared(out);
      case 5: return pass_on(out);
      default: return subgroup(out);
    }
  }
  void device_statement(std::vector<Stmt>& out, int depth) {
    switch (pick(14)) {
      case 0:
      case 1: return let(out, any_kind());
      case 2: return choose(out);
      case 3: return local(out);
      case 4: return use_local(out);
      case 5:
      case 6: return branch(out, depth);
      case 7: return count_loop(out, depth);
      case 8: return while_loop(out, depth);
      case 9: return leave_or_skip(out);
      case 10: return exchange(out);
      case 11: return call_for_two(out);
      default: return assign(out);
    }
  }

  void exchange(std::vector<Stmt>& out) {
    if (scope_.size() < 2) return;
    const Name a = scope_[static_cast<std::size_t>(pick(static_cast<int>(scope_.size())))];
    for (const Name& b : scope_) {
      if (b.id == a.id || b.kind != a.kind) continue;
      Stmt s{Stmt::Form::swap, a.kind, a.id};
      s.other = b.id;
      out.push_back(std::move(s));
      return;
    }
  }

  void loop(Stmt s, std::vector<Stmt>& out, int depth) {
    const std::size_t names = scope_.size();
    s.id = declare(Kind::integer);
    ++loops_;
    block(s.a, depth + 1, 2 + pick(4));
    --loops_;
    scope_.resize(names);
    out.push_back(std::move(s));
  }
};

}  // namespace fluxion::fuzz
