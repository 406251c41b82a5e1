// Classes by union-find over the flow of seqs; linearity by comparing every consuming use with every other use.
#include "sequences.h"

#include <numeric>

namespace fluxion {
namespace {

struct Use {
  OpId op;
  std::uint32_t operand;
};

bool consumes(const Op& op, std::uint32_t operand) {
  switch (op.code) {
    case Opcode::seq_set:
    case Opcode::seq_add_at: return operand == 0;
    case Opcode::for_:
    case Opcode::while_:
    case Opcode::yield: return true;
    default: return false;
  }
}

/// True when `use` (consuming) is the last thing that happens to a value defined in `home`, seen from `other`.
bool comes_last(const Function& f, const Nesting& n, const Use& use, const Use& other) {
  // The ancestors of both ops in their lowest common region.
  OpId a = use.op, b = other.op;
  std::vector<std::pair<RegionId, OpId>> chain;
  for (OpId x = a;;) {
    chain.push_back({n.region[x.index], x});
    const OpId up = n.owner[n.region[x.index].index];
    if (!up.valid()) break;
    x = up;
  }
  for (OpId x = b;;) {
    for (auto [region, mine] : chain)
      if (region == n.region[x.index]) {
        if (mine != x) return n.position[x.index] < n.position[mine.index];
        // Arms of one if_: a path takes one of them only.
        return f[mine].code == Opcode::if_ && mine != a && mine != b;
      }
    const OpId up = n.owner[n.region[x.index].index];
    if (!up.valid()) return false;
    x = up;
  }
}

}  // namespace

Nesting::Nesting(const Function& f) : owner(f.regions.size()), region(f.ops.size()), position(f.ops.size()), defined(f.values.size()) {
  for (std::uint32_t r = 0; r < f.regions.size(); ++r) {
    for (ValueId v : f.regions[r].arguments) defined[v.index] = RegionId{r};
    for (std::uint32_t k = 0; k < f.regions[r].ops.size(); ++k) {
      const OpId o = f.regions[r].ops[k];
      region[o.index] = RegionId{r};
      position[o.index] = k;
      for (RegionId inner : f[o].regions) owner[inner.index] = o;
      for (ValueId v : f[o].results) defined[v.index] = RegionId{r};
    }
  }
}

bool Nesting::inside(RegionId inner, RegionId outer) const {
  while (inner.valid()) {
    if (inner == outer) return true;
    const OpId up = owner[inner.index];
    inner = up.valid() ? region[up.index] : RegionId{};
  }
  return false;
}

Sequences::Sequences(const Function& f, const Nesting& nesting) : of(f.values.size(), ~0u) {
  std::vector<std::uint32_t> parent(f.values.size());
  std::iota(parent.begin(), parent.end(), 0u);
  const auto find = [&](std::uint32_t x) {
    while (parent[x] != x) x = parent[x] = parent[parent[x]];
    return x;
  };
  std::vector<char> tangled(f.values.size());  // flows that linearity cannot follow
  const auto join = [&](ValueId a, ValueId b) {
    if (!f.type(a).is_seq() || !f.type(b).is_seq()) return;
    const auto x = find(a.index), y = find(b.index);
    parent[y] = x;
    tangled[x] |= tangled[y];
  };
  const auto tangle = [&](ValueId a) {
    if (f.type(a).is_seq()) tangled[find(a.index)] = 1;
  };
  std::vector<std::vector<Use>> uses(f.values.size());
  bool any = false;
  for (std::uint32_t r = 0; r < f.regions.size(); ++r)
    for (OpId o : f.regions[r].ops) {
      const Op& op = f[o];
      for (std::uint32_t k = 0; k < op.operands.size(); ++k)
        if (f.type(op.operands[k]).is_seq()) uses[op.operands[k].index].push_back({o, k});
      for (ValueId v : op.results) any |= f.type(v).is_seq();
      switch (op.code) {
        case Opcode::seq_set:
        case Opcode::seq_add_at:
          join(op.results[0], op.operands[0]);
          if (op.operands.size() > 2) {
            join(op.results[0], op.operands[2]);
            tangle(op.operands[2]);
          }
          break;
        case Opcode::seq_get:
          if (f.type(op.results[0]).is_seq()) {
            join(op.results[0], op.operands[0]);
            tangle(op.results[0]);
          }
          break;
        case Opcode::if_:
          for (RegionId arm : op.regions)
            for (std::size_t k = 0; k < op.results.size(); ++k) join(op.results[k], f.terminator(arm).operands[k]);
          break;
        case Opcode::for_: {
          const Op& end = f.terminator(op.regions[0]);
          const std::size_t n = f.carries(op);
          for (std::size_t k = 0; k < n; ++k) {
            join(op.results[k], op.operands[2 + k]);
            join(op.results[k], f[op.regions[0]].arguments[1 + k]);
            join(op.results[k], end.operands[k]);
          }
          for (std::size_t k = n; k < end.operands.size(); ++k) {
            join(op.results[k], end.operands[k]);
            tangle(end.operands[k]);
          }
          break;
        }
        case Opcode::while_: {
          const Op& end = f.terminator(op.regions[1]);
          const std::size_t n = f.carries(op);
          for (std::size_t k = 0; k < n; ++k) {
            join(op.results[k], op.operands[k]);
            join(op.results[k], f[op.regions[0]].arguments[k]);
            join(op.results[k], f.terminator(op.regions[0]).operands[1 + k]);
            join(op.results[k], f[op.regions[1]].arguments[k]);
            join(op.results[k], end.operands[k]);
          }
          for (std::size_t k = n; k < end.operands.size(); ++k) {
            join(op.results[k], end.operands[k]);
            tangle(end.operands[k]);
          }
          break;
        }
        case Opcode::select:
          join(op.results[0], op.operands[1]);
          join(op.results[0], op.operands[2]);
          tangle(op.results[0]);
          break;
        default: break;
      }
    }
  if (!any) return;

  std::vector<std::uint32_t> number(f.values.size(), ~0u);
  for (std::uint32_t v = 0; v < f.values.size(); ++v)
    if (f.values[v].type.is_seq()) {
      auto& c = number[find(v)];
      if (c == ~0u) {
        c = static_cast<std::uint32_t>(linear.size());
        linear.push_back(1);
      }
      of[v] = c;
      if (tangled[find(v)]) linear[c] = 0;
    }
  for (std::uint32_t v = 0; v < f.values.size(); ++v) {
    if (of[v] == ~0u) continue;
    const RegionId home = nesting.defined[v];
    for (std::size_t k = 0; k < uses[v].size(); ++k) {
      const Use& use = uses[v][k];
      if (!consumes(f[use.op], use.operand)) continue;
      for (RegionId at = nesting.region[use.op.index]; at != home;) {  // in a loop it would happen again
        const OpId up = nesting.owner[at.index];
        if (!up.valid() || f[up].code != Opcode::if_) {
          linear[of[v]] = 0;
          break;
        }
        at = nesting.region[up.index];
      }
      for (std::size_t j = 0; j < uses[v].size(); ++j)
        if (j != k && !comes_last(f, nesting, use, uses[v][j])) linear[of[v]] = 0;
    }
  }
  sources.resize(linear.size());
  for (std::uint32_t o = 0; o < f.ops.size(); ++o) {
    const Op& op = f.ops[o];
    if (op.results.empty() || !nesting.region[o].valid()) continue;
    const auto add = [&](ValueId v) {
      if (of[v.index] != ~0u) sources[of[v.index]].push_back(OpId{o});
    };
    if (op.code == Opcode::zeros || op.code == Opcode::seq_get || (is_elementwise(op.code) && op.code != Opcode::select) ||
        op.code == Opcode::convert || op.code == Opcode::bitcast)
      add(op.results[0]);
    if ((op.code == Opcode::seq_set || op.code == Opcode::seq_add_at) && !in_place(op.results[0])) add(op.results[0]);
    if (op.code == Opcode::for_ || op.code == Opcode::while_)
      for (std::size_t k = f.carries(op); k < op.results.size(); ++k) add(op.results[k]);
  }
}

bool Sequences::allocated_in(ValueId seq, RegionId body, const Nesting& nesting) const {
  for (OpId o : sources[of[seq.index]])
    if (nesting.inside(nesting.region[o.index], body)) return true;
  return false;
}

}  // namespace fluxion
