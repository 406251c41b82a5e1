// The devices of this machine by name, their memory, and the debug flags of the environment.
#include "fluxion/device.h"

#include <fmt/format.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <map>
#include <unordered_map>

#include "runtime.h"

namespace fluxion {
namespace {

constexpr std::string_view kNames[] = {"cpu", "reference"};  // the best one first

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
    auto backend = name == "cpu" ? cpu_backend() : reference_backend();
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

std::vector<Device> Device::list() {
  std::vector<Device> out;
  for (const auto name : kNames) out.push_back(named(name));
  return out;
}

detail::DeviceState& Device::state() const {
  if (!state_) throw DeviceError({}, "an empty Device is used; take Device::best(), or one by its name");
  return *state_;
}
std::string Device::name() const { return state().name; }
std::string Device::description() const { return state().backend->description(); }
void Device::wait() const { state().stream.wait(); }

namespace detail {
namespace {

// Blocks that were freed, by size: launches with scratch ask for the same sizes again and again.
struct Pool {
  std::mutex mutex;
  std::unordered_map<std::size_t, std::vector<void*>> blocks;
  std::size_t bytes = 0;
};
constexpr std::size_t kPooled = std::size_t{256} << 20;
constexpr std::size_t kHuge = std::size_t{2} << 20;
constexpr std::size_t kPage = 4096;
Pool& pool() {
  static Pool& p = *new Pool;
  return p;
}

}  // namespace

Storage::~Storage() {
  if (deleter) deleter(data, context);
  if (deleter || bytes == 0) return;
  Pool& p = pool();
  {
    std::lock_guard lock(p.mutex);
    if (p.bytes + bytes <= kPooled) {
      p.blocks[bytes].push_back(data);
      p.bytes += bytes;
      return;
    }
  }
  std::free(data);
}

std::shared_ptr<Storage> allocate(const Device& device, std::size_t bytes, bool zeroed) {
  auto storage = std::make_shared<Storage>();
  storage->device = device;
  const std::size_t size = (bytes + 63) / 64 * 64;
  if (size != 0) {
    Pool& p = pool();
    {
      std::lock_guard lock(p.mutex);
      if (auto it = p.blocks.find(size); it != p.blocks.end() && !it->second.empty()) {
        storage->data = it->second.back();
        it->second.pop_back();
        p.bytes -= size;
      }
    }
    if (!storage->data) {
      const bool large = size >= 2 * kHuge;
      // Whole pages: two arrays a few cache lines apart modulo 4096 make loads wait for stores they only seem to follow
      // (a stencil then takes half as long again).
      const std::size_t align = large ? kHuge : size >= 8 * kPage ? kPage : 64;
      storage->data = std::aligned_alloc(align, (size + align - 1) / align * align);
      if (!storage->data) throw DeviceError({}, fmt::format("{} bytes cannot be allocated on device {}", bytes, device.name()));
      if (large) madvise(storage->data, size, MADV_HUGEPAGE);
    }
    if (zeroed) std::memset(storage->data, 0, size);
  }
  storage->bytes = size;
  return storage;
}

DebugFlags debug_flags() {
  DebugFlags f;
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
