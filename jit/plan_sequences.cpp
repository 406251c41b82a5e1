// Sequences of a program: stacks of records and handles of two i32 values. A change is in place when nobody else
// needs the records, else on a copy.
#include "planner.h"
#include "pointwise.h"

namespace fluxion::plan {

ValueId Planner::alloc(int stack, ValueId n) {
  Op op;
  op.code = Opcode::buffer_alloc;
  op.buffers = {stack_memory_[stack]};
  op.operands = {n};
  const Type i32 = DType::i32;
  return g_[b_.append(std::move(op), {&i32, 1})].results[0];
}

void Planner::store_item(ValueId seq, ValueId record, ValueId item) {
  const Type& t = f_.type(item);
  const MemoryId m = stack_memory_[classes_->stack(seq, f_.type(seq).seq)];
  if (t.is_array()) {
    copy({m, record, false}, place(item));
  } else if (t.is_scalar()) {
    b_.store(m, {&record, 1}, value(item));
  } else {
    b_.store(m, {&record, 1}, handles_[item.index].first, 0);
    b_.store(m, {&record, 1}, handles_[item.index].length, 1);
  }
}

void Planner::sequence_op(OpId id) {
  const Op& op = f_[id];
  if (op.code == Opcode::zeros) {
    const Type& t = f_.type(op.results[0]);
    const int s = classes_->stack(op.results[0], t.seq);
    const ValueId n = value(op.operands[0]), first = alloc(s, n);
    Op fill;
    fill.code = Opcode::buffer_zero;  // a handle of zeros is the empty sequence
    fill.buffers = {stack_memory_[s]};
    fill.operands = {first, n};
    b_.append(std::move(fill), {});
    handles_[op.results[0].index] = {first, n};
    return;
  }
  const ValueId s = op.operands[0];
  const Type& t = f_.type(s);
  if (t.is_array()) {  // one of its elements
    const Place from = place(s);
    Values at;
    if (from.record.valid()) at.push_back(from.record);
    at.push_back(value(op.operands[1]));
    values_[op.results[0].index] = from.zero ? b_.zero(f_.type(op.results[0])) : b_.load(from.memory, at);
    return;
  }
  const int stack = classes_->stack(s, t.seq);
  const MemoryId m = stack_memory_[stack];
  Handle h = handles_[s.index];
  if (op.code == Opcode::seq_len) {
    values_[op.results[0].index] = h.length;
    return;
  }
  if (op.code == Opcode::seq_get) {
    const ValueId out = op.results[0], record = b_.add(h.first, value(op.operands[1]));
    if (f_.type(out).is_array()) places_[out.index] = {m, record, false};
    else if (f_.type(out).is_scalar()) values_[out.index] = b_.load(m, {&record, 1});
    else handles_[out.index] = {b_.load(m, {&record, 1}, 0), b_.load(m, {&record, 1}, 1)};
    return;
  }
  if (!classes_->may_change(s, id)) {
    const ValueId to = alloc(stack, h.length);
    b_.for_(b_.i32(0), h.length, {}, [&](ValueId i, const Values&) {
      const ValueId target = b_.add(to, i), source = b_.add(h.first, i);
      copy({m, target, false}, {m, source, false});
      return Builder::LoopYield{};
    });
    h.first = to;
  }
  const ValueId record = b_.add(h.first, value(op.operands[1])), v = op.operands[2];
  if (op.code == Opcode::seq_set) {
    store_item(s, record, v);
  } else if (f_.type(v).is_scalar()) {
    b_.store(m, {&record, 1}, b_.add(b_.load(m, {&record, 1}), value(v)));
  } else if (!place(v).zero) {
    const Type& array = f_.type(v);
    auto& k = adds_[to_string(array)];
    const Type both[] = {array, array};
    if (!k) k = std::make_shared<const Function>(pointwise_kernel(Opcode::add, both, array));
    Values domain;
    for (int axis = 0; axis < array.rank; ++axis) domain.push_back(b_.i32(static_cast<std::int32_t>(array.shape[axis])));
    const Place at{m, record, false};
    run_kernel(k, domain, {at, place(v), at}, {});
  }
  handles_[op.results[0].index] = h;
}

}  // namespace fluxion::plan
