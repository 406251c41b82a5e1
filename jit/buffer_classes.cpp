// Coalescing: every array value starts alone; pairs that would need a copy between them are joined when their
// lives do not meet, those in the deepest loops first; what is left and does not meet shares memory too.
// (Chaitin's aggressive coalescing on structured liveness; sequences are handles and are never copied at edges.)
#include "buffer_classes.h"

#include <algorithm>

#include "fluxion/error.h"

namespace fluxion {

BufferClasses::BufferClasses(const Function& f, const Liveness& lives, const std::vector<int>& outputs,
                             const std::map<ValueId, int>& inputs)
    : f_(f), lives_(lives), inputs_(inputs), node_of_(f.values.size(), -1), seq_node_(f.values.size(), -1) {
  make_nodes();
  join_what_must();
  const Op& end = f.terminator(f.body);
  const std::uint32_t last = lives.before(f[f.body].ops.back());
  for (std::size_t k = 0; k < outputs.size(); ++k)
    outputs_.push_back(outputs[k] < 0 ? -1 : add(f.type(end.operands[k]), {{last + 1, last + 2}}, outputs[k]));
  for (const auto& [v, pin] : inputs)
    for (int o : outputs_)
      if (o >= 0 && nodes_[o].pinned == pin) unite(node_of_[v.index], o, true);
  join_what_may(outputs_);
  color();
  make_stacks();
}

int BufferClasses::add(const Type& t, Life life, int pinned) {
  nodes_.push_back({t, std::move(life), pinned, static_cast<int>(nodes_.size()), -1});
  return nodes_.back().parent;
}

int BufferClasses::find(int n) const {
  while (nodes_[n].parent != n) n = nodes_[n].parent = nodes_[nodes_[n].parent].parent;
  return n;
}

bool BufferClasses::unite(int a, int b, bool forced) {
  a = find(a), b = find(b);
  if (a == b) return true;
  Node& x = nodes_[a];
  Node& y = nodes_[b];
  if (!forced && (x.type != y.type || x.rotation >= 0 || y.rotation >= 0 || (x.pinned >= 0 && y.pinned >= 0) || meet(x.life, y.life)))
    return false;
  x.life = join(x.life, y.life);
  x.pinned = std::max(x.pinned, y.pinned);
  y.parent = a;
  y.life.clear();
  return true;
}

void BufferClasses::make_nodes() {
  const auto make = [&](ValueId v) {
    if (f_.type(v).is_array()) node_of_[v.index] = add(f_.type(v), lives_.life(v));
  };
  for (const auto& [v, pin] : inputs_) node_of_[v.index] = add(f_.type(v), lives_.life(v), pin);
  // Region by region, in order, so that numbering does not depend on how the function was built.
  const auto visit = [&](auto&& self, RegionId r) -> void {
    for (ValueId v : f_[r].arguments) make(v);
    for (OpId id : f_[r].ops) {
      const Op& op = f_[id];
      for (RegionId inner : op.regions) self(self, inner);
      for (ValueId v : op.results) {
        if (op.code == Opcode::seq_get) continue;  // a view of the record
        if (op.code == Opcode::zeros) {
          if (f_.type(v).is_array() && lives_.read(v)) node_of_[v.index] = add(f_.type(v), lives_.life_of_reads(v));
        } else {
          make(v);
        }
      }
    }
  };
  visit(visit, f_.body);
}

void BufferClasses::join_what_must() {
  for (std::uint32_t i = 0; i < f_.ops.size(); ++i) {
    const Op& op = f_.ops[i];
    if (!lives_.before(OpId{i})) continue;  // not in the program
    const bool is_for = op.code == Opcode::for_;
    if (!is_for && op.code != Opcode::while_ && op.code != Opcode::if_) continue;
    const std::uint32_t before = lives_.before(OpId{i});
    const auto end = [&](RegionId r) { return lives_.before(f_[r].ops.back()); };
    const std::size_t n = op.code == Opcode::if_ ? op.results.size() : f_.carries(op);
    for (std::size_t k = 0; k < n; ++k) {
      const int node = node_of_[op.results[k].index];
      if (node < 0) continue;
      for (RegionId r : op.regions) {
        if (op.code != Opcode::if_) unite(node, node_of_[f_[r].arguments[k + is_for].index], true);
        // From the copy at the end of the region to where it counts.
        unite(node, add(f_.type(op.results[k]), {{end(r) + 1, end(r) + 2}}), true);
      }
      if (op.code == Opcode::if_) continue;
      unite(node, add(f_.type(op.results[k]), {{before + 1, lives_.start(op.regions[0]) + 1}}), true);
      if (!is_for) {
        const std::uint32_t from = end(op.regions[0]) + 1;
        unite(node, add(f_.type(op.results[k]), {{from, lives_.start(op.regions[1]) + 1}}), true);
      }
    }
  }
}

void BufferClasses::join_what_may(const std::vector<int>& output_nodes) {
  struct Pair {
    int depth, order, a, b;
  };
  std::vector<Pair> pairs;
  const auto pair = [&](RegionId at, ValueId a, int b) {
    if (b < 0 || !f_.type(a).is_array() || node_of_[a.index] < 0) return;
    const Value& v = f_[a];
    if (v.kind == Value::Kind::result && f_.ops[v.owner].code == Opcode::zeros) return;  // written anew where it is taken
    pairs.push_back({lives_.depth(at), static_cast<int>(pairs.size()), node_of_[a.index], b});
  };
  const auto visit = [&](auto&& self, RegionId r) -> void {
    for (OpId id : f_[r].ops) {
      const Op& op = f_[id];
      for (RegionId inner : op.regions) self(self, inner);
      const bool is_for = op.code == Opcode::for_;
      switch (op.code) {
        case Opcode::launch: {
          const Function& k = *f_.callees[op.ref];
          const std::vector<char> shares = shared_inputs(f_, op);
          std::size_t operand = static_cast<std::size_t>(k.domain_rank), result = 0;
          Values ins, outs;
          for (std::size_t q = 0; q < k.parameters.size(); ++q) {
            const Parameter& p = k.parameters[q];
            const bool memory = p.kind == Parameter::Kind::memory;
            if (memory && p.role == Role::out) {
              outs.push_back(op.results[result++]);
              continue;
            }
            const ValueId v = op.operands[operand++];
            if (memory && p.role != Role::in) pair(r, v, node_of_[op.results[result++].index]);
            else if (memory && shares[q]) ins.push_back(v);
          }
          for (ValueId out : outs)
            for (ValueId in : ins) pair(r, in, node_of_[out.index]);
          break;
        }
        case Opcode::for_:
        case Opcode::while_:
          for (std::size_t k = 0; k < f_.carries(op); ++k) {
            const int node = node_of_[op.results[k].index];
            pair(r, op.operands[k + 2 * is_for], node);
            if (!is_for) pair(op.regions[0], f_.terminator(op.regions[0]).operands[k + 1], node);
            pair(op.regions.back(), f_.terminator(op.regions.back()).operands[k], node);
          }
          break;
        case Opcode::if_:
          for (RegionId arm : op.regions)
            for (std::size_t k = 0; k < op.results.size(); ++k) pair(arm, f_.terminator(arm).operands[k], node_of_[op.results[k].index]);
          break;
        default: break;
      }
    }
  };
  visit(visit, f_.body);
  const Values& end = f_.terminator(f_.body).operands;
  for (std::size_t k = 0; k < end.size(); ++k) pair(f_.body, end[k], output_nodes[k]);
  std::sort(pairs.begin(), pairs.end(),
            [](const Pair& x, const Pair& y) { return x.depth != y.depth ? x.depth > y.depth : x.order < y.order; });
  std::vector<std::pair<int, OpId>> loops;
  for (std::uint32_t i = 0; i < f_.ops.size(); ++i)
    if (const OpId id{i}; lives_.before(id) && (f_[id].code == Opcode::for_ || f_[id].code == Opcode::while_))
      loops.push_back({lives_.depth(lives_.region(id)) + 1, id});
  std::sort(loops.begin(), loops.end(),
            [](const auto& x, const auto& y) { return x.first != y.first ? x.first > y.first : x.second < y.second; });
  std::size_t loop = 0;
  for (const Pair& p : pairs) {
    // A loop is looked at when all inside it is joined, and before anything outside joins its carries.
    for (; loop < loops.size() && loops[loop].first > p.depth; ++loop) find_rotations(loops[loop].second);
    unite(p.a, p.b);
  }
  for (; loop < loops.size(); ++loop) find_rotations(loops[loop].second);
}

void BufferClasses::find_rotations(OpId id) {
  const Op& op = f_[id];
  const RegionId body = op.regions.back();
  const Values& end = f_.terminator(body).operands;
  const std::uint32_t first = lives_.start(body), last = lives_.before(f_[body].ops.back()) + 2;
  const auto node = [&](ValueId v) { return node_of_[v.index] < 0 ? -1 : find(node_of_[v.index]); };
  const auto usable = [&](int n) { return n >= 0 && nodes_[n].pinned < 0 && nodes_[n].rotation < 0; };
  std::vector<int> homes;
  for (std::size_t k = 0; k < f_.carries(op); ++k) {
    if (!f_.type(end[k]).is_array()) continue;
    homes.push_back(node(op.results[k]));
    // A condition that exchanges arrays itself is rare: those loops copy.
    if (op.code == Opcode::while_ && node(f_.terminator(op.regions[0]).operands[k + 1]) != homes.back()) return;
  }
  const auto is_home = [&](int n) { return std::find(homes.begin(), homes.end(), n) != homes.end(); };
  const auto inside = [&](int n) { return nodes_[n].life.front().from >= first && nodes_[n].life.back().to <= last; };
  // Classes that move into one another, as groups.
  std::vector<std::vector<int>> groups;
  const auto group_of = [&](int n) {
    for (auto& g : groups)
      if (std::find(g.begin(), g.end(), n) != g.end()) return &g - groups.data();
    groups.push_back({n});
    return static_cast<std::ptrdiff_t>(groups.size()) - 1;
  };
  for (std::size_t k = 0; k < f_.carries(op); ++k) {
    if (!f_.type(end[k]).is_array()) continue;
    const int home = node(op.results[k]), from = node(end[k]);
    if (from == home || !usable(home) || !usable(from) || nodes_[from].type != nodes_[home].type) continue;
    if (!is_home(from) && !inside(from)) continue;
    const auto a = group_of(home), b = group_of(from);
    if (a == b) continue;
    auto& x = groups[static_cast<std::size_t>(a)];
    auto& y = groups[static_cast<std::size_t>(b)];
    x.insert(x.end(), y.begin(), y.end());
    y.clear();
  }
  for (auto& g : groups) {
    if (g.size() < 2) continue;
    for (int n : g) nodes_[n].rotation = static_cast<int>(rotations_.size());
    rotations_.push_back({id, g});
  }
}

void BufferClasses::color() {
  class_of_root_.assign(nodes_.size(), -1);
  std::vector<Life> lives;
  for (int n = 0; n < static_cast<int>(nodes_.size()); ++n) {
    if (find(n) != n) continue;
    const Node& node = nodes_[n];
    int c = -1;
    if (node.pinned < 0 && node.rotation < 0)
      for (int other = 0; c < 0 && other < static_cast<int>(classes_.size()); ++other)
        if (classes_[other].pinned < 0 && classes_[other].rotation < 0 && classes_[other].type == node.type &&
            !meet(lives[other], node.life))
          c = other;
    if (c < 0) {
      c = static_cast<int>(classes_.size());
      classes_.push_back({node.type, node.pinned, node.rotation});
      lives.emplace_back();
    }
    lives[c] = join(lives[c], node.life);
    class_of_root_[n] = c;
  }
  for (Rotation& r : rotations_)
    for (int& n : r.classes) n = class_of_root_[n];
}

int BufferClasses::of(ValueId v) const {
  const int n = node_of_[v.index];
  return n < 0 ? -1 : class_of_root_[find(n)];
}
int BufferClasses::of_output(std::size_t k) const { return outputs_[k] < 0 ? -1 : class_of_root_[find(outputs_[k])]; }

// ---- sequences

void BufferClasses::same_stacks(ValueId a, ValueId b, int levels) {
  const auto root = [&](int n) {
    while (seq_parent_[n] != n) n = seq_parent_[n];
    return n;
  };
  for (int level = 0; level < levels; ++level) {
    const int x = root(seq_node_[a.index] + level), y = root(seq_node_[b.index] + level);
    seq_parent_[std::max(x, y)] = std::min(x, y);
  }
}

void BufferClasses::make_stacks() {
  for (std::uint32_t v = 0; v < f_.values.size(); ++v) {
    if (!f_.values[v].type.is_seq()) continue;
    seq_node_[v] = static_cast<int>(seq_parent_.size());
    for (int level = 0; level < f_.values[v].type.seq; ++level) seq_parent_.push_back(static_cast<int>(seq_parent_.size()));
  }
  const auto same = [&](ValueId a, ValueId b) {
    if (f_.type(a).is_seq()) same_stacks(a, b, f_.type(a).seq);
  };
  const auto item = [&](ValueId seq, ValueId v) {
    if (f_.type(v).is_seq()) same_stacks(seq, v, f_.type(v).seq);
  };
  for (std::uint32_t i = 0; i < f_.ops.size(); ++i) {
    const Op& op = f_.ops[i];
    if (!lives_.before(OpId{i})) continue;
    switch (op.code) {
      case Opcode::for_:
      case Opcode::while_: {
        const std::size_t first = op.code == Opcode::for_, n = f_.carries(op);
        const Values& end = f_.terminator(op.regions.back()).operands;
        for (std::size_t k = 0; k < n; ++k) {
          same(op.operands[k + 2 * first], op.results[k]);
          for (RegionId r : op.regions) same(f_[r].arguments[k + first], op.results[k]);
          same(end[k], op.results[k]);
          if (!first) same(f_.terminator(op.regions[0]).operands[k + 1], op.results[k]);
        }
        for (std::size_t k = n; k < end.size(); ++k) item(op.results[k], end[k]);
        break;
      }
      case Opcode::if_:
        for (RegionId r : op.regions)
          for (std::size_t k = 0; k < op.results.size(); ++k) same(f_.terminator(r).operands[k], op.results[k]);
        break;
      case Opcode::seq_get:
        if (f_.type(op.operands[0]).is_seq()) item(op.operands[0], op.results[0]);
        break;
      case Opcode::seq_set:
      case Opcode::seq_add_at:
        same(op.operands[0], op.results[0]);
        item(op.operands[0], op.operands[2]);
        break;
      default: break;
    }
  }
  stack_of_root_.assign(seq_parent_.size(), -1);
  for (std::uint32_t v = 0; v < f_.values.size(); ++v) {
    const Type& t = f_.values[v].type;
    if (!t.is_seq()) continue;
    const Value& value = f_.values[v];
    if (value.kind == Value::Kind::result && !lives_.before(OpId{value.owner})) continue;
    for (int level = 1; level <= t.seq; ++level) {
      int n = seq_node_[v] + level - 1;
      while (seq_parent_[n] != n) n = seq_parent_[n];
      const RegionId home = lives_.region(ValueId{v});
      int& s = stack_of_root_[n];
      if (s < 0) {
        s = static_cast<int>(stacks_.size());
        Type base = t;
        base.seq = 0;
        stacks_.push_back({base, level, home});
      } else {
        stacks_[s].scope = lives_.common(stacks_[s].scope, home);
      }
    }
  }
}

int BufferClasses::stack(ValueId seq, int level) const {
  int n = seq_node_[seq.index] + level - 1;
  while (seq_parent_[n] != n) n = seq_parent_[n];
  return stack_of_root_[n];
}

bool BufferClasses::may_change(ValueId s, OpId op) const {
  const std::uint32_t at = lives_.before(op);
  const Type& t = f_.type(s);
  const auto shares = [&](ValueId v, int levels) {
    for (int level = 1; level <= std::min<int>(levels, t.seq); ++level)
      if (stack(v, level) == stack(s, level)) return true;
    return false;
  };
  for (std::uint32_t i = 0; i < f_.values.size(); ++i) {
    const ValueId v{i};
    const Value& value = f_.values[i];
    ValueId holder = v;  // the sequence whose records `v` shows
    if (value.kind == Value::Kind::result) {
      const Op& maker = f_.ops[value.owner];
      if (!lives_.before(OpId{value.owner}) || OpId{value.owner} == op) continue;
      if (value.type.is_array() && maker.code == Opcode::seq_get) holder = maker.operands[0];
      // A loop that is running has handles in its sequences already.
      const bool loop = maker.code == Opcode::for_ || maker.code == Opcode::while_;
      if (loop && value.type.is_seq() && value.slot >= f_.carries(maker) &&
          lives_.within(lives_.region(op), lives_.region(OpId{value.owner})) && lives_.before(OpId{value.owner}) < at &&
          at < lives_.after(OpId{value.owner}) && shares(v, value.type.seq))
        return false;
    }
    if (!f_.type(holder).is_seq() || !shares(holder, f_.type(holder).seq)) continue;
    for (const Span& span : lives_.life(v))
      if (span.from <= at && span.to > at) return false;
  }
  return true;
}

}  // namespace fluxion
