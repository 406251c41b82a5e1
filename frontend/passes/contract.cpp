// contract -- a * b + c becomes fma(a, b, c) where the product has no other use and stands in the same region.
// This is where rounding is decided: nothing contracts later, so a replayed region repeats its numbers.
//
// Derivatives are contracted again, where they are new: contract_rest leaves alone what decides the path or an
// address, because a replay of such a sum, in which other uses of the product are gone, must repeat its rounding.
#include "decisions.h"
#include "effects.h"
#include "fluxion/mutants.h"
#include "fluxion/passes.h"
#include "fluxion/rewrite.h"

namespace fluxion {
namespace {

class Contract {
 public:
  /// `fixed`: values, by index, that must keep their rounding.
  Contract(const Function& f, const std::vector<bool>& fixed) : f_(f), product_(f.ops.size()), absorbed_(f.ops.size()) {
    const Effects effects(f);
    std::vector<std::uint32_t> uses(f.values.size());
    for (const Region& r : f.regions)
      for (OpId o : r.ops)
        for (ValueId v : f[o].operands) ++uses[v.index];
    for (const Region& r : f.regions)
      for (OpId o : r.ops) {
        const Op& op = f[o];
        if (op.code != Opcode::add && op.code != Opcode::sub) continue;
        if (fixed[op.results[0].index]) continue;
        const Type& t = f.type(op.results[0]);
        if (t.is_seq() || !is_float(t.dtype())) continue;
        for (ValueId v : op.operands) {
          const Value& x = f[v];
          if (x.kind != Value::Kind::result || f.ops[x.owner].code != Opcode::mul || uses[v.index] != 1) continue;
          if (effects.region_of[x.owner] != effects.region_of[o.index]) continue;
          product_[o.index] = v;
          absorbed_[x.owner] = true;
          break;
        }
      }
  }
  bool operator()(Rewriter& rw, OpId id) const {
    if (absorbed_[id.index]) return true;
    const ValueId product = product_[id.index];
    if (!product.valid()) return false;
    const Op& op = f_[id];
    const Values factors = rw(f_.ops[f_[product].owner].operands);
    ValueId a = factors[0], b = factors[1];
    const bool left = op.operands[0] == product;
    ValueId c = rw(op.operands[left ? 1 : 0]);
    if (op.code == Opcode::sub) {
      if (left) c = planted(testing::Mutant::contract_sign) ? c : negated(rw.to, c);
      else if (rw.to.function().is_constant(b)) b = negated(rw.to, b);
      else a = negated(rw.to, a);
    }
    rw.map(op.results[0], rw.to.emit(Opcode::fma, {a, b, c}));
    return true;
  }

 private:
  const Function& f_;
  Values product_;              // by op: the operand to absorb
  std::vector<bool> absorbed_;  // by op

  static ValueId negated(Builder& b, ValueId v) {
    const Value x = b.function()[v];
    if (x.kind != Value::Kind::constant) return b.emit(Opcode::neg, {v});
    const std::uint64_t sign = std::uint64_t{1} << (8 * size_of(x.type.dtype()) - 1);
    return b.constant(x.type.dtype(), x.bits ^ sign);
  }
};

}  // namespace

Function contract(const Function& f) { return rewrite(f, Contract(f, std::vector<bool>(f.values.size()))); }
Function contract_rest(const Function& f) { return rewrite(f, Contract(f, deciding_values(f))); }

}  // namespace fluxion
