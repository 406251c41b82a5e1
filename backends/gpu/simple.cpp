// See the header.
#include "simple.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "fluxion/external_code.h"
#include "fluxion/expr.h"
#include "fluxion/rewrite.h"

namespace fluxion::gpu {
namespace {

constexpr std::size_t kMany = std::size_t{1} << 40;

bool inlined(Rewriter& r, OpId id) {
  const Op& op = r.from[id];
  if (op.code != Opcode::call) return false;
  const Function& g = *r.from.callees[op.ref];
  if (g.external) return false;
  Rewriter inner(g, r.to);
  std::size_t next = 0;
  for (const Parameter& p : g.parameters) inner.map(p.value, r(op.operands[next++]));
  inner.hook = [](Rewriter& rw, OpId o) { return inlined(rw, o); };
  inner.copy_ops(g.body);
  r.map(op.results, inner(g.terminator(g.body).operands));
  return true;
}

std::size_t inlined_size(const Function& f, std::map<const Function*, std::size_t>& known) {
  const auto it = known.find(&f);
  if (it != known.end()) return it->second;
  std::size_t n = 0;
  for (const Region& r : f.regions) {
    n += r.ops.size();
    for (OpId o : r.ops)
      if (f[o].code == Opcode::call && n < kMany) n += inlined_size(*f.callees[f[o].ref], known);
  }
  return known[&f] = std::min(n, kMany);
}

}  // namespace

std::size_t inlined_size(const Function& f) {
  std::map<const Function*, std::size_t> known;
  return inlined_size(f, known);
}

Function inline_all(const Function& f) {
  for (const Region& r : f.regions)
    for (OpId o : r.ops)
      if (f[o].code == Opcode::call) return rewrite(f, inlined);
  return f;
}

bool calls_host(const Function& f) {
  if (f.external) return true;
  for (const auto& callee : f.callees)
    if (calls_host(*callee)) return true;
  return false;
}

Function check_bounds(const Function& f) {
  return rewrite(f, [&](Rewriter& r, OpId id) {
    const Op& op = f[id];
    Builder& b = r.to;
    const auto require = [&](ValueId inside, const std::string& text, Values operands) {
      operands.insert(operands.begin(), inside);
      b.effect(Opcode::check, text, operands);
    };
    const auto within = [&](ValueId i, ValueId n) { return b.emit(Opcode::lt, {b.convert(i, DType::u32), b.convert(n, DType::u32)}); };
    if (op.code == Opcode::seq_get || op.code == Opcode::seq_set || op.code == Opcode::seq_add_at) {
      const ValueId i = r(op.operands[1]), n = b.seq_len(r(op.operands[0]));
      require(within(i, n), fmt::format("kernel \"{}\": item {{}} of a sequence of {{}}", f.name), {i, n});
      return false;
    }
    if (op.code != Opcode::load && op.code != Opcode::store && op.code != Opcode::accumulate && op.code != Opcode::atomic) return false;
    const Memory& m = f[op.memory];
    std::string place, shape;
    Values values, extents;
    ValueId all{};
    for (int k = 0; k < m.rank; ++k) {
      const ValueId i = r(op.operands[static_cast<std::size_t>(k)]);
      const ValueId n = m.space == Memory::Space::parameter ? b.extent(r(op.memory), k) : b.i32(static_cast<std::int32_t>(m.length));
      const ValueId fine = within(i, n);
      all = all.valid() ? b.emit(Opcode::bit_and, {all, fine}) : fine;
      values.push_back(i);
      extents.push_back(n);
      place += k ? ", {}" : "{}";
      shape += k ? " x {}" : "{}";
    }
    values.insert(values.end(), extents.begin(), extents.end());
    if (all.valid())
      require(all, fmt::format("kernel \"{}\": {}[{}] is outside {}, which has {} elements", f.name, m.name, place, m.name, shape), values);
    return false;
  });
}

}  // namespace fluxion::gpu
