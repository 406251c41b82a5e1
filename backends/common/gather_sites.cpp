// Which accumulates can become gathers, and whether that is cheaper. What a site adds must be computable by another thread before
// anything of the launch is written: from indices, scalars and loads that no write of their own thread comes before. (An element
// that one thread loads and another writes would be a race.)
#include <algorithm>
#include <optional>
#include <set>

#include "fluxion/external_code.h"
#include "gather.h"

namespace fluxion {
namespace {

// Nanoseconds a point, as in the plan of a launch; measured with 16 lanes.
constexpr double kLoad = 0.08, kFarLoad = 0.6, kExact = 0.03, kCall = 0.4, kTrips = 8;
constexpr double kAdd = 0.15;      // one read, sum and write back of an element
constexpr double kShift = 0.05;    // a further site of a row, which is added up in registers first
constexpr int kRegister = 8;       // places that may lie between them
constexpr double kOverlap = 0.35;  // where lanes have just written their neighbours' elements
constexpr double kByLane = 2;      // the same lane by lane
constexpr double kByThread = 3;    // by threads of the hardware: exact, in limbs (backends/gpu/sums.h)
constexpr double kFrame = 0.15;    // finding out whether a thread is at the border, once a memory

class Finder {
 public:
  Finder(const Function& f, AddCost cost) : f_(f), u_(f), cost_(cost), order_(f.ops.size()), writes_(f.memories.size()) {
    std::uint32_t next = 0;
    number(f.body, next);
  }

  std::vector<Gatherable> run() {
    std::vector<Gatherable> out;
    if (f_.kind != Function::Kind::kernel || f_.has_groups()) return out;
    for (const Op& op : f_.ops)
      if (op.code == Opcode::barrier || op.code == Opcode::subgroup) return out;
    for (std::uint32_t m = 0; m < f_.memories.size(); ++m) {
      auto g = memory(MemoryId{m});
      if (g && (cost_ == AddCost::endless || pays(*g))) out.push_back(std::move(*g));
    }
    return out;
  }

 private:
  const Function& f_;
  const Uniformity u_;
  const AddCost cost_;
  std::vector<std::uint32_t> order_;       // by op: when it comes, regions inside their op
  std::vector<std::vector<OpId>> writes_;  // by memory

  void number(RegionId r, std::uint32_t& next) {
    for (OpId o : f_[r].ops) {
      const Op& op = f_[o];
      order_[o.index] = next++;
      if (op.code == Opcode::store || op.code == Opcode::accumulate || op.code == Opcode::atomic) writes_[op.memory.index].push_back(o);
      for (RegionId inner : op.regions) number(inner, next);
    }
  }

  // ---- can it be turned around

  std::optional<Gatherable> memory(MemoryId m) const {
    const Memory& mem = f_[m];
    if (mem.space != Memory::Space::parameter || writes_[m.index].size() < 2) return {};
    for (std::uint32_t o = 0; o < f_.ops.size(); ++o) {
      const Op& op = f_.ops[o];
      if (!u_.nesting.region[o].valid() || op.memory != m || op.code == Opcode::extent) continue;
      if (op.code != Opcode::accumulate || is_half(layout_of(mem.element).leaves[op.leaf].dtype)) return {};
    }
    Gatherable g;
    g.memory = m;
    std::vector<std::vector<DomainForm>> forms;
    for (OpId o : writes_[m.index]) {
      GatherSite site{o, {}, {}, 0};
      if (!place(site) || !computable(site)) return {};
      std::vector<DomainForm> at;
      for (int k = 0; k < mem.rank; ++k) at.push_back(domain_form(f_, u_, f_[o].operands[static_cast<std::size_t>(k)]));
      forms.push_back(std::move(at));
      g.sites.push_back(std::move(site));
    }
    if (!axes(g, forms) || !offsets(g, forms)) return {};
    return g;
  }

  /// Finds the ifs around a site; false: something else is around it.
  bool place(GatherSite& site) const {
    for (RegionId r = u_.nesting.region[site.op.index]; r != f_.body; r = u_.nesting.region[u_.nesting.owner[r.index].index]) {
      const OpId owner = u_.nesting.owner[r.index];
      if (f_[owner].code != Opcode::if_) return false;
      site.path.insert(site.path.begin(), {owner, f_[owner].regions[0] == r ? 0 : 1});
    }
    return true;
  }

  /// Each axis of the domain moves one axis of the memory by one; the other axes stand still.
  bool axes(Gatherable& g, const std::vector<std::vector<DomainForm>>& forms) const {
    std::set<int> used;
    for (std::size_t k = 0; k < forms[0].size(); ++k) {
      const DomainForm& d = forms[0][k];
      if (!d.known) return false;
      for (int a = 0; a < 3; ++a) {
        if (d.coefficient[a] == 0) continue;
        if (d.coefficient[a] != 1 || g.axis[k] >= 0 || !used.insert(a).second) return false;
        g.axis[k] = a;
      }
      if (g.axis[k] >= 0) g.symbol[k] = d.symbol;
    }
    return static_cast<int>(used.size()) == f_.domain_rank;
  }

  bool offsets(Gatherable& g, const std::vector<std::vector<DomainForm>>& forms) const {
    constexpr std::int64_t kFar = 1 << 20;
    std::array<std::int64_t, 3> low{}, high{};
    for (std::size_t s = 0; s < forms.size(); ++s)
      for (std::size_t k = 0; k < forms[s].size(); ++k) {
        const DomainForm& d = forms[s][k];
        if (!d.known) return false;
        for (int a = 0; a < 3; ++a)
          if (d.coefficient[a] != (a == g.axis[k] ? 1 : 0)) return false;
        if (g.axis[k] < 0) continue;
        if (d.symbol != g.symbol[k]) return false;
        const std::int64_t c = static_cast<std::int32_t>(static_cast<std::uint32_t>(d.constant));
        low[k] = s == 0 ? c : std::min(low[k], c);
        high[k] = s == 0 ? c : std::max(high[k], c);
      }
    for (std::size_t k = 0; k < forms[0].size(); ++k) {
      if (high[k] - low[k] > kFar) return false;
      if (g.axis[k] >= 0) g.base[k] = static_cast<std::int32_t>(low[k] + (high[k] - low[k]) / 2);
    }
    bool differ = false;
    std::vector<std::vector<DomainForm>> keys;
    std::vector<int> leaf_of;
    for (std::size_t s = 0; s < forms.size(); ++s) {
      GatherSite& site = g.sites[s];
      std::vector<DomainForm> fixed;
      for (std::size_t k = 0; k < forms[s].size(); ++k) {
        if (g.axis[k] < 0) {
          fixed.push_back(forms[s][k]);
          continue;
        }
        const auto a = static_cast<std::size_t>(g.axis[k]);
        site.offset[a] = static_cast<std::int32_t>(static_cast<std::uint32_t>(forms[s][k].constant)) - g.base[k];
        g.least[a] = s == 0 ? site.offset[a] : std::min(g.least[a], site.offset[a]);
        g.most[a] = s == 0 ? site.offset[a] : std::max(g.most[a], site.offset[a]);
      }
      differ |= site.offset != g.sites[0].offset;
      const int leaf = f_[site.op].leaf;
      for (site.key = 0; site.key < keys.size(); ++site.key)
        if (keys[site.key] == fixed && leaf_of[site.key] == leaf) break;
      if (site.key == keys.size()) keys.push_back(fixed), leaf_of.push_back(leaf), g.keys.push_back(site.op);
    }
    return differ;  // otherwise nobody meets as it is
  }

  // ---- slices: what a value is computed from

  /// Visits every op that `v` needs, each once, regions of ops as a whole; false as soon as `visit` is.
  template <class Visit> bool slice(ValueId v, std::set<OpId>& seen, const Visit& visit) const {
    const Value& x = f_[v];
    if (x.kind != Value::Kind::result) return true;
    return whole(OpId{x.owner}, seen, visit);
  }
  template <class Visit> bool whole(OpId o, std::set<OpId>& seen, const Visit& visit) const {
    if (!seen.insert(o).second) return true;
    if (!visit(o)) return false;
    for (ValueId v : f_[o].operands)
      if (!slice(v, seen, visit)) return false;
    for (RegionId r : f_[o].regions)
      for (OpId inner : f_[r].ops)
        if (!whole(inner, seen, visit)) return false;
    return true;
  }
  template <class Visit> bool of_site(const GatherSite& site, std::set<OpId>& seen, const Visit& visit) const {
    for (const GatherSite::Arm& arm : site.path)
      if (!slice(f_[arm.op].operands[0], seen, visit)) return false;
    for (ValueId v : f_[site.op].operands)
      if (!slice(v, seen, visit)) return false;
    return true;
  }

  bool computable(const GatherSite& site) const {
    std::set<OpId> seen;
    return of_site(site, seen, [&](OpId o) {
      const Op& op = f_[o];
      switch (op.code) {
        case Opcode::load: return fresh(o);
        // Inside of an if or a loop whose result is needed: dropped where that is made again.
        case Opcode::store:
        case Opcode::accumulate:
        case Opcode::print:
        case Opcode::check: return !op.memory.valid() || f_[op.memory].space == Memory::Space::parameter;
        case Opcode::atomic:
        case Opcode::barrier:
        case Opcode::subgroup:
        case Opcode::group_index:
        case Opcode::launch:
        case Opcode::run: return false;
        case Opcode::call: return !has_effect(f_, o) && !has_external(*f_.callees[op.ref]);
        default: return true;
      }
    });
  }
  /// Nothing that the thread has done by then can have changed what the load reads.
  bool fresh(OpId load) const {
    const MemoryId m = f_[load].memory;
    if (f_[m].space != Memory::Space::parameter) return false;
    for (OpId w : writes_[m.index]) {
      if (f_[w].code == Opcode::atomic || order_[w.index] < order_[load.index]) return false;
      for (RegionId r = u_.nesting.region[load.index]; r != f_.body; r = u_.nesting.region[u_.nesting.owner[r.index].index])
        if (f_[u_.nesting.owner[r.index]].code != Opcode::if_ && u_.nesting.inside(u_.nesting.region[w.index], r)) return false;
    }
    return true;
  }

  // ---- does it pay

  double cost(OpId o) const {
    const Op& op = f_[o];
    double times = 1;
    for (RegionId r = u_.nesting.region[o.index]; r != f_.body; r = u_.nesting.region[u_.nesting.owner[r.index].index])
      if (f_[u_.nesting.owner[r.index]].code != Opcode::if_) times *= kTrips;
    bool uniform = !op.results.empty();
    for (ValueId v : op.results) uniform &= u_.uniform(v);
    if (uniform) return 0;
    switch (op.code) {
      case Opcode::load: return times * (classify(f_, u_, op).kind == Access::Kind::contiguous ? kLoad : kFarLoad);
      case Opcode::div:
      case Opcode::rem:
      case Opcode::sdiv:
      case Opcode::sqrt:
      case Opcode::rsqrt: return times * 0.2;
      case Opcode::call: return times * 8 * kCall;
      case Opcode::extent:
      case Opcode::domain:
      case Opcode::yield: return 0;
      default:
        if (!is_elementwise(op.code)) return times * kExact;
        if (u_(op.results[0]) == Uniformity::Class::affine) return 0;
        return times * ((info(op.code).flags & flag::exact) != 0 || op.code == Opcode::select ? kExact : kCall);
    }
  }

  /// A backend that runs rows of points in order can add up what they give to a row of elements before it writes.
  bool in_registers(const Gatherable& g, const GatherSite& s) const {
    const auto last = static_cast<std::size_t>(f_.domain_rank - 1);
    return s.path.empty() && g.most[last] - g.least[last] < kRegister;
  }
  bool pays(const Gatherable& g) const {
    double scatter = 0, gather = kFrame;
    std::set<OpId> all;
    for (const GatherSite& s : g.sites) {
      const auto add_to = [&](double& sum) {
        return [&](OpId o) {
          sum += cost(o);
          return true;
        };
      };
      of_site(s, all, add_to(scatter));
      std::set<OpId> seen;
      of_site(s, seen, add_to(gather));
      const bool near = classify(f_, u_, f_[s.op]).kind == Access::Kind::contiguous;
      bool beside = false, later = false;  // another site adds in the same row; one that comes first
      for (const GatherSite& t : g.sites) {
        if (&t == &s) later = beside && in_registers(g, s);
        bool row = t.key == s.key && t.offset != s.offset;
        for (int a = 0; a + 1 < f_.domain_rank; ++a) row &= t.offset[static_cast<std::size_t>(a)] == s.offset[static_cast<std::size_t>(a)];
        beside |= row;
      }
      scatter += cost_ == AddCost::of_threads    ? kByThread
                 : !near                         ? kByLane
                 : later                         ? kShift
                 : beside && !in_registers(g, s) ? kOverlap
                                                 : kAdd;
    }
    gather += kAdd * static_cast<double>(g.keys.size());
    return gather < scatter;
  }
};

}  // namespace

std::vector<Gatherable> find_gatherable(const Function& kernel, AddCost cost) { return Finder(kernel, cost).run(); }

}  // namespace fluxion
