// Under FLUXION_DEBUG=bounds a program checks the positions of fx::item, as kernels check their indices.
#include <fmt/format.h>

#include "fluxion/rewrite.h"
#include "runtime.h"

namespace fluxion::detail {

Function item_checks(const Function& program) {
  return rewrite(program, [&](Rewriter& r, OpId id) {
    const Op& op = program[id];
    if (op.code != Opcode::seq_get || !program.type(op.operands[0]).is_array()) return false;
    Builder& b = r.to;
    const ValueId i = r(op.operands[1]), n = b.i32(static_cast<std::int32_t>(program.type(op.operands[0]).shape[0]));
    const ValueId inside = b.emit(Opcode::bit_and, {b.emit(Opcode::le, {b.i32(0), i}), b.emit(Opcode::lt, {i, n})});
    b.effect(Opcode::check, fmt::format("program \"{}\": item {{}} of an array of {{}}", program.name), Values{inside, i, n});
    return false;
  });
}

}  // namespace fluxion::detail
