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
FLUXION_API Array sum(const Array& a, Loc at);              // one element of the same kind
FLUXION_API Array dot(const Array& a, const Array& b, Loc at);  // one scalar: the sum over elements and leaves
/// The number that all leaves of `element` hold; throws KernelError when they differ.
FLUXION_API double single_value(LayoutId layout, const void* element);
[[noreturn]] FLUXION_API void throw_count(std::size_t given, std::int64_t wanted);
}  // namespace detail

template <class T, int N>
class Buffer {
  static_assert(N >= 1 && N <= 3, "a buffer has 1 to 3 axes");
  static_assert(std::is_trivially_copyable_v<T>, "the element of a buffer is a plain value");

 public:
  using value_type = T;
  static constexpr int rank = N;

  Buffer() = default;
  /// Throws ShapeError unless the array has elements T and N axes.
  Buffer(const Array& a) : array_(a) { detail::check_array(a, detail::element_of<T>(), N); }
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
    if (size() != 1) throw_not_one(size());
    T out;
    array_.read(&out, at);
    return out;
  }
  void set(const std::vector<T>& values) const {
    check_count(values.size());
    if constexpr (std::is_same_v<T, bool>) {
      std::unique_ptr<bool[]> raw(new bool[values.size()]);
      for (std::size_t i = 0; i < values.size(); ++i) raw[i] = values[i];
      array_.write(raw.get());
    } else {
      array_.write(values.data());
    }
  }
  void set(std::span<const T> values) const { check_count(values.size()); array_.write(values.data()); }
  void set(std::initializer_list<T> values) const { set(std::span<const T>(values.begin(), values.size())); }
  void fill(const T& value) const { array_.fill(&value); }
  void copy_from(const Buffer& other) const { array_.copy_from(other.array_); }

  // ---- arithmetic on every leaf; equal shapes
  friend Buffer operator+(const Buffer& a, const Buffer& b) { return detail::combine(Opcode::add, a.array_, b.array_, {}); }
  friend Buffer operator-(const Buffer& a, const Buffer& b) { return detail::combine(Opcode::sub, a.array_, b.array_, {}); }
  friend Buffer operator*(const Buffer& a, const Buffer& b) { return detail::combine(Opcode::mul, a.array_, b.array_, {}); }
  friend Buffer operator/(const Buffer& a, const Buffer& b) { return detail::combine(Opcode::div, a.array_, b.array_, {}); }
  friend Buffer operator+(const Buffer& a, double s) { return detail::combine(Opcode::add, a.array_, s, false, {}); }
  friend Buffer operator-(const Buffer& a, double s) { return detail::combine(Opcode::sub, a.array_, s, false, {}); }
  friend Buffer operator*(const Buffer& a, double s) { return detail::combine(Opcode::mul, a.array_, s, false, {}); }
  friend Buffer operator/(const Buffer& a, double s) { return detail::combine(Opcode::div, a.array_, s, false, {}); }
  friend Buffer operator+(double s, const Buffer& a) { return detail::combine(Opcode::add, a.array_, s, true, {}); }
  friend Buffer operator-(double s, const Buffer& a) { return detail::combine(Opcode::sub, a.array_, s, true, {}); }
  friend Buffer operator*(double s, const Buffer& a) { return detail::combine(Opcode::mul, a.array_, s, true, {}); }
  friend Buffer operator/(double s, const Buffer& a) { return detail::combine(Opcode::div, a.array_, s, true, {}); }
  Buffer operator-() const { return detail::map(Opcode::neg, array_, {}); }
  const Buffer& operator+=(const Buffer& b) const { detail::combine_into(Opcode::add, array_, b.array_, {}); return *this; }
  const Buffer& operator-=(const Buffer& b) const { detail::combine_into(Opcode::sub, array_, b.array_, {}); return *this; }
  const Buffer& operator*=(const Buffer& b) const { detail::combine_into(Opcode::mul, array_, b.array_, {}); return *this; }
  const Buffer& operator/=(const Buffer& b) const { detail::combine_into(Opcode::div, array_, b.array_, {}); return *this; }
  const Buffer& operator+=(double s) const { detail::combine_into(Opcode::add, array_, s, {}); return *this; }
  const Buffer& operator-=(double s) const { detail::combine_into(Opcode::sub, array_, s, {}); return *this; }
  const Buffer& operator*=(double s) const { detail::combine_into(Opcode::mul, array_, s, {}); return *this; }
  const Buffer& operator/=(double s) const { detail::combine_into(Opcode::div, array_, s, {}); return *this; }

 private:
  void check_count(std::size_t n) const {
    if (static_cast<std::int64_t>(n) != size()) detail::throw_count(n, size());
  }
  static void throw_not_one(std::int64_t n) { detail::throw_count(1, n); }
  Array array_;
};

template <class T, int N> Buffer<T, N> zeros_like(const Buffer<T, N>& a) {
  return Array::make(a.device(), a.array().element(), a.shape(), Array::Fill::zeros);
}
template <class T, int N> Buffer<T, N> empty_like(const Buffer<T, N>& a) {
  return Array::make(a.device(), a.array().element(), a.shape(), Array::Fill::none);
}
/// Ones in every leaf: the cotangent that makes a vjp the gradient of a sum.
template <class T, int N> Buffer<T, N> ones_like(const Buffer<T, N>& a) { return zeros_like(a) += 1.0; }
template <class T, int N> Buffer<T, N> copy(const Buffer<T, N>& a) {
  Buffer<T, N> out = empty_like(a);
  out.copy_from(a);
  return out;
}
/// One element: the sum of all.
template <class T, int N> Buffer<T, 1> sum(const Buffer<T, N>& a, Loc at = Loc::here()) { return detail::sum(a.array(), at); }
template <class T, int N> Buffer<T, 1> mean(const Buffer<T, N>& a, Loc at = Loc::here()) {
  return detail::combine(Opcode::mul, detail::sum(a.array(), at), 1.0 / static_cast<double>(a.size()), false, at);
}
/// One scalar: the sum over elements, and over the leaves of each.
template <class T, int N> auto dot(const Buffer<T, N>& a, const Buffer<T, N>& b, Loc at = Loc::here())
    -> Buffer<detail::LeafOf<T>, 1> {
  return detail::dot(a.array(), b.array(), at);
}
template <class T, int N> Buffer<T, N> square(const Buffer<T, N>& a, Loc at = Loc::here()) {
  return detail::combine(Opcode::mul, a.array(), a.array(), at);
}
template <class T, int N> Buffer<T, N> sqrt(const Buffer<T, N>& a, Loc at = Loc::here()) {
  return detail::map(Opcode::sqrt, a.array(), at);
}
template <class T, int N> Buffer<T, N> abs(const Buffer<T, N>& a, Loc at = Loc::here()) {
  return detail::map(Opcode::abs, a.array(), at);
}

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
  b.set(values);
  return b;
}
template <class T> Buffer<T, 1> Device::upload(std::initializer_list<T> values) const {
  return upload(std::span<const T>(values.begin(), values.size()));
}
template <class T> Buffer<T, 1> Device::upload(std::span<const T> values) const {
  const std::int64_t shape[] = {static_cast<std::int64_t>(values.size())};
  Buffer<T, 1> b = Array::make(*this, detail::element_of<T>(), shape, Array::Fill::memory);
  b.set(values);
  return b;
}
template <class T, class... E>
Buffer<T, static_cast<int>(sizeof...(E)) + 1> Device::upload(const std::vector<T>& values, std::int64_t n, E... extents) const {
  const std::int64_t shape[] = {n, static_cast<std::int64_t>(extents)...};
  Buffer<T, static_cast<int>(sizeof...(E)) + 1> b = Array::make(*this, detail::element_of<T>(), shape, Array::Fill::memory);
  b.set(values);
  return b;
}

}  // namespace fluxion
