// See the header.
#include "together.h"

namespace fluxion::gpu {

Together::Together(const Function& f) : f_(f), u_(f), known_(f.values.size(), -1), any_lanes_(f.has_groups() || f.domain_rank == 1) {
  for (const Region& r : f.regions)
    for (OpId o : r.ops) leave_ |= f[o].code == Opcode::check;
}

bool Together::same(ValueId v) const {
  if (f_.is_constant(v) || u_(v) == Uniformity::Class::launch) return true;
  if (!u_.uniform(v)) return false;
  if (any_lanes_) return true;
  if (known_[v.index] < 0) known_[v.index] = look(v);
  return known_[v.index] != 0;
}

bool Together::look(ValueId v) const {
  // Of several axes, what is one for a row need not be so for a warp: but what is made of such values alone, and counters of loops.
  const Value& x = f_[v];
  if (x.kind == Value::Kind::result) {
    const Op& op = f_.ops[x.owner];
    if (!is_elementwise(op.code) && op.code != Opcode::convert && op.code != Opcode::bitcast) return false;
    for (ValueId operand : op.operands)
      if (!same(operand)) return false;
    return true;
  }
  const RegionId region{x.owner};
  if (region == f_.body) return false;
  const Op& loop = f_[u_.nesting.owner[region.index]];
  return loop.code == Opcode::for_ && f_[region].arguments[0] == v && same(loop.operands[0]) && same(loop.operands[1]);
}

bool Together::come_by(OpId o) const {
  if (leave_) return false;
  for (RegionId r = u_.nesting.region[o.index]; r != f_.body; r = u_.nesting.region[u_.nesting.owner[r.index].index]) {
    const OpId owner = u_.nesting.owner[r.index];
    const Op& op = f_[owner];
    if (u_.divergent[owner.index]) return false;
    if (op.code == Opcode::if_ && same(op.operands[0])) continue;
    if (op.code == Opcode::for_ && same(op.operands[0]) && same(op.operands[1])) continue;
    return false;
  }
  return true;
}

}  // namespace fluxion::gpu
