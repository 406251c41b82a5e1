// Strips of a fixed length: with 2^14 iterations a strip and 2^31 at most, neither a strip nor the list of their starts is ever
// long, so no square root of a trip count has to be known. That a strip's tape stays in cache pays for a good part of the second
// run. The first strip stands apart, so that loops which end within it cost what they always did.
#include "strip_loops.h"

#include <algorithm>

#include "fluxion/rewrite.h"
#include "fluxion/strips.h"

namespace fluxion {

int& testing::strip_length() {
  thread_local int n = 1 << 14;
  return n;
}

namespace ad {
namespace {

// The derivative has 2.5 times the code of one without strips: of nested loops, only the innermost are worth that.
constexpr std::size_t kMostOps = 250;

class Long {
 public:
  explicit Long(const Function& f) : f_(f), written_(f.memories.size()) {
    for (const Region& r : f.regions)
      for (OpId o : r.ops)
        if (f[o].code == Opcode::store || f[o].code == Opcode::accumulate || f[o].code == Opcode::atomic) written_[f[o].memory.index] = 1;
  }
  bool operator()(const Op& op) const {
    if (op.code != Opcode::for_ && op.code != Opcode::while_) return false;
    if (f_.carries(op) == 0 || f_.carries(op) + (op.code == Opcode::while_) != op.results.size()) return false;
    if (op.code == Opcode::for_ ? op.kind != 0 || short_for(op) : !passes_on(op)) return false;
    std::size_t ops = 0;
    for (RegionId r : op.regions)
      if (!counts(r, op, ops)) return false;
    return ops <= kMostOps;
  }

 private:
  const Function& f_;
  std::vector<char> written_;

  bool short_for(const Op& op) const {
    if (!f_.is_constant(op.operands[0]) || !f_.is_constant(op.operands[1])) return false;
    const auto bound = [&](std::size_t k) { return static_cast<std::int64_t>(static_cast<std::int32_t>(f_[op.operands[k]].bits)); };
    return bound(1) - bound(0) <= testing::strip_length();
  }
  bool passes_on(const Op& op) const {
    const Values &args = f_[op.regions[0]].arguments, &yields = f_.terminator(op.regions[0]).operands;
    for (OpId o : f_[op.regions[0]].ops)  // the condition is asked twice where a strip ends
      if (f_[o].code != Opcode::yield && has_effect(f_, o)) return false;
    return std::equal(args.begin(), args.end(), yields.begin() + 1, yields.end());
  }
  /// False if a loop in it has strips, or it changes arrays: what it loads of them is kept for every iteration anyway.
  bool counts(RegionId r, const Op& loop, std::size_t& ops) const {
    for (OpId o : f_[r].ops) {
      const Op& op = f_[o];
      ++ops;
      if ((*this)(op)) return false;
      for (RegionId inner : op.regions)
        if (!counts(inner, loop, ops)) return false;
      const bool touches = op.code == Opcode::store || op.code == Opcode::atomic || (op.code == Opcode::load && written_[op.memory.index]);
      if (touches && !inside(f_[op.memory], loop)) return false;
    }
    return true;
  }
  bool inside(const Memory& m, const Op& loop) const {
    if (m.space != Memory::Space::local) return false;
    const auto holds = [&](auto&& self, const Op& op) -> bool {
      for (RegionId r : op.regions) {
        if (r == m.scope) return true;
        for (OpId o : f_[r].ops)
          if (self(self, f_[o])) return true;
      }
      return false;
    };
    return holds(holds, loop);
  }
};

bool fits(const Function& f) {
  if (f.kind == Function::Kind::program || f.has_groups()) return false;
  for (const Value& v : f.values)
    if (v.type.is_seq()) return false;  // a derivative: its loops have been looked at
  return true;
}

class Strips {
 public:
  explicit Strips(const Function& f) : f_(f), long_(f), b_(out_), rw_(f, b_) {}

  Function run() {
    rw_.hook = [this](Rewriter&, OpId o) {
      const Op& op = f_[o];
      if (!long_(op)) return false;
      op.code == Opcode::for_ ? strip_for(op) : strip_while(op);
      return true;
    };
    rw_.copy_signature();
    rw_.copy_ops(f_.body);
    b_.loc = f_.terminator(f_.body).loc;
    b_.finish(rw_(f_.terminator(f_.body).operands));
    return std::move(out_);
  }

 private:
  const Function& f_;
  const Long long_;
  Function out_;
  Builder b_;
  Rewriter rw_;

  ValueId least(ValueId a, ValueId c) { return b_.emit(Opcode::min, {a, c}); }

  // Lengths are unsigned: hi - lo may be more than an i32 holds.
  void strip_for(const Op& op) {
    const ValueId lo = rw_(op.operands[0]), hi = rw_(op.operands[1]), zero = b_.i32(0), none = number(0), one = number(1);
    const ValueId strip = number(static_cast<std::uint32_t>(testing::strip_length()));
    const Values init = rw_(Values(op.operands.begin() + 2, op.operands.end()));
    const ValueId trips = b_.select(b_.emit(Opcode::lt, {lo, hi}), b_.convert(b_.sub(hi, lo), DType::u32), none);
    const ValueId first = least(trips, strip), rest = b_.sub(trips, first), whole = b_.emit(Opcode::div, {rest, strip});
    const ValueId count = b_.add(whole, b_.select(b_.emit(Opcode::lt, {b_.mul(whole, strip), rest}), one, none));
    const ValueId mid = op.down ? b_.sub(hi, place(first)) : b_.add(lo, place(first));
    const Values begun = op.down ? rw_.copy_for(op, mid, hi, init) : rw_.copy_for(op, lo, mid, init);
    rw_.map(op.results, b_.for_(zero, place(count), begun, [&](ValueId s, const Values& carries) {
                            const ValueId done = b_.mul(b_.convert(s, DType::u32), strip), length = place(least(b_.sub(rest, done), strip));
                            const ValueId from = op.down ? b_.sub(b_.sub(mid, place(done)), length) : b_.add(mid, place(done));
                            return Builder::LoopYield{rw_.copy_for(op, from, b_.add(from, length), carries), {}};
                          }).carries);
  }
  ValueId number(std::uint32_t n) { return b_.constant(DType::u32, n); }
  ValueId place(ValueId n) { return b_.convert(n, DType::i32); }

  ValueId goes_on(const Op& op, const Values& carries) {
    const RegionId cond = op.regions[0];
    rw_.map(f_[cond].arguments, carries);
    rw_.copy_ops(cond);
    return rw_(f_.terminator(cond).operands[0]);
  }
  /// At most a strip of it: the carries, then the trips.
  Values strip_of(const Op& op, const Values& init) {
    const RegionId body = op.regions[1];
    Values start = init;
    start.push_back(b_.i32(0));
    return b_
        .while_(
            start,
            [&](const Values& c) {
              const ValueId more = goes_on(op, Values(c.begin(), c.end() - 1));
              return std::pair(b_.emit(Opcode::bit_and, {more, b_.emit(Opcode::lt, {c.back(), b_.i32(testing::strip_length())})}), c);
            },
            [&](const Values& c) {
              rw_.map(f_[body].arguments, Values(c.begin(), c.end() - 1));
              rw_.copy_ops(body);
              Values next = rw_(f_.terminator(body).operands);
              next.push_back(b_.add(c.back(), b_.i32(1)));
              return Builder::LoopYield{next, {}};
            })
        .carries;
  }
  void strip_while(const Op& op) {
    const Values begun = strip_of(op, rw_(op.operands));
    const Values end = b_.while_(
                             begun, [&](const Values& c) { return std::pair(goes_on(op, Values(c.begin(), c.end() - 1)), c); },
                             [&](const Values& c) {
                               Values next = strip_of(op, Values(c.begin(), c.end() - 1));
                               next.back() = b_.add(next.back(), c.back());
                               return Builder::LoopYield{next, {}};
                             })
                           .carries;
    rw_.map(op.results, end);  // the last one is the trips
  }
};

}  // namespace

bool has_long_loops(const Function& f) {
  if (!fits(f)) return false;
  const Long is_long(f);
  for (const Region& r : f.regions)
    for (OpId o : r.ops)
      if (is_long(f[o])) return true;
  return false;
}

Function strip_loops(const Function& f) { return has_long_loops(f) ? Strips(f).run() : f; }

}  // namespace ad
}  // namespace fluxion
