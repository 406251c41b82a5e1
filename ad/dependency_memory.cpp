// Values, memory, arrays and sequences of the dependency run.
#include <algorithm>

#include "dependency_machine.h"
#include "fluxion/evaluate.h"
#include "partials.h"

namespace fluxion::ad {

ArrayPtr make_abstract_array(LayoutId layout, const std::array<std::int64_t, 3>& extent, bool zeros) {
  auto a = std::make_shared<AbstractArray>();
  a->layout = layout;
  a->extent = extent;
  a->leaves = layout_of(layout).leaves.size();
  a->cells.resize(static_cast<std::size_t>(a->count()) * a->leaves);
  if (zeros)
    for (Cell& c : a->cells) c.known = true;
  return a;
}
std::array<std::int64_t, 3> extents(const Type& t) {
  std::array<std::int64_t, 3> e{1, 1, 1};
  for (int k = 0; k < t.rank; ++k) e[static_cast<std::size_t>(k)] = t.shape[static_cast<std::size_t>(k)];
  return e;
}

AbstractValue DependencyMachine::get(ValueId v) const {
  if (!scalar(v)) return objects_[v.index];
  AbstractValue out;
  out.scalar = scalars_[v.index];
  return out;
}

void DependencyMachine::put(ValueId v, AbstractValue x) {
  if (scalar(v)) scalars_[v.index] = x.scalar;
  else objects_[v.index] = std::move(x);
}

std::vector<AbstractValue> DependencyMachine::get(const Values& list, std::size_t first) const {
  std::vector<AbstractValue> out;
  for (std::size_t i = first; i < list.size(); ++i) out.push_back(get(list[i]));
  return out;
}

Abstract DependencyMachine::join(const Abstract& a, const Abstract& b) {
  Abstract out{a.bits, a.known && b.known && a.bits == b.bits, a.deps};
  if (x_.fix && a.deps != b.deps) {  // members, so that a set that has stopped growing is the same set
    const MembersPtr &x = x_.sets.flatten(a.deps), &y = x_.sets.flatten(b.deps);
    if (y && x != y && (!x || !std::includes(x->begin(), x->end(), y->begin(), y->end()))) out.deps = x_.sets.unite(a.deps, b.deps);
  } else {
    out.deps = x_.sets.unite(a.deps, b.deps);
  }
  return out;
}

bool DependencyMachine::join_into(Cell& to, const Cell& from) {
  bool changed = false;
  if (to.known && !(from.known && from.bits == to.bits)) to.known = false, changed = true;
  if (from.deps && from.deps != to.deps) {
    MembersPtr now = x_.sets.merge(to.deps, {from.deps});
    if (now != to.deps) to.deps = std::move(now), changed = true;
  }
  return changed;
}

bool DependencyMachine::join_into(AbstractArray& to, AbstractArray& from) {
  settle(to);
  settle(from);
  bool changed = false;
  to.depends |= from.depends;
  for (std::size_t c = 0; c < to.cells.size(); ++c) changed |= join_into(to.cells[c], from.cells[c]);
  return changed;
}

void DependencyMachine::note(bool changed, bool local) {
  x_.changes += changed;
  x_.shared += changed && !local;
}

AbstractValue DependencyMachine::join(const AbstractValue& a, const AbstractValue& b, bool& changed) {
  AbstractValue out;
  if (a.array || b.array) {
    if (!a.array || !b.array) {
      out.array = a.array ? a.array : b.array;
      changed |= !a.array;
      return out;
    }
    out.array = a.array;
    if (a.array == b.array) return out;
    out.array = std::make_shared<AbstractArray>(*a.array);
    if (join_into(*out.array, *b.array)) changed = true;
    else out.array = a.array;
  } else if (a.seq || b.seq) {
    if (!a.seq || !b.seq) {
      out.seq = a.seq ? a.seq : b.seq;
      changed |= !a.seq;
      return out;
    }
    out.seq = a.seq;
    if (a.seq == b.seq) return out;
    out.seq = std::make_shared<AbstractSeq>();
    out.seq->summary = a.seq->summary || b.seq->summary || a.seq->items.size() != b.seq->items.size();
    if (!out.seq->summary) {
      for (std::size_t i = 0; i < a.seq->items.size(); ++i) out.seq->items.push_back(join(a.seq->items[i], b.seq->items[i], changed));
    } else {
      changed |= !a.seq->summary || (a.seq->items.empty() && !b.seq->items.empty());
      for (const auto* s : {a.seq.get(), b.seq.get()})
        for (const AbstractValue& item : s->items) {
          bool more = false;
          if (out.seq->items.empty()) out.seq->items.push_back(item);
          else out.seq->items[0] = join(out.seq->items[0], item, more);
          changed |= more;
        }
    }
  } else {
    out.scalar = join(a.scalar, b.scalar);
    changed |= out.scalar.known != a.scalar.known || out.scalar.deps != a.scalar.deps;
  }
  return out;
}

bool DependencyMachine::join_into(std::vector<AbstractValue>& to, const std::vector<AbstractValue>& from) {
  bool changed = false;
  for (std::size_t i = 0; i < to.size(); ++i) to[i] = join(to[i], from[i], changed);
  return changed;
}

void DependencyMachine::settle(AbstractArray& a, std::size_t c) {
  if (a.waiting.empty() || a.waiting[c].empty()) return;
  a.cells[c].deps = x_.sets.merge(a.cells[c].deps, a.waiting[c]);
  a.waiting[c].clear();
}

void DependencyMachine::settle(AbstractArray& a) {
  for (std::size_t c = 0; c < a.waiting.size(); ++c) settle(a, c);
  a.waiting.clear();
}

bool DependencyMachine::one_cell(const Op& op) const {
  for (std::size_t axis = 0; axis < static_cast<std::size_t>(f_[op.memory].rank); ++axis)
    if (!scalars_[op.operands[axis].index].known) return false;
  return true;
}

Abstract DependencyMachine::load(const Op& op) {
  AbstractArray& a = *memories_[op.memory.index];
  Abstract out;
  bool first = true;
  if (!one_cell(op) && (!a.depends || !is_float(leaf_type(op)))) return out;
  const bool one = each_cell(op, a, [&](std::size_t c) {
    settle(a, c);
    const Cell& cell = a.cells[c];
    if (first) out = {cell.bits, cell.known, x_.sets.of(cell.deps)};
    else if (cell.deps) out.deps = x_.sets.unite(out.deps, x_.sets.of(cell.deps));
    first = false;
  });
  out.known &= one;
  return out;
}

void DependencyMachine::store(const Op& op, const Abstract& v, bool weak) {
  AbstractArray& a = *memories_[op.memory.index];
  const Cell now{v.bits, x_.sets.flatten(v.deps), v.known};
  a.depends |= now.deps != nullptr;
  weak |= x_.weak || !one_cell(op) || (x_.group && !local(op));
  each_cell(op, a, [&](std::size_t c) {
    settle(a, c);
    if (weak) note(join_into(a.cells[c], now), local(op));
    else a.cells[c] = now;
  });
}

void DependencyMachine::accumulate(const Op& op, const Abstract& v) {
  AbstractArray& a = *memories_[op.memory.index];
  const DType t = leaf_type(op);
  const MembersPtr deps = is_float(t) ? x_.sets.flatten(v.deps) : nullptr;
  a.depends |= deps != nullptr;
  const bool again = x_.fix || (x_.group && !local(op)), exact = is_int(t) && v.known && one_cell(op) && !x_.weak && !again;
  each_cell(op, a, [&](std::size_t c) {
    Cell& cell = a.cells[c];
    if (exact && cell.known) {
      const std::uint64_t both[3] = {cell.bits, v.bits, 0};
      cell.bits = evaluate_op(Opcode::add, t, t, both);
    } else if (cell.known) {
      cell.known = false;
      note(true, local(op));
    }
    if (!deps || deps == cell.deps) return;
    if (again) {
      settle(a, c);
      note(join_into(cell, {0, deps, false}), local(op));
      return;
    }
    if (a.waiting.empty()) a.waiting.resize(a.cells.size());
    std::vector<MembersPtr>& w = a.waiting[c];
    w.push_back(deps);
    if (w.size() > 64 + (cell.deps ? cell.deps->size() : 0)) settle(a, c);
  });
}

void DependencyMachine::atomic(const Op& op) {
  const Abstract v = scalars_[op.operands.back().index];
  Abstract old = load(op);
  old.known = false;
  if (is_float(leaf_type(op))) old.deps = x_.sets.unite(old.deps, v.deps);
  scalars_[op.results[0].index] = old;
  store(op, {0, false, is_float(leaf_type(op)) ? v.deps : nullptr}, true);
}

void DependencyMachine::subgroup(const Op& op, OpId id) {
  Abstract& out = scalars_[op.results[0].index];
  out = {};
  if (!is_float(f_.type(op.results[0]).dtype())) return;
  MembersPtr& all = subgroups_[id.index];
  MembersPtr now = x_.sets.merge(all, {x_.sets.flatten(scalars_[op.operands[0].index].deps)});
  if (now != all) all = now, note(true, false);
  out.deps = x_.sets.of(all);
}

Abstract DependencyMachine::combine(Opcode code, DType result, DType operand, std::span<const Abstract> in) {
  Abstract out;
  out.known = true;
  if (code == Opcode::select && in[0].known) return in[in[0].bits ? 1 : 2];
  std::uint64_t bits[3] = {};
  for (std::size_t k = 0; k < in.size(); ++k) {
    out.known &= in[k].known;
    bits[k] = in[k].bits;
  }
  if (out.known) out.bits = evaluate_op(code, result, operand, bits);
  if (!is_float(result) || (!is_float(operand) && code != Opcode::select)) return out;
  for (std::size_t k = 0; k < in.size(); ++k)
    if (in[k].deps && (!is_elementwise(code) || depends(code, static_cast<int>(k)))) out.deps = x_.sets.unite(out.deps, in[k].deps);
  return out;
}

void DependencyMachine::elementwise(const Op& op) {
  const std::size_t n = op.operands.size();
  const ValueId typed = op.operands[op.code == Opcode::select ? 1 : 0];
  if (scalar(op.results[0])) {
    Abstract in[3];
    for (std::size_t k = 0; k < n; ++k) in[k] = scalars_[op.operands[k].index];
    scalars_[op.results[0].index] = combine(op.code, f_.type(op.results[0]).dtype(), f_.type(typed).dtype(), {in, n});
    return;
  }
  std::vector<Type> types;
  for (ValueId v : op.operands) types.push_back(f_.type(v));
  put(op.results[0], map(op.code, f_.type(op.results[0]), get(op.operands), types));
}

AbstractValue DependencyMachine::map(Opcode code, const Type& result, const std::vector<AbstractValue>& in,
                                     const std::vector<Type>& types) {
  AbstractValue out;
  if (result.is_scalar()) {
    Abstract s[3];
    for (std::size_t k = 0; k < in.size(); ++k) s[k] = in[k].scalar;
    out.scalar = combine(code, result.dtype(), types[code == Opcode::select ? 1 : 0].dtype(), {s, in.size()});
  } else if (result.is_array()) {
    out.array = map_array(code, result, in, types);
  } else {
    out.seq = std::make_shared<AbstractSeq>();
    std::vector<Type> inner = types;
    std::size_t longest = 0;
    bool same = true, any = false;
    for (std::size_t k = 0; k < in.size(); ++k) {
      if (!types[k].is_seq()) continue;
      inner[k] = types[k].item();
      const std::size_t n = in[k].seq ? in[k].seq->items.size() : 0;
      out.seq->summary |= in[k].seq && in[k].seq->summary;
      same &= !any || n == longest;
      longest = std::max(longest, n);
      any = true;
    }
    out.seq->summary |= !same;
    const auto item = [&](std::size_t e) {
      std::vector<AbstractValue> x;
      for (std::size_t k = 0; k < in.size(); ++k) x.push_back(types[k].is_seq() ? seq_item(in[k], e, !out.seq->summary, inner[k]) : in[k]);
      return map(code, result.item(), x, inner);
    };
    if (out.seq->summary) out.seq->items.push_back(item(0));
    else
      for (std::size_t e = 0; e < longest; ++e) out.seq->items.push_back(item(e));
  }
  return out;
}

ArrayPtr DependencyMachine::map_array(Opcode code, const Type& result, const std::vector<AbstractValue>& in,
                                      const std::vector<Type>& types) {
  ArrayPtr out = make_abstract_array(result.element, extents(result), false);
  const Layout& layout = layout_of(result.element);
  for (std::size_t k = 0; k < in.size(); ++k)
    if (in[k].array) settle(*in[k].array);
  std::size_t like = 0;
  while (like + 1 < types.size() && !(types[like].element == result.element && types[like].is_array())) ++like;
  for (std::size_t c = 0; c < out->cells.size(); ++c) {
    const DType t = layout.leaves[c % out->leaves].dtype;
    const auto operand = [&](std::size_t k) -> Abstract {
      if (!in[k].array) return in[k].scalar;
      const AbstractArray& a = *in[k].array;
      const Cell& cell = a.cells[a.leaves == out->leaves ? c : c / out->leaves * a.leaves];
      return {cell.bits, cell.known, x_.sets.of(cell.deps)};
    };
    Abstract v[3], r;
    for (std::size_t k = 0; k < in.size(); ++k) v[k] = operand(k);
    const bool plain = out->leaves == 1 && !is_half(t);
    if (code == Opcode::select && v[0].known) {
      r = v[v[0].bits ? 1 : 2];
    } else if (plain && types[0].element.is_scalar() && types.back().element.is_scalar() && !is_half(types.back().element.scalar())) {
      r = combine(code, t, types[code == Opcode::select ? 1 : 0].element.scalar(), {v, in.size()});
    } else if (!is_float(t) && is_elementwise(code) && code != Opcode::select && !accepts(info(code).operands, t)) {
      r = v[like];
    } else {  // several leaves, or halves: what it depends on is enough
      for (std::size_t k = 0; k < in.size(); ++k)
        if (is_float(t) && (!is_elementwise(code) || depends(code, static_cast<int>(k)))) r.deps = x_.sets.unite(r.deps, v[k].deps);
    }
    out->cells[c] = {r.bits, x_.sets.flatten(r.deps), r.known};
    out->depends |= out->cells[c].deps != nullptr;
  }
  return out;
}

AbstractValue DependencyMachine::zeros(const Type& t, const Abstract& n) {
  AbstractValue out;
  if (t.is_seq()) {
    out.seq = std::make_shared<AbstractSeq>();
    const Type item = t.item();
    const AbstractValue one = zeros(item, {0, true, nullptr});
    out.seq->summary = !n.known;
    const auto length = static_cast<std::int32_t>(n.bits);
    out.seq->items.assign(n.known ? static_cast<std::size_t>(std::max(length, 0)) : 1, one);
  } else if (t.is_array()) {
    out.array = make_abstract_array(t.element, extents(t), true);
  } else {
    out.scalar.known = true;
  }
  return out;
}

AbstractValue DependencyMachine::seq_item(const AbstractValue& s, std::size_t at, bool known, const Type& item) {
  if (s.seq && !s.seq->summary && known && at < s.seq->items.size()) return s.seq->items[at];
  AbstractValue out;
  bool any = false, changed = false;
  if (s.seq)
    for (const AbstractValue& v : s.seq->items) {
      out = any ? join(out, v, changed) : v;
      any = true;
    }
  if (!any) {
    out = zeros(item, {0, true, nullptr});
    out.scalar.known = false;
  }
  return out;
}

void DependencyMachine::seq_update(const Op& op, bool add) {
  const AbstractValue in = get(op.operands[0]), v = get(op.operands[2]);
  const Abstract i = scalars_[op.operands[1].index];
  const Type& item = f_.type(op.operands[2]);
  AbstractValue out;
  out.seq = in.seq ? std::make_shared<AbstractSeq>(*in.seq) : std::make_shared<AbstractSeq>();
  const auto at = static_cast<std::size_t>(static_cast<std::int32_t>(i.bits));
  const auto updated = [&](const AbstractValue& old) { return add ? map(Opcode::add, item, {old, v}, {item, item}) : v; };
  if (!out.seq->summary && i.known && at < out.seq->items.size()) {
    out.seq->items[at] = updated(out.seq->items[at]);
  } else {
    bool changed = false;
    for (AbstractValue& old : out.seq->items) old = join(old, updated(old), changed);
    if (out.seq->items.empty()) out.seq->items.push_back(v), out.seq->summary = true;
  }
  put(op.results[0], std::move(out));
}

}  // namespace fluxion::ad
