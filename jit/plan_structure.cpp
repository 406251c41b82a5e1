// Branches and loops of a program, and what moves between memories at their edges. A loop that exchanges arrays
// carries which record is whose instead (BufferClasses::Rotation).
#include <algorithm>

#include "fluxion/error.h"
#include "planner.h"

namespace fluxion::plan {

std::vector<Move> Planner::edge(const Values& from, const Values& to, std::size_t first_from, std::size_t first_to, std::size_t n,
                                OpId turn) {
  std::vector<Move> out;
  const auto rotates = [&](ValueId v) {
    const int r = (*classes_)[classes_->of(v)].rotation;
    return r >= 0 && classes_->rotations()[r].loop == turn;
  };
  for (std::size_t k = 0; k < n; ++k)
    if (f_.type(to[first_to + k]).is_array() && !(turn.valid() && rotates(to[first_to + k])))
      out.push_back({place_of(classes_->of(to[first_to + k])), place(from[first_from + k])});
  return out;
}

/// Before a loop: the records, numbered in the order of the classes, and the numbers as carries.
void Planner::begin_rotations(OpId loop, Op& now, std::vector<Type>& types) {
  for (std::size_t r = 0; r < pools_.size(); ++r) {
    const BufferClasses::Rotation& rotation = classes_->rotations()[r];
    if (rotation.loop != loop) continue;
    Op op;
    op.code = Opcode::buffer_alloc;
    op.buffers = {pools_[r]};
    op.operands = {b_.i32(static_cast<std::int32_t>(rotation.classes.size()))};
    const Type i32 = DType::i32;
    b_.append(std::move(op), {&i32, 1});
    std::int32_t n = 0;
    for (int c : rotation.classes) {
      records_[c] = b_.i32(n++);
      now.operands.push_back(records_[c]);
      types.push_back(DType::i32);
    }
  }
}

std::size_t Planner::take_rotations(OpId loop, const Values& now, std::size_t at) {
  for (const BufferClasses::Rotation& rotation : classes_->rotations())
    if (rotation.loop == loop)
      for (int c : rotation.classes) records_[c] = now[at++];
  return at;
}

void Planner::put_rotations(OpId loop, Values& yields) const {
  for (const BufferClasses::Rotation& rotation : classes_->rotations())
    if (rotation.loop == loop)
      for (int c : rotation.classes) yields.push_back(records_[c]);
}

/// At the end of a turn: a carry takes over the record of what it is to become; who does not find one in the
/// rotation copies into a record that is free by then.
void Planner::turn_rotations(OpId loop, std::vector<Move>& pending, Values& yields) {
  const Op& op = f_[loop];
  const Values& end = f_.terminator(op.regions.back()).operands;
  for (std::size_t r = 0; r < pools_.size(); ++r) {
    const BufferClasses::Rotation& rotation = classes_->rotations()[r];
    if (rotation.loop != loop) continue;
    std::map<int, ValueId> next;
    std::vector<int> free = rotation.classes;
    std::vector<std::size_t> copied;
    for (std::size_t k = 0; k < f_.carries(op); ++k) {
      if (!f_.type(end[k]).is_array() || (*classes_)[classes_->of(op.results[k])].rotation != static_cast<int>(r)) continue;
      const int from = classes_->of(end[k]);
      const auto it = std::find(free.begin(), free.end(), from);
      if (it == free.end() || places_[end[k].index].record != records_[from]) {
        copied.push_back(k);
        continue;
      }
      next[classes_->of(op.results[k])] = records_[from];
      free.erase(it);
    }
    auto rest = free.begin();
    for (std::size_t k : copied) {
      const ValueId record = records_[*rest++];
      next[classes_->of(op.results[k])] = record;
      pending.push_back({{pools_[r], record, false}, place(end[k])});
    }
    for (int c : rotation.classes)
      if (!next.count(c)) next[c] = records_[*rest++];
    for (int c : rotation.classes) yields.push_back(next[c]);
  }
}

/// At the start of a loop's body: what it collects without making it there.
void Planner::collect_outer(const Op& loop) {
  const RegionId body = loop.regions.back();
  const Values& end = f_.terminator(body).operands;
  for (std::size_t k = f_.carries(loop); k < end.size(); ++k)
    if (!f_.type(end[k]).is_seq() && lives_.region(end[k]) != body) collect(end[k]);
  for (ValueId v : f_[body].arguments) collect(v);
}

void Planner::branch(OpId id) {
  const Op& op = f_[id];
  Op now;
  now.code = Opcode::if_;
  now.loc = op.loc;
  now.operands = {value(op.operands[0])};
  std::vector<Type> result;
  for (ValueId v : op.results) types(result, v);
  for (RegionId arm : op.regions) {
    now.regions.push_back(b_.open({}));
    region(arm);
    const Values& end = f_.terminator(arm).operands;
    moves(edge(end, op.results, 0, 0, end.size()));
    Values yields;
    for (ValueId v : end) put(yields, v);
    b_.close(yields);
  }
  const Values results = Values(g_[b_.append(std::move(now), result)].results);
  std::size_t at = 0;
  for (ValueId v : op.results) at = take(v, results, at);
}

void Planner::for_loop(OpId id) {
  const Op& op = f_[id];
  const RegionId body = op.regions[0];
  const std::size_t n = f_.carries(op);
  const Values& end = f_.terminator(body).operands;
  const ValueId lo = value(op.operands[0]), hi = value(op.operands[1]);
  std::vector<Handle> collected;
  if (end.size() > n) {
    const ValueId trips = b_.trips(lo, hi);
    for (std::size_t k = n; k < end.size(); ++k)
      collected.push_back({alloc(classes_->stack(op.results[k], f_.type(op.results[k]).seq), trips), trips});
  }
  Op now;
  now.code = Opcode::for_;
  now.down = op.down;
  now.leaf = op.leaf;
  now.loc = op.loc;
  now.operands = {lo, hi};
  std::vector<Type> arguments = {DType::i32}, result;
  begin_rotations(id, now, result);
  moves(edge(op.operands, op.results, 2, 0, n));
  for (std::size_t k = 0; k < n; ++k) {
    put(now.operands, op.operands[k + 2]);
    types(result, op.results[k]);
  }
  arguments.insert(arguments.end(), result.begin(), result.end());
  now.regions.push_back(b_.open(arguments));
  const Values args = g_[b_.current()].arguments;
  values_[f_[body].arguments[0].index] = args[0];
  std::size_t at = take_rotations(id, args, 1);
  for (std::size_t k = 0; k < n; ++k) at = take(f_[body].arguments[k + 1], args, at);
  Values records;
  if (end.size() > n) {
    const ValueId turn = b_.sub(args[0], lo);
    for (std::size_t k = n; k < end.size(); ++k) {
      records.push_back(b_.add(collected[k - n].first, turn));
      if (!f_.type(end[k]).is_seq()) waiting_[end[k]].push_back({op.results[k], records.back()});
    }
  }
  collect_outer(op);
  region(body);
  for (std::size_t k = n; k < end.size(); ++k)
    if (f_.type(end[k]).is_seq()) store_item(op.results[k], records[k - n], end[k]);
  std::vector<Move> pending = edge(end, op.results, 0, 0, n, id);
  Values yields;
  turn_rotations(id, pending, yields);
  moves(std::move(pending));
  for (std::size_t k = 0; k < n; ++k) put(yields, end[k]);
  b_.close(yields);
  const Values results = Values(g_[b_.append(std::move(now), result)].results);
  at = take_rotations(id, results, 0);
  for (std::size_t k = 0; k < n; ++k) at = take(op.results[k], results, at);
  for (std::size_t k = n; k < end.size(); ++k) handles_[op.results[k].index] = collected[k - n];
}

void Planner::while_loop(OpId id) {
  const Op& op = f_[id];
  const RegionId cond = op.regions[0], body = op.regions[1];
  const std::size_t n = f_.carries(op);
  const Values& test = f_.terminator(cond).operands;
  const Values& end = f_.terminator(body).operands;
  std::map<int, std::size_t> uses;  // the records of one sequence must lie side by side
  Values firsts;
  for (std::size_t k = n; k < end.size(); ++k) {
    const int s = classes_->stack(op.results[k], f_.type(op.results[k]).seq);
    if (uses[s]++) throw KernelError(op.loc, "a while loop whose collected sequences are exchanged for one another; use a for loop");
    for (std::uint32_t i = 0; i < f_.ops.size(); ++i) {
      const Op& other = f_.ops[i];
      if (!lives_.before(OpId{i}) || i == id.index || lives_.before(OpId{i}) < lives_.before(id) ||
          lives_.after(OpId{i}) > lives_.after(id))
        continue;
      for (ValueId v : other.results)
        for (int level = 1; level <= f_.type(v).seq; ++level)
          if (other.code != Opcode::seq_get && classes_->stack(v, level) == s)
            throw KernelError(other.loc, "a sequence made in a while loop is exchanged for one that the loop collects; use a for loop");
    }
    firsts.push_back(alloc(s, b_.i32(0)));
  }
  Op now;
  now.code = Opcode::while_;
  now.loc = op.loc;
  std::vector<Type> result;
  begin_rotations(id, now, result);
  moves(edge(op.operands, op.results, 0, 0, n));
  for (std::size_t k = 0; k < n; ++k) {
    put(now.operands, op.operands[k]);
    types(result, op.results[k]);
  }
  now.regions.push_back(b_.open(result));
  std::size_t at = take_rotations(id, g_[b_.current()].arguments, 0);
  for (std::size_t k = 0; k < n; ++k) at = take(f_[cond].arguments[k], g_[b_.current()].arguments, at);
  region(cond);
  moves(edge(test, op.results, 1, 0, n));
  Values yields = {value(test[0])};
  put_rotations(id, yields);
  for (std::size_t k = 0; k < n; ++k) put(yields, test[k + 1]);
  b_.close(yields);

  now.regions.push_back(b_.open(result));
  at = take_rotations(id, g_[b_.current()].arguments, 0);
  for (std::size_t k = 0; k < n; ++k) at = take(f_[body].arguments[k], g_[b_.current()].arguments, at);
  Values records;
  for (std::size_t k = n; k < end.size(); ++k) {
    records.push_back(alloc(classes_->stack(op.results[k], f_.type(op.results[k]).seq), b_.i32(1)));
    if (!f_.type(end[k]).is_seq()) waiting_[end[k]].push_back({op.results[k], records.back()});
  }
  collect_outer(op);
  region(body);
  for (std::size_t k = n; k < end.size(); ++k)
    if (f_.type(end[k]).is_seq()) store_item(op.results[k], records[k - n], end[k]);
  std::vector<Move> pending = edge(end, op.results, 0, 0, n, id);
  yields.clear();
  turn_rotations(id, pending, yields);
  moves(std::move(pending));
  for (std::size_t k = 0; k < n; ++k) put(yields, end[k]);
  b_.close(yields);
  result.push_back(DType::i32);
  const Values results = Values(g_[b_.append(std::move(now), result)].results);
  at = take_rotations(id, results, 0);
  for (std::size_t k = 0; k < n; ++k) at = take(op.results[k], results, at);
  for (std::size_t k = n; k < end.size(); ++k) handles_[op.results[k].index] = {firsts[k - n], results.back()};
  values_[op.results.back().index] = results.back();
}

}  // namespace fluxion::plan
