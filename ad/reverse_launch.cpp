// Programs: a launch backwards is a launch of the callee's vjp, on the old versions and the cotangents of the
// new ones. Elementwise ops on arrays are treated as launches of a kernel with that one op.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <set>

#include "fluxion/error.h"
#include "fluxion/mutants.h"
#include "fluxion/rewrite.h"
#include "reverse.h"

namespace fluxion::ad {
namespace {

constexpr double kKeptBytes = 64 << 20;  // of a launch; beyond, memory costs what computing again does

/// `f` with the extents of these memories as numbers: its adjoint has no parameter to ask for them.
Function with_extents(const Function& f, const std::map<MemoryId, Type>& known) {
  return rewrite(f, [&](Rewriter& rw, OpId o) {
    const Op& op = f[o];
    const auto m = op.code == Opcode::extent ? known.find(op.memory) : known.end();
    if (m == known.end()) return false;
    rw.map(op.results[0], rw.to.i32(static_cast<std::int32_t>(m->second.shape[op.leaf])));
    return true;
  });
}

}  // namespace

void Reverse::reverse_launch(OpId o) {
  const Op& op = f_[o];
  const auto& callee = f_.callees[op.ref];
  const auto rank = static_cast<std::ptrdiff_t>(callee->domain_rank);
  reverse_call(callee, primal(Values(op.operands.begin(), op.operands.begin() + rank)),
               Values(op.operands.begin() + rank, op.operands.end()), op.results, o);
}

void Reverse::reverse_elementwise_arrays(const Op& op) {
  const ValueId r = op.results[0], y = adjoint[r.index];
  const bool arrays = f_.type(r).is_array();
  bool alike = true;
  for (ValueId v : op.operands) alike &= f_.type(v) == f_.type(r);
  if (alike && (op.code == Opcode::add || op.code == Opcode::sub || op.code == Opcode::neg)) {
    for (std::size_t k = 0; k < op.operands.size(); ++k) {
      const ValueId v = op.operands[k];
      if (!act_.active(v)) continue;
      const bool minus = op.code == Opcode::neg || (op.code == Opcode::sub && k == 1);
      ValueId& a = adjoint[v.index];
      if (!minus) add_adjoint(v, y);
      else a = a.valid() ? b_.sub(a, y) : b_.emit(Opcode::neg, {y});
    }
    return;
  }
  std::string key = fmt::format("{} {}", static_cast<int>(op.code), to_string(f_.type(r)));
  for (ValueId v : op.operands) key += ' ' + to_string(f_.type(v));
  auto& kernel = elementwise_[key];
  if (!kernel) kernel = std::make_shared<Function>(elementwise_kernel(f_, op));
  Values domain;
  for (int k = 0; k < kernel->domain_rank; ++k) domain.push_back(b_.i32(arrays ? static_cast<std::int32_t>(f_.type(r).shape[k]) : 1));
  reverse_call(kernel, domain, op.operands, op.results);
}

Reverse::CallAdjoint Reverse::call_adjoint(const std::shared_ptr<const Function>& callee, const Values& operands, const Values& results,
                                           const std::function<bool(ValueId)>& has_cotangent) {
  const std::size_t count = callee->parameters.size();
  CallAdjoint call;
  call.operand.resize(count);
  call.result.resize(count);
  std::vector<char> wrt(count), cotangents(count), key;
  std::size_t next_operand = 0, next_result = 0;
  bool any_cotangent = false, any_gradient = false;
  for (std::size_t p = 0; p < count; ++p) {
    const Parameter& parameter = callee->parameters[p];
    const bool memory_parameter = parameter.kind == Parameter::Kind::memory;
    if (!memory_parameter || parameter.role != Role::out) call.operand[p] = operands[next_operand++];
    if (memory_parameter && parameter.role != Role::in) {
      call.result[p] = results[next_result++];
      cotangents[p] = has_cotangent(call.result[p]);
      any_cotangent |= cotangents[p];
    }
    const bool active = call.operand[p].valid() && act_.active(call.operand[p]);
    if (!call.result[p].valid()) wrt[p] = active;
    any_gradient |= active && parameter.role != Role::accum;
  }
  if (!any_cotangent) {
    call.result.clear();
    return call;
  }
  if (!any_gradient) return call;
  key = wrt;
  key.insert(key.end(), cotangents.begin(), cotangents.end());
  std::set<MemoryId> asked;
  for (const Op& o : callee->ops)
    if (o.code == Opcode::extent) asked.insert(o.memory);
  std::map<MemoryId, Type> known;
  for (std::size_t p = 0; p < count; ++p) {
    const Parameter& parameter = callee->parameters[p];
    if (!call.result[p].valid() || parameter.role == Role::inout || cotangents[p] || !asked.contains(parameter.memory)) continue;
    const Type& t = known[parameter.memory] = f_.type(call.result[p]);
    for (int axis = 0; axis < t.rank; ++axis)
      for (int byte = 0; byte < 4; ++byte) key.push_back(static_cast<char>(t.shape[axis] >> (8 * byte)));
  }
  kept_.push_back(callee);
  auto& k = adjoints_[{callee.get(), key}];
  if (!k)
    k = std::make_shared<KernelAdjoint>(
        vjp_kernel(known.empty() ? *callee : with_extents(*callee, known), wrt, cotangents, true, false, keeps_tapes && known.empty()));
  call.adjoint = k;
  return call;
}

/// A launch that writes its tape for its reverse; false where it does not pay, or cannot be.
bool Reverse::sweep_kept(OpId o) {
  const Op& op = f_[o];
  if (!keeps_tapes || s_.region_of[o.index] != f_.body || base_ != f_.body) return false;
  const auto& callee = f_.callees[op.ref];
  const auto rank = static_cast<std::size_t>(callee->domain_rank);
  std::array<std::int64_t, 3> domain{1, 1, 1};
  for (std::size_t k = 0; k < rank; ++k) {
    if (!f_.is_constant(op.operands[k])) return false;
    domain[k] = std::max(0, static_cast<std::int32_t>(f_[op.operands[k]].bits));
  }
  const Values operands(op.operands.begin() + static_cast<std::ptrdiff_t>(rank), op.operands.end());
  // What is active gets a cotangent, or else this tape is made for nothing: reverse_call looks again.
  const CallAdjoint call = call_adjoint(callee, operands, op.results, [&](ValueId v) { return act_.active(v); });
  if (!call.adjoint || call.adjoint->kept.arrays.empty()) return false;
  std::vector<Type> outs;
  for (std::size_t p = 0; p < callee->parameters.size(); ++p)
    if (callee->parameters[p].role == Role::out) outs.push_back(f_.type(call.result[p]));
  double bytes = 0;
  for (const TapeArray& a : call.adjoint->kept.arrays) {
    std::int64_t slow = 1;
    for (std::size_t k = 0; k + 1 < rank; ++k) slow *= domain[k];
    bytes += static_cast<double>(a.rows) * static_cast<double>(slow) * static_cast<double>(domain[rank - 1]) * size_of(a.type);
    if (bytes > kKeptBytes) return false;
    Type t;
    t.element = a.type;
    t.rank = 2;
    t.shape = {a.rows * slow, domain[rank - 1], 0};
    outs.push_back(t);
  }
  const Values made =
      b_.launch(call.adjoint->kept.forward, primal(Values(op.operands.begin(), op.operands.begin() + static_cast<std::ptrdiff_t>(rank))),
                primal(operands), outs);
  map_results(op, made);
  tapes_[o] = {call.adjoint, Values(made.begin() + static_cast<std::ptrdiff_t>(op.results.size()), made.end())};
  return true;
}

void Reverse::reverse_call(const std::shared_ptr<const Function>& callee, const Values& domain, const Values& operands,
                           const Values& results, OpId launch) {
  const auto tape = launch.valid() ? tapes_.find(launch) : tapes_.end();
  const CallAdjoint call = call_adjoint(callee, operands, results, [&](ValueId v) { return adjoint[v.index].valid(); });
  const std::vector<ValueId>&operand = call.operand, &result = call.result;
  // An Accum only adds: the old version's cotangent is the new one's.
  for (std::size_t p = 0; p < result.size(); ++p)
    if (callee->parameters[p].role == Role::accum && result[p].valid() && !planted(testing::Mutant::accum_breaks_chain))
      add_adjoint(operand[p], adjoint[result[p].index]);
  if (!call.adjoint) return;
  const auto& k = call.adjoint;
  const bool kept = tape != tapes_.end() && tape->second.adjoint == k;
  const Function& v = *k->function;

  const auto zeros_like = [&](ValueId x) { return b_.zero(cotangent_type(x)); };
  std::vector<ValueId> given(v.parameters.size());  // by parameter of v
  std::vector<char> fresh(v.parameters.size());     // gradients that start from zero
  std::vector<Type> outs;
  Values arguments;
  std::vector<char> taken(f_.values.size());
  for (std::size_t q = 0; q < v.parameters.size(); ++q) {
    const KernelAdjoint::Slot& slot = k->slots[q];
    const auto p = static_cast<std::size_t>(slot.parameter);
    switch (slot.kind) {
      case KernelAdjoint::Slot::Kind::primal:
        given[q] = primal(planted(testing::Mutant::reverse_from_new) && result[p].valid() ? result[p] : operand[p]);
        break;
      case KernelAdjoint::Slot::Kind::cotangent: {
        const ValueId a = adjoint[result[p].index];
        given[q] = a.valid() ? a : zeros_like(result[p]);
        break;
      }
      case KernelAdjoint::Slot::Kind::gradient: {
        // The kernel adds to what there is already, unless the same array is passed twice.
        const ValueId x = operand[p];
        const bool extend = adjoint[x.index].valid() && !taken[x.index];
        fresh[q] = !extend;
        taken[x.index] = 1;
        given[q] = extend ? adjoint[x.index] : zeros_like(x);
        break;
      }
      case KernelAdjoint::Slot::Kind::scratch: {
        const Memory& m = v[v.parameters[q].memory];
        given[q] = given[static_cast<std::size_t>(m.like)];
        if (m.role != Role::out) break;
        Type t = b_.function().type(given[q]);
        t.element = m.element;
        outs.push_back(t);
        continue;
      }
    }
    arguments.push_back(given[q]);
  }
  if (kept) arguments.insert(arguments.end(), tape->second.arrays.begin(), tape->second.arrays.end());
  const Values versions = b_.launch(kept ? k->kept.backward : k->function, domain, arguments, outs);
  // First what replaces a cotangent, then what adds to one: the same array may be passed in two roles.
  for (const bool replace : {true, false}) {
    std::size_t next = 0;
    for (std::size_t q = 0; q < v.parameters.size(); ++q) {
      const Parameter& parameter = v.parameters[q];
      if (parameter.kind != Parameter::Kind::memory || parameter.role == Role::in) continue;
      const ValueId version = versions[next++];
      const KernelAdjoint::Slot& slot = k->slots[q];
      if (slot.kind == KernelAdjoint::Slot::Kind::scratch) continue;
      const ValueId x = operand[static_cast<std::size_t>(slot.parameter)];
      const bool extends = slot.kind == KernelAdjoint::Slot::Kind::gradient && !fresh[q];
      if (extends != replace) continue;
      if (extends && !planted(testing::Mutant::gradient_doubled)) adjoint[x.index] = version;
      else add_adjoint(x, version);
    }
  }
}

Function item_kernel(const Function& f, const Op& op) {
  Function out;
  out.kind = Function::Kind::kernel;
  out.name = "item";
  out.loc = op.loc;
  out.domain_rank = 1;
  Builder b(out);
  b.loc = op.loc;
  const MemoryId a = b.memory_parameter(f.type(op.operands[0]).element, 1, Role::in, "a");
  const ValueId i = b.scalar_parameter(DType::i32, "i");
  const MemoryId r = b.memory_parameter(f.type(op.results[0]).element, 1, Role::out, "r");
  const ValueId at = b.index(0);
  const ValueId v = b.load(a, {&i, 1});
  b.store(r, {&at, 1}, v);
  b.finish();
  return out;
}

Function elementwise_kernel(const Function& f, const Op& op) {
  Function out;
  out.kind = Function::Kind::kernel;
  out.name = name_of(op.code);
  out.loc = op.loc;
  const Type t = f.type(op.results[0]);
  out.domain_rank = t.is_array() ? t.rank : 1;
  Builder b(out);
  b.loc = op.loc;
  std::vector<MemoryId> memories;
  Values scalars;
  for (std::size_t k = 0; k < op.operands.size(); ++k) {
    const Type& x = f.type(op.operands[k]);
    const std::string name(1, static_cast<char>('a' + k));
    memories.push_back(x.is_array() ? b.memory_parameter(x.element, x.rank, Role::in, name) : MemoryId{});
    scalars.push_back(x.is_array() ? ValueId{} : b.scalar_parameter(x.dtype(), name));
  }
  const MemoryId result = b.memory_parameter(t.element, out.domain_rank, Role::out, "r");
  Values at;
  for (int k = 0; k < out.domain_rank; ++k) at.push_back(b.index(k));
  // Leaf by leaf, halves in f32; a leaf that the op does not work on is that of the first array.
  const auto& leaves = layout_of(t.element).leaves;
  const auto wide = [](DType x) { return is_half(x) ? DType::f32 : x; };
  const auto operand = [&](std::size_t k, std::size_t leaf) {
    if (!memories[k].valid()) return scalars[k];
    const bool one = layout_of(out[memories[k]].element).leaves.size() == 1;
    const ValueId v = b.load(memories[k], at, one ? 0 : static_cast<int>(leaf));
    return b.convert(v, wide(out.type(v).dtype()));
  };
  Values results;
  for (std::size_t leaf = 0; leaf < leaves.size(); ++leaf) {
    const DType to = leaves[leaf].dtype;
    ValueId v{};
    if (op.code == Opcode::convert) {
      v = operand(0, leaf);
    } else if (op.code == Opcode::select || (info(op.code).flags & flag::predicate) || accepts(info(op.code).operands, wide(to))) {
      Values x;
      for (std::size_t k = 0; k < op.operands.size(); ++k) x.push_back(operand(k, leaf));
      v = b.emit(op.code, x);
    } else {
      std::size_t first = 0;
      while (first + 1 < memories.size() && !(memories[first].valid() && out[memories[first]].element == t.element)) ++first;
      v = operand(first, leaf);
    }
    results.push_back(b.convert(v, to));
  }
  for (std::size_t leaf = 0; leaf < leaves.size(); ++leaf) b.store(result, at, results[leaf], static_cast<int>(leaf));
  b.finish();
  return out;
}

}  // namespace fluxion::ad
