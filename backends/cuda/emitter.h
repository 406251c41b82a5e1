// The state of one emission, shared by emit.cpp (structure), emit_ops.cpp (elementwise), emit_memory.cpp, emit_atomic.cpp,
// emit_warp_sum.cpp and emit_group.cpp. A bool is i1 as a value and i8 in memory; halves are their bits.
#pragma once
#include <llvm/IR/IRBuilder.h>
#include <llvm/IR/Module.h>

#include <functional>

#include "gpu/together.h"
#include "ptx.h"

namespace fluxion::cuda {

using llvm::BasicBlock;
using Node = llvm::Value;

class Emitter {
 public:
  Emitter(llvm::Module& module, const Function& f, const PtxOptions& options);
  llvm::Function* run();

 private:
  const Function& f_;
  const PtxOptions& options_;
  llvm::Module& module_;
  llvm::LLVMContext& context_;
  llvm::IRBuilder<> b_;
  llvm::Function* entry_ = nullptr;
  BasicBlock* leave_ = nullptr;
  std::vector<Node*> values_;  // by value
  struct Place {
    Node* address = nullptr;          // of parameters
    std::array<Node*, 3> extent{};    // of parameters, i32
    std::vector<Node*> variables;     // of local and shared memory: one for each leaf
    std::vector<llvm::Type*> arrays;  // their types
  };
  std::vector<Place> places_;  // by memory
  std::vector<char> written_;  // by memory: threads of the launch do
  bool meets_ = false;         // threads of a group wait for each other
  const bool in_place_;        // a result may be in the place of what it is made of
  const gpu::Together together_;
  std::array<Node*, 3> domain_{}, group_{}, index_{};
  Node *report_ = nullptr, *thread_ = nullptr, *lane_ = nullptr;  // thread_: in the launch; lane_: in the block
  Node* whole_ = nullptr;                                         // no thread of this warp is missing
  int threads_ = 0;                                               // of a group
  std::uint32_t next_site_ = 0;
  int most_values_ = 0;

  // ---- emit.cpp
  void signature();
  void prologue();
  void decode(Node* linear, const std::array<Node*, 3>& extents, std::array<Node*, 3>& out);
  Node* value(ValueId v);
  void region(RegionId r);
  void op(OpId o);
  void if_op(const Op& op);
  void loop_body(RegionId body, llvm::PHINode* round, const std::vector<llvm::PHINode*>& carries, BasicBlock* head);
  void for_op(const Op& op);
  void while_op(const Op& op);
  void check_op(const Op& op);
  void report(const Op& op, std::size_t first);
  void barrier();
  BasicBlock* block(const char* name);
  void when(Node* condition, const std::function<void()>& then);
  /// body(k) for k = first, first + step, ... below n.
  void count(Node* first, std::int64_t n, std::int64_t step, const std::function<void(Node*)>& body);
  Node* special(llvm::Intrinsic::ID id) { return b_.CreateIntrinsic(id, {}, {}); }

  // ---- emit_memory.cpp
  void declare_memories();
  void zero_shared();
  void zero_locals(RegionId r);
  Node* element(const Op& op);  // linear: i32 or i64
  Node* pointer(const Op& op);  // to the leaf
  llvm::Align alignment(const Op& op) const;
  Node* load_op(const Op& op);
  void store_op(const Op& op, Node* v);
  DType leaf_type(const Op& op) const { return layout_of(f_[op.memory].element).leaves[op.leaf].dtype; }

  // ---- emit_atomic.cpp
  Node* atomic_op(const Op& op, Atomic kind);
  Node* exchange_loop(const Op& op, const std::function<Node*(Node* old)>& next);  // -> the old value
  Node* combine(Atomic kind, DType t, Node* old, Node* v);
  Node* smaller(DType t, Node* a, Node* b);
  Node* larger(DType t, Node* a, Node* b);

  // ---- emit_warp_sum.cpp
  bool warp_sums(OpId o) const;  // all threads of a warp come by, and those that add to one place can be added up first
  void warp_sum(const Op& op);

  // ---- emit_group.cpp
  Node* subgroup_op(const Op& op);
  Node* shuffled(llvm::Intrinsic::ID how, Node* v, DType t, Node* lane);
  Node* active_lanes();
  Node* mask();

  // ---- emit_ops.cpp
  Node* elementwise(Opcode code, DType t, llvm::ArrayRef<Node*> x);
  Node* convert(Node* v, DType from, DType to);
  Node* bitcast(Node* v, DType from, DType to);
  Node* to_memory(Node* v, DType t);
  Node* from_memory(Node* v, DType t);
  Node* to_bits(Node* v, DType t);  // an integer of its size in memory
  Node* from_bits(Node* v, DType t);

  llvm::Type* type(DType t);
  llvm::Type* memory_type(DType t);
  llvm::Type* bits_type(DType t) { return b_.getIntNTy(static_cast<unsigned>(size_of(t)) * 8); }
  llvm::Constant* constant(DType t, std::uint64_t bits);
};

}  // namespace fluxion::cuda
