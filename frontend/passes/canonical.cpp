// canonical -- dead code gone, and ops in an order that does not depend on the order in which they were
// recorded: in each region the effects and the yield in their order, before each what it needs, operands
// left to right, nested regions first. A read stays before a later write to its memory. Two C++ compilers
// evaluate arguments in different order; after this pass they give one text.
#include <algorithm>

#include "effects.h"
#include "fluxion/passes.h"
#include "fluxion/rewrite.h"

namespace fluxion {
namespace {

class Order {
 public:
  explicit Order(Function& f)
      : f_(f), effects_(f), needs_(f.ops.size()), mark_(f.ops.size()), position_(f.ops.size()), priority_(f.ops.size()) {}
  void region(RegionId r) {
    std::vector<OpId>& ops = f_[r].ops;
    for (std::uint32_t i = 0; i < ops.size(); ++i) {
      const Op& op = f_[ops[i]];
      position_[ops[i].index] = i;
      Values& needs = needs_[ops[i].index];
      needs = op.operands;
      for (RegionId inner : op.regions) {
        region(inner);
        for (OpId o : f_[inner].ops) needs.insert(needs.end(), needs_[o.index].begin(), needs_[o.index].end());
      }
    }
    // Where reads have to come early, they do so in the order that their uses alone would give.
    std::vector<OpId> order;
    for (OpId o : ops)
      if (root(o)) visit(r, o, 1, order);
    for (std::uint32_t i = 0; i < order.size(); ++i) priority_[order[i].index] = i;

    std::vector<OpId> readers, waiting, out;
    for (OpId o : order)
      if (effects_.reads[o.index] && !root(o)) readers.push_back(o);
    std::sort(readers.begin(), readers.end(), [&](OpId a, OpId b) { return position_[a.index] < position_[b.index]; });
    std::size_t next = 0;
    for (OpId o : ops) {
      if (!root(o)) continue;
      if (const MemorySet writes = effects_.writes[o.index]) {
        for (; next < readers.size() && position_[readers[next].index] < position_[o.index]; ++next) waiting.push_back(readers[next]);
        std::sort(waiting.begin(), waiting.end(), [&](OpId a, OpId b) { return priority_[a.index] < priority_[b.index]; });
        std::erase_if(waiting, [&](OpId reader) {
          if (effects_.reads[reader.index] & writes) visit(r, reader, 2, out);
          return mark_[reader.index] == 2;
        });
      }
      visit(r, o, 2, out);
    }
    ops = std::move(out);
  }

 private:
  Function& f_;
  const Effects effects_;
  std::vector<Values> needs_;  // operands, then those of what is nested
  std::vector<char> mark_;
  std::vector<std::uint32_t> position_, priority_;
  std::vector<std::pair<OpId, std::size_t>> stack_;

  bool root(OpId o) const { return effects_.effect[o.index] || f_[o].code == Opcode::yield; }
  /// Appends what `o` needs, then `o`. Iterative: a chain may be as long as the function.
  void visit(RegionId r, OpId o, char round, std::vector<OpId>& out) {
    if (mark_[o.index] >= round) return;
    mark_[o.index] = round;
    stack_.push_back({o, 0});
    while (!stack_.empty()) {
      auto& [top, next] = stack_.back();
      const Values& needs = needs_[top.index];
      if (next == needs.size()) {
        out.push_back(top);
        stack_.pop_back();
        continue;
      }
      const Value& v = f_[needs[next++]];
      if (v.kind != Value::Kind::result || effects_.region_of[v.owner] != r || mark_[v.owner] >= round) continue;
      mark_[v.owner] = round;
      stack_.push_back({OpId{v.owner}, 0});
    }
  }
};

}  // namespace

Function canonical(const Function& f) {
  Function out = dce(f);
  Order(out).region(out.body);
  return rewrite(out, {});
}

}  // namespace fluxion
