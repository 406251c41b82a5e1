// The stream of commands. They are recorded one after the other with a barrier between, submitted some at a time, and counted by a
// timeline semaphore: its value is the number of submissions that are done. The first launch after the host has waited is submitted at
// once, then two together, four, ...: the device starts early, and many small launches cost few submissions.
#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "fluxion/error.h"
#include "gpu.h"

namespace fluxion::vulkan {
namespace {

constexpr int kCommands = 256;  // of a submission
constexpr int kLaunches = 64;
constexpr std::size_t kInFlight = 8;

std::uint64_t timeout_seconds() {
  const char* text = std::getenv("FLUXION_TIMEOUT");
  const long long n = text ? std::atoll(text) : 0;
  return n > 0 ? static_cast<std::uint64_t>(n) : 300;
}

}  // namespace

VkCommandBuffer Gpu::begin() {
  if (lost_) throw DeviceError({}, fmt::format("device vulkan ({}): the device is lost; start the program again", name_));
  if (open_ && recorded_ >= kCommands) submit();
  if (!open_) {
    poll();
    reap();
    if (running_.size() >= kInFlight) {
      wait_for(running_[running_.size() - kInFlight].value);
      reap();
    }
    if (idle_.empty()) {
      VkCommandBufferAllocateInfo info{VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO, nullptr, pool_, VK_COMMAND_BUFFER_LEVEL_PRIMARY, 1};
      VkCommandBuffer made;
      check(vk_.AllocateCommandBuffers(device_, &info, &made), "no command buffer");
      idle_.push_back(made);
    }
    open_ = idle_.back();
    idle_.pop_back();
    VkCommandBufferBeginInfo info{VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO, nullptr, VK_COMMAND_BUFFER_USAGE_ONE_TIME_SUBMIT_BIT,
                                  nullptr};
    check(vk_.BeginCommandBuffer(open_, &info), "a command buffer cannot be begun");
    recorded_ = launches_ = 0;
  }
  constexpr VkAccessFlags kAll = VK_ACCESS_SHADER_READ_BIT | VK_ACCESS_SHADER_WRITE_BIT | VK_ACCESS_TRANSFER_READ_BIT |
                                 VK_ACCESS_TRANSFER_WRITE_BIT | VK_ACCESS_HOST_READ_BIT | VK_ACCESS_HOST_WRITE_BIT;
  constexpr VkPipelineStageFlags kStages =
      VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT | VK_PIPELINE_STAGE_TRANSFER_BIT | VK_PIPELINE_STAGE_HOST_BIT;
  const VkMemoryBarrier barrier{VK_STRUCTURE_TYPE_MEMORY_BARRIER, nullptr, kAll, kAll};
  vk_.CmdPipelineBarrier(open_, kStages, kStages, 0, 1, &barrier, 0, nullptr, 0, nullptr);
  ++recorded_;
  return open_;
}

void Gpu::submit() {
  if (!open_) return;
  const VkCommandBuffer commands = std::exchange(open_, VK_NULL_HANDLE);
  constexpr VkPipelineStageFlags kWork = VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT | VK_PIPELINE_STAGE_TRANSFER_BIT;
  const VkMemoryBarrier to_host{VK_STRUCTURE_TYPE_MEMORY_BARRIER, nullptr, VK_ACCESS_SHADER_WRITE_BIT | VK_ACCESS_TRANSFER_WRITE_BIT,
                                VK_ACCESS_HOST_READ_BIT};
  vk_.CmdPipelineBarrier(commands, kWork, VK_PIPELINE_STAGE_HOST_BIT, 0, 1, &to_host, 0, nullptr, 0, nullptr);
  const std::uint64_t value = submitted_ + 1;
  VkTimelineSemaphoreSubmitInfo timeline{VK_STRUCTURE_TYPE_TIMELINE_SEMAPHORE_SUBMIT_INFO, nullptr, 0, nullptr, 1, &value};
  VkSubmitInfo info{VK_STRUCTURE_TYPE_SUBMIT_INFO, &timeline, 0, nullptr, nullptr, 1, &commands, 1, &timeline_};
  VkResult r = vk_.EndCommandBuffer(commands);
  if (r >= 0) r = vk_.QueueSubmit(queue_, 1, &info, VK_NULL_HANDLE);
  if (r < 0) lost_ = true;  // with the launches in it: what arrays hold is no longer what was asked for
  check(r, "commands cannot be submitted");
  submitted_ = value;
  running_.push_back({commands, value, launches_, std::chrono::steady_clock::now()});
  poll();
  most_in_flight_ = std::max(most_in_flight_, static_cast<int>(submitted_ - finished_));
}

void Gpu::poll() {
  if (finished_ == submitted_) return;
  std::uint64_t value = 0;
  check(vk_.GetSemaphoreCounterValue(device_, timeline_, &value), "asking the device");
  done(value);
}

// As many launches are submitted together as take a second, so that a device that hangs is told from one that is at work.
void Gpu::done(std::uint64_t value) {
  if (value <= finished_) return;
  const std::uint64_t before = std::exchange(finished_, value);
  const auto now = std::chrono::steady_clock::now();
  int launches = 0;
  auto since = seen_;
  for (const Submission& s : running_)
    if (s.value > before && s.value <= finished_) {
      if (launches == 0) since = std::max(since, s.since);
      launches += s.launches;
    }
  seen_ = now;
  if (launches == 0) return;
  const double each = std::chrono::duration<double>(now - since).count() / launches;
  most_batch_ = each * kLaunches < 1 ? kLaunches : std::max(1, static_cast<int>(1 / each));
}

Gpu::Counts Gpu::counts() {
  const std::lock_guard lock(mutex_);
  poll();
  reap();
  return {submitted_, static_cast<int>(submitted_ - finished_), most_in_flight_, staged_, held_};
}

// One submission after the other: the time that each may take begins when the one before is done.
void Gpu::wait_for(std::uint64_t value) {
  const std::uint64_t seconds = timeout_seconds();
  while (finished_ < value) {
    const std::uint64_t next = finished_ + 1;
    VkSemaphoreWaitInfo info{VK_STRUCTURE_TYPE_SEMAPHORE_WAIT_INFO, nullptr, 0, 1, &timeline_, &next};
    const VkResult r = vk_.WaitSemaphores(device_, &info, seconds * 1000000000);
    if (r == VK_TIMEOUT) {
      lost_ = true;
      throw DeviceError(
          {}, fmt::format("device vulkan ({}): what runs there has not ended in {} s; set FLUXION_TIMEOUT to wait longer", name_, seconds));
    }
    check(r, "waiting for the device");
    poll();
  }
  throw_messages();
}

void Gpu::reap() {
  while (!running_.empty() && running_.front().value <= finished_) {
    idle_.push_back(running_.front().commands);
    running_.pop_front();
  }
  while (!later_.empty() && later_.front().first <= finished_) {
    const auto action = std::move(later_.front().second);
    later_.pop_front();
    action();
  }
}

void Gpu::wait() {
  const std::lock_guard lock(mutex_);
  if (lost_) throw DeviceError({}, fmt::format("device vulkan ({}): the device is lost; start the program again", name_));
  submit();
  wait_for(submitted_);
  reap();
  batch_ = 1;
}

Pipeline Gpu::pipeline(const Words& code, std::string_view cached, int subgroup) {
  const std::lock_guard lock(mutex_);
  // Drivers should find out by themselves that it is not theirs; what comes after the header the disk cache has checked.
  if (!cached.starts_with(cache_header_)) cached = {};
  VkShaderModuleCreateInfo info{VK_STRUCTURE_TYPE_SHADER_MODULE_CREATE_INFO, nullptr, 0, code.size() * 4, code.data()};
  VkPipelineCacheCreateInfo cache_info{VK_STRUCTURE_TYPE_PIPELINE_CACHE_CREATE_INFO, nullptr, 0, cached.size(), cached.data()};
  VkPipelineCache cache = VK_NULL_HANDLE;
  check(vk_.CreatePipelineCache(device_, &cache_info, nullptr, &cache), "no pipeline cache");
  VkShaderModule module = VK_NULL_HANDLE;
  VkResult r = vk_.CreateShaderModule(device_, &info, nullptr, &module);
  if (r < 0) {
    vk_.DestroyPipelineCache(device_, cache, nullptr);
    check(r, "no shader module");
  }
  VkComputePipelineCreateInfo pipeline{VK_STRUCTURE_TYPE_COMPUTE_PIPELINE_CREATE_INFO, nullptr, 0, {}, layout_, VK_NULL_HANDLE, -1};
  pipeline.stage = {VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_CREATE_INFO, nullptr, 0, VK_SHADER_STAGE_COMPUTE_BIT, module, "main", nullptr};
  VkPipelineShaderStageRequiredSubgroupSizeCreateInfoEXT size{};
  size.sType = VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_REQUIRED_SUBGROUP_SIZE_CREATE_INFO_EXT;
  size.requiredSubgroupSize = static_cast<std::uint32_t>(subgroup);
  if (subgroup) pipeline.stage.flags = VK_PIPELINE_SHADER_STAGE_CREATE_REQUIRE_FULL_SUBGROUPS_BIT_EXT;
  if (subgroup && requires_size_) pipeline.stage.pNext = &size;
  Pipeline out;
  r = vk_.CreateComputePipelines(device_, cache, 1, &pipeline, nullptr, &out.handle);
  vk_.DestroyShaderModule(device_, module, nullptr);
  std::size_t n = 0;
  if (r == VK_SUCCESS && vk_.GetPipelineCacheData(device_, cache, &n, nullptr) == VK_SUCCESS) {
    out.cache.resize(n);
    if (vk_.GetPipelineCacheData(device_, cache, &n, out.cache.data()) != VK_SUCCESS) n = 0;
    out.cache.resize(n);
  }
  vk_.DestroyPipelineCache(device_, cache, nullptr);
  check(r, "the driver does not compile a kernel");
  throw_messages();
  return out;
}

void Gpu::destroy(Pipeline p) {
  const std::lock_guard lock(mutex_);
  later_.push_back({now(), [this, p] { vk_.DestroyPipeline(device_, p.handle, nullptr); }});
}

void Gpu::dispatch(const Pipeline& p, std::span<const std::uint64_t> words, bool push, std::uint64_t workgroups) {
  const std::lock_guard lock(mutex_);
  if (workgroups == 0) return;
  if (workgroups > kRow * kRows) throw Bug({}, "vulkan: more workgroups than a launch can have");
  const VkCommandBuffer commands = begin();
  Address at = 0;
  if (!push) {
    at = stage(words.data(), words.size_bytes());
    words = std::span(&at, 1);
  }
  vk_.CmdBindPipeline(commands, VK_PIPELINE_BIND_POINT_COMPUTE, p.handle);
  vk_.CmdPushConstants(commands, layout_, VK_SHADER_STAGE_COMPUTE_BIT, 0, static_cast<std::uint32_t>(words.size_bytes()), words.data());
  const bool row = workgroups <= 65535;
  vk_.CmdDispatch(commands, static_cast<std::uint32_t>(row ? workgroups : kRow),
                  row ? 1 : static_cast<std::uint32_t>((workgroups + kRow - 1) / kRow), 1);
  if (++launches_ < std::min(batch_, most_batch_)) return;
  batch_ = std::min(2 * batch_, kLaunches);
  submit();
}

}  // namespace fluxion::vulkan
