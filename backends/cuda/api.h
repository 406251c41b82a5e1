// The functions of NVIDIA's driver in use, found in libcuda when the first device is asked for: a build needs no CUDA. Names and numbers
// are those of the driver API, whose binary interface is stable.
#pragma once
#include <cstddef>
#include <cstdint>

namespace fluxion::cuda {

using Result = int;
using Ordinal = int;  // CUdevice
using Pointer = unsigned long long;
using Context = struct ContextTag*;
using Stream = struct StreamTag*;
using Event = struct EventTag*;
using Module = struct ModuleTag*;
using Entry = struct EntryTag*;  // CUfunction
using Pool = struct PoolTag*;

// Results that are told apart.
inline constexpr Result kSuccess = 0, kOutOfMemory = 2, kNoDevice = 100, kEccError = 214, kNotReady = 600, kIllegalAddress = 700,
                        kOutOfResources = 701;
// Attributes of devices (cuDeviceGetAttribute), memory pools, streams, events, the JIT compiler.
inline constexpr int kMaxThreadsPerBlock = 1, kMaxSharedPerBlock = 8, kMultiprocessors = 16, kMajor = 75, kMinor = 76, kMemoryPools = 115;
inline constexpr int kPoolReleaseThreshold = 4, kPinned = 1, kOnDevice = 1;
inline constexpr unsigned kStreamNonBlocking = 1, kEventDisableTiming = 2;
inline constexpr int kJitErrorLog = 5, kJitErrorLogSize = 6;

/// CUmemPoolProps: 88 bytes, zeros but for these.
struct PoolProperties {
  int allocation = kPinned, handles = 0, location = kOnDevice;
  Ordinal device = 0;
  unsigned char rest[72] = {};
};
static_assert(sizeof(PoolProperties) == 88);

// name of the member, symbol, parameters; those of the second list may be missing
// clang-format off
#define FLUXION_CUDA_NEEDED(X) \
  X(Init, "cuInit", (unsigned flags)) \
  X(DriverGetVersion, "cuDriverGetVersion", (int* version)) \
  X(GetErrorName, "cuGetErrorName", (Result r, const char** text)) \
  X(GetErrorString, "cuGetErrorString", (Result r, const char** text)) \
  X(DeviceGetCount, "cuDeviceGetCount", (int* n)) \
  X(DeviceGet, "cuDeviceGet", (Ordinal* device, int k)) \
  X(DeviceGetName, "cuDeviceGetName", (char* name, int n, Ordinal device)) \
  X(DeviceTotalMem, "cuDeviceTotalMem_v2", (std::size_t* bytes, Ordinal device)) \
  X(DeviceGetAttribute, "cuDeviceGetAttribute", (int* value, int attribute, Ordinal device)) \
  X(DevicePrimaryCtxRetain, "cuDevicePrimaryCtxRetain", (Context* context, Ordinal device)) \
  X(DevicePrimaryCtxRelease, "cuDevicePrimaryCtxRelease_v2", (Ordinal device)) \
  X(CtxPushCurrent, "cuCtxPushCurrent_v2", (Context context)) \
  X(CtxPopCurrent, "cuCtxPopCurrent_v2", (Context* context)) \
  X(StreamCreate, "cuStreamCreate", (Stream* stream, unsigned flags)) \
  X(StreamDestroy, "cuStreamDestroy_v2", (Stream stream)) \
  X(StreamQuery, "cuStreamQuery", (Stream stream)) \
  X(EventCreate, "cuEventCreate", (Event* event, unsigned flags)) \
  X(EventDestroy, "cuEventDestroy_v2", (Event event)) \
  X(EventRecord, "cuEventRecord", (Event event, Stream stream)) \
  X(EventQuery, "cuEventQuery", (Event event)) \
  X(MemAlloc, "cuMemAlloc_v2", (Pointer* at, std::size_t bytes)) \
  X(MemFree, "cuMemFree_v2", (Pointer at)) \
  X(MemHostAlloc, "cuMemHostAlloc", (void** at, std::size_t bytes, unsigned flags)) \
  X(MemFreeHost, "cuMemFreeHost", (void* at)) \
  X(MemcpyHtoDAsync, "cuMemcpyHtoDAsync_v2", (Pointer to, const void* from, std::size_t bytes, Stream stream)) \
  X(MemcpyDtoHAsync, "cuMemcpyDtoHAsync_v2", (void* to, Pointer from, std::size_t bytes, Stream stream)) \
  X(MemcpyDtoDAsync, "cuMemcpyDtoDAsync_v2", (Pointer to, Pointer from, std::size_t bytes, Stream stream)) \
  X(MemsetD8Async, "cuMemsetD8Async", (Pointer to, unsigned char value, std::size_t n, Stream stream)) \
  X(MemsetD16Async, "cuMemsetD16Async", (Pointer to, unsigned short value, std::size_t n, Stream stream)) \
  X(MemsetD32Async, "cuMemsetD32Async", (Pointer to, unsigned value, std::size_t n, Stream stream)) \
  X(ModuleLoadDataEx, "cuModuleLoadDataEx", (Module* module, const void* image, unsigned n, int* options, void** values)) \
  X(ModuleUnload, "cuModuleUnload", (Module module)) \
  X(ModuleGetFunction, "cuModuleGetFunction", (Entry* entry, Module module, const char* name)) \
  X(OccupancyMaxPotentialBlockSize, "cuOccupancyMaxPotentialBlockSize", \
    (int* grid, int* block, Entry entry, std::size_t (*shared)(int), std::size_t dynamic, int limit)) \
  X(LaunchKernel, "cuLaunchKernel", \
    (Entry entry, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz, unsigned shared, Stream stream, \
     void** parameters, void** extra))
#define FLUXION_CUDA_OPTIONAL(X) \
  X(MemAllocFromPoolAsync, "cuMemAllocFromPoolAsync", (Pointer* at, std::size_t bytes, Pool pool, Stream stream)) \
  X(MemFreeAsync, "cuMemFreeAsync", (Pointer at, Stream stream)) \
  X(MemPoolCreate, "cuMemPoolCreate", (Pool* pool, const PoolProperties* properties)) \
  X(MemPoolDestroy, "cuMemPoolDestroy", (Pool pool)) \
  X(MemPoolSetAttribute, "cuMemPoolSetAttribute", (Pool pool, int attribute, void* value)) \
  X(MemPoolTrimTo, "cuMemPoolTrimTo", (Pool pool, std::size_t bytes))
// clang-format on

/// Members of the second list are null where the driver is too old for them.
struct Api {
#define FLUXION_MEMBER(name, symbol, parameters) Result(*name) parameters = nullptr;
  FLUXION_CUDA_NEEDED(FLUXION_MEMBER)
  FLUXION_CUDA_OPTIONAL(FLUXION_MEMBER)
#undef FLUXION_MEMBER
  bool pools() const {
    return MemAllocFromPoolAsync && MemFreeAsync && MemPoolCreate && MemPoolDestroy && MemPoolSetAttribute && MemPoolTrimTo;
  }
};

/// Opens `library` and finds everything. Throws DeviceError, which says what is missing.
Api load(const char* library);

/// "out of memory (CUDA_ERROR_OUT_OF_MEMORY)".
const char* text_of(const Api& api, Result r);

}  // namespace fluxion::cuda
