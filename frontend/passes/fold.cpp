// fold -- replace an op on constants by its value, and an op by a simpler one where both give the same bits
// for every input (a NaN may change its payload). x + 0 stays for floats (-0 + 0 is 0), x * 0 too (infinity).
// Branches on constants go, loops that run never or once go, and what a loop carries unchanged is read from
// outside; dce removes the rest of such a carry.
#include <bit>
#include <optional>

#include "fluxion/evaluate.h"
#include "fluxion/mutants.h"
#include "fluxion/passes.h"
#include "fluxion/rewrite.h"

namespace fluxion {
namespace {

class Folder {
 public:
  explicit Folder(Rewriter& rw) : b_(rw.to), f_(rw.to.function()) {}

  /// The value that the op, on operands of the new function, comes to; nothing when it stays an op.
  std::optional<ValueId> simplify(const Op& op, const Type& result, Values& x) {
    if (result.is_seq()) return {};
    if (is_elementwise(op.code) || op.code == Opcode::convert || op.code == Opcode::bitcast) {
      if (result.is_scalar() && all_constant(x)) {
        std::uint64_t bits[3] = {};
        for (std::size_t i = 0; i < x.size(); ++i) bits[i] = f_[x[i]].bits;
        const DType from = f_.type(x[op.code == Opcode::select ? 1 : 0]).dtype();
        const std::uint64_t value = evaluate_op(op.code, result.dtype(), from, {bits, x.size()});
        if (makes_nan(op, result.dtype(), value, from, {bits, x.size()})) return {};
        return b_.constant(result.dtype(), value);
      }
      if (op.code == Opcode::convert) return convert(x[0], result);
      if (op.code == Opcode::bitcast) return bitcast(x[0], result);
      if (info(op.code).flags & flag::commutes && constant(x[0]) && !constant(x[1])) std::swap(x[0], x[1]);
      return identity(op.code, x);
    }
    if (op.code == Opcode::seq_len) return seq_len(x[0]);
    if (op.code == Opcode::seq_get) return seq_get(x[0], x[1], result);
    return {};
  }

 private:
  Builder& b_;
  Function& f_;

  bool constant(ValueId v) const { return f_.is_constant(v); }
  bool all_constant(const Values& x) const {
    for (ValueId v : x)
      if (!constant(v)) return false;
    return true;
  }
  DType dtype(ValueId v) const { return f_.type(v).dtype(); }
  /// The op that makes `v`, if it has the given code.
  const Op* made_by(ValueId v, Opcode code) const {
    const Value& x = f_[v];
    if (x.kind != Value::Kind::result) return nullptr;
    const Op& op = f_.ops[x.owner];
    return op.code == code ? &op : nullptr;
  }
  bool is(ValueId v, double number) const {
    if (!constant(v)) return false;
    const DType t = dtype(v);
    switch (t) {
      case DType::f32: return f_[v].bits == std::bit_cast<std::uint32_t>(static_cast<float>(number));
      case DType::f64: return f_[v].bits == std::bit_cast<std::uint64_t>(number);
      case DType::f16:
      case DType::bf16: return false;
      default: {
        const int width = is_bool(t) ? 1 : size_of(t) * 8;
        const std::uint64_t mask = width == 64 ? ~std::uint64_t{0} : (std::uint64_t{1} << width) - 1;
        return f_[v].bits == (static_cast<std::uint64_t>(static_cast<std::int64_t>(number)) & mask);
      }
    }
  }
  /// 1 / c where that is exact, so that x / c and x * (1 / c) are one number.
  std::optional<ValueId> exact_reciprocal(ValueId c) const {
    if (!constant(c)) return {};
    if (dtype(c) == DType::f32) {
      const auto bits = static_cast<std::uint32_t>(f_[c].bits);
      const std::uint32_t exponent = bits >> 23 & 255;
      if ((bits & 0x7fffff) || exponent < 2 || exponent > 252) return {};
      return b_.constant(DType::f32, std::bit_cast<std::uint32_t>(1.f / std::bit_cast<float>(bits)));
    }
    if (dtype(c) == DType::f64) {
      const std::uint64_t bits = f_[c].bits, exponent = bits >> 52 & 2047;
      if ((bits & 0xfffffffffffff) || exponent < 2 || exponent > 2044) return {};
      return b_.constant(DType::f64, std::bit_cast<std::uint64_t>(1. / std::bit_cast<double>(bits)));
    }
    return {};
  }
  ValueId emit(Opcode code, std::initializer_list<ValueId> x) const { return b_.emit(code, x); }

  std::optional<ValueId> identity(Opcode code, const Values& x) const {
    const ValueId a = x[0], b = x.size() > 1 ? x[1] : a;
    const bool float_ = f_.type(a).element.is_scalar() && is_float(dtype(a));
    switch (code) {
      case Opcode::add:
        if (is(b, float_ ? -0. : 0.)) return a;
        if (const Op* n = made_by(b, Opcode::neg)) return emit(Opcode::sub, {a, ValueId(n->operands[0])});
        if (const Op* n = made_by(a, Opcode::neg)) return emit(Opcode::sub, {b, ValueId(n->operands[0])});
        if (!float_ && constant(b)) return reassociate(code, a, b);
        return {};
      case Opcode::sub:
        if (is(b, 0.)) return a;
        if (!float_ && a == b) return b_.zero(f_.type(a));
        if (!float_ && constant(b)) {
          const std::uint64_t bits[] = {f_[b].bits};
          const ValueId minus = b_.constant(dtype(b), evaluate_op(Opcode::neg, dtype(b), dtype(b), bits));
          if (const auto v = reassociate(Opcode::add, a, minus)) return v;
          return b_.add(a, minus);
        }
        if (const Op* n = made_by(b, Opcode::neg))
          return emit(planted(testing::Mutant::fold_sub_neg) ? Opcode::sub : Opcode::add, {a, ValueId(n->operands[0])});
        return {};
      case Opcode::mul:
        if (is(b, 1.)) return a;
        if (is(b, -1.)) return planted(testing::Mutant::fold_mul_minus_one) ? a : emit(Opcode::neg, {a});
        if (!float_ && is(b, 0.)) return b;
        if (!float_ && constant(b)) return reassociate(code, a, b);
        if (const Op *m = made_by(a, Opcode::neg), *n = made_by(b, Opcode::neg); m && n)
          return emit(Opcode::mul, {ValueId(m->operands[0]), ValueId(n->operands[0])});
        return {};
      case Opcode::div:
        if (is(b, 1.)) return a;
        if (is(b, -1.) && !is_unsigned(dtype(b))) return emit(Opcode::neg, {a});
        if (!float_ && is(b, 0.)) return b;
        if (const auto r = exact_reciprocal(b)) return emit(Opcode::mul, {a, planted(testing::Mutant::fold_reciprocal) ? b : *r});
        return {};
      case Opcode::rem:
        if (!float_ && (is(b, 1.) || is(b, 0.))) return b_.constant(dtype(a), 0);
        return {};
      case Opcode::mulz:
        if (constant(a)) return is(a, 0.) || is(a, -0.) ? b_.constant(dtype(a), 0) : emit(Opcode::mul, {b, a});
        return {};
      case Opcode::sdiv:
        if (constant(b)) return is(b, 0.) || is(b, -0.) ? b_.constant(dtype(a), 0) : emit(Opcode::div, {a, b});
        return {};
      case Opcode::fma:
        if (is(b, 1.)) return emit(Opcode::add, {a, x[2]});
        if (is(a, 1.)) return emit(Opcode::add, {b, x[2]});
        return {};
      case Opcode::neg:
        if (const Op* n = made_by(a, Opcode::neg)) return planted(testing::Mutant::fold_neg_neg) ? a : n->operands[0];
        return {};
      case Opcode::abs:
        if (made_by(a, Opcode::abs)) return a;
        if (const Op* n = made_by(a, Opcode::neg)) return emit(Opcode::abs, {ValueId(n->operands[0])});
        return {};
      case Opcode::min:
      case Opcode::max:
        if (a == b) return a;
        return {};
      case Opcode::bit_and:
        if (a == b || is(b, is_bool(dtype(a)) ? 1. : -1.)) return a;
        if (is(b, 0.)) return b;
        return {};
      case Opcode::bit_or:
        if (a == b || is(b, 0.)) return a;
        if (is(b, is_bool(dtype(a)) ? 1. : -1.)) return b;
        return {};
      case Opcode::bit_xor:
        if (a == b) return b_.zero(f_.type(a));
        if (is(b, 0.)) return a;
        if (is_bool(dtype(a)) && is(b, 1.)) return emit(Opcode::bit_not, {a});
        return {};
      case Opcode::bit_not:
        if (const Op* n = made_by(a, Opcode::bit_not)) return n->operands[0];
        return {};
      case Opcode::shl:
      case Opcode::shr:
        if (is(b, 0.)) return a;
        return {};
      case Opcode::eq:
      case Opcode::ne:
        if (!float_ && a == b && f_.type(a).is_scalar()) return b_.boolean(code == Opcode::eq);
        if (is_bool(dtype(a)) && constant(b)) return is(b, code == Opcode::eq ? 1. : 0.) ? a : emit(Opcode::bit_not, {a});
        return {};
      case Opcode::lt:
      case Opcode::gt:
        if (a == b && f_.type(a).is_scalar()) return b_.boolean(false);
        return {};
      case Opcode::le:
      case Opcode::ge:
        if (!float_ && a == b && f_.type(a).is_scalar()) return b_.boolean(true);
        return {};
      case Opcode::select:
        if (b == x[2]) return b;
        if (constant(a)) return f_[a].bits ? b : x[2];
        if (same_constant(b, x[2])) return b;
        if (f_.type(b) == Type(DType::boolean) && constant(b) && constant(x[2])) return f_[b].bits ? a : emit(Opcode::bit_not, {a});
        if (const Op* n = made_by(a, Opcode::bit_not))
          return planted(testing::Mutant::fold_select_not) ? emit(Opcode::select, {ValueId(n->operands[0]), b, x[2]})
                                                           : emit(Opcode::select, {ValueId(n->operands[0]), x[2], b});
        return {};
      default: return {};
    }
  }
  bool same_constant(ValueId a, ValueId b) const {
    return constant(a) && constant(b) && f_.type(a) == f_.type(b) && f_[a].bits == f_[b].bits;
  }
  /// (y op c) op d -> y op (c op d), for integers, where it is exact.
  std::optional<ValueId> reassociate(Opcode code, ValueId a, ValueId d) const {
    const Op* inner = made_by(a, code);
    if (!inner || !constant(inner->operands[1])) return {};
    const ValueId y = inner->operands[0];
    if (planted(testing::Mutant::fold_reassociate)) return emit(code, {y, d});
    const std::uint64_t bits[] = {f_[inner->operands[1]].bits, f_[d].bits};
    return emit(code, {y, b_.constant(dtype(d), evaluate_op(code, dtype(d), dtype(d), bits))});
  }
  /// A NaN of numbers stays where it is made, so that it can be traced.
  static bool makes_nan(const Op& op, DType t, std::uint64_t value, DType from, std::span<const std::uint64_t> x) {
    const auto nan = [](DType d, std::uint64_t v) {
      return (d == DType::f32 && (v & 0x7fffffffu) > 0x7f800000u) || (d == DType::f64 && (v & 0x7fffffffffffffffu) > 0x7ff0000000000000u);
    };
    if (!nan(t, value) || !is_elementwise(op.code) || op.code == Opcode::select) return false;
    for (const std::uint64_t v : x)
      if (nan(from, v)) return false;
    return true;
  }
  static bool widens_exactly(DType from, DType to) {
    if (from == to || is_bool(from)) return true;
    if (is_bool(to)) return false;
    if (is_half(from)) return !is_half(to) && is_float(to);
    if (is_half(to)) return false;
    if (is_float(from)) return is_float(to) && size_of(to) >= size_of(from);
    if (is_float(to)) return size_of(from) * 8 <= (to == DType::f32 ? 24 : 53);
    if (is_signed(from)) return is_signed(to) && size_of(to) >= size_of(from);
    return size_of(to) > size_of(from);
  }
  std::optional<ValueId> convert(ValueId v, const Type& result) const {
    if (f_.type(v) == result) return v;
    const Op* inner = made_by(v, Opcode::convert);
    if (!inner) return {};
    const ValueId y = inner->operands[0];
    if (!widens_exactly(dtype(y), dtype(v)) || is_half(dtype(v))) return {};
    return b_.convert(y, result.dtype());
  }
  std::optional<ValueId> bitcast(ValueId v, const Type& result) const {
    if (f_.type(v) == result) return v;
    const Op* inner = made_by(v, Opcode::bitcast);
    if (!inner) return {};
    return b_.bitcast(inner->operands[0], result.dtype());
  }
  std::optional<ValueId> seq_len(ValueId s) const {
    const Value& v = f_[s];
    if (v.kind != Value::Kind::result) return {};
    const Op& op = f_.ops[v.owner];
    switch (op.code) {
      case Opcode::for_: {
        if (v.slot < f_.carries(op)) return {};
        const ValueId lo = op.operands[0], hi = op.operands[1];
        return b_.trips(lo, hi);
      }
      case Opcode::while_:
        if (v.slot < f_.carries(op)) return {};
        return op.results.back();
      case Opcode::zeros: {
        const ValueId n = op.operands[0];
        return emit(Opcode::max, {n, b_.i32(0)});
      }
      case Opcode::seq_set:
      case Opcode::seq_add_at: {
        const ValueId base = op.operands[0];
        if (const auto n = seq_len(base)) return n;
        return b_.seq_len(base);
      }
      default: return {};
    }
  }
  std::optional<ValueId> seq_get(ValueId s, ValueId i, const Type& result) const {
    if (made_by(s, Opcode::zeros) && result.is_scalar()) return b_.zero(result);
    if (const Op* set = made_by(s, Opcode::seq_set); set && (set->operands[1] == i || same_constant(set->operands[1], i)))
      return set->operands[2];
    return {};
  }
};

bool same_value(const Function& f, ValueId a, ValueId b) {
  return a == b || (f.is_constant(a) && f.is_constant(b) && f.type(a) == f.type(b) && f[a].bits == f[b].bits);
}

class Fold {
 public:
  explicit Fold(const Function& f) : f_(f) {}
  bool operator()(Rewriter& rw, OpId id) {
    const Op& op = f_[id];
    switch (op.code) {
      case Opcode::if_: return branch(rw, op);
      case Opcode::for_: return counted(rw, op);
      case Opcode::while_: return conditional(rw, op);
      default: break;
    }
    if (op.results.size() != 1 || !(is_elementwise(op.code) || op.code == Opcode::convert || op.code == Opcode::bitcast ||
                                    op.code == Opcode::seq_len || op.code == Opcode::seq_get))
      return false;
    Values x = rw(op.operands);
    const Type result = f_.type(op.results[0]);
    if (const auto v = Folder(rw).simplify(op, result, x)) {
      rw.map(op.results[0], *v);
      return true;
    }
    if (!is_elementwise(op.code)) return false;
    rw.map(op.results[0], rw.to.emit(op.code, x));  // operands may have changed places
    return true;
  }

 private:
  const Function& f_;

  static Values sub(const Values& v, std::size_t from, std::size_t n) {
    return Values(v.begin() + static_cast<std::ptrdiff_t>(from), v.begin() + static_cast<std::ptrdiff_t>(from + n));
  }
  void map_loop(Rewriter& rw, const Op& op, const Values& carries) const {
    for (std::size_t i = 0; i < carries.size(); ++i) rw.map(op.results[i], carries[i]);
    for (std::size_t i = carries.size(); i < op.results.size(); ++i)
      if (f_.type(op.results[i]).is_seq()) rw.map(op.results[i], rw.to.zeros(f_.type(op.results[i]), rw.to.i32(0)));
  }
  bool branch(Rewriter& rw, const Op& op) {
    const ValueId cond = rw(op.operands[0]);
    if (!rw.to.function().is_constant(cond)) {
      copy_if(rw, op, cond);
      return true;
    }
    const RegionId arm = op.regions[rw.to.function()[cond].bits ? 0 : 1];
    rw.copy_ops(arm);
    rw.map(op.results, rw(f_.terminator(arm).operands));
    return true;
  }
  void copy_if(Rewriter& rw, const Op& op, ValueId cond) {
    Op now;
    now.code = Opcode::if_;
    now.loc = op.loc;
    bool swapped = false;
    const Function& to = rw.to.function();
    if (to[cond].kind == Value::Kind::result && to.ops[to[cond].owner].code == Opcode::bit_not) {
      cond = to.ops[to[cond].owner].operands[0];
      swapped = true;
    }
    now.operands = {cond};
    for (RegionId r : op.regions) now.regions.push_back(rw.copy_region(r));
    const Values then = to.terminator(now.regions[0]).operands, otherwise = to.terminator(now.regions[1]).operands;
    if (swapped && !planted(testing::Mutant::fold_if_not)) std::swap(now.regions[0], now.regions[1]);
    std::vector<Type> types;
    for (ValueId v : op.results) types.push_back(f_.type(v));
    const Values results = rw.to.function()[rw.to.append(std::move(now), types)].results;
    for (std::size_t i = 0; i < results.size(); ++i) {
      ValueId v = results[i];
      // Both arms see it, so it is known before the if.
      if (same_value(to, then[i], otherwise[i])) v = then[i];
      else if (types[i] == Type(DType::boolean) && to.is_constant(then[i]) && to.is_constant(otherwise[i]))
        v = (to[then[i]].bits != 0) != swapped || planted(testing::Mutant::fold_bool_const) ? cond : rw.to.emit(Opcode::bit_not, {cond});
      rw.map(op.results[i], v);
    }
  }
  bool counted(Rewriter& rw, const Op& op) {
    const ValueId lo = rw(op.operands[0]), hi = rw(op.operands[1]);
    const Values init = rw(sub(op.operands, 2, op.operands.size() - 2));
    const Function& to = rw.to.function();
    const RegionId body = op.regions[0];
    const Values& args = f_[body].arguments;
    const Values& yields = f_.terminator(body).operands;
    if (to.is_constant(lo) && to.is_constant(hi)) {
      const auto from = static_cast<std::int32_t>(to[lo].bits), end = static_cast<std::int32_t>(to[hi].bits);
      if (from >= end && !(planted(testing::Mutant::fold_zero_trips) && op.results.size() == init.size())) {
        map_loop(rw, op, init);
        return true;
      }
      if ((std::int64_t{end} - from == 1 || from >= end) && op.results.size() == init.size()) {
        rw.map(args[0], lo);
        for (std::size_t i = 0; i < init.size(); ++i) rw.map(args[i + 1], init[i]);
        rw.copy_ops(body);
        rw.map(op.results, rw(yields));
        return true;
      }
    }
    Op now;
    now.code = op.code;
    now.down = op.down;
    now.kind = op.kind;
    now.leaf = op.leaf;
    now.loc = op.loc;
    now.operands = {lo, hi};
    now.operands.insert(now.operands.end(), init.begin(), init.end());
    std::vector<bool> fixed(init.size());
    for (std::size_t i = 0; i < init.size(); ++i)
      fixed[i] = yields[i] == args[i + 1] || yields[i] == op.operands[i + 2] || same_value(f_, yields[i], op.operands[i + 2]);
    now.regions = {region(rw, body, 1, fixed, init)};
    finish(rw, op, std::move(now), fixed, init);
    return true;
  }
  bool conditional(Rewriter& rw, const Op& op) {
    const Values init = rw(op.operands);
    const RegionId cond = op.regions[0], body = op.regions[1];
    const Values &cond_args = f_[cond].arguments, &cond_yields = f_.terminator(cond).operands;
    const Values &body_args = f_[body].arguments, &yields = f_.terminator(body).operands;
    if (f_.is_constant(cond_yields[0]) && f_[cond_yields[0]].bits == 0) {
      for (std::size_t i = 0; i < init.size(); ++i) rw.map(cond_args[i], init[i]);
      rw.copy_ops(cond);
      map_loop(rw, op, rw(sub(cond_yields, 1, init.size())));
      rw.map(op.results.back(), rw.to.i32(0));
      return true;
    }
    Op now;
    now.code = op.code;
    now.loc = op.loc;
    now.operands = init;
    std::vector<bool> fixed(init.size());
    for (std::size_t i = 0; i < init.size(); ++i) {
      const bool kept = cond_yields[i + 1] == cond_args[i];
      fixed[i] = kept && (yields[i] == body_args[i] || same_value(f_, yields[i], op.operands[i]));
    }
    now.regions.push_back(region(rw, cond, 0, fixed, init));
    now.regions.push_back(region(rw, body, 0, fixed, init));
    finish(rw, op, std::move(now), fixed, init);
    return true;
  }
  /// A copy of a loop's region that reads the carries that never change from outside.
  RegionId region(Rewriter& rw, RegionId r, std::size_t counter, const std::vector<bool>& fixed, const Values& init) {
    const Values& args = f_[r].arguments;
    std::vector<Type> types;
    for (ValueId v : args) types.push_back(f_.type(v));
    const RegionId now = rw.to.open(types);
    rw.map(args, rw.to.function()[now].arguments);
    for (std::size_t i = 0; i < init.size(); ++i)
      if (fixed[i]) rw.map(args[i + counter], init[i]);
    rw.copy_ops(r);
    rw.to.close(rw(f_.terminator(r).operands));
    return now;
  }
  void finish(Rewriter& rw, const Op& op, Op now, const std::vector<bool>& fixed, const Values& init) {
    std::vector<Type> types;
    for (ValueId v : op.results) types.push_back(f_.type(v));
    const OpId copy = rw.to.append(std::move(now), types);
    rw.map(op.results, rw.to.function()[copy].results);
    for (std::size_t i = 0; i < init.size(); ++i)
      if (fixed[i]) rw.map(op.results[i], init[i]);
  }
};

}  // namespace

Function fold(const Function& f) { return rewrite(f, Fold(f)); }

}  // namespace fluxion
