// The structure of a kernel: where its thread is found, control flow, reports. What a region yields becomes a phi.
#include "emit.h"

#include "emitter.h"

#include <llvm/IR/IntrinsicsNVPTX.h>

#include "common/uniformity.h"
#include "fluxion/error.h"

namespace fluxion::cuda {

namespace {

/// Each thread reads its own element of arrays, then writes its own: a program may write such results in the place of what they are made of.
bool may_be_in_place(const Function& f) {
  const Values& index = f[f.body].arguments;
  bool stored = false;
  for (OpId o : f[f.body].ops) {
    const Op& op = f[o];
    if (!op.regions.empty()) return false;
    if (!op.memory.valid() || op.code == Opcode::extent) continue;
    if (op.code != Opcode::load && op.code != Opcode::store) return false;
    if (op.code == Opcode::load && stored) return false;
    stored |= op.code == Opcode::store;
    if (static_cast<std::size_t>(f[op.memory].rank) != index.size() || !std::equal(index.begin(), index.end(), op.operands.begin()))
      return false;
  }
  return true;
}

}  // namespace

Emitter::Emitter(llvm::Module& module, const Function& f, const PtxOptions& options)
    : f_(f),
      options_(options),
      module_(module),
      context_(module.getContext()),
      b_(context_),
      values_(f.values.size()),
      places_(f.memories.size()),
      written_(f.memories.size()),
      in_place_(may_be_in_place(f)),
      together_(f),
      threads_(group_threads(f)) {
  for (const Region& r : f.regions)
    for (OpId o : r.ops) {
      const Op& op = f[o];
      if (op.code == Opcode::store || op.code == Opcode::accumulate || op.code == Opcode::atomic) written_[op.memory.index] = 1;
      meets_ |= op.code == Opcode::barrier || op.code == Opcode::subgroup;
    }
  if (options.fast) {
    llvm::FastMathFlags fast;
    fast.setAllowReassoc();
    fast.setAllowContract();
    fast.setAllowReciprocal();
    fast.setApproxFunc();
    fast.setNoSignedZeros();
    b_.setFastMathFlags(fast);
  }
}

BasicBlock* Emitter::block(const char* name) { return BasicBlock::Create(context_, name, entry_, leave_); }

llvm::Function* Emitter::run() {
  signature();
  (void)sites(f_, most_values_);
  declare_memories();
  prologue();
  region(f_.body);
  b_.CreateBr(leave_);
  b_.SetInsertPoint(leave_);
  b_.CreateRetVoid();
  return entry_;
}

// As ptx.h has it.
void Emitter::signature() {
  std::vector<llvm::Type*> types(3, b_.getInt64Ty());
  types.insert(types.end(), 3, b_.getInt32Ty());
  // No two arrays of a launch share elements, unless one is written in the place of another. Of an array that is `noalias` and does
  // not escape, LLVM takes no call to change anything, not even a barrier, behind which other threads have: there, only what nobody
  // writes is said to be so.
  std::vector<unsigned> alone;
  for (const Parameter& p : f_.parameters) {
    if (p.kind == Parameter::Kind::scalar) {
      types.push_back(memory_type(f_.type(p.value).dtype()));
      continue;
    }
    if (!in_place_ && (!meets_ || !written_[p.memory.index])) alone.push_back(static_cast<unsigned>(types.size()));
    types.push_back(b_.getPtrTy(1));
    types.insert(types.end(), static_cast<std::size_t>(f_[p.memory].rank), b_.getInt32Ty());
  }
  entry_ = llvm::Function::Create(llvm::FunctionType::get(b_.getVoidTy(), types, false), llvm::GlobalValue::ExternalLinkage, options_.entry,
                                  module_);
  entry_->setCallingConv(llvm::CallingConv::PTX_Kernel);
  entry_->addFnAttr(llvm::Attribute::NoUnwind);
  for (const unsigned k : alone) {
    entry_->addParamAttr(k, llvm::Attribute::NoAlias);
    entry_->addParamAttr(k, llvm::Attribute::NoCapture);
  }
  const auto annotate = [&](const char* what, int n) {
    module_.getOrInsertNamedMetadata("nvvm.annotations")
        ->addOperand(llvm::MDNode::get(context_, {llvm::ValueAsMetadata::get(entry_), llvm::MDString::get(context_, what),
                                                  llvm::ConstantAsMetadata::get(b_.getInt32(static_cast<std::uint32_t>(n)))}));
  };
  annotate(f_.has_groups() ? "reqntidx" : "maxntidx", f_.has_groups() ? threads_ : kMostThreads);
  leave_ = BasicBlock::Create(context_, "leave", entry_);
  b_.SetInsertPoint(block("entry"));
}

// The last axis is the fastest.
void Emitter::decode(Node* linear, const std::array<Node*, 3>& extents, std::array<Node*, 3>& out) {
  Node* rest = linear;
  for (int k = f_.domain_rank; k-- > 1;) {
    const auto a = static_cast<std::size_t>(k);
    Node* n = b_.CreateZExt(extents[a], rest->getType());
    Node* quotient = b_.CreateUDiv(rest, n);
    out[a] = b_.CreateTrunc(b_.CreateSub(rest, b_.CreateMul(quotient, n)), b_.getInt32Ty());
    rest = quotient;
  }
  out[0] = b_.CreateTrunc(rest, b_.getInt32Ty());
}

void Emitter::prologue() {
  namespace in = llvm::Intrinsic;
  auto argument = entry_->arg_begin();
  const auto next = [&] { return &*argument++; };
  Node *first = next(), *end = next();
  report_ = b_.CreateIntToPtr(next(), b_.getPtrTy(1));
  for (Node*& n : domain_) n = next();
  for (const Parameter& p : f_.parameters) {
    if (p.kind == Parameter::Kind::scalar) {
      values_[p.value.index] = from_memory(next(), f_.type(p.value).dtype());
      continue;
    }
    Place& place = places_[p.memory.index];
    place.address = next();
    for (int k = 0; k < f_[p.memory].rank; ++k) place.extent[static_cast<std::size_t>(k)] = next();
  }
  llvm::Type* number = options_.compact ? b_.getInt32Ty() : b_.getInt64Ty();
  const auto as_number = [&](Node* n) { return b_.CreateZExtOrTrunc(n, number); };
  const bool groups = f_.has_groups();
  lane_ = special(in::nvvm_read_ptx_sreg_tid_x);
  Node* unit = as_number(special(in::nvvm_read_ptx_sreg_ctaid_x));
  if (!groups) unit = b_.CreateAdd(b_.CreateMul(unit, as_number(special(in::nvvm_read_ptx_sreg_ntid_x))), as_number(lane_));
  unit = b_.CreateAdd(unit, as_number(first));
  whole_ = groups ? b_.getInt1(threads_ % kSubgroupSize == 0)
                  : b_.CreateICmpUGE(b_.CreateAdd(b_.CreateSub(as_number(end), unit), as_number(b_.CreateAnd(lane_, 31))),
                                     as_number(b_.getInt32(kSubgroupSize)));
  thread_ = b_.CreateTrunc(unit, b_.getInt32Ty());
  if (groups) thread_ = b_.CreateAdd(b_.CreateMul(thread_, b_.getInt32(static_cast<std::uint32_t>(threads_))), lane_);
  // Whole groups leave, so that no barrier misses a thread.
  BasicBlock* inside = block("inside");
  b_.CreateCondBr(b_.CreateICmpULT(unit, as_number(end)), inside, leave_);
  b_.SetInsertPoint(inside);
  if (!groups) {
    decode(unit, domain_, index_);
  } else {
    std::array<Node*, 3> groups_of{}, size{}, within{};
    for (std::size_t a = 0; a < static_cast<std::size_t>(f_.domain_rank); ++a) {
      size[a] = b_.getInt32(static_cast<std::uint32_t>(f_.group[a]));
      groups_of[a] = b_.CreateUDiv(domain_[a], size[a]);
    }
    decode(unit, groups_of, group_);
    decode(lane_, size, within);
    for (std::size_t a = 0; a < static_cast<std::size_t>(f_.domain_rank); ++a)
      index_[a] = b_.CreateAdd(b_.CreateMul(group_[a], size[a]), within[a]);
  }
  const Values& arguments = f_[f_.body].arguments;
  for (std::size_t a = 0; a < arguments.size(); ++a) values_[arguments[a].index] = index_[a];
  zero_shared();
}

Node* Emitter::value(ValueId v) {
  const Value& x = f_[v];
  if (x.kind == Value::Kind::constant) return constant(x.type.dtype(), x.bits);
  if (!values_[v.index]) throw Bug(f_.loc, "cuda: a value is used before it is made\n" + print(f_));
  return values_[v.index];
}

void Emitter::region(RegionId r) {
  zero_locals(r);
  for (OpId o : f_[r].ops) op(o);
}

void Emitter::op(OpId id) {
  const Op& op = f_[id];
  const auto set = [&](Node* n) { values_[op.results[0].index] = n; };
  if (is_elementwise(op.code)) {
    llvm::SmallVector<Node*, 3> x;
    for (ValueId v : op.operands) x.push_back(value(v));
    return set(elementwise(op.code, f_.type(op.operands[op.code == Opcode::select ? 1 : 0]).dtype(), x));
  }
  switch (op.code) {
    case Opcode::convert: return set(convert(value(op.operands[0]), f_.type(op.operands[0]).dtype(), f_.type(op.results[0]).dtype()));
    case Opcode::bitcast: return set(bitcast(value(op.operands[0]), f_.type(op.operands[0]).dtype(), f_.type(op.results[0]).dtype()));
    case Opcode::load: return set(load_op(op));
    case Opcode::store: return store_op(op, value(op.operands.back()));
    case Opcode::accumulate: return warp_sums(id) ? warp_sum(op) : void(atomic_op(op, Atomic::add));
    case Opcode::atomic: return set(atomic_op(op, static_cast<Atomic>(op.kind)));
    case Opcode::extent: {
      const Memory& m = f_[op.memory];
      const bool parameter = m.space == Memory::Space::parameter;
      return set(parameter ? places_[op.memory.index].extent[op.leaf] : b_.getInt32(static_cast<std::uint32_t>(m.length)));
    }
    case Opcode::domain: return set(domain_[op.leaf]);
    case Opcode::group_index: return set(group_[op.leaf]);
    case Opcode::if_: return if_op(op);
    case Opcode::for_: return for_op(op);
    case Opcode::while_: return while_op(op);
    case Opcode::yield: return;
    case Opcode::barrier: return barrier();
    case Opcode::subgroup: return set(subgroup_op(op));
    case Opcode::print: return report(op, 0);
    case Opcode::check: return check_op(op);
    case Opcode::call:
    case Opcode::seq_get:
    case Opcode::seq_set:
    case Opcode::seq_add_at:
    case Opcode::seq_len:
    case Opcode::zeros: throw Bug(op.loc, std::string("cuda: ") + name_of(op.code) + " should have been lowered");
    default: throw Bug(op.loc, std::string("cuda: ") + name_of(op.code) + " in a kernel");
  }
}

void Emitter::when(Node* condition, const std::function<void()>& then) {
  BasicBlock *yes = block("then"), *after = block("after");
  b_.CreateCondBr(condition, yes, after);
  b_.SetInsertPoint(yes);
  then();
  b_.CreateBr(after);
  b_.SetInsertPoint(after);
}

void Emitter::count(Node* first, std::int64_t n, std::int64_t step, const std::function<void(Node*)>& body) {
  BasicBlock *before = b_.GetInsertBlock(), *head = block("count"), *inside = block("counted"), *after = block("after");
  b_.CreateBr(head);
  b_.SetInsertPoint(head);
  auto* k = b_.CreatePHI(b_.getInt32Ty(), 2);
  k->addIncoming(first, before);
  b_.CreateCondBr(b_.CreateICmpULT(k, b_.getInt32(static_cast<std::uint32_t>(n))), inside, after);
  b_.SetInsertPoint(inside);
  body(k);
  k->addIncoming(b_.CreateAdd(k, b_.getInt32(static_cast<std::uint32_t>(step))), b_.GetInsertBlock());
  b_.CreateBr(head);
  b_.SetInsertPoint(after);
}

void Emitter::if_op(const Op& op) {
  BasicBlock *arms[2] = {block("then"), block("else")}, *after = block("after"), *from[2];
  b_.CreateCondBr(value(op.operands[0]), arms[0], arms[1]);
  std::vector<Node*> yields[2];
  for (const std::size_t k : {std::size_t{0}, std::size_t{1}}) {
    b_.SetInsertPoint(arms[k]);
    region(op.regions[k]);
    for (ValueId v : f_.terminator(op.regions[k]).operands) yields[k].push_back(value(v));
    from[k] = b_.GetInsertBlock();
    b_.CreateBr(after);
  }
  b_.SetInsertPoint(after);
  for (std::size_t r = 0; r < op.results.size(); ++r) {
    auto* phi = b_.CreatePHI(type(f_.type(op.results[r]).dtype()), 2);
    phi->addIncoming(yields[0][r], from[0]);
    phi->addIncoming(yields[1][r], from[1]);
    values_[op.results[r].index] = phi;
  }
}

// Rounds are counted from 0, since lo .. hi may be longer than what an i32 counts.
/// The body of a loop and the way back to its head, where the counter and the carries are.
void Emitter::loop_body(RegionId body, llvm::PHINode* round, const std::vector<llvm::PHINode*>& carries, BasicBlock* head) {
  region(body);
  const Values& yields = f_.terminator(body).operands;
  Node* next = b_.CreateAdd(round, b_.getInt32(1));
  BasicBlock* latch = b_.GetInsertBlock();
  round->addIncoming(next, latch);
  for (std::size_t k = 0; k < carries.size(); ++k) carries[k]->addIncoming(value(yields[k]), latch);
  b_.CreateBr(head);
}

void Emitter::for_op(const Op& op) {
  Node *lo = value(op.operands[0]), *hi = value(op.operands[1]);
  Node* trips = b_.CreateSelect(b_.CreateICmpSLT(lo, hi), b_.CreateSub(hi, lo), b_.getInt32(0));
  BasicBlock *before = b_.GetInsertBlock(), *head = block("for"), *body = block("round"), *after = block("after");
  std::vector<Node*> init;
  for (std::size_t k = 2; k < op.operands.size(); ++k) init.push_back(value(op.operands[k]));
  b_.CreateBr(head);
  b_.SetInsertPoint(head);
  auto* round = b_.CreatePHI(b_.getInt32Ty(), 2);
  round->addIncoming(b_.getInt32(0), before);
  const Values& arguments = f_[op.regions[0]].arguments;
  std::vector<llvm::PHINode*> carries;
  for (std::size_t k = 0; k < init.size(); ++k) {
    carries.push_back(b_.CreatePHI(init[k]->getType(), 2));
    carries[k]->addIncoming(init[k], before);
    values_[arguments[k + 1].index] = values_[op.results[k].index] = carries[k];
  }
  b_.CreateCondBr(b_.CreateICmpULT(round, trips), body, after);
  b_.SetInsertPoint(body);
  values_[arguments[0].index] = op.down ? b_.CreateSub(b_.CreateSub(hi, b_.getInt32(1)), round) : b_.CreateAdd(lo, round);
  loop_body(op.regions[0], round, carries, head);
  b_.SetInsertPoint(after);
}

void Emitter::while_op(const Op& op) {
  BasicBlock *before = b_.GetInsertBlock(), *head = block("while"), *body = block("round"), *after = block("after");
  std::vector<Node*> init;
  for (ValueId v : op.operands) init.push_back(value(v));
  b_.CreateBr(head);
  b_.SetInsertPoint(head);
  auto* round = b_.CreatePHI(b_.getInt32Ty(), 2);
  round->addIncoming(b_.getInt32(0), before);
  const Values &entry = f_[op.regions[0]].arguments, &arguments = f_[op.regions[1]].arguments;
  std::vector<llvm::PHINode*> carries;
  for (std::size_t k = 0; k < init.size(); ++k) {
    carries.push_back(b_.CreatePHI(init[k]->getType(), 2));
    carries[k]->addIncoming(init[k], before);
    values_[entry[k].index] = carries[k];
  }
  region(op.regions[0]);
  const Values& tested = f_.terminator(op.regions[0]).operands;
  for (std::size_t k = 0; k < init.size(); ++k) values_[arguments[k].index] = values_[op.results[k].index] = value(tested[k + 1]);
  values_[op.results.back().index] = round;
  b_.CreateCondBr(value(tested[0]), body, after);
  b_.SetInsertPoint(body);
  loop_body(op.regions[1], round, carries, head);
  b_.SetInsertPoint(after);
}

void Emitter::check_op(const Op& op) {
  BasicBlock *fail = block("fails"), *go = block("holds");
  b_.CreateCondBr(value(op.operands[0]), go, fail);
  b_.SetInsertPoint(fail);
  report(op, 1);
  b_.CreateBr(leave_);
  b_.SetInsertPoint(go);
}

// A record, where there is room. Sites are numbered in the order in which they are emitted, which is that of sites().
void Emitter::report(const Op& op, std::size_t first) {
  const std::uint32_t site = next_site_++;
  std::vector<Node*> words;
  for (std::size_t k = first; k < op.operands.size(); ++k)
    words.push_back(b_.CreateZExt(to_bits(value(op.operands[k]), f_.type(op.operands[k]).dtype()), b_.getInt64Ty()));
  const auto at = [&](Node* offset) { return b_.CreateGEP(b_.getInt8Ty(), report_, {offset}); };
  Node* slot = b_.CreateAtomicRMW(llvm::AtomicRMWInst::Add, report_, b_.getInt32(1), llvm::Align(4), llvm::AtomicOrdering::Monotonic);
  Node* room = b_.CreateAlignedLoad(b_.getInt32Ty(), at(b_.getInt64(4)), llvm::Align(4));
  when(b_.CreateICmpULT(slot, room), [&] {
    const auto stride = static_cast<std::uint64_t>(gpu::kRecordHeader + 8 * most_values_);
    Node* record =
        at(b_.CreateAdd(b_.CreateMul(b_.CreateZExt(slot, b_.getInt64Ty()), b_.getInt64(stride)), b_.getInt64(gpu::kReportHeader)));
    const auto put = [&](std::uint64_t offset, Node* v) {
      b_.CreateAlignedStore(v, b_.CreateGEP(b_.getInt8Ty(), record, {b_.getInt64(offset)}),
                            llvm::Align(v->getType()->getIntegerBitWidth() / 8));
    };
    put(0, b_.getInt32(site));
    put(4, thread_);
    for (std::size_t k = 0; k < words.size(); ++k) put(gpu::kRecordHeader + 8 * k, words[k]);
  });
}

void Emitter::barrier() { b_.CreateIntrinsic(llvm::Intrinsic::nvvm_barrier0, {}, {}); }

llvm::Function* emit(llvm::Module& module, const Function& kernel, const PtxOptions& options) {
  return Emitter(module, kernel, options).run();
}

}  // namespace fluxion::cuda
