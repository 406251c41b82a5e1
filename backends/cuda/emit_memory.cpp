// Arrays of the launch behind addresses, arrays of the thread and of the group.
#include <numeric>

#include "emitter.h"
#include "fluxion/error.h"

namespace fluxion::cuda {
namespace {
constexpr unsigned kShared = 3;            // the address space
constexpr std::uint32_t kArrayAlign = 16;  // of the arrays of a compact launch
}  // namespace

void Emitter::declare_memories() {
  std::int64_t shared_bytes = 0;
  for (std::size_t k = 0; k < f_.memories.size(); ++k) {
    const Memory& m = f_.memories[k];
    Place& place = places_[k];
    if (m.space != Memory::Space::local && m.space != Memory::Space::shared) continue;
    const bool shared = m.space == Memory::Space::shared;
    for (const Leaf& leaf : layout_of(m.element).leaves) {
      const auto n = static_cast<std::uint64_t>(std::max<std::int64_t>(1, m.length));
      auto* array = llvm::ArrayType::get(memory_type(leaf.dtype), n);
      place.arrays.push_back(array);
      if (!shared) {
        auto* variable = b_.CreateAlloca(array, nullptr, m.name);
        variable->setAlignment(llvm::Align(16));
        place.variables.push_back(variable);
        continue;
      }
      // Whole words, since narrow elements are exchanged within the word around them.
      const std::int64_t bytes = (static_cast<std::int64_t>(n) * size_of(leaf.dtype) + 15) / 16 * 16;
      auto* room = llvm::ArrayType::get(b_.getInt8Ty(), static_cast<std::uint64_t>(bytes));
      auto* variable =
          new llvm::GlobalVariable(module_, room, false, llvm::GlobalValue::InternalLinkage, llvm::UndefValue::get(room),
                                   options_.entry + "_shared" + std::to_string(k) + "_" + std::to_string(place.variables.size()), nullptr,
                                   llvm::GlobalValue::NotThreadLocal, kShared);
      variable->setAlignment(llvm::Align(16));
      place.variables.push_back(variable);
      shared_bytes += bytes;
    }
  }
  if (shared_bytes > kSharedBytes)
    throw KernelError(f_.loc, "kernel \"" + f_.name + "\": " + std::to_string(shared_bytes) + " bytes of shared memory are more than the " +
                                  std::to_string(kSharedBytes) + " of a CUDA device");
}

void Emitter::zero_shared() {
  bool any = false;
  for (std::size_t k = 0; k < f_.memories.size(); ++k) {
    const Memory& m = f_.memories[k];
    if (m.space != Memory::Space::shared) continue;
    any = true;
    for (std::size_t l = 0; l < places_[k].variables.size(); ++l) {
      // Words, whatever the elements are: the room is a multiple of 16 bytes.
      const auto* room = llvm::cast<llvm::GlobalVariable>(places_[k].variables[l]);
      const std::int64_t words = static_cast<std::int64_t>(room->getValueType()->getArrayNumElements()) / 4;
      count(lane_, words, threads_, [&](Node* at) {
        b_.CreateAlignedStore(b_.getInt32(0), b_.CreateGEP(b_.getInt32Ty(), places_[k].variables[l], {at}), llvm::Align(4));
      });
    }
  }
  if (any) barrier();
}

void Emitter::zero_locals(RegionId r) {
  for (std::size_t k = 0; k < f_.memories.size(); ++k) {
    const Memory& m = f_.memories[k];
    if (m.space != Memory::Space::local || m.scope != r) continue;
    constexpr std::int64_t kUnrolled = 16;
    for (std::size_t l = 0; l < places_[k].variables.size(); ++l) {
      llvm::Type* item = places_[k].arrays[l]->getArrayElementType();
      const auto put = [&](Node* at) {
        b_.CreateStore(llvm::Constant::getNullValue(item), b_.CreateInBoundsGEP(item, places_[k].variables[l], {at}));
      };
      if (m.length <= kUnrolled)
        for (std::int64_t i = 0; i < m.length; ++i) put(b_.getInt32(static_cast<std::uint32_t>(i)));
      else count(b_.getInt32(0), m.length, 1, put);
    }
  }
}

Node* Emitter::element(const Op& op) {
  const Memory& m = f_[op.memory];
  if (m.space != Memory::Space::parameter) return value(op.operands[0]);
  llvm::Type* word = options_.compact ? b_.getInt32Ty() : b_.getInt64Ty();
  Node* at = nullptr;
  for (int k = 0; k < m.rank; ++k) {
    Node* i = b_.CreateSExt(value(op.operands[static_cast<std::size_t>(k)]), word);
    if (!at) {
      at = i;
      continue;
    }
    Node* n = b_.CreateZExt(places_[op.memory.index].extent[static_cast<std::size_t>(k)], word);
    // What is in bounds does not overflow, and nothing else is defined.
    at = b_.CreateAdd(b_.CreateMul(at, n, "", false, true), i, "", false, true);
  }
  return at ? at : llvm::ConstantInt::get(word, 0);
}

Node* Emitter::pointer(const Op& op) {
  const Memory& m = f_[op.memory];
  Place& place = places_[op.memory.index];
  Node* at = element(op);
  if (m.space != Memory::Space::parameter)
    return b_.CreateInBoundsGEP(memory_type(leaf_type(op)), place.variables[op.leaf], {b_.CreateZExt(at, b_.getInt64Ty())});
  const Layout& layout = layout_of(m.element);
  at = b_.CreateSExt(at, b_.getInt64Ty());
  Node* whole = b_.CreateInBoundsGEP(llvm::ArrayType::get(b_.getInt8Ty(), layout.size), place.address, {at});
  const std::uint32_t offset = layout.leaves[op.leaf].offset;
  return offset == 0 ? whole : b_.CreateInBoundsGEP(b_.getInt8Ty(), whole, {b_.getInt64(offset)});
}

llvm::Align Emitter::alignment(const Op& op) const {
  const Layout& layout = layout_of(f_[op.memory].element);
  const Leaf& leaf = layout.leaves[op.leaf];
  const auto natural = static_cast<std::uint32_t>(size_of(leaf.dtype));
  if (f_[op.memory].space != Memory::Space::parameter) return llvm::Align(natural);
  const std::uint32_t known = std::gcd(std::gcd(layout.size, leaf.offset), options_.compact ? kArrayAlign : natural);
  return llvm::Align(known & -known);
}

Node* Emitter::load_op(const Op& op) {
  const DType t = leaf_type(op);
  auto* load = b_.CreateAlignedLoad(memory_type(t), pointer(op), alignment(op));
  // What no thread of the launch writes may come through the read-only cache. Of a kernel that may write in place nothing is known.
  if (f_[op.memory].space == Memory::Space::parameter && !written_[op.memory.index] && !in_place_)
    load->setMetadata(llvm::LLVMContext::MD_invariant_load, llvm::MDNode::get(context_, {}));
  return from_memory(load, t);
}

void Emitter::store_op(const Op& op, Node* v) { b_.CreateAlignedStore(to_memory(v, leaf_type(op)), pointer(op), alignment(op)); }

}  // namespace fluxion::cuda
