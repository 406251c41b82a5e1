// Decoding and last uses; see the header.
#include "evaluate_plan.h"

#include "fluxion/error.h"

namespace fluxion {

Plan::Plan(const Function& f) : f(f), steps(f.regions.size()), locals(f.regions.size()), bits(f.values.size()), kills(f.ops.size()) {
  for (std::size_t v = 0; v < f.values.size(); ++v) {
    if (f.values[v].kind == Value::Kind::constant) bits[v] = f.values[v].bits;
    has_objects |= !f.values[v].type.is_scalar();
  }
  for (std::uint32_t m = 0; m < f.memories.size(); ++m)
    if (f.memories[m].space == Memory::Space::local) locals[f.memories[m].scope.index].push_back({m});
  std::vector<bool> used(f.values.size());
  for (const Region& r : f.regions)
    for (OpId id : r.ops)
      for (ValueId v : f[id].operands) used[v.index] = true;
  for (std::size_t r = 0; r < f.regions.size(); ++r) {
    for (OpId id : f.regions[r].ops) {
      const Op& op = f[id];
      if (op.code == Opcode::yield) continue;
      Step s{.code = op.code, .op = id};
      if (!op.results.empty()) s.result = op.results[0].index;
      for (std::size_t i = 0; i < op.operands.size() && i < 3; ++i) s.operand[i] = op.operands[i].index;
      if (is_elementwise(op.code)) {
        const Type& t = f.type(op.operands[op.code == Opcode::select ? 1 : 0]);
        s.arity = static_cast<std::uint8_t>(op.operands.size());
        s.from = t.dtype();
        if (t.is_scalar()) s.scalar = scalar_op(op.code, s.from);
        if (t.is_scalar() && !s.scalar) throw Bug(op.loc, std::string(name_of(op.code)) + " does not work on " + name_of(s.from));
      } else if (op.code == Opcode::convert || op.code == Opcode::bitcast) {
        s.from = f.type(op.operands[0]).dtype();
        s.to = f.type(op.results[0]).dtype();
      } else if (op.code == Opcode::load || op.code == Opcode::store || op.code == Opcode::accumulate || op.code == Opcode::atomic) {
        s.from = layout_of(f[op.memory].element).leaves[op.leaf].dtype;
      }
      if (op.code == Opcode::subgroup) s.from = f.type(op.operands[0]).dtype();
      if (op.code == Opcode::atomic) s.used = used[op.results[0].index];
      steps[r].push_back(s);
    }
  }
  if (has_objects) find_last_uses();
}

void Plan::find_last_uses() {
  struct Place {
    std::uint32_t region = ~0u, position = 0;
  };
  struct Last {
    std::uint32_t position = 0;
    bool any = false, nested = false;
  };
  std::vector<Place> place(f.ops.size()), owner(f.regions.size());
  for (std::uint32_t r = 0; r < f.regions.size(); ++r)
    for (std::uint32_t p = 0; p < f.regions[r].ops.size(); ++p) {
      const OpId id = f.regions[r].ops[p];
      place[id.index] = {r, p};
      for (RegionId inner : f[id].regions) owner[inner.index] = {r, p};
    }
  const auto home = [&](ValueId v) {
    const Value& x = f[v];
    return x.kind == Value::Kind::result ? place[x.owner].region : x.kind == Value::Kind::argument ? x.owner : f.body.index;
  };
  std::vector<Last> last(f.values.size());
  for (std::uint32_t o = 0; o < f.ops.size(); ++o) {
    if (place[o].region == ~0u) continue;
    for (ValueId v : f.ops[o].operands) {
      if (f.type(v).is_scalar()) continue;
      const std::uint32_t at = home(v);
      Place p = place[o];
      const bool nested = p.region != at;
      while (p.region != at) p = owner[p.region];
      Last& l = last[v.index];
      if (!l.any || p.position > l.position) l = {p.position, true, nested};
      else if (p.position == l.position) l.nested |= nested;
    }
  }
  for (std::uint32_t o = 0; o < f.ops.size(); ++o) {
    const Values& operands = f.ops[o].operands;
    for (std::size_t i = 0; i < operands.size() && i < 64; ++i) {
      const ValueId v = operands[i];
      if (f.type(v).is_scalar() || place[o].region != home(v)) continue;
      if (last[v.index].position != place[o].position || last[v.index].nested) continue;
      bool again = false;
      for (std::size_t j = i + 1; j < operands.size(); ++j) again |= operands[j] == v;
      if (!again) kills[o] |= std::uint64_t{1} << i;
    }
  }
}

}  // namespace fluxion
