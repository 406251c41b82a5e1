// Where arrays live and kernels run. A Device is a handle; all handles of one name are the same device.
// Each device has one stream: launches are queued and run in order, and the calls that read memory wait for them.
#pragma once
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "fluxion/type.h"

namespace fluxion {

template <class T, int N = 1> class Buffer;
namespace detail {
class DeviceState;
}

class FLUXION_API Device {
 public:
  Device() = default;  // no device: only good for being assigned to

  /// The device that FLUXION_DEVICE names, else the fastest one there is.
  static Device best();
  static Device cpu();
  /// The evaluator: slow, checks every index; the oracle for the others.
  static Device reference();
  /// Throws DeviceError, with the names there are, when there is none of that name.
  static Device named(std::string_view name);
  /// Those that are present.
  static std::vector<Device> list();
  /// All that this library knows, present or not; named() says of one that is not what is missing.
  static std::vector<std::string> names();

  std::string name() const;
  std::string description() const;
  /// Bytes that arrays may have in all; 0: not known.
  std::uint64_t memory() const;
  /// What the hardware has that code depends on: "avx2", "f64", ...
  std::vector<std::string> features() const;

  /// Waits for all launches on this device; throws the first error that one of them met.
  void wait() const;

  // ---- arrays on this device; the extents are slowest axis first. ShapeError for an extent below 0 or over 2^31 - 1,
  // DeviceError where memory runs out. zeros and full are filled with a value, empty holds anything.
  template <class T, class... E> Buffer<T, static_cast<int>(sizeof...(E))> zeros(E... extents) const;
  template <class T, class... E> Buffer<T, static_cast<int>(sizeof...(E))> empty(E... extents) const;
  template <class T, class... E> Buffer<T, static_cast<int>(sizeof...(E))> full(const T& value, E... extents) const;
  /// Copies; without extents a buffer of one axis.
  template <class T> Buffer<T, 1> upload(const std::vector<T>& values) const;
  template <class T> Buffer<T, 1> upload(std::initializer_list<T> values) const;
  template <class T> Buffer<T, 1> upload(std::span<const T> values) const;
  template <class T, class... E>
  Buffer<T, static_cast<int>(sizeof...(E)) + 1> upload(const std::vector<T>& values, std::int64_t n, E... extents) const;

  bool operator==(const Device&) const = default;
  explicit operator bool() const { return state_ != nullptr; }
  detail::DeviceState& state() const;  // throws DeviceError on no device

 private:
  explicit Device(std::shared_ptr<detail::DeviceState> state) : state_(std::move(state)) {}
  std::shared_ptr<detail::DeviceState> state_;
};

}  // namespace fluxion
