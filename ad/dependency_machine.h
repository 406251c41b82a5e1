// The machine of the dependency run: a function's ops over sets of inputs (dependency_sets.h). Control flow and calls are in
// dependencies.cpp, memory, arrays and sequences in dependency_memory.cpp.
//
// Loops whose trips a float decides, and groups of threads that share memory, are run until nothing changes; all that is stored
// meanwhile is united with what was there.
#pragma once
#include <fmt/format.h>

#include <functional>
#include <map>
#include <span>

#include "dependency_sets.h"
#include "fluxion/error.h"
#include "fluxion/ir.h"

namespace fluxion::ad {

using Cell = AbstractArray::Cell;
using ArrayPtr = std::shared_ptr<AbstractArray>;

ArrayPtr make_abstract_array(LayoutId layout, const std::array<std::int64_t, 3>& extent, bool zeros);
std::array<std::int64_t, 3> extents(const Type& t);

/// What all functions of one run share.
struct DependencyContext {
  explicit DependencyContext(std::int64_t columns) : sets(columns) {}
  SetArena sets;
  std::uint64_t changes = 0;  // updates of memory that united something new
  std::uint64_t shared = 0;   // those that other threads see
  int weak = 0;               // > 0: what is stored may not be stored, so the old stays
  int fix = 0;                // > 0: runs again until nothing changes
  bool group = false;         // threads of a group run again until nothing changes that they share
};
struct Raised {
  int& depth;
  explicit Raised(int& d) : depth(d) { ++depth; }
  ~Raised() { --depth; }
  Raised(const Raised&) = delete;
  Raised& operator=(const Raised&) = delete;
};

class DependencyMachine {
 public:
  DependencyMachine(const Function& f, DependencyContext& context);

  std::vector<AbstractValue> call(std::vector<AbstractValue> arguments);

  /// `arguments`: of memories the array, which is written to.
  void launch(const std::array<std::int64_t, 3>& domain, const std::vector<AbstractValue>& arguments);
  void settle(AbstractArray& a);
  /// The members of each float leaf, in order.
  void rows(const AbstractValue& v, const Type& t, std::vector<MembersPtr>& out);

 private:
  const Function& f_;
  DependencyContext& x_;
  std::vector<Abstract> scalars_;
  std::vector<AbstractValue> objects_;
  std::vector<ArrayPtr> memories_;
  std::vector<std::vector<MemoryId>> locals_;
  std::vector<MemoryId> shared_;
  std::map<std::uint32_t, MembersPtr> subgroups_;  // by op: what the threads of the group gave
  std::map<std::uint32_t, std::unique_ptr<DependencyMachine>> callees_;
  std::array<std::int64_t, 3> domain_{1, 1, 1}, group_{};

  void thread(const std::array<std::int64_t, 3>& at);
  // The threads of a group meet at barriers and in subgroups, so each is run until none sees anything new.
  void launch_groups();

  // ---- values
  bool scalar(ValueId v) const { return f_[v].type.is_scalar(); }
  AbstractValue get(ValueId v) const;
  void put(ValueId v, AbstractValue x);
  std::vector<AbstractValue> get(const Values& list, std::size_t first = 0) const;
  template <class Targets> void put(const Targets& to, std::vector<AbstractValue> from) {
    for (std::size_t i = 0; i < std::size(to); ++i) put(to[i], std::move(from[i]));
  }

  Abstract join(const Abstract& a, const Abstract& b);
  bool join_into(Cell& to, const Cell& from);
  bool join_into(AbstractArray& to, AbstractArray& from);
  void note(bool changed, bool local);
  /// `changed` is set where the result is more than `a`.
  AbstractValue join(const AbstractValue& a, const AbstractValue& b, bool& changed);
  bool join_into(std::vector<AbstractValue>& to, const std::vector<AbstractValue>& from);

  // ---- control flow
  void reset(AbstractArray& a);
  void run(RegionId r);
  void branch(const Op& op);
  static void collect(AbstractSeq& s, AbstractValue v) { s.items.push_back(std::move(v)); }
  void collect_all(AbstractSeq& s, const AbstractValue& v);
  void summarise(AbstractSeq& s);
  void until_settled(std::vector<AbstractValue>& carry, std::vector<std::shared_ptr<AbstractSeq>>& seqs, RegionId body,
                     const std::function<void()>& once);
  void loop_for(const Op& op);
  void loop_while(const Op& op);

  // ---- memory
  void settle(AbstractArray& a, std::size_t c);
  /// Calls each(cell) for every element that the indices of `op` may mean; true when that is just one.
  template <class F> bool each_cell(const Op& op, AbstractArray& a, const F& each) {
    const Memory& m = f_[op.memory];
    std::array<std::int64_t, 3> lo{}, hi{1, 1, 1};
    bool one = true;
    for (std::size_t axis = 0; axis < static_cast<std::size_t>(m.rank); ++axis) {
      const Abstract& i = scalars_[op.operands[axis].index];
      hi[axis] = a.extent[axis];
      if (!i.known) {
        one = false;
        continue;
      }
      lo[axis] = static_cast<std::int32_t>(i.bits);
      if (lo[axis] < 0 || lo[axis] >= hi[axis]) {
        if (x_.weak) return one;  // this arm is never taken with this index
        throw KernelError(
            op.loc, fmt::format("\"{}\": index {} of axis {} of {} is outside its {} elements", f_.name, lo[axis], axis, m.name, hi[axis]));
      }
      hi[axis] = lo[axis] + 1;
    }
    for (std::int64_t i = lo[0]; i < hi[0]; ++i)
      for (std::int64_t j = lo[1]; j < hi[1]; ++j)
        for (std::int64_t k = lo[2]; k < hi[2]; ++k)
          each(static_cast<std::size_t>((i * a.extent[1] + j) * a.extent[2] + k) * a.leaves + op.leaf);
    return one;
  }
  bool one_cell(const Op& op) const;
  bool local(const Op& op) const { return f_[op.memory].space == Memory::Space::local; }
  DType leaf_type(const Op& op) const { return layout_of(f_[op.memory].element).leaves[op.leaf].dtype; }
  Abstract load(const Op& op);
  void store(const Op& op, const Abstract& v, bool weak);
  void accumulate(const Op& op, const Abstract& v);
  // In which order threads come is not known, nor what they find.
  void atomic(const Op& op);
  void subgroup(const Op& op, OpId id);

  // ---- ops
  Abstract combine(Opcode code, DType result, DType operand, std::span<const Abstract> in);
  void elementwise(const Op& op);
  AbstractValue map(Opcode code, const Type& result, const std::vector<AbstractValue>& in, const std::vector<Type>& types);
  ArrayPtr map_array(Opcode code, const Type& result, const std::vector<AbstractValue>& in, const std::vector<Type>& types);
  AbstractValue zeros(const Type& t, const Abstract& n);
  /// Item `at`, or what any of them may be; nothing known of a sequence without items.
  AbstractValue seq_item(const AbstractValue& s, std::size_t at, bool known, const Type& item);
  void seq_update(const Op& op, bool add);
  Abstract element(const Op& op, AbstractArray& a, const Abstract& i);

  // ---- calls
  DependencyMachine& callee(const Op& op);
  /// Every float result depends on all that goes in: what has rules, whose body does not say.
  void opaque(const Op& op);
  void gather(const AbstractValue& v, std::vector<MembersPtr>& all);
  void call(const Op& op);
  void launch(const Op& op);

  void step(const Op& op, OpId id);
};

}  // namespace fluxion::ad
