// Appending ops: result types follow from the operands here, and nowhere else.
#include "fluxion/builder.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>

#include "fluxion/error.h"
#include "fluxion/external_code.h"

namespace fluxion {
namespace {
ValueId new_value(Function& f, Type t, Value::Kind kind, std::size_t owner, std::size_t slot, std::uint64_t bits = 0) {
  const ValueId id{static_cast<std::uint32_t>(f.values.size())};
  f.values.push_back({t, kind, static_cast<std::uint32_t>(owner), static_cast<std::uint32_t>(slot), bits});
  return id;
}
Op with(Opcode code, std::span<const ValueId> operands) {
  Op op;
  op.code = code;
  op.operands.assign(operands.begin(), operands.end());
  return op;
}
Op memory_op(Opcode code, MemoryId m, std::span<const ValueId> idx, int leaf) {
  Op op = with(code, idx);
  op.memory = m;
  op.leaf = static_cast<std::uint16_t>(leaf);
  return op;
}
}  // namespace

Builder::Builder(Function& f) : f_(f) {
  if (f_.regions.empty()) f_.regions.emplace_back();
  stack_.push_back(f_.body);
}

ValueId Builder::scalar_parameter(DType t, std::string name) {
  const ValueId v = new_value(f_, t, Value::Kind::parameter, f_.parameters.size(), 0);
  f_.parameters.push_back({Parameter::Kind::scalar, Role::in, {}, v, std::move(name)});
  return v;
}

ValueId Builder::array_parameter(Type t, Role role, std::string name) {
  const ValueId v = new_value(f_, t, Value::Kind::parameter, f_.parameters.size(), 0);
  f_.parameters.push_back({Parameter::Kind::array, role, {}, v, std::move(name)});
  return v;
}

MemoryId Builder::memory_parameter(LayoutId element, int rank, Role role, std::string name) {
  const MemoryId m{static_cast<std::uint32_t>(f_.memories.size())};
  Memory mem;
  mem.role = role;
  mem.element = element;
  mem.rank = static_cast<std::int8_t>(rank);
  mem.name = name;
  mem.loc = loc;
  f_.memories.push_back(std::move(mem));
  f_.parameters.push_back({Parameter::Kind::memory, role, m, {}, std::move(name)});
  return m;
}

MemoryId Builder::local(LayoutId element, std::int64_t length, std::string name) {
  const MemoryId m{static_cast<std::uint32_t>(f_.memories.size())};
  Memory mem;
  mem.space = Memory::Space::local;
  mem.role = Role::inout;
  mem.element = element;
  mem.length = length;
  mem.scope = current();
  mem.name = std::move(name);
  mem.loc = loc;
  f_.memories.push_back(std::move(mem));
  return m;
}

MemoryId Builder::shared(LayoutId element, std::int64_t length, std::string name) {
  const MemoryId m = local(element, length, std::move(name));
  f_[m].space = Memory::Space::shared;
  f_[m].scope = f_.body;
  return m;
}

ValueId Builder::index(int axis) {
  if (axis >= f_.domain_rank) throw KernelError(loc, fmt::format("index({}) in a kernel over {} axes", axis, f_.domain_rank));
  for (auto n = f_[f_.body].arguments.size(); n < static_cast<std::size_t>(f_.domain_rank); ++n) {
    const ValueId v = new_value(f_, DType::i32, Value::Kind::argument, f_.body.index, n);
    f_[f_.body].arguments.push_back(v);
  }
  return f_[f_.body].arguments[axis];
}

ValueId Builder::constant(DType t, std::uint64_t bits) { return new_value(f_, t, Value::Kind::constant, 0, 0, bits); }

ValueId Builder::constant_float(DType t, double value) {
  switch (t) {
    case DType::f64: return constant(t, std::bit_cast<std::uint64_t>(value));
    case DType::f32: return constant(t, std::bit_cast<std::uint32_t>(static_cast<float>(value)));
    case DType::f16: return constant(t, half(static_cast<float>(value)).bits);
    case DType::bf16: return constant(t, bfloat16(static_cast<float>(value)).bits);
    default: return constant_int(t, static_cast<std::int64_t>(value));
  }
}

ValueId Builder::constant_int(DType t, std::int64_t value) {
  if (is_float(t)) return constant_float(t, static_cast<double>(value));
  std::uint64_t bits = is_bool(t) ? value != 0 : static_cast<std::uint64_t>(value);
  if (const int width = size_of(t) * 8; width < 64) bits &= (std::uint64_t{1} << width) - 1;
  return constant(t, bits);
}

ValueId Builder::zero(const Type& t) {
  if (t.is_scalar()) return constant(t.dtype(), 0);
  Op op;
  op.code = Opcode::zeros;
  return f_[append(std::move(op), {&t, 1})].results[0];
}

ValueId Builder::zeros(const Type& t, ValueId n) { return f_[append(with(Opcode::zeros, {&n, 1}), {&t, 1})].results[0]; }

ValueId Builder::emit(Opcode op, std::initializer_list<ValueId> operands) { return emit(op, std::span(operands.begin(), operands.size())); }

ValueId Builder::emit(Opcode code, std::span<const ValueId> operands) {
  Type t = f_.type(operands[code == Opcode::select ? 1 : 0]);
  if (info(code).flags & flag::predicate) t.element = DType::boolean;
  return f_[append(with(code, operands), {&t, 1})].results[0];
}

ValueId Builder::trips(ValueId lo, ValueId hi) {
  const auto number = [&](ValueId v) { return static_cast<std::int32_t>(static_cast<std::uint32_t>(f_[v].bits)); };
  if (f_.is_constant(lo) && number(lo) == 0) return emit(Opcode::max, {hi, i32(0)});
  if (f_.is_constant(lo) && f_.is_constant(hi)) return i32(number(lo) < number(hi) ? number(hi) - number(lo) : 0);
  return sub(emit(Opcode::max, {hi, lo}), lo);
}

ValueId Builder::convert(ValueId v, DType to) {
  Type t = f_.type(v);
  if (t.element == LayoutId(to)) return v;
  t.element = to;
  return f_[append(with(Opcode::convert, {&v, 1}), {&t, 1})].results[0];
}

ValueId Builder::bitcast(ValueId v, DType to) {
  Type t = f_.type(v);
  if (t.element == LayoutId(to)) return v;
  t.element = to;
  return f_[append(with(Opcode::bitcast, {&v, 1}), {&t, 1})].results[0];
}

ValueId Builder::load(MemoryId m, std::span<const ValueId> idx, int leaf) {
  const Type t = layout_of(f_[m].element).leaves.at(leaf).dtype;
  return f_[append(memory_op(Opcode::load, m, idx, leaf), {&t, 1})].results[0];
}

void Builder::store(MemoryId m, std::span<const ValueId> idx, ValueId v, int leaf) {
  Op op = memory_op(Opcode::store, m, idx, leaf);
  op.operands.push_back(v);
  append(std::move(op), {});
}

void Builder::accumulate(MemoryId m, std::span<const ValueId> idx, ValueId v, int leaf) {
  Op op = memory_op(Opcode::accumulate, m, idx, leaf);
  op.operands.push_back(v);
  append(std::move(op), {});
}

ValueId Builder::atomic(Atomic kind, MemoryId m, std::span<const ValueId> idx, std::span<const ValueId> v, int leaf) {
  Op op = memory_op(Opcode::atomic, m, idx, leaf);
  op.kind = static_cast<std::uint8_t>(kind);
  op.operands.insert(op.operands.end(), v.begin(), v.end());
  const Type t = layout_of(f_[m].element).leaves[static_cast<std::size_t>(leaf)].dtype;
  return f_[append(std::move(op), {&t, 1})].results[0];
}

ValueId Builder::extent(MemoryId m, int axis) {
  const Type t = DType::i32;
  return f_[append(memory_op(Opcode::extent, m, {}, axis), {&t, 1})].results[0];
}

ValueId Builder::domain(int axis) {
  const Type t = DType::i32;
  return f_[append(memory_op(Opcode::domain, {}, {}, axis), {&t, 1})].results[0];
}

ValueId Builder::group_index(int axis) {
  const Type t = DType::i32;
  return f_[append(memory_op(Opcode::group_index, {}, {}, axis), {&t, 1})].results[0];
}
void Builder::barrier() { append(with(Opcode::barrier, {}), {}); }
ValueId Builder::subgroup(Subgroup kind, ValueId v, ValueId lane) {
  Op op = with(Opcode::subgroup, {&v, 1});
  op.kind = static_cast<std::uint8_t>(kind);
  if (lane.valid()) op.operands.push_back(lane);
  const Type t = f_.type(v);
  return f_[append(std::move(op), {&t, 1})].results[0];
}

ValueId Builder::seq_get(ValueId s, ValueId i) {
  const Type& from = f_.type(s);
  const Type t = from.is_array() ? Type(from.dtype()) : from.item();
  const ValueId operands[] = {s, i};
  return f_[append(with(Opcode::seq_get, operands), {&t, 1})].results[0];
}
ValueId Builder::seq_set(ValueId s, ValueId i, ValueId v) {
  const Type t = f_.type(s);
  const ValueId operands[] = {s, i, v};
  return f_[append(with(Opcode::seq_set, operands), {&t, 1})].results[0];
}
ValueId Builder::seq_add_at(ValueId s, ValueId i, ValueId v) {
  const Type t = f_.type(s);
  const ValueId operands[] = {s, i, v};
  return f_[append(with(Opcode::seq_add_at, operands), {&t, 1})].results[0];
}
ValueId Builder::seq_len(ValueId s) {
  const Type t = DType::i32;
  return f_[append(with(Opcode::seq_len, {&s, 1}), {&t, 1})].results[0];
}

Values Builder::if_(ValueId cond, const Arm& then, const Arm& otherwise) {
  Op op = with(Opcode::if_, {&cond, 1});
  op.loc = loc;
  op.regions.push_back(open({}));
  const Values yields = then();
  close(yields);
  op.regions.push_back(open({}));
  close(otherwise());
  std::vector<Type> types;
  for (ValueId v : yields) types.push_back(f_.type(v));
  return f_[append(std::move(op), types)].results;
}

Builder::LoopResult Builder::for_(ValueId lo, ValueId hi, std::span<const ValueId> init,
                                  const std::function<LoopYield(ValueId, const Values&)>& body, bool down) {
  Op op;
  op.code = Opcode::for_;
  op.loc = loc;
  op.down = down;
  op.operands = {lo, hi};
  op.operands.insert(op.operands.end(), init.begin(), init.end());
  std::vector<Type> arguments = {DType::i32}, types;
  for (ValueId v : init) types.push_back(f_.type(v));
  arguments.insert(arguments.end(), types.begin(), types.end());
  op.regions.push_back(open(arguments));
  const Values args = f_[current()].arguments;
  LoopYield y = body(args[0], Values(args.begin() + 1, args.end()));
  for (ValueId v : y.collected) types.push_back(f_.type(v).as_seq());
  Values yields = y.carries;
  yields.insert(yields.end(), y.collected.begin(), y.collected.end());
  close(yields);
  const Values results = f_[append(std::move(op), types)].results;
  const auto n = static_cast<std::ptrdiff_t>(init.size());
  return {Values(results.begin(), results.begin() + n), Values(results.begin() + n, results.end()), {}};
}

Builder::LoopResult Builder::while_(std::span<const ValueId> init, const std::function<std::pair<ValueId, Values>(const Values&)>& cond,
                                    const std::function<LoopYield(const Values&)>& body) {
  Op op = with(Opcode::while_, init);
  op.loc = loc;
  std::vector<Type> types;
  for (ValueId v : init) types.push_back(f_.type(v));
  op.regions.push_back(open(types));
  auto [c, passed] = cond(Values(f_[current()].arguments));
  passed.insert(passed.begin(), c);
  close(passed);
  op.regions.push_back(open(types));
  LoopYield y = body(Values(f_[current()].arguments));
  for (ValueId v : y.collected) types.push_back(f_.type(v).as_seq());
  Values yields = y.carries;
  yields.insert(yields.end(), y.collected.begin(), y.collected.end());
  close(yields);
  types.push_back(DType::i32);
  const Values results = f_[append(std::move(op), types)].results;
  const auto n = static_cast<std::ptrdiff_t>(init.size());
  return {Values(results.begin(), results.begin() + n), Values(results.begin() + n, results.end() - 1), results.back()};
}

Values Builder::call(std::shared_ptr<const Function> callee, std::span<const ValueId> arguments) {
  Op op = with(Opcode::call, arguments);
  std::vector<Type> types;
  for (ValueId v : callee->terminator(callee->body).operands) types.push_back(callee->type(v));
  op.ref = add_callee(f_, std::move(callee));
  return f_[append(std::move(op), types)].results;
}
Values Builder::launch(std::shared_ptr<const Function> callee, std::span<const ValueId> domain, std::span<const ValueId> arguments,
                       std::span<const Type> outs) {
  Op op = with(Opcode::launch, domain);
  op.operands.insert(op.operands.end(), arguments.begin(), arguments.end());
  std::vector<Type> types;
  std::size_t next = 0, out = 0;
  for (const Parameter& p : callee->parameters) {
    if (p.kind == Parameter::Kind::memory && p.role == Role::out) {
      types.push_back(outs[out++]);
      continue;
    }
    const ValueId v = arguments[next++];
    if (p.kind == Parameter::Kind::memory && p.role != Role::in) types.push_back(f_.type(v));
  }
  op.ref = add_callee(f_, std::move(callee));
  return f_[append(std::move(op), types)].results;
}

void Builder::effect(Opcode code, std::string text, std::span<const ValueId> operands) {
  Op op = with(code, operands);
  op.ref = add_text(f_, std::move(text));
  append(std::move(op), {});
}

RegionId Builder::open(std::span<const Type> arguments) {
  const RegionId r{static_cast<std::uint32_t>(f_.regions.size())};
  f_.regions.emplace_back();
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    const ValueId v = new_value(f_, arguments[i], Value::Kind::argument, r.index, i);
    f_[r].arguments.push_back(v);
  }
  stack_.push_back(r);
  return r;
}

void Builder::close(std::span<const ValueId> yields) {
  append(with(Opcode::yield, yields), {});
  stack_.pop_back();
}

void Builder::finish(std::span<const ValueId> yields) {
  if (stack_.size() != 1) throw Bug(loc, "Builder::finish with open regions");
  append(with(Opcode::yield, yields), {});
}

OpId Builder::append(Op op, std::span<const Type> result_types) {
  const OpId id{static_cast<std::uint32_t>(f_.ops.size())};
  if (!op.loc) op.loc = loc;
  op.results.clear();
  for (std::size_t i = 0; i < result_types.size(); ++i)
    op.results.push_back(new_value(f_, result_types[i], Value::Kind::result, id.index, i));
  f_.ops.push_back(std::move(op));
  f_[stack_.back()].ops.push_back(id);
  return id;
}

std::uint32_t add_text(Function& f, std::string text) {
  for (std::uint32_t i = 0; i < f.texts.size(); ++i)
    if (f.texts[i] == text) return i;
  f.texts.push_back(std::move(text));
  return static_cast<std::uint32_t>(f.texts.size() - 1);
}

std::uint32_t add_callee(Function& f, std::shared_ptr<const Function> callee) {
  for (std::uint32_t i = 0; i < f.callees.size(); ++i)
    if (f.callees[i] == callee) return i;
  f.callees.push_back(std::move(callee));
  return static_cast<std::uint32_t>(f.callees.size() - 1);
}

bool has_effect(Opcode op) {
  switch (op) {
    case Opcode::store:
    case Opcode::accumulate:
    case Opcode::atomic:
    case Opcode::barrier:
    case Opcode::yield:
    case Opcode::print:
    case Opcode::check: return true;
    default: return !is_core(op) && op != Opcode::var_get;
  }
}

namespace {
bool reports(const Function& k, std::vector<const Function*>& seen) {
  if (std::find(seen.begin(), seen.end(), &k) != seen.end()) return false;
  seen.push_back(&k);
  if (k.external) return k.external->impure;
  for (const Region& r : k.regions)
    for (OpId id : r.ops) {
      const Op& op = k[id];
      if (op.code == Opcode::print || op.code == Opcode::check) return true;
      if ((op.code == Opcode::call || op.code == Opcode::launch) && reports(*k.callees[op.ref], seen)) return true;
    }
  return false;
}
}  // namespace

bool has_effect(const Function& f, OpId id) {
  const Op& op = f[id];
  if (has_effect(op.code)) return true;
  if (op.code == Opcode::launch ||
      op.code == Opcode::call) {        // a kernel changes nothing but the versions it yields; print and check remain
    std::vector<const Function*> seen;  // calls may be shared: each function once
    if (reports(*f.callees[op.ref], seen)) return true;
  }
  for (RegionId r : op.regions)
    for (OpId inner : f[r].ops)
      if (f[inner].code != Opcode::yield && has_effect(f, inner)) return true;
  return false;
}

}  // namespace fluxion
