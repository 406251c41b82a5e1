// The batch axis of programs: which values have it follows from the parameters that have it; launches of such values become
// launches of batched kernels. What decides trips and branches must be the same for all of the batch.
#include <fmt/format.h>

#include <array>
#include <map>

#include "fluxion/batch.h"
#include "fluxion/error.h"
#include "fluxion/rewrite.h"

namespace fluxion {
namespace {

class Batcher {
 public:
  Batcher(const Function& f, std::int64_t n, Builder& b) : f_(f), n_(n), b_(b), r_(f, b), many_(f.values.size()) {}

  void run(const std::vector<char>& leading) {
    Function& g = b_.function();
    g.kind = f_.kind;
    g.name = f_.name + ".vmap";
    g.loc = b_.loc = f_.loc;
    for (std::size_t p = 0; p < f_.parameters.size(); ++p) many_[f_.parameters[p].value.index] = leading[p];
    const Values& end = f_.terminator(f_.body).operands;
    std::vector<ValueId> written;
    for (const Parameter& p : f_.parameters)
      if (p.kind == Parameter::Kind::array && p.role != Role::in) written.push_back(p.value);
    do {
      changed_ = false;
      spread(f_.body);
      // Versions of a parameter are like it; the old contents of an Out are not there.
      for (std::size_t k = 0; k < written.size(); ++k) {
        mark(end[k], many(written[k]));
        mark(written[k], many(end[k]));
      }
    } while (changed_);
    for (std::size_t p = 0; p < f_.parameters.size(); ++p) {
      const Parameter& q = f_.parameters[p];
      if (many_[q.value.index] && !leading[p])
        throw KernelError(f_.loc, fmt::format("vmap of program \"{}\": it writes {}, which all of the batch share; give it a batch axis",
                                              f_.name, q.name));
      const Type t = type(q.value);
      r_.map(q.value, t.is_array() ? b_.array_parameter(t, q.role, q.name) : b_.scalar_parameter(t.dtype(), q.name));
    }
    ops(f_.body);
    Values out;
    for (std::size_t k = 0; k < end.size(); ++k) out.push_back(get(end[k], k >= written.size() || many_[end[k].index]));
    b_.loc = f_.loc;
    b_.finish(out);
  }

 private:
  const Function& f_;
  const std::int64_t n_;
  Builder& b_;
  Rewriter r_;
  std::vector<char> many_;  // by value: has the batch axis
  bool changed_ = false;
  std::map<std::pair<const Function*, std::vector<BatchAxis>>, std::shared_ptr<const Function>> kernels_;
  std::map<std::string, std::shared_ptr<const Function>> each_;  // by their text

  bool many(ValueId v) const { return many_[v.index] != 0; }
  bool any(const Values& list) const {
    for (ValueId v : list)
      if (many(v)) return true;
    return false;
  }
  void mark(ValueId v, bool yes) {
    if (!yes || many(v)) return;
    many_[v.index] = 1;
    changed_ = true;
  }
  // What becomes another value, in a loop or an if. A sequence cannot get its axis on the way, as arrays and numbers do.
  void both(ValueId from, ValueId to) {
    mark(to, many(from));
    if (f_.type(from).is_seq()) mark(from, many(to));
  }
  [[noreturn]] void refuse(Loc at, const std::string& text) const {
    throw KernelError(at ? at : f_.loc, fmt::format("vmap of program \"{}\": {}", f_.name, text));
  }

  // ---- which values have the axis
  void spread(RegionId r) {
    for (OpId id : f_[r].ops) {
      const Op& op = f_[id];
      switch (op.code) {
        case Opcode::if_:
          for (RegionId arm : op.regions) {
            spread(arm);
            for (std::size_t k = 0; k < op.results.size(); ++k) both(f_.terminator(arm).operands[k], op.results[k]);
          }
          break;
        case Opcode::for_:
        case Opcode::while_: spread_loop(op); break;
        case Opcode::seq_get:
          mark(op.results[0], many(op.operands[0]) || (f_.type(op.operands[0]).is_array() && many(op.operands[1])));
          if (f_.type(op.results[0]).is_seq()) mark(op.operands[0], many(op.results[0]));
          break;
        case Opcode::seq_set:
        case Opcode::seq_add_at:
          mark(op.results[0], many(op.operands[2]));
          both(op.operands[0], op.results[0]);
          break;
        case Opcode::yield:
        case Opcode::zeros:
        case Opcode::seq_len: break;
        default: {
          const bool yes = any(op.operands) || any(op.results);
          for (ValueId v : op.results) mark(v, yes);
          if (!op.results.empty() && f_.type(op.results[0]).is_seq())
            for (ValueId v : op.operands)
              if (f_.type(v).is_seq()) mark(v, yes);
        }
      }
    }
  }
  void spread_loop(const Op& op) {
    const bool counts = op.code == Opcode::for_;
    const std::size_t carries = f_.carries(op), first = counts ? 2 : 0;
    for (RegionId r : op.regions) spread(r);
    for (std::size_t k = 0; k < carries; ++k) {
      both(op.operands[first + k], op.results[k]);
      for (RegionId r : op.regions) {
        const ValueId inside = f_[r].arguments[(counts ? 1 : 0) + k];
        const ValueId yielded = f_.terminator(r).operands[(!counts && r == op.regions[0] ? 1 : 0) + k];
        both(yielded, op.results[k]);
        mark(op.results[k], many(inside));
        mark(inside, many(op.results[k]));
      }
    }
    const Values& y = f_.terminator(op.regions.back()).operands;
    for (std::size_t k = carries; k < y.size(); ++k) {
      mark(op.results[k], many(y[k]));
      if (f_.type(y[k]).is_seq()) mark(y[k], many(op.results[k]));
    }
  }

  // ---- types and values with the axis
  Type with_axis(Type t) const {
    if (t.rank == 3) refuse(b_.loc, "an array of three axes has no room for the axis of the batch");
    if (t.rank < 0) t.rank = 0;
    for (int k = t.rank; k > 0; --k) t.shape[static_cast<std::size_t>(k)] = t.shape[static_cast<std::size_t>(k) - 1];
    t.shape[0] = n_;
    ++t.rank;
    return t;
  }
  Type type(ValueId v) const { return many(v) ? with_axis(f_.type(v)) : f_.type(v); }
  ValueId get(ValueId v, bool axis) {
    const ValueId now = r_(v);
    if (!axis || many(v)) return now;
    if (f_.type(v).is_seq()) throw Bug(b_.loc, "vmap: a sequence without the axis meets one with it\n" + print(f_));
    return expanded(now, b_.function().type(now), with_axis(f_.type(v)), false);
  }
  /// The value of each of the batch in all elements of `to`. `batch`: `from` has a number for each of the batch, else one for all.
  ValueId expanded(ValueId from, const Type& had, const Type& to, bool batch) {
    auto k = std::make_shared<Function>();
    k->kind = Function::Kind::kernel;
    k->name = "expand";
    k->loc = b_.loc;
    k->domain_rank = to.rank;
    Builder b(*k);
    b.loc = b_.loc;
    MemoryId source{};
    ValueId scalar{};
    if (had.is_array()) source = b.memory_parameter(had.element, had.rank, Role::in, "x");
    else scalar = b.scalar_parameter(had.dtype(), "x");
    const LayoutId element = batch ? had.element : to.element;
    const MemoryId target = b.memory_parameter(element, to.rank, Role::out, "y");
    Values at;
    for (int a = 0; a < to.rank; ++a) at.push_back(b.index(a));
    const Values inner = batch ? Values{at[0]} : Values(at.begin() + 1, at.end());
    for (std::size_t l = 0; l < layout_of(element).leaves.size(); ++l)
      b.store(target, at, source.valid() ? b.load(source, inner, static_cast<int>(l)) : scalar, static_cast<int>(l));
    b.finish();
    Type made = to;
    made.element = element;
    Values domain;
    for (int a = 0; a < to.rank; ++a) domain.push_back(b_.i32(static_cast<std::int32_t>(to.shape[static_cast<std::size_t>(a)])));
    return b_.launch(std::move(k), domain, {&from, 1}, {&made, 1})[0];
  }
  /// fx::item of each of the batch: of its array, or at its position.
  ValueId items(const Op& op) {
    const Type& had = f_.type(op.operands[0]);
    const bool own = many(op.operands[0]), moves = many(op.operands[1]);
    Function k = kernel("item");
    Builder b(k);
    b.loc = b_.loc;
    const MemoryId source = b.memory_parameter(had.element, own ? 2 : 1, Role::in, "x");
    const MemoryId places = moves ? b.memory_parameter(DType::i32, 1, Role::in, "i") : MemoryId{};
    const ValueId batch = b.index(0), i = moves ? b.load(places, {&batch, 1}) : b.scalar_parameter(DType::i32, "i");
    const MemoryId target = b.memory_parameter(had.element, 1, Role::out, "y");
    b.store(target, {&batch, 1}, b.load(source, own ? Values{batch, i} : Values{i}));
    return each(std::move(b), op.operands, op.results)[0];
  }
  /// An op on numbers, a call of a function of them, a print or a check, for each of the batch. A launch and no op on arrays: those do not
  /// meet the numbers that all of the batch share.
  void numbers(const Op& op) {
    Function k = kernel(op.code == Opcode::call ? f_.callees[op.ref]->name : std::string(name_of(op.code)));
    Builder b(k);
    b.loc = b_.loc;
    const ValueId batch = b.index(0);
    Op now = op;
    now.operands.clear();
    Values passed;
    for (ValueId v : op.operands) {
      const DType t = f_.type(v).dtype();
      const std::string name(1, static_cast<char>('a' + now.operands.size() % 26));
      if (f_.is_constant(v)) {
        now.operands.push_back(b.constant(t, f_[v].bits));
        continue;
      }
      passed.push_back(v);
      if (many(v)) now.operands.push_back(b.load(b.memory_parameter(t, 1, Role::in, name), {&batch, 1}));
      else now.operands.push_back(b.scalar_parameter(t, name));
    }
    if (op.code == Opcode::call) now.ref = add_callee(k, f_.callees[op.ref]);
    if (op.code == Opcode::print || op.code == Opcode::check) now.ref = add_text(k, f_.texts[op.ref]);
    std::vector<Type> types;
    for (ValueId v : op.results) types.push_back(f_.type(v));
    const OpId made = b.append(std::move(now), types);
    for (std::size_t r = 0; r < types.size(); ++r)
      b.store(b.memory_parameter(types[r].element, 1, Role::out, fmt::format("r{}", r)), {&batch, 1}, k[made].results[r]);
    r_.map(op.results, each(std::move(b), passed, op.results));
  }
  Function kernel(std::string name) const {
    Function k;
    k.kind = Function::Kind::kernel;
    k.name = std::move(name);
    k.loc = b_.loc;
    k.domain_rank = 1;
    return k;
  }
  /// Runs what was built over the batch.
  Values each(Builder b, const Values& operands, const Values& results) {
    b.finish();
    auto& made = each_[print(b.function())];
    if (!made) made = std::make_shared<const Function>(std::move(b.function()));
    const ValueId domain = b_.i32(static_cast<std::int32_t>(n_));
    std::vector<Type> types;
    for (ValueId v : results) types.push_back(type(v));
    return b_.launch(made, {&domain, 1}, r_(operands), types);
  }
  void uniform(ValueId v, Loc at, const char* what) const {
    if (many(v)) refuse(at, fmt::format("{} differs within the batch; share what it is made of, or decide it inside a kernel", what));
  }

  // ---- ops
  void ops(RegionId r) {
    for (OpId id : f_[r].ops) {
      const Op& op = f_[id];
      if (op.code == Opcode::yield) continue;
      const Loc outer = b_.loc;
      b_.loc = op.loc ? op.loc : outer;
      one(op, id);
      b_.loc = outer;
    }
  }
  void one(const Op& op, OpId id) {
    switch (op.code) {
      case Opcode::if_:
      case Opcode::for_:
      case Opcode::while_: return structure(op);
      case Opcode::launch:
        if (any(op.operands) || any(op.results)) return launch(op);
        break;
      case Opcode::call: {
        if (!any(op.operands) && !any(op.results)) break;
        return call(op);
      }
      case Opcode::zeros:
        if (many(op.results[0])) {
          const Type t = type(op.results[0]);
          if (t.is_seq()) uniform(op.operands[0], op.loc, "the length of a sequence");
          r_.map(op.results[0], t.is_seq() ? b_.zeros(t, r_(op.operands[0])) : b_.zero(t));
          return;
        }
        break;
      case Opcode::seq_get:
        if (many(op.results[0]) && f_.type(op.operands[0]).is_array()) return r_.map(op.results[0], items(op));
        uniform(op.operands[1], op.loc, "a position in a sequence");
        if (many(op.results[0])) return r_.map(op.results[0], b_.seq_get(r_(op.operands[0]), r_(op.operands[1])));
        break;
      case Opcode::seq_set:
      case Opcode::seq_add_at: {
        uniform(op.operands[1], op.loc, "a position in a sequence");
        const bool axis = many(op.results[0]);
        const ValueId s = r_(op.operands[0]), i = r_(op.operands[1]), v = get(op.operands[2], axis);
        return r_.map(op.results[0], op.code == Opcode::seq_set ? b_.seq_set(s, i, v) : b_.seq_add_at(s, i, v));
      }
      case Opcode::print:
      case Opcode::check:
        if (any(op.operands)) return numbers(op);
        break;
      default:
        if (any(op.operands)) return elementwise(op);
    }
    r_.copy_op(id);
  }
  // Arrays meet position by position. A condition of all of them may be one for each of the batch: that is spread out.
  void elementwise(const Op& op) {
    if (f_.type(op.results[0]).is_scalar()) return numbers(op);
    const Type result = type(op.results[0]);
    Op now = op;
    now.operands.clear();
    for (ValueId v : op.operands) {
      const bool scalar = f_.type(v).is_scalar();
      if (scalar && result.is_seq()) uniform(v, op.loc, "the condition of a choice between sequences");
      if (!many(v)) now.operands.push_back(scalar ? r_(v) : get(v, true));
      else now.operands.push_back(scalar ? expanded(r_(v), type(v), result, true) : r_(v));
    }
    now.results.clear();
    const OpId made = b_.append(std::move(now), {&result, 1});
    r_.map(op.results, b_.function()[made].results);
  }
  void launch(const Op& op) {
    const Function& k = *f_.callees[op.ref];
    const auto rank = static_cast<std::size_t>(k.domain_rank);
    Values domain{b_.i32(static_cast<std::int32_t>(n_))}, arguments;
    for (std::size_t a = 0; a < rank; ++a) {
      uniform(op.operands[a], op.loc, "the domain of a launch");
      domain.push_back(r_(op.operands[a]));
    }
    std::vector<BatchAxis> axes;
    std::vector<Type> outs;
    std::size_t next = rank, result = 0;
    for (const Parameter& p : k.parameters) {
      const bool written = p.kind == Parameter::Kind::memory && p.role != Role::in;
      const bool passed = !(written && p.role == Role::out);
      const bool axis = written || (passed && many(op.operands[next]));
      axes.push_back(axis ? BatchAxis::leading : BatchAxis::shared);
      if (passed) arguments.push_back(get(op.operands[next++], axis));
      else outs.push_back(type(op.results[result]));
      result += written;
    }
    auto& batched = kernels_[{&k, axes}];
    if (!batched) batched = std::make_shared<const Function>(batched_kernel(k, axes));
    r_.map(op.results, b_.launch(batched, domain, arguments, outs));
  }
  void call(const Op& op) {
    const Function& g = *f_.callees[op.ref];
    if (g.kind != Function::Kind::program) return numbers(op);
    std::vector<char> leading;
    Values arguments;
    std::size_t next = 0;
    for (const Parameter& p : g.parameters) {
      const bool written = p.kind == Parameter::Kind::array && p.role != Role::in;
      const bool passed = !(written && p.role == Role::out), axis = written || (passed && many(op.operands[next]));
      leading.push_back(axis);
      if (passed) arguments.push_back(get(op.operands[next++], axis));
    }
    auto made = std::make_shared<const Function>(batched_program(g, leading, n_));
    r_.map(op.results, b_.call(made, arguments));
  }
  void structure(const Op& op) {
    Op now = op;
    now.operands.clear();
    now.regions.clear();
    now.results.clear();
    const bool loop = op.code != Opcode::if_, counts = op.code == Opcode::for_;
    const std::size_t first = counts ? 2 : loop ? 0 : 1;
    for (std::size_t k = 0; k < first; ++k) {
      uniform(op.operands[k], op.loc, counts ? "the trip count of a loop" : "the condition of a branch");
      now.operands.push_back(r_(op.operands[k]));
    }
    for (std::size_t k = first; k < op.operands.size(); ++k) now.operands.push_back(get(op.operands[k], many(op.results[k - first])));
    for (RegionId r : op.regions) {
      std::vector<Type> types;
      for (ValueId v : f_[r].arguments) types.push_back(type(v));
      const RegionId made = b_.open(types);
      r_.map(f_[r].arguments, Values(b_.function()[made].arguments));
      ops(r);
      const Values& y = f_.terminator(r).operands;
      const bool test = op.code == Opcode::while_ && r == op.regions[0];
      Values out;
      for (std::size_t k = 0; k < y.size(); ++k) {
        if (test && k == 0) {
          uniform(y[0], op.loc, "the condition of a loop");
          out.push_back(r_(y[0]));
        } else {
          const ValueId result = op.results[k - (test ? 1 : 0)];
          out.push_back(get(y[k], many(result)));
        }
      }
      b_.close(out);
      now.regions.push_back(made);
    }
    std::vector<Type> types;
    for (ValueId v : op.results) types.push_back(type(v));
    const OpId made = b_.append(std::move(now), types);
    r_.map(op.results, b_.function()[made].results);
  }
};

}  // namespace

Function batched_program(const Function& f, const std::vector<char>& leading, std::int64_t n) {
  // A derivative of the batch would go through the body instead.
  if (f.rules != Rules{})
    throw KernelError(f.loc,
                      fmt::format("vmap of program \"{}\": it has rules of its own, which have no batch axis; run it in a loop", f.name));
  Function out;
  Builder b(out);
  Batcher(f, n, b).run(leading);
  return out;
}

}  // namespace fluxion
