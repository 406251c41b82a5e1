// if_, for_ and while_. Lanes that part are tracked by masks; what is dead after a lane has left is not blended.
#include <llvm/IR/Intrinsics.h>

#include "emitter.h"
#include "fluxion/error.h"
#include "fluxion/mutants.h"

namespace fluxion::cpu {
namespace {
constexpr int kBlendLimit = 10;
constexpr int kNever = 1000;
}  // namespace

llvm::Type* Emitter::type_of(ValueId v, Class k) {
  llvm::Type* t = f.type(v).is_seq() ? b.getPtrTy() : scalar_type(f.type(v).dtype());
  return k == Class::varying ? vec(t) : t;
}

Emitter::Slot Emitter::make_slot(ValueId like) {
  Slot s;
  s.v = phi(type_of(like, u(like)));
  if (f.type(like).is_seq()) s.length = phi(u.length[like.index] == Class::varying ? vec(b.getInt32Ty()) : b.getInt32Ty());
  return s;
}

void Emitter::feed(const Slot& s, const Held& h, BasicBlock* from) {
  s.v->addIncoming(h.v ? h.v : llvm::Constant::getNullValue(s.v->getType()), from);
  if (s.length) s.length->addIncoming(h.length ? h.length : llvm::Constant::getNullValue(s.length->getType()), from);
}

Held Emitter::held_as(ValueId v, ValueId like) {
  if (f.type(like).is_seq()) return seq_as(v, u(like), u.length[like.index]);
  return {at(v, u(like)), nullptr};
}

Held Emitter::blend(Node* mask, const Held& yes, const Held& no) {
  const auto one = [&](Node* a, Node* d) -> Node* {
    if (!a || !a->getType()->isVectorTy()) return a;
    return blend(mask, a, d);
  };
  return {one(yes.v, no.v), one(yes.length, no.length)};
}

// Mask registers hold a mask as it is; elsewhere it lives as full lanes, or every use would widen it again.
Node* Emitter::store_mask(Node* mask) { return opt.masks_in_k ? mask : b.CreateSExt(mask, vec(b.getInt32Ty())); }
Node* Emitter::load_mask(Node* stored) {
  return opt.masks_in_k ? stored : b.CreateICmpNE(stored, llvm::Constant::getNullValue(stored->getType()));
}

/// What executing a region under no active lane costs; kNever where it must not be.
int Emitter::blend_cost(RegionId r) {
  int sum = 0;
  for (OpId o : f[r].ops) {
    const Op& op = f[o];
    if (op.code == Opcode::yield) break;
    for (ValueId v : op.results)
      if (f.type(v).is_seq()) return kNever;
    switch (op.code) {
      case Opcode::div:
      case Opcode::sdiv:
      case Opcode::sqrt:
      case Opcode::rsqrt: sum += 4; break;
      case Opcode::rem: sum += is_float(f.type(op.results[0]).dtype()) ? kNever : 6; break;
      case Opcode::fma: sum += opt.fma ? 1 : kNever; break;
      case Opcode::load:
        if (f[op.memory].space == Memory::Space::local || u.uniform(op.results[0])) return kNever;
        sum += classify(f, u, op).kind == Access::Kind::contiguous ? 2 : 5;
        break;
      case Opcode::if_: sum += 1 + blend_cost(op.regions[0]) + blend_cost(op.regions[1]); break;
      case Opcode::convert:
      case Opcode::bitcast:
      case Opcode::extent:
      case Opcode::domain: sum += 1; break;
      default:
        if (!is_elementwise(op.code)) return kNever;
        sum += (info(op.code).flags & flag::exact) != 0 || op.code == Opcode::select ? 1 : kNever;
    }
    if (sum >= kNever) return kNever;
  }
  return sum;
}

void Emitter::emit_if(OpId o) {
  const Op& op = f[o];
  const auto& results = op.results;
  const auto arm_yields = [&](int k) -> const Values& { return f.terminator(op.regions[k]).operands; };
  if (!u.divergent[o.index]) {
    BasicBlock *then = block("then"), *otherwise = block("else"), *join = block("join");
    b.CreateCondBr(scalar(op.operands[0]), then, otherwise);
    std::vector<Held> out[2];
    BasicBlock* ends[2];
    for (int k = 0; k < 2; ++k) {
      b.SetInsertPoint(k == 0 ? then : otherwise);
      emit_region(op.regions[k]);
      for (std::size_t j = 0; j < results.size(); ++j) out[k].push_back(held_as(arm_yields(k)[j], results[j]));
      ends[k] = b.GetInsertBlock();
      b.CreateBr(join);
    }
    b.SetInsertPoint(join);
    std::vector<Slot> slots;
    for (ValueId v : results) slots.push_back(make_slot(v));
    for (std::size_t j = 0; j < results.size(); ++j) {
      for (int k = 0; k < 2; ++k) feed(slots[j], out[k][j], ends[k]);
      set(results[j], Held{slots[j].v, slots[j].length});
    }
    return;
  }
  Node* cond = vector(op.operands[0]);
  Node* outer = mask_;
  Node* masks[2] = {both(outer, cond), both(outer, planted(testing::Mutant::else_mask) ? cond : b.CreateNot(cond))};
  bool seqs = false;
  for (ValueId v : results) seqs |= f.type(v).is_seq();
  const bool cheap = !seqs && blend_cost(op.regions[0]) <= kBlendLimit && blend_cost(op.regions[1]) <= kBlendLimit;
  std::vector<Held> out[2];
  for (int k = 0; k < 2; ++k) {
    const bool empty = f[op.regions[k]].ops.size() == 1;
    const auto yields = [&] {
      std::vector<Held> y;
      for (std::size_t j = 0; j < results.size(); ++j) y.push_back(held_as(arm_yields(k)[j], results[j]));
      return y;
    };
    if (cheap || empty) {
      mask_ = masks[k];
      emit_region(op.regions[k]);
      out[k] = yields();
      continue;
    }
    BasicBlock *before = b.GetInsertBlock(), *arm = block(k == 0 ? "then" : "else"), *join = block("join");
    b.CreateCondBr(any(masks[k]), arm, join);
    b.SetInsertPoint(arm);
    mask_ = masks[k];
    emit_region(op.regions[k]);
    const std::vector<Held> made = yields();
    BasicBlock* end = b.GetInsertBlock();
    b.CreateBr(join);
    b.SetInsertPoint(join);
    std::vector<Slot> slots;
    for (ValueId v : results) slots.push_back(make_slot(v));
    for (std::size_t j = 0; j < results.size(); ++j) {
      feed(slots[j], made[j], end);
      // Storage that both arms share is the other arm's where this one was not run.
      const bool shared = k == 1 && u(results[j]) != Class::varying;
      feed(slots[j], shared ? out[0][j] : Held{}, before);
      out[k].push_back({slots[j].v, slots[j].length});
    }
  }
  mask_ = outer;
  for (std::size_t j = 0; j < results.size(); ++j) {
    if (u(results[j]) == Class::varying) set(results[j], blend(cond, out[0][j], out[1][j]));
    else set(results[j], f[op.regions[1]].ops.size() == 1 ? out[1][j] : out[1][j]);
  }
}

// Same trips for all active lanes: a scalar loop, tested at the bottom.
void Emitter::emit_for(OpId o) {
  const Op& op = f[o];
  const RegionId body = op.regions[0];
  const auto& args = f[body].arguments;
  const Op& end = f.terminator(body);
  const std::size_t n = f.carries(op);
  llvm::Type* i32 = b.getInt32Ty();
  Node *lo = scalar(op.operands[0]), *hi = scalar(op.operands[1]);
  Node* runs = b.CreateICmpSLT(lo, hi);
  std::vector<Node*> starts;
  Node* trips = nullptr;
  if (op.results.size() > n) trips = b.CreateSelect(runs, b.CreateSub(hi, lo), b.getInt32(0));
  for (std::size_t k = n; k < op.results.size(); ++k)
    starts.push_back(allocate(b.CreateMul(b.CreateZExt(trips, b.getInt64Ty()), b.getInt64(record_size(f.type(op.results[k]).item()))), o));
  std::vector<Held> init, first;
  for (std::size_t k = 0; k < n; ++k) {
    first.push_back(held_as(op.operands[2 + k], args[1 + k]));
    init.push_back(held_as(op.operands[2 + k], op.results[k]));
  }
  Node* last = planted(testing::Mutant::down_starts_high) ? hi : b.CreateSub(hi, b.getInt32(1));
  BasicBlock *before = b.GetInsertBlock(), *loop = block("for"), *after = block("for.end");
  b.CreateCondBr(runs, loop, after);
  b.SetInsertPoint(loop);
  PHINode* i = phi(i32);
  i->addIncoming(op.down ? last : lo, before);
  std::vector<Slot> slots;
  for (std::size_t k = 0; k < n; ++k) {
    slots.push_back(make_slot(args[1 + k]));
    feed(slots[k], first[k], before);
    set(args[1 + k], Held{slots[k].v, slots[k].length});
  }
  set(args[0], i);
  look_for_requests(o);
  const bool reset = resets(op, body);
  Node* top = reset ? arena_top() : nullptr;
  emit_region(body);
  for (std::size_t k = n; k < op.results.size(); ++k) put_record(starts[k - n], b.CreateSub(i, lo), end.operands[k]);
  std::vector<Held> next, out;
  for (std::size_t k = 0; k < n; ++k) {
    next.push_back(held_as(end.operands[k], args[1 + k]));
    out.push_back(held_as(end.operands[k], op.results[k]));
  }
  if (reset) set_arena_top(top);
  Node* step = op.down ? b.CreateSub(i, b.getInt32(1)) : b.CreateAdd(i, b.getInt32(1));
  BasicBlock* latch = b.GetInsertBlock();
  i->addIncoming(step, latch);
  for (std::size_t k = 0; k < n; ++k) feed(slots[k], next[k], latch);
  b.CreateCondBr(op.down ? b.CreateICmpSGT(i, lo) : b.CreateICmpSLT(step, hi), loop, after);
  b.SetInsertPoint(after);
  for (std::size_t k = 0; k < n; ++k) {
    const Slot s = make_slot(op.results[k]);
    feed(s, init[k], before);
    feed(s, out[k], latch);
    set(op.results[k], Held{s.v, s.length});
  }
  for (std::size_t k = n; k < op.results.size(); ++k) set(op.results[k], Held{starts[k - n], trips});
}

// Lanes with trips of their own share the counter t; lane k is at i = lo + t and takes part while t < trips.
void Emitter::emit_for_divergent(OpId o) {
  const Op& op = f[o];
  const RegionId body = op.regions[0];
  const auto& args = f[body].arguments;
  const Op& end = f.terminator(body);
  const std::size_t n = f.carries(op);
  llvm::Type* i32 = b.getInt32Ty();
  Node* outer = mask_;
  Node *lo = vector(op.operands[0]), *hi = vector(op.operands[1]);
  Node* none = llvm::Constant::getNullValue(lo->getType());
  Node* trips = b.CreateSelect(b.CreateICmpSLT(lo, hi), b.CreateSub(hi, lo), none);
  Node* most = b.CreateIntMaxReduce(outer ? b.CreateSelect(outer, trips, none) : trips, false);
  std::vector<Node*> starts;
  for (std::size_t k = n; k < op.results.size(); ++k)
    starts.push_back(allocate(b.CreateMul(b.CreateZExt(most, b.getInt64Ty()), b.getInt64(record_size(f.type(op.results[k]).item()))), o));
  Node* base = at(op.operands[0], u(args[0]));
  const auto differs = [&](std::size_t k) {
    const ValueId r = op.results[k], a = args[1 + k];
    return u(r) != u(a) || (f.type(r).is_seq() && u.length[r.index] != u.length[a.index]);
  };
  std::vector<Held> first, init;
  for (std::size_t k = 0; k < n; ++k) {
    first.push_back(held_as(op.operands[2 + k], args[1 + k]));
    init.push_back(held_as(op.operands[2 + k], op.results[k]));
  }
  Node* start = op.down ? b.CreateSub(most, b.getInt32(1)) : b.getInt32(0);
  BasicBlock *before = b.GetInsertBlock(), *loop = block("for"), *after = block("for.end");
  b.CreateCondBr(b.CreateICmpNE(most, b.getInt32(0)), loop, after);
  b.SetInsertPoint(loop);
  PHINode* t = phi(i32);
  t->addIncoming(start, before);
  std::vector<Slot> slots(n), kept(n);
  for (std::size_t k = 0; k < n; ++k) {
    slots[k] = make_slot(args[1 + k]);
    feed(slots[k], first[k], before);
    set(args[1 + k], Held{slots[k].v, slots[k].length});
    if (used(op.results[k]) && differs(k)) {
      kept[k] = make_slot(op.results[k]);
      feed(kept[k], init[k], before);
    }
  }
  Node* active = both(outer, planted(testing::Mutant::for_extra) ? b.CreateICmpULE(splat(t), trips) : b.CreateICmpULT(splat(t), trips));
  mask_ = active;
  set(args[0], b.CreateAdd(base, base->getType()->isVectorTy() ? splat(t) : t));
  look_for_requests(o);
  const bool reset = resets(op, body);
  Node* top = reset ? arena_top() : nullptr;
  emit_region(body);
  for (std::size_t k = n; k < op.results.size(); ++k) put_record(starts[k - n], t, end.operands[k]);
  std::vector<Held> next(n), out(n);
  for (std::size_t k = 0; k < n; ++k) {
    const Held now{slots[k].v, slots[k].length};
    next[k] = held_as(end.operands[k], args[1 + k]);
    if ((op.down || (used(op.results[k]) && !kept[k].v)) && !planted(testing::Mutant::for_no_blend)) next[k] = blend(active, next[k], now);
    out[k] = kept[k].v ? blend(active, held_as(end.operands[k], op.results[k]), Held{kept[k].v, kept[k].length}) : next[k];
  }
  if (reset) set_arena_top(top);
  Node* step = op.down ? b.CreateSub(t, b.getInt32(1)) : b.CreateAdd(t, b.getInt32(1));
  BasicBlock* latch = b.GetInsertBlock();
  t->addIncoming(step, latch);
  for (std::size_t k = 0; k < n; ++k) {
    feed(slots[k], next[k], latch);
    if (kept[k].v) feed(kept[k], out[k], latch);
  }
  b.CreateCondBr(op.down ? b.CreateICmpNE(t, b.getInt32(0)) : b.CreateICmpULT(step, most), loop, after);
  b.SetInsertPoint(after);
  mask_ = outer;
  for (std::size_t k = 0; k < n; ++k) {
    if (!used(op.results[k])) continue;
    const Slot s = make_slot(op.results[k]);
    feed(s, init[k], before);
    feed(s, out[k], latch);
    set(op.results[k], Held{s.v, s.length});
  }
  for (std::size_t k = n; k < op.results.size(); ++k) set(op.results[k], Held{starts[k - n], trips});
}

void Emitter::emit_while(OpId o) {
  const Op& op = f[o];
  const RegionId test = op.regions[0], body = op.regions[1];
  const auto &before_args = f[test].arguments, &args = f[body].arguments;
  const Op &passed = f.terminator(test), &end = f.terminator(body);
  const std::size_t n = f.carries(op), collected = op.results.size() - 1 - n;
  const bool parts = u.divergent[o.index];
  const ValueId trips = op.results.back();
  const bool count = used(trips) || collected > 0;
  llvm::Type *i32 = b.getInt32Ty(), *i64 = b.getInt64Ty();
  Node* outer = mask_;
  const auto in_place = [&](std::size_t k) {  // the carry itself holds what a lane left with
    return u(before_args[k]) == u(op.results[k]) && passed.operands[1 + k] == before_args[k] &&
           (!f.type(op.results[k]).is_seq() || u.length[before_args[k].index] == u.length[op.results[k].index]);
  };
  std::vector<Held> first, init;
  for (std::size_t k = 0; k < n; ++k) {
    first.push_back(held_as(op.operands[k], before_args[k]));
    init.push_back(held_as(op.operands[k], op.results[k]));
  }
  BasicBlock *before = b.GetInsertBlock(), *head = block("while"), *loop = block("while.body"), *after = block("while.end");
  Node* mask_in = parts ? store_mask(mask_or_all()) : nullptr;
  b.CreateBr(head);
  b.SetInsertPoint(head);
  PHINode* stored = nullptr;
  if (parts) {
    stored = phi(mask_in->getType());
    stored->addIncoming(mask_in, before);
  }
  PHINode* t = phi(i32);
  t->addIncoming(b.getInt32(0), before);
  PHINode *lane_trips = nullptr, *room = nullptr;
  if (count && parts) {
    lane_trips = phi(vec(i32));
    lane_trips->addIncoming(llvm::Constant::getNullValue(vec(i32)), before);
  }
  std::vector<PHINode*> starts;
  if (collected) {
    room = phi(i32);
    room->addIncoming(b.getInt32(0), before);
    for (std::size_t k = 0; k < collected; ++k) {
      starts.push_back(phi(b.getPtrTy()));
      starts[k]->addIncoming(llvm::Constant::getNullValue(b.getPtrTy()), before);
    }
  }
  std::vector<Slot> slots(n), kept(n);
  for (std::size_t k = 0; k < n; ++k) {
    slots[k] = make_slot(before_args[k]);
    feed(slots[k], first[k], before);
    set(before_args[k], Held{slots[k].v, slots[k].length});
    if (parts && used(op.results[k]) && u(op.results[k]) == Class::varying && !in_place(k)) {
      kept[k] = make_slot(op.results[k]);
      feed(kept[k], init[k], before);
    }
  }
  Node* mask = parts ? load_mask(stored) : outer;
  mask_ = mask;
  const bool reset = resets(op, body);
  Node* top = reset ? arena_top() : nullptr;
  emit_region(test);
  std::vector<Held> left(n);
  for (std::size_t k = 0; k < n; ++k) {
    if (!used(op.results[k])) continue;
    left[k] = held_as(passed.operands[1 + k], op.results[k]);
    if (kept[k].v) left[k] = blend(mask, left[k], Held{kept[k].v, kept[k].length});
  }
  Node* trips_now = t;
  if (lane_trips) trips_now = b.CreateSelect(mask, splat(t), lane_trips);
  Node* on = nullptr;
  if (parts) {
    on = b.CreateAnd(mask, vector(passed.operands[0]));
    b.CreateCondBr(any(on), loop, after);
    mask_ = on;
  } else {
    b.CreateCondBr(scalar(passed.operands[0]), loop, after);
  }
  b.SetInsertPoint(loop);
  look_for_requests(o);
  for (std::size_t k = 0; k < n; ++k) set(args[k], held_as(passed.operands[1 + k], args[k]));
  emit_region(body);
  std::vector<Held> next(n);
  for (std::size_t k = 0; k < n; ++k) {
    next[k] = held_as(end.operands[k], before_args[k]);
    if (parts && used(op.results[k]) && in_place(k) && !planted(testing::Mutant::while_no_blend))
      next[k] = blend(on, next[k], Held{slots[k].v, slots[k].length});
  }
  // Records of this loop: capacity doubles when it is used up; the old block stays behind in the arena.
  if (collected) {
    // The inner arenas go first, so that a grown block survives the end of the iteration.
    std::vector<ValueId> values(end.operands.begin() + static_cast<std::ptrdiff_t>(n), end.operands.end());
    if (reset) set_arena_top(top);
    BasicBlock *full = b.GetInsertBlock(), *grow = block("grow"), *put = block("collect");
    b.CreateCondBr(b.CreateICmpEQ(t, room), grow, put);
    b.SetInsertPoint(grow);
    Node* larger = b.CreateSelect(b.CreateICmpEQ(room, b.getInt32(0)), b.getInt32(8), b.CreateShl(room, 1));
    std::vector<Node*> moved;
    for (std::size_t k = 0; k < collected; ++k) {
      Node* size = b.getInt64(record_size(f.type(op.results[n + k]).item()));
      Node* fresh = allocate(b.CreateMul(b.CreateZExt(larger, i64), size), o);
      b.CreateMemCpy(fresh, llvm::MaybeAlign(64), starts[k], llvm::MaybeAlign(64), b.CreateMul(b.CreateZExt(t, i64), size));
      moved.push_back(fresh);
    }
    BasicBlock* grown = b.GetInsertBlock();
    b.CreateBr(put);
    b.SetInsertPoint(put);
    PHINode* room_now = phi(i32);
    room_now->addIncoming(room, full);
    room_now->addIncoming(larger, grown);
    std::vector<PHINode*> where;
    for (std::size_t k = 0; k < collected; ++k) {
      where.push_back(phi(b.getPtrTy()));
      where[k]->addIncoming(starts[k], full);
      where[k]->addIncoming(moved[k], grown);
    }
    for (std::size_t k = 0; k < collected; ++k) put_record(where[k], t, values[k]);
    room->addIncoming(room_now, b.GetInsertBlock());
    for (std::size_t k = 0; k < collected; ++k) starts[k]->addIncoming(where[k], b.GetInsertBlock());
  } else if (reset) {
    set_arena_top(top);
  }
  BasicBlock* latch = b.GetInsertBlock();
  if (parts) {
    Node* again = store_mask(on);
    stored->addIncoming(again, latch);
  }
  t->addIncoming(b.CreateAdd(t, b.getInt32(1)), latch);
  if (lane_trips) lane_trips->addIncoming(trips_now, latch);
  for (std::size_t k = 0; k < n; ++k) {
    feed(slots[k], next[k], latch);
    if (kept[k].v) feed(kept[k], left[k], latch);
  }
  b.CreateBr(head);
  b.SetInsertPoint(after);
  mask_ = outer;
  for (std::size_t k = 0; k < n; ++k)
    if (used(op.results[k])) set(op.results[k], left[k]);
  for (std::size_t k = 0; k < collected; ++k) set(op.results[n + k], Held{starts[k], trips_now});
  set(trips, trips_now);
}

}  // namespace fluxion::cpu
