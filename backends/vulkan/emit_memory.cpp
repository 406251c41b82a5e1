// Arrays of the launch behind addresses, arrays of the invocation and of the group, atomics. Buffers and shared memory hold integers:
// floats are cast on the way, so that one element can be read, exchanged and added to. Shared floats stay floats where the device adds
// to them itself and nothing but additions comes there.
#include <bit>
#include <numeric>

#include "common/uniformity.h"
#include "emitter.h"
#include "fluxion/error.h"

namespace fluxion::vulkan {
using spv::Op;
using spv::StorageClass;
namespace {

constexpr Word kDevice = 1, kWorkgroup = 2;
// Atomics need 32 bits at least: narrow elements of shared memory take a word each.
constexpr int shared_bits(DType t) { return size_of(t) == 8 ? 64 : 32; }

}  // namespace

void Emitter::declare_memories() {
  for (std::size_t k = 0; k < f_.memories.size(); ++k) {
    const Memory& m = f_.memories[k];
    if (m.space == Memory::Space::parameter) continue;
    const bool shared = m.space == Memory::Space::shared;
    const auto& leaves = layout_of(m.element).leaves;
    for (std::size_t l = 0; l < leaves.size(); ++l) {
      const Leaf& leaf = leaves[l];
      if (shared) places_[k].adds.push_back(traits_.add_f32_shared && leaf.dtype == DType::f32 && only_adds(k, l));
      const Word element = shared ? shared_type(k, l) : type(leaf.dtype);
      const Word array = m_.array_type(element, static_cast<Word>(std::max<std::int64_t>(1, m.length)));
      places_[k].variables.push_back(shared ? m_.global(StorageClass::Workgroup, array) : m_.local(array));
      if (shared) out_.shared_bytes += std::max<std::int64_t>(1, m.length) * shared_bits(leaf.dtype) / 8;
    }
  }
}

// Whether floats are added to it by atomics, and no other atomic comes there.
bool Emitter::only_adds(std::size_t memory, std::size_t leaf) const {
  bool adds = false;
  for (const Region& r : f_.regions)
    for (OpId o : r.ops) {
      const fluxion::Op& op = f_[o];
      const bool here = (op.code == Opcode::atomic || op.code == Opcode::accumulate) && op.memory.index == memory && op.leaf == leaf;
      if (!here) continue;
      if (op.code == Opcode::atomic && static_cast<Atomic>(op.kind) != Atomic::add) return false;
      adds = true;
    }
  return adds;
}

Word Emitter::shared_type(std::size_t memory, std::size_t leaf) {
  const DType t = layout_of(f_.memories[memory].element).leaves[leaf].dtype;
  return places_[memory].adds[leaf] ? type(t) : m_.int_type(shared_bits(t));
}

void Emitter::zero_shared() {
  bool any = false;
  for (std::size_t k = 0; k < f_.memories.size(); ++k) {
    const Memory& m = f_.memories[k];
    if (m.space != Memory::Space::shared) continue;
    any = true;
    const auto& leaves = layout_of(m.element).leaves;
    const std::int64_t rounds = (m.length + out_.threads - 1) / out_.threads;
    for (std::size_t l = 0; l < leaves.size(); ++l) {
      const Word t = shared_type(k, l);
      for (std::int64_t r = 0; r < rounds; ++r) {
        const Word at = binary(Op::OpIAdd, u32(), lane_, number(static_cast<Word>(r * out_.threads)));
        const auto put = [&] {
          m_.effect(Op::OpStore,
                    {m_.op(Op::OpAccessChain, m_.pointer_type(StorageClass::Workgroup, t), {places_[k].variables[l], at}), m_.null(t)});
        };
        if ((r + 1) * out_.threads <= m.length) put();
        else when(binary(Op::OpULessThan, m_.bool_type(), at, number(static_cast<Word>(m.length))), put);
      }
    }
  }
  if (any) barrier();
}

void Emitter::zero_locals(RegionId r) {
  for (std::size_t k = 0; k < f_.memories.size(); ++k) {
    const Memory& m = f_.memories[k];
    if (m.space != Memory::Space::local || m.scope != r) continue;
    const auto& leaves = layout_of(m.element).leaves;
    for (std::size_t l = 0; l < leaves.size(); ++l) zero(places_[k].variables[l], type(leaves[l].dtype), m.length);
  }
}

void Emitter::zero(Word variable, Word t, std::int64_t length) {
  const auto put = [&](Word at) {
    m_.effect(Op::OpStore, {m_.op(Op::OpAccessChain, m_.pointer_type(StorageClass::Function, t), {variable, at}), m_.null(t)});
  };
  constexpr std::int64_t kUnrolled = 16;
  if (length <= kUnrolled) {
    for (std::int64_t k = 0; k < length; ++k) put(number(static_cast<Word>(k)));
    return;
  }
  const Word before = m_.block(), header = m_.id(), test = m_.id(), body = m_.id(), next = m_.id(), after = m_.id();
  branch(header);
  m_.label(header);
  const Word count = m_.phi(u32(), 2);
  m_.effect(Op::OpLoopMerge, {after, next, 0});
  branch(test);
  m_.label(test);
  m_.effect(Op::OpBranchConditional, {binary(Op::OpULessThan, m_.bool_type(), count, number(static_cast<Word>(length))), body, after});
  m_.label(body);
  put(count);
  branch(next);
  m_.label(next);
  const Word more = binary(Op::OpIAdd, u32(), count, number(1));
  branch(header);
  m_.set_phi(count, 0, number(0), before);
  m_.set_phi(count, 1, more, next);
  m_.label(after);
}

Word Emitter::element(const fluxion::Op& op) {
  const Memory& m = f_[op.memory];
  if (m.space != Memory::Space::parameter) return value(op.operands[0]);
  Word at = 0;
  for (int k = 0; k < m.rank; ++k) {
    const Word i = m_.op(Op::OpSConvert, u64(), {value(op.operands[static_cast<std::size_t>(k)])});
    if (!at) {
      at = i;
      continue;
    }
    const Word n = m_.op(Op::OpUConvert, u64(), {places_[op.memory.index].extent[static_cast<std::size_t>(k)]});
    at = binary(Op::OpIAdd, u64(), binary(Op::OpIMul, u64(), at, n), i);
  }
  return at ? at : wide(0);
}

Word Emitter::address(const fluxion::Op& op, Word element) {
  const Layout& layout = layout_of(f_[op.memory].element);
  Word at = binary(Op::OpIMul, u64(), element, wide(layout.size));
  if (std::has_single_bit(layout.size))
    at = layout.size == 1 ? element
                          : binary(Op::OpShiftLeftLogical, u64(), element, wide(static_cast<std::uint64_t>(std::countr_zero(layout.size))));
  at = binary(Op::OpIAdd, u64(), places_[op.memory.index].address, at);
  const std::uint32_t offset = layout.leaves[op.leaf].offset;
  return offset == 0 ? at : binary(Op::OpIAdd, u64(), at, wide(offset));
}

std::uint32_t Emitter::alignment(const fluxion::Op& op) const {
  const Layout& layout = layout_of(f_[op.memory].element);
  const Leaf& leaf = layout.leaves[op.leaf];
  return std::gcd(std::gcd(layout.size, leaf.offset), static_cast<std::uint32_t>(size_of(leaf.dtype)));
}

Word Emitter::load_at(Word address, int bits) {
  if (bits == 8) m_.capability(spv::Capability::StorageBuffer8BitAccess);
  if (bits == 16) m_.capability(spv::Capability::StorageBuffer16BitAccess);
  const Word t = m_.int_type(bits);
  const Word p = m_.op(Op::OpConvertUToPtr, m_.pointer_type(StorageClass::PhysicalStorageBuffer, t), {address});
  return m_.op(Op::OpLoad, t, {p, static_cast<Word>(spv::MemoryAccessMask::Aligned), static_cast<Word>(bits / 8)});
}

void Emitter::store_at(Word address, int bits, Word v) {
  if (bits == 8) m_.capability(spv::Capability::StorageBuffer8BitAccess);
  if (bits == 16) m_.capability(spv::Capability::StorageBuffer16BitAccess);
  const Word p = m_.op(Op::OpConvertUToPtr, m_.pointer_type(StorageClass::PhysicalStorageBuffer, m_.int_type(bits)), {address});
  m_.effect(Op::OpStore, {p, v, static_cast<Word>(spv::MemoryAccessMask::Aligned), static_cast<Word>(bits / 8)});
}

Word Emitter::pointer(const fluxion::Op& op, Word element, Word t) {
  const StorageClass where = f_[op.memory].space == Memory::Space::local ? StorageClass::Function : StorageClass::Workgroup;
  return m_.op(Op::OpAccessChain, m_.pointer_type(where, t), {places_[op.memory.index].variables[op.leaf], element});
}

Word Emitter::load_op(const fluxion::Op& op) {
  const DType t = layout_of(f_[op.memory].element).leaves[op.leaf].dtype;
  const Word at = element(op);
  switch (f_[op.memory].space) {
    case Memory::Space::parameter: {
      const Word where = address(op, at);
      if (alignment(op) == static_cast<std::uint32_t>(size_of(t))) return from_memory(load_at(where, bits_of(t)), t);
      // Elements that do not lie on a multiple of their size come in pieces.
      const int piece = static_cast<int>(alignment(op)), bits = bits_of(t);
      Word all = 0;
      for (int k = 0; k < size_of(t); k += piece) {
        const Word part = m_.op(Op::OpUConvert, m_.int_type(bits),
                                {load_at(k ? binary(Op::OpIAdd, u64(), where, wide(static_cast<std::uint64_t>(k))) : where, piece * 8)});
        all = !all ? part
                   : binary(Op::OpBitwiseOr, m_.int_type(bits), all,
                            binary(Op::OpShiftLeftLogical, m_.int_type(bits), part,
                                   m_.constant(m_.int_type(bits), bits, static_cast<std::uint64_t>(k * 8))));
      }
      return from_memory(all, t);
    }
    case Memory::Space::local: return m_.op(Op::OpLoad, type(t), {pointer(op, at, type(t))});
    case Memory::Space::shared: {
      const Word word = shared_type(op.memory.index, op.leaf);
      const Word v = m_.op(Op::OpLoad, word, {pointer(op, at, word)});
      if (word == type(t)) return v;
      return from_memory(shared_bits(t) == bits_of(t) ? v : m_.op(Op::OpUConvert, m_.int_type(bits_of(t)), {v}), t);
    }
    case Memory::Space::buffer: break;
  }
  throw Bug(op.loc, "vulkan: a buffer in a kernel");
}

void Emitter::store_op(const fluxion::Op& op, Word v) {
  const DType t = layout_of(f_[op.memory].element).leaves[op.leaf].dtype;
  const Word at = element(op);
  switch (f_[op.memory].space) {
    case Memory::Space::parameter: {
      const Word where = address(op, at), bits = to_memory(v, t);
      const int piece = static_cast<int>(alignment(op));
      if (piece == size_of(t)) return store_at(where, bits_of(t), bits);
      const Word whole = m_.int_type(bits_of(t));
      for (int k = 0; k < size_of(t); k += piece) {
        const Word part =
            k ? binary(Op::OpShiftRightLogical, whole, bits, m_.constant(whole, bits_of(t), static_cast<std::uint64_t>(k * 8))) : bits;
        store_at(k ? binary(Op::OpIAdd, u64(), where, wide(static_cast<std::uint64_t>(k))) : where, piece * 8,
                 m_.op(Op::OpUConvert, m_.int_type(piece * 8), {part}));
      }
      return;
    }
    case Memory::Space::local: return m_.effect(Op::OpStore, {pointer(op, at, type(t)), v});
    case Memory::Space::shared: {
      const Word word = shared_type(op.memory.index, op.leaf);
      if (word == type(t)) return m_.effect(Op::OpStore, {pointer(op, at, word), v});
      const Word bits = to_memory(v, t);
      return m_.effect(Op::OpStore, {pointer(op, at, word), shared_bits(t) == bits_of(t) ? bits : m_.op(Op::OpUConvert, word, {bits})});
    }
    case Memory::Space::buffer: break;
  }
  throw Bug(op.loc, "vulkan: a buffer in a kernel");
}

// What `kind` makes of the old number; floats compare as `min` and `max` do.
Word Emitter::combine(Atomic kind, DType t, Word old, Word v) {
  const auto smaller = [&](Word a, Word b) {  // of a and b, the operand that is not NaN
    const Word less = elementwise(Opcode::lt, t, DType::boolean, std::initializer_list<Word>{b, a});
    Word r = m_.op(Op::OpSelect, type(t), {less, b, a});
    if (is_float(t)) r = m_.op(Op::OpSelect, type(t), {m_.op(Op::OpIsNan, m_.bool_type(), {a}), b, r});
    return r;
  };
  switch (kind) {
    case Atomic::add: return elementwise(Opcode::add, t, {old, v});
    case Atomic::min: return smaller(old, v);
    case Atomic::max: {
      const Word less = elementwise(Opcode::lt, t, DType::boolean, std::initializer_list<Word>{old, v});
      Word r = m_.op(Op::OpSelect, type(t), {less, v, old});
      if (is_float(t)) r = m_.op(Op::OpSelect, type(t), {m_.op(Op::OpIsNan, m_.bool_type(), {old}), v, r});
      return r;
    }
    case Atomic::bit_and: return elementwise(Opcode::bit_and, t, {old, v});
    case Atomic::bit_or: return elementwise(Opcode::bit_or, t, {old, v});
    case Atomic::bit_xor: return elementwise(Opcode::bit_xor, t, {old, v});
    case Atomic::exchange: return v;
    case Atomic::compare_exchange: break;
  }
  throw Bug(f_.loc, "vulkan: an atomic without a meaning");
}

// Compare and exchange until nobody came in between; narrow elements of buffers within the word around them.
Word Emitter::exchange_loop(const fluxion::Op& op, const std::function<Word(Word)>& next) {
  const DType t = layout_of(f_[op.memory].element).leaves[op.leaf].dtype;
  const bool buffer = in_buffer(op), narrow = size_of(t) < 4;
  const int bits = size_of(t) == 8 ? 64 : 32;
  if (bits == 64) {
    m_.capability(spv::Capability::Int64Atomics);
    if (buffer ? !traits_.atomics_i64 : !traits_.atomics_i64_shared)
      throw DeviceError(op.loc, "this Vulkan device has no atomics of 64 bits");
  }
  const Word word = m_.int_type(bits), scope = number(buffer ? kDevice : kWorkgroup);
  Word where = 0, shift = 0;
  if (buffer) {
    Word at = address(op, element(op));
    if (narrow) {
      const Word low = binary(Op::OpBitwiseAnd, u64(), at, wide(3));
      shift = binary(Op::OpIMul, u32(), m_.op(Op::OpUConvert, u32(), {low}), number(8));
      at = binary(Op::OpISub, u64(), at, low);
    }
    where = m_.op(Op::OpConvertUToPtr, m_.pointer_type(StorageClass::PhysicalStorageBuffer, word), {at});
  } else {
    where = pointer(op, element(op), word);
  }
  const Word ones = number(static_cast<Word>((std::uint64_t{1} << std::min(32, bits_of(t))) - 1));
  const auto extract = [&](Word w) {
    if (!narrow) return from_memory(w, t);
    if (shift) w = binary(Op::OpShiftRightLogical, u32(), w, shift);
    return from_memory(m_.op(Op::OpUConvert, m_.int_type(bits_of(t)), {w}), t);
  };
  const auto insert = [&](Word w, Word v) {
    v = to_memory(v, t);
    if (!narrow) return v;
    v = m_.op(Op::OpUConvert, u32(), {v});
    if (!shift) return v;
    const Word mask = m_.op(Op::OpNot, u32(), {binary(Op::OpShiftLeftLogical, u32(), ones, shift)});
    return binary(Op::OpBitwiseOr, u32(), binary(Op::OpBitwiseAnd, u32(), w, mask), binary(Op::OpShiftLeftLogical, u32(), v, shift));
  };
  const Word first = m_.op(Op::OpAtomicLoad, word, {where, scope, number(0)});
  const Word before = m_.block(), header = m_.id(), body = m_.id(), again = m_.id(), after = m_.id();
  branch(header);
  m_.label(header);
  const Word seen = m_.phi(word, 2);
  m_.effect(Op::OpLoopMerge, {after, again, 0});
  branch(body);
  m_.label(body);
  const Word old = extract(seen);
  const Word now = insert(seen, next(old));
  const Word found = m_.op(Op::OpAtomicCompareExchange, word, {where, scope, number(0), number(0), now, seen});
  const Word done = binary(Op::OpIEqual, m_.bool_type(), found, seen);
  m_.effect(Op::OpBranchConditional, {done, after, again});
  m_.label(again);
  branch(header);
  m_.set_phi(seen, 0, first, before);
  m_.set_phi(seen, 1, found, again);
  m_.label(after);
  return old;
}

Word Emitter::atomic_op(const fluxion::Op& op) {
  const DType t = layout_of(f_[op.memory].element).leaves[op.leaf].dtype;
  const auto kind = static_cast<Atomic>(op.kind);
  const bool buffer = in_buffer(op);
  const auto count = op.operands.size();
  if (f_[op.memory].space == Memory::Space::local) {  // nobody else comes there
    const Word old = load_op(op);
    if (kind == Atomic::compare_exchange) {
      const Word same = binary(Op::OpIEqual, m_.bool_type(), to_memory(old, t), to_memory(value(op.operands[count - 2]), t));
      store_op(op, m_.op(Op::OpSelect, type(t), {same, value(op.operands.back()), old}));
    } else {
      store_op(op, combine(kind, t, old, value(op.operands.back())));
    }
    return old;
  }
  if (kind == Atomic::compare_exchange)
    return exchange_loop(op, [&](Word old) {
      const Word same = binary(Op::OpIEqual, m_.bool_type(), to_memory(old, t), to_memory(value(op.operands[count - 2]), t));
      return m_.op(Op::OpSelect, type(t), {same, value(op.operands.back()), old});
    });
  const bool wide_ok = size_of(t) == 4 || (size_of(t) == 8 && (buffer ? traits_.atomics_i64 : traits_.atomics_i64_shared));
  if (is_int(t) && wide_ok) {
    const Op how = kind == Atomic::add       ? Op::OpAtomicIAdd
                   : kind == Atomic::min     ? (is_signed(t) ? Op::OpAtomicSMin : Op::OpAtomicUMin)
                   : kind == Atomic::max     ? (is_signed(t) ? Op::OpAtomicSMax : Op::OpAtomicUMax)
                   : kind == Atomic::bit_and ? Op::OpAtomicAnd
                   : kind == Atomic::bit_or  ? Op::OpAtomicOr
                   : kind == Atomic::bit_xor ? Op::OpAtomicXor
                                             : Op::OpAtomicExchange;
    if (size_of(t) == 8) m_.capability(spv::Capability::Int64Atomics);
    const Word v = value(op.operands.back()), at = element(op);
    const Word where = buffer ? m_.op(Op::OpConvertUToPtr, m_.pointer_type(StorageClass::PhysicalStorageBuffer, type(t)), {address(op, at)})
                              : pointer(op, at, type(t));
    return m_.op(how, type(t), {where, number(buffer ? kDevice : kWorkgroup), number(0), v});
  }
  if (t == DType::f32 && kind == Atomic::add && (buffer ? traits_.add_f32 : places_[op.memory.index].adds[op.leaf] != 0)) {
    m_.capability(spv::Capability::AtomicFloat32AddEXT);
    m_.extension("SPV_EXT_shader_atomic_float_add");
    const Word v = value(op.operands.back());
    const Word at = element(op);
    const Word where = buffer ? m_.op(Op::OpConvertUToPtr, m_.pointer_type(StorageClass::PhysicalStorageBuffer, type(t)), {address(op, at)})
                              : pointer(op, at, type(t));
    return m_.op(Op::OpAtomicFAddEXT, type(t), {where, number(buffer ? kDevice : kWorkgroup), number(0), v});
  }
  return exchange_loop(op, [&](Word old) { return combine(kind, t, old, value(op.operands.back())); });
}

void Emitter::accumulate_op(const fluxion::Op& op) {
  fluxion::Op add = op;
  add.kind = static_cast<std::uint8_t>(Atomic::add);
  atomic_op(add);
}

}  // namespace fluxion::vulkan
