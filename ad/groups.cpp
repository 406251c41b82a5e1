// Rules of subgroup ops, and which atomics have a derivative.
//
// Reverse and forward of a subgroup op run for the same active threads as the op: loops bring the same threads together
// backwards as forwards (docs/ir.md), so what one thread read of another goes back the same way.
#include "groups.h"

#include <fmt/format.h>

#include "analysis.h"
#include "fluxion/error.h"
#include "fluxion/mutants.h"
#include "partials.h"

namespace fluxion::ad {
namespace {

/// True when some derivative depends on what `op` makes of `v`.
bool consumes(const Function& f, const Op& op, ValueId v) {
  for (std::size_t k = 0; k < op.operands.size(); ++k) {
    if (op.operands[k] != v) continue;
    if (is_elementwise(op.code)) {
      if (op.code == Opcode::select || depends(op.code, static_cast<int>(k))) return true;
    } else if (op.code == Opcode::convert) {
      if (is_float(f.type(op.results[0]).dtype())) return true;
    } else if (op.code != Opcode::print && op.code != Opcode::check) {
      return true;
    }
  }
  return false;
}
template <class Fn> bool any_op(const Function& f, const Fn& fn) {
  for (const Region& r : f.regions)
    for (OpId o : r.ops)
      if (fn(f[o])) return true;
  return false;
}
std::string spelled(const Op& op) { return fmt::format("atomic_{}", name_of(static_cast<Atomic>(op.kind))); }

/// The first thread, in order, whose x is the result of min or max.
ValueId is_winner(Builder& b, ValueId x, ValueId r) {
  const ValueId equal = b.emit(Opcode::eq, {x, r});
  if (planted(testing::Mutant::winner_all)) return equal;
  const ValueId rank = b.subgroup(Subgroup::scan_add, b.convert(equal, DType::i32));
  return b.emit(Opcode::bit_and, {equal, b.emit(Opcode::eq, {rank, b.i32(1)})});
}

}  // namespace

void check_atomic(const Function& f, const Op& op) {
  const auto kind = static_cast<Atomic>(op.kind);
  const std::string& name = f[op.memory].name;
  if (kind != Atomic::add)
    throw KernelError(
        op.loc,
        fmt::format("{} on {} works on numbers that depend on what is differentiated, and its derivative depends on the "
                    "order of threads; {}, or use stop_grad",
                    spelled(op), name,
                    kind == Atomic::min || kind == Atomic::max ? "let this be all that the kernel does with it, unused, and of numbers "
                                                                 "that it does not write; or reduce in an fx::Shared where "
                                                                 "all threads of a group come by"
                                                               : "give each thread an element of its own"));
  if (any_op(f, [&](const Op& o) { return consumes(f, o, op.results[0]); }))
    throw KernelError(
        op.loc, fmt::format("the old number that {} on {} gives depends on what is differentiated and on the order of threads, and is "
                            "used; drop it, or use stop_grad on what is added",
                            spelled(op), name));
}

bool has_barrier(const Function& kernel) {
  return kernel.has_groups() && any_op(kernel, [](const Op& op) { return op.code == Opcode::barrier; });
}

MemoryId make_adjoint_like(Builder& b, const Memory& m, const char* suffix) {
  const LayoutId element = adjoint_of(m.element, m.loc);
  return m.space == Memory::Space::shared ? b.shared(element, m.length, m.name + suffix) : b.local(element, m.length, m.name + suffix);
}

ValueId subgroup_tangent(Builder& b, const Op& op, const Values& x, ValueId r, ValueId tangent) {
  const auto kind = static_cast<Subgroup>(op.kind);
  switch (kind) {
    case Subgroup::add:
    case Subgroup::scan_add:
    case Subgroup::scan_add_back: return b.subgroup(kind, tangent);
    case Subgroup::shuffle:
    case Subgroup::scatter_add: return b.subgroup(kind, tangent, x[1]);
    case Subgroup::min:
    case Subgroup::max: return b.subgroup(Subgroup::add, b.select(is_winner(b, x[0], r), tangent, b.zero(b.function().type(tangent))));
    case Subgroup::bit_and:
    case Subgroup::bit_or:
    case Subgroup::bit_xor: break;
  }
  throw Bug(op.loc, "a bitwise subgroup op on floats");
}

ValueId subgroup_adjoint(Builder& b, const Op& op, const Values& x, ValueId r, ValueId y) {
  switch (static_cast<Subgroup>(op.kind)) {
    case Subgroup::add: return b.subgroup(Subgroup::add, y);
    // From this thread on.
    case Subgroup::scan_add: return b.subgroup(planted(testing::Mutant::scan_same_way) ? Subgroup::scan_add : Subgroup::scan_add_back, y);
    case Subgroup::scan_add_back: return b.subgroup(Subgroup::scan_add, y);
    case Subgroup::shuffle: return b.subgroup(planted(testing::Mutant::shuffle_again) ? Subgroup::shuffle : Subgroup::scatter_add, y, x[1]);
    case Subgroup::scatter_add: return b.subgroup(Subgroup::shuffle, y, x[1]);
    case Subgroup::min:
    case Subgroup::max: return b.select(is_winner(b, x[0], r), b.subgroup(Subgroup::add, y), b.zero(b.function().type(y)));
    case Subgroup::bit_and:
    case Subgroup::bit_or:
    case Subgroup::bit_xor: break;
  }
  throw Bug(op.loc, "a bitwise subgroup op on floats");
}

}  // namespace fluxion::ad
