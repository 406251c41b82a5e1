// What a backend is: something that turns a Function into something that runs.
#pragma once
#include <array>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "fluxion/error.h"
#include "fluxion/ir.h"

namespace fluxion {

/// The first failure of work that runs apart from its caller. Later ones are dropped.
class FLUXION_API FailureSlot {
 public:
  enum class Kind : std::uint8_t { kernel, shape, device, cancelled };
  void set(Kind kind, Loc at, std::string message);
  bool empty() const;
  /// Throws the stored error as the class its kind names, and clears the slot.
  void rethrow();

 private:
  struct Failure {
    Kind kind;
    Loc at;
    std::string message;
  };
  mutable std::mutex mutex_;
  std::optional<Failure> failure_;
};

/// One array of a launch. `extent` counts elements per axis, slowest first; unused axes are 1.
struct ArrayArgument {
  void* data = nullptr;
  std::array<std::int64_t, 3> extent{1, 1, 1};
};

/// The arguments of one run, in the order of the function's parameters.
/// kernel   arrays: the memory parameters; scalars: the scalar parameters, bits zero-extended; domain: the launch.
/// program  arrays: the array parameters (Out, InOut, Accum are updated in place), then one array for each value
///          that the program returns (a scalar: one element); domain is not used.
struct Launch {
  std::array<std::int64_t, 3> domain{1, 1, 1};  // slowest axis first; a rank-1 launch is {n, 1, 1}
  std::span<const ArrayArgument> arrays;
  std::span<const std::uint64_t> scalars;
};

/// Compiled code. run() may be called from several threads at once.
class FLUXION_API Executable {
 public:
  virtual ~Executable() = default;
  /// Returns when the work is done. Errors of the user's code (check, bounds) go to `failure`.
  virtual void run(const Launch& launch, FailureSlot& failure) = 0;
  /// Most bytes that the latest run had for arrays of its own; 0 when that is not known.
  virtual std::int64_t peak_bytes() const { return 0; }
  /// Memory is kept between runs while somebody holds the code so.
  virtual void hold() {}
  virtual void release() {}
  /// What a disk cache stores, or "" when there is nothing to store.
  virtual std::string object() const { return {}; }
  /// For people: "llvm", "asm", ... ; "" when unknown.
  virtual std::string dump(std::string_view what) const {
    (void)what;
    return {};
  }
};

struct CompileOptions {
  int width = 0;              // SIMD lanes; 0: the backend's choice
  bool bounds = false;        // check every index
  bool nan = false;           // a NaN that is made is an error
  bool inf = false;           // so is an infinity
  bool race = false;          // threads that meet at an element are an error
  bool relaxed = false;       // permits order-dependent results (atomics)
  bool fast = false;          // permits reassociation and the like
  bool interrupt = false;     // cpu: loops look whether cancel() was called
  std::string features = {};  // cpu: force a target, "sse2" | "avx2" | "avx512"; "" is this machine
  bool operator==(const CompileOptions&) const = default;
};

class FLUXION_API Backend {
 public:
  virtual ~Backend() = default;
  virtual std::string name() const = 0;         // "reference", "cpu", ...
  virtual std::string description() const = 0;  // for people: cores, features
  /// Bytes that arrays may have in all; 0: not known.
  virtual std::uint64_t memory() const { return 0; }
  /// What the hardware has that code depends on, in short words for people.
  virtual std::vector<std::string> features() const { return {}; }
  /// All that changes the code it makes, for cache keys (target features, LLVM version, ...).
  virtual std::string fingerprint(const CompileOptions& options) const = 0;
  /// `f` is a kernel or a program in memory form or value form, verified and free of capture ops.
  virtual std::shared_ptr<Executable> compile(const Function& f, const CompileOptions& options) = 0;
  /// From what Executable::object() gave for the same function and options; null when it is of no use.
  virtual std::shared_ptr<Executable> load(const Function& f, const CompileOptions& options, std::string_view object) {
    (void)f, (void)options, (void)object;
    return nullptr;
  }

  // ---- the memory of arrays. Addresses are the backend's own; where host_memory() holds they are plain pointers, and these do what
  // the C library does. Calls take effect in the order in which they and launches come. DeviceError when the device fails.
  virtual bool host_memory() const { return true; }
  /// Null where memory runs out. `bytes` is a multiple of 64 and not 0.
  virtual void* allocate(std::size_t bytes);
  virtual void free(void* data, std::size_t bytes) noexcept;
  virtual void write(void* to, const void* from, std::size_t bytes);  // host to device; `from` may change afterwards
  virtual void read(void* to, const void* from, std::size_t bytes);   // device to host, after all that came before
  virtual void copy(void* to, const void* from, std::size_t bytes);   // the two may overlap on the host only
  /// Copies of `element`, which is on the host, one after the other.
  virtual void fill(void* to, const void* element, std::size_t size, std::size_t bytes);
  /// Until all that came before is done.
  virtual void wait() {}
};

FLUXION_API std::shared_ptr<Backend> reference_backend();
FLUXION_API std::shared_ptr<Backend> cpu_backend();
/// Throws DeviceError, which says what is missing, where no Vulkan device will do.
FLUXION_API std::shared_ptr<Backend> vulkan_backend();
/// The same of NVIDIA's GPUs.
FLUXION_API std::shared_ptr<Backend> cuda_backend();
/// Of the LLVM that CPU code is made with.
FLUXION_API const char* llvm_version();
/// Number of threads that CPU launches use; 0: FLUXION_THREADS or all the hardware has. Waits for running work.
FLUXION_API void set_cpu_threads(int n);
FLUXION_API int cpu_threads();

/// Where `print` goes: standard output unless replaced. Called with whole lines, from one thread at a time.
using PrintSink = void (*)(std::string_view line, void* user);
FLUXION_API void set_print_sink(PrintSink sink, void* user);
FLUXION_API void print_line(std::string_view line);

}  // namespace fluxion
