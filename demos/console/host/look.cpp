// The text of a kernel, function or program at its stages: captured, after each pass, and what the devices make of it.
#include <fmt/format.h>
#include <stdlib.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "fluxion/backend.h"
#include "fluxion/console/host.h"
#include "fluxion/ir.h"
#include "fluxion/pipeline.h"

namespace fluxion::console {
namespace {

/// A folder of its own, gone with it.
struct Folder {
  std::string path = (std::filesystem::temp_directory_path() / "fluxion-code-XXXXXX").string();
  Folder() {
    if (!mkdtemp(path.data())) throw IoError({}, "no folder for the code in " + std::filesystem::temp_directory_path().string());
  }
  Folder(const Folder&) = delete;
  ~Folder() {
    std::error_code none;
    std::filesystem::remove_all(path, none);
  }
};

/// PTX is made without a GPU too: what the library exports.
std::string exported_ptx(const detail::KernelHandle& k) {
  const Folder folder;
  std::string out;
  k.export_to(folder.path, {"ptx"}, {}, {});
  for (const auto& entry : std::filesystem::directory_iterator(folder.path)) {
    if (entry.path().extension() != ".ptx") continue;
    std::ifstream in(entry.path());
    out += std::string(std::istreambuf_iterator<char>(in), {});
  }
  return out;
}

/// SPIR-V is words of a binary; spirv-dis makes text of them.
std::string disassembled(const std::string& module, Loc at) {
  const Folder folder;
  const std::string file = folder.path + "/module.spv";
  std::ofstream(file, std::ios::binary) << module;
  std::string out;
  if (std::FILE* pipe = popen(("spirv-dis --no-color '" + file + "' 2>/dev/null").c_str(), "r")) {
    char part[4096];
    for (std::size_t n; (n = std::fread(part, 1, sizeof part, pipe)) > 0;) out.append(part, n);
    pclose(pipe);
  }
  if (out.empty()) throw IoError(at, ":spirv needs the program spirv-dis (package spirv-tools) to make text of the module");
  return out;
}

/// The device that has this kind of text: spirv is Vulkan's.
Device device_of(std::string_view what) {
  if (what == "spirv") return Device::named("vulkan");
  return Device::best();
}

/// `stage`: a pass, "all", or "" for the captured text.
std::string staged(const Function& f, std::string_view stage) {
  if (stage.empty() || stage == "captured") return print(f);
  std::string before = print(f), out = "# captured\n" + before, names = "captured";
  Function now = f;
  for (const Pass& pass : native_pipeline()) {
    now = run_passes(now, {&pass, 1});
    const std::string text = print(now);
    names += ", " + std::string(pass.name);
    if (stage == pass.name) return fmt::format("# after {}{}\n{}", pass.name, text == before ? " (nothing changed)" : "", text);
    if (stage == "all")
      out += text == before ? fmt::format("# {}: nothing changed\n", pass.name) : fmt::format("# {}\n{}", pass.name, text);
    before = text;
  }
  if (stage == "all") return out;
  throw Error({}, fmt::format(":ir --stage: no stage \"{}\"; there are: all, {}", stage, names));
}

}  // namespace

std::string look(std::string_view what, std::string_view stage, const detail::KernelHandle& k) {
  if (what == "ir") return staged(*k.function(), stage);
  if (what == "ptx") return exported_ptx(k);
  std::string text = k.dump(what, device_of(what));
  return what == "spirv" ? disassembled(text, k.function()->loc) : text;
}

std::string look(std::string_view what, std::string_view stage, const Function& f) {
  if (what == "ir") return staged(f, stage);
  throw KernelError(
      f.loc, fmt::format("function \"{}\": functions become part of the kernels that call them; only kernels and programs have \"{}\"",
                         f.name, what));
}

std::string look(std::string_view what, const detail::ProgramHandle& p, std::span<const detail::Argument> arguments) {
  if (what == "ptx" || what == "spirv")
    throw Error({},
                fmt::format(":{} takes a kernel: \"{}\" is a program, which has :ir, :lowered, :llvm and :asm; ask for one of its kernels",
                            what, p.name()));
  return p.dump(what, arguments);
}

}  // namespace fluxion::console
