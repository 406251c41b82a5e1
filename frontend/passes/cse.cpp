// cse -- one of several equal pure ops, where it dominates the others; loads are equal until a write may have
// changed what they read. A hash table with scopes: what an arm or a body computes is forgotten at its end.
// Sequences are left alone: their updates are in place because nothing else uses the old one.
#include <algorithm>
#include <array>

#include "effects.h"
#include "fluxion/mutants.h"
#include "fluxion/passes.h"
#include "fluxion/rewrite.h"

namespace fluxion {
namespace {

class Cse {
 public:
  explicit Cse(const Function& f) : f_(f), effects_(f), version_(f.memories.size()) {
    std::size_t size = 16;
    while (size < 2 * f.ops.size()) size *= 2;
    heads_.assign(size, ~0u);
  }
  bool operator()(Rewriter& rw, OpId id) {
    const Op& op = f_[id];
    if (!op.regions.empty()) {
      scoped(rw, id);
      return true;
    }
    const bool load = op.code == Opcode::load;
    if (load || (is_pure(op.code) && !f_.type(op.results[0]).is_seq())) {
      const Values x = rw(op.operands);
      const Entry key = make(op, x, load ? version_[op.memory.index] : 0, f_.type(op.results[0]));
      if (const ValueId v = find(rw, key); v.valid()) {
        rw.map(op.results[0], v);
        return true;
      }
      Op now = op;
      now.operands = x;
      now.memory = rw(op.memory);
      const Type t = f_.type(op.results[0]);
      const OpId copy = rw.to.append(std::move(now), {&t, 1});
      rw.map(op.results, rw.to.function()[copy].results);
      insert(key, rw(op.results[0]));
      return true;
    }
    if ((op.code == Opcode::store && planted(testing::Mutant::cse_over_store)) ||
        (op.code == Opcode::accumulate && planted(testing::Mutant::cse_over_accumulate)))
      return false;
    if (op.code == Opcode::call && !effects_.effect[id.index]) {
      call(rw, op);
      return true;
    }
    written(effects_.writes[id.index]);
    return false;
  }

 private:
  /// Calls are few and have any number of operands and results: a list does.
  struct Call {
    const Function* callee;
    std::vector<std::array<std::uint64_t, 3>> operands;
    Values results;
  };
  std::vector<Call> calls_;
  static bool same_results(const Function& f, const Function& g) {
    const auto types = [](const Function& of) {
      std::vector<Type> out;
      for (ValueId v : of.terminator(of.body).operands) out.push_back(of.type(v));
      return out;
    };
    return types(f) == types(g);
  }
  void call(Rewriter& rw, const Op& op) {
    Call key{f_.callees[op.ref].get(), {}, {}};
    const Values x = rw(op.operands);
    for (ValueId v : x) {
      const Value& value = (*to_)[v];
      const bool constant = value.kind == Value::Kind::constant;
      key.operands.push_back({constant ? ~0u : v.index, constant ? value.type.element.index + 1u : 0u, constant ? value.bits : 0});
    }
    for (const Call& c : calls_)
      if ((c.callee == key.callee || (planted(testing::Mutant::cse_callees) && same_results(*c.callee, *key.callee))) &&
          c.operands == key.operands)
        return rw.map(op.results, c.results);
    rw.map(op.results, rw.to.call(f_.callees[op.ref], x));
    key.results = rw(op.results);
    calls_.push_back(std::move(key));
  }
  struct Entry {
    std::size_t hash = 0;
    Opcode code{};
    std::uint16_t leaf = 0;
    MemoryId memory{};
    std::uint64_t version = 0;
    Type type;
    std::uint32_t key[4][2] = {};  // operands: value, or a constant's bits below
    std::uint64_t bits[4] = {};
    std::size_t count = 0;
    ValueId value{};
    std::uint32_t next = ~0u;
  };
  const Function& f_;
  const Effects effects_;
  std::vector<std::uint64_t> version_;
  std::uint64_t versions_ = 0;
  std::vector<std::uint32_t> heads_;
  std::vector<Entry> entries_;
  const Function* to_ = nullptr;

  void written(MemorySet set) {
    if (!set) return;
    for (std::uint32_t m = 0; m < version_.size(); ++m)
      if (set & set_of({m})) version_[m] = ++versions_;
  }
  Entry make(const Op& op, const Values& x, std::uint64_t version, const Type& type) const;
  ValueId find(const Rewriter&, const Entry& key) const {
    for (std::uint32_t e = heads_[key.hash & (heads_.size() - 1)]; e != ~0u; e = entries_[e].next) {
      const Entry& is = entries_[e];
      if (is.hash == key.hash && is.code == key.code && is.leaf == key.leaf && is.memory == key.memory && is.version == key.version &&
          is.count == key.count && is.type == key.type && std::equal(&is.key[0][0], &is.key[0][0] + 8, &key.key[0][0]) &&
          std::equal(is.bits, is.bits + 4, key.bits))
        return is.value;
    }
    return {};
  }
  void insert(Entry entry, ValueId value) {
    std::uint32_t& head = heads_[entry.hash & (heads_.size() - 1)];
    entry.value = value;
    entry.next = head;
    head = static_cast<std::uint32_t>(entries_.size());
    entries_.push_back(entry);
  }
  void leave(std::size_t size) {
    while (entries_.size() > size) {
      heads_[entries_.back().hash & (heads_.size() - 1)] = entries_.back().next;
      entries_.pop_back();
    }
  }
  void scoped(Rewriter& rw, OpId id) {
    const Op& op = f_[id];
    const bool loop = op.code != Opcode::if_;
    Op now = op;
    now.operands = rw(op.operands);
    now.regions.clear();
    for (RegionId r : op.regions) {
      // A round may read what an earlier one wrote; an arm does not see the other.
      const std::vector<std::uint64_t> before = version_;
      if (loop && !planted(testing::Mutant::cse_into_loop)) written(effects_.writes[id.index]);
      const std::size_t size = entries_.size(), calls = calls_.size();
      now.regions.push_back(rw.copy_region(r));
      leave(size);
      calls_.erase(calls_.begin() + static_cast<std::ptrdiff_t>(calls), calls_.end());
      if (!loop) version_ = before;
    }
    if (!planted(testing::Mutant::cse_over_regions)) written(effects_.writes[id.index]);
    std::vector<Type> types;
    for (ValueId v : op.results) types.push_back(f_.type(v));
    const OpId copy = rw.to.append(std::move(now), types);
    rw.map(op.results, rw.to.function()[copy].results);
  }

 public:
  void target(const Function& to) { to_ = &to; }
};

Cse::Entry Cse::make(const Op& op, const Values& x, std::uint64_t version, const Type& type) const {
  Entry e;
  e.code = op.code;
  e.leaf = planted(testing::Mutant::cse_leaves) ? std::uint16_t{0} : op.leaf;
  e.memory = op.memory;
  e.version = version;
  e.type = type;
  e.count = x.size();
  std::size_t h = static_cast<std::size_t>(op.code) * 0x9e3779b97f4a7c15u + e.leaf + op.memory.index * 31u + version * 1009u;
  const auto mix = [&](std::uint64_t v) { h = (h ^ v) * 0x9e3779b97f4a7c15u, h ^= h >> 29; };
  for (std::size_t i = 0; i < x.size() && i < 4; ++i) {
    // Two constants of equal type and bits are one, whatever their ids.
    const Value& v = (*to_)[x[i]];
    const bool constant = v.kind == Value::Kind::constant;
    e.key[i][0] = constant ? ~0u : x[i].index;
    e.key[i][1] = constant ? v.type.element.index + 1u : 0u;
    e.bits[i] = constant ? v.bits : 0;
  }
  if ((info(op.code).flags & flag::commutes || (is_elementwise(op.code) && planted(testing::Mutant::cse_commutes))) && x.size() == 2) {
    const auto order = [&](int i) { return std::tuple(e.key[i][0], e.key[i][1], e.bits[i]); };
    if (order(1) < order(0)) {
      std::swap(e.key[0], e.key[1]);
      std::swap(e.bits[0], e.bits[1]);
    }
  }
  for (std::size_t i = 0; i < 4; ++i) mix(e.key[i][0] + (std::uint64_t{e.key[i][1]} << 32)), mix(e.bits[i]);
  e.hash = h;
  return e;
}

}  // namespace

Function cse(const Function& f) {
  Function out;
  Builder b(out);
  Rewriter r(f, b);
  Cse pass(f);
  pass.target(out);
  r.hook = std::ref(pass);
  r.copy_signature();
  r.copy_ops(f.body);
  b.loc = f.terminator(f.body).loc;
  b.finish(r(f.terminator(f.body).operands));
  return out;
}

}  // namespace fluxion
