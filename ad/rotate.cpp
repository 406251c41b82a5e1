// See rotate.h. The cost is one more copy of the condition's ops.
#include "rotate.h"

#include <algorithm>

#include "fluxion/rewrite.h"

namespace fluxion::ad {
namespace {

bool reads_written(const Function& f, RegionId r, const std::vector<char>& written) {
  for (OpId o : f[r].ops) {
    const Op& op = f[o];
    if (op.code == Opcode::yield) continue;
    if (has_effect(op.code) || op.code == Opcode::launch) return true;
    if (op.code == Opcode::load && written[op.memory.index]) return true;
    if (op.code == Opcode::seq_get && f.type(op.operands[0]).is_array()) return true;
    for (RegionId inner : op.regions)
      if (reads_written(f, inner, written)) return true;
  }
  return false;
}

bool passes_on(const Function& f, RegionId cond) {
  const Values &args = f[cond].arguments, &yields = f.terminator(cond).operands;
  return std::equal(args.begin(), args.end(), yields.begin() + 1, yields.end());
}

}  // namespace

Function rotate_whiles(const Function& f) {
  std::vector<char> written(f.memories.size());
  for (const Op& op : f.ops)
    if (op.code == Opcode::store || op.code == Opcode::accumulate || op.code == Opcode::atomic) written[op.memory.index] = 1;
  return rewrite(f, [&](Rewriter& rw, OpId id) {
    const Op& op = f[id];
    if (op.code != Opcode::while_) return false;
    const RegionId cond = op.regions[0], body = op.regions[1];
    if (passes_on(f, cond) && !reads_written(f, cond, written)) return false;
    const auto test = [&](const Values& carries) {  // the condition, inlined: (bool, carries)
      rw.map(f[cond].arguments, carries);
      rw.copy_ops(cond);
      return rw(f.terminator(cond).operands);
    };
    const std::size_t n = op.operands.size();
    const Values first = test(rw(op.operands));
    const auto result = rw.to.while_(
        first, [](const Values& c) { return std::pair(c[0], c); },
        [&](const Values& c) {
          rw.map(f[body].arguments, Values(c.begin() + 1, c.end()));
          rw.copy_ops(body);
          const Values y = rw(f.terminator(body).operands);
          return Builder::LoopYield{test(Values(y.begin(), y.begin() + static_cast<std::ptrdiff_t>(n))),
                                    Values(y.begin() + static_cast<std::ptrdiff_t>(n), y.end())};
        });
    for (std::size_t k = 0; k < n; ++k) rw.map(op.results[k], result.carries[k + 1]);
    for (std::size_t k = 0; k < result.seqs.size(); ++k) rw.map(op.results[n + k], result.seqs[k]);
    rw.map(op.results.back(), result.trips);
    return true;
  });
}

}  // namespace fluxion::ad
