// Runs a function op by op: the oracle that every backend is held to, so it is plain before it is fast.
// Scalars live in a vector of bits by value id, seqs and arrays beside them. A launch runs its threads one
// after the other, groups as evaluate_group.h says; a shadow of each written memory finds races (evaluate_shadow.h).
#include "fluxion/evaluate.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>

#include "evaluate_group.h"
#include "evaluate_plan.h"
#include "evaluate_shadow.h"
#include "fluxion/error.h"

namespace fluxion {
namespace {

using Bytes = std::vector<std::byte>;
using Items = std::vector<EvalValue>;

struct Access {
  std::byte* data = nullptr;
  std::array<std::int64_t, 3> extent{1, 1, 1};
  const Layout* layout = nullptr;
  std::vector<Shadow> shadow;  // by element and leaf; empty: not watched
};

std::shared_ptr<Bytes> make_array(const Type& t, int fill) {
  return std::make_shared<Bytes>(static_cast<std::size_t>(t.count()) * layout_of(t.element).size, static_cast<std::byte>(fill));
}
EvalValue make_zeros(const Type& t, std::int64_t n) {
  EvalValue out;
  if (t.is_seq()) {
    const Type item = t.item();
    out.seq = std::make_shared<Items>(static_cast<std::size_t>(std::max<std::int64_t>(n, 0)), item.is_array() ? make_zeros(item, 0) : EvalValue{});
  } else if (t.is_array()) {
    out.array = make_array(t, 0);
  }
  return out;
}
std::size_t length(const EvalValue& s) { return s.seq ? s.seq->size() : 0; }

class Machine {
 public:
  Machine(const Plan& plan, const EvalOptions& options)
      : plan_(plan), f_(plan.f), options_(options), bits_(plan.bits), objects_(plan.has_objects ? plan.bits.size() : 0) {}

  std::vector<EvalValue> call(std::vector<EvalValue> arguments) {
    if (arguments.size() != f_.parameters.size())
      throw KernelError(f_.loc, fmt::format("\"{}\" takes {} arguments, got {}", f_.name, f_.parameters.size(), arguments.size()));
    make_locals();
    for (std::size_t i = 0; i < arguments.size(); ++i) {
      const ValueId v = f_.parameters[i].value;
      if (f_.parameters[i].role == Role::out) arguments[i].array = nullptr;  // no value on entry
      else if (f_.type(v).is_array()) check_argument(f_.parameters[i], arguments[i]);
      put(v, std::move(arguments[i]));
    }
    run(f_.body);
    const Op& yield = f_.terminator(f_.body);
    std::vector<EvalValue> out;
    for (std::size_t i = 0; i < yield.operands.size(); ++i) out.push_back(take(f_[f_.body].ops.back(), i));
    return out;
  }

  void launch(const std::array<std::int64_t, 3>& domain, std::span<const EvalMemory> memories, std::span<const std::uint64_t> scalars) {
    domain_ = domain;
    for (int a = f_.domain_rank; a < 3; ++a) domain_[a] = 1;
    access_.resize(f_.memories.size());
    std::size_t next_memory = 0, next_scalar = 0;
    for (const Parameter& p : f_.parameters) {
      if (p.kind == Parameter::Kind::memory) {
        if (next_memory == memories.size()) throw KernelError(f_.loc, fmt::format("kernel \"{}\": too few memories", f_.name));
        const EvalMemory& m = memories[next_memory++];
        Access& a = access_[p.memory.index];
        a.data = m.data;
        a.extent = m.extent;
        a.layout = &layout_of(f_[p.memory].element);
        if (options_.races && (p.role == Role::out || p.role == Role::inout))
          a.shadow.resize(static_cast<std::size_t>(m.extent[0] * m.extent[1] * m.extent[2]) * a.layout->leaves.size());
      } else {
        if (next_scalar == scalars.size()) throw KernelError(f_.loc, fmt::format("kernel \"{}\": too few scalars", f_.name));
        bits_[p.value.index] = scalars[next_scalar++];
      }
    }
    make_locals();
    if (f_.has_groups()) return Group<Machine>(*this).launch(domain_, options_.thread_order);
    const std::int64_t threads = domain_[0] * domain_[1] * domain_[2];
    const Values& index = f_[f_.body].arguments;
    for (std::int64_t t = 0; t < threads; ++t) {
      thread_ = options_.thread_order.empty() ? static_cast<std::uint32_t>(t) : options_.thread_order.at(static_cast<std::size_t>(t));
      std::int64_t rest = thread_;
      for (int a = f_.domain_rank - 1; a >= 0; --a) {
        if (!index.empty()) bits_[index[a].index] = static_cast<std::uint64_t>(rest % domain_[a]);
        rest /= domain_[a];
      }
      run(f_.body);
    }
  }

 private:
  friend class Group<Machine>;
  const Plan& plan_;
  const Function& f_;
  const EvalOptions& options_;
  std::vector<std::uint64_t> bits_;
  std::vector<EvalValue> objects_;
  std::vector<Access> access_;
  std::vector<Bytes> local_bytes_;
  std::vector<std::unique_ptr<Plan>> callees_;
  std::vector<std::unique_ptr<Machine>> machines_;
  std::array<std::int64_t, 3> domain_{1, 1, 1};
  std::uint32_t thread_ = 0;
  std::array<std::int64_t, 3> group_{};   // of the thread that runs, where there are groups
  std::uint32_t group_number_ = 0;
  std::uint32_t phase_ = 0;               // counts barriers and groups

  void make_locals() {
    access_.resize(f_.memories.size());
    local_bytes_.resize(f_.memories.size());
    for (std::size_t m = 0; m < f_.memories.size(); ++m) {
      const Memory& mem = f_.memories[m];
      if (mem.space != Memory::Space::local && mem.space != Memory::Space::shared) continue;
      access_[m].layout = &layout_of(mem.element);
      local_bytes_[m].resize(static_cast<std::size_t>(mem.length) * access_[m].layout->size);
      access_[m].data = local_bytes_[m].data();
      access_[m].extent = {mem.length, 1, 1};
      if (options_.races && mem.space == Memory::Space::shared)
        access_[m].shadow.resize(static_cast<std::size_t>(mem.length) * access_[m].layout->leaves.size());
    }
  }
  void check_argument(const Parameter& p, const EvalValue& v) const {
    const Type& t = f_.type(p.value);
    const std::size_t bytes = static_cast<std::size_t>(t.count()) * layout_of(t.element).size;
    if (!v.array || v.array->size() != bytes)
      throw ShapeError(f_.loc, fmt::format("\"{}\": {} is {}, {} bytes; got {}", f_.name, p.name, to_string(t), bytes, v.array ? v.array->size() : 0));
  }

  // ---- values
  bool scalar(ValueId v) const { return f_[v].type.is_scalar(); }
  std::int32_t as_i32(ValueId v) const { return static_cast<std::int32_t>(bits_[v.index]); }
  void put(ValueId v, EvalValue x) {
    if (scalar(v)) bits_[v.index] = x.bits;
    else objects_[v.index] = std::move(x);
  }
  EvalValue take(OpId op, std::size_t i) {
    const ValueId v = f_[op].operands[i];
    EvalValue x;
    if (scalar(v)) {
      x.bits = bits_[v.index];
      return x;
    }
    const EvalValue& held = objects_[v.index];
    if (f_.type(v).is_array() && !held.array) unwritten(op, v);
    return i < 64 && (plan_.kills[op.index] >> i & 1) ? std::move(objects_[v.index]) : held;
  }
  [[noreturn]] void unwritten(OpId op, ValueId v) const {
    const Value& x = f_[v];
    const std::string name = x.kind == Value::Kind::parameter ? f_.parameters[x.owner].name : "an array";
    throw KernelError(f_[op].loc, fmt::format("program \"{}\": {} is Out and is read before a launch has written it; declare it InOut", f_.name, name));
  }

  // ---- control flow
  void clear_locals(RegionId r) {
    for (MemoryId m : plan_.locals[r.index]) std::fill(local_bytes_[m.index].begin(), local_bytes_[m.index].end(), std::byte{0});
  }
  void execute(const Step& s) {
    if (s.scalar) {
      const std::uint64_t x[3] = {bits_[s.operand[0]], bits_[s.operand[1]], bits_[s.operand[2]]};
      bits_[s.result] = s.scalar(x);
    } else {
      step(s);
    }
  }
  void run(RegionId r) {
    clear_locals(r);
    for (const Step& s : plan_.steps[r.index]) execute(s);
  }
  /// Moves operands of `op`, the first of them `from`, to other values, all at once.
  void assign(std::span<const ValueId> to, OpId op, std::size_t from) {
    constexpr std::size_t kFew = 16;
    std::uint64_t few[kFew];
    std::vector<std::uint64_t> many(to.size() > kFew ? to.size() : 0);
    std::uint64_t* bits = to.size() > kFew ? many.data() : few;
    std::vector<EvalValue> objects;
    for (std::size_t i = 0; i < to.size(); ++i) {
      if (scalar(to[i])) bits[i] = bits_[f_[op].operands[from + i].index];
      else objects.push_back(take(op, from + i));
    }
    auto object = objects.begin();
    for (std::size_t i = 0; i < to.size(); ++i) {
      if (scalar(to[i])) bits_[to[i].index] = bits[i];
      else objects_[to[i].index] = std::move(*object++);
    }
  }
  EvalValue copy(ValueId v) const {
    if (!scalar(v)) return objects_[v.index];
    EvalValue x;
    x.bits = bits_[v.index];
    return x;
  }

  void loop_for(OpId id) {
    const Op& op = f_[id];
    const RegionId body = op.regions[0];
    const OpId yield = f_[body].ops.back();
    const std::span<const ValueId> args = std::span(f_[body].arguments).subspan(1);
    const std::size_t n = args.size(), collected = op.results.size() - n;
    const std::span<const ValueId> results = std::span(op.results).first(n);
    const std::int64_t lo = as_i32(op.operands[0]), hi = as_i32(op.operands[1]), trips = std::max<std::int64_t>(hi - lo, 0);
    std::vector<std::shared_ptr<Items>> seqs(collected);
    for (auto& s : seqs) s = std::make_shared<Items>(static_cast<std::size_t>(trips));
    assign(trips == 0 ? results : args, id, 2);
    for (std::int64_t t = 0; t < trips; ++t) {
      const std::int64_t i = op.down ? hi - 1 - t : lo + t;
      bits_[f_[body].arguments[0].index] = static_cast<std::uint32_t>(i);
      run(body);
      for (std::size_t c = 0; c < collected; ++c) (*seqs[c])[static_cast<std::size_t>(i - lo)] = copy(f_[yield].operands[n + c]);
      assign(t + 1 == trips ? results : args, yield, 0);
    }
    for (std::size_t c = 0; c < collected; ++c) objects_[op.results[n + c].index].seq = std::move(seqs[c]);
  }
  void loop_while(OpId id) {
    const Op& op = f_[id];
    const RegionId cond = op.regions[0], body = op.regions[1];
    const OpId cond_yield = f_[cond].ops.back(), body_yield = f_[body].ops.back();
    const std::size_t n = op.operands.size(), collected = op.results.size() - n - 1;
    std::vector<std::shared_ptr<Items>> seqs(collected);
    for (auto& s : seqs) s = std::make_shared<Items>();
    std::uint32_t trips = 0;
    assign(f_[cond].arguments, id, 0);
    for (;; ++trips) {
      run(cond);
      if (!bits_[f_[cond_yield].operands[0].index]) break;
      assign(f_[body].arguments, cond_yield, 1);
      run(body);
      for (std::size_t c = 0; c < collected; ++c) seqs[c]->push_back(copy(f_[body_yield].operands[n + c]));
      assign(f_[cond].arguments, body_yield, 0);
    }
    assign(std::span(op.results).first(n), cond_yield, 1);
    for (std::size_t c = 0; c < collected; ++c) objects_[op.results[n + c].index].seq = std::move(seqs[c]);
    bits_[op.results.back().index] = trips;
  }

  // ---- memory
  std::string place(const Op& op) const {
    std::string s = f_[op.memory].name + "[";
    for (int a = 0; a < f_[op.memory].rank; ++a) s += fmt::format("{}{}", a ? ", " : "", as_i32(op.operands[a]));
    return s + "]";
  }
  std::byte* address(const Op& op, Access& a, std::uint32_t kind, OpId id) {
    const Memory& m = f_[op.memory];
    std::int64_t at = 0;
    for (int axis = 0; axis < m.rank; ++axis) {
      const std::int64_t i = as_i32(op.operands[axis]), n = a.extent[axis];
      if (options_.bounds && (i < 0 || i >= n)) {
        std::string shape;
        for (int x = 0; x < m.rank; ++x) shape += fmt::format("{}{}", x ? " x " : "", a.extent[x]);
        throw KernelError(op.loc, fmt::format("kernel \"{}\": {} is outside {}, which has {} elements", f_.name, place(op), m.name, shape));
      }
      at = at * n + i;
    }
    if (!a.shadow.empty()) watch(op, a.shadow[static_cast<std::size_t>(at) * a.layout->leaves.size() + op.leaf], kind, id);
    return a.data + at * a.layout->size + a.layout->leaves[op.leaf].offset;
  }
  void watch(const Op& op, Shadow& s, std::uint32_t kind, OpId id) {
    const Memory& m = f_[op.memory];
    const bool shared = m.space == Memory::Space::shared;
    if (kind != touch::kWrite && m.role == Role::out && !(s.across.flags & touch::kWrite))
      throw KernelError(op.loc, fmt::format("kernel \"{}\": {} is Out and is read before it is stored; declare {} InOut", f_.name, place(op), m.name));
    const auto race = [&](const Touch& t, const char* who, std::uint32_t me, const std::string& what, const char* advice) {
      throw KernelError(op.loc, fmt::format("kernel \"{}\": {} is {} by {} {} and {} by another (first by {} {}), and {} is {}; {}; the other access: {}",
                                            f_.name, place(op), touch::verb(kind), who, me, touch::verb(t.flags), who, t.who, m.name, what, advice,
                                            to_string(f_[OpId{t.op}].loc)));
    };
    const std::string what = shared ? "shared by a group" : name_of(m.role);
    if (f_.has_groups()) {
      if (s.phase != phase_) s.within = {}, s.phase = phase_;
      if (!s.within.note(thread_, kind, id))
        race(s.within, "thread", thread_, what, "put an fx::barrier() between the two, or use atomics for both");
      if (!shared && !s.across.note(group_number_, kind, id))
        race(s.across, "group", group_number_, what, "a barrier orders the threads of one group only: launch the groups that meet separately");
    } else if (!s.across.note(thread_, kind, id)) {
      race(s.across, "thread", thread_, what, "read from a second buffer, or launch the threads that meet separately");
    }
  }

  // ---- ops
  void step(const Step& s) {
    const Op& op = f_[s.op];
    if (is_elementwise(s.code)) return elementwise(s, op);
    switch (s.code) {
      case Opcode::convert:
        if (scalar(op.results[0])) bits_[s.result] = convert_bits(s.from, s.to, bits_[s.operand[0]]);
        else elementwise(s, op);
        break;
      case Opcode::bitcast:
        if (scalar(op.results[0])) bits_[s.result] = bits_[s.operand[0]];
        else elementwise(s, op);
        break;
      case Opcode::load: bits_[s.result] = load_bits(address(op, access_[op.memory.index], touch::kRead, s.op), s.from); break;
      case Opcode::store:
        store_bits(address(op, access_[op.memory.index], touch::kWrite, s.op), s.from, bits_[op.operands.back().index]);
        break;
      case Opcode::accumulate: {
        std::byte* p = address(op, access_[op.memory.index], touch::kAdd, s.op);
        store_bits(p, s.from, add_bits(s.from, load_bits(p, s.from), bits_[op.operands.back().index]));
        break;
      }
      case Opcode::atomic: atomic(s, op); break;
      case Opcode::group_index: bits_[s.result] = static_cast<std::uint32_t>(group_[op.leaf]); break;
      case Opcode::extent: bits_[s.result] = static_cast<std::uint32_t>(access_[op.memory.index].extent[op.leaf]); break;
      case Opcode::domain: bits_[s.result] = static_cast<std::uint32_t>(domain_[op.leaf]); break;
      case Opcode::if_: {
        const RegionId arm = op.regions[bits_[s.operand[0]] ? 0 : 1];
        run(arm);
        assign(op.results, f_[arm].ops.back(), 0);
        break;
      }
      case Opcode::for_: loop_for(s.op); break;
      case Opcode::while_: loop_while(s.op); break;
      case Opcode::seq_get: put(op.results[0], item(op, objects_[s.operand[0]])); break;
      case Opcode::seq_set:
      case Opcode::seq_add_at: {
        EvalValue seq = take(s.op, 0);
        EvalValue& slot = item(op, seq);
        const std::size_t at = static_cast<std::size_t>(&slot - seq.seq->data());
        if (seq.seq.use_count() > 1) seq.seq = std::make_shared<Items>(*seq.seq);
        EvalValue& now = (*seq.seq)[at];
        EvalValue v = take(s.op, 2);
        if (s.code == Opcode::seq_set) now = std::move(v);
        else now = add(f_.type(op.operands[2]), now, v);
        objects_[s.result] = std::move(seq);
        break;
      }
      case Opcode::seq_len: bits_[s.result] = length(objects_[s.operand[0]]); break;
      case Opcode::zeros: put(op.results[0], make_zeros(f_.type(op.results[0]), op.operands.empty() ? 0 : as_i32(op.operands[0]))); break;
      case Opcode::launch: run_launch(s.op); break;
      case Opcode::call: run_call(s.op); break;
      case Opcode::print: {
        const std::string line = message(op, 0);
        if (options_.print) options_.print(line);
        else std::puts(line.c_str());
        break;
      }
      case Opcode::check:
        if (!bits_[s.operand[0]]) throw KernelError(op.loc, message(op, 1));
        break;
      default: throw Bug(op.loc, fmt::format("the evaluator does not run {}", name_of(s.code)));
    }
  }
  void atomic(const Step& s, const Op& op) {
    const auto kind = static_cast<Atomic>(op.kind);
    std::byte* p = address(op, access_[op.memory.index], kind == Atomic::add && !s.used ? touch::kLooseAdd : touch::kAtomic, s.op);
    const std::uint64_t old = load_bits(p, s.from), v = bits_[op.operands.back().index];
    const auto combine = [&](Opcode with) {
      const std::uint64_t x[3] = {old, v, 0};
      return scalar_op(with, s.from)(x);
    };
    std::uint64_t now = v;
    switch (kind) {
      case Atomic::add: now = combine(Opcode::add); break;
      case Atomic::min: now = combine(Opcode::min); break;
      case Atomic::max: now = combine(Opcode::max); break;
      case Atomic::bit_and: now = old & v; break;
      case Atomic::bit_or: now = old | v; break;
      case Atomic::bit_xor: now = old ^ v; break;
      case Atomic::exchange: break;
      case Atomic::compare_exchange: now = old == bits_[op.operands[op.operands.size() - 2].index] ? v : old; break;
    }
    store_bits(p, s.from, now);
    bits_[s.result] = old;
  }
  std::string message(const Op& op, std::size_t from) const {
    std::vector<DType> types;
    std::vector<std::uint64_t> values;
    for (std::size_t i = from; i < op.operands.size(); ++i) {
      types.push_back(f_.type(op.operands[i]).dtype());
      values.push_back(bits_[op.operands[i].index]);
    }
    return format_text(f_.texts[op.ref], types, values);
  }
  EvalValue& item(const Op& op, const EvalValue& seq) const {
    const std::int64_t i = as_i32(op.operands[1]);
    if (i < 0 || static_cast<std::size_t>(i) >= length(seq))
      throw KernelError(op.loc, fmt::format("\"{}\": position {} of a sequence of {}", f_.name, i, length(seq)));
    return (*seq.seq)[static_cast<std::size_t>(i)];
  }

  // ---- arrays and seqs, position by position
  void elementwise(const Step& s, const Op& op) {
    std::vector<EvalValue> x;
    std::vector<Type> types;
    for (std::size_t i = 0; i < op.operands.size(); ++i) {
      x.push_back(take(s.op, i));
      types.push_back(f_.type(op.operands[i]));
    }
    const ScalarOp f = is_elementwise(s.code) ? scalar_op(s.code, s.from) : nullptr;
    const auto one = [&](const std::uint64_t* v) { return f ? f(v) : s.code == Opcode::convert ? convert_bits(s.from, s.to, v[0]) : v[0]; };
    put(op.results[0], map(s.code, f_.type(op.results[0]), x, types, one, op.loc));
  }
  EvalValue add(const Type& t, const EvalValue& a, const EvalValue& b) const {
    return map(Opcode::add, t, {a, b}, {t, t}, [&](const std::uint64_t* v) { return add_bits(t.dtype(), v[0], v[1]); }, {});
  }
  template <class F>
  EvalValue map(Opcode code, const Type& result, const std::vector<EvalValue>& x, const std::vector<Type>& types, const F& f, Loc loc) const {
    EvalValue out;
    if (result.is_scalar()) {
      std::uint64_t v[3] = {};
      for (std::size_t i = 0; i < x.size(); ++i) v[i] = x[i].bits;
      out.bits = f(v);
    } else if (result.is_array() && !result.element.is_scalar()) {
      return map_leaves(code, result, x, types);
    } else if (result.is_array()) {
      out.array = make_array(result, 0);
      const DType to = result.dtype();
      for (std::int64_t e = 0; e < result.count(); ++e) {
        std::uint64_t v[3] = {};
        for (std::size_t i = 0; i < x.size(); ++i)
          v[i] = types[i].is_scalar() ? x[i].bits : load_bits(x[i].array->data() + e * size_of(types[i].dtype()), types[i].dtype());
        store_bits(out.array->data() + e * size_of(to), to, f(v));
      }
    } else {
      const std::size_t n = length(x.back());
      out.seq = std::make_shared<Items>();
      out.seq->reserve(n);
      std::vector<Type> inner = types;
      for (Type& t : inner)
        if (t.is_seq()) t = t.item();
      for (std::size_t e = 0; e < n; ++e) {
        std::vector<EvalValue> y;
        for (std::size_t i = 0; i < x.size(); ++i) {
          if (types[i].is_seq() && length(x[i]) != n) throw KernelError(loc, fmt::format("\"{}\": sequences of {} and {} meet", f_.name, length(x[i]), n));
          y.push_back(types[i].is_seq() ? (*x[i].seq)[e] : x[i]);
        }
        out.seq->push_back(map(code, result.item(), y, inner, f, loc));
      }
    }
    return out;
  }

  // Elements of several leaves: one leaf after the other, halves in f32. A leaf that the op does not work on
  // (an integer that is added to by a float) keeps the value it has in the first array.
  EvalValue map_leaves(Opcode code, const Type& result, const std::vector<EvalValue>& x, const std::vector<Type>& types) const {
    EvalValue out;
    out.array = make_array(result, 0);
    const auto wide = [](DType t) { return is_half(t) ? DType::f32 : t; };
    const Layout& layout = layout_of(result.element);
    const auto operand = [&](std::size_t i, std::int64_t e, std::size_t leaf, bool widen) -> std::uint64_t {
      if (types[i].is_scalar()) return x[i].bits;
      const Layout& own = layout_of(types[i].element);
      const Leaf& l = own.leaves[own.leaves.size() == 1 ? 0 : leaf];
      const std::uint64_t v = load_bits(x[i].array->data() + e * own.size + l.offset, l.dtype);
      return widen ? convert_bits(l.dtype, wide(l.dtype), v) : v;
    };
    std::size_t first = 0;
    while (first + 1 < types.size() && !(types[first].element == result.element)) ++first;
    for (std::int64_t e = 0; e < result.count(); ++e)
      for (std::size_t leaf = 0; leaf < layout.leaves.size(); ++leaf) {
        const DType t = layout.leaves[leaf].dtype;
        std::uint64_t v[3] = {}, r = 0;
        const bool fits = code == Opcode::select || (is_elementwise(code) && accepts(info(code).operands, wide(t)));
        for (std::size_t i = 0; i < x.size() && i < 3; ++i) v[i] = operand(i, e, leaf, true);
        if (code == Opcode::convert) {
          const Layout& own = layout_of(types[0].element);
          const DType from = types[0].is_scalar() ? types[0].dtype() : own.leaves[own.leaves.size() == 1 ? 0 : leaf].dtype;
          r = convert_bits(wide(from), t, v[0]);
        } else {
          r = fits ? convert_bits(wide(t), t, scalar_op(code, wide(t))(v)) : operand(first, e, leaf, false);
        }
        store_bits(out.array->data() + e * layout.size + layout.leaves[leaf].offset, t, r);
      }
    return out;
  }

  // A machine for each callee, kept: a call runs it again.
  void run_call(OpId id) {
    const Op& op = f_[id];
    const Function& k = *f_.callees[op.ref];
    callees_.resize(f_.callees.size());
    machines_.resize(f_.callees.size());
    if (!callees_[op.ref]) callees_[op.ref] = std::make_unique<Plan>(k);
    if (!machines_[op.ref]) machines_[op.ref] = std::make_unique<Machine>(*callees_[op.ref], options_);
    std::vector<EvalValue> arguments;
    std::size_t next = 0;
    for (const Parameter& p : k.parameters) {
      if (p.role == Role::out) arguments.emplace_back();
      else arguments.push_back(take(id, next++));
    }
    std::vector<EvalValue> out = machines_[op.ref]->call(std::move(arguments));
    for (std::size_t i = 0; i < out.size(); ++i) put(op.results[i], std::move(out[i]));
  }
  void run_launch(OpId id) {
    const Op& op = f_[id];
    const Function& k = *f_.callees[op.ref];
    callees_.resize(f_.callees.size());
    if (!callees_[op.ref]) callees_[op.ref] = std::make_unique<Plan>(k);
    std::array<std::int64_t, 3> domain{1, 1, 1};
    std::size_t next = 0, result = 0;
    for (int a = 0; a < k.domain_rank; ++a) domain[a] = std::max(as_i32(op.operands[next++]), 0);
    std::vector<EvalValue> held;  // also keeps what is read apart from what is written
    std::vector<std::size_t> written;
    std::vector<std::uint64_t> scalars;
    std::vector<Type> types;
    for (const Parameter& p : k.parameters) {
      if (p.kind == Parameter::Kind::scalar) {
        scalars.push_back(bits_[op.operands[next++].index]);
        continue;
      }
      if (p.role == Role::out) {
        types.push_back(f_.type(op.results[result]));
        held.emplace_back().array = make_array(types.back(), 0xff);  // NaN: what an Out does not write is undefined
      } else {
        types.push_back(f_.type(op.operands[next]));
        held.push_back(take(id, next++));
      }
      if (p.role != Role::in) written.push_back(held.size() - 1), ++result;
    }
    for (std::size_t w : written)
      if (held[w].array.use_count() > 1) held[w].array = std::make_shared<Bytes>(*held[w].array);
    std::vector<EvalMemory> memories;
    for (std::size_t i = 0; i < held.size(); ++i) {
      EvalMemory m{held[i].array->data(), {1, 1, 1}};
      for (int a = 0; a < types[i].rank; ++a) m.extent[a] = types[i].shape[a];
      memories.push_back(m);
    }
    EvalOptions options = options_;
    options.thread_order.clear();
    Machine(*callees_[op.ref], options).launch(domain, memories, scalars);
    for (std::size_t i = 0; i < written.size(); ++i) objects_[op.results[i].index] = std::move(held[written[i]]);
  }
};

}  // namespace

std::vector<std::uint64_t> evaluate_fn(const Function& f, std::span<const std::uint64_t> arguments) {
  const Plan plan(f);
  const EvalOptions options;
  std::vector<EvalValue> in;
  for (std::uint64_t a : arguments) in.emplace_back().bits = a;
  std::vector<std::uint64_t> out;
  for (const EvalValue& v : Machine(plan, options).call(std::move(in))) out.push_back(v.bits);
  return out;
}

void evaluate_kernel(const Function& f, std::array<std::int64_t, 3> domain, std::span<const EvalMemory> memories,
                     std::span<const std::uint64_t> scalars, const EvalOptions& options) {
  const Plan plan(f);
  Machine(plan, options).launch(domain, memories, scalars);
}

std::vector<EvalValue> evaluate_program(const Function& f, std::vector<EvalValue> arguments, const EvalOptions& options) {
  const Plan plan(f);
  return Machine(plan, options).call(std::move(arguments));
}

}  // namespace fluxion
