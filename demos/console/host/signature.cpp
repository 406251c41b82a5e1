// What a kernel, function or program is called with.
#include <fmt/format.h>

#include "fluxion/console/host.h"
#include "fluxion/ir.h"

namespace fluxion::console {
namespace {

std::string axes(int rank) { return rank <= 1 ? "[]" : rank == 2 ? "[,]" : "[,,]"; }

std::string results(const Function& f) {
  std::string out;
  const Values& yields = f.terminator(f.body).operands;
  for (const ValueId v : yields) out += (out.empty() ? "" : ", ") + to_string(f.type(v));
  return yields.size() == 1 ? out : "(" + out + ")";
}

}  // namespace

std::string signature(const Function& f) {
  std::string list;
  const auto add = [&](const std::string& p) { list += (list.empty() ? "" : ", ") + p; };
  for (const Parameter& p : f.parameters) {
    if (p.kind == Parameter::Kind::memory) {
      const Memory& m = f[p.memory];
      if (!m.scratch) add(fmt::format("{} {}{} {}", name_of(p.role), to_string(m.element), axes(m.rank), p.name));
    } else {
      add(to_string(f.type(p.value)) + " " + p.name);
    }
  }
  switch (f.kind) {
    case Function::Kind::fn: return fmt::format("function {}({}) -> {}", f.name, list, results(f));
    case Function::Kind::program: return fmt::format("program {}({}) -> {}", f.name, list, results(f));
    case Function::Kind::kernel: break;
  }
  std::string out = fmt::format("kernel {}({}) over {} {}", f.name, list, f.domain_rank, f.domain_rank == 1 ? "axis" : "axes");
  if (f.has_groups()) {
    out += ", groups of ";
    for (int k = 0; k < f.domain_rank; ++k) out += fmt::format("{}{}", k ? " x " : "", f.group[static_cast<std::size_t>(k)]);
  }
  return out;
}

std::string signature(const detail::ProgramHandle& p, std::span<const detail::ProgramParameter> parameters) {
  if (!p) return "an empty program";
  std::string list;
  for (const detail::ProgramParameter& each : parameters)
    list += (list.empty() ? "" : ", ") + to_string(each.element) + (each.rank > 0 ? axes(each.rank) : "");
  return fmt::format("program {}({}); it is captured for the shapes that it is called with", p.name(), list);
}

}  // namespace fluxion::console
