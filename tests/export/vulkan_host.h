// A small Vulkan host that knows nothing of Fluxion: one buffer that the CPU sees, and compute shaders one after the other. What
// docs/backends.md says of exported SPIR-V is all that it is told.
#pragma once
#include <dlfcn.h>
#include <vulkan/vulkan.h>

#include <cstdint>
#include <cstring>
#include <stdexcept>
#include <string>
#include <vector>

class VulkanHost {
 public:
  static constexpr std::size_t kBytes = 1 << 20;
  VulkanHost() {
    void* library = ::dlopen("libvulkan.so.1", RTLD_NOW | RTLD_LOCAL);
    if (!library) throw std::runtime_error("libvulkan.so.1 is not there");
    get_ = reinterpret_cast<PFN_vkGetInstanceProcAddr>(::dlsym(library, "vkGetInstanceProcAddr"));
    VkApplicationInfo application{VK_STRUCTURE_TYPE_APPLICATION_INFO, nullptr, "", 0, "", 0, VK_API_VERSION_1_2};
    VkInstanceCreateInfo info{VK_STRUCTURE_TYPE_INSTANCE_CREATE_INFO, nullptr, 0, &application, 0, nullptr, 0, nullptr};
    must(call<PFN_vkCreateInstance>("vkCreateInstance")(&info, nullptr, &instance_), "no instance");
    std::uint32_t n = 1;
    call<PFN_vkEnumeratePhysicalDevices>("vkEnumeratePhysicalDevices")(instance_, &n, &physical_);
    if (n == 0) throw std::runtime_error("no Vulkan device");
    make_device();
    make_buffer();
  }

  /// `bytes` of the buffer, zeros: where the CPU and where the device sees them.
  struct Place {
    void* host;
    std::uint64_t address;
  };
  Place allocate(std::size_t bytes) {
    const std::size_t at = used_;
    used_ = (used_ + bytes + 255) / 256 * 256;
    if (used_ > kBytes) throw std::runtime_error("the buffer is full");
    return {mapped_ + at, address_ + at};
  }

  void run(const std::string& spirv, const void* push, std::uint32_t push_bytes, std::uint32_t workgroups) {
    VkShaderModuleCreateInfo code{VK_STRUCTURE_TYPE_SHADER_MODULE_CREATE_INFO, nullptr, 0, spirv.size(),
                                  reinterpret_cast<const std::uint32_t*>(spirv.data())};
    VkShaderModule module;
    must(call<PFN_vkCreateShaderModule>("vkCreateShaderModule")(device_, &code, nullptr, &module), "no module");
    const VkPushConstantRange range{VK_SHADER_STAGE_COMPUTE_BIT, 0, push_bytes};
    VkPipelineLayoutCreateInfo layout_info{VK_STRUCTURE_TYPE_PIPELINE_LAYOUT_CREATE_INFO, nullptr, 0, 0, nullptr, 1, &range};
    VkPipelineLayout layout;
    must(call<PFN_vkCreatePipelineLayout>("vkCreatePipelineLayout")(device_, &layout_info, nullptr, &layout), "no layout");
    VkComputePipelineCreateInfo info{};
    info.sType = VK_STRUCTURE_TYPE_COMPUTE_PIPELINE_CREATE_INFO;
    info.stage = {VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_CREATE_INFO, nullptr, 0, VK_SHADER_STAGE_COMPUTE_BIT, module, "main", nullptr};
    info.layout = layout;
    VkPipeline pipeline;
    must(call<PFN_vkCreateComputePipelines>("vkCreateComputePipelines")(device_, VK_NULL_HANDLE, 1, &info, nullptr, &pipeline),
         "no pipeline");
    VkCommandBufferAllocateInfo buffers{VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO, nullptr, pool_, VK_COMMAND_BUFFER_LEVEL_PRIMARY, 1};
    VkCommandBuffer commands;
    must(call<PFN_vkAllocateCommandBuffers>("vkAllocateCommandBuffers")(device_, &buffers, &commands), "no commands");
    VkCommandBufferBeginInfo begin{VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO, nullptr, 0, nullptr};
    call<PFN_vkBeginCommandBuffer>("vkBeginCommandBuffer")(commands, &begin);
    call<PFN_vkCmdBindPipeline>("vkCmdBindPipeline")(commands, VK_PIPELINE_BIND_POINT_COMPUTE, pipeline);
    call<PFN_vkCmdPushConstants>("vkCmdPushConstants")(commands, layout, VK_SHADER_STAGE_COMPUTE_BIT, 0, push_bytes, push);
    call<PFN_vkCmdDispatch>("vkCmdDispatch")(commands, workgroups, 1, 1);
    call<PFN_vkEndCommandBuffer>("vkEndCommandBuffer")(commands);
    VkSubmitInfo submit{VK_STRUCTURE_TYPE_SUBMIT_INFO, nullptr, 0, nullptr, nullptr, 1, &commands, 0, nullptr};
    must(call<PFN_vkQueueSubmit>("vkQueueSubmit")(queue_, 1, &submit, VK_NULL_HANDLE), "not submitted");
    must(call<PFN_vkQueueWaitIdle>("vkQueueWaitIdle")(queue_), "not done");
  }

 private:
  PFN_vkGetInstanceProcAddr get_ = nullptr;
  VkInstance instance_ = VK_NULL_HANDLE;
  VkPhysicalDevice physical_ = VK_NULL_HANDLE;
  VkDevice device_ = VK_NULL_HANDLE;
  VkQueue queue_ = VK_NULL_HANDLE;
  VkCommandPool pool_ = VK_NULL_HANDLE;
  char* mapped_ = nullptr;
  std::uint64_t address_ = 0;
  std::size_t used_ = 0;

  template <class F> F call(const char* name) const { return reinterpret_cast<F>(get_(instance_, name)); }
  static void must(VkResult r, const char* what) {
    if (r < 0) throw std::runtime_error(std::string(what) + ": " + std::to_string(r));
  }

  void make_device() {
    VkPhysicalDeviceVulkan12Features v12{};
    v12.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_FEATURES;
    VkPhysicalDeviceFeatures2 features{VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2, &v12, {}};
    call<PFN_vkGetPhysicalDeviceFeatures2>("vkGetPhysicalDeviceFeatures2")(physical_, &features);
    if (!v12.bufferDeviceAddress || !features.features.shaderInt64) throw std::runtime_error("a Vulkan device without addresses");
    std::uint32_t n = 16, family = 0;
    VkQueueFamilyProperties families[16];
    call<PFN_vkGetPhysicalDeviceQueueFamilyProperties>("vkGetPhysicalDeviceQueueFamilyProperties")(physical_, &n, families);
    while (family < n && !(families[family].queueFlags & VK_QUEUE_COMPUTE_BIT)) ++family;
    const float priority = 1;
    VkDeviceQueueCreateInfo queue{VK_STRUCTURE_TYPE_DEVICE_QUEUE_CREATE_INFO, nullptr, 0, family, 1, &priority};
    VkDeviceCreateInfo info{VK_STRUCTURE_TYPE_DEVICE_CREATE_INFO, &features, 0, 1, &queue, 0, nullptr, 0, nullptr, nullptr};
    must(call<PFN_vkCreateDevice>("vkCreateDevice")(physical_, &info, nullptr, &device_), "no device");
    call<PFN_vkGetDeviceQueue>("vkGetDeviceQueue")(device_, family, 0, &queue_);
    VkCommandPoolCreateInfo pool{VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO, nullptr, 0, family};
    must(call<PFN_vkCreateCommandPool>("vkCreateCommandPool")(device_, &pool, nullptr, &pool_), "no pool");
  }

  void make_buffer() {
    VkBufferCreateInfo info{};
    info.sType = VK_STRUCTURE_TYPE_BUFFER_CREATE_INFO;
    info.size = kBytes;
    info.usage = VK_BUFFER_USAGE_STORAGE_BUFFER_BIT | VK_BUFFER_USAGE_SHADER_DEVICE_ADDRESS_BIT;
    VkBuffer buffer;
    must(call<PFN_vkCreateBuffer>("vkCreateBuffer")(device_, &info, nullptr, &buffer), "no buffer");
    VkMemoryRequirements needs;
    call<PFN_vkGetBufferMemoryRequirements>("vkGetBufferMemoryRequirements")(device_, buffer, &needs);
    VkPhysicalDeviceMemoryProperties memory;
    call<PFN_vkGetPhysicalDeviceMemoryProperties>("vkGetPhysicalDeviceMemoryProperties")(physical_, &memory);
    constexpr VkMemoryPropertyFlags kSeen = VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT | VK_MEMORY_PROPERTY_HOST_COHERENT_BIT;
    std::uint32_t type = 0;
    while (type < memory.memoryTypeCount &&
           (!(needs.memoryTypeBits >> type & 1) || (memory.memoryTypes[type].propertyFlags & kSeen) != kSeen))
      ++type;
    VkMemoryAllocateFlagsInfo flags{VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_FLAGS_INFO, nullptr, VK_MEMORY_ALLOCATE_DEVICE_ADDRESS_BIT, 0};
    VkMemoryAllocateInfo allocate{VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO, &flags, needs.size, type};
    VkDeviceMemory held;
    must(call<PFN_vkAllocateMemory>("vkAllocateMemory")(device_, &allocate, nullptr, &held), "no memory");
    must(call<PFN_vkBindBufferMemory>("vkBindBufferMemory")(device_, buffer, held, 0), "not bound");
    void* mapped = nullptr;
    must(call<PFN_vkMapMemory>("vkMapMemory")(device_, held, 0, kBytes, 0, &mapped), "not mapped");
    mapped_ = static_cast<char*>(mapped);
    std::memset(mapped_, 0, kBytes);
    VkBufferDeviceAddressInfo where{VK_STRUCTURE_TYPE_BUFFER_DEVICE_ADDRESS_INFO, nullptr, buffer};
    address_ = call<PFN_vkGetBufferDeviceAddress>("vkGetBufferDeviceAddress")(device_, &where);
  }
};
