// The batch axis of kernels: in front of the domain, of the groups (one deep), and of the arrays that have it.
#include <fmt/format.h>

#include <map>

#include "fluxion/batch.h"
#include "fluxion/error.h"
#include "fluxion/rewrite.h"
#include "prepare.h"

namespace fluxion {
namespace {

using ad::float_parameter;

/// The axes of the parameters of a rule, whose order is that of ad.h.
std::vector<BatchAxis> rule_axes(const Function& k, const std::vector<BatchAxis>& axes, const Function& rule, bool reverse) {
  std::vector<BatchAxis> out;
  const auto role = [&](std::size_t p) { return k.parameters[p].kind == Parameter::Kind::memory ? k.parameters[p].role : Role::in; };
  for (std::size_t p = 0; p < k.parameters.size(); ++p)
    if (!reverse || role(p) == Role::in || role(p) == Role::inout) out.push_back(axes[p]);
  for (std::size_t p = 0; p < k.parameters.size(); ++p)
    if (float_parameter(k, k.parameters[p]) && (!reverse || role(p) != Role::in)) out.push_back(axes[p]);
  for (std::size_t p = 0; reverse && p < k.parameters.size(); ++p) {
    if (!float_parameter(k, k.parameters[p]) || role(p) != Role::in) continue;
    const bool scalar = k.parameters[p].kind == Parameter::Kind::scalar;
    out.push_back(scalar && axes[p] == BatchAxis::leading ? BatchAxis::element : axes[p]);
  }
  if (out.size() != rule.parameters.size())
    throw KernelError(k.loc, fmt::format("vmap of kernel \"{}\": a rule of it needs scratch memory, which has no batch axis", k.name));
  return out;
}

}  // namespace

Function batched_kernel(const Function& k, const std::vector<BatchAxis>& axes, const std::vector<BatchedScalars>& scalars) {
  const auto refuse = [&](Loc at, const std::string& text) {
    throw KernelError(at ? at : k.loc, fmt::format("vmap of kernel \"{}\": {}", k.name, text));
  };
  if (k.external) refuse(k.loc, "it is a host function that works on whole arrays, which have no batch axis; write a loop of launches");
  if (k.domain_rank >= 3) refuse(k.loc, "its domain has three axes already, and the batch would be a fourth");
  Function g;
  Builder b(g);
  Rewriter r(k, b);
  g.kind = Function::Kind::kernel;
  g.name = k.name + ".vmap";
  g.loc = b.loc = k.loc;
  g.domain_rank = k.domain_rank + 1;
  if (k.has_groups()) g.group = {1, k.group[0], k.group[1]};
  std::vector<BatchAxis> of(k.memories.size(), BatchAxis::shared);
  std::vector<int> position;  // of parameters, in g
  struct Load {
    std::size_t first;
    int count;
    MemoryId from;
  };
  std::vector<Load> loads;
  bool any_group = false;
  for (std::size_t p = 0; p < k.parameters.size(); ++p) {
    const Parameter& q = k.parameters[p];
    position.push_back(static_cast<int>(g.parameters.size()));
    BatchAxis axis = axes[p];
    if (q.kind == Parameter::Kind::scalar) {
      if (axis == BatchAxis::shared) {
        r.map(q.value, b.scalar_parameter(k.type(q.value).dtype(), q.name));
        continue;
      }
      const BatchedScalars group = p < scalars.size() && scalars[p].count > 1 ? scalars[p] : BatchedScalars{1, k.type(q.value).dtype()};
      any_group |= group.count > 1;
      loads.push_back({p, group.count, b.memory_parameter(group.element, 1, Role::in, q.name)});
      p += static_cast<std::size_t>(group.count) - 1;
      for (int c = 1; c < group.count; ++c) position.push_back(position.back());
      continue;
    }
    const Memory& m = k[q.memory];
    if (axis == BatchAxis::shared && (q.role == Role::out || q.role == Role::inout))
      refuse(m.loc,
             fmt::format("{} is {} and shared, so that all of the batch would write it; give it a batch axis", m.name, name_of(q.role)));
    if (axis == BatchAxis::leading && m.rank == 3)
      refuse(m.loc, fmt::format("{} has three axes already, and the batch would be a fourth", m.name));
    const MemoryId made = b.memory_parameter(m.element, m.rank + (axis == BatchAxis::leading ? 1 : 0), q.role, q.name);
    Memory& now = g[made];
    now.loc = m.loc;
    now.scratch = m.scratch;
    now.zeros = m.zeros;
    now.work = m.work;
    if (m.scratch) {
      const auto like = static_cast<std::size_t>(m.like);
      if (axes[like] != axis || (m.into >= 0 && axes[static_cast<std::size_t>(m.into)] != axis))
        refuse(m.loc, fmt::format("it needs scratch memory in the shape of {}, which the batch shares; give {} a batch axis",
                                  k.parameters[like].name, k.parameters[like].name));
      now.like = position[like];
      now.into = m.into < 0 ? -1 : position[static_cast<std::size_t>(m.into)];
    }
    r.map(q.memory, made);
    of[q.memory.index] = axis;
  }
  const ValueId batch = b.index(0);
  for (std::size_t a = 0; a < k[k.body].arguments.size(); ++a) r.map(k[k.body].arguments[a], b.index(static_cast<int>(a) + 1));
  for (const Load& l : loads)
    for (int c = 0; c < l.count; ++c) r.map(k.parameters[l.first + static_cast<std::size_t>(c)].value, b.load(l.from, {&batch, 1}, c));

  r.hook = [&](Rewriter& to, OpId id) {
    const Op& op = k[id];
    if (op.code == Opcode::domain || op.code == Opcode::group_index) {
      Op now = op;
      ++now.leaf;
      const Type i32 = DType::i32;
      to.map(op.results, g[b.append(std::move(now), {&i32, 1})].results);
      return true;
    }
    if (!op.memory.valid() || of[op.memory.index] == BatchAxis::shared) return false;
    const bool leading = of[op.memory.index] == BatchAxis::leading;
    Op now = op;
    now.memory = to(op.memory);
    now.operands = to(op.operands);
    if (op.code == Opcode::extent) {
      if (!leading) {
        to.map(op.results, {b.i32(1)});
        return true;
      }
      ++now.leaf;
    } else if (leading) {
      now.operands.insert(now.operands.begin(), batch);
    } else {
      now.operands[0] = batch;
    }
    std::vector<Type> types;
    for (ValueId v : op.results) types.push_back(k.type(v));
    const OpId made = b.append(std::move(now), types);
    to.map(op.results, g[made].results);
    return true;
  };
  r.copy_ops(k.body);
  b.finish();
  if (!k.before.stages.empty()) {
    if (any_group)
      refuse(k.loc, "it has an atomic_min or atomic_max, and takes a vector or struct by value; pass its members one by one, or share it");
    g.before = ad::moved(k.before, position);
    for (std::size_t s = 0; s < g.before.stages.size(); ++s) {
      std::vector<BatchAxis> own;
      for (const int a : k.before.stages[s].arguments)
        own.push_back(axes[static_cast<std::size_t>(a >= 0 ? a : k.before.arrays[static_cast<std::size_t>(-1 - a)].like)]);
      g.before.stages[s].kernel = std::make_shared<const Function>(batched_kernel(*k.before.stages[s].kernel, own));
    }
  }
  if (k.rules != Rules{}) {
    if (any_group) refuse(k.loc, "it has a rule and takes a vector or struct by value; pass its members one by one, or share it");
    const auto batched = [&](const std::shared_ptr<const Function>& rule, bool reverse) {
      return rule ? std::make_shared<const Function>(batched_kernel(*rule, rule_axes(k, axes, *rule, reverse))) : nullptr;
    };
    g.rules = {batched(k.rules.vjp, true), batched(k.rules.jvp, false)};
  }
  return g;
}

}  // namespace fluxion
