// dlopen of libvulkan and the names of its results.
#include "api.h"

#include <dlfcn.h>

#include "fluxion/error.h"

namespace fluxion::vulkan {

void load_global(Api& api) {
  static void* const library = dlopen("libvulkan.so.1", RTLD_NOW | RTLD_LOCAL);
  if (!library)
    throw DeviceError({}, std::string("device vulkan: libvulkan.so.1 cannot be opened (") + dlerror() +
                              "); install libvulkan1 and a driver (mesa-vulkan-drivers has a software one)");
  api.GetInstanceProcAddr = reinterpret_cast<PFN_vkGetInstanceProcAddr>(dlsym(library, "vkGetInstanceProcAddr"));
  if (!api.GetInstanceProcAddr)
    throw DeviceError({}, "device vulkan: libvulkan.so.1 has no vkGetInstanceProcAddr; install another libvulkan1");
#define FLUXION_LOAD(name) api.name = reinterpret_cast<PFN_vk##name>(api.GetInstanceProcAddr(nullptr, "vk" #name));
  FLUXION_VULKAN_GLOBAL(FLUXION_LOAD)
#undef FLUXION_LOAD
  if (!api.EnumerateInstanceVersion)
    throw DeviceError({}, "device vulkan: the library is of version 1.0 and 1.2 is needed; update libvulkan1");
}

void load_instance(Api& api, VkInstance instance) {
#define FLUXION_LOAD(name) api.name = reinterpret_cast<PFN_vk##name>(api.GetInstanceProcAddr(instance, "vk" #name));
  FLUXION_VULKAN_INSTANCE(FLUXION_LOAD)
  FLUXION_LOAD(CreateDebugUtilsMessengerEXT)
#undef FLUXION_LOAD
}

void load_device(Api& api, VkDevice device) {
#define FLUXION_LOAD(name) api.name = reinterpret_cast<PFN_vk##name>(api.GetDeviceProcAddr(device, "vk" #name));
  FLUXION_VULKAN_DEVICE(FLUXION_LOAD)
#undef FLUXION_LOAD
}

const char* name_of(VkResult r) {
  switch (r) {
    case VK_ERROR_OUT_OF_HOST_MEMORY: return "no host memory";
    case VK_ERROR_OUT_OF_DEVICE_MEMORY: return "no device memory";
    case VK_ERROR_INITIALIZATION_FAILED: return "initialisation failed";
    case VK_ERROR_DEVICE_LOST: return "the device is lost";
    case VK_ERROR_MEMORY_MAP_FAILED: return "memory cannot be mapped";
    case VK_ERROR_LAYER_NOT_PRESENT: return "a layer is not installed";
    case VK_ERROR_EXTENSION_NOT_PRESENT: return "an extension is not there";
    case VK_ERROR_FEATURE_NOT_PRESENT: return "a feature is not there";
    case VK_ERROR_INCOMPATIBLE_DRIVER: return "no driver is installed";
    case VK_TIMEOUT: return "timeout";
    default: return "an error without a name";
  }
}

}  // namespace fluxion::vulkan
