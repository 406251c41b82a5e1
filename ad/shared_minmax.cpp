// atomic_min and atomic_max of floats in shared memory, made a loop of one thread: what has a derivative depends on the order
// of threads no more, and of equal numbers the first thread's wins.
//
//   atomic max @s[i], v   ->   at[t] = i; tmp[t] = v; barrier; if t == 0 { for j: s[at[j]] = max(s[at[j]], tmp[j]) }; barrier
//
// Only where all threads come by: in the body, or in a region that has a barrier of its own. Others are refused (groups.h).
#include "fluxion/rewrite.h"
#include "groups.h"

namespace fluxion::ad {
namespace {

bool uniform(const Function& f, RegionId r) {
  if (r == f.body) return true;
  for (OpId o : f[r].ops)
    if (f[o].code == Opcode::barrier) return true;
  return false;
}
bool lowers(const Function& f, const Op& op, const std::vector<char>& used) {
  const auto kind = static_cast<Atomic>(op.kind);
  return op.code == Opcode::atomic && (kind == Atomic::min || kind == Atomic::max) && f[op.memory].space == Memory::Space::shared &&
         is_float(f.type(op.results[0]).dtype()) && !used[op.results[0].index];
}

}  // namespace

Function order_minmax(const Function& f) {
  if (!f.has_groups()) return f;
  std::vector<char> used(f.values.size()), lowered(f.ops.size());
  for (const Region& r : f.regions)
    for (OpId o : r.ops)
      for (ValueId v : f[o].operands) used[v.index] = 1;
  bool any = false;
  for (std::uint32_t r = 0; r < f.regions.size(); ++r)
    for (OpId o : f.regions[r].ops)
      if (lowers(f, f[o], used) && uniform(f, {r})) lowered[o.index] = 1, any = true;
  if (!any) return f;
  return rewrite(f, [&](Rewriter& rw, OpId o) {
    if (!lowered[o.index]) return false;
    const Op& op = f[o];
    Builder& b = rw.to;
    ValueId thread;
    std::int64_t threads = 1;
    for (int a = 0; a < f.domain_rank; ++a) {
      const std::int32_t g = f.group[static_cast<std::size_t>(a)];
      threads *= g;
      const ValueId mine = b.sub(b.index(a), b.mul(b.group_index(a), b.i32(g)));
      thread = thread.valid() ? b.add(b.mul(thread, b.i32(g)), mine) : mine;
    }
    const MemoryId s = rw(op.memory), at = b.shared(DType::i32, threads, f[op.memory].name + "_at"),
                   tmp = b.shared(f.type(op.operands[1]).dtype(), threads, f[op.memory].name + "_tmp");
    b.store(at, {&thread, 1}, rw(op.operands[0]));
    b.store(tmp, {&thread, 1}, rw(op.operands[1]));
    b.barrier();
    b.if_(
        b.emit(Opcode::eq, {thread, b.i32(0)}),
        [&] {
          b.for_(b.i32(0), b.i32(static_cast<std::int32_t>(threads)), {}, [&](ValueId j, const Values&) {
            const ValueId i = b.load(at, {&j, 1});
            const ValueId old = b.load(s, {&i, 1}, op.leaf), v = b.load(tmp, {&j, 1});
            b.store(s, {&i, 1}, b.emit(static_cast<Atomic>(op.kind) == Atomic::min ? Opcode::min : Opcode::max, {old, v}), op.leaf);
            return Builder::LoopYield{};
          });
          return Values{};
        },
        [] { return Values{}; });
    b.barrier();
    return true;
  });
}

}  // namespace fluxion::ad
