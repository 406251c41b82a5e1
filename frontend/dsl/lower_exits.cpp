// lower_exits -- break_if, continue_if and return_if become flags and ifs around what follows them.
//
//   break_if c; rest          ->  stop = c; if (!c) { rest }
//   for with break or return  ->  while (i < hi && !stop) { ...; i = i + 1 }
//   while c with break        ->  while (!stop and then c): c is evaluated only when the loop goes on
//   a loop that may return    ->  the loop; return_if(ret)
// Needs: what capture recorded (slots still there). Keeps: order of effects, source lines.
#include <algorithm>

#include "fluxion/error.h"
#include "fluxion/passes.h"
#include "fluxion/rewrite.h"

namespace fluxion {
namespace {

struct Exits {
  bool breaks = false, continues = false, returns = false;
  bool any() const { return breaks || continues || returns; }
  Exits operator|(Exits o) const { return {breaks || o.breaks, continues || o.continues, returns || o.returns}; }
};

bool is_exit(Opcode op) { return op == Opcode::break_if || op == Opcode::continue_if || op == Opcode::return_if; }
bool is_loop(Opcode op) { return op == Opcode::for_ || op == Opcode::while_; }

class Lowering {
 public:
  explicit Lowering(const Function& f) : f_(f), b_(out_), r_(f, b_), exits_(f.regions.size()), known_(f.regions.size()) {}

  Function run() {
    if (std::none_of(f_.ops.begin(), f_.ops.end(), [](const Op& op) { return is_exit(op.code); })) return f_;
    r_.copy_signature();
    // What holds no exit of its own is copied as it is, but for loops in it that do.
    r_.hook = [this](Rewriter&, OpId id) {
      const bool exits = is_loop(f_[id].code) && has_exits(f_[id]);
      if (exits) loop(f_[id]);
      return exits;
    };
    if (in(f_.body).returns) ret_ = flag();
    Context top{{}, {}, ret_};
    locals(f_.body);
    ops(f_.body, 0, top);
    b_.loc = f_.terminator(f_.body).loc;
    b_.finish(r_(f_.terminator(f_.body).operands));
    return std::move(out_);
  }

 private:
  /// The flags around an op: set when a loop must stop, when its round must end, when anything after must be skipped.
  struct Context {
    ValueId stop;   // declared before the innermost loop; invalid outside of loops and where nothing breaks
    ValueId leave;  // declared in the loop's body; invalid where nothing continues
    ValueId skip;   // the one of stop, leave and ret that tells whether what follows is skipped
  };

  /// How control may leave a region other than by its end; a loop takes in its own breaks and continues.
  Exits in(RegionId region) {
    if (known_[region.index]) return exits_[region.index];
    Exits e;
    for (OpId o : f_[region].ops) e = e | of(f_[o]);
    known_[region.index] = true;
    return exits_[region.index] = e;
  }
  Exits of(const Op& op) {
    if (is_exit(op.code)) return {op.code == Opcode::break_if, op.code == Opcode::continue_if, op.code == Opcode::return_if};
    Exits e;
    for (RegionId r : op.regions) e = e | in(r);
    if (is_loop(op.code)) e.breaks = e.continues = false;
    return e;
  }
  bool constant(ValueId v, bool value) const { return f_.is_constant(v) && (f_[v].bits != 0) == value; }
  bool surely_exits(RegionId region) {
    for (OpId o : f_[region].ops) {
      const Op& op = f_[o];
      if (is_exit(op.code) && constant(op.operands[0], true)) return true;
      if (op.code == Opcode::if_ && surely_exits(op.regions[0]) && surely_exits(op.regions[1])) return true;
    }
    return false;
  }

  // ---- slots in the new function
  ValueId slot(Type t, ValueId init) {
    Op op;
    op.code = Opcode::var_new;
    op.operands = {init};
    return out_[b_.append(std::move(op), {&t, 1})].results[0];
  }
  ValueId flag() { return slot(DType::boolean, b_.boolean(false)); }
  ValueId get(ValueId s) {
    Op op;
    op.code = Opcode::var_get;
    op.operands = {s};
    const Type t = out_.type(s);
    return out_[b_.append(std::move(op), {&t, 1})].results[0];
  }
  void set(ValueId s, ValueId v) {
    Op op;
    op.code = Opcode::var_set;
    op.operands = {s, v};
    b_.append(std::move(op), {});
  }
  ValueId negate(ValueId c) { return b_.emit(Opcode::bit_not, {c}); }

  /// Locals belong to the region that takes the ops of theirs.
  void locals(RegionId region) {
    for (std::uint32_t m = 0; m < f_.memories.size(); ++m) {
      const Memory& mem = f_.memories[m];
      if (mem.space == Memory::Space::parameter || mem.scope != region) continue;
      const MemoryId now = make_like(b_, mem);
      out_[now].loc = mem.loc;
      r_.map(MemoryId{m}, now);
    }
  }

  template <class Then, class Else>
  void emit_if(ValueId cond, Loc at, const Then& then, const Else& otherwise) {
    Op op;
    op.code = Opcode::if_;
    op.loc = at;
    op.operands = {cond};
    op.regions.push_back(b_.open({}));
    then();
    b_.close({});
    op.regions.push_back(b_.open({}));
    otherwise();
    b_.close({});
    b_.append(std::move(op), {});
  }

  /// Copies the ops of `region` from number `k` on, without the yield.
  void ops(RegionId region, std::size_t k, const Context& ctx) {
    const std::vector<OpId>& list = f_[region].ops;
    for (; k + 1 < list.size(); ++k) {
      const Op& op = f_[list[k]];
      const Exits e = of(op);
      if (!e.any() && !(is_loop(op.code) && has_exits(op))) {
        r_.copy_op(list[k]);
        continue;
      }
      b_.loc = op.loc;
      const auto rest = [&] { ops(region, k + 1, ctx); };
      const bool last = k + 2 >= list.size();
      if (is_exit(op.code)) {
        if (constant(op.operands[0], false)) continue;
        leave(op.code, r_(op.operands[0]), ctx);
        if (!constant(op.operands[0], true) && !last) emit_if(negate(r_(op.operands[0])), op.loc, rest, [] {});
        return;
      }
      if (op.code == Opcode::if_) {
        if (!op.results.empty())
          throw KernelError(op.loc, "break_if, continue_if or return_if on the right side of && or ||; write an fx::if_");
        const auto arm = [&](int n) {
          locals(op.regions[n]);
          ops(op.regions[n], 0, ctx);
        };
        // Where one arm surely leaves, what follows belongs to the other: no flag is needed for it.
        if (surely_exits(op.regions[0]) && !in(op.regions[1]).any()) {
          emit_if(
              r_(op.operands[0]), op.loc, [&] { arm(0); },
              [&] {
                arm(1);
                rest();
              });
          return;
        }
        if (surely_exits(op.regions[1]) && !in(op.regions[0]).any()) {
          emit_if(
              r_(op.operands[0]), op.loc,
              [&] {
                arm(0);
                rest();
              },
              [&] { arm(1); });
          return;
        }
        emit_if(r_(op.operands[0]), op.loc, [&] { arm(0); }, [&] { arm(1); });
      } else {
        loop(op);
        if (!e.returns) continue;
        leave(Opcode::return_if, get(ret_), ctx);
      }
      if (!last) {
        b_.loc = op.loc;
        emit_if(negate(get(ctx.skip)), op.loc, rest, [] {});
      }
      return;
    }
  }

  bool has_exits(const Op& loop) {
    for (RegionId r : loop.regions)
      if (in(r).any()) return true;
    return false;
  }

  /// Sets the flags of an exit that is taken where c holds.
  void leave(Opcode kind, ValueId c, const Context& ctx) {
    if (kind == Opcode::return_if) set(ret_, c);
    if (kind != Opcode::continue_if && ctx.stop.valid()) set(ctx.stop, c);
    if (ctx.leave.valid()) set(ctx.leave, c);
  }

  void loop(const Op& op) {
    if (f_.carries(op) != 0) throw Bug(op.loc, "lower_exits: a loop with exits carries values already");
    const RegionId body = op.regions.back();
    const Exits e = in(body);
    Context ctx;
    if (e.breaks || e.returns) ctx.stop = flag();
    const auto enter = [&] {
      if (e.continues) ctx.leave = flag();
      ctx.skip = e.continues ? ctx.leave : ctx.stop;
      locals(body);
    };
    if (op.code == Opcode::for_ && !ctx.stop.valid()) {
      Op now = op;
      now.operands = r_(op.operands);
      const Type index = DType::i32;
      now.regions = {b_.open({&index, 1})};
      r_.map(f_[body].arguments[0], out_[b_.current()].arguments[0]);
      enter();
      ops(body, 0, ctx);
      b_.loc = op.loc;
      b_.close({});
      b_.append(std::move(now), {});
      return;
    }
    Op now;
    now.code = Opcode::while_;
    now.loc = op.loc;
    ValueId counter, end;
    if (op.code == Opcode::for_) {
      // Downwards the counter is one above the index, so that it does not run below the lowest number.
      counter = slot(DType::i32, r_(op.operands[op.down ? 1 : 0]));
      end = r_(op.operands[op.down ? 0 : 1]);
    }
    now.regions.push_back(b_.open({}));
    ValueId goes_on;
    if (op.code == Opcode::for_) {
      goes_on = b_.emit(Opcode::bit_and, {b_.emit(op.down ? Opcode::gt : Opcode::lt, {get(counter), end}), negate(get(ctx.stop))});
    } else if (!ctx.stop.valid()) {
      locals(op.regions[0]);
      for (OpId o : f_[op.regions[0]].ops)
        if (f_[o].code != Opcode::yield) r_.copy_op(o);
      goes_on = r_(f_.terminator(op.regions[0]).operands[0]);
    } else {
      const ValueId answer = flag();
      emit_if(
          negate(get(ctx.stop)), op.loc,
          [&] {
            r_.copy_ops(op.regions[0]);
            set(answer, r_(f_.terminator(op.regions[0]).operands[0]));
          },
          [] {});
      goes_on = get(answer);
    }
    b_.loc = op.loc;
    b_.close({&goes_on, 1});
    now.regions.push_back(b_.open({}));
    enter();
    ValueId next;
    if (op.code == Opcode::for_) {
      const ValueId at = get(counter);
      next = b_.emit(op.down ? Opcode::sub : Opcode::add, {at, b_.i32(1)});
      r_.map(f_[body].arguments[0], op.down ? next : at);
    }
    ops(body, 0, ctx);
    b_.loc = op.loc;
    if (next.valid()) set(counter, next);
    b_.close({});
    const Type trips = DType::i32;
    const OpId id = b_.append(std::move(now), {&trips, 1});
    if (op.code == Opcode::while_) r_.map(op.results, out_[id].results);
  }

  const Function& f_;
  Function out_;
  Builder b_;
  Rewriter r_;
  std::vector<Exits> exits_;
  std::vector<bool> known_;
  ValueId ret_;
};

}  // namespace

Function lower_exits(const Function& f) { return Lowering(f).run(); }

}  // namespace fluxion
