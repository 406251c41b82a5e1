// The Vulkan device of the process, as gpu/device.h has it: kernels as SPIR-V, launches as dispatches with words (emit.h).
#include "gpu/backend.h"

#include <fmt/format.h>

#include "fluxion/error.h"
#include "probe.h"

namespace fluxion::vulkan {
namespace {

Address address(const void* p) { return reinterpret_cast<Address>(p); }

class VulkanCode final : public gpu::Code {
 public:
  VulkanCode(Gpu& gpu, const Function& f, bool fast, std::string_view cache) : gpu_(gpu) {
    EmittedKernel made = emit(f, gpu.traits(), fast);
    if (made.shared_bytes > gpu.shared_limit())
      throw KernelError(f.loc, fmt::format("kernel \"{}\": {} bytes of shared memory are more than the {} of this Vulkan device", f.name,
                                           made.shared_bytes, gpu.shared_limit()));
    pipeline = gpu.pipeline(made.words, cache, made.subgroup);
    sites = std::move(made.sites);
    values = made.values;
    words = std::move(made.words);
    push = made.push;
    threads = made.threads;
  }
  ~VulkanCode() override { gpu_.destroy(pipeline); }
  std::string cached() const override { return pipeline.cache; }
  std::string text() const override { return {reinterpret_cast<const char*>(words.data()), words.size() * 4}; }

  Pipeline pipeline;
  Words words;
  bool push = true;
  int threads = 64;

 private:
  Gpu& gpu_;
};

class VulkanDevice final : public gpu::Device {
 public:
  VulkanDevice() {
    probe(gpu_);
    const Traits& t = gpu_.traits();
    limits_.exact = {t.fma32, t.fma64, t.div32, t.div64, t.sqrt32, t.sqrt64};
    limits_.threads = gpu_.threads_limit();
    limits_.shared = gpu_.shared_limit();
    limits_.at_once = limits_.units = kRow * kRows;
    limits_.subgroups = t.subgroup == kSubgroupSize;
    limits_.subgroup_step = kSubgroupSize;
  }
  std::string name() const override { return "vulkan"; }
  std::string api() const override { return "Vulkan"; }
  std::string language() const override { return "spirv"; }
  std::string description() const override { return gpu_.description(); }
  std::vector<std::string> features() const override {
    const Traits& t = gpu_.traits();
    std::vector<std::string> list;
    const auto add = [&](bool has, const char* what) {
      if (has) list.push_back(what);
    };
    add(gpu_.software(), "software");
    add(t.f64, "f64");
    add(t.add_f32, "atomic f32 add");
    add(t.add_f32_shared, "atomic f32 add in shared memory");
    add(t.subgroup == kSubgroupSize, "subgroups of 32");
    add(t.atomics_i64, "atomic i64");
    add(t.fma32, "fma");
    add(t.div32 && t.sqrt32, "exact div and sqrt");
    list.push_back(fmt::format("{} threads a group", gpu_.threads_limit()));
    list.push_back(fmt::format("{} KiB shared", gpu_.shared_limit() >> 10));
    return list;
  }
  std::string lacks(const Function& kernel) const override { return vulkan::lacks(kernel, gpu_.traits()); }
  std::string identity() const override { return gpu_.identity() + (limits_.subgroups ? " subgroups" : ""); }
  const gpu::Limits& limits() const override { return limits_; }
  std::size_t heap() const override { return gpu_.heap(); }
  std::size_t in_use() const override { return gpu_.in_use(); }

  void* allocate(std::size_t bytes) override { return reinterpret_cast<void*>(gpu_.allocate(bytes)); }
  void free(void* data, std::size_t bytes) noexcept override { gpu_.free(address(data), bytes); }
  void write(void* to, const void* from, std::size_t bytes) override { gpu_.write(address(to), from, bytes); }
  void read(void* to, const void* from, std::size_t bytes) override { gpu_.read(to, address(from), bytes); }
  void copy(void* to, const void* from, std::size_t bytes) override { gpu_.copy(address(to), address(from), bytes); }
  void fill(void* to, const void* element, std::size_t size, std::size_t bytes) override { gpu_.fill(address(to), element, size, bytes); }
  void wait() override { gpu_.wait(); }

  std::unique_ptr<gpu::Code> compile(const Function& kernel, const CompileOptions& options, std::string_view cached) override {
    return std::make_unique<VulkanCode>(gpu_, kernel, options.fast, cached);
  }
  void dispatch(gpu::Code& code, const Function& kernel, const gpu::Piece& piece, std::span<const ArrayArgument> arrays,
                std::span<const std::uint64_t> scalars, void* report) override {
    const auto& made = static_cast<const VulkanCode&>(code);
    const auto two = [](std::int64_t low, std::int64_t high) {
      return static_cast<std::uint32_t>(low) | static_cast<std::uint64_t>(high) << 32;
    };
    std::vector<std::uint64_t> words = {two(piece.domain[0], piece.domain[1]), two(piece.domain[2], piece.first), two(piece.end, piece.row),
                                        address(report)};
    std::size_t array = 0, scalar = 0;
    for (const Parameter& p : kernel.parameters) {
      if (p.kind == Parameter::Kind::scalar) {
        words.push_back(scalars[scalar++]);
        continue;
      }
      const ArrayArgument& a = arrays[array++];
      words.push_back(address(a.data));
      words.push_back(two(a.extent[0], a.extent[1]));
      if (extent_words(kernel[p.memory].rank) > 1) words.push_back(static_cast<std::uint64_t>(a.extent[2]));
    }
    const std::int64_t n = piece.end - piece.first;
    const std::int64_t workgroups = kernel.has_groups() ? n : (n + made.threads - 1) / made.threads;
    gpu_.dispatch(made.pipeline, words, made.push, static_cast<std::uint64_t>(workgroups));
  }

 private:
  Gpu gpu_;
  gpu::Limits limits_;
};

}  // namespace
}  // namespace fluxion::vulkan

namespace fluxion {
std::shared_ptr<Backend> vulkan_backend() {
  // Never destroyed: arrays with static storage may outlive any object of ours. What fails is tried again.
  static std::mutex& mutex = *new std::mutex;
  static auto& backend = *new std::shared_ptr<Backend>;
  const std::lock_guard lock(mutex);
  if (!backend) backend = gpu::make_backend(std::make_shared<vulkan::VulkanDevice>());
  return backend;
}
}  // namespace fluxion
