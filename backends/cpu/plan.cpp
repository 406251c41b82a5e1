// What the scheduler knows of a kernel: rough cost, who shares accumulated memory, where it can fail.
#include <algorithm>
#include <map>

#include "abi.h"
#include "common/access.h"
#include "emit.h"

namespace fluxion::cpu {
namespace {

constexpr double kExternal = 100;  // nobody knows; enough that launches of some thousand threads are shared out

struct Estimate {
  const Function& f;
  const Uniformity u;
  std::vector<Accumulates> accumulates;
  std::map<const Function*, double>* callees;
  double cost = 0.05, adds = 0;  // nanoseconds, merged adds; a point

  void region(RegionId r, double times) {
    for (OpId o : f[r].ops) {
      const Op& op = f[o];
      double inner = times;
      switch (op.code) {
        case Opcode::load:
        case Opcode::store: cost += times * access(op, 0.08, 0.6); break;
        case Opcode::accumulate: {
          const Accumulates& a = accumulates[op.memory.index];
          cost += times * access(op, 0.15, 2);
          if (a.only && !a.own) adds += times;
          break;
        }
        case Opcode::atomic: cost += times * 4; break;
        case Opcode::subgroup: cost += times; break;
        case Opcode::div:
        case Opcode::rem:
        case Opcode::sdiv:
        case Opcode::sqrt:
        case Opcode::rsqrt: cost += times * 0.2; break;
        case Opcode::for_: {
          double trips = 8;
          if (f.is_constant(op.operands[0]) && f.is_constant(op.operands[1]))
            trips = std::clamp(
                static_cast<double>(static_cast<std::int32_t>(f[op.operands[1]].bits)) - static_cast<std::int32_t>(f[op.operands[0]].bits),
                0.0, 1e6);
          inner *= trips;
          break;
        }
        case Opcode::while_: inner *= 8; break;
        case Opcode::call: cost += times * (f.callees[op.ref]->external ? kExternal : of_callee(*f.callees[op.ref])); break;
        case Opcode::seq_get:
        case Opcode::seq_set:
        case Opcode::seq_add_at: cost += times * 0.2; break;
        default:
          if (is_elementwise(op.code)) cost += times * (info(op.code).flags & flag::exact || op.code == Opcode::select ? 0.03 : 0.4);
      }
      for (RegionId arm : op.regions) region(arm, inner);
    }
  }
  double of_callee(const Function& g) {
    const auto known = callees->find(&g);
    if (known != callees->end()) return known->second;
    Estimate e{g, Uniformity(g, true), {}, callees};
    e.accumulates.resize(g.memories.size());
    e.region(g.body, 1);
    return (*callees)[&g] = e.cost;
  }
  double access(const Op& op, double near, double far) const {
    if (f[op.memory].space != Memory::Space::parameter) return near;
    return classify(f, u, op).kind == Access::Kind::gather ? far : near;
  }
};

void watch_memories(const Function& f, KernelPlan& plan) {
  const std::vector<char> on = watched_memories(f);
  for (std::size_t m = 0; m < f.memories.size(); ++m) {
    const Memory& memory = f.memories[m];
    const bool shared = memory.space == Memory::Space::shared;
    plan.watched.push_back({on[m] != 0,
                            -1,
                            static_cast<int>(layout_of(memory.element).leaves.size()),
                            memory.length,
                            {memory.name, shared ? Role::inout : memory.role, shared, f.has_groups()}});
  }
  int array = 0;
  for (const Parameter& p : f.parameters)
    if (p.kind == Parameter::Kind::memory) plan.watched[p.memory.index].array = array++;
}

void add_sites(const Function& f, const Uniformity& u, KernelPlan& plan) {
  for (const Value& v : f.values) plan.may_fail |= v.type.is_seq();
  const std::vector<int> sites = number_sites(f);
  std::vector<OpId> order;
  for (std::uint32_t o = 0; o < sites.size(); ++o)
    if (sites[o] >= 0) order.push_back(OpId{o});
  std::sort(order.begin(), order.end(), [&](OpId a, OpId b) { return sites[a.index] < sites[b.index]; });
  for (OpId o : order) {
    const Op& op = f[o];
    Site s{op.code, op.loc, {}, {}};
    if (op.code == Opcode::check || op.code == Opcode::print) {
      s.text = f.texts[op.ref];
      for (std::size_t k = op.code == Opcode::check ? 1 : 0; k < op.operands.size(); ++k)
        s.operands.push_back(f.type(op.operands[k]).is_scalar() ? f.type(op.operands[k]).dtype() : DType::i32);
      plan.may_fail = true;
      plan.ordered |= op.code == Opcode::print;
    } else if (op.memory.valid()) {
      s.text = f[op.memory].name;
      s.operands.assign(static_cast<std::size_t>(f[op.memory].rank), DType::i32);
    }
    if (op.code == Opcode::call) {
      s.external = f.callees[op.ref]->external;
      plan.may_fail = true;
    }
    if (op.code == Opcode::barrier) plan.may_fail |= barrier_may_part(f, u, o);
    plan.sites.push_back(std::move(s));
  }
  for (const Memory& m : f.memories) plan.may_fail |= m.space == Memory::Space::local && m.length > 64;
}

}  // namespace

bool atomics_need_order(const Function& f, const Uniformity& u) {
  std::vector<char> used(f.values.size()), atomics(f.memories.size()), others(f.memories.size());
  for (const Region& r : f.regions)
    for (OpId o : r.ops)
      for (ValueId v : f[o].operands) used[v.index] = 1;
  for (std::uint32_t o = 0; o < f.ops.size(); ++o) {
    const Op& op = f.ops[o];
    if (!u.nesting.region[o].valid() || !op.memory.valid() || f[op.memory].space != Memory::Space::parameter) continue;
    if (op.code == Opcode::extent) continue;
    if (op.code != Opcode::atomic) {
      others[op.memory.index] = 1;
      continue;
    }
    const auto kind = static_cast<Atomic>(op.kind);
    // Operations of one kind on integers may come in any order, as long as nobody looks in between.
    const std::uint32_t before = static_cast<unsigned char>(atomics[op.memory.index]);
    if (used[op.results[0].index] || kind >= Atomic::exchange || (kind == Atomic::add && is_float(f.type(op.results[0]).dtype())))
      return true;
    if (before && before != op.kind + 1u) return true;
    atomics[op.memory.index] = static_cast<char>(op.kind + 1);
  }
  for (std::size_t m = 0; m < atomics.size(); ++m)
    if (atomics[m] && others[m]) return true;
  return false;
}

bool barrier_may_part(const Function& f, const Uniformity& u, OpId barrier) {
  for (RegionId r = u.nesting.region[barrier.index]; r != f.body;) {
    const OpId up = u.nesting.owner[r.index];
    if (u.divergent[up.index]) return true;
    r = u.nesting.region[up.index];
  }
  return false;
}

KernelPlan make_plan(const Function& f, const CompileOptions& options, int width) {
  const Uniformity u(f);
  const std::vector<Accumulates> accumulates = analyse_accumulates(f, u);
  KernelPlan plan;
  plan.name = f.name;
  plan.rank = f.domain_rank;
  plan.width = width;
  std::map<const Function*, double> callees;
  Estimate e{f, u, accumulates, &callees};
  e.region(f.body, 1);
  plan.cost = e.cost;
  plan.adds = e.adds;
  plan.relaxed = options.relaxed;
  plan.may_fail = options.bounds || options.race || options.interrupt;
  plan.race = options.race;
  plan.ordered |= options.race;
  plan.group = f.group;
  plan.loc = f.loc;
  plan.ordered |= atomics_need_order(f, u) && !options.relaxed;
  if (options.race) watch_memories(f, plan);
  bool near = true;
  for (const Parameter& p : f.parameters) {
    if (p.kind != Parameter::Kind::memory) continue;
    const Accumulates& a = accumulates[p.memory.index];
    plan.elements.push_back(f[p.memory].element);
    plan.sharing.push_back(a.sites == 0 || a.own ? Sharing::none : a.only ? Sharing::merge : Sharing::ordered);
    plan.ordered |= plan.sharing.back() == Sharing::ordered;
    if (a.sites > 0 && a.own) plan.longest = std::min(plan.longest, std::int64_t{1} << std::max(0, 32 - a.shift));
    if (plan.sharing.back() != Sharing::merge) continue;
    near &= a.halo >= 0;
    plan.halo = std::max(plan.halo, a.halo);
  }
  if (!near || f.has_groups()) plan.halo = -1;
  std::vector<const Function*> all = called(f);  // their sites follow the kernel's: Calls numbers them so
  all.insert(all.begin(), &f);
  for (const Function* g : all) add_sites(*g, u, plan);  // barriers, which ask for `u`, stand in kernels only
  return plan;
}

}  // namespace fluxion::cpu
