// Finding a device, and making it ready: instance, features, queue. The software device is one like others here.
#include <fmt/format.h>

#include <cstdlib>
#include <cstring>
#include <utility>

#include "fluxion/error.h"
#include "gpu.h"

namespace fluxion::vulkan {
namespace {

bool wanted(const char* variable) {
  const char* text = std::getenv(variable);
  return text && *text && std::strcmp(text, "0") != 0;
}

std::mutex g_messages_mutex;
std::vector<std::string>& messages() {
  static auto& list = *new std::vector<std::string>;
  return list;
}

VKAPI_ATTR VkBool32 VKAPI_CALL on_message(VkDebugUtilsMessageSeverityFlagBitsEXT, VkDebugUtilsMessageTypeFlagsEXT,
                                          const VkDebugUtilsMessengerCallbackDataEXT* data, void*) {
  const std::lock_guard lock(g_messages_mutex);
  messages().push_back(data->pMessage ? data->pMessage : "a message without a text");
  return VK_FALSE;
}

// Everything that is asked of a device, in one chain.
struct Features {
  VkPhysicalDeviceFeatures2 all{VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2, nullptr, {}};
  VkPhysicalDeviceVulkan11Features v11{};
  VkPhysicalDeviceVulkan12Features v12{};
  VkPhysicalDeviceShaderAtomicFloatFeaturesEXT atomic_float{};
  VkPhysicalDeviceSubgroupSizeControlFeaturesEXT subgroup_size{};
  Features(bool floats, bool sizes) {
    v11.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_1_FEATURES;
    v12.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_FEATURES;
    atomic_float.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_ATOMIC_FLOAT_FEATURES_EXT;
    all.pNext = &v11;
    v11.pNext = &v12;
    subgroup_size.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_SIZE_CONTROL_FEATURES_EXT;
    if (floats) v12.pNext = &atomic_float;
    if (sizes) (floats ? atomic_float.pNext : v12.pNext) = &subgroup_size;
  }
};

bool has_extension(const Api& vk, VkPhysicalDevice device, const char* name) {
  std::uint32_t n = 0;
  vk.EnumerateDeviceExtensionProperties(device, nullptr, &n, nullptr);
  std::vector<VkExtensionProperties> list(n);
  vk.EnumerateDeviceExtensionProperties(device, nullptr, &n, list.data());
  for (const auto& e : list)
    if (std::strcmp(e.extensionName, name) == 0) return true;
  return false;
}

/// What a device lacks, or "".
std::string missing(const Api& vk, VkPhysicalDevice device) {
  VkPhysicalDeviceProperties2 properties{VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2, nullptr, {}};
  vk.GetPhysicalDeviceProperties2(device, &properties);
  if (properties.properties.apiVersion < VK_API_VERSION_1_2) return "Vulkan 1.2";
  Features f(false, false);
  vk.GetPhysicalDeviceFeatures2(device, &f.all);
  std::string list;
  const auto need = [&](VkBool32 has, const char* what) {
    if (!has) list += (list.empty() ? "" : ", ") + std::string(what);
  };
  need(f.v12.bufferDeviceAddress, "buffer device addresses");
  need(f.v12.timelineSemaphore, "timeline semaphores");
  need(f.all.features.shaderInt64, "64-bit integers");
  need(f.all.features.shaderInt16, "16-bit integers");
  need(f.v12.shaderInt8, "8-bit integers");
  need(f.v12.storageBuffer8BitAccess, "8-bit storage");
  need(f.v11.storageBuffer16BitAccess, "16-bit storage");
  return list;
}

std::string lower_case(std::string s) {
  for (char& c : s) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return s;
}

}  // namespace

void Gpu::throw_messages() {
  const std::lock_guard lock(g_messages_mutex);
  if (messages().empty()) return;
  const auto said = std::exchange(messages(), {});
  throw DeviceError({}, fmt::format("device vulkan ({}): the validation layer says: {}", name_, said.front()));
}

Gpu::Gpu() {
  load_global(vk_);
  make_instance();
  choose_device();
  make_device();
  choose_memory();
}

Gpu::~Gpu() {
  // The process ends with the device: the driver's threads may be gone already, so nothing is called here.
}

void Gpu::check(VkResult r, const char* what) {
  if (r >= 0) return;
  if (r == VK_ERROR_DEVICE_LOST) lost_ = true;
  throw DeviceError({}, fmt::format("device vulkan ({}): {}: {}", name_.empty() ? "none yet" : name_, what, vulkan::name_of(r)));
}

void Gpu::make_instance() {
  VkApplicationInfo application{VK_STRUCTURE_TYPE_APPLICATION_INFO, nullptr, "fluxion", 1, "fluxion", 1, VK_API_VERSION_1_2};
  VkInstanceCreateInfo info{VK_STRUCTURE_TYPE_INSTANCE_CREATE_INFO, nullptr, 0, &application, 0, nullptr, 0, nullptr};
  const char* layer = "VK_LAYER_KHRONOS_validation";
  const char* extension = VK_EXT_DEBUG_UTILS_EXTENSION_NAME;
  VkDebugUtilsMessengerCreateInfoEXT messenger{
      VK_STRUCTURE_TYPE_DEBUG_UTILS_MESSENGER_CREATE_INFO_EXT,
      nullptr,
      0,
      VK_DEBUG_UTILS_MESSAGE_SEVERITY_WARNING_BIT_EXT | VK_DEBUG_UTILS_MESSAGE_SEVERITY_ERROR_BIT_EXT,
      VK_DEBUG_UTILS_MESSAGE_TYPE_VALIDATION_BIT_EXT | VK_DEBUG_UTILS_MESSAGE_TYPE_PERFORMANCE_BIT_EXT,
      on_message,
      nullptr};
  const bool validate = wanted("FLUXION_VULKAN_VALIDATE");
  if (validate) {
    info.enabledLayerCount = 1;
    info.ppEnabledLayerNames = &layer;
    info.enabledExtensionCount = 1;
    info.ppEnabledExtensionNames = &extension;
  }
  const VkResult r = vk_.CreateInstance(&info, nullptr, &instance_);
  if (r == VK_ERROR_LAYER_NOT_PRESENT)
    throw DeviceError(
        {}, "device vulkan: FLUXION_VULKAN_VALIDATE is set, but the validation layer is not there; install vulkan-validationlayers");
  if (r == VK_ERROR_INCOMPATIBLE_DRIVER)
    throw DeviceError(
        {}, "device vulkan: no driver is installed; install that of the graphics card, or mesa-vulkan-drivers for a software one");
  check(r, "no instance can be made");
  load_instance(vk_, instance_);
  VkDebugUtilsMessengerEXT handle;
  if (validate && vk_.CreateDebugUtilsMessengerEXT)
    check(vk_.CreateDebugUtilsMessengerEXT(instance_, &messenger, nullptr, &handle), "no messages");
}

void Gpu::choose_device() {
  std::uint32_t n = 0;
  vk_.EnumeratePhysicalDevices(instance_, &n, nullptr);
  std::vector<VkPhysicalDevice> all(n);
  vk_.EnumeratePhysicalDevices(instance_, &n, all.data());
  const char* text = std::getenv("FLUXION_VULKAN_DEVICE");
  const std::string asked = text ? text : "";
  const bool by_number = !asked.empty() && asked.find_first_not_of("0123456789") == std::string::npos;
  int best = -1;
  std::string seen;
  for (std::uint32_t k = 0; k < n; ++k) {
    VkPhysicalDeviceProperties2 p{VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2, nullptr, {}};
    vk_.GetPhysicalDeviceProperties2(all[k], &p);
    const std::string name = p.properties.deviceName, lacks = missing(vk_, all[k]);
    seen += fmt::format("{}{} \"{}\"{}", k ? ", " : "", k, name, lacks.empty() ? "" : " without " + lacks);
    if (!lacks.empty()) continue;
    if (by_number ? asked != std::to_string(k) : lower_case(name).find(lower_case(asked)) == std::string::npos) continue;
    // Real devices before the software one.
    const int type = p.properties.deviceType;
    const int score = type == VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU     ? 4
                      : type == VK_PHYSICAL_DEVICE_TYPE_INTEGRATED_GPU ? 3
                      : type == VK_PHYSICAL_DEVICE_TYPE_VIRTUAL_GPU    ? 2
                                                                       : 1;
    if (score > best) best = score, physical_ = all[k];
  }
  if (n == 0) throw DeviceError({}, "device vulkan: the driver found no device; install mesa-vulkan-drivers for a software one");
  if (!physical_)
    throw DeviceError({}, fmt::format("device vulkan: no device will do{}; there are: {}",
                                      asked.empty() ? "" : fmt::format(" that FLUXION_VULKAN_DEVICE=\"{}\" names", asked), seen));
  VkPhysicalDeviceFloatControlsProperties floats{};
  floats.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FLOAT_CONTROLS_PROPERTIES;
  VkPhysicalDeviceDriverProperties driver{};
  driver.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_DRIVER_PROPERTIES;
  driver.pNext = &floats;
  VkPhysicalDeviceProperties2 p{VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2, &driver, {}};
  vk_.GetPhysicalDeviceProperties2(physical_, &p);
  name_ = p.properties.deviceName;
  driver_ = fmt::format("{} {}", driver.driverName, driver.driverInfo);
  software_ = p.properties.deviceType == VK_PHYSICAL_DEVICE_TYPE_CPU;
  identity_ = fmt::format("{} {:x} {:x} {} ", name_, p.properties.driverVersion, p.properties.deviceID, driver_);
  shared_limit_ = p.properties.limits.maxComputeSharedMemorySize;
  threads_limit_ = static_cast<int>(p.properties.limits.maxComputeWorkGroupInvocations);
  const auto bytes_of = [](auto v) { return std::string(reinterpret_cast<const char*>(&v), sizeof v); };
  cache_header_ = bytes_of(std::uint32_t{16 + VK_UUID_SIZE}) + bytes_of(std::uint32_t{VK_PIPELINE_CACHE_HEADER_VERSION_ONE}) +
                  bytes_of(p.properties.vendorID) + bytes_of(p.properties.deviceID);
  for (const std::uint8_t byte : p.properties.pipelineCacheUUID) {
    cache_header_ += static_cast<char>(byte);
    identity_ += fmt::format("{:02x}", byte);
  }
  traits_.keeps_zero_inf_nan32 = floats.shaderSignedZeroInfNanPreserveFloat32;
  traits_.keeps_zero_inf_nan64 = floats.shaderSignedZeroInfNanPreserveFloat64;
  traits_.nearest32 = floats.shaderRoundingModeRTEFloat32;
  traits_.nearest64 = floats.shaderRoundingModeRTEFloat64;
}

// Whether compute shaders may have subgroups of 32 threads, with the ops that emit_group.cpp knows.
bool Gpu::has_subgroups(bool size_control) {
  VkPhysicalDeviceSubgroupSizeControlPropertiesEXT sizes{};
  sizes.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_SIZE_CONTROL_PROPERTIES_EXT;
  VkPhysicalDeviceSubgroupProperties has{VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_PROPERTIES, &sizes, 0, 0, 0, VK_FALSE};
  VkPhysicalDeviceProperties2 p{VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2, &has, {}};
  vk_.GetPhysicalDeviceProperties2(physical_, &p);
  constexpr VkSubgroupFeatureFlags kOps =
      VK_SUBGROUP_FEATURE_BASIC_BIT | VK_SUBGROUP_FEATURE_VOTE_BIT | VK_SUBGROUP_FEATURE_ARITHMETIC_BIT | VK_SUBGROUP_FEATURE_SHUFFLE_BIT;
  if ((has.supportedOperations & kOps) != kOps || !(has.supportedStages & VK_SHADER_STAGE_COMPUTE_BIT)) return false;
  requires_size_ = size_control && (sizes.requiredSubgroupSizeStages & VK_SHADER_STAGE_COMPUTE_BIT);
  if (sizes.minSubgroupSize > kSubgroupSize || sizes.maxSubgroupSize < kSubgroupSize) return false;
  if (requires_size_) return sizes.maxComputeWorkgroupSubgroups * kSubgroupSize >= static_cast<std::uint32_t>(threads_limit_);
  return sizes.minSubgroupSize == sizes.maxSubgroupSize;
}

void Gpu::make_device() {
  const bool floats = has_extension(vk_, physical_, VK_EXT_SHADER_ATOMIC_FLOAT_EXTENSION_NAME);
  const bool sizes = has_extension(vk_, physical_, VK_EXT_SUBGROUP_SIZE_CONTROL_EXTENSION_NAME);
  Features has(floats, sizes), use(floats, sizes);
  vk_.GetPhysicalDeviceFeatures2(physical_, &has.all);
  use.all.features.shaderInt64 = use.all.features.shaderInt16 = VK_TRUE;
  use.all.features.shaderFloat64 = has.all.features.shaderFloat64;
  use.v11.storageBuffer16BitAccess = VK_TRUE;
  use.v12.bufferDeviceAddress = use.v12.timelineSemaphore = use.v12.shaderInt8 = use.v12.storageBuffer8BitAccess = VK_TRUE;
  use.v12.shaderBufferInt64Atomics = has.v12.shaderBufferInt64Atomics;
  use.v12.shaderSharedInt64Atomics = has.v12.shaderSharedInt64Atomics;
  use.atomic_float.shaderBufferFloat32Atomics = has.atomic_float.shaderBufferFloat32Atomics;
  use.atomic_float.shaderBufferFloat32AtomicAdd = has.atomic_float.shaderBufferFloat32AtomicAdd;
  use.atomic_float.shaderSharedFloat32Atomics = has.atomic_float.shaderSharedFloat32Atomics;
  use.atomic_float.shaderSharedFloat32AtomicAdd = has.atomic_float.shaderSharedFloat32AtomicAdd;
  use.subgroup_size.subgroupSizeControl = has.subgroup_size.subgroupSizeControl;
  use.subgroup_size.computeFullSubgroups = has.subgroup_size.computeFullSubgroups;
  traits_.f64 = has.all.features.shaderFloat64;
  traits_.atomics_i64 = has.v12.shaderBufferInt64Atomics;
  traits_.atomics_i64_shared = has.v12.shaderSharedInt64Atomics;
  traits_.add_f32 = floats && has.atomic_float.shaderBufferFloat32AtomicAdd;
  traits_.add_f32_shared = floats && has.atomic_float.shaderSharedFloat32AtomicAdd;
  if (sizes && has_subgroups(has.subgroup_size.subgroupSizeControl) && has.subgroup_size.computeFullSubgroups)
    traits_.subgroup = kSubgroupSize;

  std::uint32_t n = 0;
  vk_.GetPhysicalDeviceQueueFamilyProperties(physical_, &n, nullptr);
  std::vector<VkQueueFamilyProperties> families(n);
  vk_.GetPhysicalDeviceQueueFamilyProperties(physical_, &n, families.data());
  // One for computing alone, where there is one, does not wait for pictures.
  bool found = false;
  for (std::uint32_t k = 0; k < n; ++k) {
    const bool compute = families[k].queueFlags & VK_QUEUE_COMPUTE_BIT, graphics = families[k].queueFlags & VK_QUEUE_GRAPHICS_BIT;
    if (!compute || (found && graphics)) continue;
    family_ = k;
    found = true;
    if (!graphics) break;
  }
  if (!found) throw DeviceError({}, fmt::format("device vulkan: \"{}\" has no queue that computes", name_));
  const float priority = 1;
  VkDeviceQueueCreateInfo queue{VK_STRUCTURE_TYPE_DEVICE_QUEUE_CREATE_INFO, nullptr, 0, family_, 1, &priority};
  std::vector<const char*> extensions;
  if (floats) extensions.push_back(VK_EXT_SHADER_ATOMIC_FLOAT_EXTENSION_NAME);
  if (sizes) extensions.push_back(VK_EXT_SUBGROUP_SIZE_CONTROL_EXTENSION_NAME);
  VkDeviceCreateInfo info{VK_STRUCTURE_TYPE_DEVICE_CREATE_INFO,          &use.all,          0,      1, &queue, 0, nullptr,
                          static_cast<std::uint32_t>(extensions.size()), extensions.data(), nullptr};
  check(vk_.CreateDevice(physical_, &info, nullptr, &device_), "the device cannot be opened");
  load_device(vk_, device_);
  vk_.GetDeviceQueue(device_, family_, 0, &queue_);
  const VkPushConstantRange range{VK_SHADER_STAGE_COMPUTE_BIT, 0, kPushWords * 8};
  VkPipelineLayoutCreateInfo layout{VK_STRUCTURE_TYPE_PIPELINE_LAYOUT_CREATE_INFO, nullptr, 0, 0, nullptr, 1, &range};
  check(vk_.CreatePipelineLayout(device_, &layout, nullptr, &layout_), "no pipeline layout");
  VkCommandPoolCreateInfo pool{VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO, nullptr, VK_COMMAND_POOL_CREATE_RESET_COMMAND_BUFFER_BIT,
                               family_};
  check(vk_.CreateCommandPool(device_, &pool, nullptr, &pool_), "no command pool");
  VkSemaphoreTypeCreateInfo timeline{VK_STRUCTURE_TYPE_SEMAPHORE_TYPE_CREATE_INFO, nullptr, VK_SEMAPHORE_TYPE_TIMELINE, 0};
  VkSemaphoreCreateInfo semaphore{VK_STRUCTURE_TYPE_SEMAPHORE_CREATE_INFO, &timeline, 0};
  check(vk_.CreateSemaphore(device_, &semaphore, nullptr, &timeline_), "no semaphore");
}

void Gpu::choose_memory() {
  VkPhysicalDeviceMemoryProperties p;
  vk_.GetPhysicalDeviceMemoryProperties(physical_, &p);
  // Types that buffers like ours may have, and that are plain memory.
  const VkBufferCreateInfo info = buffer_info(1 << 16);
  VkBuffer sample = VK_NULL_HANDLE;
  check(vk_.CreateBuffer(device_, &info, nullptr, &sample), "no buffer");
  VkMemoryRequirements needs;
  vk_.GetBufferMemoryRequirements(device_, sample, &needs);
  vk_.DestroyBuffer(device_, sample, nullptr);
  constexpr VkMemoryPropertyFlags kSpecial = VK_MEMORY_PROPERTY_PROTECTED_BIT | VK_MEMORY_PROPERTY_LAZILY_ALLOCATED_BIT |
                                             VK_MEMORY_PROPERTY_DEVICE_COHERENT_BIT_AMD | VK_MEMORY_PROPERTY_RDMA_CAPABLE_BIT_NV;
  const auto usable = [&](std::uint32_t k) { return (needs.memoryTypeBits >> k & 1) && !(p.memoryTypes[k].propertyFlags & kSpecial); };
  const auto find = [&](VkMemoryPropertyFlags need, VkMemoryPropertyFlags want) {
    int best = -1, score = -1;
    for (std::uint32_t k = 0; k < p.memoryTypeCount; ++k) {
      const auto has = p.memoryTypes[k].propertyFlags;
      if (!usable(k) || (has & need) != need) continue;
      const int s = (has & want) == want ? 1 : 0;
      if (s > score) score = s, best = static_cast<int>(k);
    }
    return best;
  };
  constexpr VkMemoryPropertyFlags kHost = VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT | VK_MEMORY_PROPERTY_HOST_COHERENT_BIT;
  const int arrays = find(VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT, kHost), staging = find(kHost, VK_MEMORY_PROPERTY_HOST_CACHED_BIT);
  if (arrays < 0 || staging < 0) throw DeviceError({}, fmt::format("device vulkan: \"{}\" has no memory that the host can see", name_));
  arrays_.type = static_cast<std::uint32_t>(arrays);
  const auto flags = p.memoryTypes[arrays].propertyFlags;
  arrays_.mapped = software_ && (flags & kHost) == kHost && !wanted("FLUXION_VULKAN_STAGING");
  // On a card the part that the host sees may be small: the whole is taken instead.
  if (!arrays_.mapped)
    for (std::uint32_t k = 0; k < p.memoryTypeCount; ++k)
      if (usable(k) && p.memoryTypes[k].propertyFlags & VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT &&
          p.memoryHeaps[p.memoryTypes[k].heapIndex].size > p.memoryHeaps[p.memoryTypes[arrays_.type].heapIndex].size)
        arrays_.type = k;
  staging_.type = static_cast<std::uint32_t>(staging);
  staging_.mapped = true;
  heap_ = p.memoryHeaps[p.memoryTypes[arrays_.type].heapIndex].size;
  VkPhysicalDeviceMaintenance3Properties limits{};
  limits.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MAINTENANCE_3_PROPERTIES;
  VkPhysicalDeviceProperties2 properties{VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2, &limits, {}};
  vk_.GetPhysicalDeviceProperties2(physical_, &properties);
  block_limit_ = limits.maxMemoryAllocationSize;
}

VkBufferCreateInfo Gpu::buffer_info(std::size_t bytes) {
  return {VK_STRUCTURE_TYPE_BUFFER_CREATE_INFO,
          nullptr,
          0,
          bytes,
          VK_BUFFER_USAGE_SHADER_DEVICE_ADDRESS_BIT | VK_BUFFER_USAGE_STORAGE_BUFFER_BIT | VK_BUFFER_USAGE_TRANSFER_SRC_BIT |
              VK_BUFFER_USAGE_TRANSFER_DST_BIT,
          VK_SHARING_MODE_EXCLUSIVE,
          0,
          nullptr};
}

std::string Gpu::description() const {
  return fmt::format("{} ({}), {} MB{}{}", name_, driver_, heap_ >> 20, traits_.f64 ? "" : ", no f64", software_ ? ", in software" : "");
}

}  // namespace fluxion::vulkan
