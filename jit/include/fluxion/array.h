// Array: the one handle of memory. Copies share; what one copy's holder writes, the others see.
// Inside the capture of a program an Array may hold a traced value in place of memory.
#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "fluxion/device.h"
#include "fluxion/layout.h"

namespace fluxion {
namespace detail {

/// A block of a device's memory. Pending launches hold it, so that it outlives them.
struct Storage;

/// What the copies of one Array share.
struct ArrayState : std::enable_shared_from_this<ArrayState> {
  LayoutId element;
  int rank = 1;                                 // 1..3
  std::array<std::int64_t, 3> extent{1, 1, 1};  // slowest axis first; unused axes are 1
  Device device;
  std::shared_ptr<Storage> storage;  // null: traced
  std::uint64_t trace = 0;           // which capture made it, when traced
  std::uint32_t value = ~0u;         // that capture's name for it
  std::int64_t count() const { return extent[0] * extent[1] * extent[2]; }
};

}  // namespace detail

/// Memory of a device with element layout and 1 to 3 axes, row-major, the last axis contiguous. Buffer<T, N> is the typed form.
/// Throws   ShapeError where an empty handle is used
class FLUXION_API Array {
 public:
  Array() = default;
  explicit Array(std::shared_ptr<detail::ArrayState> state) : state_(std::move(state)) {}
  Array(const Array&) = default;
  Array(Array&&) = default;
  ~Array() = default;
  // The capture of a program looks at assignments: see program.h.
  Array& operator=(const Array& other);
  Array& operator=(Array&& other) noexcept(false);

  /// `memory`: like none, but memory even while a program is captured.
  enum class Fill : std::uint8_t { none, zeros, memory };
  /// Throws ShapeError for a rank out of 1..3, a negative extent or one over 2^31 - 1.
  static Array make(const Device& device, LayoutId element, std::span<const std::int64_t> shape, Fill fill, Loc at = {});
  /// Uses the caller's memory; `deleter(data, context)` is called when the last user is done.
  static Array wrap(void* data, LayoutId element, std::span<const std::int64_t> shape, const Device& device,
                    void (*deleter)(void* data, void* context) = nullptr, void* context = nullptr);

  explicit operator bool() const { return state_ != nullptr; }
  LayoutId element() const { return state().element; }
  int rank() const { return state().rank; }
  std::int64_t extent(int axis) const { return state().extent[static_cast<std::size_t>(axis)]; }
  std::int64_t size() const { return state().count(); }
  std::vector<std::int64_t> shape() const;
  Device device() const { return state().device; }

  // ---- bytes, row-major; the heavy ends of what Buffer offers
  void read(void* to, Loc at = {}) const;  // waits
  /// In order with the launches; `from` is read before it returns. Only a `fresh` array, which nobody has seen, may be
  /// written while a program is captured.
  void write(const void* from, Loc at = {}, bool fresh = false) const;
  void copy_from(const Array& other, Loc at = {}) const;
  void fill(const void* element, Loc at = {}) const;

  detail::ArrayState& state() const;  // throws ShapeError on an empty handle
  const std::shared_ptr<detail::ArrayState>& shared() const { return state_; }

 private:
  std::shared_ptr<detail::ArrayState> state_;
};

namespace detail {
/// Throws ShapeError unless the array has this element and rank.
FLUXION_API void check_array(const Array& a, LayoutId element, int rank, Loc at = {});
}  // namespace detail

}  // namespace fluxion
