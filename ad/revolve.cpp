// A program loop backwards with room for `most` of its states. The forward sweep leaves states where the reverse wants
// them; the reverse takes the last one, runs on from it, leaving new states in what room there is, reverses one iteration,
// and so forth. Where to leave them so that the fewest iterations run again: Griewank & Walther, Algorithm 799:
// revolve, 2000. The schedule is computed as the program runs, so trip counts need not be known before.
#include "fluxion/error.h"
#include "reverse.h"

namespace fluxion::ad {

void Reverse::refuse_revolved(const Op& op) {
  throw KernelError(op.loc,
                    "the loop was differentiated by revolve, whose schedule has no reverse of its own; for higher derivatives give "
                    "the first one strips, or a budget");
}

void Reverse::sweep_revolving(OpId o) {
  const Op& op = f_[o];
  const ValueId zero = b_.i32(0), one = b_.i32(1);
  const ValueId trips = b_.trips(primal(op.operands[0]), primal(op.operands[1]));
  const Values init = primal(Values(op.operands.begin() + 2, op.operands.end()));
  Held& h = held_[o];
  h = {};
  h.most = b_.emit(Opcode::max, {b_.emit(Opcode::min, {primal(states.at(o)), trips}), one});
  for (ValueId v : init) h.seqs.push_back(b_.seq_set(b_.zeros(b_.function().type(v).as_seq(), h.most), zero, v));
  h.positions = b_.zeros(Type(DType::i32).as_seq(), h.most);
  h.used = one;
  const Values results = advance(o, zero, init, trips, trips);
  for (std::size_t k = 0; k < results.size(); ++k) now[op.results[k].index] = results[k];
}

// With `free` states to place, the one where the stretch starts included, and no iteration run more than r times,
// C(free + r, r) iterations can be reversed. The first of them that keep their state lie so that both parts can be reversed
// with no more runs each.
ValueId Reverse::stride(ValueId length, ValueId free) {
  const ValueId zero = b_.constant_int(DType::i64, 0), one = b_.constant_int(DType::i64, 1);
  const ValueId l = b_.convert(length, DType::i64), c = b_.convert(free, DType::i64);
  const Values init = {zero, one};
  const Values found = b_.while_(
                             init, [&](const Values& x) { return std::pair(b_.emit(Opcode::lt, {x[1], l}), x); },
                             [&](const Values& x) {
                               const ValueId r = b_.add(x[0], one);
                               return Builder::LoopYield{{r, b_.emit(Opcode::div, {b_.mul(x[1], b_.add(c, r)), r})}, {}};
                             })
                           .carries;
  const ValueId r = found[0], all = found[1], sum = b_.add(c, r);
  const ValueId once_less = b_.emit(Opcode::div, {b_.mul(all, r), sum});  // C(c + r - 1, r - 1)
  const ValueId twice_less = b_.emit(Opcode::div, {b_.mul(once_less, b_.sub(r, one)), b_.sub(sum, one)});
  const ValueId rest = b_.emit(Opcode::div, {b_.mul(all, c), sum});  // C(c - 1 + r, r)
  const ValueId far = b_.emit(Opcode::max, {twice_less, b_.sub(l, rest)});
  return b_.convert(b_.emit(Opcode::max, {far, one}), DType::i32);
}

Values Reverse::advance(OpId o, ValueId from, const Values& carries, ValueId target, ValueId end) {
  const Op& op = f_[o];
  const RegionId body = op.regions[0];
  const std::size_t n = carries.size();
  const ValueId lo = primal(op.operands[0]), hi = primal(op.operands[1]), one = b_.i32(1);
  Held& h = held_[o];
  const ValueId most = h.most;
  Values init = carries;
  init.insert(init.end(), h.seqs.begin(), h.seqs.end());
  init.insert(init.end(), {h.positions, h.used, from});
  const auto less = [&](ValueId a, ValueId b) { return b_.emit(Opcode::lt, {a, b}); };
  const Values out = b_.while_(
                           init, [&](const Values& c) { return std::pair(less(c.back(), target), c); },
                           [&](const Values& c) {
                             const auto at = c.begin() + static_cast<std::ptrdiff_t>(n);
                             const Values kept(at, c.end() - 1);  // sequences, positions, used
                             const ValueId i = c.back(), used = kept.back();
                             const ValueId next = b_.add(i, stride(b_.sub(end, i), b_.add(b_.sub(most, used), one)));
                             Values y = b_.for_(i, next, Values(c.begin(), at), [&](ValueId q, const Values& x) {
                                            now[f_[body].arguments[0].index] = op.down ? b_.sub(b_.sub(hi, one), q) : b_.add(lo, q);
                                            for (std::size_t k = 0; k < n; ++k) now[f_[body].arguments[k + 1].index] = x[k];
                                            sweep_ops(body);
                                            return Builder::LoopYield{primal(f_.terminator(body).operands), {}};
                                          }).carries;
                             const ValueId room = b_.emit(Opcode::bit_and, {less(used, most), less(next, target)});
                             const Values after = b_.if_(
                                 room,
                                 [&] {
                                   Values s;
                                   for (std::size_t k = 0; k < n; ++k) s.push_back(b_.seq_set(kept[k], used, y[k]));
                                   s.push_back(b_.seq_set(kept[n], used, next));
                                   s.push_back(b_.add(used, one));
                                   return s;
                                 },
                                 [&] { return kept; });
                             y.insert(y.end(), after.begin(), after.end());
                             y.push_back(next);
                             return Builder::LoopYield{y, {}};
                           })
                         .carries;
  const auto at = out.begin() + static_cast<std::ptrdiff_t>(n);
  h.seqs.assign(at, at + static_cast<std::ptrdiff_t>(n));
  h.positions = out[2 * n];
  h.used = out[2 * n + 1];
  return Values(out.begin(), at);
}

Values Reverse::state_at(OpId o, ValueId position) {
  Held& h = held_[o];
  first_ = false;
  const ValueId one = b_.i32(1), top = b_.sub(h.used, one), from = b_.seq_get(h.positions, top);
  Values carries;
  for (ValueId s : h.seqs) carries.push_back(b_.seq_get(s, top));
  const Values state = advance(o, from, carries, position, b_.add(position, one));
  h.used = b_.sub(h.used, b_.select(b_.emit(Opcode::eq, {from, position}), one, b_.i32(0)));
  return state;
}

}  // namespace fluxion::ad
