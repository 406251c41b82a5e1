// See the header. Uses are counted over the whole function; a memory is decided at once.
#include "atomics.h"

namespace fluxion {

Function atomic_sums(Function f) {
  std::vector<char> used(f.values.size()), other(f.memories.size());
  const auto sum = [&](const Op& op) {
    return op.code == Opcode::atomic && op.kind == static_cast<int>(Atomic::add) && !used[op.results[0].index];
  };
  for (const Region& r : f.regions)
    for (OpId o : r.ops)
      for (ValueId v : f[o].operands) used[v.index] = 1;
  bool any = false;
  for (const Region& r : f.regions)
    for (OpId o : r.ops) {
      const Op& op = f[o];
      any |= sum(op);
      if (op.memory.valid() && op.code != Opcode::extent && op.code != Opcode::accumulate && !sum(op)) other[op.memory.index] = 1;
    }
  if (!any) return f;
  for (const Region& r : f.regions)
    for (OpId o : r.ops) {
      Op& op = f[o];
      // What stays in a group may be looked at between two sums: lanes add one after the other there, too.
      if (!sum(op) || (other[op.memory.index] && f[op.memory].space == Memory::Space::parameter)) continue;
      op.code = Opcode::accumulate;
      op.kind = 0;
      op.results.clear();
    }
  return f;
}

}  // namespace fluxion
