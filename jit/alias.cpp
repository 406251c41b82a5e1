// Aliases at launch. Merging is safe when both parameters are only accumulated into; or when one is only read,
// every access of both is at the point's own index, and all reads come before the writes: then the kernel does what
// it would do on two arrays, and its derivative is that of the kernel as written.
#include "alias.h"

#include <fmt/format.h>

#include "fluxion/rewrite.h"
#include "runtime.h"

namespace fluxion::detail {
namespace {

struct Accesses {
  bool own = true;         // each at the point's own index
  bool accumulate = true;  // nothing but accumulates
};

Accesses accesses_of(const Function& f, MemoryId m) {
  Accesses a;
  const Values& indices = f[f.body].arguments;
  for (const Op& op : f.ops) {
    if (op.memory != m || op.code == Opcode::extent) continue;
    const auto rank = static_cast<std::size_t>(f[m].rank);
    a.accumulate &= op.code == Opcode::accumulate;
    a.own &= indices.size() == rank && std::equal(indices.begin(), indices.end(), op.operands.begin());
  }
  return a;
}

// True when a run may read `from` after it has written `to`; a loop's body follows itself.
bool reads_after_write(const Function& f, RegionId r, MemoryId from, MemoryId to, bool& written) {
  for (const OpId id : f[r].ops) {
    const Op& op = f[id];
    if (op.code == Opcode::load && op.memory == from && written) return true;
    const bool loops = op.code == Opcode::for_ || op.code == Opcode::while_;
    for (int round = 0; round < (loops ? 2 : 1); ++round)
      for (const RegionId inner : op.regions)
        if (reads_after_write(f, inner, from, to, written)) return true;
    if ((op.code == Opcode::store || op.code == Opcode::accumulate || op.code == Opcode::atomic) && op.memory == to) written = true;
  }
  return false;
}

bool may_merge(const Function& f, const Parameter& p, const Parameter& q) {
  const Accesses u = accesses_of(f, p.memory), v = accesses_of(f, q.memory);
  if (u.accumulate && v.accumulate && p.role != Role::in && q.role != Role::in) return true;
  if (!u.own || !v.own || (p.role != Role::in && q.role != Role::in)) return false;
  const bool first_reads = p.role == Role::in;
  bool written = false;
  return !reads_after_write(f, f.body, first_reads ? p.memory : q.memory, first_reads ? q.memory : p.memory, written);
}

struct Range {
  std::uintptr_t begin, end;
};
Range range_of(const ArrayState& a) {
  const auto& storage = storage_of(a);
  const auto begin = reinterpret_cast<std::uintptr_t>(storage->data);
  return {begin, begin + static_cast<std::uintptr_t>(a.count()) * layout_of(a.element).size};
}

}  // namespace

Merges find_merges(const Function& f, std::span<const Argument> arguments) {
  Merges merges;
  for (std::size_t q = 0; q < arguments.size(); ++q) {
    const ArrayState* b = arguments[q].array.get();
    if (!b || f[f.parameters[q].memory].scratch) continue;
    for (std::size_t p = 0; p < q; ++p) {
      const ArrayState* a = arguments[p].array.get();
      if (!a) continue;
      const Parameter &first = f.parameters[p], &second = f.parameters[q];
      if (first.role == Role::in && second.role == Role::in) continue;
      bool same = a == b;
      if (!same) {
        if (!a->storage || !b->storage) continue;  // distinct traced values
        const Range x = range_of(*a), y = range_of(*b);
        if (x.end <= y.begin || y.end <= x.begin) continue;
        same = x.begin == y.begin && a->element == b->element && a->extent == b->extent && a->rank == b->rank;
        if (!same)
          throw KernelError({}, fmt::format("\"{}\" and \"{}\" overlap in memory, and one of them is written; pass arrays that do not "
                                            "overlap, or the same array twice",
                                            first.name, second.name));
      }
      if (f.external || !may_merge(f, first, second))
        throw KernelError(
            {},
            fmt::format("\"{}\" ({}) and \"{}\" ({}) are the same array, and what is written through one may be read through the other; "
                        "pass a copy as one of them",
                        first.name, name_of(first.role), second.name, name_of(second.role)));
      if (merges.empty()) merges.assign(f.parameters.size(), -1);
      // All parameters on one array become the first of them, those that only read it too.
      if (merges[q] < 0) merges[q] = merges[p] < 0 ? static_cast<int>(p) : merges[p];
      else if (merges[q] != static_cast<int>(p) && merges[p] < 0) merges[p] = merges[q];
    }
  }
  return merges;
}

Function merge_parameters(const Function& f, const Merges& merges) {
  Function out;
  out.kind = f.kind;
  out.name = f.name;
  out.loc = f.loc;
  out.domain_rank = f.domain_rank;
  if (!f.before.stages.empty())
    throw KernelError(f.loc,
                      fmt::format("kernel \"{}\": two of its parameters are the same array, which the kernels that find its extremes know "
                                  "nothing of; pass a copy",
                                  f.name));
  out.group = f.group;
  Builder b(out);
  Rewriter r(f, b);
  std::vector<MemoryId> made(f.parameters.size());
  std::vector<int> position(f.parameters.size());  // of each parameter, or of the one it became, in `out`
  for (std::size_t p = 0; p < f.parameters.size(); ++p) {
    const Parameter& parameter = f.parameters[p];
    if (parameter.kind == Parameter::Kind::scalar) {
      r.map(parameter.value, b.scalar_parameter(f.type(parameter.value).dtype(), parameter.name));
      continue;
    }
    position[p] = static_cast<int>(out.parameters.size());
    if (merges[p] >= 0) {
      position[p] = position[static_cast<std::size_t>(merges[p])];
      r.map(parameter.memory, made[static_cast<std::size_t>(merges[p])]);
      continue;
    }
    bool target = false, accumulate = accesses_of(f, parameter.memory).accumulate;
    std::string name = parameter.name;
    for (std::size_t q = p + 1; q < merges.size(); ++q) {
      if (merges[q] != static_cast<int>(p)) continue;
      target = true;
      accumulate &= accesses_of(f, f.parameters[q].memory).accumulate;
      name += "_" + f.parameters[q].name;
    }
    const Memory& m = f[parameter.memory];
    const Role role = !target ? parameter.role : accumulate ? Role::accum : Role::inout;
    made[p] = b.memory_parameter(m.element, m.rank, role, name);
    out[made[p]].loc = m.loc;
    out[made[p]].scratch = m.scratch;
    out[made[p]].zeros = m.zeros;
    if (m.scratch) out[made[p]].like = position[static_cast<std::size_t>(m.like)];
    if (m.into >= 0) out[made[p]].into = position[static_cast<std::size_t>(m.into)];
    r.map(parameter.memory, made[p]);
  }
  const Values& indices = f[f.body].arguments;
  for (std::size_t i = 0; i < indices.size(); ++i) r.map(indices[i], b.index(static_cast<int>(i)));
  r.copy_ops(f.body);
  b.finish();
  return out;
}

}  // namespace fluxion::detail
