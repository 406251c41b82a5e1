// Launches without what they do not need: derivatives of linear kernels still name their primals, and as long as
// a launch takes an array, a loop must keep it for the reverse sweep. So:
//   a parameter that the kernel never touches, or asks for its extents only, is dropped (shapes are known here);
//   an InOut or Accum that it never writes is an In, and its new version the old one;
//   an Out or Accum whose new version nobody uses is dropped with what is written to it.
// Then dce drops what only fed those, in the kernels and in the program, until nothing changes.
#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "fluxion/buffer_plan.h"
#include "fluxion/passes.h"
#include "fluxion/rewrite.h"

namespace fluxion {
namespace {

enum class Fate : std::uint8_t { keep, drop, as_in };

struct Access {
  bool loaded = false, written = false, measured = false;
};

std::vector<Access> accesses(const Function& k) {
  std::vector<Access> out(k.memories.size());
  const auto walk = [&](const auto& self, RegionId r) -> void {
    for (OpId id : k[r].ops) {
      const Op& op = k[id];
      if (op.code == Opcode::load) out[op.memory.index].loaded = true;
      if (op.code == Opcode::store || op.code == Opcode::accumulate) out[op.memory.index].written = true;
      if (op.code == Opcode::atomic) out[op.memory.index].loaded = out[op.memory.index].written = true;
      if (op.code == Opcode::extent) out[op.memory.index].measured = true;
      for (RegionId inner : op.regions) self(self, inner);
    }
  };
  walk(walk, k.body);
  return out;
}

std::vector<bool> used_values(const Function& k) {
  std::vector<bool> used(k.values.size());
  const auto walk = [&](const auto& self, RegionId r) -> void {
    for (OpId id : k[r].ops) {
      for (ValueId v : k[id].operands) used[v.index] = true;
      for (RegionId inner : k[id].regions) self(self, inner);
    }
  };
  walk(walk, k.body);
  return used;
}

/// `types`: of the arrays that are passed, by parameter.
Function trim(const Function& k, const std::vector<Fate>& fate, const std::vector<Type>& types) {
  Function g;
  Builder b(g);
  Rewriter r(k, b);
  g.kind = k.kind;
  g.name = k.name;
  g.loc = b.loc = k.loc;
  g.domain_rank = k.domain_rank;
  g.group = k.group;
  std::map<MemoryId, Type> dropped;
  for (std::size_t p = 0; p < k.parameters.size(); ++p) {
    const Parameter& q = k.parameters[p];
    if (q.kind == Parameter::Kind::scalar) {
      if (fate[p] != Fate::drop) r.map(q.value, b.scalar_parameter(k.type(q.value).dtype(), q.name));
      continue;
    }
    if (fate[p] == Fate::drop) {
      dropped[q.memory] = types[p];
      continue;
    }
    const MemoryId m = b.memory_parameter(k[q.memory].element, k[q.memory].rank, fate[p] == Fate::as_in ? Role::in : q.role, q.name);
    g[m].loc = k[q.memory].loc;
    r.map(q.memory, m);
  }
  const Values& indices = k[k.body].arguments;
  for (std::size_t i = 0; i < indices.size(); ++i) r.map(indices[i], b.index(static_cast<int>(i)));
  r.hook = [&](Rewriter& now, OpId id) {
    const Op& op = k[id];
    const auto it = op.memory.valid() ? dropped.find(op.memory) : dropped.end();
    if (it == dropped.end()) return false;
    if (op.code == Opcode::extent) now.map(op.results[0], now.to.i32(static_cast<std::int32_t>(it->second.shape[op.leaf])));
    return true;  // else a write that nobody sees
  };
  r.copy_ops(k.body);
  b.finish();
  return canonical(dce(g));
}

Function prune_once(const Function& f, bool& changed) {
  const std::vector<bool> used = used_values(f);
  std::map<std::string, std::shared_ptr<const Function>> trimmed;
  return rewrite(f, [&](Rewriter& r, OpId id) {
    const Op& op = r.from[id];
    if (op.code != Opcode::launch) return false;
    const std::shared_ptr<const Function>& k = r.from.callees[op.ref];
    if (k->external || k->rules != Rules{}) return false;  // host code, or rules that take what the body may not need
    const std::vector<Access> access = accesses(*k);
    const std::vector<bool> scalar_used = used_values(*k);
    std::vector<Fate> fate(k->parameters.size(), Fate::keep);
    std::vector<Type> types(k->parameters.size());
    Values domain, arguments;
    std::vector<Type> outs;
    Values results;  // of those that stay
    std::size_t operand = 0, result = 0;
    for (; operand < static_cast<std::size_t>(k->domain_rank); ++operand) domain.push_back(r(op.operands[operand]));
    std::string key = fmt::format("{}", static_cast<const void*>(k.get()));
    for (std::size_t p = 0; p < k->parameters.size(); ++p) {
      const Parameter& q = k->parameters[p];
      if (q.kind == Parameter::Kind::scalar) {
        const ValueId v = op.operands[operand++];
        if (scalar_used[q.value.index]) arguments.push_back(r(v));
        else fate[p] = Fate::drop;
      } else {
        const Access& a = access[q.memory.index];
        const ValueId old = q.role == Role::out ? ValueId{} : op.operands[operand++];
        const ValueId now = q.role == Role::in ? ValueId{} : op.results[result++];
        types[p] = r.from.type(old.valid() ? old : now);
        if (q.role == Role::in) {
          if (!a.loaded) fate[p] = Fate::drop;
          else arguments.push_back(r(old));
        } else if (old.valid() && !a.written) {
          r.map(now, r(old));
          fate[p] = a.loaded ? Fate::as_in : Fate::drop;
          if (a.loaded) arguments.push_back(r(old));
        } else if (!used[now.index] && !a.loaded && q.role != Role::inout) {
          fate[p] = Fate::drop;
        } else {
          if (old.valid()) arguments.push_back(r(old));
          else outs.push_back(types[p]);
          results.push_back(now);
        }
        if (fate[p] == Fate::drop && a.measured) key += to_string(types[p]);
      }
      key += fmt::format(",{}", static_cast<int>(fate[p]));
    }
    if (std::all_of(fate.begin(), fate.end(), [](Fate x) { return x == Fate::keep; })) return false;
    changed = true;
    auto& callee = trimmed[key];
    if (!callee) callee = std::make_shared<const Function>(trim(*k, fate, types));
    const Values made = r.to.launch(callee, domain, arguments, outs);
    for (std::size_t n = 0; n < made.size(); ++n) r.map(results[n], made[n]);
    return true;
  });
}

}  // namespace

Function prune_launches(const Function& program) {
  Function f = program;
  for (int round = 0; round < 8; ++round) {
    bool changed = false;
    f = prune_once(f, changed);
    if (!changed) break;
    f = dce(f);
  }
  return f;
}

}  // namespace fluxion
