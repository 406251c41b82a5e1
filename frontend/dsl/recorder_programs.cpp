// A finished program, a derivative for instance, inside the program that is being recorded.
#include <fmt/format.h>

#include "fluxion/rewrite.h"
#include "recorder_state.h"

namespace fluxion::detail {

std::vector<std::uint32_t> inline_program(const Function& program, std::span<const std::uint32_t> arguments, Loc at) {
  State& s = state(at);
  if (program.kind != Function::Kind::program || program.parameters.size() != arguments.size())
    throw Bug(at, fmt::format("\"{}\" takes {} values, {} were given", program.name, program.parameters.size(), arguments.size()));
  s.b.loc = at;
  Rewriter r(program, s.b);
  for (std::size_t i = 0; i < arguments.size(); ++i) r.map(program.parameters[i].value, {arguments[i]});
  r.copy_ops(program.body);
  s.open.resize(s.f.regions.size());
  std::vector<std::uint32_t> out;
  for (ValueId v : r(program.terminator(program.body).operands)) out.push_back(v.index);
  return out;
}

std::vector<std::uint32_t> record_program_call(const std::shared_ptr<const Function>& program, std::span<const std::uint32_t> arguments,
                                               Loc at) {
  State& s = state(at);
  s.b.loc = at;
  Values operands;
  for (std::uint32_t a : arguments) operands.push_back({a});
  std::vector<std::uint32_t> out;
  for (ValueId v : s.b.call(program, operands)) out.push_back(v.index);
  return out;
}

}  // namespace fluxion::detail
