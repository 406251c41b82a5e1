// Several tangents at once. The derivative with one tangent is made first; then what depends on a tangent is repeated for
// each of them, and what does not stays once: branches, trip counts, indices and the primal never depend on tangents, so
// loops and ifs stay single and carry all tangents. Arrays of tangents get a leading axis.
#include <fmt/format.h>

#include <map>

#include "analysis.h"
#include "fluxion/ad.h"
#include "fluxion/error.h"
#include "fluxion/passes.h"
#include "fluxion/rewrite.h"
#include "names.h"
#include "prepare.h"

namespace fluxion {
namespace ad {
namespace {

bool is_scratch(const Function& f, const Parameter& p) { return p.kind == Parameter::Kind::memory && f[p.memory].scratch; }

/// Which parameters of jvp(f) are tangents: they stand after those of f, those of scratch after f's scratch.
std::vector<char> tangent_parameters(const Function& f) {
  std::vector<char> out;
  for (const bool scratch : {false, true}) {
    std::size_t primals = 0, floats = 0;
    for (const Parameter& p : f.parameters) {
      if (is_scratch(f, p) != scratch) continue;
      ++primals;
      floats += float_parameter(f, p);
    }
    out.insert(out.end(), primals, 0);
    out.insert(out.end(), floats, 1);
  }
  return out;
}

/// What becomes of a callee when some of its parameters come n times.
struct Widened {
  std::vector<char> results;                 // come n times
  std::shared_ptr<const Function> function;  // null until it is called
};
using WidenedCallees = std::map<std::pair<const Function*, std::vector<char>>, Widened>;

class Widen {
 public:
  Widen(const Function& f, std::vector<char> parameters, int n, Builder& b, WidenedCallees& callees)
      : f_(f),
        n_(n),
        b_(b),
        callees_(callees),
        parameters_(std::move(parameters)),
        many_(f.values.size()),
        many_memory_(f.memories.size()),
        now_(f.values.size()),
        memory_(f.memories.size()) {
    if (f.external && f.kind == Function::Kind::kernel)
      throw KernelError(
          f.loc,
          fmt::format("external \"{}\" works on arrays, and the rule of its jvp takes one tangent at a time; call fx::jvp without a number",
                      f.name));
  }

  std::vector<char> results() {
    spread();
    std::vector<char> out;
    for (ValueId v : f_.terminator(f_.body).operands) out.push_back(many_[v.index]);
    return out;
  }
  /// A callee: of its results those come n times that depend on what does.
  void run_callee() {
    spread();
    signature();
    ops(f_.body);
    Values yields;
    for (ValueId v : f_.terminator(f_.body).operands)
      for (int t = 0; t < copies(v); ++t) yields.push_back(get(v, t));
    b_.loc = f_.loc;
    b_.finish(yields);
  }

  void run() {
    spread();
    signature();
    ops(f_.body);
    const Values& y = f_.terminator(f_.body).operands;
    // jvp gives the results, then the tangents of the float ones.
    std::size_t results = y.size();
    if (f_.kind == Function::Kind::fn) {
      results = 0;
      for (std::size_t floats = 0; results + floats < y.size(); ++results) floats += is_float(f_.type(y[results]).dtype());
    }
    Values yields;
    for (std::size_t k = 0; k < y.size(); ++k)
      for (int t = 0; t < (k < results ? 1 : n_); ++t) yields.push_back(get(y[k], t));
    b_.loc = f_.loc;
    b_.finish(yields);
  }

 private:
  const Function& f_;
  const int n_;
  Builder& b_;
  WidenedCallees& callees_;
  std::vector<char> parameters_;               // by parameter: a tangent
  std::vector<char> many_, many_memory_;       // by value, by memory: one for each tangent
  std::vector<Values> now_;                    // by value: one, or n
  std::vector<std::vector<MemoryId>> memory_;  // by memory: one, or n locals

  // ---- what depends on a tangent
  bool mark(ValueId v, bool yes) {
    if (!yes || many_[v.index]) return false;
    many_[v.index] = 1;
    return true;
  }
  bool spread_region(RegionId r) {
    bool changed = false;
    for (OpId id : f_[r].ops) {
      const Op& op = f_[id];
      bool any = op.memory.valid() && op.code != Opcode::extent && many_memory_[op.memory.index];
      for (ValueId v : op.operands) any |= many_[v.index] != 0;
      switch (op.code) {
        case Opcode::yield: break;
        case Opcode::store:
        case Opcode::accumulate:
        case Opcode::atomic:
          if (any && !many_memory_[op.memory.index]) many_memory_[op.memory.index] = 1, changed = true;
          for (ValueId v : op.results) changed |= mark(v, any);
          break;
        case Opcode::if_:
          for (RegionId arm : op.regions) {
            changed |= spread_region(arm);
            const Values& y = f_.terminator(arm).operands;
            for (std::size_t k = 0; k < y.size(); ++k) changed |= mark(op.results[k], many_[y[k].index]);
          }
          break;
        case Opcode::for_:
        case Opcode::while_: changed |= spread_loop(op); break;
        case Opcode::call:
          if (!any) break;
          for (std::size_t k = 0; k < op.results.size(); ++k) changed |= mark(op.results[k], widened(op).results[k]);
          break;
        default:
          for (ValueId v : op.results) changed |= mark(v, any);
      }
    }
    return changed;
  }
  Widened& widened(const Op& op) {
    std::vector<char> mask;
    for (ValueId v : op.operands) mask.push_back(many_[v.index]);
    const Function& callee = *f_.callees[op.ref];
    const auto [it, fresh] = callees_.try_emplace({&callee, mask});
    if (fresh) {
      Function none;
      Builder b(none);
      it->second.results = Widen(callee, std::move(mask), n_, b, callees_).results();
    }
    return it->second;
  }
  bool spread_loop(const Op& op) {
    bool changed = false;
    const bool counts = op.code == Opcode::for_;
    const std::size_t carries = f_.carries(op), first = counts ? 2 : 0;
    for (RegionId r : op.regions) changed |= spread_region(r);
    for (std::size_t k = 0; k < carries; ++k) {
      bool any = many_[op.operands[first + k].index] || many_[op.results[k].index];
      for (RegionId r : op.regions) {
        const std::size_t head = counts ? 0 : r == op.regions[0] ? 1 : 0;
        any |= many_[f_.terminator(r).operands[head + k].index] || many_[f_[r].arguments[(counts ? 1 : 0) + k].index];
      }
      changed |= mark(op.results[k], any);
      for (RegionId r : op.regions) changed |= mark(f_[r].arguments[(counts ? 1 : 0) + k], any);
    }
    const Values& y = f_.terminator(op.regions.back()).operands;
    for (std::size_t k = carries; k < y.size(); ++k) changed |= mark(op.results[k], many_[y[k].index]);
    return changed;
  }
  void spread() {
    for (std::size_t p = 0; p < parameters_.size(); ++p) {
      if (!parameters_[p]) continue;
      const Parameter& q = f_.parameters[p];
      if (q.kind == Parameter::Kind::memory) many_memory_[q.memory.index] = 1;
      else many_[q.value.index] = 1;
    }
    while (spread_region(f_.body)) {}
    for (std::size_t p = 0; p < parameters_.size(); ++p)
      if (const Parameter& q = f_.parameters[p]; q.kind == Parameter::Kind::memory && many_memory_[q.memory.index] && !parameters_[p])
        throw Bug(f_.loc, fmt::format("jvp of \"{}\": a tangent is written to {}", f_.name, q.name));
  }

  // ---- the new function
  void signature() {
    Function& out = b_.function();
    out.kind = f_.kind;
    out.name = f_.name;
    out.loc = b_.loc = f_.loc;
    out.domain_rank = f_.domain_rank;
    out.group = f_.group;
    Names names;
    for (std::size_t p = 0; p < f_.parameters.size(); ++p) {
      const Parameter& q = f_.parameters[p];
      if (q.kind != Parameter::Kind::memory) {
        for (int t = 0; t < (parameters_[p] ? n_ : 1); ++t)
          now_[q.value.index].push_back(
              b_.scalar_parameter(f_.type(q.value).dtype(), names.unique(parameters_[p] ? q.name + std::to_string(t) : q.name)));
        continue;
      }
      const Memory& m = f_[q.memory];
      if (parameters_[p] && m.rank == 3)
        throw KernelError(m.loc ? m.loc : f_.loc,
                          fmt::format("\"{}\": {} has three axes, and the leading axis of {} tangents would be a fourth; "
                                      "call jvp for one tangent at a time",
                                      f_.name, q.name, n_));
      const MemoryId made = b_.memory_parameter(m.element, m.rank + (parameters_[p] ? 1 : 0), q.role, names.unique(q.name));
      Memory& now = out[made];
      now.loc = m.loc;
      now.scratch = m.scratch;
      now.zeros = m.zeros;
      // Positions: a tangent scalar stands for n parameters now.
      const auto moved = [&](int at) {
        int to = 0;
        for (int k = 0; k < at; ++k)
          to += f_.parameters[static_cast<std::size_t>(k)].kind != Parameter::Kind::memory && parameters_[static_cast<std::size_t>(k)] ? n_
                                                                                                                                       : 1;
        return to;
      };
      if (m.scratch) {
        if (parameters_[p] && !parameters_[static_cast<std::size_t>(m.like)])
          throw KernelError(
              f_.loc, fmt::format("\"{}\": the scratch {} has the shape of an array without tangents; call jvp for one tangent at a time",
                                  f_.name, q.name));
        now.like = moved(m.like);
        if (m.into >= 0) now.into = moved(m.into);
        now.work = m.work;
      }
      memory_[q.memory.index] = {made};
    }
    std::vector<int> at;
    for (std::size_t p = 0, to = 0; p < f_.parameters.size(); ++p) {
      at.push_back(static_cast<int>(to));
      to += static_cast<std::size_t>(f_.parameters[p].kind != Parameter::Kind::memory && parameters_[p] ? n_ : 1);
    }
    out.before = ad::moved(f_.before, at);
    for (std::size_t k = 0; k < f_[f_.body].arguments.size(); ++k) now_[f_[f_.body].arguments[k].index] = {b_.index(static_cast<int>(k))};
  }
  ValueId get(ValueId v, int t) {
    Values& n = now_[v.index];
    if (n.empty()) n.push_back(b_.constant(f_.type(v).dtype(), f_[v].bits));
    return n[n.size() == 1 ? 0 : static_cast<std::size_t>(t)];
  }
  Values get(std::span<const ValueId> v, int t) {
    Values out;
    for (ValueId x : v) out.push_back(get(x, t));
    return out;
  }
  int copies(ValueId v) const { return many_[v.index] ? n_ : 1; }
  /// All that `v` stand for, those with several one after the other. `as`: how many of each.
  Values all(std::span<const ValueId> v, std::span<const ValueId> as) {
    Values out;
    for (std::size_t k = 0; k < v.size(); ++k)
      for (int t = 0; t < copies(as[k]); ++t) out.push_back(get(v[k], t));
    return out;
  }
  std::vector<Type> types(std::span<const ValueId> v) const {
    std::vector<Type> out;
    for (ValueId x : v) out.insert(out.end(), static_cast<std::size_t>(copies(x)), f_.type(x));
    return out;
  }
  void bind(std::span<const ValueId> old, std::span<const ValueId> now) {
    std::size_t next = 0;
    for (ValueId v : old) {
      now_[v.index].assign(now.begin() + static_cast<std::ptrdiff_t>(next), now.begin() + static_cast<std::ptrdiff_t>(next) + copies(v));
      next += static_cast<std::size_t>(copies(v));
    }
  }

  void ops(RegionId r) {
    for (std::uint32_t m = 0; m < f_.memories.size(); ++m) {
      const Memory& mem = f_.memories[m];
      if (mem.space == Memory::Space::parameter || mem.scope != r) continue;
      memory_[m].clear();
      for (int t = 0; t < (many_memory_[m] ? n_ : 1); ++t) memory_[m].push_back(make_like(b_, mem));
    }
    for (OpId id : f_[r].ops) {
      const Op& op = f_[id];
      if (op.code == Opcode::yield) continue;
      const Loc outer = b_.loc;
      b_.loc = op.loc;
      if (op.regions.empty()) plain(op);
      else structure(op);
      b_.loc = outer;
    }
  }
  void plain(const Op& op) {
    bool any = op.memory.valid() && op.code != Opcode::extent && many_memory_[op.memory.index];
    for (ValueId v : op.operands) any |= many_[v.index] != 0;
    for (ValueId v : op.results) now_[v.index].clear();
    if (any && op.code == Opcode::call && f_.callees[op.ref]->rules == Rules{} && !f_.callees[op.ref]->external) return call(op);
    for (int t = 0; t < (any ? n_ : 1); ++t) {
      Op c = op;
      c.operands = get(op.operands, t);
      c.results.clear();
      if (op.memory.valid()) {
        const auto& made = memory_[op.memory.index];
        c.memory = made[made.size() == 1 ? 0 : static_cast<std::size_t>(t)];
        const bool leading = many_memory_[op.memory.index] && f_[op.memory].space == Memory::Space::parameter;
        if (leading && op.code == Opcode::extent) ++c.leaf;
        else if (leading) c.operands.insert(c.operands.begin(), b_.i32(t));
      }
      if (op.code == Opcode::launch || op.code == Opcode::call) c.ref = add_callee(b_.function(), f_.callees[op.ref]);
      if (op.code == Opcode::print || op.code == Opcode::check) c.ref = add_text(b_.function(), f_.texts[op.ref]);
      std::vector<Type> t_out;
      for (ValueId v : op.results) t_out.push_back(f_.type(v));
      const OpId made = b_.append(std::move(c), t_out);
      for (std::size_t k = 0; k < op.results.size(); ++k)
        if (t == 0 || many_[op.results[k].index]) now_[op.results[k].index].push_back(b_.function()[made].results[k]);
    }
  }
  void call(const Op& op) {
    Widened& w = widened(op);
    if (!w.function) {
      const Function& callee = *f_.callees[op.ref];
      std::vector<char> mask;
      for (ValueId v : op.operands) mask.push_back(many_[v.index]);
      Function out;
      Builder b(out);
      Widen(callee, std::move(mask), n_, b, callees_).run_callee();
      out.name = fmt::format("{}{}", callee.name, n_);
      w.function = std::make_shared<const Function>(tidy(out));
    }
    const Values made = b_.call(w.function, all(op.operands, op.operands));
    bind(op.results, made);
  }
  // An op with regions: whatever there is n times of is passed, carried and yielded n times.
  void structure(const Op& op) {
    Op c = op;
    c.operands.clear();
    c.regions.clear();
    c.results.clear();
    const bool loop = op.code != Opcode::if_;
    const std::size_t first = op.code == Opcode::for_ ? 2 : op.code == Opcode::if_ ? 1 : 0;
    for (std::size_t k = 0; k < first; ++k) c.operands.push_back(get(op.operands[k], 0));
    const std::span<const ValueId> carried = std::span(op.results).first(loop ? f_.carries(op) : 0);
    if (loop) {
      const Values init = all(std::span(op.operands).subspan(first), carried);
      c.operands.insert(c.operands.end(), init.begin(), init.end());
    }
    for (RegionId r : op.regions) {
      const RegionId made = b_.open(types(f_[r].arguments));
      bind(f_[r].arguments, Values(b_.function()[made].arguments));
      ops(r);
      const std::span<const ValueId> y = f_.terminator(r).operands;
      if (op.code == Opcode::while_ && r == op.regions[0]) {
        Values out{get(y[0], 0)};
        const Values rest = all(y.subspan(1), carried);
        out.insert(out.end(), rest.begin(), rest.end());
        b_.close(out);
      } else {
        b_.close(all(y, std::span(op.results).first(y.size())));
      }
      c.regions.push_back(made);
    }
    const OpId made = b_.append(std::move(c), types(op.results));
    bind(op.results, Values(b_.function()[made].results));
  }
};

}  // namespace
}  // namespace ad

Function jvp(const Function& f, int n) {
  if (n < 1) throw KernelError(f.loc, fmt::format("jvp of \"{}\" with {} tangents; at least one is needed", f.name, n));
  if (f.kind == Function::Kind::program)
    throw KernelError(
        f.loc, fmt::format("jvp of program \"{}\" with {} tangents at once; call jvp for each, or differentiate the kernels", f.name, n));
  const Function d = jvp(f);
  Function out;
  Builder b(out);
  ad::WidenedCallees callees;
  ad::Widen(d, ad::tangent_parameters(ad::ordered(f)), n, b, callees).run();
  out.name = fmt::format("{}{}", d.name, n);
  return ad::tidy(out);
}

namespace {

std::vector<Type> fn_floats(const Function& f, bool results) {
  std::vector<Type> out;
  if (results) {
    for (ValueId v : f.terminator(f.body).operands)
      if (has_float(f.type(v))) out.push_back(f.type(v));
  } else {
    for (const Parameter& p : f.parameters)
      if (has_float(f.type(p.value))) out.push_back(f.type(p.value));
  }
  return out;
}

}  // namespace

Function jacobian(const Function& f) {
  if (f.kind != Function::Kind::fn) throw KernelError(f.loc, fmt::format("jacobian of \"{}\", which is not a function of scalars", f.name));
  const std::vector<Type> x = fn_floats(f, false), y = fn_floats(f, true);
  Function out;
  Builder b(out);
  out.kind = Function::Kind::fn;
  out.name = f.name + ".jacobian";
  out.loc = b.loc = f.loc;
  Values primals, yields;
  for (const Parameter& p : f.parameters) primals.push_back(b.scalar_parameter(f.type(p.value).dtype(), p.name));
  const auto inlined = [&](const Function& g, const Values& arguments) {
    Rewriter r(g, b);
    for (std::size_t k = 0; k < arguments.size(); ++k) r.map(g.parameters[k].value, arguments[k]);
    r.copy_ops(g.body);
    return r(g.terminator(g.body).operands);
  };
  if (x.size() <= y.size()) {
    const int n = static_cast<int>(x.size());
    if (n > 0) {
      const Function g = jvp(f, n);
      Values arguments = primals;
      for (std::size_t k = 0; k < x.size(); ++k)
        for (int t = 0; t < n; ++t) arguments.push_back(b.constant_float(ad::adjoint_of(x[k], f.loc).dtype(), static_cast<int>(k) == t));
      const Values all = inlined(g, arguments);
      yields.assign(all.end() - static_cast<std::ptrdiff_t>(x.size() * y.size()), all.end());
    }
  } else {
    const Function g = vjp(f);
    for (std::size_t row = 0; row < y.size(); ++row) {
      Values arguments = primals;
      for (std::size_t k = 0; k < y.size(); ++k) arguments.push_back(b.constant_float(ad::adjoint_of(y[k], f.loc).dtype(), k == row));
      const Values gradient = inlined(g, arguments);
      yields.insert(yields.end(), gradient.begin(), gradient.end());
    }
  }
  b.finish(yields);
  return ad::tidy(out);
}

Function hvp(const Function& f) {
  ad::check_one_result(f, "hvp");
  const Function d = jvp(grad(f));
  Function out = d;
  Values& yields = out[out[out.body].ops.back()].operands;
  yields.erase(yields.begin(), yields.begin() + static_cast<std::ptrdiff_t>(yields.size() / 2));
  out.name = f.name + ".hvp";
  return ad::tidy(out);
}

}  // namespace fluxion
