// How the derivative of a program holds the states of its time loops: the `.checkpoint` of value_and_grad and vjp.
//
//   auto step = fx::value_and_grad(sim, {.checkpoint = fx::budget(256_MB)});   // using namespace fluxion::literals
//
// The gradients are the same, whichever it is: it is a choice between memory and time.
#pragma once
#include <cstdint>

#include "fluxion/ad.h"

namespace fluxion {

struct CheckpointRule {
  Checkpoint kept{};
  std::int64_t bytes = 0;  // a budget, when not 0
};
struct DerivativeOptions {
  CheckpointRule checkpoint{};
};

/// Keeps all that the reverse sweep needs: no iteration runs twice.
inline constexpr CheckpointRule checkpoint_all{};
/// Nests of `levels` loops: memory grows with levels * T^(1/levels), each level is one more forward run. Any derivative
/// of the result can be taken.
constexpr CheckpointRule strips(int levels = 2) {
  CheckpointRule r;
  r.kept.mode = Checkpoint::Mode::strips;
  r.kept.levels = levels;
  return r;
}
/// `states` states of each outermost loop, where the fewest iterations run again; what one iteration needs comes on top.
/// Refused   in a further reverse derivative
/// Source    Griewank & Walther, Algorithm 799: revolve, 2000
constexpr CheckpointRule revolve(int states) {
  CheckpointRule r;
  r.kept.mode = Checkpoint::Mode::revolve;
  r.kept.states = states;
  return r;
}
/// All arrays that the program makes for itself, tapes included, within so many bytes, with as few iterations run again as
/// that allows. Trip counts are those of each call.
/// Throws   KernelError at the call, with the least that is possible, when that is more
constexpr CheckpointRule budget(std::int64_t bytes) {
  CheckpointRule r;
  r.kept.mode = Checkpoint::Mode::settings;
  r.bytes = bytes > 0 ? bytes : -1;
  return r;
}

inline namespace literals {
constexpr std::int64_t operator""_KB(unsigned long long n) { return static_cast<std::int64_t>(n << 10); }
constexpr std::int64_t operator""_MB(unsigned long long n) { return static_cast<std::int64_t>(n << 20); }
constexpr std::int64_t operator""_GB(unsigned long long n) { return static_cast<std::int64_t>(n << 30); }
}  // namespace literals

}  // namespace fluxion
