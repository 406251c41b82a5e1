// The state of one emission, shared by emit.cpp (structure), emit_ops.cpp (elementwise), emit_memory.cpp and emit_group.cpp.
#pragma once
#include <functional>

#include "emit.h"

namespace fluxion::vulkan {

class Emitter {
 public:
  Emitter(const Function& f, const Traits& traits, bool fast);
  EmittedKernel run();

 private:
  const Function& f_;
  const Traits& traits_;
  const bool fast_;
  Module m_;
  EmittedKernel out_;
  Words values_;  // by value
  struct Place {
    Word address = 0;              // parameters: a u64
    std::array<Word, 3> extent{};  // parameters: i32 each
    std::vector<Word> variables;   // local, shared: one for each leaf
    std::vector<char> adds;        // shared, by leaf: the device adds floats to it
  };
  std::vector<Place> places_;  // by memory
  std::array<Word, 3> domain_{}, group_{}, index_{};
  Word report_ = 0, thread_ = 0, lane_ = 0;

  // ---- emit.cpp
  void prologue();
  void arguments();
  Word word(int k);
  Word push_ = 0, block_ = 0;  // the push constants; the address of the words where they are in memory
  void decode(Word linear, const std::array<Word, 3>& extents, Word first, std::array<Word, 3>& out);
  void region(RegionId r);
  void op(OpId o);
  void if_op(const Op& op);
  void for_op(const Op& op);
  void while_op(const Op& op);
  void report(const Op& op, std::size_t first, Opcode code);
  void record(Word site, const Words& values);  // in the report
  bool watches_ = false;                        // loops, for the device to have ended them
  double rounds(RegionId r) const;
  void ended_early(const Op& op, Word early);

  // ---- emit_memory.cpp
  void declare_memories();
  void zero_shared();
  void zero_locals(RegionId r);
  void zero(Word variable, Word type, std::int64_t length);
  Word element(const Op& op);  // linear, i64 of parameters, i32 of others
  Word address(const Op& op, Word element);
  Word pointer(const Op& op, Word element, Word type);  // to the leaf
  std::uint32_t alignment(const Op& op) const;
  Word load_at(Word address, int bits);  // an integer in a buffer
  void store_at(Word address, int bits, Word value);
  Word load_op(const Op& op);
  void store_op(const Op& op, Word value);
  Word atomic_op(const Op& op);
  void accumulate_op(const Op& op);
  Word exchange_loop(const Op& op, const std::function<Word(Word old)>& next);  // -> the old value, of the leaf's type
  Word combine(Atomic kind, DType t, Word old, Word value);
  /// Of a leaf of shared memory: integers, or floats that only native additions are made to.
  Word shared_type(std::size_t memory, std::size_t leaf);
  bool only_adds(std::size_t memory, std::size_t leaf) const;
  bool in_buffer(const Op& op) const { return f_[op.memory].space == Memory::Space::parameter; }

  // ---- emit_group.cpp
  void barrier();
  Word subgroup_op(const Op& op);
  Word lanes() const { return static_cast<Word>(traits_.subgroup); }  // a power of two
  Word shuffled(Word v, DType t, Word lane);                          // of a lane that is there
  Word tree(Subgroup kind, DType t, Word v);
  Word scan(bool back, DType t, Word v);

  // ---- emit_ops.cpp
  Word elementwise(Opcode code, DType operand, DType result, std::span<const Word> x);
  Word elementwise(Opcode code, DType t, std::initializer_list<Word> x) { return elementwise(code, t, t, std::span(x.begin(), x.size())); }
  Word convert(Word v, DType from, DType to);
  Word bitcast(Word v, DType from, DType to);
  Word to_memory(Word v, DType t);  // bool -> u8, floats -> ints
  Word from_memory(Word v, DType t);
  Word to_word(Word v, DType t);  // 64 bits, zero-extended
  Word from_word(Word v, DType t);

  // ---- types
  Word type(DType t);
  Word u32() { return m_.int_type(32); }
  Word u64() { return m_.int_type(64); }
  Word number(std::uint32_t v) { return m_.number(v); }
  Word wide(std::uint64_t v) { return m_.constant(u64(), 64, v); }
  Word constant(DType t, std::uint64_t bits);
  Word value(ValueId v);
  Word binary(spv::Op o, Word type, Word a, Word b) { return m_.op(o, type, {a, b}); }
  Word exact(Word v) {
    if (!fast_) m_.decorate(v, spv::Decoration::NoContraction);
    return v;
  }
  void branch(Word to) { m_.effect(spv::Op::OpBranch, {to}); }
  /// Runs `then` where `condition` holds.
  void when(Word condition, const std::function<void()>& then);
};

/// Bits of a dtype in memory.
constexpr int bits_of(DType t) { return size_of(t) * 8; }

}  // namespace fluxion::vulkan
