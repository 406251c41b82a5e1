// Writes a program down in memory form. What shares memory with what is decided in buffer_classes.cpp; here
// every op becomes runs, copies and zero fills on those buffers, and every sequence a handle: two i32 values, its
// first record and its length. Handles go through loops and branches like other scalars.
#include "fluxion/buffer_plan.h"

#include <fmt/format.h>

#include <map>

#include "buffer_classes.h"
#include "fluxion/builder.h"
#include "fluxion/error.h"
#include "pointwise.h"

namespace fluxion {
namespace {

struct Place {
  MemoryId memory{};
  ValueId record{};   // when the memory has records
  bool zero = false;  // no memory: an array of zeros that is only ever copied
  bool operator==(const Place&) const = default;
};
struct Handle { ValueId first, length; };
struct Move { Place to, from; };

class Planner {
 public:
  explicit Planner(const Function& f)
      : f_(f), b_(g_), lives_(f), values_(f.values.size()), places_(f.values.size()), handles_(f.values.size()) {}
  Function run();

 private:
  void parameters();
  void region(RegionId r);
  void op(OpId id);
  void launch(OpId id);
  void branch(OpId id);
  void for_loop(OpId id);
  void while_loop(OpId id);
  void sequence_op(OpId id);

  // ---- values
  ValueId value(ValueId old);
  Place place(ValueId old) const;
  Place place_of(int c) const {
    const int r = (*classes_)[c].rotation;
    return r < 0 ? Place{class_memory_[c], {}, false} : Place{pools_[r], records_[c], false};
  }
  void define(ValueId old);  // its place follows from its class
  void put(Values& out, ValueId old);                               // what a yield or an operand list carries of it
  void types(std::vector<Type>& out, ValueId old) const;
  std::size_t take(ValueId old, const Values& now, std::size_t at);  // the inverse: returns the next position

  // ---- emission
  ValueId alloc(int stack, ValueId n);
  void copy(Place to, Place from);
  void moves(std::vector<Move> pending);
  void scopes(RegionId old);
  void store_item(ValueId seq, ValueId record, ValueId item);
  void run_kernel(const std::shared_ptr<const Function>& k, const Values& domain, const std::vector<Place>& memories, const Values& scalars);
  void collect(ValueId made);  // into the records that wait for it
  void collect_outer(const Op& loop);
  // ---- rotations of a loop
  void begin_rotations(OpId loop, Op& now, std::vector<Type>& types);
  std::size_t take_rotations(OpId loop, const Values& now, std::size_t at);
  void turn_rotations(OpId loop, std::vector<Move>& pending, Values& yields);
  void put_rotations(OpId loop, Values& yields) const;
  std::vector<Move> edge(const Values& from, const Values& to, std::size_t first_from, std::size_t first_to, std::size_t n,
                         OpId turn = {});  // of this loop: without what rotates

  const Function& f_;
  Function g_;
  Builder b_;
  Liveness lives_;
  std::unique_ptr<BufferClasses> classes_;
  std::vector<ValueId> values_;
  std::vector<Place> places_;
  std::vector<Handle> handles_;
  std::vector<MemoryId> class_memory_, stack_memory_, pools_;
  std::vector<ValueId> records_;  // by class: in a rotation, which record is whose here
  struct Waiting { ValueId seq, record; };
  std::map<ValueId, std::vector<Waiting>> waiting_;
  std::map<std::string, std::shared_ptr<const Function>> adds_;
};

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

ValueId Planner::alloc(int stack, ValueId n) {
  Op op;
  op.code = Opcode::buffer_alloc;
  op.buffers = {stack_memory_[stack]};
  op.operands = {n};
  const Type i32 = DType::i32;
  return g_[b_.append(std::move(op), {&i32, 1})].results[0];
}

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

std::vector<Move> Planner::edge(const Values& from, const Values& to, std::size_t first_from, std::size_t first_to, std::size_t n,
                                OpId turn) {
  std::vector<Move> out;
  const auto rotates = [&](ValueId v) {
    const int r = (*classes_)[classes_->of(v)].rotation;
    return r >= 0 && classes_->rotations()[r].loop == turn;
  };
  for (std::size_t k = 0; k < n; ++k)
    if (f_.type(to[first_to + k]).is_array() && !(turn.valid() && rotates(to[first_to + k])))
      out.push_back({place_of(classes_->of(to[first_to + k])), place(from[first_from + k])});
  return out;
}

/// Before a loop: the records, numbered in the order of the classes, and the numbers as carries.
void Planner::begin_rotations(OpId loop, Op& now, std::vector<Type>& types) {
  for (std::size_t r = 0; r < pools_.size(); ++r) {
    const BufferClasses::Rotation& rotation = classes_->rotations()[r];
    if (rotation.loop != loop) continue;
    Op op;
    op.code = Opcode::buffer_alloc;
    op.buffers = {pools_[r]};
    op.operands = {b_.i32(static_cast<std::int32_t>(rotation.classes.size()))};
    const Type i32 = DType::i32;
    b_.append(std::move(op), {&i32, 1});
    std::int32_t n = 0;
    for (int c : rotation.classes) {
      records_[c] = b_.i32(n++);
      now.operands.push_back(records_[c]);
      types.push_back(DType::i32);
    }
  }
}

std::size_t Planner::take_rotations(OpId loop, const Values& now, std::size_t at) {
  for (const BufferClasses::Rotation& rotation : classes_->rotations())
    if (rotation.loop == loop)
      for (int c : rotation.classes) records_[c] = now[at++];
  return at;
}

void Planner::put_rotations(OpId loop, Values& yields) const {
  for (const BufferClasses::Rotation& rotation : classes_->rotations())
    if (rotation.loop == loop)
      for (int c : rotation.classes) yields.push_back(records_[c]);
}

/// At the end of a turn: a carry takes over the record of what it is to become; who does not find one in the
/// rotation copies into a record that is free by then.
void Planner::turn_rotations(OpId loop, std::vector<Move>& pending, Values& yields) {
  const Op& op = f_[loop];
  const Values& end = f_.terminator(op.regions.back()).operands;
  for (std::size_t r = 0; r < pools_.size(); ++r) {
    const BufferClasses::Rotation& rotation = classes_->rotations()[r];
    if (rotation.loop != loop) continue;
    std::map<int, ValueId> next;
    std::vector<int> free = rotation.classes;
    std::vector<std::size_t> copied;
    for (std::size_t k = 0; k < f_.carries(op); ++k) {
      if (!f_.type(end[k]).is_array() || (*classes_)[classes_->of(op.results[k])].rotation != static_cast<int>(r)) continue;
      const int from = classes_->of(end[k]);
      const auto it = std::find(free.begin(), free.end(), from);
      if (it == free.end() || places_[end[k].index].record != records_[from]) {
        copied.push_back(k);
        continue;
      }
      next[classes_->of(op.results[k])] = records_[from];
      free.erase(it);
    }
    auto rest = free.begin();
    for (std::size_t k : copied) {
      const ValueId record = records_[*rest++];
      next[classes_->of(op.results[k])] = record;
      pending.push_back({{pools_[r], record, false}, place(end[k])});
    }
    for (int c : rotation.classes)
      if (!next.count(c)) next[c] = records_[*rest++];
    for (int c : rotation.classes) yields.push_back(next[c]);
  }
}

void Planner::store_item(ValueId seq, ValueId record, ValueId item) {
  const Type& t = f_.type(item);
  const MemoryId m = stack_memory_[classes_->stack(seq, f_.type(seq).seq)];
  if (t.is_array()) {
    copy({m, record, false}, place(item));
  } else if (t.is_scalar()) {
    b_.store(m, {&record, 1}, value(item));
  } else {
    b_.store(m, {&record, 1}, handles_[item.index].first, 0);
    b_.store(m, {&record, 1}, handles_[item.index].length, 1);
  }
}

void Planner::collect(ValueId made) {
  const auto it = waiting_.find(made);
  if (it == waiting_.end()) return;
  for (const Waiting& w : it->second) store_item(w.seq, w.record, made);
  waiting_.erase(it);
}

/// At the start of a loop's body: what it collects without making it there.
void Planner::collect_outer(const Op& loop) {
  const RegionId body = loop.regions.back();
  const Values& end = f_.terminator(body).operands;
  for (std::size_t k = f_.carries(loop); k < end.size(); ++k)
    if (!f_.type(end[k]).is_seq() && lives_.region(end[k]) != body) collect(end[k]);
  for (ValueId v : f_[body].arguments) collect(v);
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
    case Opcode::seq_get: case Opcode::seq_set: case Opcode::seq_add_at: case Opcode::seq_len: return sequence_op(id);
    case Opcode::load: case Opcode::store: case Opcode::accumulate: case Opcode::extent: case Opcode::domain:
    case Opcode::buffer_alloc: case Opcode::buffer_copy: case Opcode::buffer_zero: case Opcode::run:
    case Opcode::var_new: case Opcode::var_get: case Opcode::var_set:
    case Opcode::break_if: case Opcode::continue_if: case Opcode::return_if: case Opcode::yield:
      throw Bug(op.loc, fmt::format("buffer_plan: {} in a program\n{}", name_of(op.code), fluxion::print(f_)));
    default: {  // elementwise, convert, bitcast, print, check: on scalars
      Op now = op;
      now.operands.clear();
      for (ValueId v : op.operands) now.operands.push_back(value(v));
      if (op.code == Opcode::print || op.code == Opcode::check) now.ref = add_text(g_, f_.texts[op.ref]);
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

void Planner::branch(OpId id) {
  const Op& op = f_[id];
  Op now;
  now.code = Opcode::if_;
  now.loc = op.loc;
  now.operands = {value(op.operands[0])};
  std::vector<Type> result;
  for (ValueId v : op.results) types(result, v);
  for (RegionId arm : op.regions) {
    now.regions.push_back(b_.open({}));
    region(arm);
    const Values& end = f_.terminator(arm).operands;
    moves(edge(end, op.results, 0, 0, end.size()));
    Values yields;
    for (ValueId v : end) put(yields, v);
    b_.close(yields);
  }
  const Values results = Values(g_[b_.append(std::move(now), result)].results);
  std::size_t at = 0;
  for (ValueId v : op.results) at = take(v, results, at);
}

void Planner::for_loop(OpId id) {
  const Op& op = f_[id];
  const RegionId body = op.regions[0];
  const std::size_t n = f_.carries(op);
  const Values& end = f_.terminator(body).operands;
  const ValueId lo = value(op.operands[0]), hi = value(op.operands[1]);
  std::vector<Handle> collected;
  if (end.size() > n) {
    const ValueId trips = b_.select(b_.emit(Opcode::lt, {lo, hi}), b_.sub(hi, lo), b_.i32(0));
    for (std::size_t k = n; k < end.size(); ++k)
      collected.push_back({alloc(classes_->stack(op.results[k], f_.type(op.results[k]).seq), trips), trips});
  }
  Op now;
  now.code = Opcode::for_;
  now.down = op.down;
  now.loc = op.loc;
  now.operands = {lo, hi};
  std::vector<Type> arguments = {DType::i32}, result;
  begin_rotations(id, now, result);
  moves(edge(op.operands, op.results, 2, 0, n));
  for (std::size_t k = 0; k < n; ++k) {
    put(now.operands, op.operands[k + 2]);
    types(result, op.results[k]);
  }
  arguments.insert(arguments.end(), result.begin(), result.end());
  now.regions.push_back(b_.open(arguments));
  const Values args = g_[b_.current()].arguments;
  values_[f_[body].arguments[0].index] = args[0];
  std::size_t at = take_rotations(id, args, 1);
  for (std::size_t k = 0; k < n; ++k) at = take(f_[body].arguments[k + 1], args, at);
  Values records;
  if (end.size() > n) {
    const ValueId turn = b_.sub(args[0], lo);
    for (std::size_t k = n; k < end.size(); ++k) {
      records.push_back(b_.add(collected[k - n].first, turn));
      if (!f_.type(end[k]).is_seq()) waiting_[end[k]].push_back({op.results[k], records.back()});
    }
  }
  collect_outer(op);
  region(body);
  for (std::size_t k = n; k < end.size(); ++k)
    if (f_.type(end[k]).is_seq()) store_item(op.results[k], records[k - n], end[k]);
  std::vector<Move> pending = edge(end, op.results, 0, 0, n, id);
  Values yields;
  turn_rotations(id, pending, yields);
  moves(std::move(pending));
  for (std::size_t k = 0; k < n; ++k) put(yields, end[k]);
  b_.close(yields);
  const Values results = Values(g_[b_.append(std::move(now), result)].results);
  at = take_rotations(id, results, 0);
  for (std::size_t k = 0; k < n; ++k) at = take(op.results[k], results, at);
  for (std::size_t k = n; k < end.size(); ++k) handles_[op.results[k].index] = collected[k - n];
}

void Planner::while_loop(OpId id) {
  const Op& op = f_[id];
  const RegionId cond = op.regions[0], body = op.regions[1];
  const std::size_t n = f_.carries(op);
  const Values& test = f_.terminator(cond).operands;
  const Values& end = f_.terminator(body).operands;
  std::map<int, std::size_t> uses;  // the records of one sequence must lie side by side
  Values firsts;
  for (std::size_t k = n; k < end.size(); ++k) {
    const int s = classes_->stack(op.results[k], f_.type(op.results[k]).seq);
    if (uses[s]++) throw KernelError(op.loc, "a while loop whose collected sequences are exchanged for one another; use a for loop");
    for (std::uint32_t i = 0; i < f_.ops.size(); ++i) {
      const Op& other = f_.ops[i];
      if (!lives_.before(OpId{i}) || i == id.index || lives_.before(OpId{i}) < lives_.before(id) || lives_.after(OpId{i}) > lives_.after(id)) continue;
      for (ValueId v : other.results)
        for (int level = 1; level <= f_.type(v).seq; ++level)
          if (other.code != Opcode::seq_get && classes_->stack(v, level) == s)
            throw KernelError(other.loc, "a sequence made in a while loop is exchanged for one that the loop collects; use a for loop");
    }
    firsts.push_back(alloc(s, b_.i32(0)));
  }
  Op now;
  now.code = Opcode::while_;
  now.loc = op.loc;
  std::vector<Type> result;
  begin_rotations(id, now, result);
  moves(edge(op.operands, op.results, 0, 0, n));
  for (std::size_t k = 0; k < n; ++k) {
    put(now.operands, op.operands[k]);
    types(result, op.results[k]);
  }
  now.regions.push_back(b_.open(result));
  std::size_t at = take_rotations(id, g_[b_.current()].arguments, 0);
  for (std::size_t k = 0; k < n; ++k) at = take(f_[cond].arguments[k], g_[b_.current()].arguments, at);
  region(cond);
  moves(edge(test, op.results, 1, 0, n));
  Values yields = {value(test[0])};
  put_rotations(id, yields);
  for (std::size_t k = 0; k < n; ++k) put(yields, test[k + 1]);
  b_.close(yields);

  now.regions.push_back(b_.open(result));
  at = take_rotations(id, g_[b_.current()].arguments, 0);
  for (std::size_t k = 0; k < n; ++k) at = take(f_[body].arguments[k], g_[b_.current()].arguments, at);
  Values records;
  for (std::size_t k = n; k < end.size(); ++k) {
    records.push_back(alloc(classes_->stack(op.results[k], f_.type(op.results[k]).seq), b_.i32(1)));
    if (!f_.type(end[k]).is_seq()) waiting_[end[k]].push_back({op.results[k], records.back()});
  }
  collect_outer(op);
  region(body);
  for (std::size_t k = n; k < end.size(); ++k)
    if (f_.type(end[k]).is_seq()) store_item(op.results[k], records[k - n], end[k]);
  std::vector<Move> pending = edge(end, op.results, 0, 0, n, id);
  yields.clear();
  turn_rotations(id, pending, yields);
  moves(std::move(pending));
  for (std::size_t k = 0; k < n; ++k) put(yields, end[k]);
  b_.close(yields);
  result.push_back(DType::i32);
  const Values results = Values(g_[b_.append(std::move(now), result)].results);
  at = take_rotations(id, results, 0);
  for (std::size_t k = 0; k < n; ++k) at = take(op.results[k], results, at);
  for (std::size_t k = n; k < end.size(); ++k) handles_[op.results[k].index] = {firsts[k - n], results.back()};
  values_[op.results.back().index] = results.back();
}

void Planner::sequence_op(OpId id) {
  const Op& op = f_[id];
  if (op.code == Opcode::zeros) {
    const Type& t = f_.type(op.results[0]);
    const int s = classes_->stack(op.results[0], t.seq);
    const ValueId n = value(op.operands[0]), first = alloc(s, n);
    Op fill;
    fill.code = Opcode::buffer_zero;  // a handle of zeros is the empty sequence
    fill.buffers = {stack_memory_[s]};
    fill.operands = {first, n};
    b_.append(std::move(fill), {});
    handles_[op.results[0].index] = {first, n};
    return;
  }
  const ValueId s = op.operands[0];
  const Type& t = f_.type(s);
  const int stack = classes_->stack(s, t.seq);
  const MemoryId m = stack_memory_[stack];
  Handle h = handles_[s.index];
  if (op.code == Opcode::seq_len) {
    values_[op.results[0].index] = h.length;
    return;
  }
  if (op.code == Opcode::seq_get) {
    const ValueId out = op.results[0], record = b_.add(h.first, value(op.operands[1]));
    if (f_.type(out).is_array()) places_[out.index] = {m, record, false};
    else if (f_.type(out).is_scalar()) values_[out.index] = b_.load(m, {&record, 1});
    else handles_[out.index] = {b_.load(m, {&record, 1}, 0), b_.load(m, {&record, 1}, 1)};
    return;
  }
  if (!classes_->may_change(s, id)) {
    const ValueId to = alloc(stack, h.length);
    b_.for_(b_.i32(0), h.length, {}, [&](ValueId i, const Values&) {
      const ValueId target = b_.add(to, i), source = b_.add(h.first, i);
      copy({m, target, false}, {m, source, false});
      return Builder::LoopYield{};
    });
    h.first = to;
  }
  const ValueId record = b_.add(h.first, value(op.operands[1])), v = op.operands[2];
  if (op.code == Opcode::seq_set) {
    store_item(s, record, v);
  } else if (f_.type(v).is_scalar()) {
    b_.store(m, {&record, 1}, b_.add(b_.load(m, {&record, 1}), value(v)));
  } else if (!place(v).zero) {
    const Type& array = f_.type(v);
    auto& k = adds_[to_string(array)];
    const Type both[] = {array, array};
    if (!k) k = std::make_shared<const Function>(pointwise_kernel(Opcode::add, both, array));
    Values domain;
    for (int axis = 0; axis < array.rank; ++axis) domain.push_back(b_.i32(static_cast<std::int32_t>(array.shape[axis])));
    const Place at{m, record, false};
    run_kernel(k, domain, {at, place(v), at}, {});
  }
  handles_[op.results[0].index] = h;
}

}  // namespace

Function buffer_plan(const Function& program) {
  if (program.kind != Function::Kind::program) throw Bug(program.loc, "buffer_plan of something that is no program");
  const Function f = lower_array_ops(program);
  return Planner(f).run();
}

bool is_memory_form(const Function& program) {
  for (const Parameter& p : program.parameters)
    if (p.kind == Parameter::Kind::memory) return true;
  for (const Parameter& p : program.parameters)
    if (p.kind == Parameter::Kind::array) return false;
  return program.terminator(program.body).operands.empty();
}

}  // namespace fluxion
