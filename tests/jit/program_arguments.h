// Runs programs on i32 arrays by hand: in value form and in memory form, with the same arguments.
#pragma once
#include <cstring>

#include "fluxion/backend.h"
#include "fluxion/evaluate.h"

namespace program_test {
using namespace fluxion;

using Ints = std::vector<std::int32_t>;

inline EvalValue eval_array(const Ints& v) {
  EvalValue out;
  out.array = std::make_shared<std::vector<std::byte>>(v.size() * 4);
  std::memcpy(out.array->data(), v.data(), v.size() * 4);
  return out;
}
inline Ints ints(const EvalValue& v) {
  Ints out(v.array->size() / 4);
  std::memcpy(out.data(), v.array->data(), v.array->size());
  return out;
}

/// Scalar parameters get 5, arrays i + 1, 10 (i + 1), ...
inline std::vector<Ints> by_value(const Function& f) {
  std::vector<EvalValue> arguments;
  int n = 1;
  for (const Parameter& p : f.parameters) {
    if (p.kind == Parameter::Kind::scalar) {
      arguments.push_back({5, {}, {}});
      continue;
    }
    Ints v(static_cast<std::size_t>(f.type(p.value).count()));
    for (std::size_t i = 0; i < v.size(); ++i) v[i] = n * static_cast<std::int32_t>(i + 1);
    n *= 10;
    arguments.push_back(eval_array(v));
  }
  std::vector<Ints> out;
  for (const EvalValue& v : evaluate_program(f, arguments)) out.push_back(v.array ? ints(v) : Ints{static_cast<std::int32_t>(v.bits)});
  return out;
}

/// In the evaluator, or by compiled code.
inline std::vector<Ints> by_memory(const Function& f, Executable* code = nullptr) {
  std::vector<Ints> arrays;
  std::vector<std::uint64_t> scalars;
  int n = 1;
  for (const Parameter& p : f.parameters) {
    if (p.kind == Parameter::Kind::scalar) {
      scalars.push_back(5);
      continue;
    }
    const Memory& m = f[p.memory];
    arrays.emplace_back(static_cast<std::size_t>(m.shape[0] * m.shape[1] * m.shape[2]));
    for (std::size_t i = 0; i < arrays.back().size(); ++i) arrays.back()[i] = n * static_cast<std::int32_t>(i + 1);
    n *= 10;
  }
  std::vector<EvalMemory> memories;
  std::vector<ArrayArgument> passed;
  std::size_t k = 0;
  for (const Parameter& p : f.parameters) {
    if (p.kind != Parameter::Kind::memory) continue;
    passed.push_back({arrays[k].data(), f[p.memory].shape});
    memories.push_back({reinterpret_cast<std::byte*>(arrays[k++].data()), f[p.memory].shape});
  }
  if (code) {
    FailureSlot failure;
    code->run({{1, 1, 1}, passed, scalars}, failure);
    failure.rethrow();
  } else {
    evaluate_memory_form(f, memories, scalars);
  }
  std::vector<Ints> out;
  k = 0;
  for (const Parameter& p : f.parameters)
    if (p.kind == Parameter::Kind::memory && (++k, p.role != Role::in)) out.push_back(arrays[k - 1]);
  return out;
}

}  // namespace program_test
