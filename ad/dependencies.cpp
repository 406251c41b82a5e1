// Runs a function over sets of inputs: control flow, threads, calls; see dependency_machine.h.
#include "fluxion/dependencies.h"

#include <algorithm>
#include <utility>

#include "dependency_machine.h"
#include "fluxion/evaluate.h"

namespace fluxion {
namespace ad {

DependencyMachine::DependencyMachine(const Function& f, DependencyContext& context)
    : f_(f), x_(context), scalars_(f.values.size()), memories_(f.memories.size()), locals_(f.regions.size()) {
  bool objects = false;
  for (std::size_t v = 0; v < f.values.size(); ++v) {
    objects |= !f.values[v].type.is_scalar();
    if (f.values[v].kind == Value::Kind::constant) scalars_[v] = {f.values[v].bits, true, nullptr};
  }
  if (objects) objects_.resize(f.values.size());
  for (std::uint32_t m = 0; m < f.memories.size(); ++m) {
    const Memory& memory = f.memories[m];
    if (memory.space != Memory::Space::local && memory.space != Memory::Space::shared) continue;
    memories_[m] = make_abstract_array(memory.element, {memory.length, 1, 1}, true);
    if (memory.space == Memory::Space::local) locals_[memory.scope.index].push_back({m});
    else shared_.push_back({m});
  }
}

std::vector<AbstractValue> DependencyMachine::call(std::vector<AbstractValue> arguments) {
  for (std::size_t p = 0; p < arguments.size(); ++p) put(f_.parameters[p].value, std::move(arguments[p]));
  run(f_.body);
  std::vector<AbstractValue> out;
  for (ValueId v : f_.terminator(f_.body).operands) out.push_back(get(v));
  return out;
}

void DependencyMachine::launch(const std::array<std::int64_t, 3>& domain, const std::vector<AbstractValue>& arguments) {
  domain_ = domain;
  for (std::size_t p = 0; p < f_.parameters.size(); ++p) {
    if (f_.parameters[p].kind == Parameter::Kind::memory) memories_[f_.parameters[p].memory.index] = arguments[p].array;
    else scalars_[f_.parameters[p].value.index] = arguments[p].scalar;
  }
  if (f_.has_groups()) return launch_groups();
  const std::int64_t threads = domain_[0] * domain_[1] * domain_[2];
  const std::size_t before = x_.sets.nodes();
  for (std::int64_t t = 0; t < threads; ++t) {
    std::int64_t rest = t;
    std::array<std::int64_t, 3> at{};
    for (int a = f_.domain_rank - 1; a >= 0; --a) {
      at[static_cast<std::size_t>(a)] = rest % domain_[static_cast<std::size_t>(a)];
      rest /= domain_[static_cast<std::size_t>(a)];
    }
    thread(at);
    x_.sets.rewind(before);
  }
}

void DependencyMachine::thread(const std::array<std::int64_t, 3>& at) {
  const Values& index = f_[f_.body].arguments;
  for (std::size_t a = 0; a < index.size(); ++a) scalars_[index[a].index] = {static_cast<std::uint32_t>(at[a]), true, nullptr};
  run(f_.body);
}

void DependencyMachine::launch_groups() {
  std::array<std::int64_t, 3> size{1, 1, 1}, groups{1, 1, 1};
  for (std::size_t a = 0; a < static_cast<std::size_t>(f_.domain_rank); ++a) {
    size[a] = f_.group[a];
    groups[a] = domain_[a] / size[a];
  }
  const std::size_t nodes = x_.sets.nodes();
  x_.group = true;
  for (group_[0] = 0; group_[0] < groups[0]; ++group_[0])
    for (group_[1] = 0; group_[1] < groups[1]; ++group_[1])
      for (group_[2] = 0; group_[2] < groups[2]; ++group_[2]) {
        for (MemoryId m : shared_) reset(*memories_[m.index]);
        subgroups_.clear();
        for (std::uint64_t before = ~std::uint64_t{0}; before != x_.shared;) {
          before = x_.shared;
          for (std::int64_t i = 0; i < size[0]; ++i)
            for (std::int64_t j = 0; j < size[1]; ++j)
              for (std::int64_t k = 0; k < size[2]; ++k) {
                thread({group_[0] * size[0] + i, group_[1] * size[1] + j, group_[2] * size[2] + k});
                x_.sets.rewind(nodes);
              }
        }
      }
  x_.group = false;
}

void DependencyMachine::reset(AbstractArray& a) {
  a.waiting.clear();
  a.depends = false;
  for (Cell& c : a.cells) c = {0, nullptr, true};
}

void DependencyMachine::run(RegionId r) {
  for (MemoryId m : locals_[r.index]) {
    AbstractArray& a = *memories_[m.index];
    if (!x_.fix) reset(a);
    else
      for (Cell& c : a.cells) note(join_into(c, {0, nullptr, true}), true);
  }
  for (OpId id : f_[r].ops) step(f_[id], id);
}

void DependencyMachine::branch(const Op& op) {
  const Abstract& c = scalars_[op.operands[0].index];
  const auto arm = [&](int k) {
    run(op.regions[static_cast<std::size_t>(k)]);
    return get(f_.terminator(op.regions[static_cast<std::size_t>(k)]).operands);
  };
  if (c.known) return put(op.results, arm(c.bits ? 0 : 1));
  const Raised weak(x_.weak);
  std::vector<AbstractValue> both = arm(0);
  join_into(both, arm(1));
  put(op.results, std::move(both));
}

void DependencyMachine::collect_all(AbstractSeq& s, const AbstractValue& v) {
  bool changed = false;
  if (s.items.empty()) s.items.push_back(v);
  else s.items[0] = join(s.items[0], v, changed);
}

void DependencyMachine::summarise(AbstractSeq& s) {
  if (s.summary) return;
  std::vector<AbstractValue> items;
  items.swap(s.items);
  s.summary = true;
  for (const AbstractValue& v : items) collect_all(s, v);
}

namespace {
void append(std::vector<AbstractValue>& values, std::vector<std::shared_ptr<AbstractSeq>>& seqs) {
  for (auto& s : seqs) {
    values.emplace_back();
    values.back().seq = std::move(s);
  }
}
}  // namespace

// An unknown number of iterations: `once` until it adds nothing to what is carried, collected or in memory.
void DependencyMachine::until_settled(std::vector<AbstractValue>& carry, std::vector<std::shared_ptr<AbstractSeq>>& seqs, RegionId body,
                                      const std::function<void()>& once) {
  const Raised weak(x_.weak), fix(x_.fix);
  const std::size_t n = carry.size();
  for (auto& s : seqs) summarise(*s);
  for (bool changed = true; changed;) {
    const std::uint64_t before = x_.changes;
    once();
    std::vector<AbstractValue> next = get(f_.terminator(body).operands);
    for (std::size_t c = 0; c < seqs.size(); ++c) collect_all(*seqs[c], next[n + c]);
    next.resize(n);
    changed = join_into(carry, next) || x_.changes != before;
  }
}

void DependencyMachine::loop_for(const Op& op) {
  const RegionId body = op.regions[0];
  const Op& yield = f_.terminator(body);
  const std::span<const ValueId> args = std::span(f_[body].arguments).subspan(1);
  const ValueId index = f_[body].arguments[0];
  const std::size_t n = args.size(), collected = op.results.size() - n;
  std::vector<std::shared_ptr<AbstractSeq>> seqs(collected);
  for (auto& s : seqs) s = std::make_shared<AbstractSeq>();
  std::vector<AbstractValue> carry = get(op.operands, 2);
  const Abstract lo = scalars_[op.operands[0].index], hi = scalars_[op.operands[1].index];
  if (lo.known && hi.known) {
    const std::int64_t from = static_cast<std::int32_t>(lo.bits), to = static_cast<std::int32_t>(hi.bits);
    for (std::int64_t t = 0; t < to - from; ++t) {
      scalars_[index.index] = {static_cast<std::uint32_t>(op.down ? to - 1 - t : from + t), true, nullptr};
      put(args, std::move(carry));
      run(body);
      carry = get(yield.operands);
      for (std::size_t c = 0; c < collected; ++c) collect(*seqs[c], std::move(carry[n + c]));
      carry.resize(n);
    }
    if (op.down)
      for (auto& s : seqs) std::reverse(s->items.begin(), s->items.end());
  } else {
    until_settled(carry, seqs, body, [&] {
      scalars_[index.index] = {};
      put(args, carry);
      run(body);
    });
  }
  append(carry, seqs);
  put(op.results, std::move(carry));
}

void DependencyMachine::loop_while(const Op& op) {
  const RegionId cond = op.regions[0], body = op.regions[1];
  const Op &test = f_.terminator(cond), &yield = f_.terminator(body);
  const std::size_t n = op.operands.size(), collected = op.results.size() - n - 1;
  std::vector<std::shared_ptr<AbstractSeq>> seqs(collected);
  for (auto& s : seqs) s = std::make_shared<AbstractSeq>();
  std::vector<AbstractValue> carry = get(op.operands);
  std::uint32_t trips = 0;
  Abstract go;
  for (;; ++trips) {
    put(f_[cond].arguments, carry);
    run(cond);
    go = scalars_[test.operands[0].index];
    if (!go.known || !go.bits) break;
    put(f_[body].arguments, get(test.operands, 1));
    run(body);
    carry = get(yield.operands);
    for (std::size_t c = 0; c < collected; ++c) collect(*seqs[c], std::move(carry[n + c]));
    carry.resize(n);
  }
  std::vector<AbstractValue> end = get(test.operands, 1);
  if (!go.known) {
    until_settled(carry, seqs, body, [&] {
      put(f_[cond].arguments, carry);
      run(cond);
      end = get(test.operands, 1);
      put(f_[body].arguments, end);
      run(body);
    });
  }
  append(end, seqs);
  end.emplace_back();
  end.back().scalar = {trips, go.known, nullptr};
  put(op.results, std::move(end));
}

DependencyMachine& DependencyMachine::callee(const Op& op) {
  auto& m = callees_[op.ref];
  if (!m) m = std::make_unique<DependencyMachine>(*f_.callees[op.ref], x_);
  return *m;
}

void DependencyMachine::opaque(const Op& op) {
  std::vector<MembersPtr> all;
  for (ValueId v : op.operands) gather(get(v), all);
  const MembersPtr deps = x_.sets.merge(nullptr, all);
  for (ValueId v : op.results) {
    AbstractValue out;
    const Type& t = f_.type(v);
    if (t.is_array()) {
      out.array = make_abstract_array(t.element, extents(t), false);
      for (std::size_t c = 0; c < out.array->cells.size(); ++c)
        if (is_float(layout_of(t.element).leaves[c % out.array->leaves].dtype)) out.array->cells[c].deps = deps;
      out.array->depends = deps && !deps->empty();
    } else if (is_float(t.dtype()) && deps && !deps->empty()) {
      out.scalar.deps = x_.sets.of(deps);
    }
    put(v, std::move(out));
  }
}

void DependencyMachine::gather(const AbstractValue& v, std::vector<MembersPtr>& all) {
  if (v.array) {
    settle(*v.array);
    for (const Cell& c : v.array->cells)
      if (c.deps) all.push_back(c.deps);
  } else if (v.seq) {
    for (const AbstractValue& item : v.seq->items) gather(item, all);
  } else if (v.scalar.deps) {
    all.push_back(x_.sets.flatten(v.scalar.deps));
  }
}

void DependencyMachine::call(const Op& op) {
  const Function& g = *f_.callees[op.ref];
  if (g.rules != Rules{} || g.external) return opaque(op);
  std::vector<AbstractValue> in;
  std::size_t next = 0;
  for (const Parameter& p : g.parameters) {
    if (p.kind == Parameter::Kind::array && p.role == Role::out) {
      in.emplace_back().array = make_abstract_array(g.type(p.value).element, extents(g.type(p.value)), false);
      continue;
    }
    in.push_back(get(op.operands[next++]));
  }
  put(op.results, callee(op).call(std::move(in)));
}

void DependencyMachine::launch(const Op& op) {
  const Function& k = *f_.callees[op.ref];
  std::array<std::int64_t, 3> domain{1, 1, 1};
  std::size_t next = 0, result = 0;
  bool known = k.rules == Rules{} && !k.external;
  for (std::size_t a = 0; a < static_cast<std::size_t>(k.domain_rank); ++a) {
    const Abstract& n = scalars_[op.operands[next++].index];
    known &= n.known;
    domain[a] = std::max(static_cast<std::int32_t>(n.bits), 0);
  }
  if (!known) return opaque(op);
  std::vector<AbstractValue> in;
  std::vector<ArrayPtr> written;
  for (const Parameter& p : k.parameters) {
    if (p.kind == Parameter::Kind::memory && p.role == Role::out) {
      const Type& t = f_.type(op.results[result]);
      in.emplace_back().array = make_abstract_array(t.element, extents(t), false);
    } else {
      in.push_back(get(op.operands[next++]));
      if (p.kind == Parameter::Kind::memory) {
        settle(*in.back().array);
        if (p.role != Role::in) in.back().array = std::make_shared<AbstractArray>(*in.back().array);
      }
    }
    if (p.kind == Parameter::Kind::memory && p.role != Role::in) {
      written.push_back(in.back().array);
      ++result;
    }
  }
  // Versions: what the launch stores is in arrays that are new, even in a loop that runs again.
  const int weak = std::exchange(x_.weak, 0), fix = std::exchange(x_.fix, 0);
  struct Restore {
    DependencyContext& x;
    int weak, fix;
    ~Restore() { x.weak = weak, x.fix = fix; }
  } restore{x_, weak, fix};
  const std::uint64_t before = x_.changes;
  callee(op).launch(domain, in);
  x_.changes = before;
  for (std::size_t i = 0; i < written.size(); ++i) {
    settle(*written[i]);
    AbstractValue out;
    out.array = written[i];
    put(op.results[i], std::move(out));
  }
}

void DependencyMachine::step(const Op& op, OpId id) {
  if (is_elementwise(op.code)) return elementwise(op);
  switch (op.code) {
    case Opcode::convert:
    case Opcode::bitcast: return elementwise(op);
    case Opcode::load: scalars_[op.results[0].index] = load(op); break;
    case Opcode::store: store(op, scalars_[op.operands.back().index], false); break;
    case Opcode::accumulate: accumulate(op, scalars_[op.operands.back().index]); break;
    case Opcode::atomic: atomic(op); break;
    case Opcode::subgroup: subgroup(op, id); break;
    case Opcode::group_index: scalars_[op.results[0].index] = {static_cast<std::uint32_t>(group_[op.leaf]), true, nullptr}; break;
    case Opcode::extent:
      scalars_[op.results[0].index] = {static_cast<std::uint32_t>(memories_[op.memory.index]->extent[op.leaf]), true, nullptr};
      break;
    case Opcode::domain: scalars_[op.results[0].index] = {static_cast<std::uint32_t>(domain_[op.leaf]), true, nullptr}; break;
    case Opcode::if_: branch(op); break;
    case Opcode::for_: loop_for(op); break;
    case Opcode::while_: loop_while(op); break;
    case Opcode::seq_get: {
      const Abstract& i = scalars_[op.operands[1].index];
      if (f_.type(op.operands[0]).is_array()) {
        scalars_[op.results[0].index] = element(op, *objects_[op.operands[0].index].array, i);
        break;
      }
      put(op.results[0], seq_item(objects_[op.operands[0].index], static_cast<std::size_t>(static_cast<std::int32_t>(i.bits)), i.known,
                                  f_.type(op.results[0])));
      break;
    }
    case Opcode::seq_set: seq_update(op, false); break;
    case Opcode::seq_add_at: seq_update(op, true); break;
    case Opcode::seq_len: {
      const auto& s = objects_[op.operands[0].index].seq;
      scalars_[op.results[0].index] = {s ? s->items.size() : 0, !s || !s->summary, nullptr};
      break;
    }
    case Opcode::zeros:
      put(op.results[0], zeros(f_.type(op.results[0]), op.operands.empty() ? Abstract{0, true, nullptr} : scalars_[op.operands[0].index]));
      break;
    case Opcode::launch: launch(op); break;
    case Opcode::call: call(op); break;
    case Opcode::yield:
    case Opcode::barrier:
    case Opcode::print:
    case Opcode::check: break;
    default: throw Bug(op.loc, fmt::format("the dependency run does not know {}", name_of(op.code)));
  }
}

/// Element i of an array of a program, or what any of them may be.
Abstract DependencyMachine::element(const Op& op, AbstractArray& a, const Abstract& i) {
  const std::int64_t n = a.extent[0], at = static_cast<std::int32_t>(i.bits);
  settle(a);
  if (i.known && at >= 0 && at < n) {
    const Cell& cell = a.cells[static_cast<std::size_t>(at)];
    return {cell.bits, cell.known, x_.sets.of(cell.deps)};
  }
  if (i.known && !x_.weak) throw KernelError(op.loc, fmt::format("\"{}\": element {} of an array of {}", f_.name, at, n));
  Abstract out;
  for (const Cell& cell : a.cells)
    if (cell.deps) out.deps = x_.sets.unite(out.deps, x_.sets.of(cell.deps));
  return out;
}

void DependencyMachine::rows(const AbstractValue& v, const Type& t, std::vector<MembersPtr>& out) {
  if (!v.array) {
    if (is_float(t.dtype())) out.push_back(x_.sets.flatten(v.scalar.deps));
    return;
  }
  settle(*v.array);
  const Layout& layout = layout_of(v.array->layout);
  for (std::size_t c = 0; c < v.array->cells.size(); ++c)
    if (is_float(layout.leaves[c % v.array->leaves].dtype)) out.push_back(v.array->cells[c].deps);
}

namespace {

ArrayPtr array_of(LayoutId layout, const DependencyArgument& from) {
  ArrayPtr a = make_abstract_array(layout, from.extent, false);
  const Layout& l = layout_of(layout);
  std::int64_t column = from.first_column;
  for (std::size_t c = 0; c < a->cells.size(); ++c) {
    const Leaf& leaf = l.leaves[c % a->leaves];
    Cell& cell = a->cells[c];
    if (is_float(leaf.dtype)) {
      if (column < 0) continue;
      cell.deps = std::make_shared<const Members>(1, static_cast<std::int32_t>(column++));
      a->depends = true;
    } else if (from.data) {
      __builtin_memcpy(&cell.bits, from.data + c / a->leaves * l.size + leaf.offset, static_cast<std::size_t>(size_of(leaf.dtype)));
      cell.known = true;
    }
  }
  return a;
}

}  // namespace
}  // namespace ad

SparsityPattern dependencies(const Function& f, std::array<std::int64_t, 3> domain, std::span<const DependencyArgument> arguments,
                             std::int64_t cols, std::span<const char> wanted) {
  using namespace ad;
  if (f.external)
    throw KernelError(
        f.loc, fmt::format("external \"{}\": nobody knows what its results depend on; take a dense Jacobian with its rules", f.name));
  DependencyContext context(cols);
  DependencyMachine machine(f, context);
  for (int a = f.domain_rank; a < 3; ++a) domain[static_cast<std::size_t>(a)] = 1;
  std::vector<AbstractValue> in;
  for (std::size_t p = 0; p < f.parameters.size(); ++p) {
    const Parameter& q = f.parameters[p];
    AbstractValue v;
    if (p >= arguments.size()) {  // scratch
      const Memory& m = f[q.memory];
      DependencyArgument like = arguments[static_cast<std::size_t>(m.like)];
      if (m.zeros || m.work >= 0 || q.role == Role::out) v.array = make_abstract_array(m.element, like.extent, m.zeros);
      else v.array = std::make_shared<AbstractArray>(*in[static_cast<std::size_t>(m.like)].array);
    } else if (q.kind == Parameter::Kind::memory) {
      v.array = array_of(f[q.memory].element, arguments[p]);
    } else if (q.kind == Parameter::Kind::array) {
      v.array = array_of(f.type(q.value).element, arguments[p]);
    } else if (!is_float(f.type(q.value).dtype())) {
      v.scalar = {arguments[p].bits, true, nullptr};
    } else if (arguments[p].first_column >= 0) {
      v.scalar.deps = context.sets.of(std::make_shared<const Members>(1, static_cast<std::int32_t>(arguments[p].first_column)));
    }
    in.push_back(std::move(v));
  }
  std::vector<MembersPtr> rows;
  if (f.kind == Function::Kind::kernel) {
    machine.launch(domain, in);
    // Scratch ends in the array that it is for.
    for (std::size_t p = arguments.size(); p < f.parameters.size(); ++p) {
      const Memory& m = f[f.parameters[p].memory];
      if (m.into < 0) continue;
      AbstractArray& to = *in[static_cast<std::size_t>(m.into)].array;
      machine.settle(to);
      machine.settle(*in[p].array);
      for (std::size_t c = 0; c < to.cells.size(); ++c)
        to.cells[c].deps = context.sets.merge(to.cells[c].deps, {in[p].array->cells[c].deps});
    }
    std::size_t output = 0;
    for (std::size_t p = 0; p < arguments.size(); ++p) {
      const Parameter& q = f.parameters[p];
      if (q.kind != Parameter::Kind::memory || q.role == Role::in) continue;
      if (wanted[output++]) machine.rows(in[p], {}, rows);
    }
  } else {
    const Values& yields = f.terminator(f.body).operands;
    const std::vector<AbstractValue> out = machine.call(std::move(in));
    for (std::size_t k = 0; k < out.size(); ++k)
      if (wanted[k]) machine.rows(out[k], f.type(yields[k]), rows);
  }
  SparsityPattern s;
  s.rows = static_cast<std::int64_t>(rows.size());
  s.cols = cols;
  for (const MembersPtr& r : rows) {
    if (r) s.col_indices.insert(s.col_indices.end(), r->begin(), r->end());
    s.row_offsets.push_back(static_cast<std::int64_t>(s.col_indices.size()));
  }
  return s;
}

}  // namespace fluxion
