// atomic_min and atomic_max of floats in arrays, made stores. Which thread's number stays is known only when all have been there, so
// two kernels run before (Before in ir.h), on the same values, and on integers alone:
//
//   extremes   atomic max @extreme[i], key(v)         keys order as numbers do; 0 is below all of them
//   winners    if key(v) == extreme[i], and v beats the old y[i]: atomic max @winner[i], place     of the first thread the largest
//   itself     atomic max @y[i], v   ->   if @winner[i] == place { store @y[i] = v }
//
// So each element is one thread's own, and every derivative is that of a store, to any order. Of equal numbers the old content
// wins, then the first thread, then the first time. Only where nothing else happens to that leaf of the array, nobody uses the result,
// and numbers and indices do not depend on what the kernel writes; others are refused (groups.h).
#include <algorithm>
#include <optional>

#include "fluxion/passes.h"
#include "fluxion/rewrite.h"
#include "groups.h"
#include "names.h"

namespace fluxion::ad {
namespace {

struct Target {
  MemoryId memory;
  int leaf;
  Atomic kind;
  int parameter;
  DType type;
};
struct Sites {
  std::vector<Target> targets;
  std::vector<int> of;      // by op: its target, or -1
  std::vector<int> number;  // by op: its place among those of a thread, where there are no loops around any
  bool loops = false;
};

Sites find(const Function& f) {
  Sites s;
  s.of.assign(f.ops.size(), -1);
  s.number.assign(f.ops.size(), 0);
  std::vector<char> used(f.values.size());
  for (const Region& r : f.regions)
    for (OpId o : r.ops)
      for (ValueId v : f[o].operands) used[v.index] = 1;
  const auto extremal = [&](const Op& op) {
    const auto kind = static_cast<Atomic>(op.kind);
    if (op.code != Opcode::atomic || (kind != Atomic::min && kind != Atomic::max) || used[op.results[0].index]) return false;
    const DType t = f.type(op.results[0]).dtype();
    return f[op.memory].space == Memory::Space::parameter && (t == DType::f32 || t == DType::f64);
  };
  std::vector<std::pair<MemoryId, int>> mixed;
  const auto walk = [&](const auto& self, RegionId r, bool loop, int& next) -> void {
    for (OpId o : f[r].ops) {
      const Op& op = f[o];
      if (op.memory.valid() && op.code != Opcode::extent) {
        const auto same = [&](const Target& t) { return t.memory == op.memory && t.leaf == op.leaf; };
        auto at = std::find_if(s.targets.begin(), s.targets.end(), same);
        if (!extremal(op)) {
          mixed.emplace_back(op.memory, op.leaf);
        } else {
          if (at == s.targets.end()) {
            int parameter = 0;
            while (f.parameters[static_cast<std::size_t>(parameter)].memory != op.memory) ++parameter;
            at = s.targets.insert(at, {op.memory, op.leaf, static_cast<Atomic>(op.kind), parameter, f.type(op.results[0]).dtype()});
          }
          if (at->kind != static_cast<Atomic>(op.kind)) mixed.emplace_back(op.memory, op.leaf);
          s.of[o.index] = 0;
          s.number[o.index] = next++;
          s.loops |= loop;
        }
      }
      for (RegionId inner : op.regions) self(self, inner, loop || op.code != Opcode::if_, next);
    }
  };
  int next = 0;
  walk(walk, f.body, false, next);
  std::erase_if(s.targets,
                [&](const Target& t) { return std::find(mixed.begin(), mixed.end(), std::pair(t.memory, t.leaf)) != mixed.end(); });
  for (std::size_t o = 0; o < f.ops.size(); ++o) {
    if (s.of[o] < 0) continue;
    s.of[o] = -1;
    for (std::size_t t = 0; t < s.targets.size(); ++t)
      if (s.targets[t].memory == f.ops[o].memory && s.targets[t].leaf == f.ops[o].leaf) s.of[o] = static_cast<int>(t);
  }
  return s;
}

DType key_type(DType t) { return t == DType::f64 ? DType::u64 : DType::u32; }

/// A number as an unsigned integer that is larger where the number wins; `valid`: it is one.
struct Key {
  ValueId number, key, valid;
};
Key key_of(Builder& b, const Target& t, ValueId v) {
  const ValueId zero = b.constant_float(t.type, 0), x = b.emit(Opcode::stop_grad, {v});
  const ValueId number = b.select(b.emit(Opcode::eq, {x, zero}), zero, x);  // of zeros none is larger
  const DType u = key_type(t.type);
  const std::uint64_t top = u == DType::u64 ? std::uint64_t{1} << 63 : std::uint64_t{1} << 31;
  const ValueId bits = b.bitcast(number, u), sign = b.constant(u, top);
  const ValueId negative = b.emit(Opcode::ne, {b.emit(Opcode::bit_and, {bits, sign}), b.constant(u, 0)});
  ValueId key = b.select(negative, b.emit(Opcode::bit_not, {bits}), b.emit(Opcode::bit_or, {bits, sign}));
  if (t.kind == Atomic::min) key = b.emit(Opcode::bit_not, {key});
  return {number, key, b.emit(Opcode::eq, {x, x})};
}

/// Counts what a thread does, in the order in which it does it.
struct Counter {
  const Sites& sites;
  MemoryId memory{};
  explicit Counter(const Sites& s) : sites(s) {}
  void begin(Builder& b) {
    if (sites.loops) memory = b.local(DType::i32, 1, "extremes_seen");
  }
  ValueId next(Builder& b, OpId o) {
    if (!memory.valid()) return b.i32(sites.number[o.index]);
    const ValueId at = b.i32(0), n = b.load(memory, {&at, 1});
    b.store(memory, {&at, 1}, b.add(n, b.i32(1)));
    return n;
  }
};
/// Larger for the threads in front, and in a thread for what it does first; never 0.
ValueId place_of(Builder& b, ValueId count) {
  const int rank = std::max(1, b.function().domain_rank);
  ValueId thread{}, all{};
  for (int a = 0; a < rank; ++a) {
    const ValueId i = b.convert(b.index(a), DType::i64), n = b.convert(b.domain(a), DType::i64);
    thread = thread.valid() ? b.add(b.mul(thread, n), i) : i;
    all = all.valid() ? b.mul(all, n) : n;
  }
  const ValueId first = b.emit(Opcode::shl, {b.sub(all, thread), b.constant_int(DType::i64, 31)});
  return b.add(first, b.sub(b.constant_int(DType::i64, 0x7fffffff), b.convert(count, DType::i64)));
}
Values indices_of(const Function& f, const Op& op) { return Values(op.operands.begin(), op.operands.begin() + f[op.memory].rank); }

/// One of the two kernels in front, or nothing where it would need what the kernel writes. `works`: how many targets there are.
std::optional<Before::Stage> stage(const Function& f, const Sites& sites, bool winners) {
  Function g;
  g.kind = Function::Kind::kernel;
  g.name = f.name + (winners ? ".winners" : ".extremes");
  g.loc = f.loc;
  g.domain_rank = f.domain_rank;
  g.group = f.group;
  Builder b(g);
  b.loc = f.loc;
  Rewriter r(f, b);
  Before::Stage out;
  std::vector<char> there(f.memories.size()), written(f.memories.size());
  Names names;
  for (std::size_t p = 0; p < f.parameters.size(); ++p) {
    const Parameter& q = f.parameters[p];
    if (q.kind == Parameter::Kind::scalar) {
      r.map(q.value, b.scalar_parameter(f.type(q.value).dtype(), names.unique(q.name)));
    } else {
      if (q.role == Role::out || q.role == Role::accum) continue;
      r.map(q.memory, b.memory_parameter(f[q.memory].element, f[q.memory].rank, Role::in, names.unique(q.name)));
      there[q.memory.index] = 1;
    }
    out.arguments.push_back(static_cast<int>(p));
  }
  std::vector<MemoryId> extreme, winner;
  const int n = static_cast<int>(sites.targets.size());
  for (int k = 0; k < n; ++k) {
    const Target& t = sites.targets[static_cast<std::size_t>(k)];
    extreme.push_back(b.memory_parameter(key_type(t.type), f[t.memory].rank, winners ? Role::in : Role::inout,
                                         names.unique(f[t.memory].name + "_extreme")));
    out.arguments.push_back(-1 - k);
  }
  for (int k = 0; k < n && winners; ++k) {
    const Target& t = sites.targets[static_cast<std::size_t>(k)];
    winner.push_back(b.memory_parameter(DType::i64, f[t.memory].rank, Role::inout, names.unique(f[t.memory].name + "_winner")));
    out.arguments.push_back(-1 - n - k);
  }
  for (std::size_t i = 0; i < f[f.body].arguments.size(); ++i) r.map(f[f.body].arguments[i], b.index(static_cast<int>(i)));
  std::vector<char> used(f.values.size());
  for (const Region& region : f.regions)
    for (OpId o : region.ops)
      for (ValueId v : f[o].operands) used[v.index] = 1;
  for (std::size_t o = 0; o < f.ops.size(); ++o) {
    const Op& op = f.ops[o];
    if (op.memory.valid() && op.code != Opcode::load && op.code != Opcode::extent && sites.of[o] < 0) written[op.memory.index] = 1;
  }
  bool possible = true;
  Counter counter(sites);
  if (winners) counter.begin(b);
  r.hook = [&](Rewriter& rw, OpId o) {
    const Op& op = f[o];
    if (op.code == Opcode::print || op.code == Opcode::check) return true;
    if (!op.memory.valid() || f[op.memory].space != Memory::Space::parameter) return false;
    if (const int k = sites.of[o.index]; k >= 0) {
      const Target& t = sites.targets[static_cast<std::size_t>(k)];
      const Values at = rw(indices_of(f, op));
      const Key key = key_of(b, t, rw(op.operands.back()));
      if (!winners) {
        b.if_(
            key.valid, [&] { return b.atomic(Atomic::max, extreme[static_cast<std::size_t>(k)], at, {&key.key, 1}), Values{}; },
            [] { return Values{}; });
        return true;
      }
      const ValueId place = place_of(b, counter.next(b, o));
      const ValueId old = b.load(rw(op.memory), at, op.leaf);
      const ValueId kept = b.emit(t.kind == Atomic::max ? Opcode::ge : Opcode::le, {old, key.number});
      const ValueId best = b.emit(Opcode::eq, {b.load(extreme[static_cast<std::size_t>(k)], at), key.key});
      const ValueId wins = b.emit(Opcode::bit_and, {b.emit(Opcode::bit_and, {key.valid, best}), b.emit(Opcode::bit_not, {kept})});
      b.if_(
          wins, [&] { return b.atomic(Atomic::max, winner[static_cast<std::size_t>(k)], at, {&place, 1}), Values{}; },
          [] { return Values{}; });
      return true;
    }
    if (op.code == Opcode::load || op.code == Opcode::extent) {
      if (there[op.memory.index]) return false;
    } else if (op.code != Opcode::atomic || !used[op.results[0].index]) {
      return true;
    }
    possible = false;
    for (ValueId v : op.results) rw.map(v, b.zero(f.type(v)));
    return true;
  };
  r.copy_ops(f.body);
  b.finish();
  if (!possible) return {};
  g = dce(g);
  for (const Region& region : g.regions)
    for (OpId o : region.ops) {
      const Op& op = g[o];
      if (op.code != Opcode::load || g[op.memory].space != Memory::Space::parameter) continue;
      for (std::size_t p = 0; p < g.parameters.size(); ++p)
        if (g.parameters[p].memory == op.memory && out.arguments[p] >= 0 &&
            written[f.parameters[static_cast<std::size_t>(out.arguments[p])].memory.index])
          return {};
    }
  out.kernel = std::make_shared<const Function>(std::move(g));
  return out;
}

}  // namespace

Function order_array_minmax(const Function& f) {
  if (f.kind != Function::Kind::kernel || !f.before.stages.empty()) return f;
  const Sites sites = find(f);
  if (sites.targets.empty()) return f;
  const auto extremes = stage(f, sites, false), winners = stage(f, sites, true);
  if (!extremes || !winners) return f;
  Function g;
  Builder b(g);
  Rewriter r(f, b);
  r.copy_signature();
  b.loc = f.loc;
  Names names;
  for (const Parameter& p : f.parameters) names.unique(p.name);
  const int n = static_cast<int>(sites.targets.size());
  std::vector<MemoryId> winner;
  for (const Target& t : sites.targets) g.before.arrays.push_back({key_type(t.type), t.parameter});
  for (int k = 0; k < n; ++k) {
    const Target& t = sites.targets[static_cast<std::size_t>(k)];
    g.before.arrays.push_back({DType::i64, t.parameter});
    winner.push_back(b.memory_parameter(DType::i64, f[t.memory].rank, Role::in, names.unique(f[t.memory].name + "_winner")));
    g[winner.back()].scratch = true;
    g[winner.back()].like = t.parameter;
    g[winner.back()].work = n + k;
  }
  g.before.stages = {*extremes, *winners};
  Counter counter(sites);
  counter.begin(b);
  r.hook = [&](Rewriter& rw, OpId o) {
    const int k = sites.of[o.index];
    if (k < 0) return false;
    const Op& op = f[o];
    const Values at = rw(indices_of(f, op));
    const ValueId mine = b.emit(Opcode::eq, {b.load(winner[static_cast<std::size_t>(k)], at), place_of(b, counter.next(b, o))});
    b.if_(mine, [&] { return b.store(rw(op.memory), at, rw(op.operands.back()), op.leaf), Values{}; }, [] { return Values{}; });
    return true;
  };
  r.copy_ops(f.body);
  b.loc = f.terminator(f.body).loc;
  b.finish();
  return g;
}

namespace {

/// Launches what runs before `k`, by its parameters; gives the work arrays.
Values run_before(Builder& b, const Function& k, std::span<const ValueId> domain, std::span<const ValueId> operands) {
  Values works;
  for (const Before::Array& a : k.before.arrays) {
    Type t = b.function().type(operands[static_cast<std::size_t>(a.like)]);
    t.element = a.element;
    works.push_back(b.zero(t));
  }
  for (const Before::Stage& s : k.before.stages) {
    Values arguments;
    for (const int a : s.arguments)
      arguments.push_back(a >= 0 ? operands[static_cast<std::size_t>(a)] : works[static_cast<std::size_t>(-1 - a)]);
    const Values made = b.launch(s.kernel, domain, arguments);
    std::size_t next = 0;
    for (std::size_t p = 0; p < s.arguments.size(); ++p)
      if (s.kernel->parameters[p].kind == Parameter::Kind::memory && s.kernel->parameters[p].role != Role::in)
        works[static_cast<std::size_t>(-1 - s.arguments[p])] = made[next++];
  }
  return works;
}

}  // namespace

Function order_launched_minmax(const Function& f) {
  if (f.kind != Function::Kind::program) return f;
  std::vector<std::shared_ptr<const Function>> ordered(f.callees.size());
  bool any = false;
  for (std::size_t k = 0; k < f.callees.size(); ++k) {
    if (f.callees[k]->kind != Function::Kind::kernel || f.callees[k]->rules != Rules{}) continue;
    Function g = order_array_minmax(*f.callees[k]);
    if (g.before.stages.empty() || !f.callees[k]->before.stages.empty()) continue;
    ordered[k] = std::make_shared<const Function>(std::move(g));
    any = true;
  }
  if (!any) return f;
  return rewrite(f, [&](Rewriter& r, OpId o) {
    const Op& op = f[o];
    if (op.code != Opcode::launch || !ordered[op.ref]) return false;
    const Function& k = *ordered[op.ref];
    Builder& b = r.to;
    const auto rank = static_cast<std::size_t>(k.domain_rank);
    const Values domain = r(Values(op.operands.begin(), op.operands.begin() + static_cast<std::ptrdiff_t>(rank)));
    std::vector<ValueId> operand(k.parameters.size());
    std::vector<Type> outs;
    Values arguments;
    std::size_t next = rank, result = 0;
    for (std::size_t p = 0; p < k.parameters.size(); ++p) {
      const Parameter& q = k.parameters[p];
      const bool memory = q.kind == Parameter::Kind::memory;
      if (memory && k[q.memory].work >= 0) continue;
      if (memory && q.role == Role::out) outs.push_back(f.type(op.results[result]));
      else arguments.push_back(operand[p] = r(op.operands[next++]));
      result += memory && q.role != Role::in;
    }
    const Values works = run_before(b, k, domain, operand);
    for (const Parameter& q : k.parameters)
      if (q.kind == Parameter::Kind::memory && k[q.memory].work >= 0)
        arguments.push_back(works[static_cast<std::size_t>(k[q.memory].work)]);
    Function plain = k;
    plain.before = {};
    for (Memory& m : plain.memories)
      if (m.work >= 0) m.scratch = false, m.work = m.like = -1;
    const Values made = b.launch(std::make_shared<const Function>(std::move(plain)), domain, arguments, outs);
    r.map(op.results, made);
    return true;
  });
}

}  // namespace fluxion::ad
