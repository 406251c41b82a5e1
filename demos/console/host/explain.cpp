// :explain: what a kernel does by its text, and what its derivative will need.
#include <fmt/format.h>

#include <map>
#include <set>

#include "cost.h"
#include "fluxion/ad.h"
#include "fluxion/console/host.h"

namespace fluxion::console {
namespace {

std::string amount(double n) {
  return n == static_cast<double>(static_cast<long long>(n)) ? fmt::format("{}", static_cast<long long>(n)) : fmt::format("{:.1f}", n);
}

/// How an array is indexed along its last axis, seen from neighbouring threads.
enum class Access : unsigned char { neighbour, same, computed };

struct Accesses {
  const Function& f;
  std::map<std::string, std::set<std::string>> by_array;

  Access of(ValueId v, int depth = 0) const {
    const Value& value = f[v];
    if (value.kind == Value::Kind::constant || value.kind == Value::Kind::parameter) return Access::same;
    const Region& body = f[f.body];
    if (value.kind == Value::Kind::argument) {
      if (value.owner == f.body.index) return value.slot + 1 == body.arguments.size() ? Access::neighbour : Access::same;
      return Access::same;  // a loop's counter: the same for threads that run in step
    }
    if (depth > 32) return Access::computed;
    const Op& op = f[OpId{value.owner}];
    if (op.code == Opcode::extent || op.code == Opcode::domain) return Access::same;
    if (op.code != Opcode::add && op.code != Opcode::sub && op.code != Opcode::convert && op.code != Opcode::mul) return Access::computed;
    bool neighbour = false;
    for (const ValueId operand : op.operands) {
      const Access a = of(operand, depth + 1);
      if (a == Access::computed || (a == Access::neighbour && op.code == Opcode::mul)) return Access::computed;
      neighbour = neighbour || a == Access::neighbour;
    }
    return neighbour ? Access::neighbour : Access::same;
  }
  void run() {
    for (const Op& op : f.ops) {
      if (op.code != Opcode::load && op.code != Opcode::store && op.code != Opcode::accumulate && op.code != Opcode::atomic) continue;
      const Memory& m = f[op.memory];
      if (m.space != Memory::Space::parameter || m.scratch || op.operands.empty()) continue;
      const std::size_t last = static_cast<std::size_t>(m.rank) - 1;
      if (last >= op.operands.size()) continue;
      const Access a = of(op.operands[last]);
      const char* verb = op.code == Opcode::load ? "read" : op.code == Opcode::store ? "written" : "added to";
      const char* how = a == Access::neighbour ? "at neighbouring places"
                        : a == Access::same    ? "at one place for all threads of a row"
                                               : "at computed places";
      by_array[m.name].insert(fmt::format("{} {}", verb, how));
    }
  }
};

}  // namespace

std::string explain(const Function& f) {
  std::string out = signature(f) + "\n";
  const Cost c = cost_of(f);
  out += fmt::format("  for each {}: {}{} floating point operations, {} functions and divisions; {} bytes read, {} written, {} added\n",
                     f.kind == Function::Kind::kernel ? "point" : "call", c.exact ? "" : "about ", amount(c.flops), amount(c.functions),
                     amount(c.loaded), amount(c.stored), amount(c.added));
  if (c.loops > 0 || c.branches > 0)
    out += fmt::format("  {} loop{} (nested {} deep), {} branch{}{}\n", c.loops, c.loops == 1 ? "" : "s", c.depth, c.branches,
                       c.branches == 1 ? "" : "es",
                       c.exact ? "" : "; trip counts that depend on data count once, of a branch the longer side");
  Accesses accesses{f, {}};
  accesses.run();
  for (const auto& [name, how] : accesses.by_array) {
    std::string list;
    for (const std::string& each : how) list += (list.empty() ? "" : ", ") + each;
    out += fmt::format("  {}: {}\n", name, list);
  }
  if (f.kind != Function::Kind::kernel) return out;
  try {
    const detail::KernelHandle d = detail::KernelHandle(std::make_shared<const Function>(f)).vjp({});
    const Function& g = *d.function();
    int scratch = 0;
    for (const Memory& m : g.memories) scratch += m.scratch ? 1 : 0;
    int tapes = 0;
    for (const Op& op : g.ops)
      for (const ValueId v : op.results) tapes += g.type(v).is_seq() ? 1 : 0;
    const Cost dc = cost_of(g);
    out +=
        fmt::format("  reverse mode: {}\n    {} operations and {} functions a point", signature(g), amount(dc.flops), amount(dc.functions));
    if (tapes > 0) out += fmt::format("; {} values of loops are kept for each trip", tapes);
    if (scratch > 0) out += fmt::format("; {} arrays of working space", scratch);
    out += "\n";
  } catch (const Error& e) { out += fmt::format("  reverse mode: refused: {}\n", e.what()); }
  return out;
}

}  // namespace fluxion::console
