// Capturing the body of a program: what its launches and array operations become.
#pragma once
#include <map>

#include "fluxion/program.h"
#include "fluxion/recorder.h"
#include "runtime.h"

namespace fluxion::detail {

/// Where a parameter of a captured Function comes from at a call.
struct ProgramSource {
  enum class Kind : std::uint8_t { argument, captured, zeros, setting };
  Kind kind = Kind::argument;
  int index = 0;  // of the argument, the captured array or the setting (budget.h)
};

struct CapturedProgram {
  Function function;                                  // value form; the unwritten array parameters are In
  std::vector<ProgramSource> sources;                 // by parameter
  std::vector<std::shared_ptr<ArrayState>> captured;  // reached by the lambda, kept alive
};

Type array_type(const ArrayState& a);

/// Runs `body` once. `arguments` give the shapes; `device` is invalid when no argument says it.
CapturedProgram capture_program(const std::string& name, std::span<const ProgramParameter> parameters, const ProgramHandle::Body& body,
                                std::span<const Argument> arguments, Device device, Loc at);

}  // namespace fluxion::detail
