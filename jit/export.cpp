// Kernel::export_to: which files there are. What stands in them is written by export_signature.cpp, export_header.cpp and
// export_python.cpp; code for machines comes from the backends.
#include "export.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "fluxion/error.h"
#include "fluxion/kernel_handle.h"
#include "fluxion/pipeline.h"
#include "fluxion/program.h"

namespace fluxion::detail {
namespace {

std::string write_file(const std::filesystem::path& path, std::string_view text, Loc at) {
  std::ofstream out(path, std::ios::binary | std::ios::trunc);
  out.write(text.data(), static_cast<std::streamsize>(text.size()));
  out.close();
  if (!out) throw IoError(at, fmt::format("export: {} cannot be written", path.string()));
  return path.string();
}

bool is_object(const std::string& target) {
  const auto all = object_targets();
  return std::find(all.begin(), all.end(), target) != all.end();
}

ExportedGpuCode gpu_code(const std::string& target, const ExportItem& item) {
  return target == "spirv" ? export_spirv(item) : export_ptx(item, target);
}

/// What files for `target` end in.
std::string suffix(const std::string& target) {
  if (target == "spirv") return "spv";
  return target == "ptx" ? target : target.substr(target.find('-') + 1) + ".ptx";
}

}  // namespace

void refuse_export(Loc at) {
  throw KernelError(at,
                    "export: a program is planned and run by this library and cannot be exported; export the kernels that it launches, and "
                    "call them in its order");
}

std::vector<std::string> KernelHandle::export_to(const std::string& directory, const std::vector<std::string>& targets,
                                                 const ExportOptions& options, Loc at) const {
  namespace fs = std::filesystem;
  const std::string name = options.name.empty() ? identifier(function()->name) : options.name;
  check_function_name(name, std::find(targets.begin(), targets.end(), "python") != targets.end(), at);
  for (const std::string& p : options.parameters) check_parameter_name(p, at);
  check_parameter_count(*function(), options.parameters, at);
  if (options.tape_bytes < 1) throw KernelError(at, fmt::format("export: tape_bytes is {}; it must be positive", options.tape_bytes));
  std::vector<std::string> wanted, gpus;
  bool python = false;
  for (const std::string& t : targets) {
    python |= t == "python";
    if (is_object(t) && std::find(wanted.begin(), wanted.end(), t) == wanted.end()) wanted.push_back(t);
    if (t == "spirv" || t == "ptx" || t.starts_with("ptx-")) gpus.push_back(t);
    else if (t != "python" && !is_object(t))
      throw DeviceError(at, fmt::format("export: no target is named \"{}\"; there are: {}, spirv, ptx, ptx-sm_90 and the like, python", t,
                                        fmt::join(object_targets(), ", ")));
  }
  if (targets.empty()) throw DeviceError(at, "export: no target is given; \"native\" is this machine");
  const auto for_this_machine = [](const std::string& t) { return t.starts_with("x86-64") || t == "native"; };
  if (python && std::none_of(wanted.begin(), wanted.end(), for_this_machine)) wanted.push_back("native");

  std::vector<ExportedKernel> kernels;
  const auto add = [&](const KernelHandle& k, const char* derivative) {
    KernelFacts facts = k.facts();
    facts.options.interrupt = false;  // nobody there could ask
    const std::string full = *derivative ? fmt::format("{}_{}", name, derivative) : name;
    kernels.push_back(
        {{lower(*k.function(), "cpu"), make_signature(*k.function(), facts, full, options.parameters), facts.options}, derivative, {}});
  };
  add(*this, "");
  if (options.vjp) add(vjp({}), "vjp");
  if (options.jvp) add(jvp(), "jvp");
  std::vector<ExportItem> items;
  for (const ExportedKernel& k : kernels) items.push_back(k.item);

  // All that may be refused comes before the first file.
  std::vector<std::pair<fs::path, std::string>> contents;
  std::vector<ExportedFile> files;
  const fs::path folder = directory;
  for (const std::string& target : wanted) {
    ExportedObject made = export_object(items, target, options.tape_bytes);
    for (std::size_t k = 0; k < kernels.size(); ++k) kernels[k].how = made.functions[k];
    files.push_back({target, fmt::format("{}.{}.o", name, target), made.machine, made.needs, {}});
    contents.emplace_back(folder / files.back().path, std::move(made.object));
  }
  if (!wanted.empty()) contents.emplace_back(folder / (name + ".h"), header_text(name, kernels));
  for (const std::string& target : gpus)
    for (const ExportItem& item : items) {
      const ExportedGpuCode made = gpu_code(target, item);
      const std::string& function = item.signature.name;
      std::vector<std::string> names;
      for (const ExportedStage& stage : made.stages) {
        names.push_back(fmt::format("{}.{}.{}", function, names.size(), suffix(target)));
        contents.emplace_back(folder / names.back(), stage.code);
      }
      files.push_back({target, names.front(), {}, {}, gpu_members(function, made, names)});
    }
  const std::string json = json_text(name, kernels, files);
  contents.emplace_back(folder / (name + ".json"), json);
  if (python) contents.emplace_back(folder / (name + ".py"), python_text(name, json));

  std::error_code e;
  fs::create_directories(folder, e);
  if (e) throw IoError(at, fmt::format("export: the folder {} cannot be made: {}", directory, e.message()));
  std::vector<std::string> out;
  for (const auto& [path, text] : contents) out.push_back(write_file(path, text, at));
  return out;
}

}  // namespace fluxion::detail
