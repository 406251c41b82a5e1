// Two steps: mark the values that decide loop bounds, branches and the sizes of stacks; then walk the program and
// compute those alone. What depends on the numbers of an array (fx::item) is not known: a while that such a number ends, an
// iterative solver, counts as one turn, which takes as much memory as many unless turns are collected; other uses are refused.
#include "workspace_use.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <map>

#include "fluxion/error.h"
#include "fluxion/evaluate.h"
#include "fluxion/external_code.h"

namespace fluxion {
namespace {

class Walk {
 public:
  Walk(const Function& f, std::span<const std::uint64_t> scalars)
      : f_(f),
        bits_(f.values.size()),
        unknown_(f.values.size()),
        needed_(f.values.size()),
        region_(f.ops.size()),
        owner_(f.regions.size()),
        still_(f.regions.size()),
        memory_needed_(f.memories.size()),
        count_(f.memories.size()),
        most_(f.memories.size()),
        content_(f.memories.size()),
        scopes_(f.regions.size()) {
    for (std::size_t v = 0; v < f.values.size(); ++v) bits_[v] = f.values[v].bits;
    std::size_t n = 0;
    for (const Parameter& p : f.parameters)
      if (p.kind == Parameter::Kind::scalar) bits_[p.value.index] = scalars[n++];
    for (std::uint32_t m = 0; m < f.memories.size(); ++m)
      if (f.memories[m].records) scopes_[f.memories[m].scope.index].push_back(m);
    place(f.body);
    while (!work_.empty()) {
      const ValueId v = work_.back();
      work_.pop_back();
      trace(v);
    }
    find_still(f.body);
  }

  WorkspaceUse run() {
    WorkspaceUse out;
    out.runs = region(f_.body);
    out.trips = std::move(loops_);
    for (std::size_t m = 0; m < f_.memories.size(); ++m) {
      const Memory& memory = f_.memories[m];
      if (memory.space != Memory::Space::buffer) continue;
      const double bytes =
          static_cast<double>(layout_of(memory.element).size) * static_cast<double>(memory.shape[0] * memory.shape[1] * memory.shape[2]);
      out.bytes += memory.records ? static_cast<double>(most_[m]) * bytes : bytes;
    }
    return out;
  }

 private:
  const Function& f_;
  std::vector<std::uint64_t> bits_;
  std::vector<char> unknown_;  // by value: depends on the numbers of an array
  std::vector<char> needed_;
  std::vector<RegionId> region_;  // by op
  std::vector<OpId> owner_;       // by region
  std::vector<char> still_;       // by region: every turn runs as many kernels, and nothing else counts
  std::vector<char> memory_needed_;
  std::vector<std::int64_t> count_, most_;
  std::vector<std::vector<std::uint64_t>> content_;  // of stacks of scalars: leaf by leaf
  std::vector<std::vector<std::uint32_t>> scopes_;
  std::vector<std::vector<OpId>> stores_;
  Values work_;
  std::vector<double> loops_;  // by number: most trips

  std::int32_t i32(ValueId v) const { return static_cast<std::int32_t>(bits_[v.index]); }
  void need(ValueId v) {
    if (needed_[v.index]) return;
    needed_[v.index] = 1;
    work_.push_back(v);
  }
  void place(RegionId r) {
    stores_.resize(f_.memories.size());
    for (OpId id : f_[r].ops) {
      const Op& op = f_[id];
      region_[id.index] = r;
      switch (op.code) {
        case Opcode::for_: need(op.operands[0]), need(op.operands[1]); break;
        case Opcode::while_: need(f_.terminator(op.regions[0]).operands[0]); break;
        case Opcode::if_:
        case Opcode::buffer_alloc: need(op.operands[0]); break;
        case Opcode::store: stores_[op.memory.index].push_back(id); break;
        case Opcode::buffer_zero:
        case Opcode::buffer_copy: stores_[op.buffers[0].index].push_back(id); break;
        default: break;
      }
      for (RegionId inner : op.regions) owner_[inner.index] = id, place(inner);
    }
  }
  void need_carry(const Op& op, std::size_t k) {
    const std::size_t first = op.code == Opcode::for_ ? 2 : 0;
    need(op.operands[first + k]);
    need(op.results[k]);
    for (RegionId r : op.regions) need(f_[r].arguments[k + (first ? 1 : 0)]);
    need(f_.terminator(op.regions.back()).operands[k]);
    if (!first) need(f_.terminator(op.regions[0]).operands[k + 1]);
  }
  void trace(ValueId v) {
    const Value& x = f_[v];
    if (x.kind == Value::Kind::argument) {
      if (!owner_[x.owner].valid()) return;
      const Op& op = f_[owner_[x.owner]];
      const bool counted = op.code == Opcode::for_;
      if (!counted || x.slot > 0) need_carry(op, x.slot - counted);
    } else if (x.kind == Value::Kind::result) {
      const Op& op = f_.ops[x.owner];
      if (op.code == Opcode::if_) {
        for (RegionId r : op.regions) need(f_.terminator(r).operands[x.slot]);
      } else if (op.code == Opcode::for_ || op.code == Opcode::while_) {
        if (x.slot < f_.carries(op)) need_carry(op, x.slot);
      } else {
        for (ValueId o : op.operands) need(o);
        if (op.code == Opcode::load && is_scalar_stack(op.memory)) need(op.memory);
      }
    }
  }
  bool is_scalar_stack(MemoryId m) const { return f_[m].records && f_[m].rank == 0; }
  void need(MemoryId m) {
    if (memory_needed_[m.index]) return;
    memory_needed_[m.index] = 1;
    for (OpId s : stores_[m.index]) {
      for (ValueId o : f_[s].operands) need(o);
      if (f_[s].code == Opcode::buffer_copy) need(f_[s].buffers[1]);
    }
  }
  bool find_still(RegionId r) {
    bool still = true;
    for (OpId id : f_[r].ops) {
      const Op& op = f_[id];
      for (RegionId inner : op.regions) still &= find_still(inner);
      still &= op.code != Opcode::buffer_alloc && op.code != Opcode::while_ && op.code != Opcode::if_;
      still &= op.code != Opcode::store || !memory_needed_[op.memory.index];
      if (op.code == Opcode::buffer_zero || op.code == Opcode::buffer_copy) still &= !memory_needed_[op.buffers[0].index];
      for (ValueId v : op.results) still &= !needed_[v.index];
    }
    still_[r.index] = still;
    return still;
  }

  double region(RegionId r) {
    for (std::uint32_t m : scopes_[r.index]) count_[m] = 0;
    double runs = 0;
    for (OpId id : f_[r].ops) runs += op(f_[id]);
    return runs;
  }
  void assign(const Values& to, std::size_t first, const Values& from, std::size_t begin, std::size_t n) {
    scratch_.clear();
    for (std::size_t k = 0; k < n; ++k) scratch_.push_back({bits_[from[begin + k].index], unknown_[from[begin + k].index]});
    for (std::size_t k = 0; k < n; ++k) bits_[to[first + k].index] = scratch_[k].first, unknown_[to[first + k].index] = scratch_[k].second;
  }
  std::vector<std::pair<std::uint64_t, char>> scratch_;
  void known(const Op& op, ValueId v) const {
    if (unknown_[v.index])
      throw KernelError(
          op.loc,
          "how much memory this program takes depends on the numbers of an array (fx::item), so that it is not known before it "
          "runs; leave the budget out");
  }
  bool collects(RegionId r, RegionId loop) const {
    for (OpId id : f_[r].ops) {
      const Op& op = f_[id];
      if (op.code == Opcode::buffer_alloc && !within(f_[op.buffers[0]].scope, loop)) return true;
      for (RegionId inner : op.regions)
        if (collects(inner, loop)) return true;
    }
    return false;
  }
  bool within(RegionId r, RegionId outer) const {
    for (;; r = region_[owner_[r.index].index]) {
      if (r == outer) return true;
      if (!owner_[r.index].valid()) return false;
    }
  }

  double op(const Op& op) {
    switch (op.code) {
      case Opcode::run: return 1;
      case Opcode::yield:
      case Opcode::print:
      case Opcode::check: return 0;
      case Opcode::buffer_zero:
        if (memory_needed_[op.buffers[0].index])
          for (std::int64_t k = 0; k < i32(op.operands[1]); ++k)
            for (std::size_t leaf = 0; leaf < leaves(op.buffers[0]); ++leaf)
              element(op.loc, op.buffers[0], i32(op.operands[0]) + k, leaf) = 0;
        return 0;
      case Opcode::buffer_copy:
        if (memory_needed_[op.buffers[0].index])
          for (std::size_t leaf = 0; leaf < leaves(op.buffers[0]); ++leaf) {
            const std::uint64_t v = element(op.loc, op.buffers[1], i32(op.operands[1]), leaf);
            element(op.loc, op.buffers[0], i32(op.operands[0]), leaf) = v;
          }
        return 0;
      case Opcode::if_: {
        if (unknown_[op.operands[0].index]) {
          const double runs = std::max(region(op.regions[0]), region(op.regions[1]));
          for (ValueId v : op.results) unknown_[v.index] = 1;
          return runs;
        }
        const RegionId arm = op.regions[bits_[op.operands[0].index] ? 0 : 1];
        const double runs = region(arm);
        assign(op.results, 0, f_.terminator(arm).operands, 0, op.results.size());
        return runs;
      }
      case Opcode::for_: {
        const RegionId body = op.regions[0];
        const Values &arguments = f_[body].arguments, &end = f_.terminator(body).operands;
        const std::size_t n = f_.carries(op);
        known(op, op.operands[0]);
        known(op, op.operands[1]);
        const std::int64_t lo = i32(op.operands[0]), hi = i32(op.operands[1]);
        if (op.leaf && op.leaf <= loops_.size()) loops_[op.leaf - 1] = std::max(loops_[op.leaf - 1], static_cast<double>(hi - lo));
        else if (op.leaf) loops_.resize(op.leaf), loops_.back() = static_cast<double>(hi - lo);
        if (still_[body.index]) return hi > lo ? static_cast<double>(hi - lo) * region(body) : 0;
        double runs = 0;
        assign(arguments, 1, op.operands, 2, n);
        for (std::int64_t t = 0; t < hi - lo; ++t) {
          bits_[arguments[0].index] = static_cast<std::uint32_t>(op.down ? hi - 1 - t : lo + t);
          runs += region(body);
          assign(arguments, 1, end, 0, n);
        }
        assign(op.results, 0, arguments, 1, n);
        return runs;
      }
      case Opcode::while_: {
        const Values &before = f_[op.regions[0]].arguments, &test = f_.terminator(op.regions[0]).operands;
        const std::size_t n = op.operands.size();
        double runs = 0;
        assign(before, 0, op.operands, 0, n);
        for (std::uint32_t trips = 0;; ++trips) {
          runs += region(op.regions[0]);
          if (unknown_[test[0].index]) {
            if (collects(op.regions[0], op.regions[0]) || collects(op.regions[1], op.regions[1])) known(op, test[0]);
            assign(f_[op.regions[1]].arguments, 0, test, 1, n);
            runs += region(op.regions[1]);
            for (ValueId v : op.results) unknown_[v.index] = 1;
            return runs;
          }
          if (!bits_[test[0].index]) {
            assign(op.results, 0, test, 1, n);
            bits_[op.results.back().index] = trips;
            return runs;
          }
          assign(f_[op.regions[1]].arguments, 0, test, 1, n);
          runs += region(op.regions[1]);
          assign(before, 0, f_.terminator(op.regions[1]).operands, 0, n);
        }
      }
      case Opcode::buffer_alloc: {
        known(op, op.operands[0]);
        std::int64_t& count = count_[op.buffers[0].index];
        bits_[op.results[0].index] = static_cast<std::uint64_t>(count);
        count += std::max(i32(op.operands[0]), 0);
        most_[op.buffers[0].index] = std::max(most_[op.buffers[0].index], count);
        return 0;
      }
      case Opcode::load:
        if (!needed_[op.results[0].index]) return 0;
        unknown_[op.results[0].index] = !is_scalar_stack(op.memory);
        if (!unknown_[op.results[0].index]) bits_[op.results[0].index] = element(op.loc, op.memory, i32(op.operands[0]), op.leaf);
        return 0;
      case Opcode::store:
        if (memory_needed_[op.memory.index]) known(op, op.operands.back());
        if (memory_needed_[op.memory.index]) element(op.loc, op.memory, i32(op.operands[0]), op.leaf) = bits_[op.operands.back().index];
        return 0;
      case Opcode::call: {
        bool any = false;
        std::vector<std::uint64_t> x;
        for (ValueId v : op.results) any |= needed_[v.index] != 0;
        if (!any) return 0;
        if (is_impure(*f_.callees[op.ref]))
          throw KernelError(
              op.loc,
              fmt::format("external \"{}\" is impure and decides how the program goes on, which a memory budget must know in advance",
                          f_.callees[op.ref]->name));
        char unknown = 0;
        for (ValueId v : op.operands) x.push_back(bits_[v.index]), unknown |= unknown_[v.index];
        for (ValueId r : op.results) unknown_[r.index] = unknown;
        const std::vector<std::uint64_t> y = evaluate_fn(*f_.callees[op.ref], x, op.loc);
        for (std::size_t k = 0; k < y.size(); ++k) bits_[op.results[k].index] = y[k];
        return 0;
      }
      default:
        if (!op.results.empty() && needed_[op.results[0].index]) compute(op);
        return 0;
    }
  }
  std::size_t leaves(MemoryId m) const { return layout_of(f_[m].element).leaves.size(); }
  std::uint64_t& element(Loc at, MemoryId m, std::int64_t record, std::size_t leaf) {
    if (!is_scalar_stack(m)) throw Bug(at, "workspace_use: an element of an array decides how a program goes on");
    auto& c = content_[m.index];
    const auto k = static_cast<std::size_t>(record) * leaves(m) + leaf;
    if (k >= c.size()) c.resize(std::max(k + 1, 2 * c.size()));
    return c[k];
  }
  void compute(const Op& op) {
    std::uint64_t x[3] = {};
    unknown_[op.results[0].index] = 0;
    for (std::size_t k = 0; k < op.operands.size(); ++k) {
      x[k] = bits_[op.operands[k].index];
      unknown_[op.results[0].index] |= unknown_[op.operands[k].index];
    }
    const DType result = f_.type(op.results[0]).dtype(), type = f_.type(op.operands[op.code == Opcode::select ? 1 : 0]).dtype();
    std::uint64_t& r = bits_[op.results[0].index];
    if (type == DType::i32 && op.operands.size() == 2) {  // most of them
      const auto a = static_cast<std::int32_t>(x[0]), b = static_cast<std::int32_t>(x[1]);
      switch (op.code) {
        case Opcode::add: r = static_cast<std::uint32_t>(x[0] + x[1]); return;
        case Opcode::sub: r = static_cast<std::uint32_t>(x[0] - x[1]); return;
        case Opcode::lt: r = a < b; return;
        case Opcode::eq: r = a == b; return;
        default: break;
      }
    }
    r = evaluate_op(op.code, result, type, {x, op.operands.size()});
  }
};

}  // namespace

WorkspaceUse workspace_use(const Function& memory_form, std::span<const std::uint64_t> scalars) { return Walk(memory_form, scalars).run(); }

}  // namespace fluxion
