// mem2reg -- slots (var_new, var_get, var_set) become values, yields of ifs and carries of loops.
//
// One walk in order with the current value of each slot. An if yields the slots whose values differ in its arms; a
// loop carries the slots that are set inside it and have a value on entry. A slot without a usable value holds the
// reason instead, and reading it is an error that names both lines. Needs: no exits (lower_exits).
#include <fmt/format.h>

#include <algorithm>

#include "fluxion/error.h"
#include "fluxion/passes.h"
#include "fluxion/rewrite.h"

namespace fluxion {
namespace {

using Slots = std::vector<std::uint32_t>;  // sorted indices of the values that name slots

/// Why a slot has no value; as the index of an impossible ValueId.
constexpr std::uint32_t kUnassigned = ~0u, kNotOnEveryPath = ~0u - 1, kEnded = ~0u - 2, kFirstReason = kEnded;
bool defined(ValueId v) { return v.index < kFirstReason; }

class Promotion {
 public:
  explicit Promotion(const Function& f)
      : f_(f), b_(out_), r_(f, b_), env_(f.values.size(), ValueId{kEnded}), assigned_(f.regions.size()), slots_inside_(f.regions.size()) {}

  Function run() {
    bool any = false;
    for (const Op& op : f_.ops) any = any || op.code == Opcode::var_new;
    if (!any) return f_;
    scan(f_.body);
    r_.copy_signature();
    walk(f_.body);
    b_.loc = f_.terminator(f_.body).loc;
    b_.finish(r_(f_.terminator(f_.body).operands));
    return std::move(out_);
  }

 private:
  /// Fills assigned_: per region the slots that are set inside it, nested regions included, and live outside it.
  void scan(RegionId region) {
    Slots set, own;
    bool slots = false;
    for (OpId o : f_[region].ops) {
      const Op& op = f_[o];
      if (op.code == Opcode::var_new) own.push_back(op.results[0].index);
      if (op.code == Opcode::var_set) set.push_back(op.operands[0].index);
      slots = slots || op.code == Opcode::var_new || op.code == Opcode::var_set || op.code == Opcode::var_get;
      for (RegionId r : op.regions) {
        scan(r);
        set.insert(set.end(), assigned_[r.index].begin(), assigned_[r.index].end());
        slots = slots || slots_inside_[r.index];
      }
    }
    std::sort(set.begin(), set.end());
    set.erase(std::unique(set.begin(), set.end()), set.end());
    std::sort(own.begin(), own.end());
    Slots& outer = assigned_[region.index];
    std::set_difference(set.begin(), set.end(), own.begin(), own.end(), std::back_inserter(outer));
    slots_inside_[region.index] = slots;
  }

  Values snapshot(const Slots& slots) const {
    Values v;
    for (std::uint32_t s : slots) v.push_back(env_[s]);
    return v;
  }
  void restore(const Slots& slots, const Values& values) {
    for (std::size_t i = 0; i < slots.size(); ++i) env_[slots[i]] = values[i];
  }

  ValueId value(ValueId slot, Loc at) const {
    const ValueId v = env_[slot.index];
    if (defined(v)) return v;
    const std::string declared = to_string(f_.ops[f_[slot].owner].loc);
    if (v.index == kUnassigned)
      throw KernelError(at, fmt::format("a variable is read before it is assigned (declared at {}); "
                                        "give it a value where it is declared",
                                        declared));
    if (v.index == kNotOnEveryPath)
      throw KernelError(at, fmt::format("a variable is read that is not assigned on every path (declared at {}): an arm, "
                                        "or a loop that may run zero times, leaves it without a value; "
                                        "give it one where it is declared",
                                        declared));
    throw KernelError(at, fmt::format("a variable is read after the loop or arm that declared it has ended "
                                      "(declared at {}); declare it before",
                                      declared));
  }

  /// The ops of a region but its yield, into the current region of the new function.
  void walk(RegionId region) {
    for (std::uint32_t m = 0; m < f_.memories.size(); ++m) {
      const Memory& mem = f_.memories[m];
      if (mem.space == Memory::Space::parameter || mem.scope != region) continue;
      const MemoryId now = make_like(b_, mem);
      out_[now].loc = mem.loc;
      r_.map(MemoryId{m}, now);
    }
    Slots own;
    for (OpId o : f_[region].ops) {
      const Op& op = f_[o];
      b_.loc = op.loc;
      switch (op.code) {
        case Opcode::yield: break;
        case Opcode::var_new:
          env_[op.results[0].index] = op.operands.empty() ? ValueId{kUnassigned} : r_(op.operands[0]);
          own.push_back(op.results[0].index);
          break;
        case Opcode::var_set: env_[op.operands[0].index] = r_(op.operands[1]); break;
        case Opcode::var_get: r_.map(op.results[0], value(op.operands[0], op.loc)); break;
        case Opcode::break_if:
        case Opcode::continue_if:
        case Opcode::return_if: throw Bug(op.loc, "mem2reg needs lower_exits first");
        default:
          if (std::none_of(op.regions.begin(), op.regions.end(), [&](RegionId r) { return slots_inside_[r.index]; })) r_.copy_op(o);
          else if (op.code == Opcode::if_) if_(op);
          else if (op.code == Opcode::for_) for_(op);
          else while_(op);
      }
    }
    // The yield is still to be mapped, but its operands are values: the slots can go.
    for (std::uint32_t s : own) env_[s] = ValueId{kEnded};
  }

  /// A region of the new function for an arm; its yield gets the operands of the old one.
  RegionId arm(RegionId region) {
    const RegionId now = b_.open({});
    walk(region);
    b_.loc = f_.terminator(region).loc;
    b_.close(r_(f_.terminator(region).operands));
    return now;
  }

  void if_(const Op& op) {
    Slots slots;
    const Slots &a = assigned_[op.regions[0].index], &c = assigned_[op.regions[1].index];
    std::set_union(a.begin(), a.end(), c.begin(), c.end(), std::back_inserter(slots));
    Op now;
    now.code = op.code;
    now.loc = op.loc;
    now.operands = r_(op.operands);
    const Values before = snapshot(slots);
    const RegionId then = arm(op.regions[0]);
    const Values in_then = snapshot(slots);
    restore(slots, before);
    const RegionId otherwise = arm(op.regions[1]);
    now.regions = {then, otherwise};
    std::vector<Type> types;
    for (ValueId v : op.results) types.push_back(f_.type(v));
    Slots merged;
    Values& from_then = out_[out_[then].ops.back()].operands;
    Values& from_else = out_[out_[otherwise].ops.back()].operands;
    for (std::size_t i = 0; i < slots.size(); ++i) {
      ValueId& here = env_[slots[i]];
      if (here == in_then[i]) continue;
      if (!defined(here) || !defined(in_then[i])) {
        here = ValueId{kNotOnEveryPath};
        continue;
      }
      merged.push_back(slots[i]);
      from_then.push_back(in_then[i]);
      from_else.push_back(here);
      types.push_back(out_.type(here));
    }
    b_.loc = op.loc;
    const Values results = out_[b_.append(std::move(now), types)].results;
    r_.map(op.results, results);  // maps the first ones
    for (std::size_t i = 0; i < merged.size(); ++i) env_[merged[i]] = results[op.results.size() + i];
  }

  /// Slots a loop carries, and those it sets that have no value on entry.
  void split(const Slots& all, Slots& carried, Slots& late) const {
    for (std::uint32_t s : all) (defined(env_[s]) ? carried : late).push_back(s);
  }
  /// A loop that may run zero times leaves a slot without a value without one.
  void after_loop(const Slots& late) {
    for (std::uint32_t s : late) env_[s] = ValueId{kNotOnEveryPath};
  }
  std::vector<Type> types_of(const Values& values) const {
    std::vector<Type> t;
    for (ValueId v : values) t.push_back(out_.type(v));
    return t;
  }
  static void append(Values& to, const Values& from) { to.insert(to.end(), from.begin(), from.end()); }

  void for_(const Op& op) {
    Slots carried, late;
    split(assigned_[op.regions[0].index], carried, late);
    const std::size_t n = f_.carries(op);
    Op now;
    now.code = op.code;
    now.down = op.down;
    now.kind = op.kind;
    now.leaf = op.leaf;
    now.loc = op.loc;
    now.operands = r_(op.operands);
    append(now.operands, snapshot(carried));
    std::vector<Type> types = types_of(Values(now.operands.begin() + 2, now.operands.end())), arguments = types;
    arguments.insert(arguments.begin(), DType::i32);
    const RegionId body = b_.open(arguments);
    now.regions = {body};
    Values args = out_[body].arguments;
    r_.map(f_[op.regions[0]].arguments, args);
    restore(carried, Values(args.begin() + 1 + static_cast<std::ptrdiff_t>(n), args.end()));
    walk(op.regions[0]);
    Values yields = r_(f_.terminator(op.regions[0]).operands);
    const Values last = snapshot(carried);
    yields.insert(yields.begin() + static_cast<std::ptrdiff_t>(n), last.begin(), last.end());
    b_.loc = op.loc;
    b_.close(yields);
    finish_loop(op, std::move(now), types, n, carried, late);
  }

  void while_(const Op& op) {
    Slots all, carried, late;
    const Slots &a = assigned_[op.regions[0].index], &c = assigned_[op.regions[1].index];
    std::set_union(a.begin(), a.end(), c.begin(), c.end(), std::back_inserter(all));
    split(all, carried, late);
    // The condition always runs, so a slot that it sets has a value in the body and afterwards. Such a slot travels
    // with a zero that nobody reads.
    Slots by_cond;
    std::set_intersection(late.begin(), late.end(), a.begin(), a.end(), std::back_inserter(by_cond));
    const Values reasons = snapshot(by_cond);
    const std::size_t n = f_.carries(op);
    Op now;
    now.code = op.code;
    now.loc = op.loc;
    now.operands = r_(op.operands);
    append(now.operands, snapshot(carried));
    for (std::uint32_t s : by_cond) now.operands.push_back(b_.zero(f_.type(ValueId{s})));
    const std::vector<Type> types = types_of(now.operands);
    const auto own = static_cast<std::ptrdiff_t>(n), mid = own + static_cast<std::ptrdiff_t>(carried.size());

    const RegionId cond = b_.open(types);
    Values args = out_[cond].arguments;
    r_.map(f_[op.regions[0]].arguments, args);
    restore(carried, Values(args.begin() + own, args.begin() + mid));
    walk(op.regions[0]);
    Values passed = r_(f_.terminator(op.regions[0]).operands);
    append(passed, snapshot(carried));
    const Values from_cond = snapshot(by_cond);
    for (std::size_t i = 0; i < by_cond.size(); ++i)
      passed.push_back(defined(from_cond[i]) ? from_cond[i] : args[static_cast<std::size_t>(mid) + i]);
    b_.loc = op.loc;
    b_.close(passed);

    const RegionId body = b_.open(types);
    args = out_[body].arguments;
    r_.map(f_[op.regions[1]].arguments, args);
    restore(carried, Values(args.begin() + own, args.begin() + mid));
    for (std::size_t i = 0; i < by_cond.size(); ++i)
      env_[by_cond[i]] = defined(from_cond[i]) ? args[static_cast<std::size_t>(mid) + i] : from_cond[i];
    walk(op.regions[1]);
    Values yields = r_(f_.terminator(op.regions[1]).operands);
    Values last = snapshot(carried);
    for (std::size_t i = 0; i < by_cond.size(); ++i) {
      const ValueId v = env_[by_cond[i]];
      last.push_back(defined(v) ? v : args[static_cast<std::size_t>(mid) + i]);
    }
    yields.insert(yields.begin() + own, last.begin(), last.end());
    b_.loc = op.loc;
    b_.close(yields);

    now.regions = {cond, body};
    Slots together = carried;
    together.insert(together.end(), by_cond.begin(), by_cond.end());
    finish_loop(op, std::move(now), types, n, together, late);
    for (std::size_t i = 0; i < by_cond.size(); ++i)
      if (!defined(from_cond[i])) env_[by_cond[i]] = ValueId{kNotOnEveryPath};
  }

  void finish_loop(const Op& op, Op now, std::vector<Type> types, std::size_t own, const Slots& carried, const Slots& late) {
    for (std::size_t i = own; i < op.results.size(); ++i) types.push_back(f_.type(op.results[i]));  // seqs, trip count
    b_.loc = op.loc;
    const Values results = out_[b_.append(std::move(now), types)].results;
    for (std::size_t i = 0; i < op.results.size(); ++i) r_.map(op.results[i], results[i < own ? i : i + carried.size()]);
    after_loop(late);
    for (std::size_t i = 0; i < carried.size(); ++i) env_[carried[i]] = results[own + i];
  }

  const Function& f_;
  Function out_;
  Builder b_;
  Rewriter r_;
  Values env_;                      // by the index of the value that names the slot
  std::vector<Slots> assigned_;     // by region
  std::vector<bool> slots_inside_;  // by region: there are ops on slots, nested regions included
};

}  // namespace

Function mem2reg(const Function& f) { return Promotion(f).run(); }

}  // namespace fluxion
