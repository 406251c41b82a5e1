// Private to emit*.cpp: the state of one kernel's emission. The only header with LLVM's IR in it.
//
// A uniform value is one LLVM scalar. An affine value is the scalar of lane 0. A varying value is a <W x T>.
// A bool is i1, f16 and bf16 are i16 (they are only loaded, stored and converted).
// `mask_` says which lanes are active; null means all of them. Where it is not null and code is branched to, at
// least one lane is active; only small pure arms are executed with none.
#pragma once
#include <llvm/IR/IRBuilder.h>
#include <llvm/IR/MDBuilder.h>
#include <llvm/IR/Module.h>

#include <functional>
#include <map>
#include <set>
#include <tuple>

#include "common/access.h"
#include "emit.h"

namespace fluxion::cpu {

using llvm::BasicBlock;
using llvm::PHINode;
using Node = llvm::Value;

/// A seq is where its storage begins (one pointer, or one for each lane) and its length (i32, or one a lane).
/// Element i of lane k is at start + (i * W + k) * size; pointers a lane already include k.
struct Held {
  Node* v = nullptr;
  Node* length = nullptr;
};

/// The functions that a kernel calls, however deep: emitted so far by (callee, lanes, uniform), and their sites.
struct Calls {
  explicit Calls(const Function& f);
  std::map<std::tuple<const Function*, unsigned, bool>, llvm::Function*> made;
  std::map<const Function*, int> first_site;
};

class Emitter {
 public:
  /// `calls`: of the kernel; `varying`: the parameters of a fn are vectors.
  Emitter(llvm::Module& module, const Function& f, const EmitOptions& options, Calls* calls, bool varying = false);
  virtual ~Emitter() = default;
  llvm::Function* run(const std::string& symbol);

 protected:  // programs are emitted by a derived class, emit_program.cpp
  using Class = Uniformity::Class;

  // ---- emit.cpp: the frame, values
  void make_scopes(const std::string& name);
  void make_locals();
  void load_arguments();
  void emit_units();
  void emit_lanes(Node* lo, Node* hi);
  void emit_body(Node* first, Node* mask);
  llvm::Type* scalar_type(DType t);
  llvm::Type* memory_type(DType t);
  llvm::Type* vec(llvm::Type* t) { return llvm::FixedVectorType::get(t, W); }
  Node* constant(DType t, std::uint64_t bits);
  Node* scalar(ValueId v);  // uniform, or lane 0 of an affine value
  Node* vector(ValueId v);
  Node* at(ValueId v, Class c) { return c == Class::varying ? vector(v) : scalar(v); }
  Held seq(ValueId v);
  Held seq_as(ValueId v, Class place, Class length);
  void set(ValueId v, Node* n) { values_[v.index].v = n; }
  Node* splat(Node* n) { return b.CreateVectorSplat(W, n); }
  Node* lanes();  // <0, 1, 2, ...> : i32
  Node* all_ones() { return llvm::Constant::getAllOnesValue(vec(b.getInt1Ty())); }
  Node* mask_or_all() { return mask_ ? mask_ : all_ones(); }
  Node* both(Node* a, Node* c) { return !a ? c : !c ? a : b.CreateAnd(a, c); }
  Node* bits_of(Node* mask);     // iW
  Node* any(Node* mask);         // i1
  Node* first_lane(Node* mask);  // i64
  Node* last_lane(Node* mask);
  Node* blend(Node* mask, Node* yes, Node* no) { return mask ? b.CreateSelect(mask, yes, no) : yes; }
  BasicBlock* block(const char* name) { return BasicBlock::Create(c, name, fn); }
  llvm::AllocaInst* slot(llvm::Type* t, Node* count = nullptr, unsigned align = 0);
  bool used(ValueId v) const { return uses_[v.index] != 0; }
  int site(OpId o) const { return sites_[o.index]; }
  virtual void emit_region(RegionId r);
  virtual void emit_op(OpId o);
  Node* emit_invariant(ValueId v);  // computes a value here that the row or the launch shares
  Node* element_address(MemoryId memory, const Leaf& leaf, llvm::ArrayRef<Node*> index);
  llvm::FunctionCallee runtime(const char* name, llvm::Type* result, llvm::ArrayRef<llvm::Type*> arguments, bool leaves = false);

  // ---- emit_ops.cpp: elementwise, conversions
  void elementwise(const Op& op);
  Node* compute(Opcode op, DType t, llvm::ArrayRef<Node*> x);
  Node* integer_divide(Opcode op, DType t, Node* a, Node* d);
  Node* by_call(Opcode op, DType t, llvm::ArrayRef<Node*> x);
  Node* convert(Node* a, DType from, DType to);
  Node* half_to_float(Node* a);
  Node* float_to_half(Node* a);
  llvm::Type* like(Node* n, llvm::Type* t) { return n->getType()->isVectorTy() ? vec(t) : t; }
  Node* same(Node* n, llvm::Type* t, double value);
  Node* minus_zero(DType t, bool vector);

  // ---- emit_memory.cpp: loads, stores, accumulates, locals
  struct Place {  // where an access goes
    Access::Kind kind = Access::Kind::gather;
    Node* pointer = nullptr;   // of lane 0 for uniform and contiguous
    Node* pointers = nullptr;  // <W x ptr> for gather
  };
  Place place(const Op& op, int leaf);
  Node* row_offset(const Op& op);
  std::pair<ValueId, std::int64_t> peel(ValueId v);
  void check_bounds(OpId o);
  void load(OpId o);
  void store(OpId o, llvm::ArrayRef<OpId> group);
  void accumulate(OpId o, llvm::ArrayRef<OpId> group);
  void accumulate_by_lane(OpId o, llvm::ArrayRef<OpId> group);
  Node* add(DType t, Node* a, Node* d);
  bool packed_layout(LayoutId id, int& n, DType& t);
  llvm::SmallVector<Node*> interleave(llvm::ArrayRef<Node*> leaves);
  bool shuffled(const Op& head, llvm::ArrayRef<OpId> group);
  void write_elements(const Op& head, llvm::ArrayRef<OpId> group, bool add_up);
  void plan_stores(RegionId r);
  void plan_loads(RegionId r);
  void load_rows(llvm::ArrayRef<OpId> group);
  Node* deinterleave(llvm::ArrayRef<Node*> blocks, int leaf);
  template <class I> I* tag(I* inst, MemoryId m) {
    tag_memory(inst, m.index);
    return inst;
  }
  void tag_memory(llvm::Instruction* inst, std::size_t index);
  Node* to_memory(DType t, Node* n);
  Node* from_memory(DType t, Node* n);
  void zero_locals(RegionId r);
  void local_access(OpId o);
  void fail_if(Node* bad, OpId o, llvm::ArrayRef<Node*> values);
  Node* as_bits(Node* n);
  void report(OpId o);  // check, print

  // ---- emit_race.cpp
  void note_threads(Node* first_of_row, Node* in_row);
  void touch(OpId o);
  void next_phase();

  // ---- emit_group.cpp: groups in step, subgroups
  void emit_groups();
  void place_shared(MemoryId m);
  void barrier(OpId o);
  void subgroup(OpId o);
  Node* shuffled_lanes(Node* v, Node* lane);
  Node* in_lane_order(Subgroup kind, DType t, Node* v);
  Node* backwards(Node* v);
  Node* butterfly(Subgroup kind, DType t, Node* v);
  Node* scattered_sum(DType t, Node* v, Node* lane);
  Node* subgroup_base();
  std::uint64_t identity(Subgroup kind, DType t);

  // ---- emit_atomic.cpp
  void atomic(OpId o);
  Node* changed(Atomic kind, DType t, Node* old, llvm::ArrayRef<Node*> x);
  Node* change_at(const Op& op, DType t, Node* pointer, llvm::ArrayRef<Node*> x, bool threads);
  void for_active_lanes(const std::function<void(Node* lane)>& body, unsigned unroll = 1);

  // ---- emit_rows.cpp: scattered stores side by side
  void plan_rows(RegionId r);
  void store_row(llvm::ArrayRef<OpId> group);

  // ---- emit_sums.cpp: accumulates where all lanes meet
  struct Register;
  struct RegisterSums;
  void plan_sums();
  void plan_register_sums(std::vector<OpId> sites, bool row, const std::vector<ValueId>& values);
  void start_register_sums(const RegisterSums& s);
  bool row_invariant(ValueId v, int& fuel, bool rows = true, bool loads = false) const;
  double adds_a_point(RegionId r, std::uint32_t memory) const;
  void plan_wide_sum(std::uint32_t memory);
  void start_row_sums();
  void finish_registers(bool row);
  void finish_wide_sums();
  bool accumulate_in_register(OpId o);
  void add_to_register(const Register& r);
  Node* of_sums(ValueId v, std::map<std::uint32_t, Node*>& known);
  void add_to_one(OpId o, Node* pointer, Node* v);
  llvm::Constant* no_sum(DType t);
  Node* fold_lanes(DType t, Node* v, unsigned lanes);
  Node* reduce(DType t, Node* v);

  // ---- emit_stencil.cpp: accumulates where neighbouring points meet
  void plan_stencils();
  void start_stencils();
  bool accumulate_in_stencil(OpId o);
  Node* reached(Node* left, unsigned most);
  void add_vector(const Op& op, Node* p, Node* v, Node* mask);
  void finish_stencils(Node* next, Node* left);

  // ---- emit_interrupt.cpp
  /// Leaves the code where somebody has called cancel(). An OpId{} is no loop: the kernel's own way over its points.
  virtual void look_for_requests(OpId loop);
  Node* requested();  // i1
  bool may_take_long(OpId loop) const;

  // ---- emit_control.cpp
  void emit_if(OpId o);
  void emit_for(OpId o);
  void emit_for_divergent(OpId o);
  void emit_while(OpId o);
  int blend_cost(RegionId r);
  PHINode* phi(llvm::Type* t, const char* name = "") { return b.CreatePHI(t, 2, name); }
  llvm::Type* type_of(ValueId v, Class c);
  struct Slot {  // an SSA value that flows around a loop or out of an arm: one phi, for a seq two
    PHINode* v = nullptr;
    PHINode* length = nullptr;
  };
  Slot make_slot(ValueId like);
  void feed(const Slot& s, const Held& h, BasicBlock* from);
  Held held_as(ValueId v, ValueId like);  // v in the representation that `like` has
  Held blend(Node* mask, const Held& yes, const Held& no);
  void set(ValueId v, const Held& h) { values_[v.index] = h; }
  Node* store_mask(Node* mask);  // what a mask is between blocks: i32 lanes without mask registers
  Node* load_mask(Node* stored);

  // ---- emit_call.cpp
  llvm::Function* run_callee(const std::string& symbol, bool uniform);
  void emit_call(OpId o);
  void emit_external(OpId o);  // emit_external.cpp

  // ---- emit_seq.cpp
  Node* allocate(Node* bytes, OpId o);
  std::uint64_t record_size(const Type& item) const;
  Node* arena_top();
  void set_arena_top(Node* p);
  void put_record(Node* start, Node* position, ValueId value);
  bool resets(const Op& loop, RegionId body);
  void seq_get(OpId o);
  void seq_write(OpId o);
  void seq_zeros(OpId o);
  void seq_elementwise(OpId o);
  Node* seq_addresses(const Held& s, Node* index, const Type& item);  // <W x ptr>
  Node* longest(Node* length);                                        // over the active lanes
  Held sum_of(const Held& old, const Held& more, const Type& t, OpId o);
  Held copy_seq(const Held& s, const Type& t, OpId o);
  template <class I> I* tag_arena(I* inst) {
    tag_memory(inst, f.memories.size());
    return inst;
  }
  Node* read_item(const Held& s, Node* index, const Type& item, Node*& length);
  void write_item(const Held& s, Node* index, const Type& item, Node* value, Node* length);

  llvm::LLVMContext& c;
  llvm::Module& module_;
  Calls* calls_;
  const Function& f;
  const Uniformity u;
  const EmitOptions opt;
  const unsigned W;
  llvm::IRBuilder<> b;
  llvm::Function* fn = nullptr;
  Node* args_ = nullptr;
  Node* thread_ = nullptr;
  Node* mask_ = nullptr;
  BasicBlock* entry_ = nullptr;
  std::vector<Held> values_;
  std::vector<std::uint32_t> uses_;
  std::vector<int> sites_;

  struct Mem {
    Node* data = nullptr;
    Node* extent[3] = {};  // i64
    Node* extent32[3] = {};
    std::vector<Node*> leaves;  // locals: where each leaf's lanes are
    bool in_arena = false;
  };
  std::vector<Mem> memories_;
  std::vector<Accumulates> accumulates_;
  std::vector<llvm::MDNode*> scope_, others_;  // by memory; one more for the arenas
  Node* domain_[3] = {};
  Node* domain64_[3] = {};
  Node* group_[3] = {};                  // group_index
  Node* row_ = nullptr;                  // i64, of units: the row that runs
  Node* group_number_ = nullptr;         // i32
  llvm::AllocaInst* threads_ = nullptr;  // of the race checker: linear numbers
  std::vector<char> watched_;
  Node* whole_ = nullptr;  // the mask of all threads of a group; null where they fill the lanes
  struct Register {        // sums of one value, a sum a copy of the body
    ValueId value;
    std::vector<llvm::AllocaInst*> sums;
  };
  struct RegisterSums {  // accumulates at elements that all lanes share; `row`: for a row of the domain, not for the chunk
    std::vector<OpId> sites;
    bool row;
    std::vector<Register> registers;  // of the value of the only site; or of those that the values are linear in
    llvm::AllocaInst* touched;
  };
  struct WideSum {  // W sums a scalar of a memory, where `on`
    Node *on, *sums, *items;
  };
  std::map<std::uint32_t, WideSum> wide_;  // by memory
  struct Stencil {
    struct Site {
      OpId op;
      unsigned shift;            // how many places behind the lowest site
      llvm::AllocaInst* before;  // its values for the W points before; none without a shift
      Node* now;
    };
    std::vector<Site> sites;
    OpId low;  // the one that reaches the lowest elements
    unsigned most = 0;
  };
  std::vector<Stencil> stencils_;
  std::map<std::uint32_t, std::size_t> stencil_of_;  // by op
  Node* left_ = nullptr;                             // points from the first of a masked body on
  std::vector<RegisterSums> register_sums_;
  std::map<std::uint32_t, std::size_t> register_sum_of_;  // by op
  bool narrow_sums_ = false;
  std::map<std::uint32_t, std::vector<OpId>> groups_;  // by last op of a group; deferred ones map to nothing
  std::map<std::uint32_t, std::vector<OpId>> rows_;    // by load: its group at the first load, nothing at the others
  std::vector<char> region_planned_;
  bool uses_arena_ = false;
  const bool threads_meet_;         // atomics on parameters: several host threads run this
  unsigned copies_ = 1, copy_ = 0;  // bodies in a row, and which one is being emitted
};

}  // namespace fluxion::cpu
