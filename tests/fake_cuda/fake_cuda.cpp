// A libcuda without a GPU, for tests of what talks to the driver: memory is the host's, work is done as soon as it is queued, and code
// only writes what it is called with. Environment variables make it fail: FAKE_CUDA_DRIVER (version), FAKE_CUDA_BYTES (of memory),
// FAKE_CUDA_FAIL (a function), FAKE_CUDA_HANG (nothing ends).
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <map>
#include <string>

namespace {
std::map<unsigned long long, std::size_t>& blocks() {
  static auto& b = *new std::map<unsigned long long, std::size_t>;
  return b;
}
std::size_t used() {
  std::size_t n = 0;
  for (const auto& [at, bytes] : blocks()) n += bytes;
  return n;
}
long long number(const char* name, long long otherwise) {
  const char* text = std::getenv(name);
  return text ? std::atoll(text) : otherwise;
}
bool fails(const char* function) {
  const char* text = std::getenv("FAKE_CUDA_FAIL");
  return text && std::strcmp(text, function) == 0;
}
constexpr int kOutOfMemory = 2, kInvalidPtx = 218, kNotReady = 600, kIllegalAddress = 700;
int g_modules = 0, g_streams = 0, g_held = 0, g_contexts = 0;
}  // namespace

#define API extern "C" __attribute__((visibility("default"))) int
using Pointer = unsigned long long;

API cuInit(unsigned) { return fails("cuInit") ? 100 : 0; }
API cuDriverGetVersion(int* v) { return *v = static_cast<int>(number("FAKE_CUDA_DRIVER", 12040)), 0; }
API cuGetErrorName(int, const char** text) { return *text = "CUDA_ERROR", 0; }
API cuGetErrorString(int r, const char** text) {
  *text = r == kOutOfMemory ? "out of memory" : r == kIllegalAddress ? "an illegal memory access was encountered" : "an error";
  return 0;
}
API cuDeviceGetCount(int* n) { return *n = 2, 0; }
API cuDeviceGet(int* device, int k) { return *device = k, 0; }
API cuDeviceGetName(char* name, int n, int device) {
  return std::strncpy(name, device ? "Fake New" : "Fake Old", static_cast<std::size_t>(n)), 0;
}
API cuDeviceTotalMem_v2(std::size_t* bytes, int) { return *bytes = static_cast<std::size_t>(number("FAKE_CUDA_BYTES", 1 << 30)), 0; }
API cuDeviceGetAttribute(int* value, int attribute, int device) {
  *value = attribute == 1 ? 1024 : attribute == 16 ? 4 : attribute == 75 ? (device ? 9 : 7) : attribute == 76 ? (device ? 0 : 5) : 1;
  return 0;
}
API cuDevicePrimaryCtxRetain(void** context, int) { return *context = &g_held, ++g_held, 0; }
API cuDevicePrimaryCtxRelease_v2(int) { return --g_held, 0; }
API cuCtxPushCurrent_v2(void*) { return ++g_contexts, 0; }
API cuCtxPopCurrent_v2(void** context) { return *context = &g_held, --g_contexts, 0; }
API cuStreamCreate(void** stream, unsigned) { return *stream = &g_streams, ++g_streams, ++g_held, 0; }
API cuStreamDestroy_v2(void*) { return --g_held, 0; }
API cuStreamQuery(void*) { return number("FAKE_CUDA_HANG", 0) ? kNotReady : fails("cuStreamQuery") ? kIllegalAddress : 0; }
API cuEventCreate(void** event, unsigned) {
  if (fails("cuEventCreate")) return kOutOfMemory;
  return *event = new char, ++g_held, 0;
}
API cuEventDestroy_v2(void* event) { return delete static_cast<char*>(event), --g_held, 0; }
API cuEventRecord(void*, void*) { return 0; }
API cuEventQuery(void*) { return cuStreamQuery(nullptr); }
API cuMemAlloc_v2(Pointer* at, std::size_t bytes) {
  if (used() + bytes > static_cast<std::size_t>(number("FAKE_CUDA_BYTES", 1 << 30))) return kOutOfMemory;
  *at = reinterpret_cast<Pointer>(std::malloc(bytes));
  blocks()[*at] = bytes;
  return 0;
}
API cuMemFree_v2(Pointer at) {
  if (!blocks().erase(at)) return 1;
  std::free(reinterpret_cast<void*>(at));
  return 0;
}
API cuMemAllocFromPoolAsync(Pointer* at, std::size_t bytes, void*, void*) { return cuMemAlloc_v2(at, bytes); }
API cuMemFreeAsync(Pointer at, void*) { return cuMemFree_v2(at); }
API cuMemPoolCreate(void** pool, const void* properties) {
  const auto* p = static_cast<const int*>(properties);  // pinned memory, no handles, on device 0 or 1
  if (p[0] != 1 || p[1] != 0 || p[2] != 1 || p[3] < 0 || p[3] > 1) return 1;
  return *pool = pool, ++g_held, 0;
}
API cuMemPoolDestroy(void*) { return --g_held, 0; }
API cuMemPoolSetAttribute(void*, int, void*) { return 0; }
API cuMemPoolTrimTo(void*, std::size_t) { return 0; }
API cuMemHostAlloc(void** at, std::size_t bytes, unsigned) {
  if (fails("cuMemHostAlloc")) return kOutOfMemory;
  return *at = std::malloc(bytes), ++g_held, 0;
}
API cuMemFreeHost(void* at) { return std::free(at), --g_held, 0; }
API cuMemcpyHtoDAsync_v2(Pointer to, const void* from, std::size_t n, void*) {
  return std::memcpy(reinterpret_cast<void*>(to), from, n), 0;
}
API cuMemcpyDtoHAsync_v2(void* to, Pointer from, std::size_t n, void*) { return std::memcpy(to, reinterpret_cast<void*>(from), n), 0; }
API cuMemcpyDtoDAsync_v2(Pointer to, Pointer from, std::size_t n, void*) {
  // Overlap is not defined by the driver: it is made visible here.
  const bool apart = to + n <= from || from + n <= to;
  return apart ? (std::memcpy(reinterpret_cast<void*>(to), reinterpret_cast<void*>(from), n), 0) : 1;
}
template <class T> static int set(Pointer to, T value, std::size_t n) {
  if (to % sizeof(T)) return 1;
  for (std::size_t k = 0; k < n; ++k) reinterpret_cast<T*>(to)[k] = value;
  return 0;
}
API cuMemsetD8Async(Pointer to, unsigned char v, std::size_t n, void*) { return set(to, v, n); }
API cuMemsetD16Async(Pointer to, unsigned short v, std::size_t n, void*) { return set(to, v, n); }
API cuMemsetD32Async(Pointer to, unsigned v, std::size_t n, void*) { return set(to, v, n); }
API cuModuleLoadDataEx(void** module, const void* image, unsigned n, int* options, void** values) {
  if (fails("cuModuleLoadDataEx")) {
    for (unsigned k = 0; k < n; ++k)
      if (options[k] == 5) std::strcpy(static_cast<char*>(values[k]), "ptxas error: line 7, no such register");
    return kInvalidPtx;
  }
  if (!std::strstr(static_cast<const char*>(image), ".visible .entry kernel(")) return kInvalidPtx;
  return *module = &g_modules, ++g_modules, 0;
}
API cuModuleUnload(void*) { return --g_modules, 0; }
API cuModuleGetFunction(void** entry, void*, const char* name) { return *entry = &g_modules, std::strcmp(name, "kernel") ? 500 : 0; }
API cuOccupancyMaxPotentialBlockSize(int* grid, int* block, void*, std::size_t (*)(int), std::size_t, int limit) {
  return *grid = 8, *block = limit < 192 ? limit : 192, 0;
}
/// Checks the launch as the driver would, and writes it to its first array: blocks, threads, the first three parameters.
API cuLaunchKernel(void*, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz, unsigned, void*, void** parameters,
                   void**) {
  if (gx == 0 || gx > 0x7fffffff || gy != 1 || gz != 1 || bx == 0 || bx > 1024 || by != 1 || bz != 1) return 1;
  if (fails("cuLaunchKernel")) return 701;
  auto* out = reinterpret_cast<std::int64_t*>(*static_cast<Pointer*>(parameters[6]));
  out[0] = gx, out[1] = bx;
  for (int k = 0; k < 3; ++k) std::memcpy(&out[2 + k], parameters[k], 8);
  return 0;
}
/// For the tests: what is left.
API fakeModules() { return g_modules; }
/// Contexts, streams, events, pools, pinned memory.
API fakeHeld() { return g_held; }
/// Contexts that are current.
API fakeContexts() { return g_contexts; }
API fakeBlocks() { return static_cast<int>(blocks().size()); }
