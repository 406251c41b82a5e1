// See the header. One rewriting serves the kernel and the count of what it needs: the second leaves out what it would write.
#include "tapes.h"

#include <fmt/format.h>

#include <map>

#include "common/sequences.h"
#include "common/uniformity.h"
#include "fluxion/error.h"
#include "fluxion/expr.h"
#include "fluxion/passes.h"
#include "fluxion/rewrite.h"

namespace fluxion::gpu {
namespace {
using math::Expr;
using math::lit;
using math::select;

struct Seq {
  ValueId base, length;
};

class Lowering {
 public:
  Lowering(const Function& f, bool counting)
      : f_(f), counting_(counting), nesting_(f), sequences_(f, nesting_), seqs_(f.values.size()), b_(out_), r_(f, b_) {
    makes_.resize(f.regions.size());
    find_makers(f.body);
  }

  Function run() {
    r_.copy_signature();
    tapes_[0] = b_.memory_parameter(DType::u32, 2, Role::inout, "tape4");
    tapes_[1] = b_.memory_parameter(DType::u64, 2, Role::inout, "tape8");
    if (counting_) peaks_ = b_.memory_parameter(DType::i32, 1, Role::inout, "peaks");
    tops_ = b_.local(DType::i32, 4, "tops");
    b_.loc = f_.loc;
    column_ = column();
    r_.hook = [this](Rewriter&, OpId o) { return op(o); };
    r_.copy_ops(f_.body);
    b_.loc = f_.loc;
    if (counting_)
      for (int k = 0; k < 2; ++k) {
        const ValueId at[] = {b_.i32(k)}, most[] = {load_top(2 + k)};
        b_.atomic(Atomic::max, peaks_, at, most);
      }
    b_.finish();
    return std::move(out_);
  }

 private:
  const Function& f_;
  const bool counting_;
  const Nesting nesting_;
  const Sequences sequences_;
  std::vector<Seq> seqs_;    // by old value
  std::vector<char> makes_;  // by region: takes space, nested regions included
  Function out_;
  Builder b_;
  Rewriter r_;
  MemoryId tapes_[2], tops_, peaks_;
  ValueId column_;

  Expr e(ValueId v) { return {&b_, v}; }

  bool find_makers(RegionId r) {
    bool any = false;
    for (OpId o : f_[r].ops) {
      const Op& op = f_[o];
      for (RegionId inner : op.regions) any |= find_makers(inner);
      for (ValueId v : op.results) any |= f_.type(v).is_seq() && op.code != Opcode::seq_get;
    }
    makes_[r.index] = any;
    return any;
  }

  // ---- the tape
  /// The thread's number modulo the columns.
  ValueId column() {
    Expr t = {};
    if (f_.has_groups()) {
      Expr group = {}, lane = {};
      for (int a = 0; a < f_.domain_rank; ++a) {
        const std::int32_t n = f_.group[static_cast<std::size_t>(a)];
        const Expr g = e(b_.group_index(a)), within = e(b_.index(a)) - g * n;
        const Expr groups = {&b_, b_.emit(Opcode::div, {b_.domain(a), b_.i32(n)})};
        group = a == 0 ? g : group * groups + g;
        lane = a == 0 ? within : lane * n + within;
      }
      t = group * static_cast<std::int32_t>(group_threads(f_)) + lane;
    } else {
      for (int a = 0; a < f_.domain_rank; ++a) t = a == 0 ? e(b_.index(0)) : t * e(b_.domain(a)) + e(b_.index(a));
    }
    const Expr columns = e(b_.extent(tapes_[0], 1));
    return (t & (columns - 1)).v;
  }
  ValueId load_top(int k) {
    const ValueId at[] = {b_.i32(k)};
    return b_.load(tops_, at);
  }
  void store_top(int k, ValueId v) {
    const ValueId at[] = {b_.i32(k)};
    b_.store(tops_, at, v);
  }
  static int tape_of(const Type& item) { return item.is_seq() || size_of(item.dtype()) == 8; }
  /// Room for n items, n >= 0; where it starts.
  ValueId take(int tape, ValueId n) {
    const Expr top = e(load_top(tape)), now = top + e(n);
    if (counting_) {
      const Expr peak = e(load_top(2 + tape));
      store_top(2 + tape, select(peak < now, now, peak).v);
    } else {
      const Expr room = e(b_.extent(tapes_[tape], 0));
      const Expr fits = now.to(DType::u32) <= room.to(DType::u32);  // two i32 that are not negative fit a u32
      const ValueId operands[] = {fits.v, top.v, room.v, n};
      b_.effect(Opcode::check,
                fmt::format("kernel \"{}\": the tape of a thread is full: {{}} of {{}} items are in use and {{}} more are needed; "
                            "shorten the loop or save less of it",
                            f_.name),
                operands);
    }
    store_top(tape, now.v);
    return top.v;
  }
  Values place(ValueId base, ValueId i) { return {b_.add(base, i), column_}; }
  void put(const Type& item, ValueId base, ValueId i, ValueId old) { put(item, base, i, pack(item, old)); }
  struct Packed {
    ValueId v;
  };
  Packed pack(const Type& item, ValueId old) {
    if (!item.is_seq()) return pack_scalar(r_(old));
    return handle(seqs_[old.index]);
  }
  Packed handle(const Seq& s) {
    const Expr low = e(s.base).to(DType::u32).to(DType::u64), high = e(s.length).to(DType::u32).to(DType::u64);
    return {(low | (high << 32)).v};
  }
  Packed pack_scalar(ValueId v) {
    const DType t = b_.function().type(v).dtype();
    if (size_of(t) == 8) return {t == DType::u64 ? v : b_.bitcast(v, DType::u64)};
    if (is_bool(t)) return {b_.convert(v, DType::u32)};
    if (size_of(t) == 4) return {t == DType::u32 ? v : b_.bitcast(v, DType::u32)};
    const DType u = size_of(t) == 2 ? DType::u16 : DType::u8;
    return {b_.convert(t == u ? v : b_.bitcast(v, u), DType::u32)};
  }
  void put(const Type& item, ValueId base, ValueId i, Packed p) {
    if (!counting_) b_.store(tapes_[tape_of(item)], place(base, i), p.v);
  }
  ValueId raw(const Type& item, ValueId base, ValueId i) { return b_.load(tapes_[tape_of(item)], place(base, i)); }
  ValueId get_scalar(DType t, ValueId base, ValueId i) {
    const ValueId v = raw(t, base, i);
    if (size_of(t) == 8) return t == DType::u64 ? v : b_.bitcast(v, t);
    if (is_bool(t)) return b_.convert(v, t);
    if (size_of(t) == 4) return t == DType::u32 ? v : b_.bitcast(v, t);
    const DType u = size_of(t) == 2 ? DType::u16 : DType::u8;
    const ValueId narrow = b_.convert(v, u);
    return t == u ? narrow : b_.bitcast(narrow, t);
  }
  Seq get_seq(ValueId base, ValueId i) {
    const Expr word = e(b_.load(tapes_[1], place(base, i)));
    return {word.to(DType::u32).to(DType::i32).v, (word >> 32).to(DType::u32).to(DType::i32).v};
  }
  ValueId trips(ValueId lo, ValueId hi) { return select(e(lo) < e(hi), e(hi) - e(lo), lit(e(lo), 0)).v; }
  void loop(ValueId n, const std::function<void(ValueId)>& body) {
    b_.for_(b_.i32(0), n, {}, [&](ValueId i, const Values&) {
      body(i);
      return Builder::LoopYield{};
    });
  }
  Seq copy_of(const Type& item, const Seq& s) {
    const Seq now{take(tape_of(item), s.length), s.length};
    loop(s.length, [&](ValueId i) { put(item, now.base, i, Packed{raw(item, s.base, i)}); });
    return now;
  }

  // ---- values
  Values flat(const Values& old) {
    Values out;
    for (ValueId v : old) {
      if (f_.type(v).is_seq()) out.push_back(seqs_[v.index].base), out.push_back(seqs_[v.index].length);
      else out.push_back(r_(v));
    }
    return out;
  }
  /// Maps `old` to values from `from` at `next`.
  void unflatten(std::span<const ValueId> old, const Values& from, std::size_t& next) {
    for (ValueId v : old) {
      if (f_.type(v).is_seq()) {
        seqs_[v.index] = {from[next], from[next + 1]};
        next += 2;
      } else {
        r_.map(v, from[next++]);
      }
    }
  }
  bool touches(const Op& op) const {
    for (ValueId v : op.results)
      if (f_.type(v).is_seq()) return true;
    for (ValueId v : op.operands)
      if (f_.type(v).is_seq()) return true;
    for (RegionId r : op.regions)
      if (makes_[r.index] || uses(r)) return true;
    return false;
  }
  bool uses(RegionId r) const {
    for (ValueId v : f_[r].arguments)
      if (f_.type(v).is_seq()) return true;
    for (OpId o : f_[r].ops)
      if (touches(f_[o])) return true;
    return false;
  }

  // ---- ops
  bool op(OpId id) {
    const Op& op = f_[id];
    if (counting_ && dropped(op)) return true;
    switch (op.code) {
      case Opcode::if_: {
        if (!touches(op)) return false;
        const auto arm = [&](RegionId r) {
          r_.copy_ops(r);
          return flat(f_.terminator(r).operands);
        };
        const Values out = b_.if_(r_(op.operands[0]), [&] { return arm(op.regions[0]); }, [&] { return arm(op.regions[1]); });
        std::size_t next = 0;
        unflatten(op.results, out, next);
        return true;
      }
      case Opcode::for_: return touches(op) ? for_op(op) : false;
      case Opcode::while_: return touches(op) ? while_op(op) : false;
      case Opcode::seq_len: r_.map(op.results[0], seqs_[op.operands[0].index].length); return true;
      case Opcode::seq_get: {
        const Seq& s = seqs_[op.operands[0].index];
        const Type item = f_.type(op.results[0]);
        const ValueId i = r_(op.operands[1]);
        if (item.is_seq()) seqs_[op.results[0].index] = get_seq(s.base, i);
        else r_.map(op.results[0], get_scalar(item.dtype(), s.base, i));
        return true;
      }
      case Opcode::seq_set:
      case Opcode::seq_add_at: {
        const Type item = f_.type(op.operands[0]).item();
        const Seq& old = seqs_[op.operands[0].index];
        const Seq s = sequences_.in_place(op.results[0]) ? old : copy_of(item, old);
        const ValueId i = r_(op.operands[1]);
        if (op.code == Opcode::seq_set) {
          put(item, s.base, i, op.operands[2]);
        } else if (item.is_seq()) {
          const Seq sum = combine(item, get_seq(s.base, i), seqs_[op.operands[2].index]);
          put(item, s.base, i, handle(sum));
        } else {
          const ValueId now = b_.add(get_scalar(item.dtype(), s.base, i), r_(op.operands[2]));
          put(item, s.base, i, pack_scalar(now));
        }
        seqs_[op.results[0].index] = s;
        return true;
      }
      case Opcode::zeros: {
        const Type item = f_.type(op.results[0]).item();
        const Expr given = e(r_(op.operands[0]));
        const ValueId n = select(given < 0, lit(given, 0), given).v;
        const Seq s{take(tape_of(item), n), n};
        const Packed zero{b_.constant(tape_of(item) ? DType::u64 : DType::u32, 0)};
        if (!counting_) loop(n, [&](ValueId i) { put(item, s.base, i, zero); });
        seqs_[op.results[0].index] = s;
        return true;
      }
      default: break;
    }
    if (op.results.empty() || !f_.type(op.results[0]).is_seq()) return false;
    if (op.code == Opcode::select) {
      const ValueId c = r_(op.operands[0]);
      const Seq &x = seqs_[op.operands[1].index], &y = seqs_[op.operands[2].index];
      seqs_[op.results[0].index] = {b_.select(c, x.base, y.base), b_.select(c, x.length, y.length)};
      return true;
    }
    seqs_[op.results[0].index] = each(op, op.operands, f_.type(op.results[0]), {});
    return true;
  }
  bool dropped(const Op& op) const {
    const bool outside = op.memory.valid() && f_[op.memory].space == Memory::Space::parameter;
    return ((op.code == Opcode::store || op.code == Opcode::accumulate) && outside) || op.code == Opcode::print || op.code == Opcode::check;
  }

  /// x + y, position by position.
  Seq combine(const Type& t, const Seq& x, const Seq& y) {
    const Type item = t.item();
    const Seq s{take(tape_of(item), x.length), x.length};
    loop(x.length, [&](ValueId i) {
      if (item.is_seq()) put(item, s.base, i, handle(combine(item, get_seq(x.base, i), get_seq(y.base, i))));
      else put(item, s.base, i, pack_scalar(b_.add(get_scalar(item.dtype(), x.base, i), get_scalar(item.dtype(), y.base, i))));
    });
    return s;
  }
  /// An elementwise op on sequences; `given`: the operands where they are items of sequences of sequences.
  Seq each(const Op& op, const Values& operands, const Type& t, const std::vector<Seq>& given) {
    const Type item = t.item();
    std::vector<Seq> x = given;
    ValueId n{};
    for (std::size_t k = 0; k < operands.size(); ++k) {
      if (given.empty()) x.push_back(f_.type(operands[k]).is_seq() ? seqs_[operands[k].index] : Seq{});
      if (x[k].base.valid() && !n.valid()) n = x[k].length;
    }
    const Seq s{take(tape_of(item), n), n};
    if (counting_ && !item.is_seq()) return s;
    loop(n, [&](ValueId i) {
      if (item.is_seq()) {
        std::vector<Seq> inner;
        for (const Seq& q : x) inner.push_back(q.base.valid() ? get_seq(q.base, i) : Seq{});
        put(item, s.base, i, handle(each(op, operands, item, inner)));
        return;
      }
      Values y;
      for (std::size_t k = 0; k < operands.size(); ++k) {
        Type leaf = f_.type(operands[k]);
        while (leaf.is_seq()) leaf = leaf.item();
        y.push_back(x[k].base.valid() ? get_scalar(leaf.dtype(), x[k].base, i) : r_(operands[k]));
      }
      const ValueId v = op.code == Opcode::convert   ? b_.convert(y[0], item.dtype())
                        : op.code == Opcode::bitcast ? b_.bitcast(y[0], item.dtype())
                                                     : b_.emit(op.code, y);
      put(item, s.base, i, pack_scalar(v));
    });
    return s;
  }

  // ---- loops
  /// Whether what a round takes can be given back at its end: nothing that the round makes lives on.
  bool releases(const Op& op, RegionId body, std::size_t skip) const {
    if (!makes_[body.index]) return false;
    const Values& yields = f_.terminator(body).operands;
    for (std::size_t k = skip; k < yields.size(); ++k)
      if (f_.type(yields[k]).is_seq() && sequences_.allocated_in(yields[k], body, nesting_)) return false;
    (void)op;
    return true;
  }
  std::array<ValueId, 2> mark() { return {load_top(0), load_top(1)}; }
  void release(const std::array<ValueId, 2>& m) {
    for (int k = 0; k < 2; ++k) store_top(k, m[static_cast<std::size_t>(k)]);
  }

  bool for_op(const Op& op) {
    const RegionId body = op.regions[0];
    const std::size_t carries = f_.carries(op);
    const Values& yields = f_.terminator(body).operands;
    const ValueId lo = r_(op.operands[0]), hi = r_(op.operands[1]), n = trips(lo, hi);
    std::vector<Seq> collected;
    for (std::size_t k = carries; k < yields.size(); ++k) collected.push_back({take(tape_of(f_.type(yields[k])), n), n});
    const Values init = flat({op.operands.begin() + 2, op.operands.end()});
    const bool gives_back = releases(op, body, 0);
    const Builder::LoopResult out = b_.for_(
        lo, hi, init,
        [&](ValueId i, const Values& now) {
          std::array<ValueId, 2> top{};
          if (gives_back) top = mark();
          const Values& arguments = f_[body].arguments;
          r_.map(arguments[0], i);
          std::size_t next = 0;
          unflatten(std::span(arguments).subspan(1), now, next);
          r_.copy_ops(body);
          const ValueId position = b_.emit(Opcode::sub, {i, lo});
          for (std::size_t k = 0; k < collected.size(); ++k)
            put(f_.type(yields[carries + k]), collected[k].base, position, yields[carries + k]);
          const Values carried = flat({yields.begin(), yields.begin() + static_cast<std::ptrdiff_t>(carries)});
          if (gives_back) release(top);
          return Builder::LoopYield{carried, {}};
        },
        op.down);
    std::size_t next = 0;
    unflatten(std::span(op.results).first(carries), out.carries, next);
    for (std::size_t k = 0; k < collected.size(); ++k) seqs_[op.results[carries + k].index] = collected[k];
    return true;
  }

  // What is collected moves to twice the room when it is full; the room after the last piece on the tape grows in place.
  bool while_op(const Op& op) {
    const RegionId test = op.regions[0], body = op.regions[1];
    const std::size_t carries = op.operands.size();
    const Values& yields = f_.terminator(body).operands;
    const std::size_t count = yields.size() - carries;
    Values init = flat(op.operands);
    const std::size_t flat_carries = init.size();
    init.push_back(b_.i32(0));                                                                     // rounds
    for (std::size_t k = 0; k < count; ++k) init.push_back(b_.i32(0)), init.push_back(b_.i32(0));  // base, room
    const bool gives_back = count == 0 && releases(op, body, 0);
    Values last;  // what the test makes of the carries
    const Builder::LoopResult out = b_.while_(
        init,
        [&](const Values& now) {
          std::size_t next = 0;
          unflatten(f_[test].arguments, now, next);
          r_.copy_ops(test);
          const Values& tested = f_.terminator(test).operands;
          Values on = flat({tested.begin() + 1, tested.end()});
          on.insert(on.end(), now.begin() + static_cast<std::ptrdiff_t>(flat_carries), now.end());
          return std::pair(r_(tested[0]), on);
        },
        [&](const Values& now) {
          std::array<ValueId, 2> top{};
          if (gives_back) top = mark();
          std::size_t next = 0;
          unflatten(f_[body].arguments, now, next);
          r_.copy_ops(body);
          Values on = flat({yields.begin(), yields.begin() + static_cast<std::ptrdiff_t>(carries)});
          const ValueId round = now[flat_carries];
          on.push_back(b_.add(round, b_.i32(1)));
          for (std::size_t k = 0; k < count; ++k) {
            const Type item = f_.type(yields[carries + k]);
            const ValueId base = now[flat_carries + 1 + 2 * k], room = now[flat_carries + 2 + 2 * k];
            const Values place = grown(item, base, room, round);
            put(item, place[0], round, yields[carries + k]);
            on.insert(on.end(), place.begin(), place.end());
          }
          if (gives_back) release(top);
          return Builder::LoopYield{on, {}};
        });
    std::size_t next = 0;
    unflatten(std::span(op.results).first(carries), out.carries, next);
    const ValueId rounds = out.carries[flat_carries];
    for (std::size_t k = 0; k < count; ++k) seqs_[op.results[carries + k].index] = {out.carries[flat_carries + 1 + 2 * k], rounds};
    r_.map(op.results.back(), rounds);
    return true;
  }
  Values grown(const Type& item, ValueId base, ValueId room, ValueId used) {
    const int tape = tape_of(item);
    return b_.if_(
        b_.emit(Opcode::lt, {used, room}), [&] { return Values{base, room}; },
        [&] {
          const Expr more = select(e(room) == 0, lit(e(room), 8), e(room));
          const Expr ends = e(base) + e(room);
          const Expr last = {&b_, b_.emit(Opcode::bit_and, {(ends == e(load_top(tape))).v, (e(room) > 0).v})};
          return b_.if_(
              last.v,
              [&] {
                take(tape, more.v);
                return Values{base, (e(room) + more).v};
              },
              [&] {
                const ValueId twice = (e(room) + more).v, now = take(tape, twice);
                if (!counting_) loop(room, [&](ValueId i) { put(item, now, i, Packed{raw(item, base, i)}); });
                return Values{now, twice};
              });
        });
  }
};

/// What of `f` matters: which tapes it reads or writes.
bool touched(const Function& f, const std::string& tape) {
  for (const Region& r : f.regions)
    for (OpId o : r.ops)
      if (f[o].memory.valid() && f[o].code != Opcode::extent && f[f[o].memory].space == Memory::Space::parameter &&
          f[f[o].memory].name == tape)
        return true;
  return false;
}

}  // namespace

bool has_sequences(const Function& f) {
  for (const Region& r : f.regions)
    for (OpId o : r.ops)
      for (ValueId v : f[o].results)
        if (f.type(v).is_seq()) return true;
  return false;
}

Tapes lower_sequences(const Function& f) {
  Tapes out;
  out.kernel = dce(fold(Lowering(f, false).run()));
  out.has4 = touched(out.kernel, "tape4");
  out.has8 = touched(out.kernel, "tape8");
  Function count = dce(promote_locals(fold(dce(Lowering(f, true).run()))));
  bool known = !touched(count, "tape4") && !touched(count, "tape8"), uniform = !f.has_groups();
  for (const Region& r : count.regions)
    for (OpId o : r.ops) {
      const Op& op = count[o];
      const bool parameter = op.memory.valid() && count[op.memory].space == Memory::Space::parameter && count[op.memory].name != "peaks";
      if (parameter && op.code == Opcode::load) {
        uniform = false;
        if (count[op.memory].role != Role::in) known = false;  // the kernel may have changed it by then
      }
      if (op.code == Opcode::atomic && parameter) known = false;
      if (op.code == Opcode::domain || op.code == Opcode::group_index) uniform = false;
      for (ValueId v : op.operands)
        for (ValueId index : count[count.body].arguments) uniform &= v != index;
    }
  if (known) out.count = std::move(count);
  out.uniform = known && uniform;
  return out;
}

}  // namespace fluxion::gpu
