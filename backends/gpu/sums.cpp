// See the header. Positions count from the last bit of the smallest subnormal number.
#include "sums.h"

#include <algorithm>
#include <functional>
#include <map>

#include "common/access.h"
#include "fluxion/expr.h"
#include "fluxion/rewrite.h"
#include "together.h"

namespace fluxion::gpu {
namespace {
using math::Expr;
using math::lit;
using math::select;

struct Format {
  DType real, bits;
  int mantissa;        // stored bits
  std::int64_t field;  // largest exponent
  int limbs;           // of numbers; one more holds what is not finite
  int below;           // the weight of position 0 is 2^-below
};
constexpr Format kSingle{DType::f32, DType::u32, 23, 0xff, 10, 149}, kDouble{DType::f64, DType::u64, 52, 0x7ff, 68, 1074};
constexpr std::int64_t kLow = 0xffffffff;
constexpr int kBrim = 60;  // a limb carries on at multiples of 2^kBrim
constexpr int kPlus = 1, kMinus = 2, kNan = 4;
const Format& format_of(DType t) { return t == DType::f64 ? kDouble : kSingle; }

/// By leaf: the first limb; -1 for integers.
std::vector<int> first_limbs(LayoutId element, int& limbs) {
  std::vector<int> out;
  limbs = 0;
  for (const Leaf& leaf : layout_of(element).leaves) {
    out.push_back(is_float(leaf.dtype) ? limbs : -1);
    if (is_float(leaf.dtype)) limbs += format_of(leaf.dtype).limbs + 1;
  }
  return out;
}

ValueId added(Builder& b, ValueId old, ValueId v) {
  const DType t = b.function().type(old).dtype();
  if (!is_half(t)) return b.add(old, v);
  return b.convert(b.add(b.convert(old, DType::f32), b.convert(v, DType::f32)), t);
}

// Limb `place` += part, |part| < 2^32, where many threads add: who brings a limb from one multiple of 2^60 to the next (modulo 2^64) takes
// that much from it and gives it to the limb above, in the same way. So once all have done so each limb is back in [0, 2^60): what has
// been taken is as often 2^60 as it was crossed. In between it may wrap, which addition does not mind. The last limb, `last`, which no
// part of a number reaches, keeps the sign and what is beyond.
void add_and_carry(Builder& b, MemoryId limbs, Expr place, int last, ValueId element, Expr part) {
  const ValueId first[] = {place.v, part.v};
  const auto add = [&](ValueId to, Expr v) {
    const ValueId at[] = {to, element}, operand[] = {v.v};
    return Expr{&b, b.atomic(Atomic::add, limbs, at, operand)};
  };
  b.while_(
      first,
      [&](const Values& c) {
        const Expr here = {&b, c[0]}, v = {&b, c[1]}, old = add(c[0], v);
        const Expr crossed = (((old + v) >> kBrim) - (old >> kBrim)) << kBrim;
        const Expr taken = select(here < last, crossed, lit(crossed, 0));
        return std::pair((taken != 0).v, Values{c[0], taken.v});
      },
      [&](const Values& c) {
        const Expr taken = {&b, c[1]};
        add(c[0], -taken);
        return Builder::LoopYield{{(Expr{&b, c[0]} + 1).v, (taken >> 32).v}, {}};
      });
}

// `carry`: more parts may come than a limb holds. `together`: without branches, so that parts may be 0.
void add_exactly(Builder& b, MemoryId limbs, int first, ValueId element, ValueId value, bool carry, bool together) {
  if (is_half(b.function().type(value).dtype())) value = b.convert(value, DType::f32);
  const Expr v = {&b, value};
  const Format& f = format_of(v.type());
  const Expr u = v.as(f.bits), e = ((u >> f.mantissa) & f.field).to(DType::i32);
  const auto at = [&](Expr limb) { return Values{(limb + first).v, element}; };
  const auto when = [&](Expr condition, bool always, const std::function<void()>& body) {
    if (always) return body();
    b.if_(
        condition.v,
        [&] {
          body();
          return Values{};
        },
        [] { return Values{}; });
  };
  const Expr special = e == f.field;
  when(special, false, [&] {
    const Expr kind = select(v != v, lit(e, kNan), select(v > 0.0, lit(e, kPlus), lit(e, kMinus))).to(DType::i64);
    const ValueId operand[] = {kind.v};
    b.atomic(Atomic::bit_or, limbs, at(lit(e, f.limbs)), operand);
  });
  Expr m = (u & ((std::int64_t{1} << f.mantissa) - 1)).to(DType::u64);
  m = select(special, lit(m, 0), select(e == 0, m, m | (std::int64_t{1} << f.mantissa)));
  const auto put_all = [&] {
    const Expr position = select(e == 0, lit(e, 0), e - 1), limb = position >> 5, s = (position & 31).to(DType::u64);
    const auto put = [&](int k, Expr part) {
      const Expr wide = part.as(DType::i64);
      const Expr signed_part = select(v < 0.0, -wide, wide);
      if (carry) add_and_carry(b, limbs, limb + (first + k), first + f.limbs - 1, element, signed_part);
      else b.accumulate(limbs, at(limb + k), signed_part.v);
    };
    put(0, (m << s) & kLow);
    const Expr middle = f.real == DType::f32 ? (m << s) >> 32 : (m >> (lit(s, 32) - s)) & kLow;
    when(middle != 0, together, [&] { put(1, middle); });
    if (f.real == DType::f32) return;
    const Expr high = (m >> 32) >> (lit(s, 32) - s);
    when(high != 0, together, [&] { put(2, high); });
  };
  when(m != 0, together, put_all);
}

// The sum in `n` limbs from `first` on, rounded to nearest even, and whether there is anything.
std::pair<Expr, Expr> rounded(Builder& b, MemoryId limbs, int first, ValueId element, const Format& f) {
  const auto limb = [&](ValueId k) {
    const ValueId at[] = {b.add(k, b.i32(first)), element};
    return Expr{&b, b.load(limbs, at)};
  };
  const ValueId zero = b.i32(0), end = b.i32(f.limbs), wide_zero = b.constant(DType::i64, 0);
  const ValueId start[] = {wide_zero};
  const Values carried = b.for_(zero, end, start, [&](ValueId k, const Values& c) {
                            return Builder::LoopYield{{((limb(k) + Expr{&b, c[0]}) >> 32).v}, {}};
                          }).carries;
  const Expr negative = Expr{&b, carried[0]} < 0;
  // Once more, for the digits of the magnitude: the place of the first one that is not 0, that and the next two, and whether anything is
  // below those. An array of digits would not fit a GPU's registers.
  const ValueId no = b.boolean(false);
  const ValueId begin[] = {wide_zero, select(negative, lit(Expr{&b, wide_zero}, 1), Expr{&b, wide_zero}).v,
                           wide_zero, wide_zero,
                           no,        b.i32(-1),
                           wide_zero, wide_zero,
                           wide_zero, no};
  const Values found = b.for_(zero, end, begin, [&](ValueId k, const Values& c) {
                          const auto e = [&](int n) { return Expr{&b, c[static_cast<std::size_t>(n)]}; };
                          const Expr v = limb(k) + e(0), d = v & kLow, x = select(negative, d ^ kLow, d) + e(1), low = x & kLow;
                          const Expr some = low != 0, before1 = e(2), before2 = e(3), rest = e(4);
                          const Expr more = {&b, b.emit(Opcode::bit_or, {rest.v, (before2 != 0).v})};
                          return Builder::LoopYield{{(v >> 32).v, (x >> 32).v, low.v, before1.v, more.v, select(some, Expr{&b, k}, e(5)).v,
                                                     select(some, low, e(6)).v, select(some, before1, e(7)).v,
                                                     select(some, before2, e(8)).v, select(some, rest, e(9)).v},
                                                    {}};
                        }).carries;
  const auto result = [&](int n) { return Expr{&b, found[static_cast<std::size_t>(n)]}; };
  const Expr top = result(5), x0 = result(6).as(DType::u64), x1 = result(7).as(DType::u64), x2 = result(8).as(DType::u64),
             below = result(9);
  Expr shifted = x0, zeros = lit(x0, 0);  // leading zeros of the 32 bits of x0
  for (const int step : {16, 8, 4, 2, 1}) {
    const Expr small = shifted < (std::int64_t{1} << (32 - step));
    shifted = select(small, shifted << step, shifted);
    zeros = select(small, zeros + step, zeros);
  }
  Expr x = (((x0 << 32) | x1) << zeros) | (x2 >> (lit(zeros, 32) - zeros));
  const Expr sticky = {&b, b.emit(Opcode::bit_or, {below.v, (((x2 << zeros) & kLow) != 0).v})};
  x = select(sticky, x | 1, x);
  const int drop = 64 - (f.mantissa + 1);
  const Expr rest = x & ((std::int64_t{1} << drop) - 1), half = lit(x, std::int64_t{1} << (drop - 1));
  Expr q = x >> drop;
  const Expr tie_up = {&b, b.emit(Opcode::bit_and, {(rest == half).v, ((q & 1) != 0).v})};
  q = select(Expr{&b, b.emit(Opcode::bit_or, {(rest > half).v, tie_up.v})}, q + 1, q);
  const Expr k = ((top - 1) << 5) - zeros.to(DType::i32) + (drop - f.below), h = k >> 1;
  const auto power = [&](Expr n) {
    if (f.real == DType::f32) return ((n + 127) << 23).as(DType::f32);
    return ((n + 1023).to(DType::i64) << 52).as(DType::f64);
  };
  // q fits the mantissa; i64 converts exactly.
  const Expr some = top >= 0;
  const Expr safe = select(some, h, lit(h, 0)), other = select(some, k - h, lit(h, 0));
  Expr y = q.as(DType::i64).to(f.real) * power(safe) * power(other);
  y = select(some, select(negative, -y, y), lit(y, 0));
  const ValueId flags_at[] = {b.i32(first + f.limbs), element};
  const Expr flags = {&b, b.load(limbs, flags_at)};
  const Expr odd = flags != 0;
  const Expr special = select(flags == kPlus, math::inf(y), select(flags == kMinus, -math::inf(y), math::nan(y)));
  return {select(odd, special, y), {&b, b.emit(Opcode::bit_or, {odd.v, some.v})}};
}

Function finish(const Memory& m, const std::string& kernel, Loc at) {
  Function out;
  out.kind = Function::Kind::kernel;
  out.name = kernel + "_sums";
  out.loc = at;
  out.domain_rank = 1;
  Builder b(out);
  b.loc = at;
  int count = 0;
  const std::vector<int> first = first_limbs(m.element, count);
  const MemoryId target = b.memory_parameter(m.element, m.rank, Role::inout, m.name);
  const MemoryId limbs = b.memory_parameter(DType::i64, 2, Role::in, "limbs");
  const ValueId i = b.index(0);
  Values at_element;
  Expr rest = {&b, i};
  for (int a = m.rank; a-- > 0;) {
    if (a == 0) {
      at_element.insert(at_element.begin(), rest.v);
      break;
    }
    const Expr n = {&b, b.extent(target, a)};
    const Expr q = {&b, b.emit(Opcode::div, {rest.v, n.v})};
    at_element.insert(at_element.begin(), (rest - q * n).v);
    rest = q;
  }
  for (std::size_t l = 0; l < first.size(); ++l) {
    if (first[l] < 0) continue;
    const DType t = layout_of(m.element).leaves[l].dtype;
    const auto [sum, some] = rounded(b, limbs, first[l], i, format_of(t));
    b.if_(
        some.v,
        [&, sum = sum] {
          const ValueId old = b.load(target, at_element, static_cast<int>(l));
          const ValueId now = is_half(t) ? b.convert(b.add(b.convert(old, DType::f32), sum.v), t) : b.add(old, sum.v);
          b.store(target, at_element, now, static_cast<int>(l));
          return Values{};
        },
        [] { return Values{}; });
  }
  b.finish();
  return out;
}

// m[at] += v of a half number, which no atomic knows.
void exchange_half(Builder& b, MemoryId m, std::span<const ValueId> at, ValueId v, int leaf) {
  const DType t = b.function().type(v).dtype();
  const ValueId first[] = {b.bitcast(b.load(m, at, leaf), DType::u16)};
  b.while_(
      first,
      [&](const Values& c) {
        const ValueId expected = b.bitcast(c[0], t), pair[] = {expected, added(b, expected, v)};
        const ValueId found = b.bitcast(b.atomic(Atomic::compare_exchange, m, at, pair, leaf), DType::u16);
        return std::pair(b.emit(Opcode::ne, {found, c[0]}), Values{found});
      },
      [](const Values& c) { return Builder::LoopYield{c, {}}; });
}

constexpr std::int64_t kManyRounds = 1 << 20;

/// How often a thread comes by at most; 0: nobody knows, or very often.
std::int64_t rounds(const Function& f, const Nesting& nesting, OpId o) {
  std::int64_t n = 1;
  for (RegionId r = nesting.region[o.index]; r != f.body; r = nesting.region[nesting.owner[r.index].index]) {
    const Op& owner = f[nesting.owner[r.index]];
    if (owner.code == Opcode::if_) continue;
    if (owner.code != Opcode::for_ || !f.is_constant(owner.operands[0]) || !f.is_constant(owner.operands[1])) return 0;
    const auto bound = [&](std::size_t k) { return std::int64_t{static_cast<std::int32_t>(f[owner.operands[k]].bits)}; };
    n *= std::max<std::int64_t>(0, bound(1) - bound(0));
    if (n > kManyRounds) return 0;
  }
  return n;
}

}  // namespace

std::int64_t& most_adds() {
  static std::int64_t n = std::int64_t{1} << 30;
  return n;
}

Sums lower_sums(const Function& f, const SumsOptions& options) {
  const Uniformity u(f);
  const Together together(f);
  const std::vector<Accumulates> accumulates = analyse_accumulates(f, u);
  Sums out;
  Builder b(out.kernel);
  Rewriter r(f, b);
  r.copy_signature();
  std::map<std::uint32_t, std::pair<MemoryId, std::vector<int>>> limbs;  // by old memory
  std::vector<char> carries(f.memories.size(), options.many);
  std::vector<std::int64_t> adds(f.memories.size());
  for (std::uint32_t o = 0; o < f.ops.size(); ++o) {
    if (f.ops[o].code != Opcode::accumulate || !u.nesting.region[o].valid()) continue;
    const std::int64_t n = rounds(f, u.nesting, OpId{o});
    carries[f.ops[o].memory.index] |= n == 0;
    adds[f.ops[o].memory.index] += n;
  }
  int position = 0;
  for (const Parameter& p : f.parameters) {
    if (p.kind != Parameter::Kind::memory) continue;
    const int here = position++;
    const Accumulates& a = accumulates[p.memory.index];
    if (a.sites > 0 && a.own) out.shift = std::max(out.shift, a.shift);
    if (a.sites == 0 || a.own || !a.only || options.relaxed) continue;
    int count = 0;
    std::vector<int> first = first_limbs(f[p.memory].element, count);
    if (count == 0) continue;
    const MemoryId m = b.memory_parameter(DType::i64, 2, Role::inout, "sums_" + p.name);
    limbs[p.memory.index] = {m, std::move(first)};
    if (!carries[p.memory.index]) out.adds = std::max(out.adds, adds[p.memory.index]);
    out.targets.push_back({here, count, finish(f[p.memory], f.name, f.loc)});
  }
  r.hook = [&](Rewriter& rw, OpId id) {
    const Op& op = f[id];
    if (op.code != Opcode::accumulate) return false;
    const Memory& m = f[op.memory];
    const DType t = f.type(op.operands.back()).dtype();
    Values at = rw(op.operands);
    const ValueId v = at.back();
    at.pop_back();
    const MemoryId here = rw(op.memory);
    const bool own = m.space == Memory::Space::local || (m.space == Memory::Space::parameter && accumulates[op.memory.index].own);
    if (own) {
      b.store(here, at, added(b, b.load(here, at, op.leaf), v), op.leaf);
      return true;
    }
    const auto to = limbs.find(op.memory.index);
    if (to != limbs.end() && to->second.second[op.leaf] >= 0) {
      Expr element = {&b, at[0]};
      for (int a = 1; a < m.rank; ++a) element = element * Expr{&b, b.extent(here, a)} + Expr{&b, at[static_cast<std::size_t>(a)]};
      const bool carry = carries[op.memory.index] != 0;
      bool warp = options.warps && !carry && together.come_by(id);
      for (std::size_t k = 0; k + 1 < op.operands.size(); ++k) warp &= together.same(op.operands[k]);
      add_exactly(b, to->second.first, to->second.second[op.leaf], element.v, v, carry, warp);
      return true;
    }
    if (!is_half(t)) return false;
    exchange_half(b, here, at, v, op.leaf);
    return true;
  };
  r.copy_ops(f.body);
  b.loc = f.loc;
  b.finish();
  return out;
}

}  // namespace fluxion::gpu
