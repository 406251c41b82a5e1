// The text of a kernel, function or program at its stages: captured, after each pass, and what the devices make of it.
#include <fmt/format.h>

#include "fluxion/backend.h"
#include "fluxion/console/host.h"
#include "fluxion/ir.h"
#include "fluxion/pipeline.h"

namespace fluxion::console {
namespace {

/// The device that has this kind of text: ptx is CUDA's, spirv Vulkan's.
Device device_of(std::string_view what) {
  if (what == "ptx") return Device::named("cuda");
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
  throw KernelError(f.loc, fmt::format(":ir --stage: no stage \"{}\"; there are: all, {}", stage, names));
}

}  // namespace

std::string look(std::string_view what, std::string_view stage, const detail::KernelHandle& k) {
  if (what == "ir") return staged(*k.function(), stage);
  return k.dump(what, device_of(what));
}

std::string look(std::string_view what, std::string_view stage, const Function& f) {
  if (what == "ir") return staged(f, stage);
  throw KernelError(
      f.loc, fmt::format("function \"{}\": functions become part of the kernels that call them; only kernels and programs have \"{}\"",
                         f.name, what));
}

std::string look(std::string_view what, const detail::ProgramHandle& p, std::span<const detail::Argument> arguments) {
  return p.dump(what, arguments);
}

}  // namespace fluxion::console
