// Arrays and sequences of the evaluator: how they are made, and elementwise ops on them, position by position.
#pragma once
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "fluxion/evaluate.h"

namespace fluxion {

using Bytes = std::vector<std::byte>;
using Items = std::vector<EvalValue>;
using ScalarCall = std::function<std::uint64_t(const std::uint64_t*)>;

std::shared_ptr<Bytes> make_array(const Type& t, int fill);
EvalValue make_zeros(const Type& t, std::int64_t n);
inline std::size_t length(const EvalValue& s) { return s.seq ? s.seq->size() : 0; }

/// `x` of `types` through an elementwise op or convert; `f` does it to scalars. `name`: of the function, for errors.
EvalValue map_values(Opcode code, const Type& result, const std::vector<EvalValue>& x, const std::vector<Type>& types, const ScalarCall& f,
                     Loc loc, const std::string& name);

}  // namespace fluxion
