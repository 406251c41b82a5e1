// Runs a function op by op: the oracle that every backend is held to, so it is plain before it is fast.
// Scalars live in a vector of bits by value id, seqs and arrays beside them. A launch runs its threads one
// after the other, groups as evaluate_group.h says; a shadow of each written memory finds races (evaluate_shadow.h).
#include "fluxion/evaluate.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>

#include "evaluate_arrays.h"
#include "evaluate_group.h"
#include "evaluate_plan.h"
#include "evaluate_trace.h"
#include "fluxion/cancel.h"
#include "fluxion/external_code.h"
#include "fluxion/races.h"

namespace fluxion {
namespace {

struct Access {
  std::byte* data = nullptr;
  std::array<std::int64_t, 3> extent{1, 1, 1};
  const Layout* layout = nullptr;
  std::vector<Shadow> shadow;  // by element and leaf; empty: not watched
  WatchedMemory watched;
};

class Machine {
 public:
  Machine(const Plan& plan, const EvalOptions& options)
      : plan_(plan), f_(plan.f), options_(options), bits_(plan.bits), objects_(plan.has_objects ? plan.bits.size() : 0) {}

  /// `at`: where an error of a host function is reported.
  std::vector<EvalValue> call(std::vector<EvalValue> arguments, Loc at = {}) {
    if (arguments.size() != f_.parameters.size())
      throw KernelError(f_.loc, fmt::format("\"{}\" takes {} arguments, got {}", f_.name, f_.parameters.size(), arguments.size()));
    if (f_.external) return call_host(arguments, at);
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
    if (f_.external) return launch_host(memories, scalars);
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
        a.watched = {f_[p.memory].name, p.role, false, f_.has_groups()};
        if (options_.races && (p.role == Role::out || p.role == Role::inout))
          a.shadow.resize(static_cast<std::size_t>(m.extent[0] * m.extent[1] * m.extent[2]) * a.layout->leaves.size());
      } else {
        if (next_scalar == scalars.size()) throw KernelError(f_.loc, fmt::format("kernel \"{}\": too few scalars", f_.name));
        bits_[p.value.index] = scalars[next_scalar++];
      }
    }
    make_locals();
    std::optional<Trace> trace;
    std::vector<Trace::Written> written;
    if (options_.nan || options_.inf) {
      trace.emplace(f_, thread_, options_.inf);
      follow(&*trace);
      for (const Parameter& p : f_.parameters)
        if (p.kind == Parameter::Kind::scalar) made_[p.value.index] = trace->scalar(p.name, f_.type(p.value).dtype(), bits_[p.value.index]);
      written = seen_by_caller();
    }
    if (f_.has_groups()) {
      Group<Machine>(*this).launch(domain_, options_.thread_order);
      if (trace) trace->check(written, domain_, true);
      return;
    }
    const std::int64_t threads = domain_[0] * domain_[1] * domain_[2];
    const Values& index = f_[f_.body].arguments;
    for (std::int64_t t = 0; t < threads; ++t) {
      thread_ = options_.thread_order.empty() ? static_cast<std::uint32_t>((t + options_.first_thread) % threads)
                                              : options_.thread_order.at(static_cast<std::size_t>(t));
      std::int64_t rest = thread_;
      for (int a = f_.domain_rank - 1; a >= 0; --a) {
        if (!index.empty()) bits_[index[a].index] = static_cast<std::uint64_t>(rest % domain_[a]);
        rest /= domain_[a];
      }
      look_for_requests(f_.loc);
      run(f_.body);
      if (trace) trace->check(written, domain_, t + 1 == threads);
    }
  }
  /// Notes what is not finite in `trace` from now on.
  void follow(Trace* trace) {
    trace_ = trace;
    made_.assign(bits_.size(), 0);
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
  std::array<std::int64_t, 3> group_{};  // of the thread that runs, where there are groups
  std::uint32_t group_number_ = 0;
  std::uint32_t phase_ = 0;  // counts barriers and groups
  Trace* trace_ = nullptr;
  std::vector<std::uint32_t> made_;  // by value, while tracing: what made it
  Turns turns_;                      // of programs

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
      access_[m].watched = {mem.name, Role::inout, mem.space == Memory::Space::shared, f_.has_groups()};
      if (options_.races && mem.space == Memory::Space::shared)
        access_[m].shadow.resize(static_cast<std::size_t>(mem.length) * access_[m].layout->leaves.size());
    }
  }
  void check_argument(const Parameter& p, const EvalValue& v) const {
    const Type& t = f_.type(p.value);
    const std::size_t bytes = static_cast<std::size_t>(t.count()) * layout_of(t.element).size;
    if (!v.array || v.array->size() != bytes)
      throw ShapeError(
          f_.loc, fmt::format("\"{}\": {} is {}, {} bytes; got {}", f_.name, p.name, to_string(t), bytes, v.array ? v.array->size() : 0));
  }

  // ---- values
  bool scalar(ValueId v) const { return f_[v].type.is_scalar(); }
  std::int32_t as_i32(ValueId v) const { return static_cast<std::int32_t>(bits_[v.index]); }
  void put(ValueId v, EvalValue x) {
    if (scalar(v)) {
      bits_[v.index] = x.bits;
      if (trace_) made_[v.index] = x.made;
    } else objects_[v.index] = std::move(x);
  }
  EvalValue take(OpId op, std::size_t i) {
    const ValueId v = f_[op].operands[i];
    if (scalar(v)) return copy(v);
    const EvalValue& held = objects_[v.index];
    if (f_.type(v).is_array() && !held.array) unwritten(op, v);
    return i < 64 && (plan_.kills[op.index] >> i & 1) ? std::move(objects_[v.index]) : held;
  }
  [[noreturn]] void unwritten(OpId op, ValueId v) const {
    const Value& x = f_[v];
    const std::string name = x.kind == Value::Kind::parameter ? f_.parameters[x.owner].name : "an array";
    throw KernelError(f_[op].loc,
                      fmt::format("program \"{}\": {} is Out and is read before a launch has written it; declare it InOut", f_.name, name));
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
    if (trace_ && (s.scalar || s.code == Opcode::convert || s.code == Opcode::bitcast) && scalar(f_[s.op].results[0]))
      made_[s.result] = trace_->computed(f_, f_[s.op], bits_, made_);
  }
  void look_for_requests(Loc at) const {
    if (cancelled()) throw Cancelled(at, fmt::format("\"{}\" was cancelled here", f_.name));
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
    std::vector<std::uint32_t> made(trace_ ? to.size() : 0);
    for (std::size_t i = 0; i < made.size(); ++i) made[i] = made_[f_[op].operands[from + i].index];
    std::vector<EvalValue> objects;
    for (std::size_t i = 0; i < to.size(); ++i) {
      if (scalar(to[i])) bits[i] = bits_[f_[op].operands[from + i].index];
      else objects.push_back(take(op, from + i));
    }
    auto object = objects.begin();
    for (std::size_t i = 0; i < to.size(); ++i) {
      if (scalar(to[i])) bits_[to[i].index] = bits[i];
      else objects_[to[i].index] = std::move(*object++);
      if (trace_) made_[to[i].index] = made[i];
    }
  }
  EvalValue copy(ValueId v) const {
    if (!scalar(v)) return objects_[v.index];
    EvalValue x;
    x.bits = bits_[v.index];
    if (trace_) x.made = made_[v.index];
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
      look_for_requests(op.loc);
      bits_[f_[body].arguments[0].index] = static_cast<std::uint32_t>(i);
      const Turns::Scope turn(turns_, op, i);
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
      look_for_requests(op.loc);
      assign(f_[body].arguments, cond_yield, 1);
      const Turns::Scope turn(turns_, op, trips);
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
    if (!a.shadow.empty()) watch(op, a, at, kind, id);
    return a.data + at * a.layout->size + a.layout->leaves[op.leaf].offset;
  }
  void watch(const Op& op, Access& a, std::int64_t at, std::uint32_t kind, OpId id) {
    Shadow& s = a.shadow[static_cast<std::size_t>(at) * a.layout->leaves.size() + op.leaf];
    const WatchedAccess access{kind, id.index, thread_, group_number_, phase_};
    if (const Meeting what = fluxion::watch(s, a.watched, access); what != Meeting::fine)
      throw KernelError(op.loc, meeting_text(what, s, a.watched, access, f_.name, place(op), f_[OpId{other_op(s, what)}].loc));
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
      case Opcode::load: {
        const std::byte* p = address(op, access_[op.memory.index], touch::kRead, s.op);
        bits_[s.result] = load_bits(p, s.from);
        if (trace_) made_[s.result] = found(op, p, s.from, bits_[s.result]);
        break;
      }
      case Opcode::store: {
        std::byte* p = address(op, access_[op.memory.index], touch::kWrite, s.op);
        const ValueId v = op.operands.back();
        const bool out = f_[op.memory].role == Role::out;  // what that held before means nothing
        if (trace_) trace_->stores(p, s.from, out ? 0 : load_bits(p, s.from), bits_[v.index], made_[v.index]);
        store_bits(p, s.from, bits_[v.index]);
        break;
      }
      case Opcode::accumulate: {
        std::byte* p = address(op, access_[op.memory.index], touch::kAdd, s.op);
        const std::uint64_t old = load_bits(p, s.from), now = add_bits(s.from, old, bits_[op.operands.back().index]);
        if (trace_) combine(op, p, s.from, old, now);
        store_bits(p, s.from, now);
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
      case Opcode::seq_get:
        if (const Type& t = f_.type(op.operands[0]); t.is_array()) {
          const std::int64_t i = as_i32(op.operands[1]);
          if (i < 0 || i >= t.shape[0])
            throw KernelError(op.loc, fmt::format("\"{}\": element {} of an array of {}", f_.name, i, t.shape[0]));
          bits_[s.result] = load_bits(objects_[s.operand[0]].array->data() + i * size_of(t.dtype()), t.dtype());
          break;
        }
        put(op.results[0], item(op, objects_[s.operand[0]]));
        break;
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
    const auto result_of = [&](Opcode with) {
      const std::uint64_t x[3] = {old, v, 0};
      return scalar_op(with, s.from)(x);
    };
    std::uint64_t now = v;
    switch (kind) {
      case Atomic::add: now = result_of(Opcode::add); break;
      case Atomic::min: now = result_of(Opcode::min); break;
      case Atomic::max: now = result_of(Opcode::max); break;
      case Atomic::bit_and: now = old & v; break;
      case Atomic::bit_or: now = old | v; break;
      case Atomic::bit_xor: now = old ^ v; break;
      case Atomic::exchange: break;
      case Atomic::compare_exchange: now = old == bits_[op.operands[op.operands.size() - 2].index] ? v : old; break;
    }
    if (trace_) made_[s.result] = combine(op, p, s.from, old, now);
    store_bits(p, s.from, now);
    bits_[s.result] = old;
  }
  // ---- tracing
  std::uint32_t found(const Op& op, const std::byte* p, DType t, std::uint64_t bits) {
    return trace_->loaded(p, t, bits, op, [&] { return place(op); });
  }
  /// Notes what an op leaves of the old number and its last operand; gives what made the old one.
  std::uint32_t combine(const Op& op, const std::byte* p, DType t, std::uint64_t old, std::uint64_t now) {
    const std::uint32_t before = found(op, p, t, old);
    const ValueId v = op.operands.back();
    trace_->stores(p, t, old, now, trace_->combined(op, t, old, before, bits_[v.index], made_[v.index], now));
    return before;
  }
  std::vector<Trace::Written> seen_by_caller() const {
    std::vector<Trace::Written> out;
    for (const Parameter& p : f_.parameters)
      if (p.kind == Parameter::Kind::memory && p.role != Role::in && !f_[p.memory].scratch)
        out.push_back(
            {p.name, access_[p.memory.index].data, access_[p.memory.index].extent, f_[p.memory].rank, access_[p.memory.index].layout});
    return out;
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
    EvalValue out = map_values(s.code, f_.type(op.results[0]), x, types, one, op.loc, f_.name);
    if (options_.nan && out.array) look_at(op, x, types, out);
    put(op.results[0], std::move(out));
  }
  /// An op on arrays that makes a NaN of numbers.
  void look_at(const Op& op, const std::vector<EvalValue>& x, const std::vector<Type>& types, const EvalValue& out) const {
    const Type& type = f_.type(op.results[0]);
    if (!type.element.is_scalar() || !is_float(type.dtype())) return;
    const auto at = [](const EvalValue& v, const Type& t, std::int64_t e) {
      return t.is_scalar() ? v.bits : load_bits(v.array->data() + e * size_of(t.dtype()), t.dtype());
    };
    for (std::int64_t e = 0; e < type.count(); ++e) {
      bool made = Trace::is_nan(type.dtype(), at(out, type, e));
      std::string list;
      for (std::size_t k = 0; k < x.size(); ++k) {
        const DType t = types[k].dtype();
        made &= !Trace::is_nan(t, at(x[k], types[k], e));
        if (made) list += (k ? ", " : "") + format_value(t, at(x[k], types[k], e));
      }
      if (made)
        throw turns_.placed(TracedError(op.loc, fmt::format("{} of ({}) is nan, at position {}", name_of(op.code), list, e)), f_.name,
                            op.loc);
    }
  }
  EvalValue add(const Type& t, const EvalValue& a, const EvalValue& b) const {
    return map_values(Opcode::add, t, {a, b}, {t, t}, [&](const std::uint64_t* v) { return add_bits(t.dtype(), v[0], v[1]); }, {}, f_.name);
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
    if (trace_) {
      machines_[op.ref]->follow(trace_);
      trace_->callers.push_back(op.loc);
    }
    std::vector<EvalValue> out = machines_[op.ref]->call(std::move(arguments), op.loc);
    if (trace_) trace_->callers.pop_back();
    for (std::size_t i = 0; i < out.size(); ++i) put(op.results[i], std::move(out[i]));
    if (trace_ && k.external) blame(op);
  }
  // A NaN that a host function gives is its own unless it was given one.
  void blame(const Op& op) {
    std::uint32_t from = 0;
    for (ValueId v : op.operands)
      if (is_float(f_.type(v).dtype()) && Trace::is_nan(f_.type(v).dtype(), bits_[v.index])) from = made_[v.index];
    for (ValueId v : op.results)
      if (const DType t = f_.type(v).dtype(); is_float(t))
        made_[v.index] = from && Trace::is_odd(t, bits_[v.index]) ? from : trace_->given(op, t, bits_[v.index]);
  }
  std::vector<EvalValue> call_host(const std::vector<EvalValue>& arguments, Loc at) const {
    std::vector<std::uint64_t> in, bits(f_.external->gives.size());
    for (const EvalValue& v : arguments) in.push_back(v.bits);
    if (std::string error; !try_external(*f_.external, in.data(), bits.data(), error)) throw KernelError(at ? at : f_.loc, error);
    std::vector<EvalValue> out(bits.size());
    for (std::size_t k = 0; k < bits.size(); ++k) out[k].bits = bits[k];
    return out;
  }
  void launch_host(std::span<const EvalMemory> memories, std::span<const std::uint64_t> scalars) const {
    std::vector<ExternalArray> arrays;
    for (const EvalMemory& m : memories) arrays.push_back({m.data, m.extent});
    if (std::string error; !try_external(*f_.external, arrays.data(), scalars.data(), error)) throw KernelError(f_.loc, error);
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
    try {
      ++turns_.launches;
      Machine(*callees_[op.ref], options).launch(domain, memories, scalars);
    } catch (const TracedError& e) { throw turns_.placed(e, f_.name, op.loc); }
    for (std::size_t i = 0; i < written.size(); ++i) objects_[op.results[i].index] = std::move(held[written[i]]);
  }
};

}  // namespace

std::vector<std::uint64_t> evaluate_fn(const Function& f, std::span<const std::uint64_t> arguments, Loc at) {
  const Plan plan(f);
  const EvalOptions options;
  std::vector<EvalValue> in;
  for (std::uint64_t a : arguments) in.emplace_back().bits = a;
  std::vector<std::uint64_t> out;
  for (const EvalValue& v : Machine(plan, options).call(std::move(in), at)) out.push_back(v.bits);
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
