// The writer behind buffer_plan: from values to memories. buffer_plan.cpp has the frame, values and launches,
// plan_structure.cpp branches and loops, plan_sequences.cpp sequences. What shares memory with what was decided
// before, in BufferClasses.
#pragma once
#include <map>
#include <memory>

#include "buffer_classes.h"
#include "fluxion/builder.h"

namespace fluxion::plan {

struct Place {
  MemoryId memory{};
  ValueId record{};   // when the memory has records
  bool zero = false;  // no memory: an array of zeros that is only ever copied
  bool operator==(const Place&) const = default;
};
struct Handle {
  ValueId first, length;
};
struct Move {
  Place to, from;
};

class Planner {
 public:
  explicit Planner(const Function& f)
      : f_(f), b_(g_), lives_(f), values_(f.values.size()), places_(f.values.size()), handles_(f.values.size()) {}
  Function run();

 private:
  void parameters();
  void region(RegionId r);
  void op(OpId id);
  void launch(OpId id);
  void branch(OpId id);
  void for_loop(OpId id);
  void while_loop(OpId id);
  void sequence_op(OpId id);

  // ---- values
  ValueId value(ValueId old);
  Place place(ValueId old) const;
  Place place_of(int c) const {
    const int r = (*classes_)[c].rotation;
    return r < 0 ? Place{class_memory_[c], {}, false} : Place{pools_[r], records_[c], false};
  }
  void define(ValueId old);            // its place follows from its class
  void put(Values& out, ValueId old);  // what a yield or an operand list carries of it
  void types(std::vector<Type>& out, ValueId old) const;
  std::size_t take(ValueId old, const Values& now, std::size_t at);  // the inverse: returns the next position

  // ---- emission
  ValueId alloc(int stack, ValueId n);
  void copy(Place to, Place from);
  void moves(std::vector<Move> pending);
  void scopes(RegionId old);
  void store_item(ValueId seq, ValueId record, ValueId item);
  void run_kernel(const std::shared_ptr<const Function>& k, const Values& domain, const std::vector<Place>& memories,
                  const Values& scalars);
  void collect(ValueId made);  // into the records that wait for it
  void collect_outer(const Op& loop);
  // ---- rotations of a loop
  void begin_rotations(OpId loop, Op& now, std::vector<Type>& types);
  std::size_t take_rotations(OpId loop, const Values& now, std::size_t at);
  void turn_rotations(OpId loop, std::vector<Move>& pending, Values& yields);
  void put_rotations(OpId loop, Values& yields) const;
  std::vector<Move> edge(const Values& from, const Values& to, std::size_t first_from, std::size_t first_to, std::size_t n,
                         OpId turn = {});  // of this loop: without what rotates

  const Function& f_;
  Function g_;
  Builder b_;
  Liveness lives_;
  std::unique_ptr<BufferClasses> classes_;
  std::vector<ValueId> values_;
  std::vector<Place> places_;
  std::vector<Handle> handles_;
  std::vector<MemoryId> class_memory_, stack_memory_, pools_;
  std::vector<ValueId> records_;  // by class: in a rotation, which record is whose here
  struct Waiting {
    ValueId seq, record;
  };
  std::map<ValueId, std::vector<Waiting>> waiting_;
  std::map<std::string, std::shared_ptr<const Function>> adds_;
};

}  // namespace fluxion::plan
