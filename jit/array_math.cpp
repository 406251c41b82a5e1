// Arithmetic on whole arrays: one small kernel a kind of operation, element and rank, built by hand once and
// launched like any other.
#include <fmt/format.h>

#include <bit>
#include <cstring>
#include <map>
#include <mutex>

#include "fluxion/buffer.h"
#include "fluxion/builder.h"
#include "fluxion/error.h"
#include "fluxion/kernel_handle.h"

namespace fluxion::detail {
namespace {

enum class Shape : std::uint8_t { binary, scalar_last, scalar_first, unary, sum, dot };

struct Key {
  Shape shape;
  Opcode op;
  bool into;  // the first operand is the result
  std::uint16_t element;
  int rank;
  auto operator<=>(const Key&) const = default;
};

DType compute_type(DType t) { return is_half(t) ? DType::f32 : t; }

// The dtype of the scalar operand: that of the first leaf; other leaves convert it.
DType scalar_type(LayoutId element) { return compute_type(layout_of(element).leaves[0].dtype); }

std::string name_of(const Key& key) {
  std::string name = key.shape == Shape::sum || key.shape == Shape::dot ? (key.shape == Shape::sum ? "sum" : "dot") : name_of(key.op);
  return key.into ? name + "_into" : name;
}

Function build(const Key& key) {
  Function f;
  f.kind = Function::Kind::kernel;
  f.name = name_of(key);
  f.domain_rank = key.rank;
  Builder b(f);
  const LayoutId element(key.element);
  const Layout& layout = layout_of(element);
  const bool reduces = key.shape == Shape::sum || key.shape == Shape::dot;
  const MemoryId a = b.memory_parameter(element, key.rank, key.into ? Role::inout : Role::in, "a");
  MemoryId other{}, result = a;
  ValueId scalar{};
  if (key.shape == Shape::binary || key.shape == Shape::dot) other = b.memory_parameter(element, key.rank, Role::in, "b");
  if (key.shape == Shape::scalar_first || key.shape == Shape::scalar_last) scalar = b.scalar_parameter(scalar_type(element), "s");
  if (reduces) result = b.memory_parameter(key.shape == Shape::dot ? LayoutId(scalar_type(element)) : element, 1, Role::accum, "result");
  else if (!key.into) result = b.memory_parameter(element, key.rank, Role::out, "result");

  Values index;
  for (int k = 0; k < key.rank; ++k) index.push_back(b.index(k));
  const ValueId first[] = {b.i32(0)};
  for (std::size_t l = 0; l < layout.leaves.size(); ++l) {
    const int leaf = static_cast<int>(l);
    const DType stored = layout.leaves[l].dtype, t = compute_type(stored);
    const ValueId x = b.convert(b.load(a, index, leaf), t);
    ValueId r{};
    switch (key.shape) {
      case Shape::binary: r = b.emit(key.op, {x, b.convert(b.load(other, index, leaf), t)}); break;
      case Shape::scalar_last: r = b.emit(key.op, {x, b.convert(scalar, t)}); break;
      case Shape::scalar_first: r = b.emit(key.op, {b.convert(scalar, t), x}); break;
      case Shape::unary: r = b.emit(key.op, {x}); break;
      case Shape::sum: r = x; break;
      case Shape::dot: r = b.mul(x, b.convert(b.load(other, index, leaf), t)); break;
    }
    if (key.shape == Shape::dot) b.accumulate(result, first, b.convert(r, scalar_type(element)));
    else if (key.shape == Shape::sum) b.accumulate(result, first, b.convert(r, stored), leaf);
    else b.store(result, index, b.convert(r, stored), leaf);
  }
  b.finish();
  return f;
}

const KernelHandle& kernel_for(const Key& key) {
  static std::mutex mutex;
  static std::map<Key, KernelHandle>& made = *new std::map<Key, KernelHandle>;
  std::lock_guard lock(mutex);
  auto it = made.find(key);
  if (it == made.end()) it = made.emplace(key, KernelHandle(std::make_shared<const Function>(build(key)))).first;
  return it->second;
}

void check_numbers(Opcode op, const Array& a, Loc at) {
  for (const Leaf& leaf : layout_of(a.element()).leaves)
    if (!accepts(info(op).operands, compute_type(leaf.dtype)))
      throw ShapeError(at,
                       fmt::format("{} of an array of {}: it does not take {}", name_of(op), to_string(a.element()), name_of(leaf.dtype)));
}

void check_equal(Opcode op, const Array& a, const Array& b, Loc at) {
  if (a.element() == b.element() && a.shape() == b.shape()) return;
  throw ShapeError(at, fmt::format("{}: the shapes differ: [{}] of {} and [{}] of {}", name_of(op), fmt::join(a.shape(), ", "),
                                   to_string(a.element()), fmt::join(b.shape(), ", "), to_string(b.element())));
}

std::uint64_t bits_of(double s, DType t, Loc at) {
  if (t == DType::f32) return std::bit_cast<std::uint32_t>(static_cast<float>(s));
  if (t == DType::f64) return std::bit_cast<std::uint64_t>(s);
  const auto i = static_cast<std::int64_t>(s);
  if (static_cast<double>(i) != s) throw ShapeError(at, fmt::format("{} with an array of {}: convert one of them", s, name_of(t)));
  const int bytes = size_of(t);
  return static_cast<std::uint64_t>(i) & (bytes == 8 ? ~0ull : (1ull << (8 * bytes)) - 1);
}

void run(const Key& key, const Array& a, const Array* b, const double* s, const Array* result, Loc at) {
  Argument list[3];
  std::size_t n = 0;
  list[n++].array = a.shared();
  if (b) list[n++].array = b->shared();
  if (s) list[n++].bits = bits_of(*s, scalar_type(a.element()), at);
  if (result) list[n++].array = result->shared();
  const detail::ArrayState& state = a.state();
  kernel_for(key).launch(state.extent, state.rank, {list, n}, at);
}

Array like(const Array& a, Loc at) { return Array::make(a.device(), a.element(), a.shape(), Array::Fill::none, at); }

}  // namespace

Array combine(Opcode op, const Array& a, const Array& b, Loc at) {
  check_equal(op, a, b, at);
  check_numbers(op, a, at);
  const Array r = like(a, at);
  run({Shape::binary, op, false, a.element().index, a.rank()}, a, &b, nullptr, &r, at);
  return r;
}
Array combine(Opcode op, const Array& a, double s, bool scalar_first, Loc at) {
  check_numbers(op, a, at);
  const Array r = like(a, at);
  run({scalar_first ? Shape::scalar_first : Shape::scalar_last, op, false, a.element().index, a.rank()}, a, nullptr, &s, &r, at);
  return r;
}
void combine_into(Opcode op, const Array& a, const Array& b, Loc at) {
  check_equal(op, a, b, at);
  check_numbers(op, a, at);
  run({Shape::binary, op, true, a.element().index, a.rank()}, a, &b, nullptr, nullptr, at);
}
void combine_into(Opcode op, const Array& a, double s, Loc at) {
  check_numbers(op, a, at);
  run({Shape::scalar_last, op, true, a.element().index, a.rank()}, a, nullptr, &s, nullptr, at);
}
Array map(Opcode op, const Array& a, Loc at) {
  check_numbers(op, a, at);
  const Array r = like(a, at);
  run({Shape::unary, op, false, a.element().index, a.rank()}, a, nullptr, nullptr, &r, at);
  return r;
}
Array sum(const Array& a, Loc at) {
  check_numbers(Opcode::add, a, at);
  const std::int64_t one[] = {1};
  const Array r = Array::make(a.device(), a.element(), one, Array::Fill::zeros, at);
  run({Shape::sum, Opcode::add, false, a.element().index, a.rank()}, a, nullptr, nullptr, &r, at);
  return r;
}
Array dot(const Array& a, const Array& b, Loc at) {
  check_equal(Opcode::mul, a, b, at);
  check_numbers(Opcode::mul, a, at);
  const std::int64_t one[] = {1};
  const Array r = Array::make(a.device(), scalar_type(a.element()), one, Array::Fill::zeros, at);
  run({Shape::dot, Opcode::mul, false, a.element().index, a.rank()}, a, &b, nullptr, &r, at);
  return r;
}

double single_value(LayoutId layout, const void* element, Loc call) {
  double value = 0;
  bool first = true;
  for (const Leaf& leaf : layout_of(layout).leaves) {
    const auto* at = static_cast<const std::byte*>(element) + leaf.offset;
    const auto read = [&]<class T>(T v) {
      std::memcpy(&v, at, sizeof v);
      return static_cast<double>(v);
    };
    double v = 0;
    switch (leaf.dtype) {
      case DType::boolean: v = read(bool{}); break;
      case DType::i8: v = read(std::int8_t{}); break;
      case DType::i16: v = read(std::int16_t{}); break;
      case DType::i32: v = read(std::int32_t{}); break;
      case DType::i64: v = read(std::int64_t{}); break;
      case DType::u8: v = read(std::uint8_t{}); break;
      case DType::u16: v = read(std::uint16_t{}); break;
      case DType::u32: v = read(std::uint32_t{}); break;
      case DType::u64: v = read(std::uint64_t{}); break;
      case DType::f16:
        v = static_cast<double>(static_cast<float>([&] {
          half h;
          std::memcpy(&h, at, 2);
          return h;
        }()));
        break;
      case DType::bf16:
        v = static_cast<double>(static_cast<float>([&] {
          bfloat16 h;
          std::memcpy(&h, at, 2);
          return h;
        }()));
        break;
      case DType::f32: v = read(float{}); break;
      case DType::f64: v = read(double{}); break;
    }
    if (!first && v != value)
      throw KernelError(call, "fill: within a program all parts of the element must be equal; launch a kernel instead");
    value = v;
    first = false;
  }
  return value;
}

}  // namespace fluxion::detail
