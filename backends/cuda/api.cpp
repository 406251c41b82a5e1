// dlopen of libcuda.
#include "api.h"

#include <dlfcn.h>
#include <fmt/format.h>

#include "fluxion/error.h"

namespace fluxion::cuda {

Api load(const char* name) {
  void* const library = dlopen(name, RTLD_NOW | RTLD_LOCAL);
  if (!library) {
    const char* why = dlerror();
    throw DeviceError({}, fmt::format("device cuda: {}; install NVIDIA's driver (450 or newer)", why ? why : name));
  }
  Api api;
  std::string missing;
#define FLUXION_LOAD(name, symbol, parameters)                             \
  api.name = reinterpret_cast<decltype(api.name)>(dlsym(library, symbol)); \
  if (!api.name) missing = symbol;
  FLUXION_CUDA_NEEDED(FLUXION_LOAD)
#undef FLUXION_LOAD
#define FLUXION_LOAD(name, symbol, parameters) api.name = reinterpret_cast<decltype(api.name)>(dlsym(library, symbol));
  FLUXION_CUDA_OPTIONAL(FLUXION_LOAD)
#undef FLUXION_LOAD
  if (!missing.empty())
    throw DeviceError({}, fmt::format("device cuda: {} has no {}; update NVIDIA's driver (450 or newer)", name, missing));
  return api;
}

const char* text_of(const Api& api, Result r) {
  const char* text = nullptr;
  if (api.GetErrorString && api.GetErrorString(r, &text) == kSuccess && text) return text;
  return "an error without a name";
}

}  // namespace fluxion::cuda
