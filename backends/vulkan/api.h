// The Vulkan functions in use, found in libvulkan when the first device is asked for: a build needs headers only.
#pragma once
#define VK_NO_PROTOTYPES
#include <vulkan/vulkan.h>

namespace fluxion::vulkan {

// clang-format off
#define FLUXION_VULKAN_GLOBAL(X) X(CreateInstance) X(EnumerateInstanceLayerProperties) X(EnumerateInstanceVersion)
#define FLUXION_VULKAN_INSTANCE(X) \
  X(DestroyInstance) \
  X(EnumeratePhysicalDevices) \
  X(GetPhysicalDeviceProperties2) \
  X(GetPhysicalDeviceFeatures2) X(GetPhysicalDeviceMemoryProperties) X(GetPhysicalDeviceQueueFamilyProperties) \
      X(EnumerateDeviceExtensionProperties) X(CreateDevice) X(GetDeviceProcAddr)
#define FLUXION_VULKAN_DEVICE(X) \
  X(GetDeviceQueue) \
  X(DestroyDevice) \
  X(DeviceWaitIdle) \
  X(AllocateMemory) X(FreeMemory) X(MapMemory) X(CreateBuffer) X(DestroyBuffer) X(BindBufferMemory) X(GetBufferMemoryRequirements) \
      X(GetBufferDeviceAddress) X(CreateShaderModule) X(DestroyShaderModule) X(CreatePipelineLayout) X(CreateComputePipelines) \
          X(DestroyPipeline) X(CreatePipelineCache) X(DestroyPipelineCache) X(GetPipelineCacheData) X(CreateCommandPool) \
              X(AllocateCommandBuffers) X(BeginCommandBuffer) X(EndCommandBuffer) X(ResetCommandBuffer) X(CmdBindPipeline) \
                  X(CmdPushConstants) X(CmdDispatch) X(CmdCopyBuffer) X(CmdFillBuffer) X(CmdUpdateBuffer) X(CmdPipelineBarrier) \
                      X(CreateSemaphore) X(WaitSemaphores) X(GetSemaphoreCounterValue) X(QueueSubmit)
// clang-format on

/// Every member is null until it is loaded.
struct Api {
  PFN_vkGetInstanceProcAddr GetInstanceProcAddr = nullptr;
#define FLUXION_MEMBER(name) PFN_vk##name name = nullptr;
  FLUXION_VULKAN_GLOBAL(FLUXION_MEMBER)
  FLUXION_VULKAN_INSTANCE(FLUXION_MEMBER)
  FLUXION_VULKAN_DEVICE(FLUXION_MEMBER)
#undef FLUXION_MEMBER
  PFN_vkCreateDebugUtilsMessengerEXT CreateDebugUtilsMessengerEXT = nullptr;
};

/// Opens libvulkan and loads what needs no instance. Throws DeviceError.
void load_global(Api& api);
void load_instance(Api& api, VkInstance instance);
void load_device(Api& api, VkDevice device);

const char* name_of(VkResult r);

}  // namespace fluxion::vulkan
