// One walk over the regions; see the header.
#include "effects.h"

#include "fluxion/mutants.h"

namespace fluxion {

Effects::Effects(const Function& f)
    : reads(f.ops.size()),
      writes(f.ops.size()),
      effect(f.ops.size()),
      region_of(f.ops.size()),
      owner(f.regions.size()),
      depth(f.regions.size()) {
  region(f, f.body);
}

RegionId Effects::home(const Function& f, ValueId v) const {
  const Value& x = f[v];
  if (x.kind == Value::Kind::result) return region_of[x.owner];
  return x.kind == Value::Kind::argument ? RegionId{x.owner} : f.body;
}

void Effects::region(const Function& f, RegionId r) {
  for (OpId id : f[r].ops) {
    const Op& op = f[id];
    const std::uint32_t o = id.index;
    region_of[o] = r;
    switch (op.code) {
      case Opcode::load: reads[o] = set_of(op.memory); break;
      case Opcode::store:
      case Opcode::accumulate: writes[o] = set_of(op.memory); break;
      case Opcode::atomic: reads[o] = writes[o] = set_of(op.memory); break;
      case Opcode::barrier:
        if (planted(testing::Mutant::barrier_transparent)) break;
        reads[o] = writes[o] = kAllMemories;
        break;
      default:
        if (!is_core(op.code)) reads[o] = writes[o] = kAllMemories;
    }
    effect[o] = op.code == Opcode::launch || op.code == Opcode::call ? has_effect(f, id) : op.code != Opcode::yield && has_effect(op.code);
    for (RegionId inner : op.regions) {
      owner[inner.index] = id;
      depth[inner.index] = depth[r.index] + 1;
      region(f, inner);
      for (OpId i : f[inner].ops) {
        reads[o] |= reads[i.index];
        writes[o] |= writes[i.index];
        if (effect[i.index]) effect[o] = true;
      }
    }
  }
}

bool is_pure(Opcode op) {
  if (is_elementwise(op)) return true;
  switch (op) {
    case Opcode::convert:
    case Opcode::bitcast:
    case Opcode::extent:
    case Opcode::domain:
    case Opcode::group_index:
    case Opcode::seq_len: return true;
    default: return false;
  }
}

}  // namespace fluxion
