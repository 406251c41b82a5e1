// What the parts of this folder share: device state, storage, running compiled code, and the hook by which the
// capture of a program sees launches and array creation instead of the device.
#pragma once
#include <atomic>
#include <string>
#include <vector>

#include "fluxion/array.h"
#include "fluxion/backend.h"
#include "fluxion/kernel_handle.h"
#include "stream.h"

namespace fluxion::detail {

struct Storage {
  void* data = nullptr;
  std::size_t bytes = 0;
  Device device;
  void (*deleter)(void* data, void* context) = nullptr;  // null: the device's own memory
  void* context = nullptr;
  ~Storage();
};
std::shared_ptr<Storage> allocate(const Device& device, std::size_t bytes, bool zeroed);
void copy_bytes(const Storage& to, const Storage& from, std::size_t bytes);

class DeviceState {
 public:
  DeviceState(std::string name, std::shared_ptr<Backend> backend) : name(std::move(name)), backend(std::move(backend)) {}
  const std::string name;
  const std::shared_ptr<Backend> backend;
  Stream stream;
};

/// `f` through the pipeline and the caches: one compile per (text, options, device) in this process.
std::shared_ptr<Executable> specialise(const Function& f, const CompileOptions& options, const Device& device);

/// One queued run of compiled code. It holds what it uses until it is done.
struct Work {
  std::shared_ptr<Executable> code;
  std::shared_ptr<const Function> function;  // for its name; may be null
  std::array<std::int64_t, 3> domain{1, 1, 1};
  std::vector<ArrayArgument> arrays;
  std::vector<std::uint64_t> scalars;
  std::vector<std::shared_ptr<Storage>> keep;
  struct Copy {
    void* to;
    const void* from;
    std::size_t bytes;
    void make(Backend& on) const {
      const std::byte zero{0};
      if (from) on.copy(to, from, bytes);
      else on.fill(to, &zero, 1, bytes);
    }
  };
  std::vector<Copy> copies;  // made just before the run: scratch that starts as a copy, or (from: null) as zeros
  double cost = 0;           // about how many scalar ops it runs; small work runs at once
};
/// `at`: the user's call.
void enqueue(const Device& device, Work work, Loc at);
/// Scalar ops of one run of the body, loops counted by their constant bounds or a guess.
double estimate_cost(const Function& f);
/// A program whose fx::item check their positions.
Function item_checks(const Function& program);

/// What FLUXION_DEBUG says now; kernels and programs look when they are made.
struct DebugFlags {
  bool bounds = false, nan = false, inf = false, race = false, verify = false;
  bool interrupt = false;  // FLUXION_INTERRUPT
};
DebugFlags debug_flags();

/// Set while a program is captured on this thread: launches and array creation go to it.
class Tracer {
 public:
  virtual ~Tracer() = default;
  virtual void launch(const std::shared_ptr<const Function>& kernel, std::array<std::int64_t, 3> domain,
                      std::span<const Argument> arguments, Loc at) = 0;
  /// Fills in `trace` and `value` of an array that has shape and device but no storage.
  virtual void create(ArrayState& array, Array::Fill fill, Loc at) = 0;
  /// `to` gets the value of `from`.
  virtual void copy(ArrayState& to, const ArrayState& from, Loc at) = 0;
  virtual void swap(ArrayState& a, ArrayState& b, Loc at) = 0;
  /// A handle of `to` (which may be null) is to become one of `from`; true when the tracer has given the value of
  /// `from` to `to` instead. `temporary`: nobody else has `from`.
  virtual bool rebind(const std::shared_ptr<ArrayState>& to, const std::shared_ptr<ArrayState>& from, bool temporary) = 0;
  /// Throws: the values of arrays are not known yet.
  virtual void host_read(Loc at) = 0;
  /// Throws: the write would happen once, at capture.
  virtual void host_write(Loc at) = 0;
  /// A finished program in the one under capture; for each of its parameters an array, a scalar's value, or (neither) zeros.
  /// What it writes gets new values; gives an array for each value that it returns, one element for a scalar.
  /// `call`: it has rules, which a call keeps for differentiation.
  virtual std::vector<std::shared_ptr<ArrayState>> embed(const std::shared_ptr<const Function>& program,
                                                         std::span<const Argument> arguments, bool call, Loc at) = 0;
  /// An element of an array of one axis, as a scalar of the program.
  virtual std::uint32_t item(const ArrayState& array, std::uint32_t index, Loc at) = 0;
  /// A captured scalar as an array of one element.
  virtual std::shared_ptr<ArrayState> hold(std::uint32_t scalar, Loc at) = 0;
  virtual Device device() const = 0;
};
Tracer*& tracer();

/// Memory of an array; throws KernelError when it is a traced value.
const std::shared_ptr<Storage>& storage_of(const ArrayState& array);

}  // namespace fluxion::detail
