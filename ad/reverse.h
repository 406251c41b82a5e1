// The reverse driver, one for device functions, kernels and programs. It emits a forward sweep of the primal,
// then visits the ops backwards. Start reading at reverse.cpp; docs/autodiff.md has the rules.
//
//   records.cpp         the forward sweep and replays; what cannot be replayed is recorded
//   reverse.cpp         adjoints of values: elementwise, select, convert, seq, if
//   reverse_loop.cpp    for and while
//   reverse_onward.cpp  loops that need no tape, since their iterations can be reversed in any order
//   reverse_memory.cpp  load, store, accumulate
//   reverse_call.cpp    calls of device functions
//   reverse_launch.cpp  launches, elementwise ops on arrays
#pragma once
#include <map>
#include <memory>

#include "analysis.h"
#include "fluxion/ad.h"
#include "fluxion/builder.h"
#include "keep_tape.h"

namespace fluxion::ad {

/// What becomes of a memory of the primal function in its adjoint.
struct MemoryPlan {
  enum class Primal { dropped, stable, unstable };  // not there; never written; written and read
  Primal primal = Primal::dropped;
  MemoryId memory{};   // in the new function, unless dropped
  MemoryId adjoint{};  // in the new function; invalid: none
  bool clear = true;   // a store clears the adjoint's element
  MemoryId shape{};    // whom to ask for an extent
};

/// vjp of a kernel, and for each parameter of it what it is: of which parameter of the primal.
struct KernelAdjoint {
  struct Slot {
    enum class Kind { primal, cotangent, gradient, scratch } kind;
    int parameter;  // of the primal kernel; scratch: unused
  };
  std::shared_ptr<const Function> function;
  std::vector<Slot> slots;
  KeptTape kept = {};  // for who launches the kernel itself, too
};
/// `wrt` and `cotangents` by parameter: which In and scalars get a gradient; which Out and Accum have a cotangent
/// (an InOut always has one, and an Out that the kernel reads back). Scratch parameters of `f` are ordinary here.
/// `quiet`: without the primal's prints and checks, because the primal has run before. `keep`: with `kept`.
KernelAdjoint vjp_kernel(const Function& f, const std::vector<char>& wrt, const std::vector<char>& cotangents, bool quiet,
                         bool bare = false, bool keep = false);

class Reverse {
 public:
  Reverse(const Structure& s, const Activity& act, Builder& to);

  // Set by the caller before the sweeps: parameters, indices, cotangents of results, memories.
  std::vector<ValueId> now;        // by primal value: its copy in the current scope
  std::vector<ValueId> adjoint;    // by primal value: its cotangent so far; invalid: none yet
  std::vector<MemoryPlan> memory;  // by primal memory
  std::map<OpId, ValueId> states;  // by loop that revolves: how many of its states it keeps
  bool keeps_tapes = false;        // launches outside of loops hand what they compute to their reverse

  /// Emits the primal's body (but its yield) forward, then backwards.
  void sweep_body(bool quiet = false);
  void reverse_body();

  ValueId primal(ValueId v);  // its copy; constants are made on first use
  Values primal(const Values& v);
  void add_adjoint(ValueId v, ValueId part);  // nothing for inactive values
  ValueId zero_adjoint(ValueId v);
  Type cotangent_type(ValueId v) const;

 private:
  const Structure& s_;
  const Function& f_;
  const Activity& act_;
  Builder& b_;
  bool program_;

  // ---- records.cpp
  struct Recordable {
    ValueId value;
    RegionId scope;  // replays strictly inside of it cannot make the value again
  };
  std::vector<std::vector<Recordable>> nested_;  // by op: what its regions hold, however deep
  std::vector<RegionId> scope_of_;               // by value; invalid: can always be replayed
  std::vector<ValueId> record_;                  // by value: its record as the current scope sees it
  std::vector<Values> checkpoints_;              // by loop: seqs of the carries at the start of each iteration
  RegionId base_;                                // the region that is being swept to be reversed next
  bool first_ = true;                            // host effects happen in the first sweep only

  bool costly(const Op& op) const;
  RegionId loop_around(RegionId r) const;
  void find_recordables(RegionId r, RegionId launches, std::vector<Recordable>& out);  // `launches`: the scope of theirs
  bool given(ValueId v) const;                                                         // recorded by a sweep further out
  bool to_record(ValueId v) const;                                                     // must be recorded by this sweep
  void sweep_ops(RegionId r);
  void sweep_op(OpId o);
  void sweep_plain(const Op& op);
  void sweep_if(OpId o);
  struct SweptLoop {
    RegionId body;
    bool direct;  // of the region that is swept: the starts of its rounds are kept
    Values records, givens;
  };
  Builder::LoopYield sweep_round(const SweptLoop& loop, const Values& carries, ValueId position);
  void end_sweep(OpId o, const SweptLoop& loop, const Builder::LoopResult& result, std::size_t collected);
  void sweep_for(OpId o);
  void sweep_while(OpId o);
  void map_results(const Op& op, const Values& results);
  Values recorded_here(OpId o) const;
  Values given_inside(OpId o) const;
  Type record_type(ValueId v, RegionId seen_from) const;
  ValueId no_record(const Type& t);
  void replay(RegionId r);  // sweep `r` so that it can be reversed
  /// Narrows the records of `values` to position t; returns what to hand to `widen`.
  Values narrow(const Values& values, ValueId t);
  void widen(const Values& values, const Values& saved);

  // ---- reverse.cpp
  std::vector<char> relevant_;  // by region: reversing it does something
  bool find_relevant(RegionId r);
  void reverse_region(RegionId r);
  void reverse_op(OpId o);
  void reverse_elementwise(const Op& op);
  void reverse_select(const Op& op);
  void reverse_convert(const Op& op);
  void reverse_seq(const Op& op);
  void reverse_if(OpId o);
  /// Values from outside `r` that gain cotangent when `r` is reversed, in order of use.
  Values receivers(RegionId r) const;
  bool contributes(const Op& op, RegionId at, std::size_t k) const;
  ValueId length(ValueId seq);
  ValueId zero_of(const Type& t, ValueId seq);

  // ---- reverse_loop.cpp
  void reverse_for(OpId o);
  void reverse_while(OpId o);
  void reverse_loop(OpId o, ValueId lo, ValueId hi, bool down, RegionId body, std::size_t first_arg,
                    const std::function<void(ValueId t)>& bind);
  // ---- revolve.cpp
  struct Held {   // the states that a loop keeps, as the current scope sees them
    Values seqs;  // of each carry
    ValueId positions, used, most;
  };
  std::map<OpId, Held> held_;
  static bool keeps_starts(const Op& op) { return op.code == Opcode::for_ && op.kind == static_cast<std::uint8_t>(Keep::starts); }
  [[noreturn]] static void refuse_revolved(const Op& op);
  void sweep_revolving(OpId o);
  /// Runs iterations `from` .. `target` - 1, which start with `carries`, and keeps states on the way for a reverse from `end` on.
  Values advance(OpId o, ValueId from, const Values& carries, ValueId target, ValueId end);
  Values state_at(OpId o, ValueId position);  // the carries when that iteration begins; drops the state if it is kept
  ValueId stride(ValueId length, ValueId free);

  /// True when no iteration's cotangents depend on those of a later one, but carries would have to be kept: then the reverse goes the way
  /// of the loop and computes the carries again.
  bool goes_onward(OpId o, RegionId body, std::size_t first_arg, const std::vector<std::size_t>& active) const;
  void reverse_onward(OpId o, ValueId lo, ValueId hi, bool down, RegionId body, std::size_t first_arg,
                      const std::vector<std::size_t>& active, const Values& gains, const std::function<void(ValueId i)>& bind);
  static bool steps_evenly(const Function& f, const Structure& s, ValueId arg, ValueId next, RegionId body, ValueId* by = nullptr);

  ValueId carry_at(OpId o, std::size_t k, RegionId body, ValueId arg, ValueId t, ValueId trips);

  // ---- reverse_memory.cpp
  void make_local_adjoints(RegionId r);
  void reverse_load(const Op& op);
  void reverse_store(const Op& op);
  void reverse_accumulate(const Op& op);

  // ---- reverse_call.cpp
  void reverse_fn(const Op& op);
  void reverse_program(const Op& op);  // a program that has rules

  // ---- reverse_launch.cpp
  /// The adjoint of a launch of `callee`, and what of it depends on what has a cotangent.
  struct CallAdjoint {
    std::shared_ptr<const KernelAdjoint> adjoint;  // null: nothing flows
    std::vector<ValueId> operand, result;          // by parameter of the callee
  };
  CallAdjoint call_adjoint(const std::shared_ptr<const Function>& callee, const Values& operands, const Values& results,
                           const std::function<bool(ValueId)>& has_cotangent);
  bool sweep_kept(OpId o);
  struct Tape {
    std::shared_ptr<const KernelAdjoint> adjoint;
    Values arrays;
  };
  std::map<OpId, Tape> tapes_;  // by launch
  void reverse_launch(OpId o);
  void reverse_elementwise_arrays(const Op& op);
  /// `operands`: of the primal, for each parameter of `callee` but Out; `results`: for each version it makes.
  void reverse_call(const std::shared_ptr<const Function>& callee, const Values& domain, const Values& operands, const Values& results,
                    OpId launch = {});
  std::map<std::pair<const Function*, std::vector<char>>, std::shared_ptr<const KernelAdjoint>> adjoints_;
  std::vector<std::shared_ptr<const Function>> kept_;  // what adjoints_ knows by address
  std::map<std::string, std::shared_ptr<const Function>> elementwise_;
};

/// A kernel that does one elementwise op, convert or select of a program on arrays and scalars: its parameters
/// are the operands (arrays In), then the result (Out; a scalar result has one element).
Function elementwise_kernel(const Function& f, const Op& op);
/// A kernel of one point for the seq_get `op` of an array: an In, the position, and an Out of one element.
Function item_kernel(const Function& f, const Op& op);
/// A kernel of one point that makes the call `op` of a program: its parameters are the operands, then an Out for each result.
Function call_kernel(const Function& f, const Op& op);

}  // namespace fluxion::ad
