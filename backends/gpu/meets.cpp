// See the header. Regions without a meeting are copied as they are, under the flag.
#include "meets.h"

#include <fmt/format.h>

#include <map>
#include <optional>

#include "common/uniformity.h"
#include "fluxion/error.h"
#include "fluxion/expr.h"
#include "fluxion/rewrite.h"

namespace fluxion::gpu {
namespace {
using math::Expr;
using math::lit;
using math::select;

class Lowering {
 public:
  Lowering(const Function& f, bool subgroups)
      : f_(f), u_(f), subgroups_(subgroups), b_(out_), r_(f, b_), meets_(f.ops.size()), users_(f.values.size()) {
    for (std::uint32_t r = 0; r < f.regions.size(); ++r)
      for (OpId o : f.regions[r].ops)
        for (ValueId v : f[o].operands) users_[v.index].push_back(o);
    needed_ = find(f.body, false);
  }
  bool needed() const { return needed_; }

  Function run() {
    r_.copy_signature();
    threads_ = group_threads(f_);
    b_.loc = f_.loc;
    for (int a = 0; a < f_.domain_rank; ++a) {
      const std::int32_t n = f_.group[static_cast<std::size_t>(a)];
      const Expr within = e(b_.index(a)) - e(b_.group_index(a)) * n;
      lane_ = (a == 0 ? within : e(lane_) * n + within).v;
    }
    vote_ = b_.shared(DType::i32, 1, "vote");
    region(f_.body, {});
    b_.loc = f_.loc;
    b_.finish();
    return std::move(out_);
  }

 private:
  const Function& f_;
  const Uniformity u_;
  const bool subgroups_;
  Function out_;
  Builder b_;
  Rewriter r_;
  std::vector<char> meets_;  // by op: a meeting, or around one
  std::vector<std::vector<OpId>> users_;
  bool needed_ = false;
  int threads_ = 0;
  ValueId lane_;
  MemoryId vote_;
  std::map<int, MemoryId> slots_;  // by bytes of a value
  std::optional<MemoryId> flags_, lanes_;
  std::map<ValueId, ValueId> lengths_;  // of sequences that are longer in the new kernel, by old value

  Expr e(ValueId v) { return {&b_, v}; }

  /// Whether anything must change: a subgroup op, or a barrier where threads may part.
  bool find(RegionId r, bool parted) {
    bool change = false;
    for (OpId o : f_[r].ops) {
      const Op& op = f_[o];
      bool mine = op.code == Opcode::barrier || op.code == Opcode::subgroup;
      change |= (op.code == Opcode::subgroup && (parted || !subgroups_)) || (op.code == Opcode::barrier && parted);
      for (RegionId inner : op.regions) {
        change |= find(inner, parted || u_.divergent[o.index]);
        for (OpId p : f_[inner].ops) mine |= meets_[p.index] != 0;
      }
      meets_[o.index] = mine;
    }
    return change;
  }

  // ---- the group
  Values at(ValueId k) { return {k}; }
  MemoryId slot(int bytes) {
    auto it = slots_.find(bytes);
    if (it == slots_.end())
      it = slots_.emplace(bytes, b_.shared(bytes == 8 ? DType::u64 : DType::u32, threads_, fmt::format("meet{}", bytes))).first;
    return it->second;
  }
  /// Combined over all threads of the group, of numbers that are not negative.
  Expr vote(Atomic how, Expr v) {
    b_.barrier();
    const Expr first = e(lane_) == 0;
    b_.if_(
        first.v,
        [&] {
          b_.store(vote_, at(b_.i32(0)), b_.i32(0));
          return Values{};
        },
        [] { return Values{}; });
    b_.barrier();
    const ValueId operand[] = {v.v};
    b_.atomic(how, vote_, at(b_.i32(0)), operand);
    b_.barrier();
    return e(b_.load(vote_, at(b_.i32(0))));
  }

  // ---- regions
  /// Appends the ops of `r` to the current region, for the threads that `active` says (invalid: all).
  void region(RegionId r, ValueId active) {
    for (std::uint32_t m = 0; m < f_.memories.size(); ++m) {
      const Memory& mem = f_.memories[m];
      if (mem.space == Memory::Space::parameter || mem.scope != r) continue;
      r_.map(MemoryId{m}, make_like(b_, mem));
    }
    const auto& ops = f_[r].ops;
    for (std::size_t i = 0; i < ops.size();) {
      std::size_t end = i;
      while (end < ops.size() && !meets_[ops[end].index] && f_[ops[end]].code != Opcode::yield) ++end;
      if (end > i) stretch(r, i, end, active);
      i = end;
      if (i < ops.size() && f_[ops[i]].code != Opcode::yield) meet(f_[ops[i]], ops[i], active);
      if (i < ops.size()) ++i;
    }
  }
  void stretch(RegionId r, std::size_t from, std::size_t to, ValueId active) {
    const auto& ops = f_[r].ops;
    const auto copy = [&] {
      for (std::size_t k = from; k < to; ++k) length_or_copy(ops[k]);
    };
    if (!active.valid()) return copy();
    Values live;  // what is used after it
    for (std::size_t k = from; k < to; ++k)
      for (ValueId v : f_[ops[k]].results)
        for (OpId user : users_[v.index]) {
          OpId top = user;
          while (u_.nesting.region[top.index] != r) top = u_.nesting.owner[u_.nesting.region[top.index].index];
          const std::uint32_t place = u_.nesting.position[top.index];
          if (place >= from && place < to) continue;
          live.push_back(v);
          break;
        }
    Values zeros;
    for (ValueId v : live) zeros.push_back(f_.type(v).is_seq() ? b_.zeros(f_.type(v), b_.i32(0)) : b_.zero(f_.type(v)));
    const Values now = b_.if_(
        active,
        [&] {
          copy();
          return r_(live);
        },
        [&] { return zeros; });
    r_.map(live, now);
  }
  void length_or_copy(OpId o) {
    const Op& op = f_[o];
    if (op.code == Opcode::seq_len)
      if (const auto it = lengths_.find(op.operands[0]); it != lengths_.end()) return r_.map(op.results[0], it->second);
    r_.copy_op(o);
  }
  Expr both(ValueId active, Expr c) { return active.valid() ? e(b_.emit(Opcode::bit_and, {active, c.v})) : c; }

  void meet(const Op& op, OpId id, ValueId active) {
    b_.loc = op.loc;
    const bool parts = active.valid() || u_.divergent[id.index];
    switch (op.code) {
      case Opcode::barrier: {
        if (active.valid()) {
          const Expr here = vote(Atomic::add, e(active).to(DType::i32));
          const Expr fine = e(b_.emit(Opcode::bit_or, {(here == 0).v, (here == threads_).v}));
          const ValueId operands[] = {fine.v};
          b_.effect(Opcode::check, fmt::format("kernel \"{}\": not all threads of a group come to this barrier", f_.name), operands);
        }
        return b_.barrier();
      }
      case Opcode::subgroup: return subgroup(op, active);
      case Opcode::if_: {
        const Expr c = e(r_(op.operands[0]));
        if (!parts) {
          r_.map(op.results, b_.if_(c.v, [&] { return arm(op.regions[0], {}); }, [&] { return arm(op.regions[1], {}); }));
          return;
        }
        const Values yes = arm(op.regions[0], both(active, c).v);
        const Values no = arm(op.regions[1], both(active, e(b_.emit(Opcode::bit_not, {c.v}))).v);
        for (std::size_t k = 0; k < op.results.size(); ++k) r_.map(op.results[k], b_.select(c.v, yes[k], no[k]));
        return;
      }
      case Opcode::for_: return for_op(op, active, parts);
      case Opcode::while_: return while_op(op, active, parts);
      default: throw Bug(op.loc, fmt::format("{} is no meeting of threads", name_of(op.code)));
    }
  }
  Values arm(RegionId r, ValueId active) {
    region(r, active);
    return r_(f_.terminator(r).operands);
  }
  Values chosen(ValueId on, const Values& now, const Values& old) {
    Values out;
    for (std::size_t k = 0; k < now.size(); ++k) out.push_back(b_.select(on, now[k], old[k]));
    return out;
  }

  void for_op(const Op& op, ValueId active, bool parts) {
    const RegionId body = op.regions[0];
    const std::size_t carries = f_.carries(op);
    const ValueId lo = r_(op.operands[0]), hi = r_(op.operands[1]);
    const Values init = r_(Values(op.operands.begin() + 2, op.operands.end()));
    const auto split = [&](const Values& yields, const Values& carried) {
      return Builder::LoopYield{carried, {yields.begin() + static_cast<std::ptrdiff_t>(carries), yields.end()}};
    };
    Builder::LoopResult out;
    if (!parts) {
      out = b_.for_(
          lo, hi, init,
          [&](ValueId i, const Values& c) {
            enter(body, i, c);
            const Values y = arm(body, {});
            return split(y, {y.begin(), y.begin() + static_cast<std::ptrdiff_t>(carries)});
          },
          op.down);
    } else {
      Expr trips = select(e(lo) < e(hi), e(hi) - e(lo), lit(e(lo), 0));
      if (active.valid()) trips = select(e(active), trips, lit(trips, 0));
      const Expr most = vote(Atomic::max, trips);
      out = b_.for_(
          b_.i32(0), most.v, init,
          [&](ValueId position, const Values& c) {
            const ValueId on = (e(position) < trips).v;
            enter(body, b_.add(lo, position), c);
            const Values y = arm(body, on);
            return split(y, chosen(on, {y.begin(), y.begin() + static_cast<std::ptrdiff_t>(carries)}, c));
          },
          op.down);
      for (std::size_t k = carries; k < op.results.size(); ++k) lengths_[op.results[k]] = trips.v;
    }
    Values all = out.carries;
    all.insert(all.end(), out.seqs.begin(), out.seqs.end());
    r_.map(op.results, all);
  }
  void enter(RegionId body, ValueId i, const Values& c) {
    const Values& arguments = f_[body].arguments;
    r_.map(arguments[0], i);
    for (std::size_t k = 0; k < c.size(); ++k) r_.map(arguments[k + 1], c[k]);
  }

  void while_op(const Op& op, ValueId active, bool parts) {
    const RegionId test = op.regions[0], body = op.regions[1];
    const std::size_t carries = op.operands.size();
    const auto cut = [&](const Values& v, std::size_t from, std::size_t n) {
      return Values(v.begin() + static_cast<std::ptrdiff_t>(from), v.begin() + static_cast<std::ptrdiff_t>(from + n));
    };
    Values init = r_(op.operands);
    Builder::LoopResult out;
    if (!parts) {
      out = b_.while_(
          init,
          [&](const Values& c) {
            r_.map(f_[test].arguments, c);
            const Values y = arm(test, {});
            return std::pair(y[0], cut(y, 1, carries));
          },
          [&](const Values& c) {
            r_.map(f_[body].arguments, c);
            const Values y = arm(body, {});
            return Builder::LoopYield{cut(y, 0, carries), cut(y, carries, y.size() - carries)};
          });
      Values all = out.carries;
      all.insert(all.end(), out.seqs.begin(), out.seqs.end());
      all.push_back(out.trips);
      return r_.map(op.results, all);
    }
    init.push_back(active.valid() ? active : b_.boolean(true));
    init.push_back(b_.i32(0));
    out = b_.while_(
        init,
        [&](const Values& c) {
          const ValueId on = c[carries];
          r_.map(f_[test].arguments, cut(c, 0, carries));
          const Values y = arm(test, on);
          Values next = chosen(on, cut(y, 1, carries), cut(c, 0, carries));
          const ValueId go = both(on, e(y[0])).v;
          next.push_back(go);
          next.push_back(c[carries + 1]);
          return std::pair((vote(Atomic::max, e(go).to(DType::i32)) != 0).v, next);
        },
        [&](const Values& c) {
          const ValueId on = c[carries];
          r_.map(f_[body].arguments, cut(c, 0, carries));
          const Values y = arm(body, on);
          Values next = chosen(on, cut(y, 0, carries), cut(c, 0, carries));
          next.push_back(on);
          next.push_back((e(c[carries + 1]) + e(on).to(DType::i32)).v);
          return Builder::LoopYield{next, cut(y, carries, y.size() - carries)};
        });
    Values all = cut(out.carries, 0, carries);
    all.insert(all.end(), out.seqs.begin(), out.seqs.end());
    all.push_back(out.carries[carries + 1]);
    for (std::size_t k = carries; k + 1 < op.results.size(); ++k) lengths_[op.results[k]] = out.carries[carries + 1];
    r_.map(op.results, all);
  }

  // ---- subgroup ops
  void subgroup(const Op& op, ValueId active) {
    const auto kind = static_cast<Subgroup>(op.kind);
    const DType t = f_.type(op.operands[0]).dtype();
    const MemoryId values = slot(size_of(t));
    if (active.valid() && !flags_) flags_ = b_.shared(DType::i32, threads_, "meet_flags");
    const bool by_lane = kind == Subgroup::scatter_add;
    if (by_lane && !lanes_) lanes_ = b_.shared(DType::i32, threads_, "meet_lanes");
    const ValueId v = r_(op.operands[0]);
    b_.barrier();
    b_.store(values, at(lane_), to_word(v, t));
    if (active.valid()) b_.store(*flags_, at(lane_), b_.convert(active, DType::i32));
    if (by_lane) b_.store(*lanes_, at(lane_), r_(op.operands[1]));
    b_.barrier();
    const Expr own = e(lane_) & (kSubgroupSize - 1), first = e(lane_) - own;
    const Expr left = lit(first, threads_) - first, size = select(left < kSubgroupSize, left, lit(left, kSubgroupSize));
    const auto value = [&](Expr k) { return from_word(b_.load(values, at((first + k).v)), t); };
    const auto on = [&](Expr k) { return active.valid() ? e(b_.load(*flags_, at((first + k).v))) != 0 : Expr{&b_, b_.boolean(true)}; };
    const ValueId zero = b_.zero(Type(t));
    if (kind == Subgroup::shuffle) {
      const Expr asked = e(r_(op.operands[1]));
      const Expr there = both((asked >= 0).v, asked < size), k = select(there, asked, lit(asked, 0));
      return r_.map(op.results[0], b_.select(both(there.v, on(k)).v, value(k).v, zero));
    }
    const bool back = kind == Subgroup::scan_add_back;
    const ValueId start[] = {zero, b_.boolean(false)};
    const auto sum = b_.for_(b_.i32(0), size.v, start, [&](ValueId step, const Values& c) {
                         const Expr k = back ? size - 1 - e(step) : e(step);
                         Expr takes = on(k);
                         if (kind == Subgroup::scan_add) takes = both(takes.v, k <= own);
                         if (back) takes = both(takes.v, k >= own);
                         if (by_lane) takes = both(takes.v, e(b_.load(*lanes_, at((first + k).v))) == own);
                         const Expr x = value(k);
                         // The first one is taken as it is; scatter_add starts from 0.
                         const ValueId joined = combine(kind, c[0], x.v);
                         const ValueId next = by_lane ? joined : b_.select(c[1], joined, x.v);
                         return Builder::LoopYield{{b_.select(takes.v, next, c[0]), b_.emit(Opcode::bit_or, {c[1], takes.v})}, {}};
                       }).carries;
    r_.map(op.results[0], sum[0]);
  }
  ValueId combine(Subgroup kind, ValueId a, ValueId c) {
    switch (kind) {
      case Subgroup::min: return b_.emit(Opcode::min, {a, c});
      case Subgroup::max: return b_.emit(Opcode::max, {a, c});
      case Subgroup::bit_and: return b_.emit(Opcode::bit_and, {a, c});
      case Subgroup::bit_or: return b_.emit(Opcode::bit_or, {a, c});
      case Subgroup::bit_xor: return b_.emit(Opcode::bit_xor, {a, c});
      default: return b_.add(a, c);
    }
  }
  ValueId to_word(ValueId v, DType t) {
    if (size_of(t) == 8) return t == DType::u64 ? v : b_.bitcast(v, DType::u64);
    if (size_of(t) == 4) return t == DType::u32 ? v : b_.bitcast(v, DType::u32);
    return b_.convert(v, DType::u32);
  }
  Expr from_word(ValueId v, DType t) {
    if (size_of(t) == 8) return e(t == DType::u64 ? v : b_.bitcast(v, t));
    if (size_of(t) == 4) return e(t == DType::u32 ? v : b_.bitcast(v, t));
    return e(b_.convert(v, t));
  }
};

}  // namespace

Function lower_meets(const Function& f, bool subgroups) {
  if (!f.has_groups()) return f;
  Lowering l(f, subgroups);
  return l.needed() ? l.run() : f;
}

}  // namespace fluxion::gpu
