// The devices of this machine by name, their memory, and the debug flags of the environment.
#include "fluxion/device.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <map>

#include "runtime.h"

namespace fluxion {
namespace {

constexpr std::string_view kNames[] = {"cpu", "reference", "vulkan", "cuda"};  // the one that is taken unless named first

struct Registry {
  std::mutex mutex;
  std::map<std::string, std::shared_ptr<detail::DeviceState>, std::less<>> devices;
};
// Never destroyed: buffers with static storage may outlive any object of ours.
Registry& registry() {
  static Registry& r = *new Registry;
  return r;
}

// Pending work must end before the objects that it uses are destroyed at the end of the process.
void finish_streams() {
  std::lock_guard lock(registry().mutex);
  for (auto& [name, device] : registry().devices) device->stream.finish();
}

}  // namespace

Device Device::named(std::string_view name) {
  if (std::find(std::begin(kNames), std::end(kNames), name) == std::end(kNames))
    throw DeviceError({}, fmt::format("no device is named \"{}\"; there are: {}", name, fmt::join(kNames, ", ")));
  Registry& r = registry();
  std::lock_guard lock(r.mutex);
  auto it = r.devices.find(name);
  if (it == r.devices.end()) {
    auto backend = name == "cpu"      ? cpu_backend()
                   : name == "vulkan" ? vulkan_backend()
                   : name == "cuda"   ? cuda_backend()
                                      : reference_backend();
    if (r.devices.empty()) std::atexit(finish_streams);
    it = r.devices.emplace(std::string(name), std::make_shared<detail::DeviceState>(std::string(name), std::move(backend))).first;
  }
  return Device(it->second);
}

Device Device::cpu() { return named("cpu"); }
Device Device::reference() { return named("reference"); }

Device Device::best() {
  const char* wanted = std::getenv("FLUXION_DEVICE");
  if (wanted && *wanted) return named(wanted);
  return named(kNames[0]);
}

std::vector<std::string> Device::names() { return {std::begin(kNames), std::end(kNames)}; }

std::vector<Device> Device::list() {
  std::vector<Device> out;
  for (const auto name : kNames) {
    try {
      out.push_back(named(name));
    } catch (const DeviceError&) {  // no driver, or one that will not do: named() says which
    }
  }
  return out;
}

detail::DeviceState& Device::state() const {
  if (!state_) throw DeviceError({}, "an empty Device is used; take Device::best(), or one by its name");
  return *state_;
}
std::string Device::name() const { return state().name; }
std::string Device::description() const { return state().backend->description(); }
std::uint64_t Device::memory() const { return state().backend->memory(); }
std::vector<std::string> Device::features() const { return state().backend->features(); }
void Device::wait() const {
  state().stream.wait();
  state().backend->wait();
}

namespace detail {

Storage::~Storage() {
  if (deleter) deleter(data, context);
  if (deleter || bytes == 0) return;
  device.state().backend->free(data, bytes);
}

std::shared_ptr<Storage> allocate(const Device& device, std::size_t bytes, bool zeroed) {
  auto storage = std::make_shared<Storage>();
  storage->device = device;
  const std::size_t size = (bytes + 63) / 64 * 64;
  if (size != 0) {
    Backend& backend = *device.state().backend;
    storage->data = backend.allocate(size);
    if (!storage->data) throw DeviceError({}, fmt::format("{} bytes cannot be allocated on device {}", bytes, device.name()));
    storage->bytes = size;
    if (zeroed) {
      const std::byte zero{0};
      backend.fill(storage->data, &zero, 1, size);
    }
  }
  return storage;
}

DebugFlags debug_flags() {
  DebugFlags f;
  const char* interrupt = std::getenv("FLUXION_INTERRUPT");
  f.interrupt = interrupt && std::string_view(interrupt) == "1";
  const char* text = std::getenv("FLUXION_DEBUG");
  std::string_view rest = text ? text : "";
  while (!rest.empty()) {
    const std::size_t comma = rest.find(',');
    const std::string_view word = rest.substr(0, comma);
    rest = comma == std::string_view::npos ? "" : rest.substr(comma + 1);
    if (word == "bounds") f.bounds = true;
    else if (word == "nan") f.nan = true;
    else if (word == "inf") f.inf = true;
    else if (word == "race") f.race = true;
    else if (word == "verify") f.verify = true;
    else if (!word.empty())
      throw DeviceError({}, fmt::format("FLUXION_DEBUG: unknown word \"{}\"; there are: bounds, nan, inf, race, verify", word));
  }
  return f;
}

Tracer*& tracer() {
  thread_local Tracer* current = nullptr;
  return current;
}

}  // namespace detail
}  // namespace fluxion
