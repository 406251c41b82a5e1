// Running captured kernels in the evaluator, for the tests of the surface.
#pragma once
#include <fluxion/capture.h>
#include <fluxion/evaluate.h>

#include <catch2/catch.hpp>
#include <vector>

namespace fx = fluxion;

/// Captures a kernel and runs it over `n` points on host vectors: in order the memories, then the scalars' bits.
template <class L, class... T>
void run_kernel(const L& lambda, std::array<std::int64_t, 3> domain, std::vector<std::uint64_t> scalars, std::vector<T>&... data) {
  const auto f = fx::detail::capture_kernel("test", lambda, fx::Loc::here());
  const std::vector<fx::EvalMemory> memories = {
      {reinterpret_cast<std::byte*>(data.data()), {static_cast<std::int64_t>(data.size()), 1, 1}}...};
  fx::EvalOptions options;
  options.races = false;
  fx::evaluate_kernel(*f, domain, memories, scalars, options);
}
template <class L, class... T> void run_over(std::int64_t n, const L& lambda, std::vector<T>&... data) {
  run_kernel(lambda, {n, 1, 1}, {}, data...);
}
inline std::uint64_t bits(float v) { return std::bit_cast<std::uint32_t>(v); }
inline std::uint64_t bits(std::int32_t v) { return std::bit_cast<std::uint32_t>(v); }
