// Appends ops to a Function. Regions are opened and closed in stack order; an op with regions is appended
// after its regions are closed. Nothing is simplified here: that is the passes' work.
#pragma once
#include <functional>
#include <initializer_list>
#include <utility>

#include "fluxion/ir.h"

namespace fluxion {

class FLUXION_API Builder {
 public:
  /// Starts in the body region of `f`, which is made when `f` has no region yet.
  explicit Builder(Function& f);
  Function& function() { return f_; }
  Loc loc;  // given to every op that is emitted

  // ---- parameters, memories, constants
  ValueId scalar_parameter(DType t, std::string name);
  ValueId array_parameter(Type t, Role role, std::string name);
  MemoryId memory_parameter(LayoutId element, int rank, Role role, std::string name);
  MemoryId local(LayoutId element, std::int64_t length, std::string name);   // scope: the current region
  MemoryId shared(LayoutId element, std::int64_t length, std::string name);  // scope: the body
  ValueId index(int axis);  // kernels: the point's index (adds missing body arguments up to `domain_rank`)
  ValueId constant(DType t, std::uint64_t bits);
  ValueId constant_float(DType t, double value);
  ValueId constant_int(DType t, std::int64_t value);
  ValueId i32(std::int32_t v) { return constant_int(DType::i32, v); }
  ValueId boolean(bool v) { return constant(DType::boolean, v); }
  ValueId zero(const Type& t);  // scalars and arrays; a seq needs its length: zeros(type, n)

  // ---- elementwise
  ValueId emit(Opcode op, std::span<const ValueId> operands);
  ValueId emit(Opcode op, std::initializer_list<ValueId> operands);
  ValueId add(ValueId a, ValueId b) { return emit(Opcode::add, {a, b}); }
  ValueId sub(ValueId a, ValueId b) { return emit(Opcode::sub, {a, b}); }
  ValueId mul(ValueId a, ValueId b) { return emit(Opcode::mul, {a, b}); }
  ValueId select(ValueId c, ValueId a, ValueId b) { return emit(Opcode::select, {c, a, b}); }
  ValueId trips(ValueId lo, ValueId hi);  // how many numbers [lo, hi) has; hi - lo may wrap where it has none
  ValueId convert(ValueId v, DType to);   // v itself when it has that type
  ValueId bitcast(ValueId v, DType to);

  // ---- memory
  ValueId load(MemoryId m, std::span<const ValueId> idx, int leaf = 0);
  void store(MemoryId m, std::span<const ValueId> idx, ValueId v, int leaf = 0);
  void accumulate(MemoryId m, std::span<const ValueId> idx, ValueId v, int leaf = 0);
  /// `v`: the operand; of compare_exchange the expected number, then the new one.
  ValueId atomic(Atomic kind, MemoryId m, std::span<const ValueId> idx, std::span<const ValueId> v, int leaf = 0);
  ValueId extent(MemoryId m, int axis);
  ValueId domain(int axis);

  // ---- groups
  ValueId group_index(int axis);
  void barrier();
  ValueId subgroup(Subgroup kind, ValueId v, ValueId lane = {});

  // ---- sequences
  ValueId zeros(const Type& t, ValueId n);
  ValueId seq_get(ValueId s, ValueId i);
  ValueId seq_set(ValueId s, ValueId i, ValueId v);
  ValueId seq_add_at(ValueId s, ValueId i, ValueId v);
  ValueId seq_len(ValueId s);

  // ---- structure, by callbacks
  using Arm = std::function<Values()>;
  Values if_(ValueId cond, const Arm& then, const Arm& otherwise);
  struct LoopYield {
    Values carries, collected;
  };
  struct LoopResult {
    Values carries, seqs;
    ValueId trips{};
  };
  LoopResult for_(ValueId lo, ValueId hi, std::span<const ValueId> init,
                  const std::function<LoopYield(ValueId i, const Values& carries)>& body, bool down = false);
  LoopResult while_(std::span<const ValueId> init, const std::function<std::pair<ValueId, Values>(const Values& carries)>& cond,
                    const std::function<LoopYield(const Values& carries)>& body);
  /// `outs`: the types of the callee's Out parameters, in order; the other results have their operand's type.
  Values launch(std::shared_ptr<const Function> callee, std::span<const ValueId> domain, std::span<const ValueId> arguments,
                std::span<const Type> outs = {});
  /// Results have the types that `callee` yields.
  Values call(std::shared_ptr<const Function> callee, std::span<const ValueId> arguments);
  void effect(Opcode op, std::string text, std::span<const ValueId> operands);  // print, check

  // ---- structure, by hand
  RegionId open(std::span<const Type> arguments);
  void close(std::span<const ValueId> yields);  // emits the yield
  /// Goes on appending to a region whose yield the caller has taken off.
  void reopen(RegionId r) { stack_.push_back(r); }
  RegionId current() const { return stack_.back(); }
  std::size_t depth() const { return stack_.size(); }
  Op& last() { return f_[f_[current()].ops.back()]; }  // what was appended last
  /// Appends an op as it is; makes `result_types.size()` results.
  OpId append(Op op, std::span<const Type> result_types);
  /// Ends the body; every open region but the body must be closed.
  void finish(std::span<const ValueId> yields = {});

 private:
  Function& f_;
  std::vector<RegionId> stack_;
};

FLUXION_API std::uint32_t add_text(Function& f, std::string text);
FLUXION_API std::uint32_t add_callee(Function& f, std::shared_ptr<const Function> callee);

}  // namespace fluxion
