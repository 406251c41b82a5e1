// How an exported kernel is called: the struct of its arguments, and the same as JSON.
#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <set>

#include "export.h"
#include "fluxion/error.h"

namespace fluxion::detail {
namespace {

/// Which parameter of the lambda "p4_0_bar" stands for, and where its number ends; none for other names.
std::optional<std::pair<std::size_t, std::size_t>> place_of(const std::string& name) {
  std::size_t end = 1;
  while (end < name.size() && name[end] >= '0' && name[end] <= '9') ++end;
  if (name.empty() || name[0] != 'p' || end == 1 || (end < name.size() && name[end] != '_')) return std::nullopt;
  return std::pair{static_cast<std::size_t>(std::stoul(name.substr(1, end - 1))), end};
}

/// As the user called it, if they did.
std::string renamed(const std::string& name, const std::vector<std::string>& names) {
  const auto place = place_of(name);
  return place && place->first < names.size() ? names[place->first] + name.substr(place->second) : name;
}

std::string list_of(const auto& values) { return fmt::format("[{}]", fmt::join(values, ", ")); }

}  // namespace

void check_parameter_count(const Function& f, const std::vector<std::string>& names, Loc at) {
  std::size_t count = 0;
  for (const Parameter& p : f.parameters) {
    if (p.name.ends_with("_bar") || p.name.ends_with("_dot")) return;  // a derivative need not have all parameters of its kernel
    if (const auto place = place_of(p.name)) count = std::max(count, place->first + 1);
  }
  if (!names.empty() && names.size() != count)
    throw KernelError(
        at, fmt::format("export: {} parameters are named, and the kernel has {}; name all of them, or none", names.size(), count));
}

int components(LayoutId element) {
  const Layout& layout = layout_of(element);
  const DType t = layout.leaves[0].dtype;
  for (std::size_t k = 0; k < layout.leaves.size(); ++k)
    if (layout.leaves[k].dtype != t || layout.leaves[k].offset != k * static_cast<std::size_t>(size_of(t))) return 0;
  return layout.size == layout.leaves.size() * static_cast<std::size_t>(size_of(t)) ? static_cast<int>(layout.leaves.size()) : 0;
}

ExportSignature make_signature(const Function& f, const KernelFacts& facts, const std::string& name,
                               const std::vector<std::string>& parameters) {
  ExportSignature s;
  s.name = name;
  s.kernel = f.name;
  s.loc = f.loc;
  s.rank = std::max(1, f.domain_rank);
  s.group = f.group;
  std::uint32_t end = 8 * static_cast<std::uint32_t>(s.rank);
  std::set<std::string> taken;
  for (const Parameter& p : f.parameters) {
    if (p.kind == Parameter::Kind::memory && f[p.memory].scratch) break;  // scratch comes last
    ExportedParameter q;
    q.name = renamed(p.name, parameters);
    check_parameter_name(q.name, f.loc);
    if (!taken.insert(q.name).second) throw KernelError(f.loc, fmt::format("export: two parameters are called \"{}\"", q.name));
    q.role = p.role;
    if (p.kind == Parameter::Kind::memory) {
      q.array = true;
      q.element = f[p.memory].element;
      q.rank = f[p.memory].rank;
      q.offset = (end + 7) / 8 * 8;
      q.extents = q.offset + 8;
      end = q.extents + 8 * static_cast<std::uint32_t>(q.rank);
    } else {
      q.element = f.type(p.value).element;
      const auto size = static_cast<std::uint32_t>(size_of(q.element.scalar()));
      q.offset = (end + size - 1) / size * size;
      end = q.offset + size;
    }
    s.parameters.push_back(std::move(q));
  }
  s.bytes = (end + 7) / 8 * 8;
  const auto passed = static_cast<int>(s.parameters.size());
  if (facts.domain_parameter >= 0 && facts.domain_parameter < passed) s.domain_from = facts.domain_parameter;
  for (int p = 0; p < passed && p < static_cast<int>(facts.likes.size()); ++p)
    if (const Like& l = facts.likes[static_cast<std::size_t>(p)]; l.parameter >= 0) s.likes.push_back({p, l.parameter, l.tangents});
  for (const Reach& r : facts.reach)
    if (r.parameter < passed && !facts.options.bounds)
      s.reach.push_back({r.parameter, r.axis, r.coefficient, r.low, r.high, r.low_at, r.high_at});
  return s;
}

std::string quoted(const std::string& text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') out += std::string("\\") + c;
    else if (static_cast<unsigned char>(c) < 0x20) out += fmt::format("\\u{:04x}", static_cast<unsigned>(c));
    else out += c;
  }
  return out + "\"";
}

std::string over(const ExportedStage& stage) {
  if (stage.elements_of >= 0) return fmt::format("{{\"elements_of\": {}}}", stage.elements_of);
  return stage.beyond.empty() ? "\"domain\"" : fmt::format("{{\"domain_plus\": {}}}", list_of(stage.beyond));
}

std::string gpu_members(const std::string& function, const ExportedGpuCode& code, const std::vector<std::string>& names) {
  std::string out = fmt::format(", \"function\": {}, \"work\": [", quoted(function));
  for (std::size_t k = 0; k < code.work.size(); ++k)
    out += fmt::format("{}{{\"like\": {}, \"i64s\": {}}}", k ? ", " : "", code.work[k].like, code.work[k].words);
  out += "], \"stages\": [";
  for (std::size_t k = 0; k < code.stages.size(); ++k) {
    const ExportedStage& stage = code.stages[k];
    out += fmt::format("{}\n      {{\"file\": {}, \"entry\": \"main\", \"over\": {}, \"threads\": {}, \"shared_bytes\": {},", k ? "," : "",
                       quoted(names[k]), over(stage), stage.threads, stage.shared_bytes);
    if (stage.words > 0)
      out += fmt::format(" \"words\": {}, \"push\": {}, \"capabilities\": {},", stage.words, stage.push, list_of(stage.capabilities));
    out += "\n       \"arguments\": [";
    for (std::size_t a = 0; a < stage.arguments.size(); ++a) {
      const ExportedStage::Argument& argument = stage.arguments[a];
      using Kind = ExportedStage::Argument::Kind;
      out += fmt::format("{}{{\"{}\": {}", a ? ", " : "",
                         argument.kind == Kind::array  ? "array"
                         : argument.kind == Kind::work ? "work"
                                                       : "scalar",
                         argument.index);
      out += argument.kind == Kind::scalar ? "}" : fmt::format(", \"rank\": {}}}", argument.rank);
    }
    out += fmt::format("],\n       \"record_values\": {}, \"sites\": [", stage.values);
    for (std::size_t i = 0; i < stage.sites.size(); ++i) {
      std::vector<std::string> types;
      for (const DType t : stage.sites[i].values) types.push_back(quoted(name_of(t)));
      out += fmt::format("{}{{\"kind\": \"{}\", \"text\": {}, \"at\": {}, \"values\": {}}}", i ? ", " : "",
                         stage.sites[i].print ? "print" : "check", quoted(stage.sites[i].text), quoted(stage.sites[i].at), list_of(types));
    }
    out += "]}";
  }
  return out + "]";
}

std::string json_text(const std::string& name, const std::vector<ExportedKernel>& kernels, const std::vector<ExportedFile>& files) {
  std::string out = fmt::format("{{\n  \"fluxion\": 1,\n  \"name\": {},\n  \"functions\": [", quoted(name));
  bool first = true;
  for (const ExportedKernel& k : kernels) {
    const ExportSignature& s = k.item.signature;
    out += fmt::format("{}\n    {{\n      \"name\": {}, \"kernel\": {}, \"at\": {}, \"derivative\": {},\n", first ? "" : ",",
                       quoted(s.name), quoted(s.kernel), quoted(to_string(s.loc)), k.derivative.empty() ? "null" : quoted(k.derivative));
    first = false;
    out += fmt::format("      \"rank\": {}, \"group\": {}, \"domain_from\": {}, \"bytes\": {},\n", s.rank,
                       s.group[0] > 0 ? list_of(std::vector<int>(s.group.begin(), s.group.begin() + s.rank)) : "null",
                       s.domain_from >= 0 ? std::to_string(s.domain_from) : "null", s.bytes);
    out += fmt::format("      \"phases\": {}, \"ranges\": {}, \"ordered\": {}, \"added\": {},\n      \"parameters\": [", k.how.phases,
                       k.how.ranges, k.how.ordered, list_of(k.how.added));
    for (std::size_t p = 0; p < s.parameters.size(); ++p) {
      const ExportedParameter& q = s.parameters[p];
      out += fmt::format("{}\n        {{\"name\": {}, ", p ? "," : "", quoted(q.name));
      if (!q.array) {
        out += fmt::format("\"kind\": \"scalar\", \"type\": \"{}\", \"offset\": {}}}", name_of(q.element.scalar()), q.offset);
        continue;
      }
      const Layout& layout = layout_of(q.element);
      std::vector<std::string> leaves;
      for (const Leaf& leaf : layout.leaves) leaves.push_back(fmt::format("[\"{}\", {}]", name_of(leaf.dtype), leaf.offset));
      out += fmt::format(
          "\"kind\": \"array\", \"role\": \"{}\", \"rank\": {}, \"element_bytes\": {}, \"leaves\": {}, \"components\": {}, \"offset\": {}, "
          "\"extents\": {}}}",
          name_of(q.role), q.rank, layout.size, list_of(leaves), components(q.element), q.offset, q.extents);
    }
    out += "\n      ]\n    }";
  }
  out += "\n  ],\n  \"files\": [";
  for (std::size_t k = 0; k < files.size(); ++k) {
    const ExportedFile& file = files[k];
    std::vector<std::string> needs;
    for (const std::string& n : file.needs) needs.push_back(quoted(n));
    out += fmt::format("{}\n    {{\"target\": {}, \"file\": {}", k ? "," : "", quoted(file.target), quoted(file.path));
    if (!file.machine.empty()) out += fmt::format(", \"machine\": {}, \"needs\": {}", quoted(file.machine), list_of(needs));
    out += file.more + "}";
  }
  return out + "\n  ]\n}\n";
}

}  // namespace fluxion::detail
