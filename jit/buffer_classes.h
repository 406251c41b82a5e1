// Which array values share memory, and which sequences share a stack of records: the decisions of the buffer
// plan. buffer_plan.cpp then writes the program down.
#pragma once
#include <map>

#include "liveness.h"

namespace fluxion {

class BufferClasses {
 public:
  /// `outputs`: for each value that the program's body yields, a number that names the memory it must end up
  /// in, or -1 for scalars. A parameter that is updated in place has the same number in `inputs` (by value).
  BufferClasses(const Function& f, const Liveness& lives, const std::vector<int>& outputs, const std::map<ValueId, int>& inputs);

  /// The class of an array value that has memory of its own; -1 for views, In parameters, unread zeros.
  int of(ValueId v) const;
  /// The class a value must be in at the end of the body (an output).
  int of_output(std::size_t k) const;
  std::size_t size() const { return classes_.size(); }
  struct Class {
    Type type;
    int pinned = -1;    // the number given for it
    int rotation = -1;  // which one it belongs to
  };
  const Class& operator[](int c) const { return classes_[c]; }

  /// Classes whose memories a loop exchanges from turn to turn (x, y -> y, f(x, y)) instead of copying: one
  /// memory of as many records, and the loop carries which record is whose.
  struct Rotation {
    OpId loop;
    std::vector<int> classes;
  };
  const std::vector<Rotation>& rotations() const { return rotations_; }

  /// The stack that holds level `level` of a sequence: 1 its arrays or scalars, 2 handles to those, ...
  int stack(ValueId seq, int level) const;
  struct Stack {
    Type item;  // level 1
    int level = 1;
    RegionId scope;
  };
  const std::vector<Stack>& stacks() const { return stacks_; }
  /// Whether `op` may change sequence `s` in place: nothing that shares its records is needed afterwards.
  bool may_change(ValueId s, OpId op) const;

 private:
  struct Node {
    Type type;
    Life life;
    int pinned;
    int parent;
    int rotation = -1;
  };
  int add(const Type& t, Life life, int pinned = -1);
  int find(int n) const;
  bool unite(int a, int b, bool forced = false);
  void make_nodes();
  void join_what_must();
  void join_what_may(const std::vector<int>& output_nodes);
  void find_rotations(OpId loop);
  void color();
  void make_stacks();
  void same_stacks(ValueId a, ValueId b, int levels);

  const Function& f_;
  const Liveness& lives_;
  const std::map<ValueId, int>& inputs_;
  mutable std::vector<Node> nodes_;
  std::vector<int> node_of_, outputs_;
  std::vector<Class> classes_;
  std::vector<Rotation> rotations_;  // until color(): of root nodes
  std::vector<int> class_of_root_;
  mutable std::vector<int> seq_parent_;
  std::vector<int> seq_node_, stack_of_root_;
  std::vector<Stack> stacks_;
};

}  // namespace fluxion
