// Fixed points over the structured SSA. All bits only ever go up, so sweeping until nothing changes ends;
// loops need as many sweeps as a derivative needs iterations to reach every carry, rarely more than three.
#include "analysis.h"

#include <fmt/format.h>

#include "callees.h"
#include "fluxion/error.h"
#include "groups.h"
#include "fluxion/mutants.h"
#include "partials.h"

namespace fluxion::ad {

Structure::Structure(const Function& f) : f(f), region_of(f.ops.size(), f.body), op_of(f.regions.size()), position(f.ops.size()) {
  for (std::uint32_t r = 0; r < f.regions.size(); ++r)
    for (std::uint32_t k = 0; k < f.regions[r].ops.size(); ++k) {
      const OpId o = f.regions[r].ops[k];
      region_of[o.index] = {r};
      position[o.index] = k;
      for (RegionId inner : f[o].regions) op_of[inner.index] = o;
    }
}

RegionId Structure::home(ValueId v) const {
  switch (const Value& value = f[v]; value.kind) {
    case Value::Kind::result: return region_of[value.owner];
    case Value::Kind::argument: return {value.owner};
    case Value::Kind::constant:
    case Value::Kind::parameter: return f.body;
  }
  return f.body;
}

RegionId Structure::scope(MemoryId m) const { return f[m].space == Memory::Space::local ? f[m].scope : f.body; }

RegionId Structure::parent(RegionId r) const {
  const OpId o = op_of[r.index];
  return o.valid() ? region_of[o.index] : RegionId{};
}

bool Structure::within(RegionId inner, RegionId outer) const {
  for (RegionId r = inner; r.valid(); r = parent(r))
    if (r == outer) return true;
  return false;
}

DType adjoint_of(DType t) { return is_half(t) ? DType::f32 : t; }

LayoutId adjoint_of(LayoutId id, Loc loc) {
  if (id.is_scalar()) return adjoint_of(id.scalar());
  for (const Leaf& l : layout_of(id).leaves)
    if (is_half(l.dtype))
      throw KernelError(loc, fmt::format("an element {} with half-precision members cannot be differentiated; "
                                         "keep the half-precision numbers in an array of their own",
                                         to_string(id)));
  return id;
}

Type adjoint_of(const Type& t, Loc loc) {
  Type out = t;
  out.element = adjoint_of(t.element, loc);
  return out;
}

bool differentiable(const Type& t) { return has_float(t); }

Activity::Activity(const Function& f)
    : varied(f.values.size()),
      useful(f.values.size()),
      tainted(f.values.size()),
      memory_varied(f.memories.size()),
      memory_useful(f.memories.size()),
      memory_tainted(f.memories.size()) {}

namespace {

[[noreturn]] void not_lowered(const Op& op) {
  throw Bug(op.loc, fmt::format("ad: '{}' must be gone before differentiation", name_of(op.code)));
}

/// Some threads' operands have a cotangent of 0 because nobody looked at them.
bool masks_cotangent(const Op& op) {
  switch (static_cast<Subgroup>(op.kind)) {
    case Subgroup::min:
    case Subgroup::max:
    case Subgroup::shuffle:
    case Subgroup::scatter_add: return true;
    default: return false;
  }
}

struct Spread {
  const Function& f;
  Activity& a;
  bool changed = false;

  void raise(char& bit, bool on) {
    if (on && !bit) bit = 1, changed = true;
  }
  void vary(ValueId v, bool on) { raise(a.varied[v.index], on && differentiable(f.type(v))); }
  bool varied(ValueId v) const { return a.varied[v.index]; }

  void forward(RegionId r) {
    for (OpId o : f[r].ops) forward(f[o]);
  }
  void forward(const Op& op) {
    const Values& x = op.operands;
    switch (op.code) {
      case Opcode::convert: vary(op.results[0], varied(x[0])); return;
      case Opcode::bitcast:
        if (varied(x[0]))
          throw KernelError(op.loc,
                            "bitcast of a value that depends on what is differentiated has no derivative; "
                            "use stop_grad, or convert the number");
        return;
      case Opcode::load: {
        const bool leaf = is_float(layout_of(f[op.memory].element).leaves[op.leaf].dtype);
        vary(op.results[0], leaf && a.memory_varied[op.memory.index]);
        return;
      }
      case Opcode::store:
      case Opcode::accumulate:
        raise(a.memory_varied[op.memory.index], varied(x.back()) && !planted(testing::Mutant::store_does_not_vary));
        return;
      case Opcode::if_:
        for (RegionId r : op.regions) {
          forward(r);
          for (std::size_t k = 0; k < op.results.size(); ++k) vary(op.results[k], varied(f.terminator(r).operands[k]));
        }
        return;
      case Opcode::for_: {
        const Values& args = f[op.regions[0]].arguments;
        const std::size_t n = f.carries(op);
        for (std::size_t k = 0; k < n; ++k) vary(args[k + 1], varied(x[k + 2]));
        forward(op.regions[0]);
        const Values& y = f.terminator(op.regions[0]).operands;
        for (std::size_t k = 0; k < n; ++k) vary(args[k + 1], varied(y[k]));
        for (std::size_t k = 0; k < n; ++k) vary(op.results[k], varied(args[k + 1]));
        for (std::size_t k = n; k < y.size(); ++k) vary(op.results[k], varied(y[k]));
        return;
      }
      case Opcode::while_: {
        const Values &cond = f[op.regions[0]].arguments, &body = f[op.regions[1]].arguments;
        const std::size_t n = f.carries(op);
        for (std::size_t k = 0; k < n; ++k) vary(cond[k], varied(x[k]));
        forward(op.regions[0]);
        const Values& passed = f.terminator(op.regions[0]).operands;
        for (std::size_t k = 0; k < n; ++k) {
          // One carry, one tangent: it is there in both regions or in none.
          vary(cond[k], varied(passed[k + 1]));
          vary(body[k], varied(cond[k]));
          vary(op.results[k], varied(cond[k]));
        }
        forward(op.regions[1]);
        const Values& y = f.terminator(op.regions[1]).operands;
        for (std::size_t k = 0; k < n; ++k) vary(cond[k], varied(y[k]));
        for (std::size_t k = n; k < y.size(); ++k) vary(op.results[k], varied(y[k]));
        return;
      }
      case Opcode::seq_get: vary(op.results[0], varied(x[0])); return;
      case Opcode::seq_set:
      case Opcode::seq_add_at: vary(op.results[0], varied(x[0]) || varied(x[2])); return;
      case Opcode::call:
      case Opcode::launch: {
        bool any = false;
        for (ValueId v : x) any |= varied(v);
        for (ValueId v : op.results) vary(v, any);
        return;
      }
      case Opcode::extent:
      case Opcode::domain:
      case Opcode::yield:
      case Opcode::seq_len:
      case Opcode::zeros:
      case Opcode::print:
      case Opcode::check: return;
      case Opcode::group_index:
      case Opcode::barrier: return;
      case Opcode::subgroup: vary(op.results[0], varied(x[0])); return;
      case Opcode::atomic: {
        if (!is_float(f.type(op.results[0]).dtype())) return;
        raise(a.memory_varied[op.memory.index], varied(x.back()));
        if (a.memory_varied[op.memory.index]) check_atomic(f, op), vary(op.results[0], true);
        return;
      }
      default:
        if (!is_core(op.code)) not_lowered(op);
        for (std::size_t k = 0; k < x.size(); ++k) vary(op.results[0], varied(x[k]) && depends(op.code, static_cast<int>(k)));
    }
  }
};

struct Backward {
  const Structure& s;
  const Function& f;
  Activity& a;
  bool changed = false;

  void raise(char& bit, bool on) {
    if (on && !bit) bit = 1, changed = true;
  }
  // What `from` says of its cotangent holds for the part that goes on to `to`.
  void use(RegionId at, ValueId to, bool useful, bool tainted) {
    if (!useful || !a.varied[to.index]) return;
    raise(a.useful[to.index], true);
    raise(a.tainted[to.index], tainted || in_arm(at, to));
  }
  // Used in an arm of an `if` from outside: no cotangent when the other arm runs.
  bool in_arm(RegionId at, ValueId v) const {
    const RegionId home = s.home(v);
    for (RegionId r = at; r.valid() && r != home; r = s.parent(r)) {
      const OpId o = s.op_of[r.index];
      if (o.valid() && f[o].code == Opcode::if_) return true;
    }
    return false;
  }
  void use(RegionId at, ValueId to, ValueId from) { use(at, to, a.useful[from.index], a.tainted[from.index]); }

  void backward(RegionId r) {
    const auto& ops = f[r].ops;
    for (auto it = ops.rbegin(); it != ops.rend(); ++it) backward(r, f[*it]);
  }
  void backward(RegionId at, const Op& op) {
    const Values& x = op.operands;
    switch (op.code) {
      case Opcode::convert:
        if (is_float(f.type(op.results[0]).dtype())) use(at, x[0], op.results[0]);
        return;
      case Opcode::load:
        if (!a.varied[op.results[0].index]) return;
        raise(a.memory_useful[op.memory.index], a.useful[op.results[0].index]);
        raise(a.memory_tainted[op.memory.index], a.tainted[op.results[0].index]);
        return;
      case Opcode::store:
      case Opcode::accumulate:
        if (op.code == Opcode::accumulate && planted(testing::Mutant::accumulate_not_useful)) return;
        use(at, x.back(), a.memory_useful[op.memory.index], a.memory_tainted[op.memory.index]);
        return;
      case Opcode::if_:
        for (RegionId r : op.regions) {
          for (std::size_t k = 0; k < op.results.size(); ++k) use(r, f.terminator(r).operands[k], op.results[k]);
          backward(r);
        }
        return;
      case Opcode::for_: {
        const Values &args = f[op.regions[0]].arguments, &y = f.terminator(op.regions[0]).operands;
        const std::size_t n = f.carries(op);
        for (std::size_t k = 0; k < y.size(); ++k) use(op.regions[0], y[k], op.results[k]);
        for (std::size_t k = 0; k < n; ++k) use(op.regions[0], y[k], args[k + 1]);
        backward(op.regions[0]);
        for (std::size_t k = 0; k < n; ++k) {
          use(at, x[k + 2], args[k + 1]);
          use(at, x[k + 2], op.results[k]);
          // The adjoint of a carry lives in one loop variable: it is there as soon as the result has one.
          use(op.regions[0], args[k + 1], op.results[k]);
        }
        return;
      }
      case Opcode::while_: {
        const Values &cond = f[op.regions[0]].arguments, &body = f[op.regions[1]].arguments;
        const Values &passed = f.terminator(op.regions[0]).operands, &y = f.terminator(op.regions[1]).operands;
        const std::size_t n = f.carries(op);
        for (std::size_t k = 0; k < y.size(); ++k) {
          if (k < n) use(op.regions[1], y[k], cond[k]);
          else use(op.regions[1], y[k], op.results[k]);
        }
        backward(op.regions[1]);
        for (std::size_t k = 0; k < n; ++k) use(op.regions[0], passed[k + 1], body[k]), use(op.regions[0], passed[k + 1], op.results[k]);
        backward(op.regions[0]);
        for (std::size_t k = 0; k < n; ++k) {
          use(op.regions[0], cond[k], op.results[k]);
          use(op.regions[1], body[k], cond[k]);
          use(at, x[k], cond[k]);
        }
        return;
      }
      case Opcode::seq_get: use(at, x[0], op.results[0]); return;
      case Opcode::seq_set:
      case Opcode::seq_add_at: use(at, x[0], op.results[0]), use(at, x[2], op.results[0]); return;
      case Opcode::call: {
        const bool masked = Callees::now().masks(f.callees[op.ref]);
        for (ValueId r : op.results)
          for (ValueId v : x) use(at, v, a.useful[r.index], a.tainted[r.index] || masked);
        return;
      }
      case Opcode::launch:
        for (ValueId r : op.results)
          for (ValueId v : x) use(at, v, r);
        return;
      case Opcode::bitcast:
      case Opcode::extent:
      case Opcode::domain:
      case Opcode::yield:
      case Opcode::seq_len:
      case Opcode::zeros:
      case Opcode::print:
      case Opcode::check: return;
      case Opcode::group_index:
      case Opcode::barrier: return;
      case Opcode::subgroup: use(at, x[0], a.useful[op.results[0].index], a.tainted[op.results[0].index] || masks_cotangent(op)); return;
      case Opcode::atomic: use(at, x.back(), a.memory_useful[op.memory.index], a.memory_tainted[op.memory.index]); return;
      default:
        if (!is_core(op.code)) not_lowered(op);
        for (std::size_t k = 0; k < x.size(); ++k) {
          const int operand = static_cast<int>(k);
          if (!depends(op.code, operand)) continue;
          const ValueId r = op.results[0];
          use(at, x[k], a.useful[r.index], a.tainted[r.index] || masks(op.code, operand));
        }
    }
  }
};

}  // namespace

void Activity::spread_varied(const Function& f) {
  Spread s{f, *this};
  do {
    s.changed = false;
    s.forward(f.body);
  } while (s.changed && !planted(testing::Mutant::vary_once));
}

void Activity::spread_useful(const Structure& s) {
  Backward b{s, s.f, *this};
  do {
    b.changed = false;
    b.backward(s.f.body);
  } while (b.changed && !planted(testing::Mutant::useful_once));
}

}  // namespace fluxion::ad
