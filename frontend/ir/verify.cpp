// The rules of the IR, checked. A function that breaks one is ours to mend: the error is a Bug that shows the
// text form with a caret under the op. Runs after each pass in debug builds, so it walks once over vectors.
#include <fmt/format.h>

#include <algorithm>

#include "fluxion/error.h"
#include "fluxion/external_code.h"
#include "text.h"

namespace fluxion {
namespace {

const Type kI32 = DType::i32;
const Type kBool = DType::boolean;

class Verifier {
 public:
  explicit Verifier(const Function& f)
      : f_(f),
        visible_(f.values.size(), false),
        op_seen_(f.ops.size(), false),
        region_seen_(f.regions.size(), false),
        region_open_(f.regions.size(), false) {}

  void run() {
    if (f_.body.index >= f_.regions.size()) fail("the function has no body");
    for (std::size_t v = 0; v < f_.values.size(); ++v)
      if (f_.values[v].kind == Value::Kind::constant) {
        constant(f_.values[v]);
        visible_[v] = true;
      }
    for (std::size_t i = 0; i < f_.parameters.size(); ++i) parameter(i);
    for (const Memory& m : f_.memories) memory(m);
    for (int a = 0; a < 3; ++a)
      need(f_.group[static_cast<std::size_t>(a)] >= 0 &&
               (f_.group[static_cast<std::size_t>(a)] > 0) == (f_.has_groups() && a < f_.domain_rank),
           "a group has an extent for each axis of the domain");
    const Region& body = f_[f_.body];
    const bool kernel = f_.kind == Function::Kind::kernel;
    if (kernel && (f_.domain_rank < 1 || f_.domain_rank > 3)) fail("a kernel runs over 1 to 3 axes");
    const auto rank = kernel ? static_cast<std::size_t>(f_.domain_rank) : 0;
    if (!body.arguments.empty() && body.arguments.size() != rank) fail("the body's arguments are not the launch's axes");
    for (ValueId v : body.arguments)
      if (v.index >= f_.values.size() || f_.type(v) != kI32) fail("a launch index is i32");
    region(f_.body);
    result_types();
    if (f_.external) external(*f_.external);
  }

 private:
  const Function& f_;
  std::vector<bool> visible_, op_seen_, region_seen_, region_open_;
  OpId at_{};

  [[noreturn]] void fail(std::string_view what) const {
    std::vector<std::size_t> op_at;
    std::string text = print_mapped(f_, {}, op_at);
    const std::string head = fmt::format("the IR of \"{}\" breaks a rule: {}", f_.name, what);
    if (!at_.valid()) throw Bug(f_.loc, head + "\n" + text);
    const Loc loc = f_[at_].loc;
    if (op_at[at_.index] != std::string::npos) {
      const std::size_t from = op_at[at_.index];
      const std::size_t end = std::min(text.find('\n', from), text.size());
      const std::size_t indent = std::min(text.find_first_not_of(' ', from), end) - from;
      const std::size_t width = std::max<std::size_t>(1, end - from - std::min(indent, end - from));
      text.insert(std::min(end + 1, text.size()), std::string(indent, ' ') + std::string(width, '^') + " " + std::string(what) + "\n");
    }
    throw Bug(loc, head + "\n" + text);
  }
  void external(const External& e) const {
    const Values& out = f_.terminator(f_.body).operands;
    bool same = f_.kind == (e.launch ? Function::Kind::kernel : Function::Kind::fn) && out.size() == e.gives.size();
    std::vector<DType> takes;
    for (const Parameter& p : f_.parameters)
      if (p.kind == Parameter::Kind::scalar) takes.push_back(f_.type(p.value).dtype());
    same &= takes == e.takes;
    for (std::size_t k = 0; same && k < e.gives.size(); ++k) same = f_.type(out[k]) == Type(e.gives[k]);
    if (!same) fail("the host function that an external stands for has another signature");
  }
  void need(bool ok, const char* what) const {
    if (!ok) fail(what);
  }

  void constant(const Value& v) const {
    need(v.type.is_scalar() && v.type.element.is_scalar(), "a constant is a scalar");
    const DType t = v.type.dtype();
    const int width = is_bool(t) ? 1 : size_of(t) * 8;
    if (width < 64 && (v.bits >> width) != 0)
      fail(fmt::format("a constant of type {} has bits {:#x} beyond its width", name_of(t), v.bits));
  }
  void parameter(std::size_t i) {
    const Parameter& p = f_.parameters[i];
    if (p.kind == Parameter::Kind::memory) {
      need(f_.kind != Function::Kind::fn, "a fn has no memory parameters");
      need(p.memory.index < f_.memories.size(), "a parameter names a memory that is not there");
      need(f_[p.memory].space == Memory::Space::parameter && f_[p.memory].role == p.role,
           "a parameter and its memory differ in role or space");
      return;
    }
    need(p.value.index < f_.values.size(), "a parameter names a value that is not there");
    const Value& v = f_[p.value];
    need(v.kind == Value::Kind::parameter && v.owner == i, "a parameter's value belongs to something else");
    visible_[p.value.index] = true;
    if (p.kind == Parameter::Kind::scalar) {
      need(v.type.is_scalar() && v.type.element.is_scalar(), "a scalar parameter has another type");
      need(p.role == Role::in, "a scalar parameter is in");
    } else {
      need(f_.kind == Function::Kind::program && v.type.is_array(), "only programs have array parameters");
    }
  }
  void memory(const Memory& m) const {
    if (m.space == Memory::Space::buffer) {
      need(f_.kind == Function::Kind::program && m.rank >= 0 && m.rank <= 3, "a buffer belongs to a program and has 0 to 3 axes");
      need(m.scope.index < f_.regions.size(), "a buffer has no scope");
      return;
    }
    need(m.rank >= 1 && m.rank <= 3, "a memory has 1 to 3 axes");
    if (m.space == Memory::Space::parameter) return;
    need(m.space != Memory::Space::shared || (f_.has_groups() && m.scope == f_.body),
         "a shared memory belongs to the body of a kernel with groups");
    need(m.rank == 1 && m.length > 0, "a local memory has one axis and at least one element");
    need(m.scope.index < f_.regions.size(), "a local memory has no scope");
    need(m.role == Role::inout, "a local memory is inout");
  }
  void result_types() const {
    const Values& out = f_.terminator(f_.body).operands;
    switch (f_.kind) {
      case Function::Kind::kernel: need(out.empty(), "a kernel yields nothing"); break;
      case Function::Kind::fn:
        for (ValueId v : out) need(f_.type(v).is_scalar(), "a fn yields scalars");
        break;
      case Function::Kind::program: {
        std::size_t next = 0;
        for (const Parameter& p : f_.parameters) {
          if (p.kind != Parameter::Kind::array || p.role == Role::in) continue;
          need(next < out.size(), "a program yields the new version of each array that is not in");
          need(f_.type(out[next]) == f_.type(p.value), "a new version differs from its parameter in type");
          ++next;
        }
      }
    }
  }

  void define(ValueId v, Value::Kind kind, std::uint32_t owner, std::size_t slot) {
    need(v.index < f_.values.size(), "a result names a value that is not there");
    const Value& x = f_[v];
    need(x.kind == kind && x.owner == owner && x.slot == slot, "a value does not know where it comes from");
    need(!visible_[v.index], "a value is defined twice");
    visible_[v.index] = true;
  }
  void region(RegionId r) {
    const OpId outer = at_;
    need(r.index < f_.regions.size(), "an op names a region that is not there");
    need(!region_seen_[r.index], "a region belongs to two ops");
    region_seen_[r.index] = region_open_[r.index] = true;
    const Region& reg = f_[r];
    for (std::size_t i = 0; i < reg.arguments.size(); ++i) define(reg.arguments[i], Value::Kind::argument, r.index, i);
    need(!reg.ops.empty() && reg.ops.back().index < f_.ops.size() && f_.terminator(r).code == Opcode::yield, "a region ends with a yield");
    for (OpId o : reg.ops) {
      need(o.index < f_.ops.size() && !op_seen_[o.index], "an op is in two places");
      op_seen_[o.index] = true;
      at_ = o;
      if (f_[o].code == Opcode::yield && o != reg.ops.back()) fail("a yield before the end of its region");
      op(o);
    }
    // What a region defines is not seen outside.
    for (OpId o : reg.ops)
      for (ValueId v : f_[o].results) visible_[v.index] = false;
    for (ValueId v : reg.arguments) visible_[v.index] = false;
    region_open_[r.index] = false;
    at_ = outer;
  }
  void op(OpId id) {
    const Op& o = f_[id];
    for (ValueId v : o.operands) {
      need(v.index < f_.values.size(), "an operand names a value that is not there");
      need(visible_[v.index], "an operand is used where its definition does not reach");
    }
    for (RegionId r : o.regions) region(r);
    for (std::size_t i = 0; i < o.results.size(); ++i) define(o.results[i], Value::Kind::result, id.index, i);
    types(o);
  }

  // ---- types
  const Type& in(const Op& o, std::size_t i) const { return f_.type(o.operands[i]); }
  const Type& out(const Op& o, std::size_t i) const { return f_.type(o.results[i]); }
  void counts(const Op& o, std::size_t operands, std::size_t results, std::size_t regions = 0) const {
    if (o.operands.size() == operands && o.results.size() == results && o.regions.size() == regions) return;
    fail(fmt::format("{} has {} operands, {} results and {} regions; expected {}, {} and {}", name_of(o.code), o.operands.size(),
                     o.results.size(), o.regions.size(), operands, results, regions));
  }
  void same(const Type& is, const Type& should, std::string_view what) const {
    if (is != should) fail(fmt::format("{} has type {}, expected {}", what, to_string(is), to_string(should)));
  }
  static Type with(Type t, DType d) {
    t.element = d;
    return t;
  }
  void equal_types(std::span<const ValueId> vs, std::size_t from, std::span<const ValueId> like, std::string_view what) const {
    for (std::size_t i = 0; i < like.size(); ++i) same(f_.type(vs[from + i]), f_.type(like[i]), what);
  }

  void elementwise(const Op& o) const {
    const OpInfo& row = info(o.code);
    counts(o, row.arity, 1);
    const bool selects = o.code == Opcode::select;
    const Type& t = in(o, selects ? 1 : 0);
    need(t.element.is_scalar() || t.rank > 0, "an elementwise op works on scalars or arrays");
    // Leaf by leaf on arrays of structs; those that the op does not take stay.
    if (t.element.is_scalar() && !(t.rank > 0 && is_half(t.dtype())) && !accepts(row.operands, t.dtype()))
      fail(fmt::format("{} does not take {}", row.name, name_of(t.dtype())));
    if (selects && in(o, 0) != kBool) same(in(o, 0), with(t, DType::boolean), "the condition");
    for (std::size_t i = selects ? 2 : 1; i < o.operands.size(); ++i) same(in(o, i), t, "an operand");
    same(out(o, 0), row.flags & flag::predicate ? with(t, DType::boolean) : t, "the result");
  }
  const Memory& access(const Op& o, std::size_t values) const {
    need(o.memory.index < f_.memories.size(), "a memory that is not there");
    const Memory& m = f_[o.memory];
    need(m.space == Memory::Space::parameter || region_open_[m.scope.index], "a local memory is used outside its scope");
    const int indices = m.rank + m.records;  // a record comes first
    counts(o, static_cast<std::size_t>(indices) + values, o.results.size());
    for (int a = 0; a < indices; ++a) same(in(o, a), kI32, "an index");
    need(o.leaf < layout_of(m.element).leaves.size(), "a leaf that the element does not have");
    return m;
  }
  static Type leaf(const Memory& m, const Op& o) { return layout_of(m.element).leaves[o.leaf].dtype; }
  void loop_yields(const Op& o, const Op& yield, std::size_t carries, std::size_t results) const {
    // Results are the carries, then a seq for each collected value (then the trips of a while).
    if (yield.operands.size() < carries || results != yield.operands.size())
      fail(fmt::format("the body yields {} values to {} carries and {} seqs", yield.operands.size(), carries, results - carries));
    for (std::size_t i = carries; i < results; ++i) same(out(o, i), f_.type(yield.operands[i]).as_seq(), "a collected seq");
  }
  void types(const Op& o) const {
    if (is_elementwise(o.code)) return elementwise(o);
    switch (o.code) {
      case Opcode::convert:
        counts(o, 1, 1);
        need(in(o, 0).element.is_scalar() && out(o, 0).element.is_scalar(), "convert works on scalar elements");
        same(out(o, 0), with(in(o, 0), out(o, 0).dtype()), "the result");
        break;
      case Opcode::bitcast:
        counts(o, 1, 1);
        need(in(o, 0).element.is_scalar() && out(o, 0).element.is_scalar(), "bitcast works on scalar elements");
        same(out(o, 0), with(in(o, 0), out(o, 0).dtype()), "the result");
        need(size_of(in(o, 0).dtype()) == size_of(out(o, 0).dtype()), "bitcast keeps the size");
        need(is_bool(in(o, 0).dtype()) == is_bool(out(o, 0).dtype()), "bitcast does not take bool");
        break;
      case Opcode::load: {
        const Memory& m = access(o, 0);
        need(o.results.size() == 1, "a load has one result");
        need(m.role != Role::accum, "an accum memory is only accumulated to");
        same(out(o, 0), leaf(m, o), "the result");
        break;
      }
      case Opcode::store:
      case Opcode::accumulate: {
        const Memory& m = access(o, 1);
        need(o.results.empty(), "a write has no result");
        need(m.role != Role::in, "an in memory is not written");
        need(o.code == Opcode::accumulate || m.role != Role::accum, "an accum memory is only accumulated to");
        need(o.code == Opcode::store || !is_bool(leaf(m, o).dtype()), "bools are not accumulated");
        same(f_.type(o.operands.back()), leaf(m, o), "the value");
        break;
      }
      case Opcode::atomic: {
        need(o.kind < kAtomicCount, "a kind of atomic that is not there");
        const auto kind = static_cast<Atomic>(o.kind);
        const Memory& m = access(o, kind == Atomic::compare_exchange ? 2 : 1);
        const Type t = leaf(m, o);
        need(o.results.size() == 1 && m.role == Role::inout, "an atomic works on an inout memory and gives the old number");
        need(!is_half(t.dtype()) && !is_bool(t.dtype()), "an atomic works on numbers of 8 to 64 bits");
        need(kind < Atomic::bit_and || kind > Atomic::bit_xor || !is_float(t.dtype()), "a bitwise atomic works on integers");
        same(f_.type(o.operands.back()), t, "the value");
        same(f_.type(o.operands[o.operands.size() - 1 - (kind == Atomic::compare_exchange)]), t, "the expected value");
        same(out(o, 0), t, "the result");
        break;
      }
      case Opcode::group_index:
        counts(o, 0, 1);
        need(f_.has_groups() && o.leaf < f_.domain_rank, "an axis that the groups do not have");
        same(out(o, 0), kI32, "the result");
        break;
      case Opcode::barrier:
        counts(o, 0, 0);
        need(f_.has_groups(), "a barrier in a kernel without groups");
        break;
      case Opcode::subgroup: {
        need(f_.has_groups(), "a subgroup op in a kernel without groups");
        need(o.kind < kSubgroupCount, "a kind of subgroup op that is not there");
        const auto kind = static_cast<Subgroup>(o.kind);
        const bool lane = kind == Subgroup::shuffle || kind == Subgroup::scatter_add;
        counts(o, lane ? 2 : 1, 1);
        need(in(o, 0).is_scalar() && (kind != Subgroup::add || !is_bool(in(o, 0).dtype())), "a subgroup op works on scalars");
        need(kind < Subgroup::bit_and || kind > Subgroup::bit_xor || !is_float(in(o, 0).dtype()),
             "a bitwise subgroup op works on integers");
        if (lane) same(in(o, 1), kI32, "the lane");
        same(out(o, 0), in(o, 0), "the result");
        break;
      }
      case Opcode::call: call(o); break;
      case Opcode::extent:
        counts(o, 0, 1);
        need(o.memory.index < f_.memories.size() && o.leaf < f_[o.memory].rank, "an axis that the memory does not have");
        same(out(o, 0), kI32, "the result");
        break;
      case Opcode::domain:
        counts(o, 0, 1);
        need(f_.kind == Function::Kind::kernel && o.leaf < f_.domain_rank, "an axis that the launch does not have");
        same(out(o, 0), kI32, "the result");
        break;
      case Opcode::if_:
        counts(o, 1, o.results.size(), 2);
        same(in(o, 0), kBool, "the condition");
        for (RegionId r : o.regions) {
          need(f_[r].arguments.empty(), "an arm has no arguments");
          const Values& y = f_.terminator(r).operands;
          if (y.size() != o.results.size()) fail(fmt::format("an arm yields {} values, the if has {} results", y.size(), o.results.size()));
          equal_types(y, 0, o.results, "what an arm yields");
        }
        break;
      case Opcode::for_: {
        need(o.operands.size() >= 2 && o.regions.size() == 1, "a for has two bounds and one region");
        const std::size_t n = f_.carries(o);
        const std::span<const ValueId> init = std::span(o.operands).subspan(2);
        same(in(o, 0), kI32, "the lower bound");
        same(in(o, 1), kI32, "the upper bound");
        const Values& args = f_[o.regions[0]].arguments;
        need(args.size() == n + 1, "a for's body takes the counter and the carries");
        same(f_.type(args[0]), kI32, "the counter");
        equal_types(args, 1, init, "a carry inside the loop");
        const Op& yield = f_.terminator(o.regions[0]);
        loop_yields(o, yield, n, o.results.size());
        equal_types(yield.operands, 0, init, "a carry at the end of the body");
        equal_types(o.results, 0, init, "a carry after the loop");
        break;
      }
      case Opcode::while_: {
        const std::size_t n = o.operands.size();
        need(o.regions.size() == 2 && o.results.size() >= n + 1, "a while has two regions, and a trip count last");
        for (RegionId r : o.regions) {
          need(f_[r].arguments.size() == n, "a while's regions take the carries");
          equal_types(f_[r].arguments, 0, o.operands, "a carry inside the loop");
        }
        const Values& cond = f_.terminator(o.regions[0]).operands;
        need(cond.size() == n + 1, "a while's condition yields a bool and the carries");
        same(f_.type(cond[0]), kBool, "the condition");
        equal_types(cond, 1, o.operands, "a carry that the condition yields");
        const Op& yield = f_.terminator(o.regions[1]);
        loop_yields(o, yield, n, o.results.size() - 1);
        equal_types(yield.operands, 0, o.operands, "a carry at the end of the body");
        equal_types(o.results, 0, o.operands, "a carry after the loop");
        same(f_.type(o.results.back()), kI32, "the trip count");
        break;
      }
      case Opcode::yield: counts(o, o.operands.size(), 0); break;
      case Opcode::seq_get:
        counts(o, 2, 1);
        same(in(o, 1), kI32, "the position");
        if (in(o, 0).is_array()) {
          need(in(o, 0).rank == 1 && in(o, 0).element.is_scalar(), "seq_get takes an array of one axis and scalar elements");
          same(out(o, 0), in(o, 0).dtype(), "the result");
          break;
        }
        need(in(o, 0).is_seq(), "seq_get takes a seq");
        same(out(o, 0), in(o, 0).item(), "the result");
        break;
      case Opcode::seq_set:
      case Opcode::seq_add_at:
        counts(o, 3, 1);
        need(in(o, 0).is_seq(), "takes a seq");
        same(in(o, 1), kI32, "the position");
        same(in(o, 2), in(o, 0).item(), "the item");
        same(out(o, 0), in(o, 0), "the result");
        break;
      case Opcode::seq_len:
        counts(o, 1, 1);
        need(in(o, 0).is_seq(), "seq_len takes a seq");
        same(out(o, 0), kI32, "the result");
        break;
      case Opcode::zeros:
        counts(o, o.operands.size(), 1);
        need(o.operands.size() == (out(o, 0).is_seq() ? 1u : 0u), "zeros of a seq takes a length, of others nothing");
        if (out(o, 0).is_seq()) same(in(o, 0), kI32, "the length");
        break;
      case Opcode::launch: launch(o); break;
      case Opcode::print:
      case Opcode::check:
        counts(o, o.operands.size(), 0);
        need(o.ref < f_.texts.size(), "a text that is not there");
        for (ValueId v : o.operands) need(f_.type(v).is_scalar(), "print and check take scalars");
        if (o.code == Opcode::check) {
          need(!o.operands.empty(), "check takes a condition");
          same(in(o, 0), kBool, "the condition");
        }
        break;
      default:
        if (!is_core(o.code) && o.code <= Opcode::run) break;  // what makes these also checks them
        fail("an opcode that is not known");
    }
  }
  void call(const Op& o) const {
    need(o.ref < f_.callees.size() && f_.callees[o.ref], "a function that is not there");
    const Function& g = *f_.callees[o.ref];
    need(g.kind == Function::Kind::fn || (g.kind == Function::Kind::program && f_.kind == Function::Kind::program),
         "a call takes a fn, or in a program a program");
    std::size_t next = 0;
    for (const Parameter& p : g.parameters) {
      if (p.role == Role::out) continue;
      need(next < o.operands.size(), "a call lacks operands");
      same(in(o, next++), g.type(p.value), "an argument");
    }
    const Values& yields = g.terminator(g.body).operands;
    counts(o, next, yields.size());
    for (std::size_t i = 0; i < yields.size(); ++i) same(out(o, i), g.type(yields[i]), "a result");
  }
  void launch(const Op& o) const {
    need(f_.kind == Function::Kind::program, "only programs launch");
    need(o.ref < f_.callees.size() && f_.callees[o.ref], "a kernel that is not there");
    const Function& k = *f_.callees[o.ref];
    need(k.kind == Function::Kind::kernel, "a launch takes a kernel");
    std::size_t next = 0, result = 0;
    for (int a = 0; a < k.domain_rank; ++a) {
      need(next < o.operands.size(), "a launch lacks operands");
      same(in(o, next++), kI32, "a domain extent");
    }
    for (const Parameter& p : k.parameters) {
      if (p.kind == Parameter::Kind::scalar) {
        need(next < o.operands.size(), "a launch lacks operands");
        same(in(o, next++), k.type(p.value), "a scalar argument");
        continue;
      }
      const Memory& m = k[p.memory];
      if (p.role != Role::out) need(next < o.operands.size(), "a launch lacks operands");
      if (p.role != Role::in) need(result < o.results.size(), "a launch lacks results");
      const Type& t = p.role == Role::out ? out(o, result) : in(o, next++);
      if (!t.is_array() || t.element != m.element || t.rank != m.rank)
        fail(fmt::format("\"{}\" takes an array of {} with {} axes, got {}", p.name, to_string(m.element), m.rank, to_string(t)));
      if (p.role != Role::in) same(out(o, result++), t, "a new version");
    }
    counts(o, next, result);
  }
};

}  // namespace

void verify(const Function& f) { Verifier(f).run(); }

}  // namespace fluxion
