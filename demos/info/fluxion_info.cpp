// fluxion-info: what this machine has for Fluxion. Devices with their memory and features, and of those that are missing the reason; the
// CPU, LLVM, the cache of compiled code, and the environment variables that are set.
#include <fmt/format.h>

#include <cstring>
#include <fstream>

#include "fluxion/backend.h"
#include "fluxion/cache.h"
#include "fluxion/fluxion.h"

extern char** environ;

namespace {

std::string amount(std::uint64_t bytes) {
  const char* const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
  auto n = static_cast<double>(bytes);
  std::size_t k = 0;
  for (; n >= 1024 && k < 4; ++k) n /= 1024;
  return k == 0 ? fmt::format("{} B", bytes) : fmt::format("{:.1f} {}", n, units[k]);
}

std::string cpu_model() {
  std::ifstream in("/proc/cpuinfo");
  for (std::string line; std::getline(in, line);)
    if (line.starts_with("model name")) return line.substr(std::min(line.size(), line.find(':') + 2));
  return "unknown";
}

/// "name  text", the text in lines of at most 100 characters.
void row(const std::string& name, const std::string& text) {
  constexpr std::size_t kWide = 100;
  std::string left = name;
  for (std::size_t at = 0; at < text.size() || at == 0;) {
    std::size_t end = text.size() - at <= kWide ? text.size() : text.rfind(' ', at + kWide);
    if (end == std::string::npos || end <= at) end = std::min(text.size(), text.find(' ', at + kWide));
    fmt::print("{:<12}{}\n", left, text.substr(at, end - at));
    left.clear();
    at = end + 1;
  }
}

void device(const std::string& name) {
  try {
    const auto d = fluxion::Device::named(name);
    row(name, d.description());
    if (d.memory() > 0) row("  memory", amount(d.memory()));
    if (!d.features().empty()) row("  features", fmt::format("{}", fmt::join(d.features(), ", ")));
  } catch (const fluxion::DeviceError& e) { row(name, fmt::format("not available: {}", e.what())); }
}

}  // namespace

int main(int count, char** arguments) {
  if (count > 1) {
    fmt::print("{}: prints the devices that Fluxion finds, and what it reads from the environment\n", arguments[0]);
    return std::strcmp(arguments[1], "--help") == 0 ? 0 : 2;
  }
  try {
    row("processor", cpu_model());
    row("threads", fmt::format("{}", fluxion::cpu_threads()));
    row("LLVM", fluxion::llvm_version());
    const auto cache = fluxion::cache_folder();
    row("cache", cache.path.empty() ? "off" : fmt::format("{} ({} files, {})", cache.path, cache.files, amount(cache.bytes)));
    fmt::print("\ndevices\n");
    for (const std::string& name : fluxion::Device::names()) device(name);
    try {
      row("best", fluxion::Device::best().name());
    } catch (const fluxion::DeviceError& e) { row("best", fmt::format("none: {}", e.what())); }
    fmt::print("\nenvironment\n");
    bool any = false;
    for (char** e = environ; *e; ++e)
      if (const std::string text = *e; text.starts_with("FLUXION_")) {
        any = true;
        fmt::print("{}\n", text);
      }
    if (!any) fmt::print("no FLUXION_* variable is set; docs/environment.md lists them\n");
  } catch (const fluxion::Error& e) {
    fmt::print(stderr, "fluxion-info: {}\n", e.what());
    return 1;
  }
  return 0;
}
