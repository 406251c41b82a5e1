// Emission of gathers. Where all contributions of a thread's element exist, which is so away from the borders, they are summed
// without asking; else one by one, each under its conditions. Elements beyond the ends of the domain, which no thread owns, are
// added to by whom they always were, or belong to threads of a longer domain.
#include "gather.h"

#include <algorithm>
#include <functional>

#include "fluxion/gather_sums.h"
#include "fluxion/passes.h"
#include "fluxion/rewrite.h"

namespace fluxion {
namespace {

using Offset = std::array<int, 3>;
bool is_pure_scalar(Opcode c) {
  return is_elementwise(c) || c == Opcode::convert || c == Opcode::bitcast || c == Opcode::extent || c == Opcode::domain;
}

class Gatherer {
 public:
  /// Appends to the current region of `main.to`, which has the signature of `main.from`, and whose domain begins `before` points
  /// before that of the launch and ends `after` points after it.
  Gatherer(const Rewriter& main, const Offset& before, const Offset& after)
      : main_(main), f_(main.from), b_(main.to), before_(before), after_(after), longer_(before != Offset{} || after != Offset{}) {}

  void emit(const Gatherable& g) {
    g_ = &g;
    b_.loc = f_[g.sites[0].op].loc;
    own_.clear(), domain_.clear();
    for (int a = 0; a < f_.domain_rank; ++a) {
      const auto k = static_cast<std::size_t>(a);
      own_.push_back(plus(b_.index(a), -before_[k]));
      domain_.push_back(plus(b_.domain(a), -before_[k] - after_[k]));
    }
    owned();
    if (!longer_) outside();
  }

 private:
  const Rewriter& main_;
  const Function& f_;
  Builder& b_;
  const Offset before_, after_;
  const bool longer_;
  const Gatherable* g_ = nullptr;
  Values own_, domain_;                                        // where the thread is in the domain of the launch, and that
  std::map<ValueId, std::pair<ValueId, std::int32_t>> steps_;  // new i32 values that are another plus a constant

  ValueId both(ValueId a, ValueId c) { return !a.valid() ? c : !c.valid() ? a : b_.emit(Opcode::bit_and, {a, c}); }
  ValueId either(ValueId a, ValueId c) { return !a.valid() ? c : b_.emit(Opcode::bit_or, {a, c}); }
  ValueId plus(ValueId v, std::int32_t k) {
    const auto known = steps_.find(v);
    if (known != steps_.end()) {
      k = static_cast<std::int32_t>(static_cast<std::uint32_t>(k) + static_cast<std::uint32_t>(known->second.second));
      v = known->second.first;
    }
    if (k == 0) return v;
    const ValueId sum = b_.add(v, b_.i32(k));
    steps_[sum] = {v, k};
    return sum;
  }

  /// What thread own - offset computes, on demand.
  Rewriter thread(const Offset& offset) {
    Rewriter r(f_, b_);
    for (const Parameter& p : f_.parameters) {
      if (p.kind == Parameter::Kind::memory) r.map(p.memory, main_(p.memory));
      else r.map(p.value, main_(p.value));
    }
    const Values& indices = f_[f_.body].arguments;
    for (std::size_t k = 0; k < indices.size(); ++k) r.map(indices[k], plus(own_[k], -offset[k]));
    r.hook = [this](Rewriter& rw, OpId o) {
      const Op& op = f_[o];
      switch (op.code) {
        case Opcode::store:
        case Opcode::accumulate:
        case Opcode::print:
        case Opcode::check: return true;
        case Opcode::domain: rw.map(op.results[0], domain_[op.leaf]); return true;
        case Opcode::add:
        case Opcode::sub: {
          // (i + 1) - 1 is i: then equal loads of neighbours are one.
          if (!(f_.type(op.results[0]) == Type(DType::i32)) || !f_.is_constant(op.operands[1])) return false;
          const auto k = static_cast<std::uint32_t>(f_[op.operands[1]].bits);
          rw.map(op.results[0], plus(rw(op.operands[0]), static_cast<std::int32_t>(op.code == Opcode::add ? k : 0u - k)));
          return true;
        }
        default: return false;
      }
    };
    return r;
  }
  ValueId need(Rewriter& r, ValueId v) {
    if (f_.is_constant(v) || r.mapped(v)) return r(v);
    const OpId o{f_[v].owner};
    needs(r, o);
    r.copy_op(o);
    return r(v);
  }
  /// Everything from outside `o` that it and its regions use. What regions make themselves is mapped when they are copied.
  void needs(Rewriter& r, OpId o) {
    std::vector<char> inner(f_.values.size());
    const auto mark = [&](auto&& self, OpId p) -> void {
      for (ValueId v : f_[p].results) inner[v.index] = 1;
      for (RegionId region : f_[p].regions) {
        for (ValueId v : f_[region].arguments) inner[v.index] = 1;
        for (OpId q : f_[region].ops) self(self, q);
      }
    };
    mark(mark, o);
    const auto use = [&](auto&& self, OpId p) -> void {
      const Opcode c = f_[p].code;
      if (c == Opcode::store || c == Opcode::accumulate || c == Opcode::print || c == Opcode::check) return;
      for (ValueId v : f_[p].operands)
        if (!inner[v.index]) need(r, v);
      for (RegionId region : f_[p].regions)
        for (OpId q : f_[region].ops) self(self, q);
    };
    use(use, o);
  }

  bool speculable(ValueId v) const {
    const Value& x = f_[v];
    if (x.kind != Value::Kind::result) return true;
    const Op& op = f_.ops[x.owner];
    if (!is_pure_scalar(op.code)) return false;
    for (ValueId operand : op.operands)
      if (!speculable(operand)) return false;
    return true;
  }
  bool speculable(const GatherSite& s) const {
    for (const GatherSite::Arm& arm : s.path)
      if (!speculable(f_[arm.op].operands[0])) return false;
    return true;
  }
  ValueId taken(Rewriter& r, const GatherSite::Arm& arm) {
    const ValueId c = need(r, f_[arm.op].operands[0]);
    return arm.arm == 0 ? c : b_.emit(Opcode::bit_not, {c});
  }
  ValueId taken(Rewriter& r, const GatherSite& s) {
    ValueId all{};
    for (const GatherSite::Arm& arm : s.path) all = both(all, taken(r, arm));
    return all;
  }

  /// 0 <= own + shift < domain along the axes where that is not so of every thread.
  ValueId inside(const Offset& shift) {
    ValueId all{};
    for (std::size_t a = 0; a < own_.size(); ++a) {
      if (shift[a] == before_[a] && shift[a] == -after_[a]) continue;
      const ValueId t = plus(own_[a], shift[a]);
      if (shift[a] > -after_[a]) all = both(all, b_.emit(Opcode::lt, {t, domain_[a]}));
      // Also where own + shift is beyond 2^31.
      all = both(all, b_.emit(Opcode::ge, {t, b_.i32(0)}));
    }
    return all;
  }
  /// Both of inside(least) and inside(most), at once.
  ValueId away_from_border(const Offset& least, const Offset& most) {
    ValueId all{};
    for (std::size_t a = 0; a < own_.size(); ++a) {
      if (least[a] < before_[a]) all = both(all, b_.emit(Opcode::ge, {own_[a], b_.i32(-least[a])}));
      if (most[a] > -after_[a]) all = both(all, b_.emit(Opcode::lt, {own_[a], plus(domain_[a], -most[a])}));
    }
    return all;
  }
  static Offset minus(const Offset& o) { return {-o[0], -o[1], -o[2]}; }

  /// Runs `body` with a copy of `r` under `first` (may be invalid) and the conditions around `s`; otherwise the result is `state`.
  Values under(Rewriter r, const GatherSite& s, ValueId first, const Values& state, const std::function<Values(Rewriter&)>& body) {
    if (speculable(s)) {
      const ValueId all = both(first, taken(r, s));
      if (!all.valid()) return body(r);
      return b_.if_(all, [&] { return body(r); }, [&] { return state; });
    }
    const std::function<Values(Rewriter, std::size_t)> arm = [&](Rewriter now, std::size_t k) {
      if (k == s.path.size()) return body(now);
      const ValueId c = taken(now, s.path[k]);
      return b_.if_(c, [&] { return arm(now, k + 1); }, [&] { return state; });
    };
    if (!first.valid()) return arm(r, 0);
    return b_.if_(first, [&] { return arm(r, 0); }, [&] { return state; });
  }

  void add_up(const Values& sums) {
    for (std::size_t k = 0; k < sums.size(); ++k) add_one(k, sums[k]);
  }

  // ---- the sums of what threads own
  void owned() {
    const Gatherable& g = *g_;
    bool easy = true;
    for (const GatherSite& s : g.sites) easy &= speculable(s);
    if (!easy) return slow();
    std::map<Offset, Rewriter> threads;
    const auto at = [&](const GatherSite& s) -> Rewriter& { return threads.try_emplace(s.offset, thread(s.offset)).first->second; };
    // Offsets of sources are those of sites with the other sign.
    ValueId all = away_from_border(minus(g.most), minus(g.least));
    for (const GatherSite& s : g.sites) all = both(all, taken(at(s), s));
    const auto fast = [&] {
      Values sums(g.keys.size());
      for (const GatherSite& s : g.sites) {
        const ValueId v = need(at(s), f_[s.op].operands.back());
        sums[s.key] = sums[s.key].valid() ? b_.add(sums[s.key], v) : v;
      }
      add_up(sums);
      return Values{};
    };
    if (!all.valid()) {
      fast();
      return;
    }
    b_.if_(all, fast, [&] {
      slow();
      return Values{};
    });
  }
  void slow() {
    const Gatherable& g = *g_;
    Values state;  // the sums, and whether there was anything to add: the element may not exist
    for (OpId o : g.keys) state.push_back(b_.zero(f_.type(f_[o].operands.back())));
    for (std::size_t k = 0; k < g.keys.size(); ++k) state.push_back(b_.boolean(false));
    for (const GatherSite& s : g.sites) {
      Values part{state[s.key], state[g.keys.size() + s.key]};
      part = under(thread(s.offset), s, inside(minus(s.offset)), part, [&](Rewriter& r) {
        const ValueId v = need(r, f_[s.op].operands.back());
        return Values{b_.add(part[0], v), b_.boolean(true)};
      });
      state[s.key] = part[0];
      state[g.keys.size() + s.key] = part[1];
    }
    for (std::size_t k = 0; k < g.keys.size(); ++k)
      b_.if_(
          state[g.keys.size() + k],
          [&] {
            add_one(k, state[k]);
            return Values{};
          },
          [] { return Values{}; });
  }
  void add_one(std::size_t key, ValueId sum) {
    const Gatherable& g = *g_;
    const Op& first = f_[g.keys[key]];
    Rewriter r = thread({});
    Values at;
    for (std::size_t a = 0; a < static_cast<std::size_t>(f_[g.memory].rank); ++a) {
      if (g.axis[a] < 0) {
        at.push_back(need(r, first.operands[a]));
        continue;
      }
      ValueId i = own_[static_cast<std::size_t>(g.axis[a])];
      if (g.symbol[a].valid()) i = b_.add(i, need(r, g.symbol[a]));
      at.push_back(plus(i, g.base[a]));
    }
    b_.accumulate(main_(g.memory), at, sum, first.leaf);
  }

  // ---- what leaves the domain
  void outside() {
    const Gatherable& g = *g_;
    const ValueId stays = away_from_border(g.least, g.most);
    if (!stays.valid()) return;
    b_.if_(
        stays, [] { return Values{}; },
        [&] {
          for (const GatherSite& s : g.sites) {
            const ValueId there = inside(s.offset);
            if (!there.valid()) continue;  // the thread's own
            under(thread({}), s, b_.emit(Opcode::bit_not, {there}), {}, [&](Rewriter& r) {
              Values at;
              for (std::size_t a = 0; a < static_cast<std::size_t>(f_[g.memory].rank); ++a) at.push_back(need(r, f_[s.op].operands[a]));
              b_.accumulate(main_(g.memory), at, need(r, f_[s.op].operands.back()), f_[s.op].leaf);
              return Values{};
            });
          }
          return Values{};
        });
  }
};

// More threads than that along an axis for the border of a domain that may be small cost more than they save.
constexpr int kBeyond = 32;

Function tidy(const Function& f) { return dce(licm(contract_rest(cse(fold(f))))); }

}  // namespace

std::vector<Gathered> gather_sums(const Function& f, AddCost cost) {
  const std::vector<Gatherable> found = find_gatherable(f, cost);
  if (found.empty()) return {};
  std::vector<char> turned(f.memories.size());
  Offset before{}, after{}, beyond{};
  for (const Gatherable& g : found) {
    turned[g.memory.index] = 1;
    for (std::size_t a = 0; a < 3; ++a) {
      before[a] = std::max(before[a], -g.least[a]);
      after[a] = std::max(after[a], g.most[a]);
      beyond[a] = before[a] + after[a];
    }
  }
  if (cost != AddCost::of_threads || *std::max_element(beyond.begin(), beyond.end()) > kBeyond) before = after = beyond = {};
  const auto without = [&](Rewriter&, OpId o) { return f[o].code == Opcode::accumulate && turned[f[o].memory.index]; };
  const Function rest = dce(rewrite(f, without));
  bool effects = false, together = beyond == Offset{};
  for (const Region& r : rest.regions)
    for (OpId o : r.ops) {
      const Opcode c = rest[o].code;
      effects |= c != Opcode::yield && has_effect(c);
      together &= c != Opcode::store && c != Opcode::atomic;
    }
  Function sums;
  Builder b(sums);
  Rewriter main(f, b);
  main.copy_signature();
  main.hook = without;
  if (together) main.copy_ops(f.body);
  Gatherer gatherer(main, before, after);
  for (const Gatherable& g : found) gatherer.emit(g);
  b.loc = f.loc;
  b.finish();
  std::vector<Gathered> out;
  out.push_back({tidy(sums), beyond});
  if (effects && !together) out.push_back({rest, {}});
  return out;
}

Function gather_sums_of_runs(const Function& program) {
  std::map<const Function*, std::vector<std::shared_ptr<const Function>>> made;
  for (const auto& callee : program.callees) {
    if (callee->kind != Function::Kind::kernel || callee->external || made.contains(callee.get())) continue;
    for (Gathered& k : gather_sums(*callee)) made[callee.get()].push_back(std::make_shared<const Function>(std::move(k.kernel)));
  }
  if (made.empty()) return program;
  return rewrite(program, [&](Rewriter& r, OpId o) {
    const Op& op = program[o];
    if (op.code != Opcode::run) return false;
    const auto found = made.find(program.callees[op.ref].get());
    if (found == made.end()) return false;
    for (const auto& kernel : found->second) {
      Op now = op;
      now.operands = r(op.operands);
      for (MemoryId& m : now.buffers) m = r(m);
      now.ref = add_callee(r.to.function(), kernel);
      r.to.append(std::move(now), {});
    }
    return true;
  });
}

}  // namespace fluxion
