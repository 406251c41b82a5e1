#include "keep_tape.h"

#include <algorithm>
#include <map>
#include <set>

#include "fluxion/rewrite.h"
#include "names.h"
#include "prepare.h"
#include "reverse.h"

namespace fluxion::ad {
namespace {

constexpr double kCostly = 20, kWorth = 8;  // simple operations: a transcendental function; a store and a load through the cache
constexpr double kUnknownTrips = 8;

std::vector<OpId> loops_of(const Function& f, std::size_t end) {
  std::vector<OpId> out;
  const auto& ops = f[f.body].ops;
  for (std::size_t k = 0; k < end; ++k)
    if (f[ops[k]].code == Opcode::for_) out.push_back(ops[k]);
  return out;
}

/// -1: not known.
std::int64_t trips(const Function& f, const Op& loop) {
  if (!f.is_constant(loop.operands[0]) || !f.is_constant(loop.operands[1])) return -1;
  const auto at = [&](int k) { return static_cast<std::int64_t>(static_cast<std::int32_t>(f[loop.operands[k]].bits)); };
  return std::max<std::int64_t>(0, at(1) - at(0));
}

double cost(const Function& f, RegionId r) {
  double sum = 0;
  for (OpId o : f[r].ops) {
    const Op& op = f[o];
    const bool exact = !is_elementwise(op.code) || op.code == Opcode::select || (info(op.code).flags & (flag::exact | flag::predicate));
    sum += exact && op.code != Opcode::div && op.code != Opcode::sqrt ? 1 : kCostly;
    const double times = op.code == Opcode::for_ && trips(f, op) >= 0 ? static_cast<double>(trips(f, op)) : kUnknownTrips;
    for (RegionId inner : op.regions) sum += (op.code == Opcode::if_ ? 0.5 : times) * cost(f, inner);
  }
  return sum;
}

struct Item {
  std::size_t result;  // of the loop: a carry, or a seq of what it collects
  std::size_t array;
  std::int64_t row, rows;
  bool seq;
};

struct Splitter {
  const Function &sweep, &adjoint;
  const std::size_t cut;
  std::map<OpId, std::vector<Item>> kept_here{}, kept_there{};  // by loop of the adjoint, and of the sweep
  std::map<std::uint32_t, Item> seq_item{};                     // by seq of the adjoint
  std::vector<TapeArray> arrays{};
  std::set<OpId> needless{};              // of the adjoint's sweep
  std::map<std::uint32_t, bool> asked{};  // by value of the adjoint: whether all that is asked are items and the length

  void ask(OpId o) {
    const Op& op = adjoint[o];
    for (std::size_t k = 0; k < op.operands.size(); ++k) {
      const bool item = k == 0 && (op.code == Opcode::seq_get || op.code == Opcode::seq_len);
      asked.try_emplace(op.operands[k].index, item).first->second &= item;
    }
    for (RegionId r : op.regions)
      for (OpId inner : adjoint[r].ops) ask(inner);
  }

  /// What the sweep leaves in memory is not seen by looking at values.
  bool writes(OpId o) const {
    const Op& op = adjoint[o];
    if (op.code == Opcode::atomic || op.code == Opcode::barrier) return true;
    if (op.code == Opcode::store || op.code == Opcode::accumulate)
      return adjoint[op.memory].space != Memory::Space::local || adjoint[op.memory].scope == adjoint.body;
    for (RegionId r : op.regions)
      for (OpId inner : adjoint[r].ops)
        if (writes(inner)) return true;
    return false;
  }

  bool plan() {
    const auto& ops = adjoint[adjoint.body].ops;
    const std::vector<OpId> here = loops_of(adjoint, cut), there = loops_of(sweep, sweep[sweep.body].ops.size());
    if (here.size() != there.size()) return false;
    for (std::size_t k = 0; k < cut; ++k)
      if (writes(ops[k])) return false;
    for (std::size_t k = cut; k < ops.size(); ++k) ask(ops[k]);
    std::size_t loop = here.size();
    for (std::size_t k = cut; k-- > 0;) {
      const Op& op = adjoint[ops[k]];
      if (op.code == Opcode::for_) --loop;
      if (!op.results.empty() && std::none_of(op.results.begin(), op.results.end(), [&](ValueId v) { return asked.count(v.index); }))
        needless.insert(ops[k]);
      else if (op.code != Opcode::for_ || !keep(here[loop], there[loop])) ask(ops[k]);
    }
    return !arrays.empty();
  }

  bool keep(OpId loop_id, OpId twin_id) {
    const Op &loop = adjoint[loop_id], &twin = sweep[twin_id];
    const std::int64_t n = trips(adjoint, loop);
    if (n <= 0 || trips(sweep, twin) != n || loop.results.size() != twin.results.size()) return false;
    const std::size_t carries = adjoint.carries(loop);
    std::vector<Item> items;
    double count = 0;
    for (std::size_t r = 0; r < loop.results.size(); ++r) {
      const auto a = asked.find(loop.results[r].index);
      if (a == asked.end()) continue;
      const Type& t = adjoint.type(loop.results[r]);
      const bool seq = t.is_seq();
      if (t != sweep.type(twin.results[r]) || (seq ? r < carries || t.seq != 1 || !t.item().is_scalar() || !a->second : !t.is_scalar()))
        return false;
      items.push_back({r, 0, 0, seq ? n : 1, seq});
      count += static_cast<double>(items.back().rows);
    }
    if (static_cast<double>(n) * cost(adjoint, loop.regions[0]) < kWorth * count) return false;
    for (Item& i : items) {
      const Type& t = adjoint.type(loop.results[i.result]);
      const DType d = i.seq ? t.item().dtype() : t.dtype();
      auto at = std::find_if(arrays.begin(), arrays.end(), [&](const TapeArray& x) { return x.type == d; });
      if (at == arrays.end()) at = arrays.insert(arrays.end(), {d, 0});
      i.array = static_cast<std::size_t>(at - arrays.begin());
      i.row = at->rows;
      at->rows += i.rows;
      if (i.seq) seq_item.emplace(loop.results[i.result].index, i);
    }
    kept_here[loop_id] = items;
    kept_there[twin_id] = items;
    return true;
  }

  /// Where row `row` + `t` of this point is.
  static Values place(Builder& b, std::int64_t row, ValueId t) {
    const int rank = b.function().domain_rank;
    ValueId at = b.i32(static_cast<std::int32_t>(row));
    if (t.valid()) at = b.add(t, at);
    for (int axis = 0; axis + 1 < rank; ++axis) at = b.add(b.mul(at, b.domain(axis)), b.index(axis));
    return {at, b.index(rank - 1)};
  }

  std::vector<MemoryId> add_arrays(Builder& b, Role role) const {
    Names names;
    for (const Parameter& p : b.function().parameters) names.unique(p.name);
    std::vector<MemoryId> out;
    for (const TapeArray& a : arrays) {
      out.push_back(b.memory_parameter(a.type, 2, role, names.unique("tape")));
      b.function()[out.back()].loc = b.function().loc;
    }
    return out;
  }

  template <class Hook> Function rebuilt(const Function& f, Role role, const Hook& hook) const {
    Function out;
    out.kind = f.kind;
    Builder b(out);
    Rewriter rw(f, b);
    rw.copy_signature();
    b.loc = f.loc;
    const std::vector<MemoryId> tape = add_arrays(b, role);
    rw.hook = [&](Rewriter& at, OpId o) { return hook(at, o, tape); };
    rw.copy_ops(f.body);
    b.finish(rw(f.terminator(f.body).operands));
    return tidy(out);
  }

  Function forward() const {
    return rebuilt(sweep, Role::out, [&](Rewriter& rw, OpId o, const std::vector<MemoryId>& tape) {
      const auto kept = kept_there.find(o);
      if (kept == kept_there.end()) return false;
      const Op& loop = sweep[o];
      const Region& body = sweep[loop.regions[0]];
      Builder& b = rw.to;
      Op copy = loop;
      copy.operands = rw(loop.operands);
      std::vector<Type> arguments, results;
      for (ValueId v : body.arguments) arguments.push_back(sweep.type(v));
      copy.regions = {b.open(arguments)};
      rw.map(body.arguments, b.function()[copy.regions[0]].arguments);
      rw.copy_ops(loop.regions[0]);
      b.loc = loop.loc;
      const Values yields = rw(sweep.terminator(loop.regions[0]).operands);
      const ValueId t = b.sub(rw(body.arguments[0]), copy.operands[0]);
      for (const Item& i : kept->second)
        if (i.seq) b.store(tape[i.array], place(b, i.row, t), yields[i.result]);
      b.close(yields);
      for (ValueId v : loop.results) results.push_back(sweep.type(v));
      const OpId made = b.append(std::move(copy), results);
      rw.map(loop.results, Values(b.function()[made].results));
      for (const Item& i : kept->second)
        if (!i.seq) b.store(tape[i.array], place(b, i.row, {}), rw(loop.results[i.result]));
      return true;
    });
  }

  Function backward() const {
    return rebuilt(adjoint, Role::in, [&](Rewriter& rw, OpId o, const std::vector<MemoryId>& tape) {
      if (needless.count(o)) return true;
      const Op& op = adjoint[o];
      Builder& b = rw.to;
      const auto item = op.operands.empty() ? seq_item.end() : seq_item.find(op.operands[0].index);
      if (item != seq_item.end() && op.code == Opcode::seq_get) {
        rw.map(op.results[0], b.load(tape[item->second.array], place(b, item->second.row, rw(op.operands[1]))));
        return true;
      }
      if (item != seq_item.end() && op.code == Opcode::seq_len) {
        rw.map(op.results[0], b.i32(static_cast<std::int32_t>(item->second.rows)));
        return true;
      }
      const auto kept = kept_here.find(o);
      if (kept == kept_here.end()) return false;
      for (const Item& i : kept->second)
        if (!i.seq) rw.map(op.results[i.result], b.load(tape[i.array], place(b, i.row, {})));
      return true;
    });
  }
};

/// Whether the sweep of a launch and that of its reverse see the same: nothing is read that the kernel itself writes.
bool can_keep(const Function& f) {
  if (f.has_groups() || !f.before.stages.empty()) return false;
  for (const Memory& m : f.memories)
    if (m.scratch) return false;
  for (const Region& r : f.regions)
    for (OpId o : r.ops) {
      const Op& op = f[o];
      if (op.code == Opcode::atomic || op.code == Opcode::print) return false;
      if (op.code == Opcode::load && f[op.memory].space == Memory::Space::parameter && f[op.memory].role != Role::in) return false;
    }
  return true;
}

/// The kernel as a reverse sweeps it before it turns round, with its stores.
Function forward_sweep(const Structure& s, const Activity& act) {
  const Function& f = s.f;
  Function out;
  out.kind = Function::Kind::kernel;
  out.name = f.name + ".keep";
  out.loc = f.loc;
  out.domain_rank = f.domain_rank;
  Builder b(out);
  b.loc = f.loc;
  Reverse r(s, act, b);
  for (const Parameter& p : f.parameters) {
    if (p.kind != Parameter::Kind::memory) {
      r.now[p.value.index] = b.scalar_parameter(f.type(p.value).dtype(), p.name);
      continue;
    }
    MemoryPlan& plan = r.memory[p.memory.index];
    plan.memory = plan.shape = b.memory_parameter(f[p.memory].element, f[p.memory].rank, p.role, p.name);
    out[plan.memory].loc = f[p.memory].loc;
    plan.primal = p.role == Role::in ? MemoryPlan::Primal::stable : MemoryPlan::Primal::unstable;
  }
  const Values& indices = f[f.body].arguments;
  for (std::size_t k = 0; k < indices.size(); ++k) r.now[indices[k].index] = b.index(static_cast<int>(k));
  r.sweep_body();
  b.finish();
  return out;
}

}  // namespace

KeptTape keep_tape(const Structure& s, const Activity& act, const Function& adjoint, std::size_t cut) {
  if (!can_keep(s.f)) return {};
  const Function sweep = forward_sweep(s, act);
  Splitter split{sweep, adjoint, cut};
  if (!split.plan()) return {};
  KeptTape out;
  out.forward = std::make_shared<Function>(split.forward());
  out.backward = std::make_shared<Function>(split.backward());
  out.arrays = split.arrays;
  return out;
}

}  // namespace fluxion::ad
