// Buffer<T, N>: an Array with element type and number of axes in its C++ type, and the arithmetic on whole
// buffers that training loops write (v -= 0.1f * g). Each of these is a launch, in order with all others.
#pragma once
#include <type_traits>
#include <utility>

#include "fluxion/array.h"
#include "fluxion/element.h"
#include "fluxion/op.h"

namespace fluxion {
namespace detail {
// Elementwise on leaves: a (op) b, a (op) s, s (op) a; into: the result replaces a.
FLUXION_API Array combine(Opcode op, const Array& a, const Array& b, Loc at);
FLUXION_API Array combine(Opcode op, const Array& a, double s, bool scalar_first, Loc at);
FLUXION_API void combine_into(Opcode op, const Array& a, const Array& b, Loc at);
FLUXION_API void combine_into(Opcode op, const Array& a, double s, Loc at);
FLUXION_API Array map(Opcode op, const Array& a, Loc at);
FLUXION_API Array sum(const Array& a, Loc at);                  // one element of the same kind
FLUXION_API Array dot(const Array& a, const Array& b, Loc at);  // one scalar: the sum over elements and leaves
/// The number that all leaves of `element` hold; throws KernelError when they differ.
FLUXION_API double single_value(LayoutId layout, const void* element, Loc call);
[[noreturn]] FLUXION_API void throw_count(std::size_t given, std::int64_t wanted, Loc at);
/// `fresh`: the array was just made, so that a program may be captured.
template <class T> void write_values(const Array& a, const std::vector<T>& values, Loc at, bool fresh) {
  if constexpr (std::is_same_v<T, bool>) {
    std::unique_ptr<bool[]> raw(new bool[values.size()]);
    for (std::size_t i = 0; i < values.size(); ++i) raw[i] = values[i];
    a.write(raw.get(), at, fresh);
  } else {
    a.write(values.data(), at, fresh);
  }
}
}  // namespace detail

/// Copies share the memory; copy() makes another. Reading waits for the launches before it and throws what went wrong in them.
template <class T, int N>
class Buffer {
  static_assert(N >= 1 && N <= 3, "a buffer has 1 to 3 axes");
  static_assert(std::is_trivially_copyable_v<T>, "the element of a buffer is a plain value");

 public:
  using value_type = T;
  static constexpr int rank = N;

  Buffer() = default;
  /// Throws ShapeError unless the array has elements T and N axes.
  Buffer(const Array& a, Loc at = Loc::here()) : array_(a) { detail::check_array(a, detail::element_of<T>(), N, at); }
  operator const Array&() const { return array_; }
  const Array& array() const { return array_; }
  explicit operator bool() const { return static_cast<bool>(array_); }

  /// Uses the caller's memory without a copy; `deleter(data, context)` is called when the last user is done.
  static Buffer wrap(T* data, const std::array<std::int64_t, N>& shape, const Device& device,
                     void (*deleter)(void* data, void* context) = nullptr, void* context = nullptr) {
    return Buffer(Array::wrap(data, detail::element_of<T>(), shape, device, deleter, context));
  }

  std::int64_t size() const { return array_.size(); }
  std::int64_t extent(int axis) const { return array_.extent(axis); }
  std::array<std::int64_t, N> shape() const {
    std::array<std::int64_t, N> s;
    for (int k = 0; k < N; ++k) s[static_cast<std::size_t>(k)] = extent(k);
    return s;
  }
  Device device() const { return array_.device(); }

  /// The elements, row-major, after all launches on the device; throws the first error that one of them met.
  std::vector<T> host(Loc at = Loc::here()) const {
    if constexpr (std::is_same_v<T, bool>) {
      std::unique_ptr<bool[]> raw(new bool[static_cast<std::size_t>(size())]);
      array_.read(raw.get(), at);
      return std::vector<bool>(raw.get(), raw.get() + size());
    } else {
      std::vector<T> out(static_cast<std::size_t>(size()));
      array_.read(out.data(), at);
      return out;
    }
  }
  /// The only element; throws ShapeError when there are more.
  T item(Loc at = Loc::here()) const {
    if (size() != 1) detail::throw_count(1, size(), at);
    T out;
    array_.read(&out, at);
    return out;
  }
  /// Copies; throws ShapeError for another number of values than elements.
  void set(const std::vector<T>& values, Loc at = Loc::here()) const {
    check_count(values.size(), at);
    detail::write_values(array_, values, at, false);
  }
  void set(std::span<const T> values, Loc at = Loc::here()) const {
    check_count(values.size(), at);
    array_.write(values.data(), at);
  }
  void set(std::initializer_list<T> values, Loc at = Loc::here()) const { set(std::span<const T>(values.begin(), values.size()), at); }
  void fill(const T& value, Loc at = Loc::here()) const { array_.fill(&value, at); }
  /// The elements of a buffer of the same shape, from any device.
  void copy_from(const Buffer& other, Loc at = Loc::here()) const { array_.copy_from(other.array_, at); }

  // ---- arithmetic on every leaf; equal shapes. The operands note the user's line.
  struct Operand {
    const Array& array;
    Loc loc;
    Operand(const Buffer& b, Loc at = Loc::here()) : array(b.array_), loc(at) {}
    Operand(const Array& a, Loc at = Loc::here()) : array(a), loc(at) {}
  };
  struct Number {
    double value;
    Loc loc;
    Number(double v, Loc at = Loc::here()) : value(v), loc(at) {}
  };
  friend Buffer operator+(const Buffer& a, Operand b) { return detail::combine(Opcode::add, a.array_, b.array, b.loc); }
  friend Buffer operator-(const Buffer& a, Operand b) { return detail::combine(Opcode::sub, a.array_, b.array, b.loc); }
  friend Buffer operator*(const Buffer& a, Operand b) { return detail::combine(Opcode::mul, a.array_, b.array, b.loc); }
  friend Buffer operator/(const Buffer& a, Operand b) { return detail::combine(Opcode::div, a.array_, b.array, b.loc); }
  friend Buffer operator+(const Buffer& a, Number s) { return detail::combine(Opcode::add, a.array_, s.value, false, s.loc); }
  friend Buffer operator-(const Buffer& a, Number s) { return detail::combine(Opcode::sub, a.array_, s.value, false, s.loc); }
  friend Buffer operator*(const Buffer& a, Number s) { return detail::combine(Opcode::mul, a.array_, s.value, false, s.loc); }
  friend Buffer operator/(const Buffer& a, Number s) { return detail::combine(Opcode::div, a.array_, s.value, false, s.loc); }
  friend Buffer operator+(Number s, const Buffer& a) { return detail::combine(Opcode::add, a.array_, s.value, true, s.loc); }
  friend Buffer operator-(Number s, const Buffer& a) { return detail::combine(Opcode::sub, a.array_, s.value, true, s.loc); }
  friend Buffer operator*(Number s, const Buffer& a) { return detail::combine(Opcode::mul, a.array_, s.value, true, s.loc); }
  friend Buffer operator/(Number s, const Buffer& a) { return detail::combine(Opcode::div, a.array_, s.value, true, s.loc); }
  friend Buffer operator-(Operand a) { return detail::map(Opcode::neg, a.array, a.loc); }
  const Buffer& operator+=(Operand b) const {
    detail::combine_into(Opcode::add, array_, b.array, b.loc);
    return *this;
  }
  const Buffer& operator-=(Operand b) const {
    detail::combine_into(Opcode::sub, array_, b.array, b.loc);
    return *this;
  }
  const Buffer& operator*=(Operand b) const {
    detail::combine_into(Opcode::mul, array_, b.array, b.loc);
    return *this;
  }
  const Buffer& operator/=(Operand b) const {
    detail::combine_into(Opcode::div, array_, b.array, b.loc);
    return *this;
  }
  const Buffer& operator+=(Number s) const {
    detail::combine_into(Opcode::add, array_, s.value, s.loc);
    return *this;
  }
  const Buffer& operator-=(Number s) const {
    detail::combine_into(Opcode::sub, array_, s.value, s.loc);
    return *this;
  }
  const Buffer& operator*=(Number s) const {
    detail::combine_into(Opcode::mul, array_, s.value, s.loc);
    return *this;
  }
  const Buffer& operator/=(Number s) const {
    detail::combine_into(Opcode::div, array_, s.value, s.loc);
    return *this;
  }

 private:
  void check_count(std::size_t n, Loc at) const {
    if (static_cast<std::int64_t>(n) != size()) detail::throw_count(n, size(), at);
  }
  Array array_;
};

template <class T, int N> Buffer<T, N> zeros_like(const Buffer<T, N>& a, Loc at = Loc::here()) {
  return Array::make(a.device(), a.array().element(), a.shape(), Array::Fill::zeros, at);
}
template <class T, int N> Buffer<T, N> empty_like(const Buffer<T, N>& a, Loc at = Loc::here()) {
  return Array::make(a.device(), a.array().element(), a.shape(), Array::Fill::none, at);
}
/// Ones in every leaf: the cotangent that makes a vjp the gradient of a sum.
template <class T, int N> Buffer<T, N> ones_like(const Buffer<T, N>& a, Loc at = Loc::here()) {
  Buffer<T, N> out = zeros_like(a, at);
  detail::combine_into(Opcode::add, out.array(), 1.0, at);
  return out;
}
template <class T, int N> Buffer<T, N> copy(const Buffer<T, N>& a, Loc at = Loc::here()) {
  Buffer<T, N> out = empty_like(a, at);
  out.copy_from(a, at);
  return out;
}
/// One element: the sum of all.
template <class T, int N> Buffer<T, 1> sum(const Buffer<T, N>& a, Loc at = Loc::here()) { return detail::sum(a.array(), at); }
template <class T, int N> Buffer<T, 1> mean(const Buffer<T, N>& a, Loc at = Loc::here()) {
  return detail::combine(Opcode::mul, detail::sum(a.array(), at), 1.0 / static_cast<double>(a.size()), false, at);
}
/// One scalar: the sum over elements, and over the leaves of each.
template <class T, int N> auto dot(const Buffer<T, N>& a, const Buffer<T, N>& b, Loc at = Loc::here()) -> Buffer<detail::LeafOf<T>, 1> {
  return detail::dot(a.array(), b.array(), at);
}
template <class T, int N> Buffer<T, N> square(const Buffer<T, N>& a, Loc at = Loc::here()) {
  return detail::combine(Opcode::mul, a.array(), a.array(), at);
}
template <class T, int N> Buffer<T, N> sqrt(const Buffer<T, N>& a, Loc at = Loc::here()) {
  return detail::map(Opcode::sqrt, a.array(), at);
}
template <class T, int N> Buffer<T, N> abs(const Buffer<T, N>& a, Loc at = Loc::here()) { return detail::map(Opcode::abs, a.array(), at); }

// ---- Device: what makes buffers
template <class T, class... E> Buffer<T, static_cast<int>(sizeof...(E))> Device::zeros(E... extents) const {
  const std::int64_t shape[] = {static_cast<std::int64_t>(extents)...};
  return Array::make(*this, detail::element_of<T>(), shape, Array::Fill::zeros);
}
template <class T, class... E> Buffer<T, static_cast<int>(sizeof...(E))> Device::empty(E... extents) const {
  const std::int64_t shape[] = {static_cast<std::int64_t>(extents)...};
  return Array::make(*this, detail::element_of<T>(), shape, Array::Fill::none);
}
template <class T, class... E> Buffer<T, static_cast<int>(sizeof...(E))> Device::full(const T& value, E... extents) const {
  auto b = empty<T>(extents...);
  b.fill(value);
  return b;
}
template <class T> Buffer<T, 1> Device::upload(const std::vector<T>& values) const {
  const std::int64_t shape[] = {static_cast<std::int64_t>(values.size())};
  Buffer<T, 1> b = Array::make(*this, detail::element_of<T>(), shape, Array::Fill::memory);
  detail::write_values(b.array(), values, {}, true);
  return b;
}
template <class T> Buffer<T, 1> Device::upload(std::initializer_list<T> values) const {
  return upload(std::span<const T>(values.begin(), values.size()));
}
template <class T> Buffer<T, 1> Device::upload(std::span<const T> values) const {
  const std::int64_t shape[] = {static_cast<std::int64_t>(values.size())};
  Buffer<T, 1> b = Array::make(*this, detail::element_of<T>(), shape, Array::Fill::memory);
  b.array().write(values.data(), {}, true);
  return b;
}
template <class T, class... E>
Buffer<T, static_cast<int>(sizeof...(E)) + 1> Device::upload(const std::vector<T>& values, std::int64_t n, E... extents) const {
  const std::int64_t shape[] = {n, static_cast<std::int64_t>(extents)...};
  Buffer<T, static_cast<int>(sizeof...(E)) + 1> b = Array::make(*this, detail::element_of<T>(), shape, Array::Fill::memory);
  if (static_cast<std::int64_t>(values.size()) != b.size()) detail::throw_count(values.size(), b.size(), {});
  detail::write_values(b.array(), values, {}, true);
  return b;
}

}  // namespace fluxion
