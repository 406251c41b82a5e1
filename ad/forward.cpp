// Forward mode: every op is copied and followed by its tangent, loops and ifs carry both. One pass, no tape.
// Values that do not depend on the inputs have no tangent (an invalid id), so nothing is emitted for them.
#include <fmt/format.h>

#include <map>

#include "analysis.h"
#include "callees.h"
#include "groups.h"
#include "fluxion/error.h"
#include "fluxion/external_code.h"
#include "fluxion/rewrite.h"
#include "fluxion/mutants.h"
#include "names.h"
#include "partials.h"
#include "prepare.h"
#include "reverse.h"

namespace fluxion {
namespace ad {
namespace {

std::shared_ptr<const Function> jvp_rule(const Function& f) {
  if (!f.rules.jvp)
    throw KernelError(f.loc,
                      fmt::format("\"{}\" has a rule for its vjp but none for its jvp; add .jvp(...) to the rule, or use vjp", f.name));
  return f.rules.jvp;
}

class Forward {
 public:
  Forward(const Function& f, const Activity& act, Builder& b)
      : now(f.values.size()),
        tangent(f.values.size()),
        memory(f.memories.size()),
        tangent_memory(f.memories.size()),
        f_(f),
        act_(act),
        b_(b) {}

  std::vector<ValueId> now, tangent;             // by primal value
  std::vector<MemoryId> memory, tangent_memory;  // by primal memory

  void ops(RegionId r) {
    for (std::uint32_t m = 0; m < f_.memories.size(); ++m) {
      const Memory& mem = f_.memories[m];
      if (mem.space == Memory::Space::parameter || mem.scope != r) continue;
      memory[m] = make_like(b_, mem);
      if (act_.memory_varied[m]) tangent_memory[m] = make_adjoint_like(b_, mem, "_dot");
    }
    for (OpId o : f_[r].ops) {
      const Op& op = f_[o];
      if (op.code == Opcode::yield) continue;
      const Loc outer = b_.loc;
      b_.loc = op.loc.derived(Sweep::forward, static_cast<std::uint8_t>(op.code));
      emit(op);
      b_.loc = outer;
    }
  }
  ValueId primal(ValueId v) {
    ValueId& n = now[v.index];
    if (!n.valid()) n = b_.constant(f_.type(v).dtype(), f_[v].bits);
    return n;
  }
  Values primal(const Values& v) {
    Values out;
    for (ValueId x : v) out.push_back(primal(x));
    return out;
  }
  ValueId tangent_or_zero(ValueId v) {
    if (tangent[v.index].valid()) return tangent[v.index];
    const Type t = adjoint_of(f_.type(v), b_.loc);
    return zero_like(t, t.is_seq() ? primal(v) : ValueId{});
  }
  // Zeros in the shape of the primal sequence `seq`.
  ValueId zero_like(const Type& t, ValueId seq) {
    if (!t.is_seq()) return b_.zero(t);
    if (!t.item().is_seq()) return b_.zeros(t, b_.seq_len(seq));
    return b_
        .for_(b_.i32(0), b_.seq_len(seq), {},
              [&](ValueId i, const Values&) { return Builder::LoopYield{{}, {zero_like(t.item(), b_.seq_get(seq, i))}}; })
        .seqs[0];
  }
  /// The primal values, then the tangents of those that vary.
  Values both(const Values& v, std::span<const ValueId> as) {
    Values out = primal(v);
    for (std::size_t k = 0; k < v.size(); ++k)
      if (varied(as[k])) out.push_back(flat_ ? b_.zero(adjoint_of(f_.type(v[k]), b_.loc)) : tangent_or_zero(v[k]));
    return out;
  }

 private:
  const Function& f_;
  const Activity& act_;
  Builder& b_;
  bool flat_ = false;  // a planted mistake: no tangents
  std::map<const Function*, std::shared_ptr<const Function>> launched_;

  bool varied(ValueId v) const { return act_.varied[v.index]; }

  void bind(std::span<const ValueId> old, const Values& now_and_tangents) {
    std::size_t next = old.size();
    for (std::size_t k = 0; k < old.size(); ++k) {
      now[old[k].index] = now_and_tangents[k];
      tangent[old[k].index] = varied(old[k]) ? now_and_tangents[next++] : ValueId{};
    }
  }
  std::vector<Type> types(std::span<const ValueId> v) {
    std::vector<Type> out;
    for (ValueId x : v) out.push_back(f_.type(x));
    for (ValueId x : v)
      if (varied(x)) out.push_back(adjoint_of(f_.type(x), b_.loc));
    return out;
  }

  void copy(const Op& op) {
    Op c = op;
    c.operands = primal(op.operands);
    if (op.memory.valid()) c.memory = memory[op.memory.index];
    if (op.code == Opcode::print || op.code == Opcode::check) c.ref = add_text(b_.function(), f_.texts[op.ref]);
    if (op.code == Opcode::call) c.ref = add_callee(b_.function(), f_.callees[op.ref]);
    std::vector<Type> t;
    for (ValueId v : op.results) t.push_back(f_.type(v));
    const OpId made = b_.append(std::move(c), t);
    for (std::size_t k = 0; k < op.results.size(); ++k) {
      now[op.results[k].index] = b_.function()[made].results[k];
      tangent[op.results[k].index] = {};
    }
  }

  void emit(const Op& op) {
    const Values& x = op.operands;
    switch (op.code) {
      case Opcode::if_: return if_(op);
      case Opcode::for_: return for_(op);
      case Opcode::while_: return while_(op);
      case Opcode::launch: return launch(op);
      case Opcode::call: return call(op);
      case Opcode::load:
        copy(op);
        if (varied(op.results[0])) tangent[op.results[0].index] = b_.load(tangent_memory[op.memory.index], primal(x), op.leaf);
        return;
      case Opcode::store:
      case Opcode::accumulate: {
        copy(op);
        const MemoryId m = tangent_memory[op.memory.index];
        const Values at = primal(Values(x.begin(), x.end() - 1));
        if (!m.valid() || !is_float(layout_of(f_[op.memory].element).leaves[op.leaf].dtype)) return;
        if (op.code == Opcode::store && planted(testing::Mutant::jvp_store_skips) && !tangent[x.back().index].valid()) return;
        if (op.code == Opcode::store || (planted(testing::Mutant::jvp_accumulate_stores) && b_.function()[m].role == Role::inout))
          b_.store(m, at, tangent_or_zero(x.back()), op.leaf);
        else if (tangent[x.back().index].valid()) b_.accumulate(m, at, tangent[x.back().index], op.leaf);
        return;
      }
      case Opcode::convert:
        copy(op);
        if (varied(op.results[0]) && !planted(testing::Mutant::jvp_convert_drops))
          tangent[op.results[0].index] = b_.convert(tangent_or_zero(x[0]), adjoint_of(f_.type(op.results[0]), op.loc).dtype());
        return;
      case Opcode::seq_get:
        copy(op);
        if (varied(op.results[0])) tangent[op.results[0].index] = b_.seq_get(tangent_or_zero(x[0]), primal(x[1]));
        return;
      case Opcode::seq_set:
      case Opcode::seq_add_at: {
        copy(op);
        if (!varied(op.results[0])) return;
        const ValueId s = tangent_or_zero(x[0]), i = primal(x[1]), v = tangent_or_zero(x[2]);
        tangent[op.results[0].index] = op.code == Opcode::seq_set ? b_.seq_set(s, i, v) : b_.seq_add_at(s, i, v);
        return;
      }
      case Opcode::atomic:  // of floats that vary only additions are left, whose result nobody uses (check_atomic)
        copy(op);
        if (tangent[x.back().index].valid() && tangent_memory[op.memory.index].valid() && is_float(f_.type(x.back()).dtype())) {
          const ValueId t = tangent[x.back().index];
          b_.atomic(Atomic::add, tangent_memory[op.memory.index], primal(Values(x.begin(), x.end() - 1)), {&t, 1}, op.leaf);
        }
        return;
      case Opcode::subgroup:
        copy(op);
        if (varied(op.results[0]))
          tangent[op.results[0].index] = subgroup_tangent(b_, op, primal(x), now[op.results[0].index], tangent_or_zero(x[0]));
        return;
      case Opcode::barrier: return copy(op);
      case Opcode::bitcast:
      case Opcode::extent:
      case Opcode::domain:
      case Opcode::group_index:
      case Opcode::yield:
      case Opcode::seq_len:
      case Opcode::zeros:
      case Opcode::print:
      case Opcode::check: return copy(op);
      default: return elementwise(op);
    }
  }

  void elementwise(const Op& op) {
    const Values& x = op.operands;
    const ValueId r = op.results[0];
    copy(op);
    if (!varied(r)) return;
    const Values p = primal(x);
    if (op.code == Opcode::select) {
      const bool crossed = planted(testing::Mutant::jvp_select_crossed);
      tangent[r.index] = b_.select(p[0], tangent_or_zero(x[crossed ? 2 : 1]), tangent_or_zero(x[crossed ? 1 : 2]));
      return;
    }
    const bool linear = op.code == Opcode::add || op.code == Opcode::sub || op.code == Opcode::neg;
    if (!f_.type(r).is_scalar() && !linear) return elementwise_arrays(op);
    ValueId sum{};
    const auto add = [&](ValueId part) { sum = sum.valid() ? b_.add(sum, part) : part; };
    for (std::size_t k = 0; k < x.size(); ++k) {
      const ValueId t = tangent[x[k].index];
      const int operand = static_cast<int>(k);
      if (!t.valid() || !depends(op.code, operand)) continue;
      if (op.code == Opcode::mulz) {
        // A first factor that is 0 for a reason of structure has a zero tangent: that must win too.
        add(b_.emit(Opcode::mulz, k == 0 ? std::initializer_list<ValueId>{t, p[1]} : std::initializer_list<ValueId>{p[0], t}));
        continue;
      }
      if (linear) {  // arrays and seqs have no partials of their own
        const bool minus = op.code == Opcode::neg || (op.code == Opcode::sub && k == 1);
        if (!minus) add(t);
        else sum = sum.valid() ? b_.sub(sum, t) : b_.emit(Opcode::neg, {t});
        continue;
      }
      const Partial d = partial(b_, op.code, operand, p, primal(r));
      switch (d.kind) {
        case Partial::Kind::none: break;
        case Partial::Kind::unit: add(t); break;
        case Partial::Kind::minus_unit: sum = sum.valid() ? b_.sub(sum, t) : b_.emit(Opcode::neg, {t}); break;
        case Partial::Kind::mask: add(b_.select(d.value, t, b_.zero(b_.function().type(t)))); break;
        case Partial::Kind::factor: {
          b_.loc.product = true;
          const ValueId part = b_.mul(t, d.value);
          b_.loc.product = false;
          add(part);
          break;
        }
      }
    }
    tangent[r.index] = sum.valid() ? sum : tangent_or_zero(r);
  }

  void elementwise_arrays(const Op& op) {
    const Type& t = f_.type(op.results[0]);
    if (!t.is_array()) throw KernelError(op.loc, "only sums of sequences can be differentiated");
    const Function kernel = elementwise_kernel(f_, op);
    Values arguments = primal(op.operands), domain;
    for (ValueId v : op.operands)
      if (has_float(f_.type(v))) arguments.push_back(tangent_or_zero(v));
    for (int k = 0; k < t.rank; ++k) domain.push_back(b_.i32(static_cast<std::int32_t>(t.shape[k])));
    const Type outs[] = {t, adjoint_of(t, op.loc)};
    tangent[op.results[0].index] = b_.launch(std::make_shared<Function>(jvp(kernel)), domain, arguments, outs)[1];
  }

  void if_(const Op& op) {
    Op c;
    c.code = Opcode::if_;
    c.loc = op.loc;
    c.operands = {primal(op.operands[0])};
    for (RegionId arm : op.regions) {
      c.regions.push_back(b_.open({}));
      ops(arm);
      flat_ = arm == op.regions[0] && planted(testing::Mutant::jvp_if_flat);
      b_.close(both(f_.terminator(arm).operands, op.results));
      flat_ = false;
    }
    const OpId made = b_.append(std::move(c), types(op.results));
    bind(op.results, Values(b_.function()[made].results));
  }

  // Carries are the primal ones, then tangents; so are the collected values.
  Builder::LoopYield loop_yield(RegionId body, std::span<const ValueId> args, std::span<const ValueId> seqs) {
    const Values& y = f_.terminator(body).operands;
    const auto n = static_cast<std::ptrdiff_t>(args.size());
    return {both(Values(y.begin(), y.begin() + n), args), both(Values(y.begin() + n, y.end()), seqs)};
  }

  void for_(const Op& op) {
    const RegionId body = op.regions[0];
    const std::span<const ValueId> args = std::span(f_[body].arguments).subspan(1);
    const std::span<const ValueId> results = std::span(op.results).first(args.size()), seqs = std::span(op.results).subspan(args.size());
    flat_ = planted(testing::Mutant::jvp_carry_starts_flat);
    const Values init = both(Values(op.operands.begin() + 2, op.operands.end()), args);
    flat_ = false;
    const auto out = b_.for_(
        primal(op.operands[0]), primal(op.operands[1]), init,
        [&](ValueId i, const Values& carries) {
          now[f_[body].arguments[0].index] = i;
          bind(args, carries);
          ops(body);
          return loop_yield(body, args, seqs);
        },
        op.down);
    b_.last().kind = op.kind;
    b_.last().leaf = op.leaf;
    bind_results(results, args, out.carries);
    bind(seqs, out.seqs);
  }

  void while_(const Op& op) {
    const RegionId cond = op.regions[0], body = op.regions[1];
    const std::span<const ValueId> before = f_[cond].arguments, args = f_[body].arguments;
    const std::span<const ValueId> results = std::span(op.results).first(args.size());
    const std::span<const ValueId> seqs = std::span(op.results).subspan(args.size(), op.results.size() - args.size() - 1);
    // One set of carries serves both regions: a tangent for what varies in either.
    flat_ = planted(testing::Mutant::jvp_while_starts_flat);
    const Values init = both(op.operands, before);
    flat_ = false;
    const auto out = b_.while_(
        init,
        [&](const Values& carries) {
          bind(before, carries);
          ops(cond);
          const Values& y = f_.terminator(cond).operands;
          return std::pair(primal(y[0]), both(Values(y.begin() + 1, y.end()), before));
        },
        [&](const Values& carries) {
          bind_results(args, before, carries);
          ops(body);
          return loop_yield(body, before, seqs);
        });
    bind_results(results, before, out.carries);
    bind(seqs, out.seqs);
    now[op.results.back().index] = out.trips;
  }

  // `values` are new, but have tangents where `as` has.
  void bind_results(std::span<const ValueId> values, std::span<const ValueId> as, const Values& now_and_tangents) {
    std::size_t next = values.size();
    for (std::size_t k = 0; k < values.size(); ++k) {
      now[values[k].index] = now_and_tangents[k];
      tangent[values[k].index] = varied(as[k]) ? now_and_tangents[next++] : ValueId{};
    }
  }

  void call(const Op& op) {
    std::vector<char> dots;
    bool any = false;
    for (ValueId v : op.operands) any |= dots.emplace_back(tangent[v.index].valid()) != 0;
    if (!any) return copy(op);
    if (const Function& g = *f_.callees[op.ref]; g.external && g.rules == Rules{}) {
      for (ValueId v : op.results)
        if (has_float(f_.type(v))) refuse_external(g, op.loc);
      return copy(op);  // whole numbers are constants
    }
    const bool program = f_.callees[op.ref]->kind == Function::Kind::program;
    Callees::Tangent t;
    if (!program) t = Callees::now().jvp(f_.callees[op.ref], dots);
    Values arguments = primal(op.operands);
    for (std::size_t p = 0; p < dots.size(); ++p)
      if (program ? has_float(f_.type(op.operands[p])) : t.dots[p] != 0) arguments.push_back(tangent_or_zero(op.operands[p]));
    const Values out = program ? splice(b_, *Callees::now().program_jvp(f_.callees[op.ref]), arguments) : b_.call(t.function, arguments);
    // A jvp rule gives tangents: the results stay those of the callee, whose own derivatives are its rules.
    // (Host code is not called twice.)
    const bool ruled = f_.callees[op.ref]->rules.jvp && !f_.callees[op.ref]->external;
    if (ruled) copy(op);
    std::size_t next = op.results.size();
    for (std::size_t r = 0; r < op.results.size(); ++r) {
      if (!ruled) now[op.results[r].index] = out[r];
      tangent[op.results[r].index] = has_float(f_.type(op.results[r])) ? out[next++] : ValueId{};
      if (r > 0 && planted(testing::Mutant::jvp_call_one_tangent)) tangent[op.results[r].index] = {};
    }
  }

  void launch(const Op& op) {
    bool any = false;
    for (ValueId v : op.operands) any |= tangent[v.index].valid();
    const Function& callee = *f_.callees[op.ref];
    // As in a call: the results are those of the callee, with its rules.
    const bool ruled = callee.rules != Rules{} && !callee.external;
    if (!any || ruled) {
      Op c = op;
      c.ref = add_callee(b_.function(), f_.callees[op.ref]);
      copy_launch(op, std::move(c));
      if (!any) return;
    }
    auto& k = launched_[&callee];
    if (callee.external && callee.rules == Rules{}) refuse_external(callee, op.loc);
    if (!k && callee.rules != Rules{}) k = jvp_rule(callee);
    if (!k) {
      Function plain = callee;
      for (Memory& m : plain.memories) m.scratch = false;  // the launch passes them like the others
      plain.before = {};
      k = std::make_shared<Function>(jvp(plain));
    }
    const auto rank = static_cast<std::size_t>(callee.domain_rank);
    Values arguments = primal(Values(op.operands.begin() + static_cast<std::ptrdiff_t>(rank), op.operands.end()));
    std::vector<Type> outs;
    Values results, float_results;
    std::size_t next = rank, result = 0;
    const auto is_out = [](const Parameter& p) { return p.kind == Parameter::Kind::memory && p.role == Role::out; };
    for (const Parameter& p : callee.parameters)
      if (p.kind == Parameter::Kind::memory && p.role != Role::in) {
        const ValueId r = op.results[result++];
        if (is_out(p)) outs.push_back(f_.type(r));
      }
    result = 0;
    for (const Parameter& p : callee.parameters) {
      const bool version = p.kind == Parameter::Kind::memory && p.role != Role::in;
      const ValueId r = version ? op.results[result++] : ValueId{};
      const ValueId v = is_out(p) ? ValueId{} : op.operands[next++];
      if (!float_parameter(callee, p)) continue;
      if (v.valid()) arguments.push_back(tangent_or_zero(v));
      else outs.push_back(adjoint_of(f_.type(r), op.loc));
      if (version) float_results.push_back(r);
    }
    const Values out =
        b_.launch(k, primal(Values(op.operands.begin(), op.operands.begin() + static_cast<std::ptrdiff_t>(rank))), arguments, outs);
    if (!ruled)
      for (std::size_t r = 0; r < op.results.size(); ++r) now[op.results[r].index] = out[r];
    for (std::size_t r = 0; r < float_results.size(); ++r)
      tangent[float_results[r].index] = varied(float_results[r]) ? out[op.results.size() + r] : ValueId{};
  }
  void copy_launch(const Op& op, Op c) {
    c.operands = primal(op.operands);
    std::vector<Type> t;
    for (ValueId v : op.results) t.push_back(f_.type(v));
    const OpId made = b_.append(std::move(c), t);
    for (std::size_t k = 0; k < op.results.size(); ++k) now[op.results[k].index] = b_.function()[made].results[k];
  }
};

bool is_scratch(const Function& f, const Parameter& p) { return p.kind == Parameter::Kind::memory && f[p.memory].scratch; }

}  // namespace
}  // namespace ad

namespace ad {
namespace {

/// `dots`: by parameter, which have a tangent.
Function forward_mode(const Function& original, std::vector<char> dots) {
  const Function f = ordered(original);
  dots.resize(f.parameters.size());  // what has been appended has no tangent
  Activity act(f);
  for (std::size_t i = 0; i < f.parameters.size(); ++i) {
    const Parameter& p = f.parameters[i];
    if (!dots[i]) continue;
    if (p.kind == Parameter::Kind::memory) act.memory_varied[p.memory.index] = 1, adjoint_of(f[p.memory].element, f[p.memory].loc);
    else act.varied[p.value.index] = 1;
  }
  act.spread_varied(f);

  Function out;
  out.kind = f.kind;
  out.name = f.name + ".jvp";
  out.loc = f.loc;
  out.domain_rank = f.domain_rank;
  out.group = f.group;
  Builder b(out);
  b.loc = f.loc;
  Forward forward(f, act, b);
  Names names;
  std::vector<int> at(f.parameters.size()), tangent_at(f.parameters.size());
  const auto declare = [&](std::size_t i, bool dot) {
    const Parameter& p = f.parameters[i];
    (dot ? tangent_at : at)[i] = static_cast<int>(out.parameters.size());
    const std::string name = names.unique(dot ? p.name + "_dot" : p.name);
    if (p.kind == Parameter::Kind::memory) {
      const Memory& m = f[p.memory];
      const MemoryId made = b.memory_parameter(dot ? adjoint_of(m.element, m.loc) : m.element, m.rank, p.role, name);
      out[made].loc = m.loc;
      out[made].scratch = m.scratch;
      if (m.scratch) {
        // The tangent of working space is working space of the same kind.
        const auto like = static_cast<std::size_t>(m.like);
        const bool floats = float_parameter(f, f.parameters[like]);
        out[made].like = dot && floats ? tangent_at[like] : at[like];
        out[made].zeros = m.zeros;
        out[made].work = m.work;
        if (m.into >= 0) out[made].into = (dot ? tangent_at : at)[static_cast<std::size_t>(m.into)];
      }
      (dot ? forward.tangent_memory : forward.memory)[p.memory.index] = made;
      return;
    }
    const Type t = dot ? adjoint_of(f.type(p.value), f.loc) : f.type(p.value);
    const ValueId v = p.kind == Parameter::Kind::array ? b.array_parameter(t, p.role, name) : b.scalar_parameter(t.dtype(), name);
    (dot ? forward.tangent : forward.now)[p.value.index] = v;
  };
  for (bool scratch : {false, true})
    for (bool dot : {false, true})
      for (std::size_t i = 0; i < f.parameters.size(); ++i) {
        const Parameter& p = f.parameters[i];
        if (is_scratch(f, p) == scratch && (!dot || dots[i])) declare(i, dot);
      }
  out.before = moved(f.before, at);
  const Values& indices = f[f.body].arguments;
  if (f.kind == Function::Kind::kernel)
    for (std::size_t k = 0; k < indices.size(); ++k) forward.now[indices[k].index] = b.index(static_cast<int>(k));
  forward.ops(f.body);

  const Values& y = f.terminator(f.body).operands;
  std::size_t versions = 0;
  for (const Parameter& p : f.parameters) versions += p.kind == Parameter::Kind::array && p.role != Role::in;
  Values yields;
  const auto give = [&](std::size_t from, std::size_t to) {
    for (std::size_t k = from; k < to; ++k) yields.push_back(forward.primal(y[k]));
    for (std::size_t k = from; k < to; ++k)
      if (has_float(f.type(y[k]))) yields.push_back(forward.tangent_or_zero(y[k]));
  };
  give(0, versions);
  give(versions, y.size());
  b.loc = f.loc;
  b.finish(yields);
  return tidy(out);
}

}  // namespace

Function jvp_fn(const Function& f, const std::vector<char>& dots) { return forward_mode(f, dots); }

}  // namespace ad

Function jvp(const Function& f) {
  const ad::Callees::Scope scope;
  if (f.kind != Function::Kind::kernel && (f.rules != Rules{} || f.external)) return jvp(ad::calling(f));
  if (f.kind == Function::Kind::kernel && f.rules != Rules{}) return *ad::jvp_rule(f);
  if (f.external) refuse_external(f, {});
  std::vector<char> dots;
  for (const Parameter& p : f.parameters) dots.push_back(ad::float_parameter(f, p));
  return ad::forward_mode(f, dots);
}

}  // namespace fluxion
