// Finding a CUDA device, code, launches, and waiting with an end.
#include "gpu.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <thread>

#include "fluxion/error.h"
#include "ptx.h"

namespace fluxion::cuda {
namespace {

constexpr int kOldestDriver = 11000;  // of CUDA 11.0: the oldest that takes the PTX of sm_80

const char* library() {
  const char* named = std::getenv("FLUXION_CUDA_LIBRARY");
  return named && *named ? named : "libcuda.so.1";
}

std::string lower_case(std::string s) {
  for (char& c : s) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return s;
}

}  // namespace

Gpu::Gpu() : cu_(cuda::load(library())) {
  const Result r = cu_.Init(0);
  if (r == kNoDevice) throw DeviceError({}, "device cuda: the driver found no GPU");
  if (r != kSuccess) throw DeviceError({}, fmt::format("device cuda: the driver does not start: {}", text_of(cu_, r)));
  check(cu_.DriverGetVersion(&driver_), "the driver has no version");
  if (driver_ < kOldestDriver)
    throw DeviceError({}, fmt::format("device cuda: the driver is for CUDA {}.{} and 11.0 is needed; update NVIDIA's driver (450 or newer)",
                                      driver_ / 1000, driver_ % 1000 / 10));
  choose_device();
  check(cu_.DevicePrimaryCtxRetain(&context_, device_), "the device cannot be opened");
  try {
    const Use use(*this);
    check(cu_.StreamCreate(&stream_, kStreamNonBlocking), "no stream");
    if (cu_.pools() && attribute(kMemoryPools, device_)) {
      // Not the device's own, which others in the process may use too.
      PoolProperties properties;
      properties.device = device_;
      check(cu_.MemPoolCreate(&pool_, &properties), "no memory pool");
      std::uint64_t all = ~std::uint64_t{0};  // freed memory stays with us until somebody asks for it
      check(cu_.MemPoolSetAttribute(pool_, kPoolReleaseThreshold, &all), "no memory pool");
    }
    make_staging();
  } catch (...) {
    close();
    throw;
  }
}

Gpu::~Gpu() { close(); }

void Gpu::close() noexcept {
  // A lost context frees nothing, and what hangs would be waited for.
  if (lost_ || cu_.CtxPushCurrent(context_) != kSuccess) return;
  for (const Slot& s : slots_) {
    if (s.done) cu_.EventDestroy(s.done);
    cu_.MemFreeHost(s.data);
  }
  for (const Event e : marks_) cu_.EventDestroy(e);
  for (const Event e : unused_marks_) cu_.EventDestroy(e);
  if (stream_) cu_.StreamDestroy(stream_);
  if (pool_) cu_.MemPoolDestroy(pool_);
  Context before = nullptr;
  cu_.CtxPopCurrent(&before);
  cu_.DevicePrimaryCtxRelease(device_);
}

int Gpu::attribute(int which, Ordinal device) const {
  int value = 0;
  return cu_.DeviceGetAttribute(&value, which, device) == kSuccess ? value : 0;
}

void Gpu::choose_device() {
  int n = 0;
  check(cu_.DeviceGetCount(&n), "devices cannot be counted");
  const char* text = std::getenv("FLUXION_CUDA_DEVICE");
  const std::string asked = text ? text : "";
  const bool by_number = !asked.empty() && asked.find_first_not_of("0123456789") == std::string::npos;
  int best = -1;
  std::string seen;
  for (int k = 0; k < n; ++k) {
    Ordinal device = 0;
    char name[256] = "";
    check(cu_.DeviceGet(&device, k), "a device cannot be asked");
    check(cu_.DeviceGetName(name, sizeof name, device), "a device has no name");
    const int major = attribute(kMajor, device), minor = attribute(kMinor, device);
    const std::string arch = arch_for(major, minor);
    seen += fmt::format("{}{} \"{}\"{}", k ? ", " : "", k, name,
                        arch.empty() ? fmt::format(" of compute capability {}.{}, which is below 7.0", major, minor) : "");
    if (arch.empty()) continue;
    if (by_number ? asked != std::to_string(k) : lower_case(name).find(lower_case(asked)) == std::string::npos) continue;
    const int score = 100 * major + minor;  // the newest, of equal ones the first
    if (score <= best) continue;
    best = score;
    device_ = device, number_ = k, name_ = name, major_ = major, minor_ = minor;
  }
  if (n == 0) throw DeviceError({}, "device cuda: the driver found no GPU");
  if (best < 0)
    throw DeviceError({}, fmt::format("device cuda: no GPU will do{}; there are: {}",
                                      asked.empty() ? "" : fmt::format(" that FLUXION_CUDA_DEVICE=\"{}\" names", asked), seen));
  // Old drivers do not take the PTX of new devices.
  arch_ = arch_for(major_, minor_);
  if (driver_ < 11080 && arch_ > "sm_87") arch_ = arch_for(8, 0);
  if (driver_ < 11040 && arch_ > "sm_80") arch_ = arch_for(8, 0);
  multiprocessors_ = std::max(1, attribute(kMultiprocessors, device_));
  threads_limit_ = attribute(kMaxThreadsPerBlock, device_);
  check(cu_.DeviceTotalMem(&heap_, device_), "the device has no memory");
}

std::string Gpu::description() const {
  return fmt::format("{} (compute capability {}.{}, driver for CUDA {}.{}), {} MB", name_, major_, minor_, driver_ / 1000,
                     driver_ % 1000 / 10, heap_ >> 20);
}
std::vector<std::string> Gpu::features() const {
  return {fmt::format("compute capability {}.{}", major_, minor_),
          "code for " + arch_,
          "f64",
          "atomic f32 and f64 add",
          fmt::format("{} multiprocessors", multiprocessors_),
          fmt::format("{} threads a group", threads_limit_),
          fmt::format("{} KiB shared", kSharedBytes >> 10),
          pool_ ? "memory pools" : "no memory pools"};
}
std::string Gpu::identity() const { return fmt::format("{} {}", arch_, fingerprint()); }

void Gpu::fail(Result r, const char* what) {
  // Where code has failed, nothing works in the context any more; that a launch asks for too much is no such failure.
  lost_ = lost_ || (r >= kIllegalAddress && r != kOutOfResources) || r == kEccError;
  throw DeviceError({}, fmt::format("device cuda ({}): {}: {}{}", name_.empty() ? "none yet" : name_, what, text_of(cu_, r),
                                    lost_ ? "; the device is lost: start the program again" : ""));
}
void Gpu::check(Result r, const char* what) {
  if (r != kSuccess) fail(r, what);
}

Gpu::Use::Use(Gpu& gpu) : gpu_(gpu), lock_(gpu.mutex_) {
  if (gpu.lost_) throw DeviceError({}, fmt::format("device cuda ({}): the device is lost; start the program again", gpu.name_));
  gpu.check(gpu.cu_.CtxPushCurrent(gpu.context_), "the device cannot be used");
}
Gpu::Use::~Use() {
  Context ours = nullptr;
  gpu_.cu_.CtxPopCurrent(&ours);
}

void Gpu::wait_for(const std::function<Result()>& query) {
  using Clock = std::chrono::steady_clock;
  const char* text = std::getenv("FLUXION_TIMEOUT");
  const long long n = text ? std::atoll(text) : 0;
  auto start = Clock::now();
  const auto seconds = std::chrono::seconds(n > 0 ? n : 300);
  for (auto pause = std::chrono::microseconds(0);;) {
    const Result r = query();
    if (r == kSuccess) return;
    if (r != kNotReady) fail(r, "what runs there has failed");
    if (reached_mark()) start = Clock::now();
    const auto passed = Clock::now() - start;
    if (passed > seconds) {
      lost_ = true;
      throw DeviceError({}, fmt::format("device cuda ({}): what runs there has not ended in {} s; set FLUXION_TIMEOUT to wait longer",
                                        name_, seconds.count()));
    }
    // Short work is worth a core; who waits long does not notice a millisecond.
    if (passed > std::chrono::milliseconds(2)) pause = std::min(pause * 2 + std::chrono::microseconds(10), std::chrono::microseconds(1000));
    if (pause.count()) std::this_thread::sleep_for(pause);
  }
}

bool Gpu::reached_mark() {
  if (marks_.empty() || cu_.EventQuery(marks_.front()) != kSuccess) return false;
  unused_marks_.push_back(marks_.front());
  marks_.pop_front();
  return true;
}

void Gpu::queued() {
  constexpr int kBetween = 128;
  constexpr std::size_t kMarks = 4;  // 640 calls at most; the driver's queue has about 1000
  if (++since_mark_ < kBetween) return;
  since_mark_ = 0;
  if (unused_marks_.empty()) {
    Event e = nullptr;
    check(cu_.EventCreate(&e, kEventDisableTiming), "no event");
    unused_marks_.push_back(e);
  }
  check(cu_.EventRecord(unused_marks_.back(), stream_), "a mark among what runs");
  marks_.push_back(unused_marks_.back());
  unused_marks_.pop_back();
  while (marks_.size() > kMarks) {
    const Event first = marks_.front();
    wait_for([&] { return marks_.front() == first ? cu_.EventQuery(first) : kSuccess; });
    reached_mark();
  }
}

void Gpu::wait() {
  const Use use(*this);
  wait_for([&] { return cu_.StreamQuery(stream_); });
}

Loaded Gpu::load(const std::string& ptx, const std::string& entry, const std::string& kernel, int most) {
  const Use use(*this);
  std::string log(8192, '\0');
  int options[] = {kJitErrorLog, kJitErrorLogSize};
  void* values[] = {log.data(), reinterpret_cast<void*>(log.size())};
  Loaded code;
  const Result r = cu_.ModuleLoadDataEx(&code.module, ptx.c_str(), 2, options, values);
  if (r != kSuccess) {
    log.resize(log.find('\0') == std::string::npos ? log.size() : log.find('\0'));
    fail(r, fmt::format("the driver does not compile kernel \"{}\" for {}{}{}", kernel, arch_, log.empty() ? "" : ": ", log).c_str());
  }
  const auto or_unload = [&](Result result, const char* what) {
    if (result == kSuccess) return;
    cu_.ModuleUnload(code.module);
    fail(result, what);
  };
  or_unload(cu_.ModuleGetFunction(&code.entry, code.module, entry.c_str()), "a kernel has no entry");
  if (most == 0) return code;
  int grid = 0;
  or_unload(cu_.OccupancyMaxPotentialBlockSize(&grid, &code.block, code.entry, nullptr, 0, most), "a kernel does not fit the device");
  code.block = std::clamp(code.block / 32 * 32, 32, most);
  return code;
}

void Gpu::unload(const Loaded& code) noexcept {
  if (!code.module || lost_) return;
  try {
    const Use use(*this);
    wait();
    cu_.ModuleUnload(code.module);
  } catch (const DeviceError&) {  // whoever waits next is told
  }
}

void Gpu::launch(const Loaded& code, std::uint64_t blocks, int block, void** parameters) {
  const Use use(*this);
  check(cu_.LaunchKernel(code.entry, static_cast<unsigned>(blocks), 1, 1, static_cast<unsigned>(block), 1, 1, 0, stream_, parameters,
                         nullptr),
        "a kernel cannot be launched");
  queued();
}

}  // namespace fluxion::cuda
