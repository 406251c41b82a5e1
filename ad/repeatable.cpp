// What atomics on parameters give depends on the order of threads, and the reverse mode, which runs the primal again, would get
// something else. Finds where that would decide what flows: an index, a branch or a trip count around an access to floats, or a
// number itself. A fixed point over values and memories; coarse, since all that an op with regions handles counts as one.
#include <fmt/format.h>

#include "fluxion/error.h"
#include "groups.h"

namespace fluxion::ad {
namespace {

class Unrepeatable {
 public:
  explicit Unrepeatable(const Function& f) : f_(f), value_(f.values.size()), memory_(f.memories.size()) {}

  void run() {
    do {
      changed_ = false;
      region(f_.body, nullptr);
    } while (changed_);
  }

 private:
  const Function& f_;
  std::vector<const Op*> value_, memory_;  // the atomic that it goes back to, or null
  bool changed_ = false;

  void raise(const Op*& to, const Op* from) {
    if (from && !to) to = from, changed_ = true;
  }
  const Op* any(const Values& v) const {
    for (ValueId x : v)
      if (value_[x.index]) return value_[x.index];
    return nullptr;
  }
  void region(RegionId r, const Op* around) {
    for (OpId o : f_[r].ops) op(f_[o], around);
  }
  void op(const Op& op, const Op* around) {
    const Op* from = any(op.operands);
    if (!op.regions.empty()) {
      for (RegionId inner : op.regions) from = from ? from : any(f_.terminator(inner).operands);
      for (RegionId inner : op.regions) {
        for (ValueId v : f_[inner].arguments) raise(value_[v.index], from);
        region(inner, around ? around : from);
      }
    } else if (op.memory.valid() && op.code != Opcode::extent) {
      const Op* const here = from ? from : around;
      if (here && is_float(layout_of(f_[op.memory].element).leaves[op.leaf].dtype)) refuse(*here, op);
      if (op.code != Opcode::load) raise(memory_[op.memory.index], here);
      from = from ? from : memory_[op.memory.index];
      if (op.code == Opcode::atomic && f_[op.memory].space == Memory::Space::parameter) from = &op;
    } else if (op.code == Opcode::yield || op.code == Opcode::print || op.code == Opcode::check) {
      return;
    }
    for (ValueId v : op.results) raise(value_[v.index], from);
  }
  [[noreturn]] void refuse(const Op& atomic, const Op& use) const {
    throw KernelError(
        atomic.loc,
        fmt::format("vjp of \"{}\": the old number that atomic_{} on {} gives decides what happens to {} at {}, and the "
                    "derivative, which runs it again, would get another one; find it in a kernel of its own and pass "
                    "it as an In, or use jvp",
                    f_.name, name_of(static_cast<Atomic>(atomic.kind)), f_[atomic.memory].name, f_[use.memory].name, to_string(use.loc)));
  }
};

}  // namespace

void check_repeatable(const Function& kernel) {
  for (const Op& op : kernel.ops)
    if (op.code == Opcode::atomic) return Unrepeatable(kernel).run();
}

}  // namespace fluxion::ad
