// Arrays: making, wrapping, reading and writing whole arrays of bytes.
#include "fluxion/array.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <limits>

#include "fluxion/buffer.h"
#include "runtime.h"

namespace fluxion {
namespace {

constexpr std::int64_t kMaxExtent = std::numeric_limits<std::int32_t>::max();
constexpr std::size_t kSmallCopy = std::size_t{256} << 10;  // bytes copied in about the time of waking a thread

std::shared_ptr<detail::ArrayState> describe(const Device& device, LayoutId element, std::span<const std::int64_t> shape, Loc at) {
  if (shape.empty() || shape.size() > 3) throw ShapeError(at, fmt::format("an array has 1 to 3 axes, not {}", shape.size()));
  auto state = std::make_shared<detail::ArrayState>();
  state->element = element;
  state->rank = static_cast<int>(shape.size());
  state->device = device;
  for (std::size_t i = 0; i < shape.size(); ++i) {
    if (shape[i] < 0) throw ShapeError(at, fmt::format("axis {} of an array has the extent {}; extents are not negative", i, shape[i]));
    if (shape[i] > kMaxExtent)
      throw ShapeError(at, fmt::format("axis {} of an array has the extent {}; the largest is 2^31 - 1, split the axis", i, shape[i]));
    state->extent[i] = shape[i];
  }
  return state;
}

std::size_t bytes_of(const detail::ArrayState& s) {
  // Three axes of 2^31 and an element's size do not fit 64 bits.
  const auto size = static_cast<unsigned __int128>(s.extent[0]) * static_cast<std::uint64_t>(s.extent[1]) *
                    static_cast<std::uint64_t>(s.extent[2]) * layout_of(s.element).size;
  if (size > (static_cast<unsigned __int128>(1) << 62))
    throw ShapeError({}, fmt::format("an array of {} x {} x {} elements is larger than any memory", s.extent[0], s.extent[1], s.extent[2]));
  return static_cast<std::size_t>(size);
}

}  // namespace

namespace detail {

// From one device to another the bytes go through the host, unless one of the two works there.
void copy_bytes(const Storage& to, const Storage& from, std::size_t bytes) {
  Backend &here = *to.device.state().backend, &there = *from.device.state().backend;
  if (&here == &there) return here.copy(to.data, from.data, bytes);
  if (there.host_memory()) return here.write(to.data, from.data, bytes);
  if (here.host_memory()) return there.read(to.data, from.data, bytes);
  std::vector<std::byte> between(bytes);
  there.read(between.data(), from.data, bytes);
  here.write(to.data, between.data(), bytes);
}

const std::shared_ptr<Storage>& storage_of(const ArrayState& array) {
  if (!array.storage)
    throw KernelError({}, "an array that belongs to a program under capture has no values yet; return it from the program and read that");
  return array.storage;
}

void check_array(const Array& a, LayoutId element, int rank, Loc at) {
  if (!a) return;
  if (a.element() == element && a.rank() == rank) return;
  throw ShapeError(at, fmt::format("an array of {} axes of {} is no buffer of {} axes of {}", a.rank(), to_string(a.element()), rank,
                                   to_string(element)));
}

void throw_count(std::size_t given, std::int64_t wanted, Loc at) {
  throw ShapeError(at, fmt::format("{} values for a buffer of {}", given, wanted));
}

}  // namespace detail

Array Array::make(const Device& device, LayoutId element, std::span<const std::int64_t> shape, Fill fill, Loc at) {
  auto state = describe(device, element, shape, at);
  const std::size_t bytes = bytes_of(*state);
  if (detail::Tracer* t = detail::tracer(); t && fill != Fill::memory) t->create(*state, fill, at);
  else state->storage = detail::allocate(device, bytes, fill == Fill::zeros);
  return Array(std::move(state));
}

Array Array::wrap(void* data, LayoutId element, std::span<const std::int64_t> shape, const Device& device, void (*deleter)(void*, void*),
                  void* context) {
  auto state = describe(device, element, shape, {});
  const std::size_t bytes = bytes_of(*state);
  if (!data && bytes != 0) throw ShapeError({}, fmt::format("wrap: a null pointer for {} bytes", bytes));
  if (!device.state().backend->host_memory())
    throw DeviceError({}, fmt::format("wrap: device {} has memory of its own; make an array there with Device::upload", device.name()));
  auto storage = std::make_shared<detail::Storage>();
  storage->data = data;
  storage->bytes = bytes;
  storage->device = device;
  storage->deleter = deleter ? deleter : [](void*, void*) {};
  storage->context = context;
  state->storage = std::move(storage);
  return Array(std::move(state));
}

detail::ArrayState& Array::state() const {
  if (!state_) throw ShapeError({}, "an empty array is used; make it with Device::zeros, empty or upload");
  return *state_;
}

std::vector<std::int64_t> Array::shape() const {
  const detail::ArrayState& s = state();
  return {s.extent.begin(), s.extent.begin() + s.rank};
}

Array& Array::operator=(const Array& other) {
  if (detail::Tracer* t = detail::tracer(); t && t->rebind(state_, other.state_, false)) return *this;
  state_ = other.state_;
  return *this;
}
Array& Array::operator=(Array&& other) noexcept(false) {
  if (detail::Tracer* t = detail::tracer(); t && t->rebind(state_, other.state_, other.state_.use_count() == 1)) return *this;
  state_ = std::move(other.state_);
  return *this;
}

void Array::read(void* to, Loc at) const {
  if (detail::Tracer* t = detail::tracer()) t->host_read(at);
  const detail::ArrayState& s = state();
  const auto& storage = detail::storage_of(s);
  s.device.wait();
  if (const std::size_t n = bytes_of(s)) s.device.state().backend->read(to, storage->data, n);
}

void Array::write(const void* from, Loc at, bool fresh) const {
  if (detail::Tracer* t = detail::tracer(); t && !fresh) t->host_write(at);
  const detail::ArrayState& s = state();
  const auto storage = detail::storage_of(s);
  const std::size_t n = bytes_of(s);
  if (n == 0) return;
  static const std::string kName = "write to an array";
  detail::Stream& stream = s.device.state().stream;
  Backend* backend = s.device.state().backend.get();  // as long as `storage`
  if (stream.try_inline(kName, [&](FailureSlot&) { backend->write(storage->data, from, n); })) return;
  auto bytes = std::make_shared<std::vector<std::byte>>(n);
  std::memcpy(bytes->data(), from, n);
  stream.submit(kName, [storage, backend, bytes, n](FailureSlot&) { backend->write(storage->data, bytes->data(), n); }, n <= kSmallCopy);
}

void Array::copy_from(const Array& other, Loc at) const {
  detail::ArrayState& to = state();
  const detail::ArrayState& from = other.state();
  if (to.element != from.element || to.rank != from.rank || to.extent != from.extent)
    throw ShapeError(at, fmt::format("copy_from: the shapes differ: {} of [{}] and {} of [{}]", to_string(to.element),
                                     fmt::join(shape(), ", "), to_string(from.element), fmt::join(other.shape(), ", ")));
  if (detail::Tracer* t = detail::tracer()) return t->copy(to, from, at);
  if (&to == &from || to.storage == from.storage) return;
  const auto target = detail::storage_of(to), source = detail::storage_of(from);
  if (to.device != from.device) from.device.wait();
  const std::size_t n = bytes_of(to);
  if (n == 0) return;
  static const std::string kName = "copy of an array";
  to.device.state().stream.submit(kName, [target, source, n](FailureSlot&) { detail::copy_bytes(*target, *source, n); }, n <= kSmallCopy);
  if (to.device != from.device) to.device.wait();  // what the other device runs next may write `from`
}

void Array::fill(const void* element, Loc at) const {
  detail::ArrayState& s = state();
  if (detail::Tracer* t = detail::tracer()) {
    const Array filled = make(s.device, s.element, shape(), Fill::zeros, at);
    detail::combine_into(Opcode::add, filled, detail::single_value(s.element, element, at), at);
    return t->copy(s, filled.state(), at);
  }
  const auto storage = detail::storage_of(s);
  const std::size_t size = layout_of(s.element).size, n = bytes_of(s);
  if (n == 0) return;
  auto bytes = std::make_shared<std::vector<std::byte>>(size);
  std::memcpy(bytes->data(), element, size);
  static const std::string kName = "fill of an array";
  Backend* backend = s.device.state().backend.get();
  s.device.state().stream.submit(
      kName, [storage, backend, bytes, size, n](FailureSlot&) { backend->fill(storage->data, bytes->data(), size, n); }, n <= kSmallCopy);
}

}  // namespace fluxion
