// Writes a program down in memory form. What shares memory with what is decided in buffer_classes.cpp; here
// every op becomes runs, copies and zero fills on those buffers, and every sequence a handle: two i32 values, its
// first record and its length. Handles go through loops and branches like other scalars.
#include "fluxion/buffer_plan.h"

#include <fmt/format.h>

#include <algorithm>

#include "fluxion/error.h"
#include "planner.h"

namespace fluxion::plan {
namespace {

std::array<std::int64_t, 3> extents(const Type& t) {
  std::array<std::int64_t, 3> shape{1, 1, 1};
  for (int axis = 0; axis < t.rank; ++axis) shape[axis] = t.shape[axis];
  return shape;
}

MemoryId buffer(Function& g, const Type& t, std::string name) {
  Memory m;
  m.space = Memory::Space::buffer;
  m.role = Role::inout;
  m.element = t.element;
  m.rank = static_cast<std::int8_t>(std::max<int>(t.rank, 0));
  m.shape = extents(t);
  m.scope = g.body;
  m.name = std::move(name);
  g.memories.push_back(std::move(m));
  return MemoryId{static_cast<std::uint32_t>(g.memories.size() - 1)};
}

}  // namespace

Function Planner::run() {
  g_.kind = f_.kind;
  g_.name = f_.name;
  g_.loc = b_.loc = f_.loc;
  parameters();
  region(f_.body);
  const Op& end = f_.terminator(f_.body);
  b_.loc = end.loc;
  std::vector<Move> pending;
  for (std::size_t k = 0; k < end.operands.size(); ++k)
    if (const int c = classes_->of_output(k); c >= 0) pending.push_back({{class_memory_[c], {}, false}, place(end.operands[k])});
  moves(std::move(pending));
  b_.finish();
  return std::move(g_);
}

void Planner::parameters() {
  const Values& end = f_.terminator(f_.body).operands;
  std::vector<int> outputs;
  std::map<ValueId, int> inputs;
  for (const Parameter& p : f_.parameters) {
    if (p.kind == Parameter::Kind::memory) throw Bug(f_.loc, "buffer_plan of a program that has memories already");
    if (p.kind == Parameter::Kind::scalar) {
      values_[p.value.index] = b_.scalar_parameter(f_.type(p.value).dtype(), p.name);
      continue;
    }
    const Type& t = f_.type(p.value);
    const MemoryId m = b_.memory_parameter(t.element, t.rank, p.role, p.name);
    g_[m].shape = extents(t);
    if (p.role == Role::in) places_[p.value.index] = {m, {}, false};
    if (p.role == Role::inout || p.role == Role::accum) inputs[p.value] = static_cast<int>(m.index);
    if (p.role != Role::in) outputs.push_back(static_cast<int>(m.index));
  }
  std::vector<std::pair<ValueId, MemoryId>> scalars;
  for (std::size_t k = outputs.size(), n = 0; k < end.size(); ++k, ++n) {
    const Type& t = f_.type(end[k]);
    if (t.is_seq()) throw KernelError(f_.loc, fmt::format("program \"{}\" returns a sequence; return an array", f_.name));
    const MemoryId m = b_.memory_parameter(t.element, std::max<int>(t.rank, 1), Role::out, fmt::format("result{}", n));
    g_[m].shape = extents(t);
    outputs.push_back(t.is_array() ? static_cast<int>(m.index) : -1);
  }
  classes_ = std::make_unique<BufferClasses>(f_, lives_, outputs, inputs);
  class_memory_.resize(classes_->size());
  records_.resize(classes_->size());
  for (const BufferClasses::Rotation& r : classes_->rotations()) {
    pools_.push_back(buffer(g_, (*classes_)[r.classes[0]].type, fmt::format("r{}", pools_.size())));
    g_[pools_.back()].records = true;
  }
  for (std::size_t c = 0; c < classes_->size(); ++c) {
    const auto& [type, pinned, rotation] = (*classes_)[static_cast<int>(c)];
    if (rotation >= 0) continue;
    class_memory_[c] = pinned >= 0 ? MemoryId{static_cast<std::uint32_t>(pinned)} : buffer(g_, type, fmt::format("b{}", c));
  }
  for (const BufferClasses::Stack& s : classes_->stacks()) {
    Type t = s.item;
    if (s.level > 1) t = Type(), t.element = packed(DType::i32, 2);
    stack_memory_.push_back(buffer(g_, t, fmt::format("s{}", stack_memory_.size())));
    g_[stack_memory_.back()].records = true;
  }
  for (const auto& [v, pin] : inputs) define(v);
}

void Planner::scopes(RegionId old) {
  for (std::size_t s = 0; s < stack_memory_.size(); ++s)
    if (classes_->stacks()[s].scope == old) g_[stack_memory_[s]].scope = b_.current();
  for (std::size_t r = 0; r < pools_.size(); ++r)
    if (lives_.region(classes_->rotations()[r].loop) == old) g_[pools_[r]].scope = b_.current();
}

// ---- values

ValueId Planner::value(ValueId old) {
  ValueId& now = values_[old.index];
  if (!now.valid()) {
    if (!f_.is_constant(old)) throw Bug(b_.loc, "buffer_plan: a value is used before it is made\n" + print(f_));
    now = b_.constant(f_.type(old).dtype(), f_[old].bits);
  }
  return now;
}

Place Planner::place(ValueId old) const {
  const Value& v = f_[old];
  if (v.kind == Value::Kind::result && f_.ops[v.owner].code == Opcode::zeros) return {{}, {}, true};
  const Place& p = places_[old.index];
  if (!p.memory.valid()) {
    if (v.kind == Value::Kind::parameter)
      throw KernelError(b_.loc, fmt::format("\"{}\" is Out and is read before it is written; make it InOut", f_.parameters[v.owner].name));
    throw Bug(b_.loc, "buffer_plan: an array is used before it is made\n" + fluxion::print(f_));
  }
  return p;
}

void Planner::define(ValueId old) {
  if (const int c = classes_->of(old); c >= 0) places_[old.index] = place_of(c);
}

void Planner::put(Values& out, ValueId old) {
  const Type& t = f_.type(old);
  if (t.is_scalar()) out.push_back(value(old));
  if (t.is_seq()) out.insert(out.end(), {handles_[old.index].first, handles_[old.index].length});
}

void Planner::types(std::vector<Type>& out, ValueId old) const {
  const Type& t = f_.type(old);
  if (t.is_scalar()) out.push_back(t);
  if (t.is_seq()) out.insert(out.end(), {Type(DType::i32), Type(DType::i32)});
}

std::size_t Planner::take(ValueId old, const Values& now, std::size_t at) {
  const Type& t = f_.type(old);
  if (t.is_array()) define(old);
  if (t.is_scalar()) values_[old.index] = now[at++];
  if (t.is_seq()) handles_[old.index] = {now[at], now[at + 1]}, at += 2;
  return at;
}

// ---- emission

void Planner::copy(Place to, Place from) {
  if (to == from) return;
  Op op;
  op.code = from.zero ? Opcode::buffer_zero : Opcode::buffer_copy;
  op.buffers = {to.memory};
  if (!from.zero) op.buffers.push_back(from.memory);
  if (to.record.valid()) op.operands.push_back(to.record);
  if (from.zero && to.record.valid()) op.operands.push_back(b_.i32(1));
  if (from.record.valid()) op.operands.push_back(from.record);
  b_.append(std::move(op), {});
}

/// All at once: a copy waits while its target is the source of another; what waits in a circle goes by a spare.
void Planner::moves(std::vector<Move> pending) {
  std::erase_if(pending, [](const Move& m) { return m.to == m.from; });
  while (!pending.empty()) {
    bool progress = false;
    for (std::size_t i = 0; i < pending.size() && !progress; ++i) {
      const auto reads = [&](const Move& m) { return m.from == pending[i].to; };
      if (std::count_if(pending.begin(), pending.end(), reads)) continue;
      copy(pending[i].to, pending[i].from);
      pending.erase(pending.begin() + static_cast<std::ptrdiff_t>(i));
      progress = true;
    }
    if (progress) continue;
    const Place full = pending.front().to;
    Type t;
    t.element = g_[full.memory].element;
    t.rank = g_[full.memory].rank;
    for (int axis = 0; axis < t.rank; ++axis) t.shape[axis] = g_[full.memory].shape[axis];
    const Place spare{buffer(g_, t, fmt::format("t{}", g_.memories.size())), {}, false};
    copy(spare, full);
    for (Move& m : pending)
      if (m.from == full) m.from = spare;
  }
}

void Planner::collect(ValueId made) {
  const auto it = waiting_.find(made);
  if (it == waiting_.end()) return;
  for (const Waiting& w : it->second) store_item(w.seq, w.record, made);
  waiting_.erase(it);
}

void Planner::run_kernel(const std::shared_ptr<const Function>& k, const Values& domain, const std::vector<Place>& memories,
                         const Values& scalars) {
  Op op;
  op.code = Opcode::run;
  op.ref = add_callee(g_, k);
  op.operands = domain;
  std::size_t memory = 0, scalar = 0;
  for (const Parameter& p : k->parameters) {
    if (p.kind == Parameter::Kind::scalar) {
      op.operands.push_back(scalars[scalar++]);
      continue;
    }
    const Place& at = memories[memory++];
    op.buffers.push_back(at.memory);
    if (at.record.valid()) op.operands.push_back(at.record);
  }
  b_.append(std::move(op), {});
}

// ---- ops

void Planner::region(RegionId r) {
  scopes(r);
  for (OpId id : f_[r].ops) {
    if (f_[id].code == Opcode::yield) continue;
    b_.loc = f_[id].loc;
    op(id);
    for (ValueId v : f_[id].results) collect(v);
  }
  b_.loc = f_.terminator(r).loc;
  if (r != f_.body) return;
  const Values& end = f_.terminator(r).operands;
  for (std::size_t k = 0, first = end.size() - 1; k < end.size(); ++k, --first) {
    if (!f_.type(end[end.size() - 1 - k]).is_scalar()) continue;
    // Returned values are the last parameters, in order.
    const Parameter& p = g_.parameters[g_.parameters.size() - 1 - k];
    const ValueId zero = b_.i32(0);
    b_.store(p.memory, {&zero, 1}, value(end[first]));
  }
}

void Planner::op(OpId id) {
  const Op& op = f_[id];
  switch (op.code) {
    case Opcode::launch: return launch(id);
    case Opcode::if_: return branch(id);
    case Opcode::for_: return for_loop(id);
    case Opcode::while_: return while_loop(id);
    case Opcode::zeros:
      if (f_.type(op.results[0]).is_array()) {
        define(op.results[0]);
        if (const Place to = places_[op.results[0].index]; to.memory.valid()) copy(to, {{}, {}, true});
        return;
      }
      return sequence_op(id);
    case Opcode::seq_get:
    case Opcode::seq_set:
    case Opcode::seq_add_at:
    case Opcode::seq_len: return sequence_op(id);
    case Opcode::load:
    case Opcode::store:
    case Opcode::accumulate:
    case Opcode::extent:
    case Opcode::domain:
    case Opcode::buffer_alloc:
    case Opcode::buffer_copy:
    case Opcode::buffer_zero:
    case Opcode::run:
    case Opcode::var_new:
    case Opcode::var_get:
    case Opcode::var_set:
    case Opcode::break_if:
    case Opcode::continue_if:
    case Opcode::return_if:
    case Opcode::yield: throw Bug(op.loc, fmt::format("buffer_plan: {} in a program\n{}", name_of(op.code), fluxion::print(f_)));
    default: {  // elementwise, convert, bitcast, calls, print, check: on scalars
      Op now = op;
      now.operands.clear();
      for (ValueId v : op.operands) now.operands.push_back(value(v));
      if (op.code == Opcode::print || op.code == Opcode::check) now.ref = add_text(g_, f_.texts[op.ref]);
      if (op.code == Opcode::call) now.ref = add_callee(g_, f_.callees[op.ref]);
      std::vector<Type> result;
      for (ValueId v : op.results) result.push_back(f_.type(v));
      const OpId made = b_.append(std::move(now), result);
      for (std::size_t k = 0; k < op.results.size(); ++k) values_[op.results[k].index] = g_[made].results[k];
    }
  }
}

void Planner::launch(OpId id) {
  const Op& op = f_[id];
  const std::shared_ptr<const Function>& k = f_.callees[op.ref];
  Values domain, scalars;
  for (int axis = 0; axis < k->domain_rank; ++axis) domain.push_back(value(op.operands[axis]));
  std::vector<Place> memories;
  std::vector<Move> pending;
  std::size_t operand = static_cast<std::size_t>(k->domain_rank), result = 0;
  for (const Parameter& p : k->parameters) {
    if (p.kind == Parameter::Kind::scalar) {
      scalars.push_back(value(op.operands[operand++]));
    } else if (p.role == Role::in) {
      const ValueId v = op.operands[operand++];
      Place at = place(v);
      if (at.zero) at = places_[v.index];
      memories.push_back(at);
    } else {
      const ValueId v = op.results[result++];
      define(v);
      memories.push_back(places_[v.index]);
      if (p.role != Role::out) pending.push_back({memories.back(), place(op.operands[operand++])});
    }
  }
  moves(std::move(pending));
  run_kernel(k, domain, memories, scalars);
}

}  // namespace fluxion::plan

namespace fluxion {

Function buffer_plan(const Function& program) {
  if (program.kind != Function::Kind::program) throw Bug(program.loc, "buffer_plan of something that is no program");
  const Function f = lower_array_ops(program);
  return plan::Planner(f).run();
}

bool is_memory_form(const Function& program) {
  for (const Parameter& p : program.parameters)
    if (p.kind == Parameter::Kind::memory) return true;
  for (const Parameter& p : program.parameters)
    if (p.kind == Parameter::Kind::array) return false;
  return program.terminator(program.body).operands.empty();
}

}  // namespace fluxion
