// Arithmetic on whole arrays, written as kernels: one thread an element, one statement a leaf. A scalar
// operand next to arrays is passed as a scalar. Leaves that the op does not accept (an i32 flag inside a
// struct that is `mul`tiplied) keep the first array's value; half leaves compute in f32.
#include <fmt/format.h>

#include <map>

#include "fluxion/buffer_plan.h"
#include "fluxion/builder.h"
#include "fluxion/error.h"
#include "fluxion/rewrite.h"
#include "pointwise.h"

namespace fluxion {
namespace {

using Key = std::string;
using Kernels = std::map<Key, std::shared_ptr<const Function>>;

bool is_plain(Opcode op) { return is_elementwise(op) || op == Opcode::convert || op == Opcode::bitcast; }

ValueId lower(Builder& b, Kernels& kernels, Opcode op, const Values& operands, const Type& result) {
  Function& f = b.function();
  if (result.is_scalar()) {
    if (op == Opcode::convert) return b.convert(operands[0], result.dtype());
    if (op == Opcode::bitcast) return b.bitcast(operands[0], result.dtype());
    return b.emit(op, operands);
  }
  if (result.is_seq()) {
    ValueId first{};
    for (ValueId v : operands)
      if (!first.valid() && f.type(v).is_seq()) first = v;
    const ValueId n = b.seq_len(first);
    return b
        .for_(b.i32(0), n, {},
              [&](ValueId i, const Values&) {
                Values items;
                for (ValueId v : operands) items.push_back(f.type(v).is_seq() ? b.seq_get(v, i) : v);
                return Builder::LoopYield{{}, {lower(b, kernels, op, items, result.item())}};
              })
        .seqs[0];
  }
  std::vector<Type> types;
  Key key = fmt::format("{}:{}", name_of(op), to_string(result));
  for (ValueId v : operands) {
    types.push_back(f.type(v));
    key += "," + to_string(types.back());
  }
  auto& kernel = kernels[key];
  if (!kernel) kernel = std::make_shared<const Function>(pointwise_kernel(op, types, result));
  Values domain;
  for (int axis = 0; axis < result.rank; ++axis) domain.push_back(b.i32(static_cast<std::int32_t>(result.shape[axis])));
  return b.launch(kernel, domain, operands, {&result, 1})[0];
}

}  // namespace

Function pointwise_kernel(Opcode op, std::span<const Type> operands, const Type& result) {
  Function k;
  k.kind = Function::Kind::kernel;
  k.name = name_of(op);
  k.domain_rank = result.rank;
  Builder b(k);
  std::vector<MemoryId> memories(operands.size());
  Values scalars(operands.size());
  int first_array = -1;
  for (std::size_t i = 0; i < operands.size(); ++i) {
    const std::string name(1, static_cast<char>('a' + i));
    if (operands[i].is_scalar()) {
      scalars[i] = b.scalar_parameter(operands[i].dtype(), name);
    } else {
      memories[i] = b.memory_parameter(operands[i].element, result.rank, Role::in, name);
      if (first_array < 0 && operands[i].element == result.element) first_array = static_cast<int>(i);
    }
  }
  const MemoryId r = b.memory_parameter(result.element, result.rank, Role::out, "r");
  Values at;
  for (int axis = 0; axis < result.rank; ++axis) at.push_back(b.index(axis));
  const auto& leaves = layout_of(result.element).leaves;
  Values results;
  for (std::size_t leaf = 0; leaf < leaves.size(); ++leaf) {
    const DType t = leaves[leaf].dtype;
    const auto operand = [&](std::size_t i) {
      if (scalars[i].valid()) return scalars[i];
      const std::size_t own = layout_of(operands[i].element).leaves.size() == 1 ? 0 : leaf;
      const ValueId v = b.load(memories[i], at, static_cast<int>(own));
      return is_half(k.type(v).dtype()) ? b.convert(v, DType::f32) : v;
    };
    ValueId v{};
    if (op == Opcode::convert || op == Opcode::bitcast) {
      v = op == Opcode::convert ? b.convert(operand(0), is_half(t) ? DType::f32 : t) : b.bitcast(operand(0), t);
    } else {
      const bool predicate = info(op).flags & flag::predicate;
      const bool fits = predicate || op == Opcode::select || accepts(info(op).operands, is_half(t) ? DType::f32 : t);
      if (fits) {
        Values values;
        for (std::size_t i = 0; i < operands.size(); ++i) values.push_back(operand(i));
        v = b.emit(op, values);
      } else {
        if (first_array < 0) throw KernelError({}, fmt::format("{} does not work on {}", name_of(op), to_string(result)));
        v = operand(static_cast<std::size_t>(first_array));
      }
    }
    results.push_back(is_half(t) ? b.convert(v, t) : v);
  }
  for (std::size_t leaf = 0; leaf < leaves.size(); ++leaf) b.store(r, at, results[leaf], static_cast<int>(leaf));
  b.finish();
  return k;
}

Function lower_array_ops(const Function& program) {
  Kernels kernels;
  return rewrite(program, [&](Rewriter& r, OpId id) {
    const Op& op = r.from[id];
    if (op.results.size() != 1) return false;
    const Type t = r.from.type(op.results[0]);
    if (is_plain(op.code) && !t.is_scalar()) {
      r.map(op.results[0], lower(r.to, kernels, op.code, r(op.operands), t));
      return true;
    }
    if (op.code == Opcode::seq_add_at && t.item().is_seq()) {
      const ValueId s = r(op.operands[0]), i = r(op.operands[1]), old = r.to.seq_get(s, i);
      const ValueId sum = lower(r.to, kernels, Opcode::add, {old, r(op.operands[2])}, t.item());
      r.map(op.results[0], r.to.seq_set(s, i, sum));
      return true;
    }
    return false;
  });
}

bool is_pointwise(const Function& k) {
  const Region& body = k[k.body];
  bool stored = false;
  for (const Parameter& p : k.parameters)
    if (p.kind == Parameter::Kind::memory && ((p.role != Role::in && p.role != Role::out) || k[p.memory].rank != k.domain_rank))
      return false;
  for (OpId id : body.ops) {
    const Op& op = k[id];
    if (!op.regions.empty() || op.code == Opcode::accumulate) return false;
    if (op.code != Opcode::load && op.code != Opcode::store) continue;
    if (op.code == Opcode::load && stored) return false;
    stored |= op.code == Opcode::store;
    const std::size_t rank = static_cast<std::size_t>(k.domain_rank);
    if (k[op.memory].space != Memory::Space::parameter) return false;
    if (body.arguments.size() != rank || !std::equal(body.arguments.begin(), body.arguments.end(), op.operands.begin())) return false;
  }
  return true;
}

Function loads_first(Function f) {
  auto& ops = f[f.body].ops;
  std::stable_partition(ops.begin(), ops.end(), [&](OpId o) { return f[o].code == Opcode::load; });
  return f;
}

std::vector<char> taken_over(const Function& k) {
  std::vector<char> out(k.parameters.size(), 1);
  const std::vector<OpId>& ops = k[k.body].ops;
  std::vector<OpId> stores;
  bool calls = false;
  for (OpId id : ops) {
    if (k[id].code == Opcode::store) stores.push_back(id);
    calls |= k[id].code == Opcode::call;  // of what may turn out not to need its arguments
  }
  if (stores.size() <= 1) return out;
  for (std::size_t p = 0; p < out.size(); ++p) {
    if (k.parameters[p].kind != Parameter::Kind::memory) continue;
    out[p] = !calls;
    for (OpId load : ops) {
      if (k[load].code != Opcode::load || k[load].memory != k.parameters[p].memory) continue;
      std::vector<char> needs(k.values.size());
      needs[k[load].results[0].index] = 1;
      for (OpId id : ops) {
        bool any = false;
        for (ValueId v : k[id].operands) any |= needs[v.index] != 0;
        for (ValueId v : k[id].results) needs[v.index] |= any;
        if (k[id].code == Opcode::store && k[id].leaf == k[load].leaf) out[p] &= any;
      }
    }
  }
  return out;
}

}  // namespace fluxion
